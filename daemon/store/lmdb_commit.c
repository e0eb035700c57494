/*
 * Changing the store: one batch, one LMDB transaction.
 *
 * LMDB 0.9 cannot undo a part of a transaction, so each request is checked by reads before its
 * first write; what goes wrong after that ends the whole batch. All rows of a delivery follow from
 * its state in rewrite_delivery(), and only there; the rows of T_ENDED follow in mark_ended() and
 * unmark_ended().
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lmdb_engine.h"

/* An endpoint that the batch has met: read once, written once. */
struct met {
	uint32_t endpoint;
	bool exists, removed, changed;
	uint64_t promised_bytes; /* while a request is checked: what its events so far would add */
	struct touched touched;
};

struct commit {
	struct engine *engine;
	struct batch *batch;
	struct txn t;
	struct met *met;
	size_t n_met, met_size;
	uint32_t *slots; /* hash: index into met + 1, 0 is free */
	size_t n_slots; /* a power of two */
	size_t pages_left;
	char refusal[256];
	bool meta_changed;
	struct met nobody; /* handed out when memory is out: the batch is lost, what is written here
			      too */
};

/* ---- Endpoints met ---- */

static uint32_t *find_slot(struct commit *c, uint32_t endpoint)
{
	size_t i = endpoint * 2654435761u & (c->n_slots - 1);

	while (c->slots[i] && c->met[c->slots[i] - 1].endpoint != endpoint)
		i = (i + 1) & (c->n_slots - 1);
	return &c->slots[i];
}

static bool grow_met(struct commit *c)
{
	size_t size = c->met_size ? 2 * c->met_size : 64;
	struct met *met = realloc(c->met, size * sizeof(*met));
	uint32_t *slots;

	if (!met)
		return false;
	c->met = met;
	slots = calloc(2 * size, sizeof(*slots));
	if (!slots)
		return false;
	free(c->slots);
	c->slots = slots;
	c->n_slots = 2 * size;
	c->met_size = size;
	for (size_t i = 0; i < c->n_met; i++)
		*find_slot(c, met[i].endpoint) = (uint32_t)i + 1;
	return true;
}

static void read_endpoint_flags(struct commit *c, struct met *met)
{
	struct row_key key = key_of_number(met->endpoint);
	struct bytes value, blob;

	if (!row_get(&c->t, T_ENDPOINT, &key, &value))
		return;
	if (record_get_blob((struct bytes){key.at, key.len}, value, &blob) < 0 || blob.len < 1) {
		c->t.error = -EBADMSG;
		return;
	}
	met->exists = true;
	met->removed = *(const uint8_t *)blob.at & 1;
}

/* Never NULL; pointers live until the next call. Without memory the batch is in error. */
static struct met *meet(struct commit *c, uint32_t endpoint)
{
	struct met *met;
	uint32_t *slot;
	int r;

	if (c->n_slots) {
		slot = find_slot(c, endpoint);
		if (*slot)
			return &c->met[*slot - 1];
	}
	if (c->n_met == c->met_size && !grow_met(c)) {
		if (!c->t.error)
			c->t.error = ENOMEM;
		return &c->nobody;
	}
	met = &c->met[c->n_met];
	*met = (struct met){.endpoint = endpoint};
	*find_slot(c, endpoint) = (uint32_t)++c->n_met;
	met->touched.endpoint = endpoint;
	met->touched.earliest_due_ms = INT64_MAX;
	read_endpoint_flags(c, met);
	r = get_tally(&c->t, endpoint, &met->touched.tally);
	if (r == -EBADMSG && !c->t.error)
		c->t.error = r;
	return met;
}

static void count(uint64_t *counter, bool up, uint64_t by)
{
	if (up)
		*counter += by;
	else
		*counter -= *counter < by ? *counter : by;
}

static bool is_owed(enum delivery_state state)
{
	return state == DELIVERY_PENDING || state == DELIVERY_HELD;
}

static void tally_delivery(struct commit *c, const struct delivery *d, bool up)
{
	struct met *met = meet(c, d->endpoint);

	count(&met->touched.tally.deliveries[d->state], up, 1);
	if (is_owed(d->state))
		count(&met->touched.tally.owed_bytes, up, d->payload_bytes + OWED_OVERHEAD);
	met->changed = true;
}

/* ---- The rows of a delivery ---- */

