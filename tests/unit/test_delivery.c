/*
 * The table "What happens to a delivery" of doc/api.md, cell by cell, and the outcomes of attempts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/delivery.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_MS ((int64_t)1795312692402)
#define EARLIER_MS (NOW_MS - 3600000)

/* A delivery with a past: three attempts, one verb. */
static struct delivery delivery_in(enum delivery_state state)
{
	struct delivery d;

	memset(&d, 0, sizeof(d));
	d.endpoint = 7;
	d.state = state;
	d.reason = state == DELIVERY_DEAD ? DEAD_EXHAUSTED : NOT_DEAD;
	d.turn = 1;
	d.attempts = 3;
	d.local_faults = 2;
	d.since_ms = EARLIER_MS;
	d.due_ms = NOW_MS + 60000;
	d.aged_from_ms = EARLIER_MS - 1;
	d.payload_bytes = 96;
	d.last = (struct attempt){.number = 3, .result = RESULT_TIMEOUT, .retry_after_s = -1};
	return d;
}

/* ---- Verbs ---- */

enum cell { STAYS, PENDING, HELD, DEAD, GONE };

/* What a verb does to a delivery in each state: when its caller names no states, when the caller
 * names this one, and when the caller does and the endpoint is removed. */
static const struct {
	enum verb verb;
	enum delivery_state state;
	enum cell by_default, named, named_and_removed;
} table[] = {
	{VERB_REPLAY, DELIVERY_PENDING, PENDING, PENDING, STAYS},
	{VERB_REPLAY, DELIVERY_HELD, STAYS, PENDING, STAYS},
	{VERB_REPLAY, DELIVERY_DELIVERED, STAYS, PENDING, STAYS},
	{VERB_REPLAY, DELIVERY_DEAD, PENDING, PENDING, STAYS},
	{VERB_HOLD, DELIVERY_PENDING, HELD, HELD, HELD},
	{VERB_HOLD, DELIVERY_HELD, STAYS, STAYS, STAYS},
	{VERB_HOLD, DELIVERY_DELIVERED, STAYS, STAYS, STAYS},
	{VERB_HOLD, DELIVERY_DEAD, STAYS, STAYS, STAYS},
	{VERB_RELEASE, DELIVERY_PENDING, STAYS, STAYS, STAYS},
	{VERB_RELEASE, DELIVERY_HELD, PENDING, PENDING, PENDING},
	{VERB_RELEASE, DELIVERY_DELIVERED, STAYS, STAYS, STAYS},
	{VERB_RELEASE, DELIVERY_DEAD, STAYS, STAYS, STAYS},
	{VERB_CANCEL, DELIVERY_PENDING, DEAD, DEAD, DEAD},
	{VERB_CANCEL, DELIVERY_HELD, DEAD, DEAD, DEAD},
	{VERB_CANCEL, DELIVERY_DELIVERED, STAYS, STAYS, STAYS},
	{VERB_CANCEL, DELIVERY_DEAD, STAYS, STAYS, STAYS},
	{VERB_PURGE, DELIVERY_PENDING, STAYS, GONE, GONE},
	{VERB_PURGE, DELIVERY_HELD, STAYS, GONE, GONE},
	{VERB_PURGE, DELIVERY_DELIVERED, GONE, GONE, GONE},
	{VERB_PURGE, DELIVERY_DEAD, GONE, GONE, GONE},
	{VERB_ENDPOINT_REMOVED, DELIVERY_PENDING, DEAD, DEAD, DEAD},
	{VERB_ENDPOINT_REMOVED, DELIVERY_HELD, DEAD, DEAD, DEAD},
	{VERB_ENDPOINT_REMOVED, DELIVERY_DELIVERED, STAYS, STAYS, STAYS},
	{VERB_ENDPOINT_REMOVED, DELIVERY_DEAD, STAYS, STAYS, STAYS},
};

