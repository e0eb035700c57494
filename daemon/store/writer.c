#include "writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../out_of_memory.h"
#include "store_thread.h"

#define BATCH_ROWS_MAX 16384
#define BATCH_BYTES_MAX ((size_t)8 << 20)
#define ROWS_PER_OUTCOME 10
#define WAITING_BYTES_MAX ((size_t)64 << 20)
#define WAITING_EVENTS_MAX 65536
#define OUTCOMES_TOGETHER 256
#define OUTCOME_PATIENCE_US 10000
#define HOUSE_SLICE 256
#define HOUSE_LATEST_MS (24 * 3600 * 1000)
#define ROUND_PATIENCE_US (300 * (int64_t)1000000)

struct op_queue {
	struct op *first, **last;
};

/* A claim that was asked for. */
struct wish {
	struct wish *next;
	struct claim claim;
};

/* What the main thread hands over; guarded by mutex. */
struct inbox {
	struct op_queue outcomes, changes, submits, verbs;
	size_t n_outcomes;
	int64_t outcomes_us; /* when the first of them came */
	size_t waiting_bytes, waiting_events; /* of submits */
	struct wish *wishes, **last_wish;
	struct claimed *unclaimed;
	struct store_settings settings;
	bool prodded, stopping;
};

struct removal {
	struct removal *next;
	uint32_t endpoint;
};

struct writer {
	struct writer_options options;
	pthread_t thread;
	bool running;

	pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct inbox inbox;

	atomic_uint_fast64_t beats; /* rounds begun */
	atomic_int_fast64_t in_round_us; /* since when, 0: not now */
	uint64_t beats_seen; /* of the main thread */

	/* The thread's own. */
	struct store_settings settings; /* of this round */
	void *claimed; /* tsearch tree of struct delivery_ref */
	struct verb_op *verb; /* being worked on */
	struct removal *removals;
	int64_t house_due_ms;
	bool pressed; /* above the mark, and forgetting early still helps */
};

