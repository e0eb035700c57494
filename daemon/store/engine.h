/*
 * What a store engine has to do: the verbs, and what is handed to them.
 *
 * An engine keeps events, deliveries, endpoints and idempotency keys, and changes them in batches
 * that are on disk, wholly, when commit() has returned ENGINE_OK. Calls may take as long as a disk
 * takes; they come from store threads only: commit, claim and close from the writer, the reading
 * ones from any (each in a short view of its own), backup from its own thread. Everything that does
 * not depend on how data is kept (queueing, ids, fan-out, answering) is not here but in store.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../delivery.h"
#include "../event.h"
#include "../problem.h"

enum engine_result {
	ENGINE_OK,
	ENGINE_REFUSED, /* for what the request's problem says; nothing of it was stored */
	ENGINE_NOT_FOUND,
	ENGINE_BROKEN /* the store cannot be trusted any more: hookd has to stop */
};

/* ---- What is counted per endpoint, in the same transaction as what it counts ---- */

enum health { HEALTH_UNTRIED, HEALTH_OK, HEALTH_FAILING };

struct tally {
	uint64_t deliveries[N_DELIVERY_STATES]; /* by state */
	uint64_t owed_bytes; /* of what is pending or held */
	enum health health;
	int64_t health_since_ms;
	uint32_t failures; /* attempts failed in a row */
	struct attempt last;
	uint16_t message_len;
	char message[ATTEMPT_MESSAGE_MAX]; /* of the last attempt */
};

/* What a delivery adds to owed_bytes: its payload and its rows. */
#define OWED_OVERHEAD 256

/* All sending, paused or not; kept over restarts. */
struct sending {
	bool paused;
	int64_t since_ms;
	char reason[257];
};

/* ---- Changes ---- */

enum op_kind { OP_OUTCOME, OP_ENDPOINT, OP_SENDING, OP_KEY, OP_SUBMIT, OP_VERB };

/* One change, embedded in the struct of its kind. The engine sets result; store.c runs done on the
 * main loop after the commit. */
struct op {
	enum op_kind kind;
	enum engine_result result;
	struct op *next;
	void (*done)(struct op *op);
};

struct outcome_op {
	struct op op;
	struct outcome outcome;
	/* The story of the attempt, when one was made. */
	uint16_t message_len, response_len;
	char message[ATTEMPT_MESSAGE_MAX];
	char response[ATTEMPT_RESPONSE_MAX];
	/* Out: the delivery after it; state 0 when the delivery is gone. */
	struct delivery after;
};

/* Writes an endpoint's settings (an opaque blob), creating it if its number is new. */
struct endpoint_op {
	struct op op;
	uint32_t number;
	bool removed; /* from now on nothing is owed to it; what it is owed dies in slices */
	const uint8_t *blob;
	size_t blob_len;
};

struct sending_op {
	struct op op;
	struct sending sending;
};

/* Marks the store with the master key that all its secrets are sealed with. */
struct key_op {
	struct op op;
	uint8_t key_id[8];
};

struct new_event {
	struct event event;
	struct {
		const void *at;
		size_t len;
	} payload[3]; /* in order; together event.payload_len bytes */
	int64_t due_ms; /* accepted_ms, or deliver_at in queue time */
	int64_t key_expires_ms;
	uint8_t digest[EVENT_DIGEST_LEN];
	const uint32_t *targets; /* endpoint numbers, each once */
	uint32_t n_targets;
	const struct new_event
		*same_as; /* an earlier line of the request with the same key; not stored */
	unsigned line;
	/* Out: */
	bool duplicate;
	struct event_id id;
	uint32_t n_deliveries;
};

/* All events are stored, or none and problem says why (PROBLEM_KEY_REUSED, PROBLEM_FULL).
 * full_endpoint: the endpoint whose share is used up, else 0. */
struct submit_op {
	struct op op;
	struct new_event *events;
	size_t n;
	size_t bytes; /* of all payloads */
	size_t n_deliveries; /* over all events: sum of n_targets */
	/* Out: */
	struct problem problem;
	uint32_t full_endpoint;
};

struct delivery_ref {
	struct event_id event;
	uint32_t endpoint; /* 0: the event itself, which has no delivery (purge only) */
};

/* Applies a verb to deliveries, some of them in each batch until at == n. */
struct verb_op {
	struct op op;
	enum verb verb;
	unsigned states;
	struct delivery_ref *refs;
	size_t n, at;
	/* Out: */
	size_t n_changed;
};

