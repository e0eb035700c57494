#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>

#include "../out_of_memory.h"
#include "endpoint_record.h"
#include "mailbox.h"
#include "reader.h"
#include "store_thread.h"
#include "writer.h"

#define STOP_COUNTS_MS (24 * 3600 * (int64_t)1000) /* of a stop, towards retention */
#define REMOVED_MEANWHILE "the endpoint was removed meanwhile"

/* Changes to one endpoint: the first is under way, the others wait for it. */
struct edits {
	struct endpoint_edit *first, **last;
};

/* An edit that is being committed. */
struct editing {
	struct endpoint_op op;
	struct store *store;
	struct endpoint_edit *edit;
	struct endpoint *settings; /* as they will be */
	uint8_t key_id[SECRETBOX_KEY_ID_LEN]; /* of the master key that sealed them */
	struct editing *next; /* in store->creating */
};

struct store {
	struct store_options options;
	struct engine *engine;
	struct registry *registry;
	struct mailbox *mailbox;
	struct writer *writer;
	struct reader *reader;
	struct event_id_source ids;
	uint32_t next_endpoint;
	struct sending sending;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN]; /* of the master key that it is marked with */
	struct editing *creating;
	struct store_numbers numbers;
	bool started, broken, finished;
};

/* ---- Reports ---- */

/* The slot goes. An edit of it that is being committed seals it anew, and then finds no slot; those
 * that wait behind that one end here. */
static void forget(struct store *s, struct slot *slot)
{
	struct endpoint_edit *waiting = slot->edits ? slot->edits->first->next : NULL;
	struct problem problem;

	s->options.callbacks->forgetting(s->options.user, slot);
	free(slot->edits);
	registry_forget(s->registry, slot->settings->number);
	problem_set(&problem, PROBLEM_NOT_FOUND, NULL, REMOVED_MEANWHILE);
	while (waiting) {
		struct endpoint_edit *next = waiting->next; /* done may free it */

		waiting->done(waiting, NULL, &problem);
		waiting = next;
	}
}

static void on_touched(struct store *s, const struct touched *touched)
{
	struct slot *slot = registry_at(s->registry, touched->endpoint), before;

	if (!slot)
		return;
	before = *slot;
	before.message = NULL; /* replaced by the update */
	registry_update(slot, touched);
	s->options.callbacks->touched(s->options.user, slot, &before, touched);
	if (touched->forgotten)
		forget(s, slot);
}

static void run_ops(struct op *op)
{
	while (op) {
		struct op *next = op->next; /* done may free it */

		op->done(op);
		op = next;
	}
}

static void break_store(struct store *s, const char *why)
{
	s->broken = true;
	s->options.callbacks->broken(s->options.user, why);
}

static void on_reader_broken(void *user)
{
	struct store *s = user;

	break_store(s, s->options.engine->broken(s->engine));
}

static void on_report(struct letter *letter)
{
	struct report *report = (struct report *)letter;
	struct store *s = report->user;
	const struct store_callbacks *callbacks = s->options.callbacks;

	if (report->result != ENGINE_OK)
		s->broken = true;
	if (report->commit_us) {
		s->numbers = (struct store_numbers){
			report->used_bytes, report->disk_free_bytes, report->commit_us};
		callbacks->committed(s->options.user, report->n_requests, report->commit_us);
	}
	/* Settings first: a delivery to a new endpoint finds its slot. */
	run_ops(report->ops);
	if (s->broken)
		run_ops(writer_take_back(s->writer));
	for (size_t i = 0; i < report->batch.n_touched; i++)
		on_touched(s, &report->batch.touched[i]);
	for (struct claim_answer *answer = report->claims; answer; answer = answer->next)
		callbacks->claimed(
			s->options.user, answer->endpoint, answer->list, answer->next_due_ms);
	if (report->n_early)
		callbacks->early(s->options.user, report->n_early);
	if (report->result != ENGINE_OK)
		break_store(s, report->why);
	report_free(report);
}

/* ---- Opening ---- */

struct loading {
	struct store *store;
	struct problem *problem;
	int error;
	size_t n_without_key;
};

static bool is_current_key(const struct store *s, const uint8_t id[static SECRETBOX_KEY_ID_LEN])
{
	return memcmp(id, s->options.box->current.id, SECRETBOX_KEY_ID_LEN) == 0;
}

