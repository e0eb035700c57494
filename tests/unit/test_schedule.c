/*
 * The schedule against a store made of an array, with a clock that goes as the test says. At the
 * end a long random walk: whatever happens in whatever order, limits are kept and nothing is
 * forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/schedule.h"
#include "helpers.h"

#define START_MS ((int64_t)1795312692402)
#define MANY_SLOTS 1000
#define LANES_MAX 2000
#define IN_FLIGHT_BYTES 100000

/* ---- A world of endpoints and what they are owed ---- */

enum place { IN_STORE, READY, IN_FLIGHT };

struct owed {
	int64_t due_ms;
	uint32_t payload_len;
	enum place place;
};

/* An endpoint, numbered by its place in the world. */
struct receiver {
	struct slot slot;
	struct endpoint endpoint;
	struct lane_limits limits;
	struct owed *owed;
	size_t n_owed, size;
	unsigned in_flight;
	bool claiming;
	struct wish_for wish; /* while claiming */
};

static struct world {
	struct schedule *schedule;
	struct receiver receivers[LANES_MAX];
	unsigned n;
	int64_t now_ms;
	unsigned n_unclaimed; /* given back by the schedule */
} w;

static struct lane_limits limits_of(void *user, const struct slot *slot)
{
	(void)user;
	return w.receivers[slot->settings->number].limits;
}

/* A claimed delivery is found again by its due time and its place among those owed. */
static struct owed *owed_of(const struct claimed *claimed)
{
	return &w.receivers[claimed->delivery.endpoint].owed[claimed->delivery.turn];
}

static void unclaim(void *user, struct claimed *claimed)
{
	(void)user;
	assert_int_equal(owed_of(claimed)->place, READY);
	owed_of(claimed)->place = IN_STORE;
	w.n_unclaimed++;
	claimed_free(claimed);
}

static void start_with_room(unsigned max_ready, size_t max_ready_bytes)
{
	const struct schedule_options options = {.limits = limits_of,
		.unclaim = unclaim,
		.max_ready = max_ready,
		.max_ready_bytes = max_ready_bytes,
		.max_in_flight_bytes = IN_FLIGHT_BYTES};

	schedule_free(w.schedule);
	w.schedule = schedule_new(&options);
}

static int setup(void **state)
{
	(void)state;
	w = (struct world){.now_ms = START_MS};
	start_with_room(1000, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < w.n; i++) {
		schedule_forget(w.schedule, &w.receivers[i].slot);
		free(w.receivers[i].owed);
	}
	schedule_free(w.schedule);
	return 0;
}

/* One that has been delivered to, eight at a time. */
static unsigned add_receiver(void)
{
	struct receiver *r = &w.receivers[w.n];

	*r = (struct receiver){
		.endpoint = {.number = w.n}, .limits = {.max_in_flight = 8, .burst = 1}};
	r->slot.settings = &r->endpoint;
	r->slot.health = HEALTH_OK;
	return w.n++;
}

static unsigned add_untried_receiver(void)
{
	unsigned i = add_receiver();

	w.receivers[i].slot.health = HEALTH_UNTRIED;
	return i;
}

/* One that did not answer before hookd was started. */
static unsigned add_dead_receiver(void)
{
	unsigned i = add_receiver();

	w.receivers[i].slot.health = HEALTH_FAILING;
	return i;
}

static void store_delivery(unsigned i, int64_t due_ms, uint32_t payload_len)
{
	struct receiver *r = &w.receivers[i];

	if (r->n_owed == r->size) {
		r->size = 2 * r->size + 4;
		r->owed = realloc(r->owed, r->size * sizeof(*r->owed));
		assert_non_null(r->owed);
	}
	r->owed[r->n_owed++] = (struct owed){due_ms, payload_len, IN_STORE};
}

/* From now on so many more deliveries are owed, and the schedule is told. */
static void owe_at(unsigned i, unsigned n, int64_t due_ms)
{
	while (n-- > 0)
		store_delivery(i, due_ms, 0);
	schedule_due(w.schedule, &w.receivers[i].slot, due_ms, w.now_ms);
}

static void owe(unsigned i, unsigned n)
{
	owe_at(i, n, w.now_ms);
}

/* ---- The store's part ---- */

static struct owed *earliest_in_store(struct receiver *r)
{
	struct owed *earliest = NULL;

	for (size_t i = 0; i < r->n_owed; i++) {
		if (r->owed[i].place == IN_STORE &&
			(!earliest || r->owed[i].due_ms < earliest->due_ms))
			earliest = &r->owed[i];
	}
	return earliest;
}

static struct claimed *claim_one(struct receiver *r, struct owed *owed)
{
	struct claimed *claimed = calloc(1, sizeof(*claimed));

	claimed->delivery = (struct delivery){.endpoint = r->endpoint.number,
		.turn = (uint32_t)(owed - r->owed),
		.due_ms = owed->due_ms};
	claimed->event = calloc(1, sizeof(*claimed->event));
	claimed->event->event.payload_len = owed->payload_len;
	owed->place = READY;
	return claimed;
}

/* The schedule's next wish, not answered yet. False: it has none. */
static bool take_wish(void)
{
	struct wish_for wish;
	struct receiver *r;

	if (!schedule_wish(w.schedule, &wish))
		return false;
	r = &w.receivers[wish.endpoint];
	assert_false(r->claiming);
	assert_true(wish.max_n > 0);
	assert_true(wish.max_bytes > 0);
	r->claiming = true;
	r->wish = wish;
	return true;
}

static void answer_wish(unsigned i)
{
	struct receiver *r = &w.receivers[i];
	struct claimed *list = NULL, **last = &list;
	struct owed *owed;
	size_t bytes = 0;
	unsigned n = 0;

	assert_true(r->claiming);
	r->claiming = false;
	while ((owed = earliest_in_store(r)) && owed->due_ms <= w.now_ms && n < r->wish.max_n &&
		bytes < r->wish.max_bytes) {
		*last = claim_one(r, owed);
		last = &(*last)->next;
		bytes += owed->payload_len;
		n++;
	}
	schedule_claimed(w.schedule, &r->slot, list, owed ? owed->due_ms : INT64_MAX, w.now_ms);
}

/* Asks and answers until nothing is wished for. */
static void serve_wishes(void)
{
	struct wish_for wish;

	while (schedule_wish(w.schedule, &wish)) {
		w.receivers[wish.endpoint].claiming = true;
		w.receivers[wish.endpoint].wish = wish;
		answer_wish(wish.endpoint);
	}
}

/* ---- The dispatcher's part ---- */

#define NOBODY UINT32_MAX

/* Sends the next delivery; tells to whom. */
static uint32_t send_with(unsigned free_slots)
{
	struct claimed *claimed = schedule_next(w.schedule, free_slots, w.now_ms);
	uint32_t endpoint;

	if (!claimed)
		return NOBODY;
	assert_int_equal(owed_of(claimed)->place, READY);
	assert_true(owed_of(claimed)->due_ms <= w.now_ms);
	owed_of(claimed)->place = IN_FLIGHT;
	endpoint = claimed->delivery.endpoint;
	w.receivers[endpoint].in_flight++;
	claimed_free(claimed);
	return endpoint;
}

