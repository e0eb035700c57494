#include "delivery.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const char *const state_names[N_DELIVERY_STATES] = {
	[DELIVERY_PENDING] = "pending",
	[DELIVERY_HELD] = "held",
	[DELIVERY_DELIVERED] = "delivered",
	[DELIVERY_DEAD] = "dead",
};

static const char *const reason_names[N_DEAD_REASONS] = {
	[DEAD_EXHAUSTED] = "exhausted",
	[DEAD_TOO_OLD] = "too_old",
	[DEAD_CANCELLED] = "cancelled",
	[DEAD_ENDPOINT_REMOVED] = "endpoint_removed",
	[DEAD_DAMAGED] = "damaged",
};

static const char *const result_names[N_ATTEMPT_RESULTS] = {
	[RESULT_OK] = "ok",
	[RESULT_STATUS] = "status",
	[RESULT_DNS] = "dns",
	[RESULT_ADDRESS] = "address",
	[RESULT_CONNECT] = "connect",
	[RESULT_TLS] = "tls",
	[RESULT_TIMEOUT] = "timeout",
	[RESULT_PROTOCOL] = "protocol",
};

static const struct {
	const char *name;
	unsigned by_default, possible;
} verbs[N_VERBS] = {
	[VERB_REPLAY] = {"replay", STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_DEAD),
		ALL_STATES},
	[VERB_HOLD] = {"hold", STATE_BIT(DELIVERY_PENDING), STATE_BIT(DELIVERY_PENDING)},
	[VERB_RELEASE] = {"release", STATE_BIT(DELIVERY_HELD), STATE_BIT(DELIVERY_HELD)},
	[VERB_CANCEL] = {"cancel", STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_HELD),
		STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_HELD)},
	[VERB_PURGE] = {"purge", STATE_BIT(DELIVERY_DELIVERED) | STATE_BIT(DELIVERY_DEAD),
		ALL_STATES},
	[VERB_ENDPOINT_REMOVED] = {"endpoint_removed",
		STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_HELD),
		STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_HELD)},
};

static int find_name(const char *const *names, int n, const char *text)
{
	for (int i = 0; i < n; i++) {
		if (names[i] && strcmp(names[i], text) == 0)
			return i;
	}
	return -EINVAL;
}

static const char *name_at(const char *const *names, unsigned n, unsigned at)
{
	return at < n ? names[at] : NULL;
}

const char *delivery_state_name(enum delivery_state state)
{
	return name_at(state_names, N_DELIVERY_STATES, state);
}

const char *dead_reason_name(enum dead_reason reason)
{
	return name_at(reason_names, N_DEAD_REASONS, reason);
}

const char *attempt_result_name(enum attempt_result result)
{
	return name_at(result_names, N_ATTEMPT_RESULTS, result);
}

int delivery_state_parse(const char *text)
{
	return find_name(state_names, N_DELIVERY_STATES, text);
}

int attempt_result_parse(const char *text)
{
	return find_name(result_names, N_ATTEMPT_RESULTS, text);
}

const char *verb_name(enum verb verb)
{
	return verbs[verb].name;
}

unsigned verb_default_states(enum verb verb)
{
	return verbs[verb].by_default;
}

unsigned verb_possible_states(enum verb verb)
{
	return verbs[verb].possible;
}

/* Every change of state passes here. */
static void enter(
	struct delivery *d, enum delivery_state state, enum dead_reason reason, int64_t now_ms)
{
	assert((state == DELIVERY_DEAD) == (reason != NOT_DEAD));
	d->state = state;
	d->reason = reason;
	d->since_ms = now_ms;
}

static void replay(struct delivery *d, int64_t now_ms)
{
	enter(d, DELIVERY_PENDING, NOT_DEAD, now_ms);
	d->due_ms = now_ms;
	d->aged_from_ms = now_ms;
	d->attempts = 0;
	d->local_faults = 0;
}

enum delivery_change delivery_apply_verb(
	struct delivery *d, enum verb verb, unsigned states, bool endpoint_removed, int64_t now_ms)
{
	if (!(states & verb_possible_states(verb) & STATE_BIT(d->state)))
		return DELIVERY_UNCHANGED;

	switch (verb) {
	case VERB_REPLAY:
		if (endpoint_removed)
			return DELIVERY_UNCHANGED;
		replay(d, now_ms);
		break;
	case VERB_HOLD:
		enter(d, DELIVERY_HELD, NOT_DEAD, now_ms);
		break;
	case VERB_RELEASE:
		enter(d, DELIVERY_PENDING, NOT_DEAD, now_ms);
		break;
	case VERB_CANCEL:
		enter(d, DELIVERY_DEAD, DEAD_CANCELLED, now_ms);
		break;
	case VERB_ENDPOINT_REMOVED:
		enter(d, DELIVERY_DEAD, DEAD_ENDPOINT_REMOVED, now_ms);
		break;
	case VERB_PURGE:
		return DELIVERY_GONE;
	}
	d->turn++;
	return DELIVERY_CHANGED;
}

static bool was_made(const struct outcome *o)
{
	return o->kind == OUTCOME_DELIVERED || o->kind == OUTCOME_RETRY || o->kind == OUTCOME_DEAD;
}

enum delivery_change delivery_apply_outcome(struct delivery *d, struct outcome *o, int64_t now_ms)
{
	bool current = d->turn == o->turn;

	if (was_made(o)) {
		o->attempt.number = d->last.number + 1;
		d->last = o->attempt;
		if (current) {
			d->attempts++;
			d->local_faults = 0;
		}
	}
	if (o->kind == OUTCOME_DELIVERED) {
		enter(d, DELIVERY_DELIVERED, NOT_DEAD, now_ms);
		return DELIVERY_CHANGED;
	}
	if (!current)
		return was_made(o) ? DELIVERY_CHANGED : DELIVERY_UNCHANGED;

	/* Whatever takes a delivery out of pending raises its turn or is a success. */
	assert(d->state == DELIVERY_PENDING);
	switch (o->kind) {
	case OUTCOME_DELIVERED:
		break;
	case OUTCOME_RETRY:
		d->due_ms = o->due_ms;
		break;
	case OUTCOME_EARLY:
		d->due_ms = d->aged_from_ms = o->due_ms;
		break;
	case OUTCOME_LOCAL:
		d->due_ms = o->due_ms;
		if (d->local_faults < UINT8_MAX)
			d->local_faults++;
		break;
	case OUTCOME_DEAD:
		enter(d, DELIVERY_DEAD, o->reason, now_ms);
		break;
	case OUTCOME_TOO_OLD:
		enter(d, DELIVERY_DEAD, DEAD_TOO_OLD, now_ms);
		break;
	case OUTCOME_DAMAGED:
		enter(d, DELIVERY_DEAD, DEAD_DAMAGED, now_ms);
		break;
	}
	return DELIVERY_CHANGED;
}