static void assert_cell(enum verb verb, enum delivery_state state, unsigned states, bool removed,
	enum cell expected)
{
	struct delivery before = delivery_in(state), after = before;
	enum delivery_change change = delivery_apply_verb(&after, verb, states, removed, NOW_MS);
	enum cell actual = change == DELIVERY_GONE ? GONE
		: change == DELIVERY_UNCHANGED     ? STAYS
		: after.state == DELIVERY_PENDING  ? PENDING
		: after.state == DELIVERY_HELD     ? HELD
						   : DEAD;

	if (actual != expected)
		fail_msg("%s of %s%s: cell %d instead of %d", verb_name(verb),
			delivery_state_name(state), removed ? ", endpoint removed" : "", actual,
			expected);
	if (expected == STAYS)
		assert_memory_equal(&after, &before, sizeof(after));
}

static void test_verb_on_its_default_states(void **state)
{
	(void)state;
	assert_int_equal(N(table), N_VERBS * 4);
	for (size_t i = 0; i < N(table); i++)
		assert_cell(table[i].verb, table[i].state, verb_default_states(table[i].verb),
			false, table[i].by_default);
}

static void test_verb_on_a_named_state(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++) {
		assert_cell(table[i].verb, table[i].state, STATE_BIT(table[i].state), false,
			table[i].named);
		assert_cell(table[i].verb, table[i].state, ALL_STATES, false, table[i].named);
	}
}

static void test_verb_when_the_endpoint_is_removed(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++)
		assert_cell(table[i].verb, table[i].state, STATE_BIT(table[i].state), true,
			table[i].named_and_removed);
}

static void test_verb_on_other_states_than_the_delivery_is_in_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++)
		assert_cell(table[i].verb, table[i].state, ALL_STATES & ~STATE_BIT(table[i].state),
			false, STAYS);
}

static void test_every_change_by_a_verb_raises_the_turn(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++) {
		struct delivery d = delivery_in(table[i].state);
		enum delivery_change change =
			delivery_apply_verb(&d, table[i].verb, ALL_STATES, false, NOW_MS);

		assert_int_equal(d.turn, change == DELIVERY_CHANGED ? 2 : 1);
	}
}

static void test_every_change_by_a_verb_notes_since_when(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++) {
		struct delivery d = delivery_in(table[i].state);
		enum delivery_change change =
			delivery_apply_verb(&d, table[i].verb, ALL_STATES, false, NOW_MS);

		assert_int_equal(d.since_ms, change == DELIVERY_CHANGED ? NOW_MS : EARLIER_MS);
	}
}

static void test_verb_never_touches_the_last_attempt(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(table); i++) {
		struct delivery before = delivery_in(table[i].state), d = before;

		delivery_apply_verb(&d, table[i].verb, ALL_STATES, false, NOW_MS);
		assert_memory_equal(&d.last, &before.last, sizeof(d.last));
	}
}

static void test_replay_starts_over_now(void **state)
{
	(void)state;
	for (enum delivery_state from = DELIVERY_PENDING; from <= DELIVERY_DEAD; from++) {
		struct delivery d = delivery_in(from);

		delivery_apply_verb(&d, VERB_REPLAY, ALL_STATES, false, NOW_MS);
		assert_int_equal(d.due_ms, NOW_MS);
		assert_int_equal(d.aged_from_ms, NOW_MS);
		assert_int_equal(d.attempts, 0);
		assert_int_equal(d.local_faults, 0);
		assert_int_equal(d.reason, NOT_DEAD);
	}
}

static void test_released_delivery_goes_at_the_time_it_had(void **state)
{
	struct delivery d = delivery_in(DELIVERY_PENDING), before = d;

	(void)state;
	delivery_apply_verb(&d, VERB_HOLD, ALL_STATES, false, NOW_MS);
	delivery_apply_verb(&d, VERB_RELEASE, ALL_STATES, false, NOW_MS + 5000);
	assert_int_equal(d.due_ms, before.due_ms);
	assert_int_equal(d.aged_from_ms, before.aged_from_ms);
	assert_int_equal(d.attempts, before.attempts);
	assert_int_equal(d.since_ms, NOW_MS + 5000);
}

static void test_cancelled_delivery_says_so(void **state)
{
	struct delivery d = delivery_in(DELIVERY_HELD);

	(void)state;
	delivery_apply_verb(&d, VERB_CANCEL, ALL_STATES, false, NOW_MS);
	assert_int_equal(d.reason, DEAD_CANCELLED);
}