static enum table table_of(const struct delivery *d)
{
	return d->state == DELIVERY_DELIVERED ? T_DONE : T_LIVE;
}

/* The index rows that a delivery has, each present or not. */
struct index_rows {
	bool due, standing, dead;
	struct row_key due_key, standing_key, dead_key;
};

static struct index_rows index_rows_of(const struct delivery *d)
{
	struct index_rows rows = {0};

	if (!d)
		return rows;
	rows.due = d->state == DELIVERY_PENDING;
	if (rows.due)
		rows.due_key = key_of_due(d->endpoint, d->due_ms, &d->event);
	rows.standing = d->state != DELIVERY_DELIVERED;
	if (rows.standing)
		rows.standing_key = key_of_standing(d->endpoint, d->state, &d->event);
	rows.dead = d->state == DELIVERY_DEAD;
	if (rows.dead)
		rows.dead_key = key_of_dead(d->since_ms, &d->event, d->endpoint);
	return rows;
}

static void move_index_row(struct commit *c, enum table table, bool had, const struct row_key *old,
	bool has, const struct row_key *new)
{
	if (had && has && old->len == new->len &&memcmp(old->at, new->at, old->len) == 0)
		return;
	if (had)
		row_delete(&c->t, table, old);
	if (has)
		row_put(&c->t, table, new, "", 0);
}

/* A delivery that is pending may be claimed, from its time on: because it is due at another time
 * now, or because it was claimed and is not any more. */
static void note_due(struct commit *c, const struct delivery *d)
{
	struct met *met;

	if (d->state != DELIVERY_PENDING)
		return;
	met = meet(c, d->endpoint);
	met->changed = true;
	if (d->due_ms < met->touched.earliest_due_ms)
		met->touched.earliest_due_ms = d->due_ms;
}

/* From what it was to what it is: before NULL for a new delivery, after NULL for one that goes. */
static void rewrite_delivery(
	struct commit *c, const struct delivery *before, const struct delivery *after)
{
	const struct delivery *any = after ? after : before;
	struct row_key key = key_of_delivery(&any->event, any->endpoint);
	struct index_rows old = index_rows_of(before), new = index_rows_of(after);
	uint8_t record[RECORD_MAX];

	if (before && (!after || table_of(before) != table_of(after)))
		row_delete(&c->t, table_of(before), &key);
	if (after) {
		size_t len = record_put_delivery((struct bytes){key.at, key.len}, after, record);

		row_put(&c->t, table_of(after), &key, record, len);
	}
	move_index_row(c, T_DUE, old.due, &old.due_key, new.due, &new.due_key);
	move_index_row(
		c, T_STANDING, old.standing, &old.standing_key, new.standing, &new.standing_key);
	move_index_row(c, T_DEAD, old.dead, &old.dead_key, new.dead, &new.dead_key);
	if (before)
		tally_delivery(c, before, false);
	if (after)
		tally_delivery(c, after, true);
	if (after && (!old.due || before->due_ms != after->due_ms))
		note_due(c, after);
}

/* ---- When events end ---- */

static struct row_key ended_key(const struct event_id *id, const struct event_standing *standing)
{
	uint8_t class = standing->states[DELIVERY_DEAD] ? ENDED_WITH_DEAD : ENDED_DELIVERED;
	/* An event that nobody subscribed to ended when it was accepted. */
	int64_t ended_ms = standing->total ? standing->ended_ms : event_id_ms(id);

	return key_of_ended(class, ended_ms, id);
}

/* To be called before a delivery that is delivered or dead changes: its event may have ended. */
static void unmark_ended(struct commit *c, const struct event_id *id)
{
	struct event_standing standing;

	get_standing(&c->t, id, &standing);
	if (!standing_is_open(&standing)) {
		struct row_key key = ended_key(id, &standing);

		row_delete(&c->t, T_ENDED, &key);
	}
}

/* To be called after a delivery became delivered or dead, or went: its event may have ended now. */
static void mark_ended(struct commit *c, const struct event_id *id)
{
	struct event_standing standing;

	get_standing(&c->t, id, &standing);
	if (!standing_is_open(&standing)) {
		struct row_key key = ended_key(id, &standing);

		row_put(&c->t, T_ENDED, &key, "", 0);
	}
}

/* ---- Outcomes ---- */

