#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/retry.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_MS ((int64_t)1795312692402)
#define MIDDLE (UINT32_MAX / 2 + 1) /* random bits that mean no jitter, to the millisecond */
#define HOUR 3600

static const uint32_t waits_s[] = {5, 30, 120};
static const struct retry_policy policy = {
	.waits_s = waits_s, .n = N(waits_s), .retry_after_max_s = 12 * HOUR};

static struct attempt answered(uint16_t status)
{
	return (struct attempt){.result = status / 100 == 2 ? RESULT_OK : RESULT_STATUS,
		.http_status = status,
		.retry_after_s = -1};
}

static struct attempt put_off(uint16_t status, int32_t retry_after_s)
{
	struct attempt attempt = answered(status);

	attempt.retry_after_s = retry_after_s;
	return attempt;
}

static struct attempt unanswered(enum attempt_result result)
{
	return (struct attempt){.result = result, .retry_after_s = -1};
}

/* Of the first attempt of a young delivery, without jitter. */
static struct retry_verdict judge(struct attempt attempt)
{
	return retry_judge(&policy, 0, NOW_MS, &attempt, NOW_MS, MIDDLE);
}

/* ---- The table of answers ---- */

static void test_success_is_delivered(void **state)
{
	(void)state;
	for (uint16_t status = 200; status < 300; status++) {
		struct retry_verdict verdict = judge(answered(status));

		assert_int_equal(verdict.kind, OUTCOME_DELIVERED);
		assert_int_equal(verdict.reason, NOT_DEAD);
		assert_int_equal(verdict.endpoint_not_before_ms, 0);
	}
}

static void test_every_other_status_is_tried_again_at_its_time(void **state)
{
	(void)state;
	for (uint16_t status = 100; status < 1000; status++) {
		struct retry_verdict verdict = judge(answered(status));

		if (status / 100 == 2)
			continue;
		assert_int_equal(verdict.kind, OUTCOME_RETRY);
		assert_int_equal(verdict.due_ms, NOW_MS + 5000);
	}
}

static void test_attempt_without_answer_is_tried_again_at_its_time(void **state)
{
	static const enum attempt_result results[] = {RESULT_DNS, RESULT_ADDRESS, RESULT_CONNECT,
		RESULT_TLS, RESULT_TIMEOUT, RESULT_PROTOCOL};

	(void)state;
	for (size_t i = 0; i < N(results); i++) {
		struct retry_verdict verdict = judge(unanswered(results[i]));

		assert_int_equal(verdict.kind, OUTCOME_RETRY);
		assert_int_equal(verdict.due_ms, NOW_MS + 5000);
		assert_false(verdict.gone);
	}
}

static void test_only_410_says_that_the_endpoint_is_gone(void **state)
{
	(void)state;
	for (uint16_t status = 100; status < 1000; status++)
		assert_int_equal(judge(answered(status)).gone, status == 410);
}

static void test_410_leaves_the_delivery_pending_even_when_its_schedule_is_used_up(void **state)
{
	struct attempt attempt = answered(410);
	struct retry_verdict verdict =
		retry_judge(&policy, N(waits_s), NOW_MS, &attempt, NOW_MS, MIDDLE);

	(void)state;
	assert_int_equal(verdict.kind, OUTCOME_RETRY);
	assert_int_equal(verdict.due_ms, NOW_MS + 120000);
	assert_true(verdict.gone);
}

static void test_410_leaves_a_delivery_of_a_single_attempt_pending(void **state)
{
	static const struct retry_policy single = {.retry_after_max_s = 12 * HOUR};
	struct attempt attempt = answered(410);
	struct retry_verdict verdict = retry_judge(&single, 0, NOW_MS, &attempt, NOW_MS, MIDDLE);

	(void)state;
	assert_int_equal(verdict.kind, OUTCOME_RETRY);
	assert_int_equal(verdict.due_ms, NOW_MS);
}

/* ---- Schedule and age ---- */

