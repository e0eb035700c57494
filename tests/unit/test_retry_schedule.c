#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/retry_schedule.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static void assert_waits(const char *text, const uint32_t *waits_s, unsigned n)
{
	struct retry_schedule schedule;
	const char *expected;

	if (retry_schedule_parse(text, &schedule, &expected) != 0)
		fail_msg("\"%s\" is refused: expected %s", text, expected);
	assert_int_equal(schedule.n, n);
	if (n)
		assert_memory_equal(schedule.waits_s, waits_s, n * sizeof(*waits_s));
}

static void assert_all_refused(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct retry_schedule schedule;
		const char *expected = NULL;

		if (retry_schedule_parse(texts[i], &schedule, &expected) != -EINVAL)
			fail_msg("\"%s\" is not refused", texts[i]);
		assert_non_null(expected);
	}
}

static void test_list_is_taken_as_it_is(void **state)
{
	static const uint32_t waits_s[] = {5, 30, 120, 5400};

	(void)state;
	assert_waits("5s 30s 2m 1h30m", waits_s, N(waits_s));
	assert_waits("5s,30s, 2m\t1h30m ", waits_s, N(waits_s));
}

static void test_none_is_a_single_attempt(void **state)
{
	(void)state;
	assert_waits("none", NULL, 0);
}

static void test_waits_of_a_list_may_fall(void **state)
{
	static const uint32_t waits_s[] = {60, 5, 60};

	(void)state;
	assert_waits("1m 5s 1m", waits_s, N(waits_s));
}

static void test_waits_are_from_a_second_to_a_week(void **state)
{
	static const uint32_t bounds_s[] = {1, RETRY_WAIT_MAX_S};
	static const char *const beyond[] = {"0s", "0", "604801s", "1w1s"};

	(void)state;
	assert_waits("1s 7d", bounds_s, N(bounds_s));
	assert_all_refused(beyond, N(beyond));
}

