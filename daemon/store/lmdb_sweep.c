/*
 * Changes to many deliveries, a slice in each batch: what a person's verb names, what its time has
 * come to forget, what a removed endpoint is still owed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lmdb_commit.h"

/* ---- Forgetting ---- */

static void delete_prefix(struct commit *c, enum table table, const void *prefix, size_t len)
{
	struct walk walk;

	walk_open(&walk, &c->t, table, prefix, len);
	while (walk_seek(&walk, NULL))
		walk_delete(&walk);
	walk_close(&walk);
}

/* The key of an event that goes; kept beyond its expiry only for who asks what became of it. */
static void forget_key(struct commit *c, const struct stored_event *stored)
{
	struct row_key key;
	struct key_record entry;

	if (!stored->event.key)
		return;
	key = key_of_idempotency(stored->event.tenant, stored->event.key);
	if (get_key_record(&c->t, &key, &entry) == 0 && entry.expires_ms <= c->batch->now_ms &&
		event_id_compare(&entry.event, &stored->event.id) == 0)
		commit_delete_key(c, &key, entry.expires_ms);
}

/* The event itself, when none of its deliveries is left. */
static void forget_event_rows(struct commit *c, const struct event_id *id)
{
	struct row_key key = key_of_event(id);
	struct stored_event *stored = NULL;

	if (get_stored_event(&c->t, id, false, &stored) == 0)
		forget_key(c, stored);
	free(stored);
	delete_prefix(c, T_PIECE, id->bytes, sizeof(id->bytes));
	row_delete(&c->t, T_EVENT, &key);
}

static void forget_delivery(struct commit *c, const struct delivery *d)
{
	struct row_key prefix = key_of_delivery(&d->event, d->endpoint);

	commit_rewrite(c, d, NULL);
	delete_prefix(c, T_ATTEMPT, prefix.at, prefix.len);
}

/* Everything of an event that has ended; its row in T_ENDED is the caller's. */
static void forget_event(struct commit *c, const struct event_id *id)
{
	static const enum table tables[] = {T_LIVE, T_DONE};

	for (size_t i = 0; i < 2; i++) {
		struct walk walk;

		walk_open(&walk, &c->t, tables[i], id->bytes, sizeof(id->bytes));
		while (walk_seek(&walk, NULL)) {
			struct row_key key = {.len = walk.key.mv_size};
			struct bytes value = {walk.value.mv_data, walk.value.mv_size};
			struct delivery d;

			bool sound;

			memcpy(key.at, walk.key.mv_data, key.len);
			sound = record_get_delivery((struct bytes){key.at, key.len}, value, &d) ==
				0;
			walk_delete(&walk);
			if (sound)
				forget_delivery(c, &d);
		}
		walk_close(&walk);
	}
	delete_prefix(c, T_ATTEMPT, id->bytes, sizeof(id->bytes));
	forget_event_rows(c, id);
}

/* ---- Verbs ---- */

#define VERB_SLICE 1024

static void purge_event_without_deliveries(
	struct commit *c, struct verb_op *op, const struct event_id *id)
{
	struct event_standing standing;
	struct row_key key = key_of_event(id);
	struct bytes value;

	get_standing(&c->t, id, &standing);
	if (op->verb != VERB_PURGE || standing.total || !row_get(&c->t, T_EVENT, &key, &value))
		return;
	commit_unmark_ended(c, id);
	forget_event_rows(c, id);
	op->n_changed++;
}

/* Deliveries of one event, one after the other. Where it belongs in T_ENDED is looked up once for
 * all of them, as that means to look at each. */
struct verb_run {
	const struct event_id *event; /* NULL: none yet */
	bool changed;
};

static void end_run(struct commit *c, const struct verb_op *op, const struct verb_run *run)
{
	struct event_standing standing = {.total = 1};

	if (!run->changed)
		return;
	if (op->verb == VERB_PURGE)
		get_standing(&c->t, run->event, &standing);
	if (standing.total == 0)
		forget_event_rows(c, run->event);
	else
		commit_mark_ended(c, run->event);
}

static void apply_verb_to(
	struct commit *c, struct verb_op *op, const struct delivery_ref *ref, struct verb_run *run)
{
	struct delivery before, after;
	struct met *met;
	enum delivery_change change;
	bool removed;

	if (ref->endpoint == 0) {
		purge_event_without_deliveries(c, op, &ref->event);
		return;
	}
	if (get_delivery(&c->t, ref, &before) < 0)
		return;
	met = commit_meet(c, ref->endpoint);
	removed = met->removed || !met->exists;
	after = before;
	change = delivery_apply_verb(&after, op->verb, op->states, removed, c->batch->now_ms);
	if (change == DELIVERY_UNCHANGED)
		return;
	op->n_changed++;
	if (!run->changed)
		commit_unmark_ended(c, &ref->event);
	run->changed = true;
	if (change == DELIVERY_CHANGED)
		commit_rewrite(c, &before, &after);
	else
		forget_delivery(c, &before);
	commit_meet(c, ref->endpoint)->touched.by_verb = true;
}

size_t commit_verb_slice(const struct verb_op *op)
{
	return op->n - op->at < VERB_SLICE ? op->n - op->at : VERB_SLICE;
}