static void test_each_attempt_has_its_wait(void **state)
{
	struct attempt attempt = answered(500);

	(void)state;
	for (unsigned i = 0; i < N(waits_s); i++)
		assert_int_equal(retry_judge(&policy, i, NOW_MS, &attempt, NOW_MS, MIDDLE).due_ms,
			NOW_MS + waits_s[i] * 1000);
}

static void test_delivery_dies_when_its_schedule_is_used_up(void **state)
{
	struct attempt attempt = unanswered(RESULT_TIMEOUT);
	struct retry_verdict verdict =
		retry_judge(&policy, N(waits_s), NOW_MS, &attempt, NOW_MS, MIDDLE);

	(void)state;
	assert_int_equal(verdict.kind, OUTCOME_DEAD);
	assert_int_equal(verdict.reason, DEAD_EXHAUSTED);
}

static void test_empty_schedule_is_used_up_after_one_attempt(void **state)
{
	static const struct retry_policy single = {.retry_after_max_s = 12 * HOUR};
	struct attempt attempt = answered(500);

	(void)state;
	assert_int_equal(
		retry_judge(&single, 0, NOW_MS, &attempt, NOW_MS, MIDDLE).reason, DEAD_EXHAUSTED);
}

static void test_shortened_schedule_is_used_up_at_once(void **state)
{
	struct attempt attempt = answered(500);

	(void)state;
	assert_int_equal(
		retry_judge(&policy, 40, NOW_MS, &attempt, NOW_MS, MIDDLE).reason, DEAD_EXHAUSTED);
}

static void test_success_counts_whatever_schedule_and_age_say(void **state)
{
	static const struct retry_policy strict = {.max_age_s = 1};
	struct attempt attempt = answered(200);

	(void)state;
	assert_int_equal(
		retry_judge(&strict, 99, 0, &attempt, NOW_MS, MIDDLE).kind, OUTCOME_DELIVERED);
}

static struct retry_verdict judge_at_age(int64_t age_ms)
{
	struct retry_policy aging = policy;
	struct attempt attempt = answered(500);

	aging.max_age_s = 60;
	return retry_judge(&aging, 0, NOW_MS - age_ms, &attempt, NOW_MS, MIDDLE);
}

static void test_delivery_dies_when_its_next_attempt_would_come_too_late(void **state)
{
	(void)state;
	assert_int_equal(judge_at_age(55000).kind, OUTCOME_RETRY); /* next one at 60 s */
	assert_int_equal(judge_at_age(55001).kind, OUTCOME_DEAD);
	assert_int_equal(judge_at_age(55001).reason, DEAD_TOO_OLD);
}

static void test_without_max_age_nothing_is_too_old(void **state)
{
	struct attempt attempt = answered(500);

	(void)state;
	assert_int_equal(retry_judge(&policy, 0, 0, &attempt, NOW_MS, MIDDLE).kind, OUTCOME_RETRY);
}

/* ---- Jitter ---- */

static int64_t wait_with(uint32_t wait_s, uint32_t random)
{
	const struct retry_policy one = {.waits_s = &wait_s, .n = 1};
	struct attempt attempt = answered(500);

	return retry_judge(&one, 0, NOW_MS, &attempt, NOW_MS, random).due_ms - NOW_MS;
}

static void test_jitter_reaches_from_80_to_120_percent(void **state)
{
	(void)state;
	assert_int_equal(wait_with(5, 0), 4000);
	assert_int_equal(wait_with(5, MIDDLE), 5000);
	assert_int_equal(wait_with(5, UINT32_MAX), 6000);
}

static void test_jitter_of_the_longest_wait_does_not_overflow(void **state)
{
	(void)state;
	assert_int_equal(wait_with(604800, 0), 483840000);
	assert_int_equal(wait_with(604800, UINT32_MAX), 725760000);
}

static void test_jitter_is_spread_evenly(void **state)
{
	(void)state;
	for (uint32_t i = 0; i <= 16; i++) {
		uint32_t random = i == 16 ? UINT32_MAX : i << 28;

		assert_in_range(
			wait_with(1000, random), 800000 + i * 25000 - 1, 800000 + i * 25000);
	}
}