static void test_delivery_of_a_removed_endpoint_says_so(void **state)
{
	struct delivery d = delivery_in(DELIVERY_PENDING);

	(void)state;
	delivery_apply_verb(&d, VERB_ENDPOINT_REMOVED, ALL_STATES, true, NOW_MS);
	assert_int_equal(d.reason, DEAD_ENDPOINT_REMOVED);
}

/* ---- Outcomes ---- */

static const enum outcome_kind all_kinds[] = {OUTCOME_DELIVERED, OUTCOME_RETRY, OUTCOME_DEAD,
	OUTCOME_LOCAL, OUTCOME_EARLY, OUTCOME_TOO_OLD, OUTCOME_DAMAGED};

static bool is_made(enum outcome_kind kind)
{
	return kind == OUTCOME_DELIVERED || kind == OUTCOME_RETRY || kind == OUTCOME_DEAD;
}

static struct outcome outcome_of(enum outcome_kind kind, uint32_t turn)
{
	struct outcome o;

	memset(&o, 0, sizeof(o));
	o.endpoint = 7;
	o.turn = turn;
	o.kind = kind;
	o.reason = kind == OUTCOME_DEAD ? DEAD_TOO_OLD : NOT_DEAD;
	o.due_ms = NOW_MS + 120000;
	o.attempt =
		(struct attempt){.result = kind == OUTCOME_DELIVERED ? RESULT_OK : RESULT_STATUS,
			.http_status = kind == OUTCOME_DELIVERED ? 204 : 500,
			.duration_ms = 38,
			.started_ms = NOW_MS - 38,
			.retry_after_s = -1};
	return o;
}

/* Applies an outcome of the current turn to a pending delivery. */
static struct delivery after_current(enum outcome_kind kind)
{
	struct delivery d = delivery_in(DELIVERY_PENDING);
	struct outcome o = outcome_of(kind, d.turn);

	assert_int_equal(delivery_apply_outcome(&d, &o, NOW_MS), DELIVERY_CHANGED);
	return d;
}

static void test_success_delivers(void **state)
{
	struct delivery d = after_current(OUTCOME_DELIVERED);

	(void)state;
	assert_int_equal(d.state, DELIVERY_DELIVERED);
	assert_int_equal(d.since_ms, NOW_MS);
	assert_int_equal(d.attempts, 4);
}

static void test_failure_waits_for_the_next_attempt(void **state)
{
	struct delivery d = after_current(OUTCOME_RETRY);

	(void)state;
	assert_int_equal(d.state, DELIVERY_PENDING);
	assert_int_equal(d.due_ms, NOW_MS + 120000);
	assert_int_equal(d.attempts, 4);
	assert_int_equal(d.since_ms, EARLIER_MS);
}

static void test_last_failure_kills_for_the_given_reason(void **state)
{
	struct delivery d = after_current(OUTCOME_DEAD);

	(void)state;
	assert_int_equal(d.state, DELIVERY_DEAD);
	assert_int_equal(d.reason, DEAD_TOO_OLD);
	assert_int_equal(d.since_ms, NOW_MS);
	assert_int_equal(d.attempts, 4);
}

static void test_local_fault_costs_no_attempt(void **state)
{
	struct delivery before = delivery_in(DELIVERY_PENDING), d = after_current(OUTCOME_LOCAL);

	(void)state;
	assert_int_equal(d.state, DELIVERY_PENDING);
	assert_int_equal(d.due_ms, NOW_MS + 120000);
	assert_int_equal(d.attempts, 3);
	assert_int_equal(d.local_faults, 3);
	assert_memory_equal(&d.last, &before.last, sizeof(d.last));
}

static void test_local_faults_are_counted_up_to_255(void **state)
{
	struct delivery d = delivery_in(DELIVERY_PENDING);

	(void)state;
	for (int i = 0; i < 300; i++) {
		struct outcome o = outcome_of(OUTCOME_LOCAL, d.turn);

		delivery_apply_outcome(&d, &o, NOW_MS);
	}
	assert_int_equal(d.local_faults, UINT8_MAX);
}

