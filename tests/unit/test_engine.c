/*
 * The conformance suite of store engines: whatever engine it is given has to behave like the model.
 * Random sequences of all operations run on both, and after every batch everything that can be read
 * is compared; the LMDB engine is closed and opened in between, and looked through by the offline
 * check at the end.
 */
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../daemon/store/data_lock.h"
#include "../../daemon/store/engine.h"
#include "../../daemon/store/lmdb_check.h"
#include "../../daemon/store/lmdb_engine.h"
#include "../model/model_engine.h"

#define N_ENDPOINTS 6
#define N_KEYS 5
#define PAYLOAD_MAX 20000

/* ---- Randomness that can be repeated ---- */

static uint64_t seed_state;

static uint32_t rnd(uint32_t below)
{
	seed_state ^= seed_state << 13;
	seed_state ^= seed_state >> 7;
	seed_state ^= seed_state << 17;
	return (uint32_t)((seed_state >> 11) % below);
}

/* ---- A directory for the LMDB engine ---- */

static char directory[64];

static void remove_directory(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/hookd-test-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int drop_directory(void **state)
{
	(void)state;
	remove_directory();
	return 0;
}

static struct engine_options options(void)
{
	return (struct engine_options){.directory = directory,
		.limits = {.budget_bytes = (int64_t)1 << 30},
		.key_id = "testkey"};
}

static struct engine *open_lmdb(void)
{
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;
	struct engine *engine;

	if (engine_lmdb.open(&engine, &o, &found, &problem) < 0)
		fail_msg("%s", problem.detail);
	return engine;
}

static void on_fault(void *user, const char *text)
{
	(void)user;
	print_error("check: %s\n", text);
}

static void check_file(void)
{
	struct check_result result;
	struct problem problem;

	assert_int_equal(lmdb_check(directory, on_fault, NULL, &result, &problem), 0);
	assert_int_equal(result.n_faults, 0);
}

/* ---- Two engines side by side ---- */

struct pair {
	struct engine *lmdb, *model;
	int64_t now_ms;
	struct event_id_source ids;
	struct event_id known[4096]; /* events that were submitted */
	size_t n_known;
	bool removed[N_ENDPOINTS + 1];
	uint32_t next_endpoint;
	uint32_t numbers[N_ENDPOINTS]; /* of the endpoints that tests aim at */
	struct claimed *claimed; /* by both; the LMDB engine's copies */
};

static const struct engine_verbs *const both[2] = {&engine_lmdb, &engine_model};

static struct engine *engine_of(struct pair *p, int i)
{
	return i == 0 ? p->lmdb : p->model;
}

static void pair_open(struct pair *p, uint64_t seed)
{
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;

	memset(p, 0, sizeof(*p));
	seed_state = seed * 2654435761u + 88172645463325252u;
	p->lmdb = open_lmdb();
	assert_int_equal(engine_model.open(&p->model, &o, &found, &problem), 0);
	p->now_ms = 1700000000000;
	p->next_endpoint = 1;
}

static void pair_close(struct pair *p)
{
	while (p->claimed) {
		struct claimed *next = p->claimed->next;

		claimed_free(p->claimed);
		p->claimed = next;
	}
	engine_lmdb.close(p->lmdb, p->now_ms);
	engine_model.close(p->model, p->now_ms);
}

static int compare_touched(const void *a, const void *b)
{
	uint32_t x = ((const struct touched *)a)->endpoint,
		 y = ((const struct touched *)b)->endpoint;

	return x < y ? -1 : x > y;
}

static void assert_same_attempt(const struct attempt *a, const struct attempt *b)
{
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->result, b->result);
	assert_int_equal(a->http_status, b->http_status);
	assert_int_equal(a->duration_ms, b->duration_ms);
	assert_int_equal(a->retry_after_s, b->retry_after_s);
	assert_int_equal(a->started_ms, b->started_ms);
	assert_int_equal(a->peer.family, b->peer.family);
	assert_memory_equal(a->peer.bytes, b->peer.bytes, 16);
	assert_int_equal(a->peer.port, b->peer.port);
}

static void assert_same_tally(const struct tally *a, const struct tally *b)
{
	assert_memory_equal(a->deliveries, b->deliveries, sizeof(a->deliveries));
	assert_int_equal(a->owed_bytes, b->owed_bytes);
	assert_int_equal(a->health, b->health);
	assert_int_equal(a->failures, b->failures);
	assert_int_equal(a->health_since_ms, b->health_since_ms);
	if (a->health != HEALTH_UNTRIED)
		assert_same_attempt(&a->last, &b->last);
	assert_int_equal(a->message_len, b->message_len);
	assert_memory_equal(a->message, b->message, a->message_len);
}

static void assert_same_touched(struct batch *a, struct batch *b)
{
	assert_int_equal(a->n_touched, b->n_touched);
	if (a->n_touched == 0)
		return;
	qsort(a->touched, a->n_touched, sizeof(*a->touched), compare_touched);
	qsort(b->touched, b->n_touched, sizeof(*b->touched), compare_touched);
	for (size_t i = 0; i < a->n_touched; i++) {
		assert_int_equal(a->touched[i].endpoint, b->touched[i].endpoint);
		assert_int_equal(a->touched[i].earliest_due_ms, b->touched[i].earliest_due_ms);
		assert_int_equal(a->touched[i].by_verb, b->touched[i].by_verb);
		assert_int_equal(a->touched[i].forgotten, b->touched[i].forgotten);
		assert_int_equal(a->touched[i].oldest_pending_ms, b->touched[i].oldest_pending_ms);
		assert_same_tally(&a->touched[i].tally, &b->touched[i].tally);
	}
}

static void assert_same_delivery(const struct delivery *a, const struct delivery *b)
{
	assert_int_equal(event_id_compare(&a->event, &b->event), 0);
	assert_int_equal(a->endpoint, b->endpoint);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->reason, b->reason);
	assert_int_equal(a->turn, b->turn);
	assert_int_equal(a->attempts, b->attempts);
	assert_int_equal(a->local_faults, b->local_faults);
	assert_int_equal(a->since_ms, b->since_ms);
	assert_int_equal(a->due_ms, b->due_ms);
	assert_int_equal(a->aged_from_ms, b->aged_from_ms);
	assert_int_equal(a->payload_bytes, b->payload_bytes);
	assert_same_attempt(&a->last, &b->last);
}

static void assert_same_story(const struct attempt_story *a, const struct attempt_story *b)
{
	assert_same_attempt(&a->attempt, &b->attempt);
	assert_int_equal(a->message_len, b->message_len);
	assert_int_equal(a->response_len, b->response_len);
	assert_memory_equal(a->message, b->message, a->message_len);
	assert_memory_equal(a->response, b->response, a->response_len);
}