/* Writes "1s 1s ..." of n waits. */
static void write_waits(char *text, unsigned n)
{
	text[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		strcat(text, "1s ");
}

static void test_list_ends_at_50_waits(void **state)
{
	struct retry_schedule schedule;
	char text[512];
	const char *expected;

	(void)state;
	write_waits(text, RETRY_WAITS_MAX);
	assert_int_equal(retry_schedule_parse(text, &schedule, &expected), 0);
	assert_int_equal(schedule.n, RETRY_WAITS_MAX);
	write_waits(text, RETRY_WAITS_MAX + 1);
	assert_int_equal(retry_schedule_parse(text, &schedule, &expected), -EINVAL);
}

static void test_text_that_is_no_schedule_is_refused(void **state)
{
	static const char *const texts[] = {"", "  ", "5", "5s 30", "5s;30s", "5s none", "none 5s",
		"None", "-5s", "5s exponential", "Exponential 5s 4 12h 12"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_text_of_any_length_is_refused_in_peace(void **state)
{
	char text[2001];
	const char *const texts[] = {text};

	(void)state;
	memset(text, 's', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_all_refused(texts, 1);
	memset(text, ' ', sizeof(text) - 1);
	assert_all_refused(texts, 1);
}

/* ---- exponential BASE FACTOR CAP ATTEMPTS ---- */

static void test_exponential_grows_by_its_factor_up_to_its_cap(void **state)
{
	static const uint32_t waits_s[] = {
		5, 20, 80, 320, 1280, 5120, 20480, 43200, 43200, 43200, 43200};

	(void)state;
	assert_waits("exponential 5s 4 12h 12", waits_s, N(waits_s));
}

static void test_exponential_rounds_to_whole_seconds(void **state)
{
	static const uint32_t waits_s[] = {5, 8, 11, 17}; /* 5, 7.5, 11.25, 16.875 */

	(void)state;
	assert_waits("exponential 5s 1.5 1h 5", waits_s, N(waits_s));
}

static void test_exponential_with_factor_one_is_a_steady_wait(void **state)
{
	static const uint32_t waits_s[] = {30, 30};

	(void)state;
	assert_waits("exponential 30s 1 1h 3", waits_s, N(waits_s));
}

static void test_exponential_with_base_above_its_cap_waits_the_cap(void **state)
{
	static const uint32_t waits_s[] = {60, 60};

	(void)state;
	assert_waits("exponential 1h 2 1m 3", waits_s, N(waits_s));
}

static void test_exponential_of_one_attempt_has_no_wait(void **state)
{
	(void)state;
	assert_waits("exponential 5s 2 1h 1", NULL, 0);
}

static void test_exponential_ends_at_51_attempts(void **state)
{
	static const char *const beyond[] = {"exponential 5s 2 1h 52"};
	struct retry_schedule schedule;
	const char *expected;

	(void)state;
	assert_int_equal(retry_schedule_parse("exponential 5s 100 7d 51", &schedule, &expected), 0);
	assert_int_equal(schedule.n, RETRY_WAITS_MAX);
	assert_int_equal(schedule.waits_s[RETRY_WAITS_MAX - 1], RETRY_WAIT_MAX_S);
	assert_all_refused(beyond, N(beyond));
}

static void test_exponential_with_wrong_parts_is_refused(void **state)
{
	static const char *const texts[] = {"exponential", "exponential 5s", "exponential 5s 4",
		"exponential 5s 4 12h", "exponential 5s 4 12h 12 1", "exponential 0s 4 12h 12",
		"exponential 5 4 12h 12", "exponential 5s 0.9 12h 12",
		"exponential 5s 100.1 12h 12", "exponential 5s -2 12h 12",
		"exponential 5s 1e1 12h 12", "exponential 5s . 12h 12",
		"exponential 5s 1.2.3 12h 12", "exponential 5s nan 12h 12",
		"exponential 5s 4 8d 12", "exponential 5s 4 12h 0", "exponential 5s 4 12h 2.5",
		"exponential 5s 4 12h x"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_mistake_in_an_exponential_is_explained_as_one(void **state)
{
	struct retry_schedule schedule;
	const char *expected;

	(void)state;
	retry_schedule_parse("exponential 5s", &schedule, &expected);
	assert_non_null(strstr(expected, "exponential BASE FACTOR CAP ATTEMPTS"));
	retry_schedule_parse("5x", &schedule, &expected);
	assert_non_null(strstr(expected, "50 waits"));
}

/* ---- Writing ---- */

static void test_schedule_is_written_as_a_list(void **state)
{
	static const uint32_t waits_s[] = {5, 120, 5400, 604800};
	char text[1024];

	(void)state;
	retry_schedule_format(waits_s, N(waits_s), text, sizeof(text));
	assert_string_equal(text, "5s 2m 1h30m 7d");
	retry_schedule_format(NULL, 0, text, sizeof(text));
	assert_string_equal(text, "none");
}

static void test_longest_schedule_reads_back_the_same(void **state)
{
	uint32_t waits_s[RETRY_WAITS_MAX];
	char text[1024];

	(void)state;
	for (unsigned i = 0; i < RETRY_WAITS_MAX; i++)
		waits_s[i] = 604799 - i; /* 6d23h59m59s ... */
	retry_schedule_format(waits_s, RETRY_WAITS_MAX, text, sizeof(text));
	assert_waits(text, waits_s, RETRY_WAITS_MAX);
}

static void test_schedule_without_room_is_cut_off(void **state)
{
	static const uint32_t waits_s[] = {5, 30, 120};
	char text[6];

	(void)state;
	retry_schedule_format(waits_s, N(waits_s), text, sizeof(text));
	assert_string_equal(text, "5s 30");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_is_taken_as_it_is),
		cmocka_unit_test(test_none_is_a_single_attempt),
		cmocka_unit_test(test_waits_of_a_list_may_fall),
		cmocka_unit_test(test_waits_are_from_a_second_to_a_week),
		cmocka_unit_test(test_list_ends_at_50_waits),
		cmocka_unit_test(test_text_that_is_no_schedule_is_refused),
		cmocka_unit_test(test_text_of_any_length_is_refused_in_peace),
		cmocka_unit_test(test_exponential_grows_by_its_factor_up_to_its_cap),
		cmocka_unit_test(test_exponential_rounds_to_whole_seconds),
		cmocka_unit_test(test_exponential_with_factor_one_is_a_steady_wait),
		cmocka_unit_test(test_exponential_with_base_above_its_cap_waits_the_cap),
		cmocka_unit_test(test_exponential_of_one_attempt_has_no_wait),
		cmocka_unit_test(test_exponential_ends_at_51_attempts),
		cmocka_unit_test(test_exponential_with_wrong_parts_is_refused),
		cmocka_unit_test(test_mistake_in_an_exponential_is_explained_as_one),
		cmocka_unit_test(test_schedule_is_written_as_a_list),
		cmocka_unit_test(test_longest_schedule_reads_back_the_same),
		cmocka_unit_test(test_schedule_without_room_is_cut_off),
	};

	return cmocka_run_group_tests_name("retry_schedule", tests, NULL, NULL);
}