static void test_attempt_that_was_made_ends_a_row_of_local_faults(void **state)
{
	(void)state;
	assert_int_equal(after_current(OUTCOME_RETRY).local_faults, 0);
	assert_int_equal(after_current(OUTCOME_DELIVERED).local_faults, 0);
	assert_int_equal(after_current(OUTCOME_DEAD).local_faults, 0);
}

static void test_delivery_that_was_too_early_only_waits(void **state)
{
	struct delivery expected = delivery_in(DELIVERY_PENDING), d = after_current(OUTCOME_EARLY);

	(void)state;
	expected.due_ms = expected.aged_from_ms = NOW_MS + 120000;
	assert_memory_equal(&d, &expected, sizeof(d));
}

static void test_damaged_event_becomes_a_dead_letter_without_an_attempt(void **state)
{
	struct delivery before = delivery_in(DELIVERY_PENDING), d = after_current(OUTCOME_DAMAGED);

	(void)state;
	assert_int_equal(d.state, DELIVERY_DEAD);
	assert_int_equal(d.reason, DEAD_DAMAGED);
	assert_int_equal(d.attempts, 3);
	assert_memory_equal(&d.last, &before.last, sizeof(d.last));
}

static void test_outcome_never_changes_the_turn(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(all_kinds); i++)
		assert_int_equal(after_current(all_kinds[i]).turn, 1);
}

static void test_attempt_that_was_made_gets_the_next_number(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(all_kinds); i++) {
		struct delivery d = delivery_in(DELIVERY_PENDING);
		struct outcome o = outcome_of(all_kinds[i], d.turn);

		delivery_apply_outcome(&d, &o, NOW_MS);
		assert_int_equal(o.attempt.number, is_made(all_kinds[i]) ? 4 : 0);
		if (is_made(all_kinds[i]))
			assert_memory_equal(&d.last, &o.attempt, sizeof(d.last));
	}
}

static void test_numbers_of_attempts_go_on_after_a_replay(void **state)
{
	struct delivery d = delivery_in(DELIVERY_DEAD);
	struct outcome o;

	(void)state;
	delivery_apply_verb(&d, VERB_REPLAY, ALL_STATES, false, NOW_MS);
	o = outcome_of(OUTCOME_RETRY, d.turn);
	delivery_apply_outcome(&d, &o, NOW_MS);
	assert_int_equal(o.attempt.number, 4);
	assert_int_equal(d.attempts, 1);
}

/* A verb came in while the attempt was under way, and left the delivery in this state. */
static struct delivery after_old(
	enum outcome_kind kind, enum delivery_state state, enum delivery_change expected)
{
	struct delivery d = delivery_in(state);
	struct outcome o = outcome_of(kind, d.turn - 1);

	if (delivery_apply_outcome(&d, &o, NOW_MS) != expected)
		fail_msg("old outcome %d on %s", kind, delivery_state_name(state));
	return d;
}

static void test_success_of_an_old_turn_wins_over_every_verb(void **state)
{
	(void)state;
	for (enum delivery_state from = DELIVERY_PENDING; from <= DELIVERY_DEAD; from++) {
		struct delivery d = after_old(OUTCOME_DELIVERED, from, DELIVERY_CHANGED);

		assert_int_equal(d.state, DELIVERY_DELIVERED);
		assert_int_equal(d.reason, NOT_DEAD);
		assert_int_equal(d.since_ms, NOW_MS);
	}
}

static void test_failure_of_an_old_turn_only_joins_the_history(void **state)
{
	(void)state;
	for (enum delivery_state from = DELIVERY_PENDING; from <= DELIVERY_DEAD; from++) {
		struct delivery expected = delivery_in(from),
				retry = after_old(OUTCOME_RETRY, from, DELIVERY_CHANGED),
				dead = after_old(OUTCOME_DEAD, from, DELIVERY_CHANGED);

		expected.last = outcome_of(OUTCOME_RETRY, 0).attempt;
		expected.last.number = 4;
		assert_memory_equal(&retry, &expected, sizeof(retry));
		assert_memory_equal(&dead, &expected, sizeof(dead));
	}
}