static void assert_same_event(const struct stored_event *a, const struct stored_event *b)
{
	assert_int_equal(event_id_compare(&a->event.id, &b->event.id), 0);
	assert_int_equal(a->event.accepted_ms, b->event.accepted_ms);
	assert_int_equal(a->event.timestamp_wall_ms, b->event.timestamp_wall_ms);
	assert_int_equal(a->event.deliver_at_wall_ms, b->event.deliver_at_wall_ms);
	assert_int_equal(a->event.uid, b->event.uid);
	assert_int_equal(a->event.n_deliveries, b->event.n_deliveries);
	assert_int_equal(a->event.payload_len, b->event.payload_len);
	assert_string_equal(a->event.tenant, b->event.tenant);
	assert_string_equal(a->event.type, b->event.type);
	assert_string_equal(a->event.content_type, b->event.content_type);
	assert_int_equal(a->event.key == NULL, b->event.key == NULL);
	if (a->event.key)
		assert_string_equal(a->event.key, b->event.key);
	assert_int_equal(a->payload == NULL, b->payload == NULL);
	if (a->payload)
		assert_memory_equal(a->payload, b->payload, a->event.payload_len);
}

/* ---- Batches ---- */

/* Commits what make() builds anew for each engine, and compares what comes back. */
static struct batch begin_batch(struct pair *p, struct op *ops)
{
	return (struct batch){
		.now_ms = p->now_ms, .limits = {.budget_bytes = (int64_t)1 << 30}, .ops = ops};
}

static void commit_both(struct pair *p, struct op *ops[2], struct housekeeping *house)
{
	struct batch batches[2];

	for (int i = 0; i < 2; i++) {
		batches[i] = begin_batch(p, ops[i]);
		if (house)
			batches[i].housekeeping = *house;
		if (both[i]->commit(engine_of(p, i), &batches[i]) != ENGINE_OK)
			fail_msg("%s", both[i]->broken(engine_of(p, i)));
	}
	assert_same_touched(&batches[0], &batches[1]);
	assert_int_equal(batches[0].housekeeping.n_forgotten, batches[1].housekeeping.n_forgotten);
	assert_int_equal(batches[0].housekeeping.n_removed, batches[1].housekeeping.n_removed);
	batch_clear(&batches[0]);
	batch_clear(&batches[1]);
}

static void put_endpoint(struct pair *p, uint32_t number, bool removed)
{
	struct endpoint_op ops[2];
	struct op *heads[2];
	uint8_t blob[6000];

	memset(blob, (int)number, sizeof(blob));
	for (int i = 0; i < 2; i++) {
		ops[i] = (struct endpoint_op){.op.kind = OP_ENDPOINT,
			.number = number,
			.removed = removed,
			.blob = blob,
			.blob_len = number % 2 ? 40 : sizeof(blob)};
		heads[i] = &ops[i].op;
	}
	commit_both(p, heads, NULL);
}

static uint8_t payload[PAYLOAD_MAX];

/* The digest of a payload, good enough for telling same from other. */
static void fill_event(struct pair *p, struct new_event *e, struct event_id id,
	const uint32_t *targets, uint32_t n_targets, const char *key, size_t payload_len,
	uint8_t variant)
{
	size_t split = payload_len / 3;

	*e = (struct new_event){.event = {.id = id,
					.accepted_ms = p->now_ms,
					.timestamp_wall_ms = p->now_ms - 5,
					.uid = 1000,
					.payload_len = (uint32_t)payload_len,
					.tenant = "acme",
					.type = variant % 2 ? "order.paid" : "user.created",
					.content_type = "application/json",
					.key = key},
		.payload = {{payload, split}, {payload + split, payload_len - split}, {NULL, 0}},
		.due_ms = p->now_ms + (variant == 3 ? 5000 : 0),
		.key_expires_ms = p->now_ms + (variant == 1 ? 300 : 50000),
		.targets = targets,
		.n_targets = n_targets};
	memset(e->digest, variant, sizeof(e->digest));
}

static void submit_random(struct pair *p)
{
	static const char *const keys[N_KEYS] = {"a", "order-4711", "c",
		"a key that is much longer than the sixty-four characters up to which keys are stored as they are",
		NULL};
	struct new_event events[2][3];
	struct submit_op ops[2];
	struct op *heads[2];
	uint32_t targets[3][N_ENDPOINTS], n_targets[3];
	size_t n = 1 + rnd(3), lens[3];
	const char *chosen[3];
	uint8_t variants[3];
	struct event_id ids[3];

	for (size_t i = 0; i < n; i++) {
		uint8_t random[10];

		n_targets[i] = 0;
		for (int j = 0; j < N_ENDPOINTS; j++) {
			if (rnd(3) == 0)
				targets[i][n_targets[i]++] = p->numbers[j];
		}
		for (int j = 0; j < 10; j++)
			random[j] = (uint8_t)rnd(256);
		ids[i] = event_id_next(&p->ids, p->now_ms, random);
		chosen[i] = i == 0 ? keys[rnd(N_KEYS)]
				   : NULL; /* two lines with one key are store.c's business */
		lens[i] = rnd(4) ? rnd(300) : rnd(PAYLOAD_MAX);
		variants[i] = (uint8_t)rnd(4);
	}
	for (int i = 0; i < 2; i++) {
		for (size_t j = 0; j < n; j++)
			fill_event(p, &events[i][j], ids[j], targets[j], n_targets[j], chosen[j],
				lens[j], variants[j]);
		ops[i] = (struct submit_op){.op.kind = OP_SUBMIT,
			.events = events[i],
			.n = n,
			.bytes = 60000,
			.n_deliveries = 18};
		heads[i] = &ops[i].op;
	}
	commit_both(p, heads, NULL);
	assert_int_equal(ops[0].op.result, ops[1].op.result);
	if (ops[0].op.result != ENGINE_OK) {
		assert_int_equal(ops[0].problem.code, ops[1].problem.code);
		assert_int_equal(ops[0].full_endpoint, ops[1].full_endpoint);
		return;
	}
	for (size_t j = 0; j < n; j++) {
		assert_int_equal(events[0][j].duplicate, events[1][j].duplicate);
		assert_int_equal(event_id_compare(&events[0][j].id, &events[1][j].id), 0);
		assert_int_equal(events[0][j].n_deliveries, events[1][j].n_deliveries);
		if (!events[0][j].duplicate && p->n_known < 4096)
			p->known[p->n_known++] = ids[j];
	}
}