static uint32_t send_next(void)
{
	serve_wishes();
	return send_with(MANY_SLOTS);
}

/* Sends all that may go now; tells how many. */
static unsigned send_all(void)
{
	unsigned n = 0;

	while (send_next() != NOBODY)
		n++;
	return n;
}

static struct owed *in_flight_of(struct receiver *r)
{
	for (size_t i = 0; i < r->n_owed; i++) {
		if (r->owed[i].place == IN_FLIGHT)
			return &r->owed[i];
	}
	return NULL;
}

/* A delivery of the receiver is never spoken of again. Its place is taken by none, so that numbers
 * stay: it is due beyond all time. */
static void strike(struct owed *owed)
{
	owed->place = IN_FLIGHT;
	owed->due_ms = INT64_MAX;
}

static bool is_struck(const struct owed *owed)
{
	return owed->due_ms == INT64_MAX;
}

static void end_until(unsigned i, enum attempt_effect effect, int64_t not_before_ms)
{
	struct receiver *r = &w.receivers[i];
	struct owed *owed = NULL;
	uint32_t payload_len;

	for (size_t o = 0; o < r->n_owed && !owed; o++) {
		if (r->owed[o].place == IN_FLIGHT && !is_struck(&r->owed[o]))
			owed = &r->owed[o];
	}
	assert_non_null(owed);
	payload_len = owed->payload_len;
	if (effect == EFFECT_NOT_MADE || effect == EFFECT_UNSENT)
		owed->place = IN_STORE;
	else
		strike(owed);
	r->in_flight--;
	schedule_ended(w.schedule, &r->slot, payload_len, effect, not_before_ms, w.now_ms);
}

static void end(unsigned i, enum attempt_effect effect)
{
	end_until(i, effect, 0);
}

static void advance(int64_t ms)
{
	w.now_ms += ms;
	schedule_tick(w.schedule, w.now_ms);
}

static int64_t wake_in_ms(void)
{
	int64_t wake_ms = schedule_wake_ms(w.schedule);

	return wake_ms == INT64_MAX ? INT64_MAX : wake_ms - w.now_ms;
}

static enum lane_wait explain(unsigned i)
{
	int64_t not_before_ms;

	return schedule_explain(w.schedule, &w.receivers[i].slot, w.now_ms, &not_before_ms);
}

static void change(unsigned i)
{
	schedule_changed(w.schedule, &w.receivers[i].slot, w.now_ms);
}

static void set_paused(unsigned i, bool paused)
{
	w.receivers[i].limits.paused = paused;
	change(i);
}

static void set_all_paused(bool paused)
{
	schedule_set_paused(w.schedule, paused);
	for (unsigned i = 0; i < w.n; i++)
		change(i);
}

/* ---- When something goes ---- */

static void test_nothing_goes_when_nothing_is_owed(void **state)
{
	(void)state;
	assert_int_equal(send_next(), NOBODY);
	assert_int_equal(schedule_wake_ms(w.schedule), INT64_MAX);
}

static void test_what_is_due_goes(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	assert_int_equal(send_next(), a);
	assert_int_equal(send_next(), NOBODY);
}

static void test_what_is_not_due_yet_waits_for_its_time(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe_at(a, 1, w.now_ms + 5000);
	assert_int_equal(send_next(), NOBODY);
	assert_int_equal(wake_in_ms(), 5000);
	advance(4999);
	assert_int_equal(send_next(), NOBODY);
	advance(1);
	assert_int_equal(send_next(), a);
}

static void test_earlier_time_moves_the_wake_forward(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe_at(a, 1, w.now_ms + 5000);
	owe_at(a, 1, w.now_ms + 1000);
	assert_int_equal(wake_in_ms(), 1000);
	owe_at(a, 1, w.now_ms + 9000);
	assert_int_equal(wake_in_ms(), 1000);
}

static void test_wake_is_the_earliest_of_all(void **state)
{
	static const int64_t waits_ms[] = {700, 300, 900, 100, 500};
	unsigned a[5];

	(void)state;
	for (int i = 0; i < 5; i++) {
		a[i] = add_receiver();
		owe_at(a[i], 1, START_MS + waits_ms[i]);
	}
	for (int i = 0; i < 5; i++) {
		static const unsigned order[] = {3, 1, 4, 0, 2};

		assert_int_equal(schedule_wake_ms(w.schedule), START_MS + waits_ms[order[i]]);
		advance(schedule_wake_ms(w.schedule) - w.now_ms);
		assert_int_equal(send_next(), a[order[i]]);
	}
	assert_int_equal(schedule_wake_ms(w.schedule), INT64_MAX);
}

static void test_store_is_asked_when_something_may_be_due(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	store_delivery(a, w.now_ms, 0);
	schedule_due(w.schedule, &w.receivers[a].slot, INT64_MIN, w.now_ms);
	assert_int_equal(send_next(), a);
}

static void test_one_claim_at_a_time_is_asked_for(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 100);
	assert_true(take_wish());
	owe(a, 1);
	assert_false(take_wish());
	answer_wish(a);
	assert_int_equal(send_with(MANY_SLOTS), a);
}

/* The claim saw the store before this was there. */
static void test_what_falls_due_later_is_remembered_from_the_claim(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	store_delivery(a, w.now_ms + 5000, 0);
	owe(a, 1);
	assert_int_equal(send_next(), a);
	end(a, EFFECT_SUCCESS);
	assert_int_equal(wake_in_ms(), 5000);
}

static void test_lane_goes_when_nothing_is_left_of_it(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	assert_non_null(w.receivers[a].slot.lane);
	send_next();
	end(a, EFFECT_SUCCESS);
	assert_null(w.receivers[a].slot.lane);
}

static void test_claim_that_finds_nothing_ends_the_lane(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	schedule_due(w.schedule, &w.receivers[a].slot, INT64_MIN, w.now_ms);
	serve_wishes();
	assert_null(w.receivers[a].slot.lane);
}

/* ---- Turns and limits ---- */

static void test_endpoints_take_turns(void **state)
{
	unsigned a = add_receiver(), b = add_receiver(), c = add_receiver();

	(void)state;
	owe(a, 3);
	owe(b, 3);
	owe(c, 3);
	serve_wishes();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_with(MANY_SLOTS), a);
		assert_int_equal(send_with(MANY_SLOTS), b);
		assert_int_equal(send_with(MANY_SLOTS), c);
	}
}

static void test_late_comer_waits_for_one_round_at_most(void **state)
{
	unsigned a = add_receiver(), b = add_receiver(), c;

	(void)state;
	owe(a, 8);
	owe(b, 8);
	serve_wishes();
	send_with(MANY_SLOTS);
	c = add_receiver();
	owe(c, 1);
	serve_wishes();
	assert_int_equal(send_with(MANY_SLOTS), b);
	assert_int_equal(send_with(MANY_SLOTS), a);
	assert_int_equal(send_with(MANY_SLOTS), c);
}