static void keep_story(struct commit *c, const struct outcome_op *op)
{
	const struct outcome *o = &op->outcome;
	struct attempt_story story = {.attempt = o->attempt};
	uint8_t record[RECORD_MAX];
	struct row_key key = key_of_attempt(&o->event, o->endpoint, o->attempt.number);
	size_t len;

	/* Most deliveries succeed at once; the delivery itself says all there is to say then. */
	if (o->kind == OUTCOME_DELIVERED && o->attempt.number == 1)
		return;
	story.message_len = op->message_len;
	story.response_len = op->response_len;
	memcpy(story.message, op->message, op->message_len);
	memcpy(story.response, op->response, op->response_len);
	len = record_put_attempt((struct bytes){key.at, key.len}, &story, record);
	row_put(&c->t, T_ATTEMPT, &key, record, len);
	if (o->attempt.number > HISTORY_MAX) {
		key = key_of_attempt(&o->event, o->endpoint, o->attempt.number - HISTORY_MAX);
		row_delete(&c->t, T_ATTEMPT, &key);
	}
}

static void tally_health(struct commit *c, const struct outcome_op *op)
{
	struct met *met = meet(c, op->outcome.endpoint);
	struct tally *tally = &met->touched.tally;
	enum health health = op->outcome.attempt.result == RESULT_OK ? HEALTH_OK : HEALTH_FAILING;

	if (tally->health != health) {
		tally->health = health;
		tally->health_since_ms = c->batch->now_ms;
		if (health == HEALTH_FAILING)
			tally->failures = 0;
	}
	if (health == HEALTH_FAILING)
		tally->failures++;
	tally->last = op->outcome.attempt;
	tally->message_len = op->message_len;
	memcpy(tally->message, op->message, op->message_len);
	met->changed = true;
}

/* A delivery whose record is damaged: what is known from the claim, enough to make a dead letter of
 * it. */
static struct delivery rebuild(const struct outcome *o)
{
	return (struct delivery){.event = o->event,
		.endpoint = o->endpoint,
		.state = DELIVERY_PENDING,
		.turn = o->turn,
		.due_ms = o->due_ms,
		.last = {.retry_after_s = -1}};
}

static void apply_outcome(struct commit *c, struct outcome_op *op)
{
	struct outcome *o = &op->outcome;
	struct delivery_ref ref = {o->event, o->endpoint};
	struct delivery before, after;
	int r = get_delivery(&c->t, &ref, &before);

	op->op.result = ENGINE_OK;
	op->after = (struct delivery){0};
	if (o->kind == OUTCOME_DAMAGED) {
		/* Whatever the damage is, the row that led here must not lead here again. */
		struct row_key due = key_of_due(o->endpoint, o->due_ms, &o->event);

		row_delete(&c->t, T_DUE, &due);
	}
	if (r == -ENOENT) /* purged meanwhile */
		return;
	if (r == -EBADMSG) {
		before = rebuild(o);
		o->kind = OUTCOME_DAMAGED;
	}
	after = before;
	if (delivery_apply_outcome(&after, o, c->batch->now_ms) == DELIVERY_UNCHANGED) {
		op->after = after;
		note_due(c, &after);
		return;
	}
	if (o->attempt.number) {
		keep_story(c, op);
		tally_health(c, op);
	}
	if (!is_owed(before.state))
		unmark_ended(c, &o->event);
	rewrite_delivery(c, &before, &after);
	if (!is_owed(after.state))
		mark_ended(c, &o->event);
	note_due(c, &after);
	op->after = after;
}

/* ---- Endpoints, sending ---- */

static void apply_endpoint(struct commit *c, struct endpoint_op *op)
{
	struct row_key key = key_of_number(op->number);
	struct met *met = meet(c, op->number);
	size_t size = op->blob_len + 64, len;
	uint8_t *record = malloc(2 * size), *blob = record + size;

	op->op.result = ENGINE_OK;
	if (!record) {
		c->t.error = ENOMEM;
		return;
	}
	blob[0] = op->removed;
	memcpy(blob + 1, op->blob, op->blob_len);
	len = record_put_blob((struct bytes){key.at, key.len},
		(struct bytes){blob, op->blob_len + 1}, record, size);
	row_put(&c->t, T_ENDPOINT, &key, record, len);
	free(record);
	met->exists = true;
	met->removed = op->removed;
	met->changed = true;
	if (op->number >= c->engine->meta.next_endpoint) {
		c->engine->meta.next_endpoint = op->number + 1;
		c->meta_changed = true;
	}
}

