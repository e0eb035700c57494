/*
 * What came of attempts.
 */
#include <errno.h>
#include <string.h>

#include "lmdb_commit.h"

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
	struct met *met = commit_meet(c, op->outcome.endpoint);
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

/* The delivery was purged meanwhile; and with it its rows in the indexes, or it is not that. */
static void forget_outcome(struct commit *c, const struct outcome *o)
{
	struct row_key standing = key_of_standing(o->endpoint, DELIVERY_PENDING, &o->event);
	struct bytes value;

	if (row_get(&c->t, T_STANDING, &standing, &value))
		c->t.error = -EBADMSG;
}

void commit_outcome(struct commit *c, struct outcome_op *op)
{
	struct outcome *o = &op->outcome;
	struct delivery_ref ref = {o->event, o->endpoint};
	struct delivery before, after;
	int r = get_delivery(&c->t, &ref, &before);

	op->op.result = ENGINE_OK;
	op->after = (struct delivery){0};
	if (r < 0 && o->kind == OUTCOME_DAMAGED) {
		/* Whatever the damage is, the row that led here must not lead here again. A sound
		 * record knows its row, which may be of a later turn. */
		struct row_key due = key_of_due(o->endpoint, o->due_ms, &o->event);

		row_delete(&c->t, T_DUE, &due);
	}
	if (r == -ENOENT) {
		forget_outcome(c, o);
		return;
	}
	if (r == -EBADMSG) {
		before = rebuild(o);
		o->kind = OUTCOME_DAMAGED;
	}
	after = before;
	if (delivery_apply_outcome(&after, o, c->batch->now_ms) == DELIVERY_UNCHANGED) {
		op->after = after;
		commit_note_due(c, &after);
		return;
	}
	if (o->attempt.number) {
		keep_story(c, op);
		tally_health(c, op);
	}
	if (!commit_is_owed(before.state))
		commit_unmark_ended(c, &o->event);
	commit_rewrite(c, &before, &after);
	if (!commit_is_owed(after.state))
		commit_mark_ended(c, &o->event);
	commit_note_due(c, &after);
	op->after = after;
}