static bool is_claimed(void *user, const struct delivery_ref *ref)
{
	const struct pair *p = user;

	for (const struct claimed *c = p->claimed; c; c = c->next) {
		if (event_id_compare(&c->delivery.event, &ref->event) == 0 &&
			c->delivery.endpoint == ref->endpoint)
			return true;
	}
	return false;
}

static void claim_random(struct pair *p)
{
	struct claim claims[2];
	struct claimed *a, *b;

	claims[0] = (struct claim){.endpoint = p->numbers[rnd(N_ENDPOINTS)],
		.until_ms = p->now_ms,
		.max_n = 1 + rnd(4),
		.max_bytes = 1 + rnd(30000),
		.skip = is_claimed,
		.user = p};
	claims[1] = claims[0];
	for (int i = 0; i < 2; i++)
		assert_int_equal(both[i]->claim(engine_of(p, i), &claims[i]), ENGINE_OK);
	assert_int_equal(claims[0].next_due_ms, claims[1].next_due_ms);
	a = claims[0].list;
	b = claims[1].list;
	while (a || b) {
		struct claimed *next_a, *next_b;

		assert_non_null(a);
		assert_non_null(b);
		assert_same_delivery(&a->delivery, &b->delivery);
		assert_non_null(a->event);
		assert_same_event(a->event, b->event);
		next_a = a->next;
		next_b = b->next;
		a->next = p->claimed;
		p->claimed = a;
		claimed_free(b);
		a = next_a;
		b = next_b;
	}
}

static void end_random_attempt(struct pair *p)
{
	struct claimed *c = p->claimed;
	struct outcome_op ops[2];
	struct op *heads[2];
	enum outcome_kind kind;

	if (!c)
		return;
	p->claimed = c->next;
	kind = (enum outcome_kind)rnd(5);
	ops[0] = (struct outcome_op){.op.kind = OP_OUTCOME,
		.outcome = {.event = c->delivery.event,
			.endpoint = c->delivery.endpoint,
			.turn = c->delivery.turn,
			.kind = kind,
			.reason = kind == OUTCOME_DEAD ? DEAD_EXHAUSTED : NOT_DEAD,
			.due_ms = p->now_ms + rnd(3000),
			.attempt = {.result = kind == OUTCOME_DELIVERED ? RESULT_OK : RESULT_STATUS,
				.http_status =
					kind == OUTCOME_DELIVERED ? 200 : (uint16_t)(500 + rnd(4)),
				.duration_ms = rnd(1000),
				.retry_after_s = -1,
				.started_ms = p->now_ms,
				.peer = {.family = 4, .bytes = {127, 0, 0, 1}, .port = 80}}},
		.message_len = 5,
		.message = "words",
		.response_len = 3,
		.response = "\xff\0x"};
	ops[1] = ops[0];
	heads[0] = &ops[0].op;
	heads[1] = &ops[1].op;
	commit_both(p, heads, NULL);
	assert_same_delivery(&ops[0].after, &ops[1].after);
	claimed_free(c);
}

static void verb_random(struct pair *p)
{
	struct verb_op ops[2];
	struct op *heads[2];
	struct delivery_ref refs[8];
	size_t n = 1 + rnd(8);

	if (!p->n_known)
		return;
	for (size_t i = 0; i < n; i++)
		refs[i] = (struct delivery_ref){p->known[rnd((uint32_t)p->n_known)],
			rnd(8) ? p->numbers[rnd(N_ENDPOINTS)] : 0};
	ops[0] = (struct verb_op){
		.op.kind = OP_VERB, .verb = (enum verb)rnd(VERB_PURGE + 1), .refs = refs, .n = n};
	ops[0].states = rnd(2) ? verb_default_states(ops[0].verb) : rnd(32) & ALL_STATES;
	ops[1] = ops[0];
	heads[0] = &ops[0].op;
	heads[1] = &ops[1].op;
	commit_both(p, heads, NULL);
	assert_int_equal(ops[0].n_changed, ops[1].n_changed);
	assert_int_equal(ops[0].at, n);
}

static void house_random(struct pair *p)
{
	struct housekeeping h = {.max_events = 1 + rnd(5)};
	struct op *none[2] = {NULL, NULL};

	if (rnd(2))
		h.delivered_before_ms = p->now_ms - rnd(20000);
	if (rnd(2))
		h.dead_before_ms = p->now_ms - rnd(30000);
	if (rnd(2))
		h.keys_before_ms = p->now_ms;
	if (rnd(10) == 0)
		h.oldest_delivered = 2;
	commit_both(p, none, &h);
}

/* An endpoint goes, what it was owed dies, another takes its place. */
static void replace_endpoint(struct pair *p)
{
	uint32_t which = rnd(N_ENDPOINTS);
	struct housekeeping h = {.max_events = 3, .remove_endpoint = p->numbers[which]};
	struct op *none[2] = {NULL, NULL};

	put_endpoint(p, p->numbers[which], true);
	if (rnd(2))
		commit_both(p, none, &h);
	/* Removal goes on in slices; the slices after the first are commits of their own. */
	for (int i = 0; i < 40; i++)
		commit_both(p, none, &h);
	p->numbers[which] = p->next_endpoint++;
	put_endpoint(p, p->numbers[which], false);
}

/* ---- Reading ---- */

struct rows {
	struct delivery_row *at;
	size_t n;
};

/* All pages of a query. */
static struct rows list_all(
	const struct engine_verbs *verbs, struct engine *engine, struct delivery_query q)
{
	struct rows rows = {0};
	struct delivery_page page;

	do {
		assert_int_equal(verbs->list_deliveries(engine, &q, &page), ENGINE_OK);
		rows.at = realloc(rows.at, (rows.n + page.n + 1) * sizeof(*rows.at));
		assert_non_null(rows.at);
		memcpy(rows.at + rows.n, page.rows, page.n * sizeof(*rows.at));
		rows.n += page.n;
		q.from = page.next;
		free(page.rows);
	} while (page.more);
	return rows;
}

static void free_rows(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		free(rows->at[i].story);
	free(rows->at);
}