static void apply_sending(struct commit *c, struct sending_op *op)
{
	op->op.result = ENGINE_OK;
	c->engine->meta.sending = op->sending;
	c->meta_changed = true;
}

/* ---- Submits ---- */

static bool takes_deliveries(const struct met *met)
{
	return met->exists && !met->removed;
}

/* What one event would add to each of its endpoints; false: one of them owes too much already. */
static bool check_shares(struct commit *c, struct submit_op *op, const struct new_event *e)
{
	uint64_t share = (uint64_t)c->batch->limits.budget_bytes / 4;

	for (uint32_t i = 0; i < e->n_targets; i++) {
		struct met *met = meet(c, e->targets[i]);

		if (!takes_deliveries(met))
			continue;
		met->promised_bytes += e->event.payload_len + OWED_OVERHEAD;
		if (met->touched.tally.owed_bytes + met->promised_bytes > share) {
			op->full_endpoint =
				e->targets[i]; /* whose name store.c puts into the detail */
			problem_set(&op->problem, PROBLEM_FULL, NULL,
				"the endpoint is owed its share of the budget");
			return false;
		}
	}
	return true;
}

static void forget_promises(struct commit *c, const struct submit_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		for (uint32_t j = 0; j < op->events[i].n_targets; j++)
			meet(c, op->events[i].targets[j])->promised_bytes = 0;
	}
}

/* Is the key known? Returns false when it stands for something else. */
static bool check_key(struct commit *c, struct submit_op *op, struct new_event *e)
{
	struct row_key key = key_of_idempotency(e->event.tenant, e->event.key);
	struct key_record known;
	char id[EVENT_ID_TEXT_SIZE];

	/* A damaged record cannot confirm anything: the event is stored anew. */
	if (get_key_record(&c->t, &key, &known) < 0 || known.expires_ms <= c->batch->now_ms)
		return true;
	if (memcmp(known.digest, e->digest, sizeof(known.digest)) == 0) {
		e->duplicate = true;
		e->id = known.event;
		e->n_deliveries = known.n_deliveries;
		return true;
	}
	event_id_format(&known.event, id);
	problem_set(&op->problem, PROBLEM_KEY_REUSED, "idempotency_key",
		"this key stands for another event, %s, whose tenant, type, content type or payload differ",
		id);
	op->problem.line = e->line;
	return false;
}

static enum engine_result check_submit(struct commit *c, struct submit_op *op)
{
	struct space_need need = {0};
	enum engine_result result = ENGINE_OK;

	for (size_t i = 0; i < op->n; i++) {
		struct new_event *e = &op->events[i];

		e->duplicate = false;
		if (e->same_as)
			continue;
		if (e->event.key && !check_key(c, op, e)) {
			result = ENGINE_REFUSED;
			break;
		}
		if (e->duplicate)
			continue;
		if (!check_shares(c, op, e)) {
			result = ENGINE_REFUSED;
			break;
		}
		need.rows += 5 + 3 * (size_t)e->n_targets;
		need.payload_pages += e->event.payload_len / PIECE_PAYLOAD + 1;
	}
	forget_promises(c, op);
	if (result == ENGINE_OK && need.rows && space_pages(&need) > c->pages_left) {
		problem_set(&op->problem, PROBLEM_FULL, NULL, "%s", c->refusal);
		result = ENGINE_REFUSED;
	}
	if (result == ENGINE_OK && need.rows)
		c->pages_left -= space_pages(&need);
	return result;
}

/* Walks through a payload that is given in parts. */
struct parts {
	const struct new_event *e;
	size_t part, offset;
};

static void copy_parts(struct parts *from, uint8_t *to, size_t len)
{
	while (len > 0) {
		size_t left = from->e->payload[from->part].len - from->offset;
		size_t n = left < len ? left : len;

		if (n)
			memcpy(to, (const uint8_t *)from->e->payload[from->part].at + from->offset,
				n);
		to += n;
		len -= n;
		from->offset += n;
		if (n == left) {
			from->part++;
			from->offset = 0;
		}
	}
}