/* ---- Retry-After ---- */

static void test_retry_after_later_than_our_own_time_is_obeyed(void **state)
{
	(void)state;
	assert_int_equal(judge(put_off(503, 60)).due_ms, NOW_MS + 60000);
	assert_int_equal(judge(put_off(301, 60)).due_ms, NOW_MS + 60000);
}

static void test_retry_after_sooner_than_our_own_time_is_not(void **state)
{
	(void)state;
	assert_int_equal(judge(put_off(503, 4)).due_ms, NOW_MS + 5000);
	assert_int_equal(judge(put_off(503, 0)).due_ms, NOW_MS + 5000);
}

static void test_retry_after_is_capped(void **state)
{
	(void)state;
	assert_int_equal(judge(put_off(429, 12 * HOUR + 1)).due_ms, NOW_MS + 12 * HOUR * 1000);
	assert_int_equal(
		judge(put_off(429, INT32_MAX)).endpoint_not_before_ms, NOW_MS + 12 * HOUR * 1000);
}

static void test_retry_after_on_429_and_503_stops_the_endpoint(void **state)
{
	(void)state;
	assert_int_equal(judge(put_off(429, 60)).endpoint_not_before_ms, NOW_MS + 60000);
	assert_int_equal(judge(put_off(503, 60)).endpoint_not_before_ms, NOW_MS + 60000);
}

static void test_retry_after_on_others_stops_the_delivery_alone(void **state)
{
	(void)state;
	for (uint16_t status = 300; status < 600; status++) {
		if (status != 429 && status != 503)
			assert_int_equal(judge(put_off(status, 60)).endpoint_not_before_ms, 0);
	}
}

static void test_without_retry_after_the_endpoint_goes_on(void **state)
{
	(void)state;
	assert_int_equal(judge(answered(429)).endpoint_not_before_ms, 0);
	assert_int_equal(judge(answered(503)).endpoint_not_before_ms, 0);
}

static void test_retry_after_stops_the_endpoint_though_the_delivery_dies(void **state)
{
	struct attempt attempt = put_off(503, 60);
	struct retry_verdict verdict =
		retry_judge(&policy, N(waits_s), NOW_MS, &attempt, NOW_MS, MIDDLE);

	(void)state;
	assert_int_equal(verdict.kind, OUTCOME_DEAD);
	assert_int_equal(verdict.endpoint_not_before_ms, NOW_MS + 60000);
}

static void test_retry_after_beyond_the_max_age_kills_the_delivery(void **state)
{
	struct retry_policy aging = policy;
	struct attempt attempt = put_off(503, 61);

	(void)state;
	aging.max_age_s = 60;
	assert_int_equal(
		retry_judge(&aging, 0, NOW_MS, &attempt, NOW_MS, MIDDLE).reason, DEAD_TOO_OLD);
}

/* ---- The header's text ---- */

/* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110. */
#define EXAMPLE_MS ((int64_t)784111777000)
#define YEAR_S (366 * 86400)

static void assert_read(const char *text, int32_t seconds)
{
	int32_t read = retry_after_parse(text, EXAMPLE_MS);

	if (read != seconds)
		fail_msg("\"%s\" is read as %d", text, read);
}

static void test_retry_after_in_seconds(void **state)
{
	(void)state;
	assert_read("0", 0);
	assert_read("120", 120);
	assert_read("007", 7);
	assert_read(" \t120 \t", 120);
}

static void test_retry_after_is_cut_at_a_year(void **state)
{
	(void)state;
	assert_read("31622400", YEAR_S);
	assert_read("31622401", YEAR_S);
	assert_read("4294967296", YEAR_S);
	assert_read("99999999999999999999999999999999", YEAR_S);
	assert_read("Fri, 31 Dec 9999 23:59:59 GMT", YEAR_S);
}

static void test_retry_after_as_a_date_in_each_form_of_http(void **state)
{
	(void)state;
	assert_read("Sun, 06 Nov 1994 08:50:37 GMT", 60);
	assert_read("Sunday, 06-Nov-94 08:50:37 GMT", 60);
	assert_read("Sun Nov  6 08:50:37 1994", 60);
	assert_read("Sun Nov 16 08:49:37 1994", 864000);
}