static void compare_lists(struct pair *p)
{
	uint32_t endpoints[2] = {p->numbers[rnd(N_ENDPOINTS)], 0};
	struct rows rows[2];
	struct delivery_query q = {.states = rnd(32) & ALL_STATES,
		.any_endpoint = rnd(2),
		.endpoints = endpoints,
		.n_endpoints = 1,
		.type = rnd(3) ? NULL : "order.*",
		.since_ms = rnd(2) ? INT64_MIN : p->now_ms - rnd(10000),
		.until_ms = rnd(2) ? INT64_MAX : p->now_ms - rnd(10000),
		.http_status_min = rnd(3) ? -1 : (int)(200 + 100 * rnd(4)),
		.result = rnd(4) ? RESULT_NONE : RESULT_STATUS,
		.oldest_first = rnd(2),
		.limit = 1 + rnd(7),
		.max_examined = 1 + rnd(40)};

	q.http_status_max = q.http_status_min + 99;
	if (p->n_known && rnd(4) == 0) {
		q.one_event = true;
		q.event = p->known[rnd((uint32_t)p->n_known)];
	}
	for (int i = 0; i < 2; i++)
		rows[i] = list_all(both[i], engine_of(p, i), q);
	assert_int_equal(rows[0].n, rows[1].n);
	for (size_t i = 0; i < rows[0].n; i++) {
		assert_same_delivery(&rows[0].at[i].delivery, &rows[1].at[i].delivery);
		assert_string_equal(rows[0].at[i].type, rows[1].at[i].type);
		assert_int_equal(rows[0].at[i].story == NULL, rows[1].at[i].story == NULL);
		if (rows[0].at[i].story)
			assert_same_story(rows[0].at[i].story, rows[1].at[i].story);
	}
	free_rows(&rows[0]);
	free_rows(&rows[1]);
}

static void compare_event_lists(struct pair *p)
{
	struct event_query q = {.tenant = rnd(2) ? NULL : "acme",
		.type = rnd(2) ? NULL : "user.created",
		.since_ms = rnd(2) ? 0 : p->now_ms - rnd(20000),
		.until_ms = rnd(2) ? INT64_MAX : p->now_ms - rnd(20000),
		.oldest_first = rnd(2),
		.limit = 1 + rnd(9),
		.max_examined = 1000};
	struct event_page pages[2];
	bool more;

	if (rnd(4) == 0) {
		q.tenant = "acme";
		q.key = "order-4711";
	}
	do {
		struct event_query queries[2] = {q, q};

		for (int i = 0; i < 2; i++)
			assert_int_equal(
				both[i]->list_events(engine_of(p, i), &queries[i], &pages[i]),
				ENGINE_OK);
		more = pages[0].more;
		/* The model tells "more" from matches, LMDB from rows: only the rows themselves are
		 * compared. */
		for (size_t i = 0; i < pages[1].n && i < pages[0].n; i++) {
			assert_same_event(pages[0].rows[i].event, pages[1].rows[i].event);
			assert_memory_equal(pages[0].rows[i].states, pages[1].rows[i].states,
				sizeof(pages[0].rows[i].states));
		}
		if (pages[0].n < q.limit)
			assert_int_equal(pages[0].n, pages[1].n);
		q.from = pages[0].next;
		event_page_clear(&pages[0]);
		event_page_clear(&pages[1]);
	} while (more);
}

static void compare_event(struct pair *p)
{
	struct delivery_ref ref;
	struct event_row rows[2];
	struct history histories[2];
	enum engine_result results[2];

	if (!p->n_known)
		return;
	ref = (struct delivery_ref){
		p->known[rnd((uint32_t)p->n_known)], p->numbers[rnd(N_ENDPOINTS)]};
	for (int i = 0; i < 2; i++)
		results[i] = both[i]->get_event(engine_of(p, i), &ref.event, true, &rows[i]);
	assert_int_equal(results[0], results[1]);
	if (results[0] == ENGINE_OK) {
		assert_same_event(rows[0].event, rows[1].event);
		assert_memory_equal(rows[0].states, rows[1].states, sizeof(rows[0].states));
		free(rows[0].event);
		free(rows[1].event);
	}
	for (int i = 0; i < 2; i++)
		results[i] = both[i]->get_history(engine_of(p, i), &ref, &histories[i]);
	assert_int_equal(results[0], results[1]);
	if (results[0] != ENGINE_OK)
		return;
	assert_same_delivery(&histories[0].delivery, &histories[1].delivery);
	assert_int_equal(histories[0].n, histories[1].n);
	for (size_t i = 0; i < histories[0].n; i++)
		assert_same_story(&histories[0].stories[i], &histories[1].stories[i]);
	free(histories[0].stories);
	free(histories[1].stories);
}

