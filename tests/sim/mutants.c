#include "mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/clock.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/schedule.h"
#include "../../daemon/store/writer.h"
#include "../model/model_engine.h"
#include "dice.h"

enum mutant {
	NONE,
	LOST_RETRY,
	LOST_WITH_SENDER,
	LOST_REMOVAL,
	TWICE_AT_ONCE,
	AGAIN_AFTER_OUTCOME,
	STARVED_BY_CLAIM,
	STARVED_BY_LIMIT,
	LIMIT_EXCEEDED,
	RATE_EXCEEDED,
	RATE_WASTED,
	WINDOW_IGNORED,
	PAUSE_IGNORED,
	RETRY_AFTER_IGNORED,
	BEFORE_IT_IS_DUE,
	VERB_WITHOUT_TURN,
	VERB_BEATS_SUCCESS,
	OLD_FAILURE_COUNTS,
	OLD_CLAIM_SENT,
	BY_THE_WALL_CLOCK,
	N_MUTANTS
};

static const char *const names[N_MUTANTS] = {
	[LOST_RETRY] = "lost-retry",
	[LOST_WITH_SENDER] = "lost-with-sender",
	[LOST_REMOVAL] = "lost-removal",
	[TWICE_AT_ONCE] = "twice-at-once",
	[AGAIN_AFTER_OUTCOME] = "again-after-outcome",
	[STARVED_BY_CLAIM] = "starved-by-claim",
	[STARVED_BY_LIMIT] = "starved-by-limit",
	[LIMIT_EXCEEDED] = "limit-exceeded",
	[RATE_EXCEEDED] = "rate-exceeded",
	[RATE_WASTED] = "rate-wasted",
	[WINDOW_IGNORED] = "window-ignored",
	[PAUSE_IGNORED] = "pause-ignored",
	[RETRY_AFTER_IGNORED] = "retry-after-ignored",
	[BEFORE_IT_IS_DUE] = "before-it-is-due",
	[VERB_WITHOUT_TURN] = "verb-without-turn",
	[VERB_BEATS_SUCCESS] = "verb-beats-success",
	[OLD_FAILURE_COUNTS] = "old-failure-counts",
	[OLD_CLAIM_SENT] = "old-claim-sent",
	[BY_THE_WALL_CLOCK] = "by-the-wall-clock",
};

static enum mutant chosen;
static struct delivery old; /* as it was claimed once; AGAIN_AFTER_OUTCOME */

bool mutants_choose(const char *name)
{
	for (int i = NONE + 1; i < N_MUTANTS; i++) {
		if (strcmp(names[i], name) == 0)
			chosen = i;
	}
	return chosen != NONE;
}

void mutants_list(void)
{
	for (int i = NONE + 1; i < N_MUTANTS; i++)
		puts(names[i]);
}

void mutants_reset(void)
{
	memset(&old, 0, sizeof(old));
}

/* ---- Retries and claims ---- */

void __real_schedule_due(
	struct schedule *schedule, struct slot *slot, int64_t due_ms, int64_t now_ms);
void __wrap_schedule_due(
	struct schedule *schedule, struct slot *slot, int64_t due_ms, int64_t now_ms);
void __wrap_schedule_due(
	struct schedule *schedule, struct slot *slot, int64_t due_ms, int64_t now_ms)
{
	if (chosen == LOST_RETRY && due_ms > now_ms)
		return;
	__real_schedule_due(schedule, slot, due_ms, now_ms);
}

void __real_writer_unclaim(struct writer *writer, struct claimed *claimed);
void __wrap_writer_unclaim(struct writer *writer, struct claimed *claimed);
void __wrap_writer_unclaim(struct writer *writer, struct claimed *claimed)
{
	if (chosen == LOST_WITH_SENDER)
		claimed_free(claimed);
	else
		__real_writer_unclaim(writer, claimed);
}

void __real_writer_remove_later(struct writer *writer, uint32_t endpoint);
void __wrap_writer_remove_later(struct writer *writer, uint32_t endpoint);
void __wrap_writer_remove_later(struct writer *writer, uint32_t endpoint)
{
	if (chosen != LOST_REMOVAL)
		__real_writer_remove_later(writer, endpoint);
}

void __real_writer_claim(struct writer *writer, uint32_t endpoint, int64_t until_ms, unsigned max_n,
	size_t max_bytes);
void __wrap_writer_claim(struct writer *writer, uint32_t endpoint, int64_t until_ms, unsigned max_n,
	size_t max_bytes);
void __wrap_writer_claim(struct writer *writer, uint32_t endpoint, int64_t until_ms, unsigned max_n,
	size_t max_bytes)
{
	if (chosen == STARVED_BY_CLAIM && dice_once_in(20))
		return;
	if (chosen == BEFORE_IT_IS_DUE)
		until_ms += 1000;
	__real_writer_claim(writer, endpoint, until_ms, max_n, max_bytes);
}

static bool skip_nothing(void *user, const struct delivery_ref *ref)
{
	(void)user, (void)ref;
	return false;
}

void mutants_before_claim(struct claim *claim)
{
	if (chosen == TWICE_AT_ONCE)
		claim->skip = skip_nothing;
}

