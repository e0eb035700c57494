/*
 * From what is due to what came of it: takes deliveries from schedule in their turn, builds and
 * signs their requests, hands them to a sender, judges the outcome, and gives it to the store.
 *
 * The request is built at the moment of sending, from the endpoint's settings as they are then.
 * Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "config.h"
#include "metrics.h"
#include "schedule.h"
#include "senders.h"
#include "store/store.h"

struct dispatch;
struct reports;

struct dispatch_options {
	struct event_base *base;
	struct clock *clock;
	struct metrics *metrics;
	struct reports *reports;
	const struct config *config; /* replaced through dispatch_reload() */
	const char *ca_directory; /* where the "ca" of endpoints are looked up */
	const char *sender_path;
};

/* Returns 0 or a negative errno. The store comes later, because it is opened with our callbacks. */
int dispatch_new(struct dispatch **dispatch, const struct dispatch_options *options);
void dispatch_free(
	struct dispatch *dispatch); /* between store_finish() and store_close(); NULL is fine */

/* Begins: with the store's endpoints, and senders. */
void dispatch_start(struct dispatch *dispatch, struct store *store);

/* No new attempts; those under way end. idle is called when the last has, perhaps at once. */
void dispatch_stop(struct dispatch *dispatch, void (*idle)(void *user), void *user);

/* A new configuration: new senders, new limits. */
void dispatch_reload(struct dispatch *dispatch, const struct config *config);

/* What the store tells (store_callbacks). */
void dispatch_touched(struct dispatch *dispatch, struct slot *slot, const struct slot *before,
	const struct touched *touched);
void dispatch_forgetting(struct dispatch *dispatch, struct slot *slot);
void dispatch_edited(struct dispatch *dispatch, struct slot *slot, const struct endpoint *before);
void dispatch_claimed(
	struct dispatch *dispatch, uint32_t endpoint, struct claimed *list, int64_t next_due_ms);

/* All sending was paused or resumed. */
void dispatch_sending_changed(struct dispatch *dispatch);

/* One attempt as soon as a sender has room, outside of the queue: an event "hookd.test". done is
 * called once; attempt.result RESULT_NONE: it could not be made, the message says why. */
struct dispatch_test {
	struct attempt_story story;
	void (*done)(struct dispatch_test *test);
	struct dispatch_test *next; /* dispatch's */
	uint32_t endpoint;
};
void dispatch_test(struct dispatch *dispatch, struct slot *slot, struct dispatch_test *test);

/* Why a pending delivery is not under way, or that it is. */
enum waiting_for { WAITING_TIME, WAITING_RATE, WAITING_TURN, WAITING_RESUME, WAITING_ANSWER };
const char *waiting_for_name(enum waiting_for waiting);
/* next_ms: when it will be attempted, for WAITING_TIME. */
enum waiting_for dispatch_explain(struct dispatch *dispatch, struct slot *slot,
	const struct delivery *delivery, int64_t *next_ms);

/* Until when Retry-After keeps everything from the endpoint; 0: it does not. */
int64_t dispatch_not_before_ms(struct dispatch *dispatch, struct slot *slot);

struct dispatch_numbers {
	unsigned senders_wanted, senders_running, in_flight;
	const char *senders_problem; /* why they cannot start; "" */
	uint64_t sender_restarts;
	int64_t late_ms;
	enum local_fault fault; /* why attempts could not be made just now */
};
struct dispatch_numbers dispatch_numbers(struct dispatch *dispatch);