static void compare_stats(struct pair *p)
{
	struct store_limits limits = {.budget_bytes = (int64_t)1 << 30};
	struct engine_stats stats[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(both[i]->stats(engine_of(p, i), &limits, &stats[i]), ENGINE_OK);
	assert_int_equal(stats[0].newest_dead_ms, stats[1].newest_dead_ms);
	assert_int_equal(stats[0].oldest_dead_ms, stats[1].oldest_dead_ms);
	assert_int_equal(stats[0].first_delivered_end_ms, stats[1].first_delivered_end_ms);
	assert_int_equal(stats[0].first_dead_end_ms, stats[1].first_dead_end_ms);
	assert_int_equal(stats[0].first_key_expiry_ms, stats[1].first_key_expiry_ms);
}

static void compare_ages(struct pair *p)
{
	struct age_query q = {
		.endpoint = p->numbers[rnd(N_ENDPOINTS)], .max_examined = 1 + rnd(20)};
	struct age_page expected, page;
	uint64_t counts[AGE_CLASSES] = {0};
	int64_t next_due_ms = INT64_MAX;

	for (int i = 0; i < AGE_CLASSES - 1; i++)
		q.bounds_ms[i] = p->now_ms - 2000 * (i + 1);
	assert_int_equal(engine_model.count_ages(p->model, &q, &expected), ENGINE_OK);
	do {
		assert_int_equal(engine_lmdb.count_ages(p->lmdb, &q, &page), ENGINE_OK);
		for (int i = 0; i < AGE_CLASSES; i++)
			counts[i] += page.counts[i];
		if (page.next_due_ms < next_due_ms)
			next_due_ms = page.next_due_ms;
		q.from = page.next;
	} while (page.more);
	assert_memory_equal(counts, expected.counts, sizeof(counts));
	assert_int_equal(next_due_ms, expected.next_due_ms);
}

struct seen_endpoint {
	uint32_t number;
	bool removed;
	struct touched state;
};

struct seen {
	struct seen_endpoint list[256];
	size_t n;
};

static void on_endpoint(void *user, uint32_t number, bool removed, const uint8_t *blob, size_t len,
	const struct touched *state)
{
	struct seen *seen = user;

	assert_true(seen->n < 256);
	assert_int_equal(len, number % 2 ? 40 : 6000);
	assert_int_equal(blob[0], number & 255);
	seen->list[seen->n++] = (struct seen_endpoint){number, removed, *state};
}

static void compare_endpoints(struct pair *p)
{
	static struct seen seen[2];

	for (int i = 0; i < 2; i++) {
		seen[i].n = 0;
		assert_int_equal(
			both[i]->each_endpoint(engine_of(p, i), on_endpoint, &seen[i]), ENGINE_OK);
	}
	assert_int_equal(seen[0].n, seen[1].n);
	for (size_t i = 0; i < seen[0].n; i++) {
		assert_int_equal(seen[0].list[i].number, seen[1].list[i].number);
		assert_int_equal(seen[0].list[i].removed, seen[1].list[i].removed);
		assert_int_equal(seen[0].list[i].state.oldest_pending_ms,
			seen[1].list[i].state.oldest_pending_ms);
		assert_same_tally(&seen[0].list[i].state.tally, &seen[1].list[i].state.tally);
	}
}

static const char *mark_path(void)
{
	static char path[sizeof(directory) + sizeof("/" REBUILD_MARK)];

	snprintf(path, sizeof(path), "%s/" REBUILD_MARK, directory);
	return path;
}

static void leave_mark(void)
{
	FILE *mark = fopen(mark_path(), "we");

	assert_non_null(mark);
	fclose(mark);
}

static bool has_mark(void)
{
	return access(mark_path(), F_OK) == 0;
}

static void reopen(struct pair *p)
{
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;

	engine_lmdb.close(p->lmdb, p->now_ms);
	if (rnd(2)) /* made anew from its records it is the same */
		leave_mark();
	assert_int_equal(engine_lmdb.open(&p->lmdb, &o, &found, &problem), 0);
	assert_false(has_mark());
	assert_false(found.fresh);
	assert_int_equal(found.queue_ms, p->now_ms);
	assert_int_equal(found.next_endpoint, p->next_endpoint);
}

/* ---- Tests ---- */

static void run_random(uint64_t seed, unsigned steps)
{
	struct pair *p = malloc(sizeof(*p));

	assert_non_null(p);
	pair_open(p, seed);
	for (int i = 0; i < N_ENDPOINTS; i++) {
		p->numbers[i] = p->next_endpoint++;
		put_endpoint(p, p->numbers[i], false);
	}
	for (unsigned step = 0; step < steps; step++) {
		uint32_t dice = rnd(100);

		p->now_ms += rnd(400);
		if (dice < 30)
			submit_random(p);
		else if (dice < 45)
			claim_random(p);
		else if (dice < 70)
			end_random_attempt(p);
		else if (dice < 85)
			verb_random(p);
		else if (dice < 95)
			house_random(p);
		else if (dice < 97)
			replace_endpoint(p);
		else
			reopen(p);
		compare_lists(p);
		compare_event_lists(p);
		compare_event(p);
		if (step % 8 == 0) {
			compare_stats(p);
			compare_ages(p);
			compare_endpoints(p);
		}
	}
	pair_close(p);
	check_file();
	free(p);
}

static void test_random_operations_behave_like_the_model(void **state)
{
	const char *chosen = getenv("HOOKD_TEST_SEED");

	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 + i / 256);
	if (chosen) {
		run_random(strtoull(chosen, NULL, 10), 400);
		return;
	}
	for (uint64_t seed = 1; seed <= 24; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		run_random(seed, 300);
		remove_directory();
		assert_int_equal(mkdir(directory, 0700), 0);
	}
}

/* One event for endpoint 1, claimed. */
static struct delivery_ref one_delivery(struct pair *p)
{
	uint32_t target = 1;
	struct new_event events[2];
	struct submit_op ops[2];
	struct op *heads[2];
	struct event_id id = event_id_first_of(p->now_ms);

	put_endpoint(p, 1, false);
	for (int i = 0; i < 2; i++) {
		fill_event(p, &events[i], id, &target, 1, NULL, 100, 1);
		ops[i] = (struct submit_op){.op.kind = OP_SUBMIT,
			.events = &events[i],
			.n = 1,
			.bytes = 100,
			.n_deliveries = 1};
		heads[i] = &ops[i].op;
	}
	commit_both(p, heads, NULL);
	assert_int_equal(ops[0].op.result, ENGINE_OK);
	return (struct delivery_ref){id, 1};
}

static void test_a_second_hookd_on_the_same_directory_is_refused(void **state)
{
	struct problem problem;
	int first = data_lock(directory, &problem);

	(void)state;
	assert_true(first >= 0);
	assert_int_equal(data_lock(directory, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "another hookd"));
	close(first);
	first = data_lock(directory, &problem);
	assert_true(first >= 0);
	close(first);
}

static void test_a_first_start_that_was_cut_short_is_made_anew(void **state)
{
	char path[128];
	FILE *half;
	struct engine *engine;

	(void)state;
	snprintf(path, sizeof(path), "%s/hookd.mdb.new", directory);
	half = fopen(path, "w");
	assert_non_null(half);
	fputs("half a file", half);
	fclose(half);
	engine = open_lmdb();
	engine_lmdb.close(engine, 1);
	assert_int_equal(access(path, F_OK), -1);
	check_file();
}

static void test_a_file_that_was_cut_short_is_refused(void **state)
{
	struct pair p;
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;
	char path[128];

	(void)state;
	pair_open(&p, 1);
	one_delivery(&p);
	pair_close(&p);
	snprintf(path, sizeof(path), "%s/hookd.mdb", directory);
	assert_int_equal(truncate(path, 3 * 4096), 0);
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), -EBADMSG);
	assert_non_null(strstr(problem.detail, "cut short"));
}

static void test_a_file_of_a_newer_schema_is_refused(void **state)
{
	struct engine_options o = options();
	struct engine file = {0}, *engine = open_lmdb();
	struct engine_found found;
	struct problem problem;
	char path[128];
	struct txn t;

	(void)state;
	engine_lmdb.close(engine, 1);
	snprintf(path, sizeof(path), "%s/hookd.mdb", directory);
	assert_int_equal(lmdb_open_file(&file, path, true, &o.limits, &problem), 0);
	file.meta.schema = SCHEMA + 1;
	assert_int_equal(lmdb_begin(&file, &t, true), ENGINE_OK);
	lmdb_put_meta(&file, &t);
	assert_int_equal(mdb_txn_commit(t.mdb), 0);
	mdb_env_close(file.env);
	assert_int_equal(engine_lmdb.open(&engine, &o, &found, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "written by a newer hookd"));
}