static void test_deliveries_of_an_endpoint_go_in_the_order_they_are_due(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe_at(a, 1, w.now_ms - 1);
	owe_at(a, 1, w.now_ms - 3);
	owe_at(a, 1, w.now_ms - 2);
	send_next();
	assert_ptr_equal(in_flight_of(&w.receivers[a]), &w.receivers[a].owed[1]);
	end(a, EFFECT_SUCCESS);
	send_next();
	assert_int_equal(w.receivers[a].owed[2].place, IN_FLIGHT);
	assert_int_not_equal(w.receivers[a].owed[0].place, IN_FLIGHT);
}

static void test_no_more_are_in_flight_than_the_limit(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	w.receivers[a].limits.max_in_flight = 3;
	owe(a, 10);
	assert_int_equal(send_all(), 3);
	end(a, EFFECT_SUCCESS);
	assert_int_equal(send_all(), 1);
}

static void test_lowered_limit_holds_at_once(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 20);
	assert_int_equal(send_all(), 8);
	w.receivers[a].limits.max_in_flight = 2;
	change(a);
	for (int i = 0; i < 6; i++) {
		end(a, EFFECT_SUCCESS);
		assert_int_equal(send_all(), 0);
	}
	end(a, EFFECT_SUCCESS);
	assert_int_equal(send_all(), 1);
}

static void test_raised_limit_holds_at_once(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 20);
	assert_int_equal(send_all(), 8);
	w.receivers[a].limits.max_in_flight = 10;
	change(a);
	assert_int_equal(send_all(), 2);
}

static void test_without_a_free_slot_nothing_goes(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	serve_wishes();
	assert_int_equal(send_with(0), NOBODY);
	assert_int_equal(send_with(1), a);
}

static void test_scarce_slots_go_to_those_with_few_in_flight(void **state)
{
	unsigned greedy = add_receiver(), b = add_receiver();

	(void)state;
	owe(greedy, 8);
	serve_wishes();
	for (int i = 0; i < 4; i++)
		assert_int_equal(send_with(MANY_SLOTS), greedy);
	owe(b, 8);
	serve_wishes();
	assert_int_equal(send_with(4), b); /* 4 in flight and 4 left: not one more */
	assert_int_equal(send_with(3), b);
	assert_int_equal(send_with(2), NOBODY);
	assert_int_equal(send_with(3), b);
	assert_int_equal(send_with(5), greedy);
}

static void test_last_slot_goes_to_who_has_none(void **state)
{
	unsigned greedy = add_receiver(), b = add_receiver();

	(void)state;
	owe(greedy, 8);
	serve_wishes();
	send_with(MANY_SLOTS);
	assert_int_equal(send_with(1), NOBODY);
	owe(b, 1);
	serve_wishes();
	assert_int_equal(send_with(1), b);
}

/* ---- Rate ---- */

static unsigned add_limited_receiver(double rate_per_s, unsigned burst)
{
	unsigned i = add_receiver();

	w.receivers[i].limits.rate_per_s = rate_per_s;
	w.receivers[i].limits.burst = burst;
	w.receivers[i].limits.max_in_flight = 256;
	return i;
}

static void test_burst_goes_at_once_and_the_rest_at_the_rate(void **state)
{
	unsigned a = add_limited_receiver(2, 3);

	(void)state;
	owe(a, 100);
	assert_int_equal(send_all(), 3);
	advance(498);
	assert_int_equal(send_all(), 0);
	advance(3);
	assert_int_equal(send_all(), 1);
	advance(5000);
	assert_int_equal(send_all(), 3); /* no more than the burst is saved up */
}

static void test_wake_is_when_the_rate_allows_the_next(void **state)
{
	unsigned a = add_limited_receiver(0.5, 1);

	(void)state;
	owe(a, 3);
	assert_int_equal(send_all(), 1);
	while (send_all() == 0)
		advance(wake_in_ms());
	assert_in_range(w.now_ms - START_MS, 2000, 2001);
}

/* A burst that is used up is not claimed again at once: what waits for time takes room from others.
 */
static void test_lane_that_used_its_burst_holds_only_what_it_may_send_soon(void **state)
{
	unsigned i = add_limited_receiver(3, 100), n_ready = 0;

	(void)state;
	w.receivers[i].limits.max_in_flight = 200;
	owe(i, 500);
	assert_int_equal(send_all(), 100);
	for (int n = 0; n < 100; n++)
		end(i, EFFECT_SUCCESS);
	serve_wishes();
	for (size_t n = 0; n < w.receivers[i].n_owed; n++)
		n_ready += w.receivers[i].owed[n].place == READY;
	assert_in_range(n_ready, 1, 3);
}

/* What waits for its rate longer than that, waits in the store. */
static void test_store_is_asked_a_second_before_the_rate_allows_the_next(void **state)
{
	unsigned a = add_limited_receiver(0.1, 1);

	(void)state;
	owe(a, 3);
	assert_int_equal(send_all(), 1);
	assert_false(take_wish());
	assert_in_range(wake_in_ms(), 9000, 9001);
	advance(wake_in_ms());
	assert_true(take_wish());
}

static void test_rate_is_kept_over_a_long_time(void **state)
{
	unsigned a = add_limited_receiver(7, 2), n = 0;

	(void)state;
	owe(a, 1000);
	for (int64_t end_ms = w.now_ms + 60000; w.now_ms < end_ms; advance(wake_in_ms())) {
		unsigned sent = send_all();

		for (n += sent; sent > 0; sent--)
			end(a, EFFECT_SUCCESS);
	}
	assert_in_range(n, 60 * 7 - 10, 60 * 7 + 2);
}

static void test_rate_is_kept_when_the_lane_was_empty_meanwhile(void **state)
{
	unsigned a = add_limited_receiver(0.1, 1);

	(void)state;
	owe(a, 1);
	assert_int_equal(send_all(), 1);
	end(a, EFFECT_SUCCESS);
	owe(a, 1);
	assert_int_equal(send_all(), 0);
	assert_int_equal(explain(a), LANE_RATE);
	advance(10001);
	assert_int_equal(send_all(), 1);
}

/* What its rate would have allowed meanwhile does not come on top of a full burst. */
static void test_rate_is_kept_after_waiting_for_a_slot(void **state)
{
	unsigned a = add_limited_receiver(1, 1);

	(void)state;
	owe(a, 3);
	serve_wishes();
	assert_int_equal(send_with(0), NOBODY);
	advance(900);
	assert_int_equal(send_all(), 1);
	advance(500);
	assert_int_equal(send_all(), 0);
	advance(501);
	assert_int_equal(send_all(), 1);
}

/* However many grew too old, the next one need not wait for time in which none was sent. */
static void test_what_is_not_sent_takes_nothing_of_the_rate(void **state)
{
	unsigned a = add_limited_receiver(1, 1);

	(void)state;
	owe(a, 21);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(send_next(), a);
		end(a, EFFECT_UNSENT);
	}
	assert_int_equal(send_next(), a);
	assert_int_equal(send_next(), NOBODY);
}

/* It may have been sent, and a receiver is to be spared. */
static void test_what_may_have_been_sent_counts_for_the_rate(void **state)
{
	unsigned a = add_limited_receiver(1, 1);

	(void)state;
	owe(a, 2);
	assert_int_equal(send_next(), a);
	end(a, EFFECT_NOT_MADE);
	assert_int_equal(send_next(), NOBODY);
}