static void test_attempt_of_an_old_turn_that_was_not_made_is_nothing(void **state)
{
	static const enum outcome_kind not_made[] = {
		OUTCOME_LOCAL, OUTCOME_EARLY, OUTCOME_TOO_OLD, OUTCOME_DAMAGED};

	(void)state;
	for (size_t i = 0; i < N(not_made); i++) {
		for (enum delivery_state from = DELIVERY_PENDING; from <= DELIVERY_DEAD; from++) {
			struct delivery before = delivery_in(from),
					after = after_old(not_made[i], from, DELIVERY_UNCHANGED);

			assert_memory_equal(&after, &before, sizeof(after));
		}
	}
}

/* The sequences of the column "under way". */
static void test_verb_takes_effect_once_the_attempt_has_ended(void **state)
{
	static const struct {
		enum verb verb;
		enum delivery_state after_failure;
	} cases[] = {{VERB_REPLAY, DELIVERY_PENDING}, {VERB_HOLD, DELIVERY_HELD},
		{VERB_CANCEL, DELIVERY_DEAD}, {VERB_ENDPOINT_REMOVED, DELIVERY_DEAD}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct delivery d = delivery_in(DELIVERY_PENDING);
		struct outcome o = outcome_of(OUTCOME_RETRY, d.turn); /* of the claim before */

		delivery_apply_verb(&d, cases[i].verb, ALL_STATES, false, NOW_MS);
		delivery_apply_outcome(&d, &o, NOW_MS + 10);
		assert_int_equal(d.state, cases[i].after_failure);
		assert_int_equal(d.since_ms, NOW_MS);
	}
}

static void test_replay_under_way_starts_over_though_the_attempt_fails(void **state)
{
	struct delivery d = delivery_in(DELIVERY_PENDING);
	struct outcome o = outcome_of(OUTCOME_DEAD, d.turn);

	(void)state;
	delivery_apply_verb(&d, VERB_REPLAY, ALL_STATES, false, NOW_MS);
	delivery_apply_outcome(&d, &o, NOW_MS + 10);
	assert_int_equal(d.state, DELIVERY_PENDING);
	assert_int_equal(d.due_ms, NOW_MS);
	assert_int_equal(d.attempts, 0);
}

/* ---- Names ---- */

static void test_states_have_the_names_of_the_api(void **state)
{
	(void)state;
	assert_string_equal(delivery_state_name(DELIVERY_PENDING), "pending");
	assert_string_equal(delivery_state_name(DELIVERY_HELD), "held");
	assert_string_equal(delivery_state_name(DELIVERY_DELIVERED), "delivered");
	assert_string_equal(delivery_state_name(DELIVERY_DEAD), "dead");
}

static void test_reasons_have_the_names_of_the_api(void **state)
{
	(void)state;
	assert_string_equal(dead_reason_name(DEAD_EXHAUSTED), "exhausted");
	assert_string_equal(dead_reason_name(DEAD_TOO_OLD), "too_old");
	assert_string_equal(dead_reason_name(DEAD_CANCELLED), "cancelled");
	assert_string_equal(dead_reason_name(DEAD_ENDPOINT_REMOVED), "endpoint_removed");
	assert_string_equal(dead_reason_name(DEAD_DAMAGED), "damaged");
	assert_null(dead_reason_name(NOT_DEAD));
}

static void test_results_have_the_names_of_the_api(void **state)
{
	static const char *const names[N_ATTEMPT_RESULTS] = {
		NULL, "ok", "status", "dns", "address", "connect", "tls", "timeout", "protocol"};

	(void)state;
	assert_null(attempt_result_name(RESULT_NONE));
	for (int i = RESULT_OK; i < N_ATTEMPT_RESULTS; i++)
		assert_string_equal(attempt_result_name((enum attempt_result)i), names[i]);
}