/* A master key that was lost is no reason to go on without the secrets: told of the first one, with
 * what there is and what there should be. */
static void note_missing_key(struct loading *loading, const struct endpoint *endpoint,
	const uint8_t id[static SECRETBOX_KEY_ID_LEN])
{
	char address[ENDPOINT_ADDRESS_SIZE], wanted[SECRETBOX_KEY_ID_SIZE];

	loading->error = -ENOKEY;
	if (loading->n_without_key++)
		return;
	endpoint_address(endpoint, address);
	secretbox_key_id_format(id, wanted);
	problem_set(loading->problem, PROBLEM_INVALID, NULL,
		"the secret of endpoint %s is sealed with master key %s, which is not there: "
		"hand it in as hookd-master-key-previous, or put it into %s/master.key.previous",
		address, wanted, loading->store->options.directory);
}

static void on_endpoint_found(void *user, uint32_t number, bool removed, const uint8_t *blob,
	size_t len, const struct touched *state)
{
	struct loading *loading = user;
	struct store *s = loading->store;
	struct endpoint *endpoint;
	struct slot *slot = NULL;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];
	int r;

	if (loading->error)
		return;
	r = endpoint_record_read(number, removed, blob, len, s->options.box, &endpoint, key_id);
	if (r == RECORD_NO_KEY) {
		note_missing_key(loading, endpoint, key_id);
		endpoint_unref(endpoint);
		return;
	}
	if (r == RECORD_LOCKED) /* it is paused now; the others are not affected */
		endpoint->state_since_ms = clock_queue_ms(s->options.clock);
	if (r >= 0)
		slot = registry_put(s->registry, endpoint);
	if (!slot) {
		loading->error = r < 0 ? r : -ENOMEM;
		problem_set(loading->problem, PROBLEM_INVALID, NULL,
			"endpoint number %u cannot be read: %s", number,
			loading->error == -EBADMSG
				? "its record is damaged (hookd --check-data; restore a backup)"
				: strerror(-loading->error));
		return;
	}
	registry_update(slot, state);
	slot->old_key = !is_current_key(s, key_id);
	if (removed && (slot->deliveries[DELIVERY_PENDING] || slot->deliveries[DELIVERY_HELD]))
		writer_remove_later(s->writer, number);
}

static int load_endpoints(struct store *s, struct problem *problem)
{
	struct loading loading = {.store = s, .problem = problem};

	if (s->options.engine->each_endpoint(s->engine, on_endpoint_found, &loading) != ENGINE_OK) {
		problem_set(
			problem, PROBLEM_INVALID, NULL, "%s", s->options.engine->broken(s->engine));
		return -EIO;
	}
	return loading.error ? -EIO : 0;
}

/* Of a stop longer than a day, the rest does not count for what had ended before it. Returns
 * whether it was one, which is to be noted. */
static bool reckon_stop(const struct store *s, struct engine_found *found)
{
	int64_t stopped_ms =
		found->queue_ms ? clock_queue_ms(s->options.clock) - found->queue_ms : 0;
	struct engine_stats stats;

	if (stopped_ms <= STOP_COUNTS_MS)
		return false;
	if (s->options.engine->stats(s->engine, &s->options.settings.limits, &stats) == ENGINE_OK &&
		stats.first_delivered_end_ms >= found->stop_ms &&
		stats.first_dead_end_ms >= found->stop_ms)
		found->lag_ms = 0; /* what the last long stop concerned is gone */
	found->lag_ms += stopped_ms - STOP_COUNTS_MS;
	found->stop_ms = found->queue_ms;
	return true;
}

static int note_stop(struct store *s, const struct engine_found *found, struct problem *problem)
{
	if (s->options.engine->set_lag(s->engine, found->stop_ms, found->lag_ms) == ENGINE_OK)
		return 0;
	problem_set(problem, PROBLEM_INVALID, NULL, "%s", s->options.engine->broken(s->engine));
	return -EIO;
}

static int make_threads(struct store *s, const struct engine_found *found)
{
	struct writer_options writer = {.verbs = s->options.engine,
		.engine = s->engine,
		.clock = s->options.clock,
		.settings = s->options.settings,
		.stop_ms = found->stop_ms,
		.lag_ms = found->lag_ms,
		.on_report = on_report,
		.user = s};
	struct reader_options reader = {.verbs = s->options.engine,
		.engine = s->engine,
		.settings = s->options.settings,
		.broken = on_reader_broken,
		.user = s};
	int r = mailbox_new(&s->mailbox, s->options.base);

	writer.mailbox = reader.mailbox = s->mailbox;
	if (r == 0)
		r = writer_new(&s->writer, &writer);
	if (r == 0)
		r = reader_new(&s->reader, &reader);
	return r;
}

