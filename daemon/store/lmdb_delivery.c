/*
 * The rows of a delivery, and the row that says its event has ended.
 */
#include <string.h>

#include "lmdb_commit.h"

static void count(uint64_t *counter, bool up, uint64_t by)
{
	if (up)
		*counter += by;
	else
		*counter -= *counter < by ? *counter : by;
}

bool commit_is_owed(enum delivery_state state)
{
	return state == DELIVERY_PENDING || state == DELIVERY_HELD;
}

static void tally_delivery(struct commit *c, const struct delivery *d, bool up)
{
	struct met *met = commit_meet(c, d->endpoint);
	struct tally *tally = &met->touched.tally;

	count(&tally->deliveries[d->state], up, 1);
	if (commit_is_owed(d->state))
		count(&tally->owed_bytes, up, d->payload_bytes + OWED_OVERHEAD);
	/* Of a delivery whose record was damaged the size was not known when it ended. */
	if (!tally->deliveries[DELIVERY_PENDING] && !tally->deliveries[DELIVERY_HELD])
		tally->owed_bytes = 0;
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
	if (has && had)
		row_put(&c->t, table, new, "", 0);
	else if (has) /* of a new event, or of what happened just now */
		row_append(&c->t, table, new, "", 0);
}

void commit_note_due(struct commit *c, const struct delivery *d)
{
	struct met *met;

	if (d->state != DELIVERY_PENDING)
		return;
	met = commit_meet(c, d->endpoint);
	met->changed = true;
	if (d->due_ms < met->touched.earliest_due_ms)
		met->touched.earliest_due_ms = d->due_ms;
}

void commit_rewrite(struct commit *c, const struct delivery *before, const struct delivery *after)
{
	const struct delivery *any = after ? after : before;
	/* cppcheck-suppress nullPointerRedundantCheck ; one of the two is there */
	struct row_key key = key_of_delivery(&any->event, any->endpoint);
	struct index_rows old = index_rows_of(before), new = index_rows_of(after);
	uint8_t record[RECORD_MAX];

	if (before && (!after || table_of(before) != table_of(after)))
		row_delete(&c->t, table_of(before), &key);
	if (after) {
		size_t len = record_put_delivery((struct bytes){key.at, key.len}, after, record);

		if (before)
			row_put(&c->t, table_of(after), &key, record, len);
		else /* of a new event, as a rule */
			row_append(&c->t, table_of(after), &key, record, len);
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
		commit_note_due(c, after);
}

/* ---- When events end ---- */

bool commit_ended_key(struct commit *c, const struct event_id *id, struct row_key *key)
{
	struct event_standing standing;

	if (!get_ended(&c->t, id, &standing))
		return false;
	*key = key_of_ended(id, &standing);
	return true;
}

void commit_unmark_ended(struct commit *c, const struct event_id *id)
{
	struct row_key key;

	if (commit_ended_key(c, id, &key))
		row_delete(&c->t, T_ENDED, &key);
}

void commit_mark_ended(struct commit *c, const struct event_id *id)
{
	struct row_key key;

	if (commit_ended_key(c, id, &key))
		row_put(&c->t, T_ENDED, &key, "", 0);
}