static void test_what_is_not_sent_adds_nothing_to_a_full_burst(void **state)
{
	unsigned a = add_limited_receiver(1, 3);

	(void)state;
	owe(a, 10);
	assert_int_equal(send_next(), a);
	advance(60000);
	end(a, EFFECT_UNSENT);
	assert_int_equal(send_all(), 3);
}

static void test_lane_with_a_full_burst_is_not_kept(void **state)
{
	unsigned a = add_limited_receiver(1, 1);

	(void)state;
	owe(a, 1);
	send_all();
	end(a, EFFECT_SUCCESS);
	assert_non_null(w.receivers[a].slot.lane);
	advance(wake_in_ms());
	assert_null(w.receivers[a].slot.lane);
}

/* ---- The window ---- */

static unsigned window_of(unsigned i)
{
	return w.receivers[i].in_flight + send_all();
}

static void test_window_falls_to_one_after_no_answer(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 100);
	assert_int_equal(window_of(a), 8);
	for (int i = 0; i < 7; i++) {
		end(a, EFFECT_NO_ANSWER);
		assert_int_equal(send_all(), 0);
	}
	end(a, EFFECT_NO_ANSWER);
	assert_int_equal(window_of(a), 1);
}

static void test_window_doubles_with_each_success_up_to_the_limit(void **state)
{
	static const unsigned windows[] = {1, 2, 4, 8, 8, 8};
	unsigned a = add_receiver();

	(void)state;
	owe(a, 100);
	assert_int_equal(send_next(), a);
	end(a, EFFECT_NO_ANSWER);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(window_of(a), windows[i]);
		end(a, EFFECT_SUCCESS);
	}
}

static void test_answered_failure_leaves_the_window(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 100);
	assert_int_equal(window_of(a), 8);
	end(a, EFFECT_ANSWERED);
	assert_int_equal(window_of(a), 8);
}

static void test_untried_endpoint_begins_with_one(void **state)
{
	unsigned a = add_untried_receiver();

	(void)state;
	owe(a, 100);
	assert_int_equal(window_of(a), 1);
	end(a, EFFECT_SUCCESS);
	assert_int_equal(window_of(a), 2);
}

static void test_window_reaches_any_limit(void **state)
{
	static const unsigned limits[] = {1, 2, 3, 5, 8, 255, 256};

	(void)state;
	for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
		unsigned a = add_untried_receiver();

		w.receivers[a].limits.max_in_flight = limits[l];
		owe(a, 1000);
		for (unsigned i = 0; i < 9; i++) {
			send_all();
			end(a, EFFECT_SUCCESS);
		}
		assert_int_equal(window_of(a), limits[l]);
	}
}

static void test_window_is_remembered_while_nothing_is_owed(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	send_next();
	end(a, EFFECT_NO_ANSWER);
	owe(a, 8);
	assert_int_equal(window_of(a), 1);
}

static void test_what_was_ready_goes_back_after_no_answer(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 8);
	assert_int_equal(send_next(), a);
	end(a, EFFECT_NO_ANSWER);
	assert_int_equal(w.n_unclaimed, 7);
	assert_int_equal(send_next(), a); /* and is claimed again, one by one */
	assert_int_equal(w.n_unclaimed, 7);
}

/* ---- Endpoints that do not answer ---- */

static void test_dead_endpoints_share_a_quarter_of_the_slots(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		owe(add_dead_receiver(), 1);
	serve_wishes();
	for (unsigned in_flight = 0; in_flight < 10; in_flight++)
		assert_int_not_equal(send_with(40 - in_flight), NOBODY);
	assert_int_equal(send_with(30), NOBODY);
	end(0, EFFECT_NO_ANSWER);
	assert_int_not_equal(send_with(31), NOBODY);
}

static void test_dead_endpoint_gets_a_slot_though_there_are_few(void **state)
{
	unsigned a = add_dead_receiver();

	(void)state;
	owe(a, 2);
	serve_wishes();
	assert_int_equal(send_with(2), a);
	assert_int_equal(send_with(1), NOBODY);
}

static unsigned add_dead_receiver_of(uint32_t payload_len)
{
	unsigned i = add_dead_receiver();

	store_delivery(i, w.now_ms, payload_len);
	owe(i, 0);
	return i;
}

static void test_dead_endpoints_share_a_quarter_of_the_room_in_flight(void **state)
{
	unsigned good;

	(void)state;
	for (int i = 0; i < 25; i++)
		add_dead_receiver_of(IN_FLIGHT_BYTES / 20);
	assert_int_equal(send_all(), 5);
	good = add_receiver();
	store_delivery(good, w.now_ms, 400);
	owe(good, 0);
	assert_int_equal(send_next(), good);
	end(0, EFFECT_NO_ANSWER);
	assert_int_equal(send_all(), 1); /* its room is given to another */
}

static void test_dead_endpoint_gets_a_large_payload_in_its_turn(void **state)
{
	unsigned large;

	(void)state;
	add_dead_receiver_of(IN_FLIGHT_BYTES / 5);
	large = add_dead_receiver_of(IN_FLIGHT_BYTES / 2);
	add_dead_receiver_of(IN_FLIGHT_BYTES / 20);
	assert_int_equal(send_next(), 0);
	assert_int_equal(send_next(), large);
	assert_int_equal(send_next(), NOBODY);
}

static void test_dead_endpoint_that_answers_is_one_of_the_others(void **state)
{
	unsigned a = add_dead_receiver(), b = add_dead_receiver();

	(void)state;
	owe(a, 9);
	owe(b, 9);
	serve_wishes();
	assert_int_equal(send_with(4), a); /* the only slot for both */
	assert_int_equal(send_with(3), NOBODY);
	end(a, EFFECT_ANSWERED);
	serve_wishes();
	assert_int_equal(send_with(4), b);
	assert_int_equal(send_with(3), a);
}

static void test_endpoint_that_failed_with_an_answer_is_not_dead(void **state)
{
	unsigned a = add_dead_receiver(), b = add_dead_receiver();

	(void)state;
	w.receivers[b].slot.last.http_status = 503;
	owe(a, 1);
	owe(b, 1);
	serve_wishes();
	assert_int_equal(send_with(4), a);
	assert_int_equal(send_with(3), b);
}

static void assert_good_one_is_not_starved(unsigned n_dead, unsigned max_ready)
{
	unsigned good, sent = 0, in_flight = 0;

	start_with_room(max_ready, 1 << 20);
	for (unsigned i = 0; i < n_dead; i++)
		owe(add_dead_receiver(), 100);
	good = add_receiver();
	owe(good, 1000);
	/* The dead take 15 s to time out; the good one answers at once. */
	for (int round = 0; round < 100; round++) {
		uint32_t to;

		serve_wishes();
		while ((to = send_with(100 - in_flight)) != NOBODY) {
			in_flight++;
			sent += to == good;
		}
		while (w.receivers[good].in_flight) {
			end(good, EFFECT_SUCCESS);
			in_flight--;
		}
		advance(10);
	}
	assert_true(sent >= 400); /* about 8 a round, but for the rounds of asking */
}