static void test_verbs_have_the_names_of_the_api(void **state)
{
	(void)state;
	assert_string_equal(verb_name(VERB_REPLAY), "replay");
	assert_string_equal(verb_name(VERB_HOLD), "hold");
	assert_string_equal(verb_name(VERB_RELEASE), "release");
	assert_string_equal(verb_name(VERB_CANCEL), "cancel");
	assert_string_equal(verb_name(VERB_PURGE), "purge");
}

static void test_names_beyond_the_enums_are_null(void **state)
{
	(void)state;
	assert_null(delivery_state_name((enum delivery_state)0));
	assert_null(delivery_state_name((enum delivery_state)N_DELIVERY_STATES));
	assert_null(dead_reason_name((enum dead_reason)N_DEAD_REASONS));
	assert_null(attempt_result_name((enum attempt_result)N_ATTEMPT_RESULTS));
	assert_null(attempt_result_name((enum attempt_result)255));
}

static void test_every_name_reads_back(void **state)
{
	(void)state;
	for (int i = DELIVERY_PENDING; i < N_DELIVERY_STATES; i++)
		assert_int_equal(
			delivery_state_parse(delivery_state_name((enum delivery_state)i)), i);
	for (int i = RESULT_OK; i < N_ATTEMPT_RESULTS; i++)
		assert_int_equal(
			attempt_result_parse(attempt_result_name((enum attempt_result)i)), i);
}

static void test_other_names_are_refused(void **state)
{
	static const char *const texts[] = {"", "Pending", "pending ", "none", "gone", "5"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		assert_int_equal(delivery_state_parse(texts[i]), -EINVAL);
		assert_int_equal(attempt_result_parse(texts[i]), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verb_on_its_default_states),
		cmocka_unit_test(test_verb_on_a_named_state),
		cmocka_unit_test(test_verb_when_the_endpoint_is_removed),
		cmocka_unit_test(test_verb_on_other_states_than_the_delivery_is_in_changes_nothing),
		cmocka_unit_test(test_every_change_by_a_verb_raises_the_turn),
		cmocka_unit_test(test_every_change_by_a_verb_notes_since_when),
		cmocka_unit_test(test_verb_never_touches_the_last_attempt),
		cmocka_unit_test(test_replay_starts_over_now),
		cmocka_unit_test(test_released_delivery_goes_at_the_time_it_had),
		cmocka_unit_test(test_cancelled_delivery_says_so),
		cmocka_unit_test(test_delivery_of_a_removed_endpoint_says_so),
		cmocka_unit_test(test_success_delivers),
		cmocka_unit_test(test_failure_waits_for_the_next_attempt),
		cmocka_unit_test(test_last_failure_kills_for_the_given_reason),
		cmocka_unit_test(test_local_fault_costs_no_attempt),
		cmocka_unit_test(test_local_faults_are_counted_up_to_255),
		cmocka_unit_test(test_attempt_that_was_made_ends_a_row_of_local_faults),
		cmocka_unit_test(test_delivery_that_was_too_early_only_waits),
		cmocka_unit_test(test_damaged_event_becomes_a_dead_letter_without_an_attempt),
		cmocka_unit_test(test_outcome_never_changes_the_turn),
		cmocka_unit_test(test_attempt_that_was_made_gets_the_next_number),
		cmocka_unit_test(test_numbers_of_attempts_go_on_after_a_replay),
		cmocka_unit_test(test_success_of_an_old_turn_wins_over_every_verb),
		cmocka_unit_test(test_failure_of_an_old_turn_only_joins_the_history),
		cmocka_unit_test(test_attempt_of_an_old_turn_that_was_not_made_is_nothing),
		cmocka_unit_test(test_verb_takes_effect_once_the_attempt_has_ended),
		cmocka_unit_test(test_replay_under_way_starts_over_though_the_attempt_fails),
		cmocka_unit_test(test_states_have_the_names_of_the_api),
		cmocka_unit_test(test_reasons_have_the_names_of_the_api),
		cmocka_unit_test(test_results_have_the_names_of_the_api),
		cmocka_unit_test(test_verbs_have_the_names_of_the_api),
		cmocka_unit_test(test_names_beyond_the_enums_are_null),
		cmocka_unit_test(test_every_name_reads_back),
		cmocka_unit_test(test_other_names_are_refused),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