static void test_retry_after_date_in_the_past_is_now(void **state)
{
	(void)state;
	assert_read("Sun, 06 Nov 1994 08:49:36 GMT", 0);
	assert_read("Sun, 06 Nov 1994 08:49:37 GMT", 0);
	assert_read("Thu, 01 Jan 1970 00:00:00 GMT", 0);
	assert_read("Tue, 01 Jan 1901 00:00:00 GMT", 0);
}

static void test_retry_after_that_is_neither_is_none(void **state)
{
	static const char *const texts[] = {"", " ", "-1", "+1", "1.5", "120s", "120 120", "1e3",
		"soon", "0x10", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 GMT+1", "Sun, 06 Nov 1994 25:00:00 GMT",
		"Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT",
		"1994-11-06T08:49:37Z", "Sun,", "120,120"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_read(texts[i], -1);
}

/* ---- Local faults ---- */

static void test_local_wait_doubles_from_a_second_to_a_minute(void **state)
{
	static const int64_t waits_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

	(void)state;
	for (unsigned i = 0; i < N(waits_ms); i++)
		assert_int_equal(retry_local_wait_ms(i), waits_ms[i]);
	assert_int_equal(retry_local_wait_ms(UINT8_MAX), 60000);
	assert_int_equal(retry_local_wait_ms(UINT32_MAX), 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success_is_delivered),
		cmocka_unit_test(test_every_other_status_is_tried_again_at_its_time),
		cmocka_unit_test(test_attempt_without_answer_is_tried_again_at_its_time),
		cmocka_unit_test(test_only_410_says_that_the_endpoint_is_gone),
		cmocka_unit_test(
			test_410_leaves_the_delivery_pending_even_when_its_schedule_is_used_up),
		cmocka_unit_test(test_410_leaves_a_delivery_of_a_single_attempt_pending),
		cmocka_unit_test(test_each_attempt_has_its_wait),
		cmocka_unit_test(test_delivery_dies_when_its_schedule_is_used_up),
		cmocka_unit_test(test_empty_schedule_is_used_up_after_one_attempt),
		cmocka_unit_test(test_shortened_schedule_is_used_up_at_once),
		cmocka_unit_test(test_success_counts_whatever_schedule_and_age_say),
		cmocka_unit_test(test_delivery_dies_when_its_next_attempt_would_come_too_late),
		cmocka_unit_test(test_without_max_age_nothing_is_too_old),
		cmocka_unit_test(test_jitter_reaches_from_80_to_120_percent),
		cmocka_unit_test(test_jitter_of_the_longest_wait_does_not_overflow),
		cmocka_unit_test(test_jitter_is_spread_evenly),
		cmocka_unit_test(test_retry_after_later_than_our_own_time_is_obeyed),
		cmocka_unit_test(test_retry_after_sooner_than_our_own_time_is_not),
		cmocka_unit_test(test_retry_after_is_capped),
		cmocka_unit_test(test_retry_after_on_429_and_503_stops_the_endpoint),
		cmocka_unit_test(test_retry_after_on_others_stops_the_delivery_alone),
		cmocka_unit_test(test_without_retry_after_the_endpoint_goes_on),
		cmocka_unit_test(test_retry_after_stops_the_endpoint_though_the_delivery_dies),
		cmocka_unit_test(test_retry_after_beyond_the_max_age_kills_the_delivery),
		cmocka_unit_test(test_retry_after_in_seconds),
		cmocka_unit_test(test_retry_after_is_cut_at_a_year),
		cmocka_unit_test(test_retry_after_as_a_date_in_each_form_of_http),
		cmocka_unit_test(test_retry_after_date_in_the_past_is_now),
		cmocka_unit_test(test_retry_after_that_is_neither_is_none),
		cmocka_unit_test(test_local_wait_doubles_from_a_second_to_a_minute),
	};

	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