static void test_thousand_dead_endpoints_do_not_starve_a_good_one(void **state)
{
	(void)state;
	assert_good_one_is_not_starved(1000, 4096);
}

static void test_more_dead_endpoints_than_can_be_ready_do_not_starve_a_good_one(void **state)
{
	(void)state;
	assert_good_one_is_not_starved(1000, 100);
}

/* Owes so many payloads of that length to each of as many endpoints. */
static void owe_payloads(unsigned n_receivers, unsigned n, uint32_t payload_len)
{
	while (n_receivers-- > 0) {
		unsigned i = add_receiver();

		for (unsigned d = 0; d < n; d++)
			store_delivery(i, w.now_ms, payload_len);
		owe(i, 0);
	}
}

static void test_large_payloads_to_slow_endpoints_leave_room_for_others(void **state)
{
	unsigned good, n_large = 0;

	(void)state;
	owe_payloads(10, 8, IN_FLIGHT_BYTES / 20);
	n_large = send_all();
	assert_in_range(n_large, 10, 19);
	good = add_receiver();
	store_delivery(good, w.now_ms, 400);
	owe(good, 0);
	assert_int_equal(send_next(), good);
	end(good, EFFECT_SUCCESS);
	end(0, EFFECT_SUCCESS);
	assert_int_equal(send_all(), 1); /* its room is given to another */
}

/* What could not be sent anyway is not claimed, and so takes no room from what could. */
static void test_large_payloads_to_slow_endpoints_leave_others_room_to_be_ready(void **state)
{
	unsigned good;

	(void)state;
	start_with_room(1000, IN_FLIGHT_BYTES / 8); /* as the dispatcher has it */
	owe_payloads(60, 8, IN_FLIGHT_BYTES / 256);
	assert_in_range(send_all(), 3 * 60, 256);
	good = add_receiver();
	for (int n = 0; n < 8; n++)
		store_delivery(good, w.now_ms, IN_FLIGHT_BYTES / 1000);
	owe(good, 0);
	for (int n = 0; n < 8; n++)
		assert_int_equal(send_next(), good);
	for (int n = 0; n < 8; n++)
		end(good, EFFECT_SUCCESS);
	for (unsigned i = 0; i < 60; i++)
		end(i, EFFECT_SUCCESS);
	assert_in_range(send_all(), 50, 60); /* the room of those is given to others */
}

static void test_endpoints_that_wait_for_their_rate_do_not_starve_a_good_one(void **state)
{
	unsigned good;

	(void)state;
	start_with_room(100, 1 << 20);
	for (unsigned i = 0; i < 1000; i++)
		owe(add_limited_receiver(0.01, 1), 10);
	assert_int_equal(send_all(), 1000);
	good = add_receiver();
	owe(good, 100);
	assert_int_equal(window_of(good), 8);
}

/* What waits for its rate is always there: as one goes, the next is asked for ahead. */
static void assert_backlogs_with_a_rate_leave_room(uint32_t payload_len)
{
	unsigned good, sent = 0, sent_slowly = 0;

	start_with_room(1000, IN_FLIGHT_BYTES / 8);
	for (unsigned i = 0; i < 100; i++) {
		unsigned limited = add_limited_receiver(1, 1);

		for (int n = 0; n < 10; n++)
			store_delivery(limited, w.now_ms, payload_len);
		owe(limited, 0);
		advance(10); /* their times are spread over the second */
	}
	good = add_receiver();
	owe(good, 10000);
	for (int round = 0; round < 500; round++) {
		uint32_t to;

		while ((to = send_with(MANY_SLOTS)) != NOBODY) {
			sent += to == good;
			sent_slowly += to != good;
			end(to, EFFECT_SUCCESS);
		}
		serve_wishes();
		advance(10);
	}
	assert_true(sent >= 500 * 8 / 2);
	assert_in_range(sent_slowly, 450, 600); /* 500 by their rate */
}

static void test_endpoints_with_a_rate_and_a_backlog_do_not_starve_a_good_one(void **state)
{
	(void)state;
	assert_backlogs_with_a_rate_leave_room(IN_FLIGHT_BYTES / 8 / 24);
}

/* A claim may bring several of them. */
static void test_endpoints_with_a_rate_and_small_payloads_do_not_starve_a_good_one(void **state)
{
	(void)state;
	assert_backlogs_with_a_rate_leave_room(IN_FLIGHT_BYTES / 8 / 80);
}

/* ---- Retry-After ---- */

static void test_retry_after_stops_the_whole_endpoint(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 10);
	assert_int_equal(send_next(), a);
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	assert_int_equal(send_all(), 0);
	assert_int_equal(wake_in_ms(), 60000);
	advance(59999);
	assert_int_equal(send_all(), 0);
	advance(1);
	assert_int_equal(send_all(), 8);
}

static void test_retry_after_stops_no_other_endpoint(void **state)
{
	unsigned a = add_receiver(), b = add_receiver();

	(void)state;
	owe(a, 10);
	owe(b, 1);
	assert_int_equal(send_next(), a);
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	assert_int_equal(send_next(), b);
}

static void test_later_retry_after_counts(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 10);
	send_all();
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	end_until(a, EFFECT_ANSWERED, w.now_ms + 1000);
	assert_int_equal(wake_in_ms(), 60000);
}

static void test_what_was_ready_goes_back_while_the_endpoint_is_stopped(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 8);
	send_next();
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	assert_int_equal(w.n_unclaimed, 7);
}

static void test_new_deliveries_do_not_wake_a_stopped_endpoint(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	send_next();
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	owe(a, 5);
	assert_int_equal(send_all(), 0);
	assert_int_equal(wake_in_ms(), 60000);
}

static void test_stop_is_remembered_while_nothing_is_owed(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	send_next();
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	assert_non_null(w.receivers[a].slot.lane);
	advance(60000);
	assert_null(w.receivers[a].slot.lane);
}

/* ---- Pauses ---- */

static void test_paused_endpoint_gets_nothing(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	set_paused(a, true);
	owe(a, 10);
	assert_int_equal(send_all(), 0);
	assert_int_equal(schedule_wake_ms(w.schedule), INT64_MAX);
}

static void test_pause_gives_back_what_was_ready(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 8);
	serve_wishes();
	set_paused(a, true);
	assert_int_equal(w.n_unclaimed, 8);
	assert_int_equal(send_all(), 0);
}

static void test_resumed_endpoint_goes_on(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 8);
	serve_wishes();
	set_paused(a, true);
	set_paused(a, false);
	assert_int_equal(send_all(), 8);
}

static void test_pause_stops_no_other_endpoint(void **state)
{
	unsigned a = add_receiver(), b = add_receiver();

	(void)state;
	owe(a, 1);
	owe(b, 1);
	set_paused(a, true);
	assert_int_equal(send_next(), b);
	assert_int_equal(send_next(), NOBODY);
}

static void test_attempt_under_way_ends_normally_in_a_pause(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 2);
	send_next();
	set_paused(a, true);
	end(a, EFFECT_SUCCESS);
	assert_int_equal(send_all(), 0);
	set_paused(a, false);
	assert_int_equal(send_all(), 1);
}

