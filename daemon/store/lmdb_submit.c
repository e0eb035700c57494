/*
 * New events: refused by reads alone, or stored with their deliveries and keys.
 */
#include <assert.h>
#include <string.h>

#include "lmdb_commit.h"

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
		struct met *met = commit_meet(c, e->targets[i]);

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
			commit_meet(c, op->events[i].targets[j])->promised_bytes = 0;
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

static bool is_new(const struct new_event *e)
{
	return !e->same_as && !e->duplicate;
}

static bool check_keys(struct commit *c, struct submit_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct new_event *e = &op->events[i];

		e->duplicate = false;
		if (!e->same_as && e->event.key && !check_key(c, op, e))
			return false;
	}
	return true;
}

static bool check_room(struct commit *c, struct submit_op *op)
{
	struct space_need need = {0};
	bool ok = true;

	for (size_t i = 0; i < op->n && ok; i++) {
		const struct new_event *e = &op->events[i];

		if (!is_new(e))
			continue;
		ok = check_shares(c, op, e);
		need.rows += 5 + 3 * (size_t)e->n_targets;
		need.payload_pages += e->event.payload_len / PIECE_PAYLOAD + 1;
	}
	forget_promises(c, op);
	if (ok && need.rows && space_pages(&need) > c->pages_left) {
		problem_set(&op->problem, PROBLEM_FULL, NULL, "%s", c->refusal);
		ok = false;
	}
	if (ok && need.rows)
		c->pages_left -= space_pages(&need);
	return ok;
}

/* Keys first: who waits for room is not to learn only then that there is nothing to wait for. */
static enum engine_result check_submit(struct commit *c, struct submit_op *op)
{
	return check_keys(c, op) && check_room(c, op) ? ENGINE_OK : ENGINE_REFUSED;
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
		/* cppcheck-suppress knownConditionTrueFalse ; the left may be less than what is
		 * wanted */
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
	row_append(&c->t, T_EVENT, &key, record, len);
	for (uint32_t i = 0; i < plan.n_full + (plan.last > 0); i++) {
		size_t n = i < plan.n_full ? PIECE_PAYLOAD : plan.last;
		uint64_t checksum;

		copy_parts(&parts, record, n);
		key = key_of_piece(&e->event.id, i);
		checksum =
			record_checksum((struct bytes){key.at, key.len}, (struct bytes){record, n});
		for (int byte = 0; byte < 8; byte++)
			record[n + (size_t)byte] = (uint8_t)(checksum >> (56 - 8 * byte));
		row_append(&c->t, T_PIECE, &key, record, n + 8);
	}
}

void commit_delete_key(struct commit *c, const struct row_key *key, int64_t expires_ms)
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
		commit_delete_key(c, &key, before.expires_ms);
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
		if (!takes_deliveries(commit_meet(c, e->targets[i])))
			continue;
		d.endpoint = e->targets[i];
		commit_rewrite(c, NULL, &d);
		e->n_deliveries++;
	}
	e->event.n_deliveries = e->n_deliveries;
	put_event(c, e);
	if (e->event.key)
		put_key(c, e);
	if (e->n_deliveries == 0)
		commit_mark_ended(c, &e->event.id);
}

void commit_submit(struct commit *c, struct submit_op *op)
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
		} else if (is_new(e)) {
			store_event(c, e);
		}
	}
}