static void put_event(struct commit *c, const struct new_event *e)
{
	struct piece_plan plan = record_plan_pieces(&e->event);
	struct row_key key = key_of_event(&e->event.id);
	struct parts parts = {.e = e};
	uint8_t start[RECORD_MAX], record[RECORD_MAX];
	size_t len;

	copy_parts(&parts, start, plan.in_record);
	len = record_put_event(
		(struct bytes){key.at, key.len}, &e->event, start, plan.in_record, record);
	assert(len > 0);
	row_put(&c->t, T_EVENT, &key, record, len);
	for (uint32_t i = 0; i < plan.n_full + (plan.last > 0); i++) {
		size_t n = i < plan.n_full ? PIECE_PAYLOAD : plan.last;
		uint64_t checksum;

		copy_parts(&parts, record, n);
		key = key_of_piece(&e->event.id, i);
		checksum =
			record_checksum((struct bytes){key.at, key.len}, (struct bytes){record, n});
		for (int byte = 0; byte < 8; byte++)
			record[n + (size_t)byte] = (uint8_t)(checksum >> (56 - 8 * byte));
		row_put(&c->t, T_PIECE, &key, record, n + 8);
	}
}

static void delete_key(struct commit *c, const struct row_key *key, int64_t expires_ms)
{
	struct row_key expiry = key_of_key_expiry(expires_ms, key);

	row_delete(&c->t, T_KEY, key);
	row_delete(&c->t, T_KEY_EXPIRY, &expiry);
}

static void put_key(struct commit *c, const struct new_event *e)
{
	struct row_key key = key_of_idempotency(e->event.tenant, e->event.key), expiry;
	struct key_record entry = {.event = e->event.id,
		.n_deliveries = e->n_deliveries,
		.expires_ms = e->key_expires_ms};
	struct key_record before;
	uint8_t record[RECORD_MAX];
	size_t len;

	if (get_key_record(&c->t, &key, &before) == 0) /* expired, or it would have been known */
		delete_key(c, &key, before.expires_ms);
	memcpy(entry.digest, e->digest, sizeof(entry.digest));
	len = record_put_key((struct bytes){key.at, key.len}, &entry, record);
	row_put(&c->t, T_KEY, &key, record, len);
	expiry = key_of_key_expiry(e->key_expires_ms, &key);
	row_put(&c->t, T_KEY_EXPIRY, &expiry, "", 0);
}

static void store_event(struct commit *c, struct new_event *e)
{
	struct delivery d = {.event = e->event.id,
		.state = DELIVERY_PENDING,
		.since_ms = e->event.accepted_ms,
		.due_ms = e->due_ms,
		.aged_from_ms = e->due_ms,
		.payload_bytes = e->event.payload_len,
		.last = {.retry_after_s = -1}};

	e->id = e->event.id;
	e->n_deliveries = 0;
	for (uint32_t i = 0; i < e->n_targets; i++) {
		if (!takes_deliveries(meet(c, e->targets[i])))
			continue;
		d.endpoint = e->targets[i];
		rewrite_delivery(c, NULL, &d);
		e->n_deliveries++;
	}
	e->event.n_deliveries = e->n_deliveries;
	put_event(c, e);
	if (e->event.key)
		put_key(c, e);
	if (e->n_deliveries == 0)
		mark_ended(c, &e->event.id);
}

static void apply_submit(struct commit *c, struct submit_op *op)
{
	op->op.result = check_submit(c, op);
	if (op->op.result != ENGINE_OK)
		return;
	for (size_t i = 0; i < op->n; i++) {
		struct new_event *e = &op->events[i];

		if (e->same_as) {
			e->duplicate = true;
			e->id = e->same_as->id;
			e->n_deliveries = e->same_as->n_deliveries;
		} else if (!e->duplicate) {
			store_event(c, e);
		}
	}
}

/* ---- Forgetting ---- */

static void delete_prefix(struct commit *c, enum table table, const void *prefix, size_t len)
{
	struct walk walk;

	walk_open(&walk, &c->t, table, prefix, len);
	while (walk_seek(&walk, NULL)) {
		struct row_key key = {.len = walk.key.mv_size};

		memcpy(key.at, walk.key.mv_data, key.len);
		row_delete(&c->t, table, &key);
	}
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
		delete_key(c, &key, entry.expires_ms);
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

	rewrite_delivery(c, d, NULL);
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

			memcpy(key.at, walk.key.mv_data, key.len);
			if (record_get_delivery((struct bytes){key.at, key.len}, value, &d) == 0)
				forget_delivery(c, &d);
			else
				row_delete(&c->t, tables[i], &key);
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
	unmark_ended(c, id);
	forget_event_rows(c, id);
	op->n_changed++;
}