/* The store is marked with the key that its secrets are sealed with; while that is being changed,
 * with the previous one. */
static int check_key(void *user, const uint8_t *id, struct problem *problem)
{
	const struct store *s = user;
	const struct secretbox *box = s->options.box;
	char wanted[SECRETBOX_KEY_ID_SIZE], given[SECRETBOX_KEY_ID_SIZE],
		previous[SECRETBOX_KEY_ID_SIZE] = "";

	if (secretbox_has_key(box, id))
		return 0;
	secretbox_key_id_format(id, wanted);
	secretbox_key_id_format(box->current.id, given);
	if (box->has_previous)
		secretbox_key_id_format(box->previous.id, previous);
	problem_set(problem, PROBLEM_INVALID, NULL,
		"the master key is not the one that the store in %s was sealed with: that is %s, given %s %s%s%s",
		s->options.directory, wanted, previous[0] ? "are" : "is", given,
		previous[0] ? " and " : "", previous);
	return -EIO;
}

static int open_store(struct store *s, struct problem *problem)
{
	struct engine_options options = {.directory = s->options.directory,
		.limits = s->options.settings.limits,
		.check_key = check_key,
		.check_user = s,
		.mending = s->options.callbacks->mending,
		.user = s->options.user};
	struct engine_found found;
	bool was_long;
	int r;

	memcpy(options.key_id, s->options.box->current.id, sizeof(options.key_id));
	r = s->options.engine->open(&s->engine, &options, &found, problem);
	if (r < 0)
		return r;
	memcpy(s->key_id, found.key_id, sizeof(s->key_id));
	clock_start(s->options.clock, s->options.clock_source, found.queue_ms);
	s->ids.last = found.last_event;
	s->next_endpoint = found.next_endpoint;
	s->sending = found.sending;
	was_long = reckon_stop(s, &found);
	s->registry = registry_new();
	r = s->registry ? make_threads(s, &found) : -ENOMEM;
	if (r < 0) {
		problem_set(
			problem, PROBLEM_INVALID, NULL, "cannot start the store: %s", strerror(-r));
		return -EIO;
	}
	r = load_endpoints(s, problem);
	/* Nothing is written before it is certain that hookd can start. */
	return r == 0 && was_long ? note_stop(s, &found, problem) : r;
}

int store_open(struct store **store, const struct store_options *options, struct problem *problem)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		problem_set(problem, PROBLEM_INVALID, NULL, "out of memory");
		return -EIO;
	}
	s->options = *options;
	store_thread_set(true);
	r = open_store(s, problem);
	store_thread_set(false);
	if (r < 0) {
		store_close(s); /* which writes nothing: it was not started */
		return r;
	}
	*store = s;
	return 0;
}

int store_start(struct store *s)
{
	int r = writer_start(s->writer);

	if (r == 0)
		r = reader_start(s->reader);
	s->started = r == 0;
	return r;
}

void store_finish(struct store *s)
{
	if (s->writer)
		writer_stop(s->writer);
	if (s->reader)
		reader_stop(s->reader);
	s->finished = true;
	mailbox_free(s->mailbox); /* opens the last answers */
	s->mailbox = NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_finish(s);
	reader_free(s->reader);
	writer_free(s->writer);
	store_thread_set(true);
	if (s->engine)
		s->options.engine->close(
			s->engine, s->started && !s->broken ? clock_queue_ms(s->options.clock) : 0);
	store_thread_set(false);
	registry_free(s->registry);
	free(s);
}

void store_set_settings(struct store *s, const struct store_settings *settings)
{
	s->options.settings = *settings;
	writer_set_settings(s->writer, settings);
	reader_set_settings(s->reader, settings);
}

struct registry *store_registry(struct store *s)
{
	return s->registry;
}

const struct sending *store_sending(const struct store *s)
{
	return &s->sending;
}

struct store_numbers store_numbers(const struct store *s)
{
	return s->numbers;
}

struct event_id store_next_id(struct store *s, int64_t now_ms)
{
	uint8_t random[10] = {0};