void commit_verb(struct commit *c, struct verb_op *op)
{
	size_t end = op->at + commit_verb_slice(op);
	struct verb_run run = {NULL, false};

	op->op.result = ENGINE_OK;
	for (; op->at < end && !c->t.error; op->at++) {
		const struct delivery_ref *ref = &op->refs[op->at];

		if (run.event && memcmp(run.event, &ref->event, sizeof(ref->event)) != 0) {
			end_run(c, op, &run);
			run.changed = false;
		}
		run.event = &ref->event;
		apply_verb_to(c, op, ref, &run);
	}
	end_run(c, op, &run);
}

/* ---- Housekeeping ---- */

/* Forgets events at the head of a class that ended before; at most max. A row that is not what its
 * event says it is must not take that event along, which may be another, and owed still. */
static unsigned forget_ended(struct commit *c, uint8_t class, int64_t before_ms, unsigned max)
{
	struct walk walk;
	unsigned n = 0;

	walk_open(&walk, &c->t, T_ENDED, &class, 1);
	while (n < max && walk_seek(&walk, NULL) && key_i64_at(walk.key.mv_data, 1) < before_ms) {
		struct event_id id = key_event_at(walk.key.mv_data, 9);
		struct row_key ended;
		bool sound = commit_ended_key(c, &id, &ended) && ended.len == walk.key.mv_size &&
			memcmp(ended.at, walk.key.mv_data, ended.len) == 0;

		walk_delete(&walk);
		if (sound)
			forget_event(c, &id);
		else
			lmdb_mark_damaged(c->engine);
		n++;
	}
	walk_close(&walk);
	return n;
}

static unsigned forget_keys(struct commit *c, int64_t before_ms, unsigned max)
{
	struct walk walk;
	unsigned n = 0;

	walk_open(&walk, &c->t, T_KEY_EXPIRY, "", 0);
	while (n < max && walk_seek(&walk, NULL) && key_i64_at(walk.key.mv_data, 0) < before_ms) {
		struct row_key key = {.len = walk.key.mv_size - 8};
		int64_t expires_ms = key_i64_at(walk.key.mv_data, 0);
		struct key_record entry;

		memcpy(key.at, (const uint8_t *)walk.key.mv_data + 8, key.len);
		/* While the event is there, its key still leads to it. */
		if (get_key_record(&c->t, &key, &entry) == 0 && entry.expires_ms == expires_ms) {
			struct row_key event = key_of_event(&entry.event);
			struct bytes value;

			if (!row_get(&c->t, T_EVENT, &event, &value))
				row_delete(&c->t, T_KEY, &key);
		}
		walk_delete(&walk);
		n++;
	}
	walk_close(&walk);
	return n;
}

/* What a removed endpoint is still owed dies. */
static unsigned remove_owed(
	struct commit *c, uint32_t endpoint, enum delivery_state state, unsigned max)
{
	struct row_key prefix = key_of_number(endpoint);
	struct walk walk;
	unsigned n = 0;

	prefix.at[prefix.len++] = (uint8_t)state;
	walk_open(&walk, &c->t, T_STANDING, prefix.at, prefix.len);
	while (n < max && walk_seek(&walk, NULL)) {
		struct delivery_ref ref = {key_event_at(walk.key.mv_data, 5), endpoint};
		struct delivery before, after;

		n++;
		if (get_delivery(&c->t, &ref, &before) < 0 || before.state != state) {
			walk_delete(&walk); /* an index row of a damaged delivery */
			continue;
		}
		after = before;
		delivery_apply_verb(
			&after, VERB_ENDPOINT_REMOVED, ALL_STATES, true, c->batch->now_ms);
		commit_rewrite(c, &before, &after);
		commit_mark_ended(c, &ref.event);
	}
	walk_close(&walk);
	if (n)
		commit_meet(c, endpoint)->touched.by_verb = true;
	return n;
}

/* Pending ones, then held ones. When there seem to be none left there must be none: one that the
 * index does not lead to would be owed for ever to nobody. */
static unsigned remove_all_owed(struct commit *c, uint32_t endpoint, unsigned max)
{
	unsigned n = remove_owed(c, endpoint, DELIVERY_PENDING, max);
	const uint64_t *left;

	if (n < max)
		n += remove_owed(c, endpoint, DELIVERY_HELD, max - n);
	left = commit_meet(c, endpoint)->touched.tally.deliveries;
	if (n < max && (left[DELIVERY_PENDING] || left[DELIVERY_HELD]) && !c->t.error)
		c->t.error = -EBADMSG;
	return n;
}

void commit_house(struct commit *c)
{
	struct housekeeping *h = &c->batch->housekeeping;

	h->n_forgotten = h->n_keys_forgotten = h->n_removed = 0;
	if (h->delivered_before_ms)
		h->n_forgotten +=
			forget_ended(c, ENDED_DELIVERED, h->delivered_before_ms, h->max_events);
	if (h->dead_before_ms && h->n_forgotten < h->max_events)
		h->n_forgotten += forget_ended(
			c, ENDED_WITH_DEAD, h->dead_before_ms, h->max_events - h->n_forgotten);
	if (h->oldest_delivered)
		h->n_forgotten += forget_ended(c, ENDED_DELIVERED, INT64_MAX, h->oldest_delivered);
	if (h->keys_before_ms)
		h->n_keys_forgotten = forget_keys(c, h->keys_before_ms, 4 * h->max_events);
	if (h->remove_endpoint)
		h->n_removed = remove_all_owed(c, h->remove_endpoint, h->max_events);
}