/* What is done beside the requests, a slice in each batch. Times are queue time, 0 means do not. */
struct housekeeping {
	int64_t delivered_before_ms; /* forget events that ended before, with all deliveries
					delivered */
	int64_t dead_before_ms; /* the same for those with dead letters */
	int64_t keys_before_ms; /* forget idempotency keys that expired before */
	unsigned oldest_delivered; /* forget so many of the oldest delivered events whatever their
				      age */
	uint32_t remove_endpoint; /* a removed endpoint: what it is owed dies */
	unsigned max_events; /* the size of the slice */
	/* Out: */
	unsigned n_forgotten, n_keys_forgotten, n_removed;
};

/* An endpoint whose deliveries a batch changed. */
struct touched {
	uint32_t endpoint;
	int64_t earliest_due_ms; /* of what may be claimed anew since the batch; INT64_MAX for
				    nothing */
	bool by_verb; /* changed by a verb: what was claimed before is stale */
	bool forgotten; /* a removed endpoint to which no delivery refers any more: it is gone */
	int64_t oldest_pending_ms; /* 0: nothing pending */
	struct tally tally;
};

struct store_limits {
	int64_t budget_bytes, min_free_bytes;
};

struct batch {
	int64_t now_ms;
	struct store_limits limits;
	struct op *ops;
	struct housekeeping housekeeping;
	/* Out, freed by batch_clear(): */
	struct touched *touched;
	size_t n_touched;
};

void batch_clear(struct batch *batch);

/* ---- Claiming what is due ---- */

struct claimed {
	struct claimed *next;
	struct delivery delivery;
	struct stored_event *event; /* NULL: damaged */
};

struct claim {
	uint32_t endpoint;
	int64_t until_ms; /* due by then */
	unsigned max_n;
	size_t max_bytes; /* stop behind the payload that reaches it */
	/* Deliveries that are with the caller already, to be passed over. */
	bool (*skip)(void *user, const struct delivery_ref *ref);
	void *user;
	/* Out: */
	struct claimed *list;
	int64_t next_due_ms; /* of the first one not claimed; INT64_MAX for none */
};

void claimed_free(struct claimed *claimed);
uint32_t claimed_payload_len(const struct claimed *claimed); /* 0: damaged */

/* ---- Reading ---- */

/* A place between rows, made by the engine, opaque to others; len 0: the start. */
#define POSITION_MAX 48
struct position {
	uint8_t bytes[POSITION_MAX];
	uint8_t len;
};

struct delivery_query {
	bool one_event;
	struct event_id event;
	unsigned states;
	bool any_endpoint;
	const uint32_t *endpoints; /* sorted; used unless any_endpoint */
	size_t n_endpoints;
	const char *type; /* pattern; NULL: any */
	int64_t since_ms, until_ms; /* of delivery.since_ms, both inclusive; INT64_MIN, INT64_MAX */
	int http_status_min, http_status_max; /* of the last attempt; -1: any; 0 to 0: no answer */
	enum attempt_result result; /* RESULT_NONE: any */
	bool oldest_first;
	struct position from;
	size_t limit;
	size_t max_examined; /* rows looked at before giving a short page back */
	bool refs_only; /* leave type and story out */
};

struct delivery_row {
	struct delivery delivery;
	char type[129];
	struct attempt_story *story; /* of the last attempt, NULL when none was kept */
};

struct delivery_page {
	struct delivery_row *rows;
	size_t n;
	bool more;
	struct position next;
};

void delivery_page_clear(struct delivery_page *page);

struct event_query {
	const char *tenant; /* NULL: any */
	const char *type; /* pattern; NULL: any */
	const char *key; /* NULL: any; with it tenant is needed ("" is one) */
	int64_t since_ms, until_ms; /* of accepted_ms */
	bool oldest_first;
	struct position from;
	size_t limit, max_examined;
};

struct event_row {
	struct stored_event *event;
	uint32_t states[N_DELIVERY_STATES];
};

struct event_page {
	struct event_row *rows;
	size_t n;
	bool more;
	struct position next;
};

void event_page_clear(struct event_page *page);

#define HISTORY_MAX 20

struct history {
	struct delivery delivery;
	char type[129];
	struct attempt_story *stories; /* oldest first; free() it */
	size_t n;
};

/* How old is what an endpoint is owed: pending deliveries counted by the age of their events. */
#define AGE_CLASSES 7