/* Changes one byte of every place where text stands in the data file. */
static unsigned spoil(const char *text)
{
	char path[128], *bytes, *at;
	size_t len = strlen(text), size = 0;
	unsigned n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/hookd.mdb", directory);
	file = fopen(path, "r+");
	assert_non_null(file);
	bytes = malloc((size_t)8 << 20);
	assert_non_null(bytes);
	size = fread(bytes, 1, (size_t)8 << 20, file);
	for (at = bytes; (at = memmem(at, size - (size_t)(at - bytes), text, len)); at += len) {
		fseek(file, at - bytes + 1, SEEK_SET);
		fputc('#', file);
		n++;
	}
	fclose(file);
	free(bytes);
	return n;
}

/* An event whose payload is damaged, with the LMDB engine alone. */
static struct delivery_ref damaged_delivery(struct pair *p)
{
	struct delivery_ref ref;

	pair_open(p, 1);
	memcpy(payload + 40, "tell-tale", 9);
	ref = one_delivery(p);
	pair_close(p);
	assert_true(spoil("tell-tale") > 0);
	p->lmdb = open_lmdb();
	p->claimed = NULL;
	return ref;
}

/* The outcome that follows from claiming it. */
static struct outcome_op claim_damaged(struct pair *p, const struct delivery_ref *ref)
{
	struct claim claim = {.endpoint = ref->endpoint,
		.until_ms = p->now_ms,
		.max_n = 5,
		.max_bytes = 5000,
		.skip = is_claimed,
		.user = p};
	struct outcome_op op;

	assert_int_equal(engine_lmdb.claim(p->lmdb, &claim), ENGINE_OK);
	assert_non_null(claim.list);
	assert_null(claim.list->event);
	op = (struct outcome_op){.op.kind = OP_OUTCOME,
		.outcome = {.event = ref->event,
			.endpoint = ref->endpoint,
			.turn = claim.list->delivery.turn,
			.kind = OUTCOME_DAMAGED,
			.due_ms = claim.list->delivery.due_ms}};
	claimed_free(claim.list);
	return op;
}

static void commit_one(struct pair *p, struct op *op)
{
	struct batch batch = begin_batch(p, op);

	assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
	batch_clear(&batch);
}

static void test_a_damaged_event_is_claimed_as_damaged_and_becomes_a_dead_letter(void **state)
{
	struct pair p;
	struct delivery_ref ref = damaged_delivery(&p);
	struct outcome_op op = claim_damaged(&p, &ref);

	(void)state;
	commit_one(&p, &op.op);
	assert_int_equal(op.after.state, DELIVERY_DEAD);
	assert_int_equal(op.after.reason, DEAD_DAMAGED);
	engine_lmdb.close(p.lmdb, p.now_ms);
}

static void test_a_damaged_event_that_was_held_and_released_meanwhile_is_claimed_again(void **state)
{
	static const enum verb verbs[] = {VERB_HOLD, VERB_RELEASE};
	struct pair p;
	struct delivery_ref ref = damaged_delivery(&p);
	struct outcome_op op = claim_damaged(&p, &ref);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct verb_op verb = {.op.kind = OP_VERB,
			.verb = verbs[i],
			.states = ALL_STATES,
			.refs = &ref,
			.n = 1};

		commit_one(&p, &verb.op);
		assert_int_equal(verb.n_changed, 1);
	}
	commit_one(&p, &op.op); /* of an old turn */
	assert_int_equal(op.after.state, DELIVERY_PENDING);
	op = claim_damaged(&p, &ref);
	commit_one(&p, &op.op);
	assert_int_equal(op.after.state, DELIVERY_DEAD);
	assert_int_equal(op.after.reason, DEAD_DAMAGED);
	engine_lmdb.close(p.lmdb, p.now_ms);
}

static void count_fault(void *user, const char *text)
{
	(void)text;
	++*(unsigned *)user;
}

static void test_the_check_finds_a_damaged_payload(void **state)
{
	struct check_result result;
	struct problem problem;
	struct pair p;
	unsigned n = 0;

	(void)state;
	pair_open(&p, 1);
	memcpy(payload + 40, "tell-tale", 9);
	one_delivery(&p);
	pair_close(&p);
	assert_true(spoil("tell-tale") > 0);
	assert_int_equal(lmdb_check(directory, count_fault, &n, &result, &problem), 0);
	assert_int_equal(n, 1);
	assert_int_equal(result.n_faults, 1);
}

static bool never(void *user)
{
	(void)user;
	return false;
}

static bool always(void *user)
{
	(void)user;
	return true;
}

static void test_a_backup_opens_with_everything_and_sending_paused(void **state)
{
	struct engine_options o = options();
	struct engine_found found;
	struct event_row row;
	struct problem problem;
	struct delivery_ref ref;
	char path[128], data[128];
	int64_t bytes;
	struct pair p;
	struct stat file;

	(void)state;
	pair_open(&p, 1);
	ref = one_delivery(&p);
	snprintf(path, sizeof(path), "%s/copy", directory);
	assert_int_equal(
		engine_lmdb.backup(p.lmdb, path, never, NULL, &bytes, &problem), ENGINE_OK);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0600);
	assert_true(bytes > 0);
	pair_close(&p);

	snprintf(data, sizeof(data), "%s/hookd.mdb", directory);
	assert_int_equal(rename(path, data), 0);
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), 0);
	assert_true(found.sending.paused);
	assert_int_equal(engine_lmdb.get_event(p.lmdb, &ref.event, true, &row), ENGINE_OK);
	assert_int_equal(row.states[DELIVERY_PENDING], 1);
	free(row.event);
	engine_lmdb.close(p.lmdb, 1);
	check_file();
}

static void test_the_mark_of_the_master_key_is_kept(void **state)
{
	static const uint8_t other[8] = "another";
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;
	struct key_op op = {.op.kind = OP_KEY};
	struct pair p;

	(void)state;
	pair_open(&p, 1);
	memcpy(op.key_id, other, sizeof(other));
	for (int i = 0; i < 2; i++) {
		struct batch batch = begin_batch(&p, &op.op);

		assert_int_equal(both[i]->commit(engine_of(&p, i), &batch), ENGINE_OK);
		assert_int_equal(op.op.result, ENGINE_OK);
		batch_clear(&batch);
	}
	engine_lmdb.close(p.lmdb, p.now_ms);
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), 0);
	assert_memory_equal(found.key_id, other, sizeof(other));
	pair_close(&p);
}