/* As from an older state of the store. */
void mutants_after_claim(struct engine *engine, struct claim *claim)
{
	struct claimed *again;
	struct event_row row;

	if (chosen != AGAIN_AFTER_OUTCOME)
		return;
	if (old.endpoint == claim->endpoint &&
		engine_model.get_event(engine, &old.event, true, &row) == ENGINE_OK) {
		again = calloc(1, sizeof(*again));
		if (!again)
			abort();
		*again = (struct claimed){claim->list, old, row.event};
		claim->list = again;
		old.endpoint = 0;
	} else if (claim->list) {
		old = claim->list->delivery;
	}
}

/* ---- Limits ---- */

struct effective __real_endpoint_effective(
	const struct endpoint *endpoint, const struct config *config);
struct effective __wrap_endpoint_effective(
	const struct endpoint *endpoint, const struct config *config);
struct effective __wrap_endpoint_effective(
	const struct endpoint *endpoint, const struct config *config)
{
	struct effective effective = __real_endpoint_effective(endpoint, config);

	if (chosen == LIMIT_EXCEEDED)
		effective.max_in_flight++;
	if (chosen == RATE_EXCEEDED)
		effective.rate_per_s *= 2;
	if (chosen == STARVED_BY_LIMIT && endpoint->number == 2)
		effective.max_in_flight = 0;
	return effective;
}

void __real_schedule_set_paused(struct schedule *schedule, bool paused);
void __wrap_schedule_set_paused(struct schedule *schedule, bool paused);
void __wrap_schedule_set_paused(struct schedule *schedule, bool paused)
{
	if (chosen != PAUSE_IGNORED)
		__real_schedule_set_paused(schedule, paused);
}

void __real_schedule_ended(struct schedule *schedule, struct slot *slot, size_t payload_len,
	enum attempt_effect effect, int64_t not_before_ms, int64_t now_ms);
void __wrap_schedule_ended(struct schedule *schedule, struct slot *slot, size_t payload_len,
	enum attempt_effect effect, int64_t not_before_ms, int64_t now_ms);
void __wrap_schedule_ended(struct schedule *schedule, struct slot *slot, size_t payload_len,
	enum attempt_effect effect, int64_t not_before_ms, int64_t now_ms)
{
	if (chosen == RETRY_AFTER_IGNORED)
		not_before_ms = 0;
	if (chosen == WINDOW_IGNORED && effect == EFFECT_NO_ANSWER)
		effect = EFFECT_ANSWERED;
	if (chosen == RATE_WASTED && effect == EFFECT_UNSENT)
		effect = EFFECT_NOT_MADE;
	__real_schedule_ended(schedule, slot, payload_len, effect, not_before_ms, now_ms);
}

/* ---- Verbs ---- */

enum delivery_change __real_delivery_apply_verb(struct delivery *delivery, enum verb verb,
	unsigned states, bool endpoint_removed, int64_t now_ms);
enum delivery_change __wrap_delivery_apply_verb(struct delivery *delivery, enum verb verb,
	unsigned states, bool endpoint_removed, int64_t now_ms);
enum delivery_change __wrap_delivery_apply_verb(struct delivery *delivery, enum verb verb,
	unsigned states, bool endpoint_removed, int64_t now_ms)
{
	enum delivery_change change =
		__real_delivery_apply_verb(delivery, verb, states, endpoint_removed, now_ms);

	/* Only where no outcome is sure to come, or delivery.c itself would stop it. */
	if (chosen == VERB_WITHOUT_TURN && change == DELIVERY_CHANGED &&
		delivery->state == DELIVERY_PENDING)
		delivery->turn--;
	return change;
}

enum delivery_change __real_delivery_apply_outcome(
	struct delivery *delivery, struct outcome *outcome, int64_t now_ms);
enum delivery_change __wrap_delivery_apply_outcome(
	struct delivery *delivery, struct outcome *outcome, int64_t now_ms);
enum delivery_change __wrap_delivery_apply_outcome(
	struct delivery *delivery, struct outcome *outcome, int64_t now_ms)
{
	bool old_turn = outcome->turn != delivery->turn;
	struct delivery before = *delivery;
	enum delivery_change change;

	if (chosen == OLD_FAILURE_COUNTS && delivery->state == DELIVERY_PENDING)
		outcome->turn = delivery->turn;
	change = __real_delivery_apply_outcome(delivery, outcome, now_ms);
	if (chosen == VERB_BEATS_SUCCESS && old_turn && outcome->kind == OUTCOME_DELIVERED) {
		before.last = delivery->last;
		*delivery = before;
	}
	return change;
}

void __real_schedule_stale(struct schedule *schedule, struct slot *slot, int64_t now_ms);
void __wrap_schedule_stale(struct schedule *schedule, struct slot *slot, int64_t now_ms);
void __wrap_schedule_stale(struct schedule *schedule, struct slot *slot, int64_t now_ms)
{
	if (chosen != OLD_CLAIM_SENT)
		__real_schedule_stale(schedule, slot, now_ms);
}

/* ---- Time ---- */

int64_t __real_clock_queue_ms(const struct clock *clock);
int64_t __wrap_clock_queue_ms(const struct clock *clock);
int64_t __wrap_clock_queue_ms(const struct clock *clock)
{
	return chosen == BY_THE_WALL_CLOCK ? clock_wall_ms(clock) : __real_clock_queue_ms(clock);
}