static void test_what_a_claim_brings_into_a_pause_goes_back(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 3);
	assert_true(take_wish());
	set_paused(a, true);
	answer_wish(a);
	assert_int_equal(w.n_unclaimed, 3);
	assert_int_equal(send_all(), 0);
	set_paused(a, false);
	assert_int_equal(send_all(), 3);
}

static void test_pause_of_all_sending_stops_everybody(void **state)
{
	unsigned a = add_receiver(), b = add_receiver();

	(void)state;
	owe(a, 3);
	serve_wishes();
	set_all_paused(true);
	owe(b, 3);
	assert_int_equal(w.n_unclaimed, 3);
	assert_int_equal(send_all(), 0);
	set_all_paused(false);
	assert_int_equal(send_all(), 6);
}

static void test_endpoint_that_is_paused_itself_stays_so_when_all_are_resumed(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 3);
	set_paused(a, true);
	set_all_paused(true);
	set_all_paused(false);
	assert_int_equal(send_all(), 0);
}

/* ---- Stale claims ---- */

static void make_stale(unsigned i)
{
	schedule_stale(w.schedule, &w.receivers[i].slot, w.now_ms);
}

static void test_stale_gives_back_what_was_ready_and_asks_again(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 5);
	serve_wishes();
	make_stale(a);
	assert_int_equal(w.n_unclaimed, 5);
	assert_int_equal(send_all(), 5);
}

/* A verb made due what the schedule did not know of: a dead letter was replayed. */
static void test_stale_asks_though_nothing_was_known_to_be_owed(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	store_delivery(a, w.now_ms, 0);
	make_stale(a);
	assert_int_equal(send_all(), 1);
}

static void test_claim_under_way_when_something_went_stale_is_given_back(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 5);
	assert_true(take_wish());
	make_stale(a);
	answer_wish(a);
	assert_int_equal(w.n_unclaimed, 5);
	assert_int_equal(send_all(), 5);
	assert_int_equal(w.n_unclaimed, 5);
}

/* That claim may not have seen what the verb did: its answer "nothing more" does not count. */
static void test_claim_under_way_when_something_went_stale_is_repeated(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 0);
	assert_true(take_wish());
	make_stale(a);
	answer_wish(a);
	store_delivery(a, w.now_ms, 0);
	assert_int_equal(send_all(), 1);
}

static void test_attempt_that_was_not_made_is_claimed_again(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 1);
	assert_int_equal(send_next(), a);
	end(a, EFFECT_NOT_MADE);
	assert_int_equal(send_next(), a);
}

static void test_attempt_that_was_not_made_teaches_nothing(void **state)
{
	unsigned a = add_dead_receiver(), b = add_dead_receiver();

	(void)state;
	owe(a, 2);
	owe(b, 2);
	serve_wishes();
	assert_int_equal(send_with(4), a);
	end(a, EFFECT_NOT_MADE);
	serve_wishes();
	assert_int_equal(send_with(4), b);
	assert_int_equal(send_with(3), NOBODY); /* both are still doubtful */
}

/* ---- Room ---- */

static unsigned count_ready(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w.n; i++) {
		for (size_t o = 0; o < w.receivers[i].n_owed; o++)
			n += w.receivers[i].owed[o].place == READY;
	}
	return n;
}

static void test_no_more_are_ready_than_there_is_room_for(void **state)
{
	(void)state;
	start_with_room(20, 1 << 20);
	for (int i = 0; i < 10; i++)
		owe(add_receiver(), 100);
	serve_wishes();
	assert_in_range(count_ready(), 1, 20);
}

static void test_no_more_is_asked_for_than_there_is_room_for(void **state)
{
	unsigned asked = 0;

	(void)state;
	start_with_room(20, 1 << 20);
	for (int i = 0; i < 10; i++)
		owe(add_receiver(), 100);
	while (take_wish())
		;
	for (unsigned i = 0; i < w.n; i++)
		asked += w.receivers[i].claiming ? w.receivers[i].wish.max_n : 0;
	assert_in_range(asked, 1, 20);
}

static void test_no_more_bytes_are_asked_for_than_there_is_room_for(void **state)
{
	size_t asked = 0;

	(void)state;
	start_with_room(4096, 1 << 20);
	for (int i = 0; i < 1000; i++)
		owe(add_receiver(), 100);
	while (take_wish())
		;
	for (unsigned i = 0; i < w.n; i++)
		asked += w.receivers[i].claiming ? w.receivers[i].wish.max_bytes : 0;
	assert_in_range(asked, 1, 1 << 20);
}

static void test_payloads_beyond_the_room_wait_in_the_store(void **state)
{
	size_t bytes = 0;

	(void)state;
	start_with_room(4096, 100000);
	for (int i = 0; i < 10; i++) {
		unsigned a = add_receiver();

		for (int n = 0; n < 100; n++)
			store_delivery(a, w.now_ms, 5000);
		owe(a, 0);
	}
	serve_wishes();
	for (unsigned i = 0; i < w.n; i++) {
		for (size_t o = 0; o < w.receivers[i].n_owed; o++)
			bytes += w.receivers[i].owed[o].place == READY ? 5000 : 0;
	}
	assert_in_range(bytes, 1, 100000 + 5000);
}

static void test_room_that_comes_free_is_used(void **state)
{
	unsigned n = 0;

	(void)state;
	start_with_room(4, 1 << 20);
	for (int i = 0; i < 10; i++)
		owe(add_receiver(), 10);
	for (int round = 0; round < 1000 && n < 100; round++) {
		uint32_t to = send_next();

		if (to != NOBODY) {
			end(to, EFFECT_SUCCESS);
			n++;
		}
	}
	assert_int_equal(n, 100);
}

static void test_healthy_endpoint_holds_some_ready_ahead(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 100);
	assert_int_equal(send_all(), 8);
	assert_int_equal(count_ready(), 8);
}

static void test_dead_endpoint_holds_no_more_than_it_may_send(void **state)
{
	unsigned a = add_dead_receiver();

	(void)state;
	owe(a, 100);
	serve_wishes();
	assert_int_equal(count_ready(), 1);
}

/* ---- Endings ---- */

static void test_forgotten_endpoint_gives_back_what_was_ready(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	owe(a, 5);
	serve_wishes();
	schedule_forget(w.schedule, &w.receivers[a].slot);
	assert_int_equal(w.n_unclaimed, 5);
	assert_null(w.receivers[a].slot.lane);
	assert_int_equal(send_all(), 0);
}

static void test_endpoint_can_be_forgotten_wherever_it_stands(void **state)
{
	unsigned hungry = add_receiver(), waiting = add_receiver(), claiming = add_receiver(),
		 flying = add_receiver(), other = add_receiver();

	(void)state;
	owe(flying, 2);
	assert_int_equal(send_next(), flying);
	owe(claiming, 1);
	assert_true(take_wish());
	owe(hungry, 1);
	owe_at(waiting, 1, w.now_ms + 5000);
	for (unsigned i = 0; i < 4; i++)
		schedule_forget(w.schedule, &w.receivers[i].slot);
	assert_int_equal(schedule_wake_ms(w.schedule), INT64_MAX);
	owe(other, 1);
	assert_int_equal(send_next(), other);
	assert_int_equal(send_next(), NOBODY);
}