static void test_a_long_stop_is_noted_with_the_time_that_it_is_reckoned_from(void **state)
{
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;
	int64_t stopped_ms;
	struct pair p;

	(void)state;
	pair_open(&p, 1);
	put_endpoint(&p, 1, false);
	stopped_ms = p.now_ms;
	p.now_ms += 10 * (int64_t)86400000;
	/* A start that comes to nothing: the next one reckons the same stop, once. */
	assert_int_equal(engine_lmdb.set_lag(p.lmdb, stopped_ms, 7), ENGINE_OK);
	engine_lmdb.close(p.lmdb, 0);
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), 0);
	assert_int_equal(found.queue_ms, stopped_ms);
	assert_int_equal(found.stop_ms, 0);
	assert_int_equal(found.lag_ms, 0);

	assert_int_equal(engine_lmdb.set_lag(p.lmdb, stopped_ms, 7), ENGINE_OK);
	put_endpoint(&p, 1, false);
	engine_lmdb.close(p.lmdb, 0);
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), 0);
	assert_int_equal(found.queue_ms, p.now_ms);
	assert_int_equal(found.stop_ms, stopped_ms);
	assert_int_equal(found.lag_ms, 7);
	pair_close(&p);
}

static void test_a_cancelled_backup_leaves_nothing_behind(void **state)
{
	struct engine *engine = open_lmdb();
	struct problem problem;
	char path[128], part[128];
	int64_t bytes;

	(void)state;
	snprintf(path, sizeof(path), "%s/copy", directory);
	snprintf(part, sizeof(part), "%s/copy.part", directory);
	assert_int_equal(
		engine_lmdb.backup(engine, path, always, NULL, &bytes, &problem), ENGINE_REFUSED);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(part, F_OK), -1);
	engine_lmdb.close(engine, 1);
}

static bool changes_fail;

/* In front of LMDB's: without memory for a transaction that changes something. */
int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn)
{
	int (*begin)(MDB_env *, MDB_txn *, unsigned, MDB_txn **) =
		dlsym(RTLD_NEXT, "mdb_txn_begin");

	return changes_fail && !(flags & MDB_RDONLY) ? ENOMEM : begin(env, parent, flags, txn);
}

static void test_a_backup_that_cannot_be_paused_is_none(void **state)
{
	struct engine *engine = open_lmdb();
	struct problem problem = {0};
	enum engine_result result;
	char path[128], part[128];
	int64_t bytes;

	(void)state;
	snprintf(path, sizeof(path), "%s/copy", directory);
	snprintf(part, sizeof(part), "%s/copy.part", directory);
	changes_fail = true;
	result = engine_lmdb.backup(engine, path, never, NULL, &bytes, &problem);
	changes_fail = false;
	assert_int_equal(result, ENGINE_REFUSED);
	assert_non_null(strstr(problem.detail, "memory"));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(part, F_OK), -1);
	engine_lmdb.close(engine, 1);
}

/* Submits events of 8 KB until one is refused. */
static struct submit_op fill_up(struct pair *p, struct store_limits limits, unsigned *n_accepted)
{
	static const uint32_t targets[] = {1};
	struct submit_op op;

	*n_accepted = 0;
	do {
		struct new_event event;
		uint8_t random[10] = {0};
		struct batch batch;

		fill_event(p, &event, event_id_next(&p->ids, ++p->now_ms, random), targets, 1, NULL,
			8000, 1);
		op = (struct submit_op){.op.kind = OP_SUBMIT,
			.events = &event,
			.n = 1,
			.bytes = 8000,
			.n_deliveries = 1};
		batch = begin_batch(p, &op.op);
		batch.limits = limits;
		assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
		batch_clear(&batch);
		if (op.op.result == ENGINE_OK) {
			p->known[p->n_known++] = event.id;
			++*n_accepted;
		}
	} while (op.op.result == ENGINE_OK && *n_accepted < 4000);
	return op;
}

static void test_an_endpoint_owes_at_most_a_quarter_of_the_budget(void **state)
{
	struct store_limits limits = {.budget_bytes = 16 << 20};
	struct submit_op refused;
	unsigned n;
	struct pair *p = malloc(sizeof(*p));

	(void)state;
	assert_non_null(p);
	pair_open(p, 1);
	put_endpoint(p, 1, false);
	refused = fill_up(p, limits, &n);
	assert_int_equal(refused.problem.code, PROBLEM_FULL);
	assert_int_equal(refused.full_endpoint, 1);
	assert_int_equal(n, (16 << 20) / 4 / (8000 + OWED_OVERHEAD));
	pair_close(p);
	free(p);
}

static void purge_all(struct pair *p, struct store_limits limits)
{
	for (size_t i = 0; i < p->n_known; i++) {
		struct delivery_ref ref = {p->known[i], 1};
		struct verb_op op = {.op.kind = OP_VERB,
			.verb = VERB_PURGE,
			.states = ALL_STATES,
			.refs = &ref,
			.n = 1};
		struct batch batch = begin_batch(p, &op.op);

		batch.limits = limits;
		assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
		assert_int_equal(op.n_changed, 1);
		batch_clear(&batch);
	}
	p->n_known = 0;
}

static off_t file_size(void)
{
	char path[128];
	struct stat file;

	snprintf(path, sizeof(path), "%s/hookd.mdb", directory);
	assert_int_equal(stat(path, &file), 0);
	return file.st_size;
}

static void test_full_and_purged_again_and_again_the_room_stays_the_same(void **state)
{
	struct store_limits limits = {.budget_bytes = 2 << 20};
	struct submit_op refused;
	unsigned n, first = 0;
	struct pair *p = malloc(sizeof(*p));
	off_t size;

	(void)state;
	assert_non_null(p);
	pair_open(p, 1);
	put_endpoint(p, 1, false);
	size = file_size();
	for (int round = 0; round < 30; round++) {
		refused = fill_up(p, limits, &n);
		assert_int_equal(refused.problem.code, PROBLEM_FULL);
		if (round == 0)
			first = n;
		assert_int_equal(n, first);
		purge_all(p, limits);
	}
	assert_int_equal(file_size(), size);
	pair_close(p);
	check_file();
	free(p);
}

static void test_the_budget_counts_what_was_delivered_too(void **state)
{
	struct store_limits limits = {.budget_bytes = 4 << 20};
	struct submit_op refused;
	struct pair *p = malloc(sizeof(*p));
	unsigned n, total = 0;

	(void)state;
	assert_non_null(p);
	pair_open(p, 1);
	put_endpoint(p, 1, false);
	while (true) {
		refused = fill_up(p, limits, &n);
		total += n;
		if (refused.full_endpoint == 0)
			break;
		/* Owed no more: dead, but still there. */
		for (size_t i = 0; i < p->n_known; i++) {
			struct delivery_ref ref = {p->known[i], 1};
			struct verb_op op = {.op.kind = OP_VERB,
				.verb = VERB_CANCEL,
				.states = ALL_STATES,
				.refs = &ref,
				.n = 1};
			struct batch batch = begin_batch(p, &op.op);

			assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
			batch_clear(&batch);
		}
		p->n_known = 0;
	}
	assert_non_null(strstr(refused.problem.detail, "budget"));
	assert_in_range(total, (4 << 20) / 8300 / 2, (4 << 20) / 8000);
	pair_close(p);
	free(p);
}