	/* Within the millisecond of the last one it is counted up from that. getrandom(2) cannot
	 * fail for so few bytes once the machine has booted; were it to, ids would still grow. */
	if (now_ms > event_id_ms(&s->ids.last) &&
		getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		memset(random, 0, sizeof(random));
	return event_id_next(&s->ids, now_ms, random);
}

/* ---- Changes ---- */

/* After the store broke, or was finished, everything is answered so at once. */
static bool refuse_lost(struct store *s, struct op *op)
{
	if (!s->broken && !s->finished)
		return false;
	op->result = ENGINE_BROKEN;
	op->done(op);
	return true;
}

bool store_submit(struct store *s, struct submit_op *op)
{
	op->op.kind = OP_SUBMIT;
	op->full_endpoint = 0;
	return refuse_lost(s, &op->op) || writer_submit(s->writer, op);
}

void store_outcome(struct store *s, struct outcome_op *op)
{
	op->op.kind = OP_OUTCOME;
	if (!refuse_lost(s, &op->op))
		writer_change(s->writer, &op->op);
}

void store_verb(struct store *s, struct verb_op *op)
{
	op->op.kind = OP_VERB;
	op->at = 0;
	op->n_changed = 0;
	if (!refuse_lost(s, &op->op))
		writer_change(s->writer, &op->op);
}

void store_set_sending(struct store *s, struct sending_op *op)
{
	op->op.kind = OP_SENDING;
	s->sending = op->sending;
	if (!refuse_lost(s, &op->op))
		writer_change(s->writer, &op->op);
}

/* ---- Edits ---- */

static void start_edit(struct store *s, struct endpoint_edit *edit);

static void finish_edit(struct store *s, struct endpoint_edit *edit, struct slot *slot,
	const struct problem *problem)
{
	struct edits *edits = slot ? slot->edits : NULL;
	struct endpoint_edit *next = NULL;

	if (edits && edits->first == edit) {
		edits->first = next = edit->next;
		if (!next) {
			free(edits);
			slot->edits = NULL;
		}
	}
	edit->done(edit, slot, problem);
	if (next)
		start_edit(s, next);
}

static void on_edit_committed(struct op *op)
{
	struct editing *editing = (struct editing *)op;
	struct store *s = editing->store;
	struct problem problem = {.code = PROBLEM_NONE};
	struct endpoint *before = NULL;
	struct slot *slot = registry_at(s->registry, editing->op.number);

	for (struct editing **at = &s->creating; *at; at = &(*at)->next) {
		if (*at == editing) {
			*at = editing->next;
			break;
		}
	}
	if (op->result != ENGINE_OK) {
		problem_set(&problem, PROBLEM_UNKNOWN, NULL, "the store failed: perhaps changed");
		endpoint_unref(editing->settings);
	} else if (editing->edit->reseals) {
		endpoint_unref(editing->settings);
	} else {
		if (slot)
			before = endpoint_ref(slot->settings);
		slot = registry_put(s->registry, editing->settings);
		if (!slot)
			out_of_memory(
				"an endpoint"); /* it is stored: started anew, hookd finds it */
		s->options.callbacks->edited(s->options.user, slot, before);
		endpoint_unref(before);
	}
	if (op->result == ENGINE_OK && slot)
		slot->old_key = !is_current_key(s, editing->key_id);
	free((void *)editing->op.blob);
	finish_edit(s, editing->edit, slot, &problem);
	free(editing);
}

static void commit_edit(struct store *s, struct endpoint_edit *edit, struct endpoint *draft)
{
	struct editing *editing = calloc(1, sizeof(*editing));
	struct problem problem;

	if (editing) {
		editing->settings = endpoint_new(draft);
		if (editing->settings)
			editing->op.blob =
				endpoint_record_write(draft, s->options.box, &editing->op.blob_len);
	}
	if (!editing || !editing->op.blob) {
		if (editing)
			endpoint_unref(editing->settings);
		free(editing);
		problem_set(&problem, PROBLEM_BUSY, NULL, "out of memory: try again");
		finish_edit(s, edit, registry_at(s->registry, edit->number), &problem);
		return;
	}
	editing->op.op.kind = OP_ENDPOINT;
	editing->op.op.done = on_edit_committed;
	editing->op.number = draft->number;
	editing->op.removed = draft->removed;
	memcpy(editing->key_id, s->options.box->current.id, sizeof(editing->key_id));
	editing->store = s;
	editing->edit = edit;
	if (edit->creates) {
		editing->next = s->creating;
		s->creating = editing;
	}
	if (!refuse_lost(s, &editing->op.op))
		writer_change(s->writer, &editing->op.op);
}

static void start_edit(struct store *s, struct endpoint_edit *edit)
{
	struct slot *slot = registry_at(s->registry, edit->number);
	struct endpoint_secret secrets[ENDPOINT_SECRETS_MAX];
	struct endpoint draft = {.number = edit->number};
	int64_t now_ms = clock_queue_ms(s->options.clock);
	struct problem problem = {.code = PROBLEM_NONE};

	if (edit->reseals && slot) {
		draft = *slot->settings;
		commit_edit(s, edit, &draft);
		return;
	}
	if (!edit->creates && (!slot || slot->settings->removed)) {
		problem_set(&problem, PROBLEM_NOT_FOUND, NULL, REMOVED_MEANWHILE);
		finish_edit(s, edit, slot, &problem);
		return;
	}
	if (!edit->creates) {
		draft = *slot->settings;
		memcpy(secrets, draft.secrets, draft.n_secrets * sizeof(secrets[0]));
	} else {
		draft.number = s->next_endpoint;
		draft.created_ms = draft.state_since_ms = now_ms;
	}
	draft.secrets = secrets;
	endpoint_expire_secrets(&draft, now_ms);
	draft.revision++;
	draft.updated_ms = now_ms;
	if (edit->apply(edit, &draft, &problem) == 0) {
		if (edit->creates)
			edit->number = s->next_endpoint++; /* only now: it is never given again */
		commit_edit(s, edit, &draft);
	} else {
		finish_edit(s, edit, slot, &problem);
	}
	OPENSSL_cleanse(secrets, sizeof(secrets));
}

void store_edit(struct store *s, struct endpoint_edit *edit)
{
	struct slot *slot = registry_at(s->registry, edit->number);
	bool waits;

	edit->next = NULL;
	if (edit->creates || !slot) {
		start_edit(s, edit);
		return;
	}
	waits = slot->edits != NULL;
	if (!waits) {
		slot->edits = calloc(1, sizeof(*slot->edits));
		if (!slot->edits) {
			struct problem problem;

			problem_set(&problem, PROBLEM_BUSY, NULL, "out of memory: try again");
			edit->done(edit, slot, &problem);
			return;
		}
		slot->edits->last = &slot->edits->first;
	}
	*slot->edits->last = edit;
	slot->edits->last = &edit->next;
	if (!waits)
		start_edit(s, edit);
}

const uint8_t *store_key_id(const struct store *s)
{
	return s->key_id;
}

void store_set_key(struct store *s, struct key_op *op)
{
	op->op.kind = OP_KEY;
	memcpy(s->key_id, op->key_id, sizeof(s->key_id));
	if (!refuse_lost(s, &op->op))
		writer_change(s->writer, &op->op);
}

void store_key_changed(struct store *s)
{
	for (struct slot *slot = registry_next(s->registry, 0); slot;
		slot = registry_next(s->registry, slot->settings->number + 1))
		slot->old_key = true;
}

size_t store_creating(const struct store *s, const char *tenant, const char *name)
{
	size_t n = 0;

	for (const struct editing *e = s->creating; e; e = e->next)
		n += strcmp(e->settings->tenant, tenant) == 0 &&
			(!name || strcmp(e->settings->name, name) == 0);
	return n;
}

/* ---- What is due, reading ---- */

void store_claim(
	struct store *s, uint32_t endpoint, int64_t until_ms, unsigned max_n, size_t max_bytes)
{
	writer_claim(s->writer, endpoint, until_ms, max_n, max_bytes);
}

void store_unclaim(struct store *s, struct claimed *claimed)
{
	writer_unclaim(s->writer, claimed);
}

void store_ask(struct store *s, struct store_query *query)
{
	if (s->finished) {
		query->result = ENGINE_BROKEN;
		query->done(query);
		return;
	}
	reader_ask(s->reader, query);
}

bool store_backup(struct store *s, struct store_backup *backup)
{
	return !s->finished && reader_backup(s->reader, backup);
}

bool store_is_backing_up(const struct store *s)
{
	return reader_is_backing_up(s->reader);
}

bool store_is_alive(struct store *s)
{
	return writer_is_alive(s->writer);
}
