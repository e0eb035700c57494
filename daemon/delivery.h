/*
 * A delivery: one event owed to one endpoint, its states, and the only functions that change them.
 *
 * Pure. The engines load a delivery, apply one of the two functions below, and write what came of
 * it; the table "What happens to a delivery" in doc/api.md is these functions.
 *
 * Turn: each verb of a person raises it. A claim remembers the turn, and the outcome of the attempt
 * brings it back. When a verb came in between, the outcome only joins the history, unless it is a
 * success: that a receiver took the event is a fact and wins over any verb but purge.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../lib/event_id.h"

enum delivery_state {
	DELIVERY_PENDING = 1, /* owed, now or later */
	DELIVERY_HELD,
	DELIVERY_DELIVERED,
	DELIVERY_DEAD
};
#define N_DELIVERY_STATES 5 /* for arrays indexed by state */

/* Sets of states. */
#define STATE_BIT(state) (1u << (state))
#define ALL_STATES \
	(STATE_BIT(DELIVERY_PENDING) | STATE_BIT(DELIVERY_HELD) | STATE_BIT(DELIVERY_DELIVERED) | \
		STATE_BIT(DELIVERY_DEAD))

enum dead_reason {
	NOT_DEAD,
	DEAD_EXHAUSTED,
	DEAD_TOO_OLD,
	DEAD_CANCELLED,
	DEAD_ENDPOINT_REMOVED,
	DEAD_DAMAGED
};
#define N_DEAD_REASONS 6

enum attempt_result {
	RESULT_NONE, /* no attempt yet */
	RESULT_OK,
	RESULT_STATUS,
	RESULT_DNS,
	RESULT_ADDRESS,
	RESULT_CONNECT,
	RESULT_TLS,
	RESULT_TIMEOUT,
	RESULT_PROTOCOL
};
#define N_ATTEMPT_RESULTS 9

/* The names in the API. The functions return NULL or "" beyond the enum; parse returns -EINVAL. */
const char *delivery_state_name(enum delivery_state state);
const char *dead_reason_name(enum dead_reason reason);
const char *attempt_result_name(enum attempt_result result);
int delivery_state_parse(const char *text);
int attempt_result_parse(const char *text);

/* Where an attempt went: an IPv4 or IPv6 address and a port in host order. family 0: nowhere. */
struct peer {
	uint8_t family; /* 4 or 6 */
	uint8_t bytes[16];
	uint16_t port;
};

/* An attempt in short, part of the delivery. */
struct attempt {
	uint32_t number; /* from 1, counts on over replays; 0: no attempt */
	enum attempt_result result;
	uint32_t duration_ms;
	int32_t retry_after_s; /* -1: the answer had none */
	int64_t started_ms;
	uint16_t http_status; /* 0 without an answer */
	struct peer peer;
};

#define ATTEMPT_MESSAGE_MAX 200
#define ATTEMPT_RESPONSE_MAX 1024

/* An attempt with its story. message is printable UTF-8; response is what the receiver sent, any
 * bytes. */
struct attempt_story {
	struct attempt attempt;
	uint16_t message_len, response_len;
	char message[ATTEMPT_MESSAGE_MAX];
	char response[ATTEMPT_RESPONSE_MAX];
};

struct delivery {
	struct event_id event;
	uint32_t endpoint;
	enum delivery_state state;
	enum dead_reason reason;
	uint32_t turn;
	uint16_t attempts; /* since the start or the last replay */
	uint8_t local_faults; /* in a row: attempts not made for reasons of our own */
	int64_t since_ms; /* in this state since */
	int64_t due_ms; /* when it may be attempted; kept while held */
	int64_t aged_from_ms; /* the latest of accepted, deliver_at and last replay */
	uint32_t payload_bytes; /* of the event, for what an endpoint is owed */
	struct attempt last;
};

enum delivery_change { DELIVERY_UNCHANGED, DELIVERY_CHANGED, DELIVERY_GONE };

enum verb { VERB_REPLAY, VERB_HOLD, VERB_RELEASE, VERB_CANCEL, VERB_PURGE, VERB_ENDPOINT_REMOVED };
#define N_VERBS 6

const char *verb_name(enum verb verb);

/* The states that a verb takes when its caller names none, and those it takes when they are named.
 */
unsigned verb_default_states(enum verb verb);
unsigned verb_possible_states(enum verb verb);

/*
 * Applies a verb. states: which ones the caller means; others stay as they are. endpoint_removed:
 * the delivery's endpoint is gone, so nothing can be owed to it again.
 */
enum delivery_change delivery_apply_verb(struct delivery *delivery, enum verb verb, unsigned states,
	bool endpoint_removed, int64_t now_ms);

enum outcome_kind {
	OUTCOME_DELIVERED,
	OUTCOME_RETRY, /* failed; again at due_ms */
	OUTCOME_DEAD, /* failed for good, for the given reason */
	OUTCOME_LOCAL, /* not made, through no fault of the receiver; again at due_ms */
	OUTCOME_EARLY, /* not made, deliver_at has not come by the wall clock; again at due_ms */
	OUTCOME_TOO_OLD, /* not made, its endpoint does not want it any more */
	OUTCOME_DAMAGED /* not made, the stored event cannot be trusted */
};

struct outcome {
	struct event_id event;
	uint32_t endpoint;
	uint32_t turn;
	enum outcome_kind kind;
	enum dead_reason reason; /* for OUTCOME_DEAD */
	int64_t due_ms;
	struct attempt
		attempt; /* of an attempt that was made; its number is given when it is applied */
};

/* Applies the outcome of an attempt. Sets outcome->attempt.number where an attempt was made. */
enum delivery_change delivery_apply_outcome(
	struct delivery *delivery, struct outcome *outcome, int64_t now_ms);