static void test_the_floor_of_free_disk_refuses_events_but_not_verbs(void **state)
{
	struct store_limits limits = {.budget_bytes = 64 << 20, .min_free_bytes = INT64_MAX / 2};
	struct pair *p = malloc(sizeof(*p));
	struct submit_op refused;
	struct delivery_ref ref;
	unsigned n;

	(void)state;
	assert_non_null(p);
	pair_open(p, 1);
	ref = one_delivery(p);
	refused = fill_up(p, limits, &n);
	assert_int_equal(n, 0);
	assert_int_equal(refused.problem.code, PROBLEM_FULL);
	assert_non_null(strstr(refused.problem.detail, "disk"));
	p->known[0] = ref.event;
	p->n_known = 1;
	purge_all(p, limits);
	pair_close(p);
	free(p);
}

static void test_an_event_that_passes_the_budget_takes_none_by_the_floor_of_free_disk(void **state)
{
	struct store_limits limits = {.budget_bytes = 1 << 20, .min_free_bytes = INT64_MAX / 2};
	struct pair *p = malloc(sizeof(*p));
	struct new_event events[60], small;
	uint8_t random[10] = {0};
	struct submit_op ops[2];
	struct batch batch;

	(void)state;
	assert_non_null(p);
	pair_open(p, 1);
	for (size_t i = 0; i < 60; i++)
		fill_event(p, &events[i], event_id_next(&p->ids, ++p->now_ms, random), NULL, 0,
			NULL, PAYLOAD_MAX, 1);
	fill_event(p, &small, event_id_next(&p->ids, ++p->now_ms, random), NULL, 0, NULL, 100, 1);
	ops[0] = (struct submit_op){.op = {.kind = OP_SUBMIT, .next = &ops[1].op},
		.events = events,
		.n = 60,
		.bytes = 60 * PAYLOAD_MAX};
	ops[1] = (struct submit_op){.op.kind = OP_SUBMIT, .events = &small, .n = 1, .bytes = 100};
	batch = begin_batch(p, &ops[0].op);
	batch.limits = limits;
	assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
	batch_clear(&batch);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ops[i].op.result, ENGINE_REFUSED);
		assert_int_equal(ops[i].problem.code, PROBLEM_FULL);
		assert_non_null(strstr(ops[i].problem.detail, "disk"));
	}
	/* With room on the disk it is the budget that counts. */
	limits.min_free_bytes = 0;
	batch = begin_batch(p, &ops[0].op);
	batch.limits = limits;
	assert_int_equal(engine_lmdb.commit(p->lmdb, &batch), ENGINE_OK);
	batch_clear(&batch);
	assert_int_equal(ops[0].op.result, ENGINE_REFUSED);
	assert_non_null(strstr(ops[0].problem.detail, "budget"));
	assert_int_equal(ops[1].op.result, ENGINE_OK);
	pair_close(p);
	free(p);
}

static off_t file_blocks(void)
{
	char path[128];
	struct stat file;

	snprintf(path, sizeof(path), "%s/hookd.mdb", directory);
	assert_int_equal(stat(path, &file), 0);
	return file.st_blocks * 512;
}

static void test_holes_in_the_file_are_filled_as_far_as_the_floor_of_free_disk_allows(void **state)
{
	struct engine_options o = options();
	struct engine_found found;
	struct problem problem;
	char command[256];
	struct pair p;
	off_t size;

	(void)state;
	pair_open(&p, 1);
	one_delivery(&p);
	pair_close(&p);
	size = file_size();
	snprintf(command, sizeof(command),
		"cd %s && cp --sparse=always hookd.mdb copy && mv copy hookd.mdb", directory);
	assert_int_equal(system(command), 0);
	assert_true(file_blocks() < size / 2);

	o.limits.min_free_bytes = INT64_MAX / 2;
	assert_int_equal(engine_lmdb.open(&p.lmdb, &o, &found, &problem), 0);
	assert_true(p.lmdb->allocated_pages * PAGE_BYTES < (size_t)size / 2);
	assert_true(file_blocks() >= (off_t)(p.lmdb->allocated_pages * PAGE_BYTES));
	assert_true(file_blocks() < size / 2);
	engine_lmdb.close(p.lmdb, p.now_ms);

	p.lmdb = open_lmdb();
	assert_int_equal(p.lmdb->allocated_pages * PAGE_BYTES, size);
	assert_true(file_blocks() >= size);
	engine_lmdb.close(p.lmdb, p.now_ms);
	assert_int_equal(file_size(), size);
}

#define ENGINE_TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, drop_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENGINE_TEST(test_random_operations_behave_like_the_model),
		ENGINE_TEST(test_a_second_hookd_on_the_same_directory_is_refused),
		ENGINE_TEST(test_a_first_start_that_was_cut_short_is_made_anew),
		ENGINE_TEST(test_a_file_that_was_cut_short_is_refused),
		ENGINE_TEST(test_a_file_of_a_newer_schema_is_refused),
		ENGINE_TEST(test_a_damaged_event_is_claimed_as_damaged_and_becomes_a_dead_letter),
		ENGINE_TEST(
			test_a_damaged_event_that_was_held_and_released_meanwhile_is_claimed_again),
		ENGINE_TEST(test_the_check_finds_a_damaged_payload),
		ENGINE_TEST(test_a_backup_opens_with_everything_and_sending_paused),
		ENGINE_TEST(test_the_mark_of_the_master_key_is_kept),
		ENGINE_TEST(test_a_long_stop_is_noted_with_the_time_that_it_is_reckoned_from),
		ENGINE_TEST(test_a_cancelled_backup_leaves_nothing_behind),
		ENGINE_TEST(test_a_backup_that_cannot_be_paused_is_none),
		ENGINE_TEST(test_an_endpoint_owes_at_most_a_quarter_of_the_budget),
		ENGINE_TEST(test_full_and_purged_again_and_again_the_room_stays_the_same),
		ENGINE_TEST(test_the_budget_counts_what_was_delivered_too),
		ENGINE_TEST(test_the_floor_of_free_disk_refuses_events_but_not_verbs),
		ENGINE_TEST(
			test_an_event_that_passes_the_budget_takes_none_by_the_floor_of_free_disk),
		ENGINE_TEST(
			test_holes_in_the_file_are_filled_as_far_as_the_floor_of_free_disk_allows),
	};

	signal(SIGPIPE, SIG_IGN); /* as hookd does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
