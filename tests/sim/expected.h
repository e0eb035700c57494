/*
 * What the oracle knows of each event and delivery: as it has to be stored, and where it is. Shared
 * by the halves of the oracle, what is stored (oracle.c) and what is attempted (attempts.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../daemon/store/engine.h"
#include "limits.h"
#include "receivers.h"

#define GONE 0 /* a delivery's state when nothing is left of it */
#define DEATHS_TO_SUSPECT 2

struct expected {
	struct event_id event;
	uint32_t endpoint;
	/* As it is stored. */
	enum delivery_state state;
	enum dead_reason reason;
	int64_t since_ms, due_ms, aged_from_ms;
	unsigned attempts; /* since the start or the last replay */
	unsigned made; /* attempts that are in its history */
	unsigned local_faults;
	unsigned verbs; /* of people, so far */
	uint64_t verb_batch; /* that the last of them came with */
	/* With hookd. */
	bool claimed, damaged, sent;
	bool answered_for; /* its outcome is with the store */
	int64_t answered_us; /* since then */
	bool answered_made; /* and is one of an attempt that was made */
	unsigned claimed_verbs;
	uint64_t claimed_batch;
	int64_t claimed_due_ms, claimed_aged_from_ms;
	bool unsendable; /* no sender took it */
	uint32_t sent_revision; /* of the endpoint's settings */
	unsigned deaths; /* of senders that had it, as far as hookd remembers */
	int64_t death_us;
	/* With a sender. */
	bool arrived, cut_off, reacted;
	struct reaction reaction;
	/* Over its life. */
	unsigned sends, lost; /* lost: sends without an outcome that was stored */
	bool accepted; /* a receiver said 2xx and hookd heard it */
};

struct expected_event {
	struct event_id id;
	int64_t accepted_ms, deliver_at_wall_ms;
	uint64_t payload_hash;
	uint32_t payload_len;
	bool is_poison;
	bool gone;
	bool settled; /* nothing happens to it by itself any more */
	uint32_t n;
	struct expected *deliveries;
};

struct expected_key {
	char tenant[65], key[256];
	struct event_id event;
	int64_t expires_ms;
	uint8_t digest[EVENT_DIGEST_LEN];
};

struct expectations {
	struct expected_event *events; /* in the order of their ids */
	size_t n, size;
	struct expected_key *keys;
	size_t n_keys, keys_size;
	struct {
		bool there, removed;
	} endpoints[RECEIVERS_MAX];
	uint64_t batches, reported; /* committed; known to the main thread */
	int64_t now_ms; /* of the batch being looked at */
	bool pressed;
	int64_t keep_delivered_ms, keep_dead_ms;
	/* Before the last reloads, which the batch under way does not know of. */
	int64_t kept_delivered_ms, kept_dead_ms;
	uint64_t keep_batch;
	size_t n_seen; /* deliveries of the engine that were compared */
	size_t cursor; /* the event of the last one */
	size_t n_there; /* deliveries that are stored */
	size_t first_left; /* events before it are gone */
	uint64_t counted_batch;
	bool perhaps_finished; /* something was stored since the last look */
};
extern struct expectations expectations;

struct expected_event *expected_find_event(const struct event_id *id); /* NULL: never stored */
struct expected *expected_find(const struct event_id *event, uint32_t endpoint);

/* For messages: the number of the event in this history, and the endpoint's. */
const char *expected_name_of(const struct event_id *event, uint32_t endpoint);
const char *expected_name(const struct expected *d);
const char *expected_state_name(enum delivery_state state);

bool expected_is_owed(const struct expected *d);
bool expected_is_suspect(const struct expected *d);
/* How many may wait for the suspects' sender. endpoint 0: of all. */
unsigned expected_n_suspects(uint32_t endpoint);
/* It is with no sender any more. */
void expected_leave_sender(struct expected *d);

enum limits_effect expected_effect(const struct outcome *outcome);
uint64_t expected_hash(uint64_t hash, const void *bytes, size_t len);