static void test_slots_of_a_forgotten_endpoint_count_no_more(void **state)
{
	unsigned a = add_dead_receiver(), b = add_dead_receiver();

	(void)state;
	owe(a, 1);
	owe(b, 1);
	serve_wishes();
	assert_int_equal(send_with(4), a);
	assert_int_equal(send_with(3), NOBODY);
	schedule_forget(w.schedule, &w.receivers[a].slot);
	assert_int_equal(send_with(4), b);
}

static void test_endpoint_without_lane_can_be_forgotten(void **state)
{
	unsigned a = add_receiver();

	(void)state;
	schedule_forget(w.schedule, &w.receivers[a].slot);
	assert_null(w.receivers[a].slot.lane);
}

static void test_no_schedule_can_be_freed(void **state)
{
	(void)state;
	schedule_free(NULL);
}

/* ---- What is told ---- */

static void test_reason_for_waiting_is_told(void **state)
{
	unsigned a = add_receiver(), limited = add_limited_receiver(0.1, 1), b = add_receiver();
	int64_t not_before_ms = 0;

	(void)state;
	assert_int_equal(explain(a), LANE_FREE);
	owe(a, 1);
	assert_int_equal(explain(a), LANE_FREE);
	send_next();
	end_until(a, EFFECT_ANSWERED, w.now_ms + 60000);
	assert_int_equal(
		schedule_explain(w.schedule, &w.receivers[a].slot, w.now_ms, &not_before_ms),
		LANE_NOT_BEFORE);
	assert_int_equal(not_before_ms, w.now_ms + 60000);
	owe(limited, 2);
	send_next();
	assert_int_equal(explain(limited), LANE_RATE);
	set_paused(b, true);
	assert_int_equal(explain(b), LANE_PAUSED);
	set_all_paused(true);
	assert_int_equal(explain(a), LANE_PAUSED);
}

static void test_lateness_is_that_of_what_could_go_now(void **state)
{
	unsigned a = add_receiver(), b = add_receiver();

	(void)state;
	assert_int_equal(schedule_lateness_ms(w.schedule, w.now_ms), 0);
	owe_at(a, 1, w.now_ms - 3000);
	owe_at(b, 1, w.now_ms - 7000);
	serve_wishes();
	assert_int_equal(schedule_lateness_ms(w.schedule, w.now_ms), 7000);
	set_paused(b, true);
	assert_int_equal(schedule_lateness_ms(w.schedule, w.now_ms), 3000);
	send_next();
	assert_int_equal(schedule_lateness_ms(w.schedule, w.now_ms), 0);
}

/* ---- A random walk ---- */

#define WALK_LANES 12
#define WALK_SLOTS 16
#define WALK_READY 20

static unsigned in_flight_in_all(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w.n; i++)
		n += w.receivers[i].in_flight;
	return n;
}

static void check_send(uint32_t to)
{
	const struct receiver *r = &w.receivers[to];

	assert_false(r->limits.paused);
	assert_true(r->in_flight <= r->limits.max_in_flight);
}

static void walk_pump(void)
{
	uint32_t to;

	schedule_tick(w.schedule, w.now_ms);
	while ((to = send_with(WALK_SLOTS - in_flight_in_all())) != NOBODY)
		check_send(to);
	while (take_wish())
		;
	assert_true(in_flight_in_all() <= WALK_SLOTS);
	assert_true(count_ready() <= WALK_READY);
}

static bool owes_anything(const struct receiver *r)
{
	for (size_t o = 0; o < r->n_owed; o++) {
		if (!is_struck(&r->owed[o]))
			return true;
	}
	return false;
}

static void walk_owe(unsigned i)
{
	int64_t due_ms = w.now_ms + (random_below(2) ? 0 : random_below(4000));

	for (unsigned n = 1 + random_below(4); n > 0; n--)
		store_delivery(i, due_ms, random_below(IN_FLIGHT_BYTES / 4));
	owe_at(i, 0, due_ms);
}

/* Ends an attempt; a failed one is owed again later, as the store would tell. */
static void walk_end(unsigned i, enum attempt_effect effect)
{
	int64_t not_before_ms = random_below(8) ? 0 : w.now_ms + random_below(3000);

	end_until(i, effect, effect == EFFECT_ANSWERED ? not_before_ms : 0);
	if (effect == EFFECT_ANSWERED || effect == EFFECT_NO_ANSWER)
		owe_at(i, 1, w.now_ms + random_below(5000));
}

static void walk_forget(unsigned i)
{
	struct receiver *r = &w.receivers[i];

	/* The store's answer and the outcomes find no endpoint; here they are not sent at all. */
	if (r->claiming || r->in_flight)
		return;
	schedule_forget(w.schedule, &r->slot);
	r->n_owed = 0;
}

static void walk_change(unsigned i)
{
	struct lane_limits *limits = &w.receivers[i].limits;

	limits->max_in_flight = 1 + random_below(8);
	limits->burst = 1 + random_below(3);
	limits->rate_per_s = random_below(3) ? 0 : 0.5 * (1 + random_below(20));
	change(i);
}

static void walk_step(bool *all_paused)
{
	unsigned i = random_below(w.n);
	struct receiver *r = &w.receivers[i];

	switch (random_below(16)) {
	case 0 ... 2:
		walk_owe(i);
		break;
	case 3 ... 5:
		if (r->claiming)
			answer_wish(i);
		break;
	case 6 ... 9:
		if (r->in_flight)
			walk_end(i, (enum attempt_effect)random_below(EFFECT_UNSENT + 1));
		break;
	case 10 ... 11:
		w.now_ms += random_below(1000);
		break;
	case 12:
		set_paused(i, random_below(2));
		break;
	case 13:
		make_stale(i);
		break;
	case 14:
		if (random_below(4) == 0)
			walk_forget(i);
		else
			walk_change(i);
		break;
	case 15:
		if (random_below(8) == 0)
			set_all_paused(*all_paused = !*all_paused);
		break;
	}
	if (random_below(4))
		walk_pump();
}

/* Everybody may go, everything succeeds, and time passes only as far as the schedule wants to be
 * woken: what is left at the end was forgotten. */
static void drain(void)
{
	set_all_paused(false);
	for (unsigned i = 0; i < w.n; i++)
		set_paused(i, false);
	for (int step = 0; step < 100000; step++) {
		bool moved = false;

		walk_pump();
		for (unsigned i = 0; i < w.n; i++) {
			if (w.receivers[i].claiming) {
				answer_wish(i);
				moved = true;
			}
			while (w.receivers[i].in_flight) {
				end(i, EFFECT_SUCCESS);
				moved = true;
			}
		}
		if (!moved && schedule_wake_ms(w.schedule) == INT64_MAX)
			break;
		if (!moved && w.now_ms < schedule_wake_ms(w.schedule))
			w.now_ms = schedule_wake_ms(w.schedule);
	}
	for (unsigned i = 0; i < w.n; i++)
		assert_false(owes_anything(&w.receivers[i]));
}