struct age_query {
	uint32_t endpoint;
	/* Events accepted at or behind bounds_ms[i], and before those of smaller i, are of class i;
	 * all others of the last class. Falling. */
	int64_t bounds_ms[AGE_CLASSES - 1];
	struct position from;
	size_t max_examined;
};

struct age_page {
	uint64_t counts[AGE_CLASSES];
	size_t n;
	int64_t next_due_ms; /* of the first row of this page; INT64_MAX: there is none */
	bool more;
	struct position next;
};

struct engine_stats {
	int64_t used_bytes;
	int64_t disk_free_bytes;
	bool damaged; /* something is not as it was written; mended when hookd starts again */
	uint64_t reader_lag; /* by how many transactions the oldest state that is read is behind */
	long reader_pid; /* who reads it */
	int64_t held_bytes; /* free, but kept from being used again by an old reader; 0: there is
			       none */
	bool history_in_the_way; /* forgetting what was delivered would make room that is wanted */
	bool would_accept; /* a small event, now */
	char refusal[256]; /* why not */
	int64_t newest_dead_ms; /* 0: none */
	int64_t oldest_dead_ms; /* 0: none */
	int64_t first_delivered_end_ms, first_dead_end_ms,
		first_key_expiry_ms; /* INT64_MAX: none */
};

/* ---- The engine itself ---- */

/* What open() found. */
struct engine_found {
	struct event_id last_event;
	int64_t queue_ms; /* the latest queue time seen; 0: a new store */
	int64_t stop_ms, lag_ms;
	uint32_t next_endpoint;
	struct sending sending;
	uint8_t key_id[8];
	bool fresh; /* made by this open() */
};

struct engine_options {
	const char *directory;
	struct store_limits limits;
	uint8_t key_id[8]; /* written into a new store */
	/* Asked of a store that is there before anything of it is written: with what key it is
	 * marked. 0; or -EIO: it is not opened, for what the problem says. May be NULL. */
	int (*check_key)(void *check_user, const uint8_t key_id[8], struct problem *problem);
	void *check_user;
	/* Mending what is damaged may take a while: called again and again meanwhile, with a line
	 * for the administrator or NULL. May be NULL. */
	void (*mending)(void *user, const char *line);
	void *user;
};

struct engine;

struct engine_verbs {
	/* 0; -EIO; or -EBADMSG: what is on the disk is damaged beyond what can be mended. */
	int (*open)(struct engine **engine, const struct engine_options *options,
		struct engine_found *found, struct problem *problem);
	void (*close)(struct engine *engine,
		int64_t now_ms); /* notes the time; 0 after a failure or a start that was
				    refused: touches nothing */

	/* Calls back once for each endpoint, removed ones included. */
	enum engine_result (*each_endpoint)(struct engine *engine,
		void (*found)(void *user, uint32_t number, bool removed, const uint8_t *blob,
			size_t len, const struct touched *state),
		void *user);

	/* Why the last call returned ENGINE_BROKEN, in words. */
	const char *(*broken)(const struct engine *engine);

	/* How much of a stop retention leaves out; part of the start. Remembered with the next
	 * commit, or close(), and the time of that, or a stop would be reckoned twice. */
	enum engine_result (*set_lag)(struct engine *engine, int64_t stop_ms, int64_t lag_ms);

	enum engine_result (*commit)(struct engine *engine, struct batch *batch);
	enum engine_result (*claim)(struct engine *engine, struct claim *claim);

	enum engine_result (*list_deliveries)(struct engine *engine,
		const struct delivery_query *query, struct delivery_page *page);
	enum engine_result (*list_events)(
		struct engine *engine, const struct event_query *query, struct event_page *page);
	enum engine_result (*get_event)(struct engine *engine, const struct event_id *id,
		bool with_payload, struct event_row *row);
	enum engine_result (*get_history)(
		struct engine *engine, const struct delivery_ref *ref, struct history *history);
	enum engine_result (*count_ages)(
		struct engine *engine, const struct age_query *query, struct age_page *page);
	enum engine_result (*stats)(struct engine *engine, const struct store_limits *limits,
		struct engine_stats *stats);

	/* A consistent copy, opening with sending paused, at path, which must not exist. cancelled
	 * is asked now and then. Returns ENGINE_OK or ENGINE_REFUSED with the reason in problem. */
	enum engine_result (*backup)(struct engine *engine, const char *path,
		bool (*cancelled)(void *user), void *user, int64_t *bytes, struct problem *problem);
};