static void apply_verb_to(struct commit *c, struct verb_op *op, const struct delivery_ref *ref)
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
	met = meet(c, ref->endpoint);
	removed = met->removed || !met->exists;
	after = before;
	change = delivery_apply_verb(&after, op->verb, op->states, removed, c->batch->now_ms);
	if (change == DELIVERY_UNCHANGED)
		return;
	op->n_changed++;
	if (!is_owed(before.state))
		unmark_ended(c, &ref->event);
	if (change == DELIVERY_CHANGED) {
		rewrite_delivery(c, &before, &after);
		if (!is_owed(after.state))
			mark_ended(c, &ref->event);
	} else {
		struct event_standing standing;

		forget_delivery(c, &before);
		get_standing(&c->t, &ref->event, &standing);
		if (standing.total == 0)
			forget_event_rows(c, &ref->event);
		else
			mark_ended(c, &ref->event);
	}
	meet(c, ref->endpoint)->touched.by_verb = true;
}

/* How many of its deliveries a batch works on. */
static size_t slice_of(const struct verb_op *op)
{
	return op->n - op->at < VERB_SLICE ? op->n - op->at : VERB_SLICE;
}

static void apply_verb(struct commit *c, struct verb_op *op)
{
	size_t end = op->at + slice_of(op);

	op->op.result = ENGINE_OK;
	for (; op->at < end && !c->t.error; op->at++)
		apply_verb_to(c, op, &op->refs[op->at]);
}

/* ---- Housekeeping ---- */

/* Forgets events at the head of a class that ended before; at most max. */
static unsigned forget_ended(struct commit *c, uint8_t class, int64_t before_ms, unsigned max)
{
	struct walk walk;
	unsigned n = 0;

	walk_open(&walk, &c->t, T_ENDED, &class, 1);
	while (n < max && walk_seek(&walk, NULL) && key_i64_at(walk.key.mv_data, 1) < before_ms) {
		struct event_id id = key_event_at(walk.key.mv_data, 9);
		struct row_key key = key_of_ended(class, key_i64_at(walk.key.mv_data, 1), &id);

		forget_event(c, &id);
		row_delete(&c->t, T_ENDED, &key);
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
		struct row_key expiry = {.len = walk.key.mv_size},
			       key = {.len = walk.key.mv_size - 8};
		int64_t expires_ms = key_i64_at(walk.key.mv_data, 0);
		struct key_record entry;

		memcpy(expiry.at, walk.key.mv_data, expiry.len);
		memcpy(key.at, expiry.at + 8, key.len);
		/* While the event is there, its key still leads to it. */
		if (get_key_record(&c->t, &key, &entry) == 0 && entry.expires_ms == expires_ms) {
			struct row_key event = key_of_event(&entry.event);
			struct bytes value;

			if (!row_get(&c->t, T_EVENT, &event, &value))
				row_delete(&c->t, T_KEY, &key);
		}
		row_delete(&c->t, T_KEY_EXPIRY, &expiry);
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
		struct row_key standing = key_of_standing(endpoint, state, &ref.event);
		struct delivery before, after;

		n++;
		if (get_delivery(&c->t, &ref, &before) < 0 || before.state != state) {
			row_delete(&c->t, T_STANDING,
				&standing); /* an index row of a damaged delivery */
			continue;
		}
		after = before;
		delivery_apply_verb(
			&after, VERB_ENDPOINT_REMOVED, ALL_STATES, true, c->batch->now_ms);
		rewrite_delivery(c, &before, &after);
		mark_ended(c, &ref.event);
	}
	walk_close(&walk);
	if (n)
		meet(c, endpoint)->touched.by_verb = true;
	return n;
}

static void keep_house(struct commit *c)
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
	if (h->remove_endpoint) {
		h->n_removed = remove_owed(c, h->remove_endpoint, DELIVERY_PENDING, h->max_events);
		if (h->n_removed < h->max_events)
			h->n_removed += remove_owed(
				c, h->remove_endpoint, DELIVERY_HELD, h->max_events - h->n_removed);
	}
}

/* ---- The batch ---- */

