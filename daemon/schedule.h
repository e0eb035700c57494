/*
 * Which delivery goes next.
 *
 * An endpoint to which something is owed has a lane. Lanes that may send stand in a ring and take
 * turns, one delivery each; lanes that want more deliveries from the store stand in a queue; lanes
 * for which only time has to pass lie in a heap. One function, place(), decides where a lane
 * belongs, and is called whenever something about it changed.
 *
 * What keeps one endpoint from harming others: turns; its limit of attempts in flight; its rate; a
 * window that begins at one, falls back to it after an attempt without any answer, and doubles with
 * each success; and when slots or room for payloads in flight grow scarce, an endpoint may have at
 * most as much of them as is left. Endpoints that did not answer the last time stand in a ring of
 * their own, and together get a quarter of the slots, of the room for payloads in flight, and of
 * that for deliveries held ready: so thousands of dead ones leave the rest to the others.
 *
 * No I/O and no clock: time is handed in, in queue time. Main thread. Deliveries in here are
 * claimed from the store, and owned by their lane until schedule_next() gives them away.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/engine.h"
#include "store/registry.h"

struct schedule;

/* An endpoint's limits as they are in force; asked whenever they are needed. */
struct lane_limits {
	bool paused; /* or removed */
	unsigned max_in_flight, burst;
	double rate_per_s; /* 0: no limit */
};

struct schedule_options {
	struct lane_limits (*limits)(void *user, const struct slot *slot);
	/* Gives a claimed delivery back to the store; it will be claimed anew. */
	void (*unclaim)(void *user, struct claimed *claimed);
	void *user;
	unsigned max_ready; /* deliveries held ready in all */
	size_t max_ready_bytes; /* of their payloads */
	size_t max_in_flight_bytes; /* of payloads in flight */
};

struct schedule *schedule_new(const struct schedule_options *options);
void schedule_free(
	struct schedule *schedule); /* NULL is fine; lanes of slots have to be gone or are freed */

/* All sending, paused or not. To be followed by schedule_changed() for every endpoint. */
void schedule_set_paused(struct schedule *schedule, bool paused);

/* Something of the endpoint is due at that time (INT64_MIN: find out when). */
void schedule_due(struct schedule *schedule, struct slot *slot, int64_t due_ms, int64_t now_ms);
/* Nothing to the endpoint until then, as it asked before hookd was started. */
void schedule_not_before(
	struct schedule *schedule, struct slot *slot, int64_t not_before_ms, int64_t now_ms);
/* What was asked for so, or with an answer, holds no longer. */
void schedule_lift(struct schedule *schedule, struct slot *slot, int64_t now_ms);
/* Its limits or its pause changed. */
void schedule_changed(struct schedule *schedule, struct slot *slot, int64_t now_ms);
/* What was claimed of it may be out of date: it goes back to the store. */
void schedule_stale(struct schedule *schedule, struct slot *slot, int64_t now_ms);
/* The endpoint goes for good. */
void schedule_forget(struct schedule *schedule, struct slot *slot);

/* The next claim to ask the store for. False: none now. */
struct wish_for {
	uint32_t endpoint;
	unsigned max_n;
	size_t max_bytes;
};
bool schedule_wish(struct schedule *schedule, struct wish_for *wish);
/* Its answer; takes the list over. */
void schedule_claimed(struct schedule *schedule, struct slot *slot, struct claimed *list,
	int64_t next_due_ms, int64_t now_ms);

/* The next delivery to attempt, given away, and counted as in flight from now on. free_slots: how
 * many more attempts the senders can take. NULL: none now. */
struct claimed *schedule_next(struct schedule *schedule, unsigned free_slots, int64_t now_ms);

enum attempt_effect {
	EFFECT_SUCCESS,
	EFFECT_ANSWERED, /* a failure, but the receiver spoke */
	EFFECT_NO_ANSWER,
	EFFECT_NOT_MADE, /* no attempt after all, but the receiver may have seen a request */
	EFFECT_UNSENT /* no sender ever had it: it takes nothing of the endpoint's rate */
};

/* An attempt with a payload of that length has ended. not_before_ms: nothing to the endpoint until
 * then; 0. */
void schedule_ended(struct schedule *schedule, struct slot *slot, size_t payload_len,
	enum attempt_effect effect, int64_t not_before_ms, int64_t now_ms);

/* When to look again though nothing happens; INT64_MAX: never. */
int64_t schedule_wake_ms(const struct schedule *schedule);
/* To be called then, or at any time: moves on what only waited for time. */
void schedule_tick(struct schedule *schedule, int64_t now_ms);

/* Why a delivery that is due, of this endpoint, is not under way. */
enum lane_wait { LANE_FREE, LANE_PAUSED, LANE_NOT_BEFORE, LANE_RATE };
enum lane_wait schedule_explain(const struct schedule *schedule, const struct slot *slot,
	int64_t now_ms, int64_t *not_before_ms);

/* How late the latest of what could go right now is, in milliseconds; 0: nothing waits. */
int64_t schedule_lateness_ms(const struct schedule *schedule, int64_t now_ms);