static void test_nothing_is_forgotten_whatever_happens(void **state)
{
	(void)state;
	for (int walk = 0; walk < 100; walk++) {
		bool all_paused = false;

		teardown(NULL);
		setup(NULL);
		start_with_room(WALK_READY, IN_FLIGHT_BYTES / 8);
		for (int i = 0; i < WALK_LANES; i++)
			add_receiver();
		for (int step = 0; step < 2000; step++)
			walk_step(&all_paused);
		drain();
	}
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_nothing_goes_when_nothing_is_owed),
		IN_WORLD(test_what_is_due_goes),
		IN_WORLD(test_what_is_not_due_yet_waits_for_its_time),
		IN_WORLD(test_earlier_time_moves_the_wake_forward),
		IN_WORLD(test_wake_is_the_earliest_of_all),
		IN_WORLD(test_store_is_asked_when_something_may_be_due),
		IN_WORLD(test_one_claim_at_a_time_is_asked_for),
		IN_WORLD(test_what_falls_due_later_is_remembered_from_the_claim),
		IN_WORLD(test_lane_goes_when_nothing_is_left_of_it),
		IN_WORLD(test_claim_that_finds_nothing_ends_the_lane),
		IN_WORLD(test_endpoints_take_turns),
		IN_WORLD(test_late_comer_waits_for_one_round_at_most),
		IN_WORLD(test_deliveries_of_an_endpoint_go_in_the_order_they_are_due),
		IN_WORLD(test_no_more_are_in_flight_than_the_limit),
		IN_WORLD(test_lowered_limit_holds_at_once),
		IN_WORLD(test_raised_limit_holds_at_once),
		IN_WORLD(test_without_a_free_slot_nothing_goes),
		IN_WORLD(test_scarce_slots_go_to_those_with_few_in_flight),
		IN_WORLD(test_last_slot_goes_to_who_has_none),
		IN_WORLD(test_burst_goes_at_once_and_the_rest_at_the_rate),
		IN_WORLD(test_wake_is_when_the_rate_allows_the_next),
		IN_WORLD(test_store_is_asked_a_second_before_the_rate_allows_the_next),
		IN_WORLD(test_lane_that_used_its_burst_holds_only_what_it_may_send_soon),
		IN_WORLD(test_rate_is_kept_over_a_long_time),
		IN_WORLD(test_rate_is_kept_when_the_lane_was_empty_meanwhile),
		IN_WORLD(test_rate_is_kept_after_waiting_for_a_slot),
		IN_WORLD(test_what_is_not_sent_takes_nothing_of_the_rate),
		IN_WORLD(test_what_may_have_been_sent_counts_for_the_rate),
		IN_WORLD(test_what_is_not_sent_adds_nothing_to_a_full_burst),
		IN_WORLD(test_lane_with_a_full_burst_is_not_kept),
		IN_WORLD(test_window_falls_to_one_after_no_answer),
		IN_WORLD(test_window_doubles_with_each_success_up_to_the_limit),
		IN_WORLD(test_answered_failure_leaves_the_window),
		IN_WORLD(test_untried_endpoint_begins_with_one),
		IN_WORLD(test_window_reaches_any_limit),
		IN_WORLD(test_window_is_remembered_while_nothing_is_owed),
		IN_WORLD(test_what_was_ready_goes_back_after_no_answer),
		IN_WORLD(test_dead_endpoints_share_a_quarter_of_the_slots),
		IN_WORLD(test_dead_endpoint_gets_a_slot_though_there_are_few),
		IN_WORLD(test_dead_endpoints_share_a_quarter_of_the_room_in_flight),
		IN_WORLD(test_dead_endpoint_gets_a_large_payload_in_its_turn),
		IN_WORLD(test_dead_endpoint_that_answers_is_one_of_the_others),
		IN_WORLD(test_endpoint_that_failed_with_an_answer_is_not_dead),
		IN_WORLD(test_thousand_dead_endpoints_do_not_starve_a_good_one),
		IN_WORLD(test_more_dead_endpoints_than_can_be_ready_do_not_starve_a_good_one),
		IN_WORLD(test_large_payloads_to_slow_endpoints_leave_room_for_others),
		IN_WORLD(test_large_payloads_to_slow_endpoints_leave_others_room_to_be_ready),
		IN_WORLD(test_endpoints_that_wait_for_their_rate_do_not_starve_a_good_one),
		IN_WORLD(test_endpoints_with_a_rate_and_a_backlog_do_not_starve_a_good_one),
		IN_WORLD(test_endpoints_with_a_rate_and_small_payloads_do_not_starve_a_good_one),
		IN_WORLD(test_retry_after_stops_the_whole_endpoint),
		IN_WORLD(test_retry_after_stops_no_other_endpoint),
		IN_WORLD(test_later_retry_after_counts),
		IN_WORLD(test_what_was_ready_goes_back_while_the_endpoint_is_stopped),
		IN_WORLD(test_new_deliveries_do_not_wake_a_stopped_endpoint),
		IN_WORLD(test_stop_is_remembered_while_nothing_is_owed),
		IN_WORLD(test_paused_endpoint_gets_nothing),
		IN_WORLD(test_pause_gives_back_what_was_ready),
		IN_WORLD(test_resumed_endpoint_goes_on),
		IN_WORLD(test_pause_stops_no_other_endpoint),
		IN_WORLD(test_attempt_under_way_ends_normally_in_a_pause),
		IN_WORLD(test_what_a_claim_brings_into_a_pause_goes_back),
		IN_WORLD(test_pause_of_all_sending_stops_everybody),
		IN_WORLD(test_endpoint_that_is_paused_itself_stays_so_when_all_are_resumed),
		IN_WORLD(test_stale_gives_back_what_was_ready_and_asks_again),
		IN_WORLD(test_stale_asks_though_nothing_was_known_to_be_owed),
		IN_WORLD(test_claim_under_way_when_something_went_stale_is_given_back),
		IN_WORLD(test_claim_under_way_when_something_went_stale_is_repeated),
		IN_WORLD(test_attempt_that_was_not_made_is_claimed_again),
		IN_WORLD(test_attempt_that_was_not_made_teaches_nothing),
		IN_WORLD(test_no_more_are_ready_than_there_is_room_for),
		IN_WORLD(test_no_more_is_asked_for_than_there_is_room_for),
		IN_WORLD(test_no_more_bytes_are_asked_for_than_there_is_room_for),
		IN_WORLD(test_payloads_beyond_the_room_wait_in_the_store),
		IN_WORLD(test_room_that_comes_free_is_used),
		IN_WORLD(test_healthy_endpoint_holds_some_ready_ahead),
		IN_WORLD(test_dead_endpoint_holds_no_more_than_it_may_send),
		IN_WORLD(test_forgotten_endpoint_gives_back_what_was_ready),
		IN_WORLD(test_endpoint_can_be_forgotten_wherever_it_stands),
		IN_WORLD(test_slots_of_a_forgotten_endpoint_count_no_more),
		IN_WORLD(test_endpoint_without_lane_can_be_forgotten),
		IN_WORLD(test_no_schedule_can_be_freed),
		IN_WORLD(test_reason_for_waiting_is_told),
		IN_WORLD(test_lateness_is_that_of_what_could_go_now),
		IN_WORLD(test_nothing_is_forgotten_whatever_happens),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