static void measure(
	const struct batch *batch, struct space_need *submits, struct space_need *others)
{
	for (const struct op *op = batch->ops; op; op = op->next) {
		switch (op->kind) {
		case OP_OUTCOME:
			others->rows += 10;
			break;
		case OP_ENDPOINT:
			others->rows += 3;
			others->payload_pages +=
				((const struct endpoint_op *)op)->blob_len / PAGE_BYTES + 1;
			break;
		case OP_SENDING:
			others->rows += 1;
			break;
		case OP_SUBMIT: {
			const struct submit_op *submit = (const struct submit_op *)op;

			submits->rows += 4 * submit->n + 3 * submit->n_deliveries;
			submits->payload_pages += submit->bytes / PIECE_PAYLOAD + submit->n;
			break;
		}
		case OP_VERB:
			others->rows += 10 * slice_of((const struct verb_op *)op);
			break;
		}
	}
	others->rows += 20 *
			(size_t)(batch->housekeeping.max_events +
				batch->housekeeping.oldest_delivered) +
		8;
}

static void apply(struct commit *c, struct op *op)
{
	switch (op->kind) {
	case OP_OUTCOME:
		apply_outcome(c, (struct outcome_op *)op);
		break;
	case OP_ENDPOINT:
		apply_endpoint(c, (struct endpoint_op *)op);
		break;
	case OP_SENDING:
		apply_sending(c, (struct sending_op *)op);
		break;
	case OP_SUBMIT:
		apply_submit(c, (struct submit_op *)op);
		break;
	case OP_VERB:
		apply_verb(c, (struct verb_op *)op);
		break;
	}
}

static bool is_forgotten(const struct met *met)
{
	const uint64_t *n = met->touched.tally.deliveries;

	return met->exists && met->removed && !n[DELIVERY_PENDING] && !n[DELIVERY_HELD] &&
		!n[DELIVERY_DELIVERED] && !n[DELIVERY_DEAD];
}

static void write_tally(struct commit *c, struct met *met)
{
	struct row_key key = key_of_number(met->endpoint);
	uint8_t record[RECORD_MAX];

	met->touched.forgotten = is_forgotten(met);
	if (met->touched.forgotten) {
		row_delete(&c->t, T_TALLY, &key);
		row_delete(&c->t, T_ENDPOINT, &key);
	} else {
		size_t len = record_put_tally(
			(struct bytes){key.at, key.len}, &met->touched.tally, record);

		row_put(&c->t, T_TALLY, &key, record, len);
	}
}

/* Writes what was counted and tells which endpoints were touched. */
static void conclude(struct commit *c)
{
	struct batch *batch = c->batch;

	batch->touched = calloc(c->n_met ? c->n_met : 1, sizeof(*batch->touched));
	if (!batch->touched) {
		c->t.error = ENOMEM;
		return;
	}
	for (size_t i = 0; i < c->n_met; i++) {
		struct met *met = &c->met[i];

		if (!met->changed)
			continue;
		write_tally(c, met);
		if (met->touched.tally.deliveries[DELIVERY_PENDING])
			met->touched.oldest_pending_ms = get_oldest_pending(&c->t, met->endpoint);
		batch->touched[batch->n_touched++] = met->touched;
	}
	if (c->meta_changed || c->t.writes) {
		c->engine->meta.queue_ms = batch->now_ms;
		lmdb_put_meta(c->engine, &c->t);
	}
}

static void free_commit(struct commit *c)
{
	free(c->met);
	free(c->slots);
}

enum engine_result lmdb_commit_batch(struct engine *engine, struct batch *batch)
{
	struct commit c = {.engine = engine, .batch = batch};
	struct space_need submits = {0}, others = {0};
	int r;

	batch->touched = NULL;
	batch->n_touched = 0;
	if (lmdb_begin(engine, &c.t, true) != ENGINE_OK)
		return ENGINE_BROKEN;
	measure(batch, &submits, &others);
	c.pages_left = space_prepare(
		engine, &c.t, &batch->limits, &submits, &others, c.refusal, sizeof(c.refusal));
	for (struct op *op = batch->ops; op && !c.t.error; op = op->next)
		apply(&c, op);
	keep_house(&c);
	conclude(&c);
	free_commit(&c);

	if (c.t.error) {
		lmdb_abort(&c.t);
		return lmdb_break(engine, "cannot write", c.t.error);
	}
	if (c.t.writes == 0) {
		lmdb_abort(&c.t);
		return ENGINE_OK;
	}
	r = mdb_txn_commit(c.t.mdb);
	return r ? lmdb_break(engine, "cannot commit", r) : ENGINE_OK;
}