static void queue_init(struct op_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_push(struct op_queue *queue, struct op *op)
{
	op->next = NULL;
	*queue->last = op;
	queue->last = &op->next;
}

static struct op *queue_pop(struct op_queue *queue)
{
	struct op *op = queue->first;

	if (!op)
		return NULL;
	queue->first = op->next;
	if (!queue->first)
		queue->last = &queue->first;
	op->next = NULL;
	return op;
}

/* ---- The claimed set ---- */

static int compare_refs(const void *a, const void *b)
{
	const struct delivery_ref *x = a, *y = b;
	int order = event_id_compare(&x->event, &y->event);

	if (order)
		return order;
	return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static bool is_claimed(void *user, const struct delivery_ref *ref)
{
	struct writer *w = user;

	return tfind(ref, &w->claimed, compare_refs) != NULL;
}

static bool remember_claimed(struct writer *w, const struct delivery_ref *ref)
{
	struct delivery_ref *copy = malloc(sizeof(*copy));

	if (!copy)
		return false;
	*copy = *ref;
	if (tsearch(copy, &w->claimed, compare_refs))
		return true;
	free(copy);
	return false;
}

static void forget_claimed(struct writer *w, const struct delivery_ref *ref)
{
	void *found = tfind(ref, &w->claimed, compare_refs);
	struct delivery_ref *copy;

	if (!found)
		return;
	copy = *(struct delivery_ref **)found;
	tdelete(copy, &w->claimed, compare_refs);
	free(copy);
}

/* ---- Housekeeping ---- */

/* What ended before this time may be forgotten; a long stop counts for a day at most. */
static int64_t cutoff(const struct writer *w, int64_t now_ms, int64_t keep_ms)
{
	int64_t before_ms = now_ms - keep_ms;

	if (before_ms - w->options.lag_ms < w->options.stop_ms)
		before_ms -= w->options.lag_ms;
	return before_ms > 0 ? before_ms : 0;
}

static bool house_is_due(const struct writer *w, int64_t now_ms)
{
	return w->removals || w->pressed || now_ms >= w->house_due_ms;
}

static void plan_house(const struct writer *w, int64_t now_ms, struct housekeeping *h)
{
	h->max_events = HOUSE_SLICE;
	if (now_ms >= w->house_due_ms) {
		h->delivered_before_ms = cutoff(w, now_ms, w->settings.keep_delivered_ms);
		h->dead_before_ms = cutoff(w, now_ms, w->settings.keep_dead_ms);
		h->keys_before_ms = now_ms;
	}
	if (w->pressed)
		h->oldest_delivered = HOUSE_SLICE;
	if (w->removals)
		h->remove_endpoint = w->removals->endpoint;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When there will be something to forget: never later than a day, in which a new key can expire. */
static int64_t next_house(const struct store_settings *settings, const struct engine_stats *stats,
	int64_t lag_ms, int64_t now_ms)
{
	int64_t next_ms = now_ms + HOUSE_LATEST_MS;

	next_ms = earlier(next_ms, now_ms + settings->keep_delivered_ms);
	next_ms = earlier(next_ms, now_ms + settings->keep_dead_ms);
	if (stats->first_delivered_end_ms != INT64_MAX)
		next_ms = earlier(next_ms,
			stats->first_delivered_end_ms + settings->keep_delivered_ms + lag_ms);
	if (stats->first_dead_end_ms != INT64_MAX)
		next_ms = earlier(
			next_ms, stats->first_dead_end_ms + settings->keep_dead_ms + lag_ms);
	next_ms = earlier(next_ms, stats->first_key_expiry_ms);
	/* Rarely is a second the difference; without it every single expiry would be a commit. */
	return next_ms > now_ms + 1000 ? next_ms + 1 : now_ms + 1000;
}

static void conclude_house(struct writer *w, const struct housekeeping *h,
	const struct engine_stats *stats, int64_t now_ms)
{
	bool slice_was_full =
		h->n_forgotten >= h->max_events || h->n_keys_forgotten >= 4 * h->max_events;

	if (h->remove_endpoint && h->n_removed < h->max_events) {
		struct removal *done = w->removals;

		w->removals = done->next;
		free(done);
	}
	if (h->keys_before_ms && !slice_was_full)
		w->house_due_ms = next_house(&w->settings, stats, w->options.lag_ms, now_ms);
	/* The oldest delivered events give way, as long as there are any. */
	w->pressed = stats->history_in_the_way && stats->first_delivered_end_ms != INT64_MAX;
}

static void add_removal(struct writer *w, uint32_t endpoint)
{
	struct removal *removal = malloc(sizeof(*removal));

	if (!removal)
		out_of_memory("the removal of an endpoint"); /* started anew, hookd finds it */
	*removal = (struct removal){w->removals, endpoint};
	w->removals = removal;
}

/* ---- A round ---- */

static size_t submit_rows(const struct submit_op *op)
{
	return 4 * op->n + 3 * op->n_deliveries;
}

/* Nobody waits for an outcome: a commit for it alone may wait for more of them. */
static bool outcomes_are_due(const struct writer *w)
{
	const struct inbox *in = &w->inbox;

	return in->outcomes.first &&
		(in->n_outcomes >= OUTCOMES_TOGETHER || in->changes.first || in->submits.first ||
			in->verbs.first || w->verb || in->stopping ||
			clock_monotonic_us() - in->outcomes_us >= OUTCOME_PATIENCE_US);
}

static struct op *take_outcome(struct inbox *in)
{
	struct op *op = queue_pop(&in->outcomes);

	if (op)
		in->n_outcomes--;
	return op;
}

/* Moves what fits into one batch from the inbox to ops, in the order in which it is applied. */
static void take_ops(struct writer *w, struct op_queue *ops, bool with_outcomes)
{
	struct inbox *in = &w->inbox;
	size_t rows = 0, bytes = 0;
	struct op *op;

	while (with_outcomes && rows < BATCH_ROWS_MAX && (op = take_outcome(in))) {
		queue_push(ops, op);
		rows += ROWS_PER_OUTCOME;
	}
	while ((op = queue_pop(&in->changes)))
		queue_push(ops, op);
	for (bool first = true; in->submits.first; first = false) {
		struct submit_op *submit = (struct submit_op *)in->submits.first;

		/* The first always goes, or outcomes might keep a large one waiting for ever. */
		if (!first &&
			(rows + submit_rows(submit) > BATCH_ROWS_MAX ||
				bytes + submit->bytes > BATCH_BYTES_MAX))
			break;
		rows += submit_rows(submit);
		bytes += submit->bytes;
		in->waiting_bytes -= submit->bytes;
		in->waiting_events -= submit->n;
		queue_push(ops, queue_pop(&in->submits));
	}
	if (!w->verb)
		w->verb = (struct verb_op *)queue_pop(&in->verbs);
	if (w->verb)
		queue_push(ops, &w->verb->op);
}

static bool inbox_has_work(const struct writer *w)
{
	const struct inbox *in = &w->inbox;

	return outcomes_are_due(w) || in->changes.first || in->submits.first || in->verbs.first ||
		w->verb || in->wishes || in->unclaimed;
}

/* Until something comes, or its time. */
static void wait(struct writer *w, int64_t now_ms)
{
	int64_t wait_us = (w->house_due_ms - now_ms) * 1000, outcomes_us;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	if (w->inbox.outcomes.first) {
		outcomes_us = w->inbox.outcomes_us + OUTCOME_PATIENCE_US - clock_monotonic_us();
		wait_us = earlier(wait_us, outcomes_us > 0 ? outcomes_us : 0);
	}
	until.tv_sec += wait_us / 1000000;
	until.tv_nsec += wait_us % 1000000 * 1000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&w->filled, &w->mutex, &until);
}

/* What the thread took out of the inbox for one round. */
struct round {
	struct op_queue ops;
	struct wish *wishes;
	struct claimed *unclaimed;
	int64_t now_ms;
	bool keep_house;
};

/* The mutex is held. With new ones there may be something to forget at once. */
static void take_settings(struct writer *w)
{
	if (memcmp(&w->settings, &w->inbox.settings, sizeof(w->settings)) == 0)
		return;
	w->settings = w->inbox.settings;
	w->house_due_ms = 0;
}

/* Sleeps until there is work. Returns false when there is none left and the thread is to end. */
static bool next_round(struct writer *w, struct round *round)
{
	struct inbox *in = &w->inbox;

	queue_init(&round->ops);
	pthread_mutex_lock(&w->mutex);
	while (true) {
		take_settings(w);
		round->now_ms = clock_queue_ms(w->options.clock);
		round->keep_house = house_is_due(w, round->now_ms);
		if (inbox_has_work(w) || round->keep_house || in->prodded || in->stopping)
			break;
		wait(w, round->now_ms);
	}
	if (in->stopping && !inbox_has_work(w)) {
		pthread_mutex_unlock(&w->mutex);
		return false;
	}
	take_ops(w, &round->ops, round->keep_house || outcomes_are_due(w));
	round->wishes = in->wishes;
	in->wishes = NULL;
	in->last_wish = &in->wishes;
	round->unclaimed = in->unclaimed;
	in->unclaimed = NULL;
	in->prodded = false;
	pthread_mutex_unlock(&w->mutex);
	return true;
}

static void drop_unclaimed(struct writer *w, struct claimed *list)
{
	while (list) {
		struct claimed *next = list->next;
		struct delivery_ref ref = {list->delivery.event, list->delivery.endpoint};

		forget_claimed(w, &ref);
		claimed_free(list);
		list = next;
	}
}

/* After a commit: outcomes end claims, removed endpoints are noted, verbs that are done are let go.
 */
static void follow_up(struct writer *w, struct report *report, struct op_queue *ops)
{
	struct op_queue finished;
	struct op *op;

	queue_init(&finished);
	while ((op = queue_pop(ops))) {
		if (op->kind == OP_OUTCOME) {
			const struct outcome *outcome = &((struct outcome_op *)op)->outcome;
			struct delivery_ref ref = {outcome->event, outcome->endpoint};

			forget_claimed(w, &ref);
		} else if (op->kind == OP_ENDPOINT) {
			const struct endpoint_op *endpoint = (struct endpoint_op *)op;

			if (endpoint->removed)
				add_removal(w, endpoint->number);
		} else if (op->kind == OP_VERB) {
			assert(w->verb);
			if (w->verb->at < w->verb->n)
				continue;
			w->verb = NULL;
		}
		queue_push(&finished, op);
		report->n_requests++;
	}
	report->ops = finished.first;
}

static enum engine_result commit(struct writer *w, struct round *round, struct report *report)
{
	const struct writer_options *o = &w->options;
	struct engine_stats stats;
	enum engine_result result;
	int64_t started_us = clock_monotonic_us();

	report->batch = (struct batch){
		.now_ms = round->now_ms, .limits = w->settings.limits, .ops = round->ops.first};
	if (round->keep_house)
		plan_house(w, round->now_ms, &report->batch.housekeeping);
	result = o->verbs->commit(o->engine, &report->batch);
	report->commit_us = clock_monotonic_us() - started_us;
	if (result != ENGINE_OK)
		return result;
	result = o->verbs->stats(o->engine, &w->settings.limits, &stats);
	if (result != ENGINE_OK)
		return result;
	report->used_bytes = stats.used_bytes;
	report->disk_free_bytes = stats.disk_free_bytes;
	if (report->batch.housekeeping.oldest_delivered)
		report->n_early = report->batch.housekeeping.n_forgotten;
	conclude_house(w, &report->batch.housekeeping, &stats, round->now_ms);
	follow_up(w, report, &round->ops);
	return ENGINE_OK;
}

static enum engine_result claim(struct writer *w, struct wish *wish, struct report *report)
{
	struct claim_answer *answer = calloc(1, sizeof(*answer));
	enum engine_result result;

	if (!answer)
		return ENGINE_BROKEN;
	wish->claim.skip = is_claimed;
	wish->claim.user = w;
	result = w->options.verbs->claim(w->options.engine, &wish->claim);
	*answer = (struct claim_answer){
		report->claims, wish->claim.endpoint, wish->claim.list, wish->claim.next_due_ms};
	report->claims = answer;
	for (struct claimed *c = wish->claim.list; c && result == ENGINE_OK; c = c->next) {
		struct delivery_ref ref = {c->delivery.event, c->delivery.endpoint};

		if (!remember_claimed(w, &ref))
			result = ENGINE_BROKEN;
	}
	return result;
}

/* result: how the round went so far; unless well, nothing is claimed. */
static enum engine_result claim_all(
	struct writer *w, struct wish *wishes, struct report *report, enum engine_result result)
{
	while (wishes) {
		struct wish *next = wishes->next;

		if (result == ENGINE_OK)
			result = claim(w, wishes, report);
		free(wishes);
		wishes = next;
	}
	return result;
}

/* The store is lost: what was taken out is answered so, behind what was committed before; what
 * waits still is taken back by the main thread. */
static void give_up(struct writer *w, struct op_queue *lost, struct report *report)
{
	struct op **end = &report->ops, *op;

	/* Where the batch is committed, and the claims after it failed, only a verb is left of it.
	 */
	if (w->verb && !lost->first)
		queue_push(lost, &w->verb->op);
	w->verb = NULL;
	for (op = lost->first; op; op = op->next)
		op->result = ENGINE_BROKEN;
	while (*end)
		end = &(*end)->next;
	*end = lost->first;
}

static void *run(void *user)
{
	struct writer *w = user;
	const struct writer_options *o = &w->options;
	struct round round;

	store_thread_begin("hookd-store");
	while (next_round(w, &round)) {
		struct report *report = calloc(1, sizeof(*report));
		enum engine_result result = ENGINE_OK;

		atomic_fetch_add(&w->beats, 1);
		atomic_store(&w->in_round_us, clock_monotonic_us());
		if (!report)
			out_of_memory("a report of the store");
		report->letter.open = o->on_report;
		report->user = o->user;
		drop_unclaimed(w, round.unclaimed);
		if (round.ops.first || round.keep_house)
			result = commit(w, &round, report);
		result = claim_all(w, round.wishes, report, result);
		atomic_store(&w->in_round_us, 0);
		report->result = result;
		if (result != ENGINE_OK) {
			snprintf(report->why, sizeof(report->why), "%s",
				o->verbs->broken(o->engine)[0] ? o->verbs->broken(o->engine)
							       : "out of memory");
			give_up(w, &round.ops, report);
			mailbox_post(o->mailbox, &report->letter);
			break;
		}
		if (report->ops || report->batch.n_touched || report->claims || report->commit_us)
			mailbox_post(o->mailbox, &report->letter);
		else
			report_free(report);
	}
	return NULL;
}

/* ---- The main thread's side ---- */

void report_free(struct report *report)
{
	while (report->claims) {
		struct claim_answer *next = report->claims->next;

		free(report->claims);
		report->claims = next;
	}
	batch_clear(&report->batch);
	free(report);
}

int writer_new(struct writer **writer, const struct writer_options *options)
{
	struct writer *w = calloc(1, sizeof(*w));
	pthread_condattr_t monotonic;

	if (!w)
		return -ENOMEM;
	w->options = *options;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->filled, &monotonic);
	pthread_condattr_destroy(&monotonic);
	queue_init(&w->inbox.outcomes);
	queue_init(&w->inbox.changes);
	queue_init(&w->inbox.submits);
	queue_init(&w->inbox.verbs);
	w->inbox.last_wish = &w->inbox.wishes;
	w->settings = w->inbox.settings = options->settings;
	*writer = w;
	return 0;
}

int writer_start(struct writer *w)
{
	int r = store_thread_start(&w->thread, run, w);

	w->running = r == 0;
	return r;
}

/* Unlocks first: else the thread would wake only to wait for the mutex. */
static void wake(struct writer *w)
{
	pthread_mutex_unlock(&w->mutex);
	pthread_cond_signal(&w->filled);
}

void writer_stop(struct writer *w)
{
	if (!w->running)
		return;
	pthread_mutex_lock(&w->mutex);
	w->inbox.stopping = true;
	wake(w);
	pthread_join(w->thread, NULL);
	w->running = false;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	writer_stop(w);
	drop_unclaimed(w, w->inbox.unclaimed);
	while (w->inbox.wishes) {
		struct wish *next = w->inbox.wishes->next;

		free(w->inbox.wishes);
		w->inbox.wishes = next;
	}
	while (w->removals) {
		struct removal *next = w->removals->next;

		free(w->removals);
		w->removals = next;
	}
	tdestroy(w->claimed, free);
	pthread_cond_destroy(&w->filled);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

void writer_set_settings(struct writer *w, const struct store_settings *settings)
{
	pthread_mutex_lock(&w->mutex);
	w->inbox.settings = *settings;
	wake(w);
}

struct op *writer_take_back(struct writer *w)
{
	struct inbox *in = &w->inbox;
	struct op_queue waiting;
	struct op *op;

	queue_init(&waiting);
	pthread_mutex_lock(&w->mutex);
	while ((op = take_outcome(in)) || (op = queue_pop(&in->changes)) ||
		(op = queue_pop(&in->submits)) || (op = queue_pop(&in->verbs))) {
		op->result = ENGINE_BROKEN;
		queue_push(&waiting, op);
	}
	pthread_mutex_unlock(&w->mutex);
	return waiting.first;
}

void writer_remove_later(struct writer *w, uint32_t endpoint)
{
	assert(!w->running);
	add_removal(w, endpoint);
}

bool writer_submit(struct writer *w, struct submit_op *op)
{
	struct inbox *in = &w->inbox;
	bool room;

	pthread_mutex_lock(&w->mutex);
	/* One that is larger than what may wait goes when nothing else waits. */
	room = !in->submits.first ||
		(in->waiting_bytes + op->bytes <= WAITING_BYTES_MAX &&
			in->waiting_events + op->n <= WAITING_EVENTS_MAX);
	if (room) {
		in->waiting_bytes += op->bytes;
		in->waiting_events += op->n;
		queue_push(&in->submits, &op->op);
	}
	wake(w);
	return room;
}

/* The mutex is held. The thread need not be woken for each. */
static void add_outcome(struct writer *w, struct op *op)
{
	struct inbox *in = &w->inbox;

	if (!in->outcomes.first)
		in->outcomes_us = clock_monotonic_us();
	queue_push(&in->outcomes, op);
	in->n_outcomes++;
	if (in->n_outcomes == 1 || in->n_outcomes == OUTCOMES_TOGETHER)
		wake(w);
	else
		pthread_mutex_unlock(&w->mutex);
}

void writer_change(struct writer *w, struct op *op)
{
	struct inbox *in = &w->inbox;

	pthread_mutex_lock(&w->mutex);
	switch (op->kind) {
	case OP_OUTCOME:
		add_outcome(w, op);
		return;
	case OP_ENDPOINT:
	case OP_SENDING:
	case OP_KEY:
		queue_push(&in->changes, op);
		break;
	case OP_SUBMIT:
		assert(false); /* counted by writer_submit() */
		break;
	case OP_VERB:
		queue_push(&in->verbs, op);
		break;
	}
	wake(w);
}

void writer_claim(
	struct writer *w, uint32_t endpoint, int64_t until_ms, unsigned max_n, size_t max_bytes)
{
	struct wish *wish = calloc(1, sizeof(*wish));

	if (!wish)
		out_of_memory("a claim"); /* the endpoint would wait for ever */
	wish->claim = (struct claim){
		.endpoint = endpoint, .until_ms = until_ms, .max_n = max_n, .max_bytes = max_bytes};
	pthread_mutex_lock(&w->mutex);
	*w->inbox.last_wish = wish;
	w->inbox.last_wish = &wish->next;
	wake(w);
}

void writer_unclaim(struct writer *w, struct claimed *claimed)
{
	pthread_mutex_lock(&w->mutex);
	claimed->next = w->inbox.unclaimed;
	w->inbox.unclaimed = claimed;
	wake(w);
}

bool writer_is_alive(struct writer *w)
{
	uint64_t beats = atomic_load(&w->beats);
	int64_t in_round_us = atomic_load(&w->in_round_us);
	bool alive = beats != w->beats_seen ||
		(in_round_us && clock_monotonic_us() - in_round_us < ROUND_PATIENCE_US);

	w->beats_seen = beats;
	pthread_mutex_lock(&w->mutex);
	w->inbox.prodded = true;
	wake(w);
	return alive;
}
