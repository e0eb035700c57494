#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/timestamp.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define LAST_MS ((int64_t)253402300799999) /* 9999-12-31T23:59:59.999Z */

struct reading {
	const char *text;
	int64_t ms;
};

static void assert_read(const struct reading *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t ms = -1;

		if (timestamp_parse(cases[i].text, strlen(cases[i].text), &ms) != 0 ||
			ms != cases[i].ms)
			fail_msg("\"%s\" is read as %lld", cases[i].text, (long long)ms);
	}
}

static void assert_refused(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t ms;

		if (timestamp_parse(texts[i], strlen(texts[i]), &ms) != -EINVAL)
			fail_msg("\"%s\" is not refused", texts[i]);
	}
}

/* ---- Writing ---- */

static void test_format_is_utc_with_milliseconds(void **state)
{
	static const struct reading cases[] = {{"1970-01-01T00:00:00.000Z", 0},
		{"2026-11-22T01:58:12.402Z", 1795312692402},
		{"2024-02-29T23:59:59.001Z", 1709251199001}, {"9999-12-31T23:59:59.999Z", LAST_MS}};
	char text[TIMESTAMP_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		timestamp_format(cases[i].ms, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_format_of_times_out_of_range_is_the_nearest_within(void **state)
{
	char text[TIMESTAMP_TEXT_SIZE];

	(void)state;
	timestamp_format(-1, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	timestamp_format(INT64_MIN, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	timestamp_format(LAST_MS + 1, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999Z");
	timestamp_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void test_what_was_written_reads_back_the_same(void **state)
{
	(void)state;
	for (int64_t ms = 0; ms <= LAST_MS; ms += 86399999777 / 7) { /* all hours, all seasons */
		char text[TIMESTAMP_TEXT_SIZE];
		const struct reading same = {text, ms};

		timestamp_format(ms, text);
		assert_read(&same, 1);
	}
}

/* ---- Reading ---- */

static void test_offset_is_taken_off(void **state)
{
	static const struct reading cases[] = {{"2026-11-22T03:58:12+02:00", 1795312692000},
		{"2026-11-21T20:28:12-05:30", 1795312692000},
		{"2026-11-22T01:58:12-00:00", 1795312692000},
		{"2026-11-23T01:57:12+23:59", 1795312692000}};

	(void)state;
	assert_read(cases, N(cases));
}

static void test_fraction_is_cut_to_milliseconds(void **state)
{
	static const struct reading cases[] = {{"2026-11-22T01:58:12.4Z", 1795312692400},
		{"2026-11-22T01:58:12.40Z", 1795312692400},
		{"2026-11-22T01:58:12.402Z", 1795312692402},
		{"2026-11-22T01:58:12.4029Z", 1795312692402},
		{"2026-11-22T01:58:12.402999999Z", 1795312692402},
		{"2026-11-22T01:58:12.000000001Z", 1795312692000}};

	(void)state;
	assert_read(cases, N(cases));
}

static void test_small_letters_are_fine(void **state)
{
	static const struct reading cases[] = {{"2026-11-22t01:58:12z", 1795312692000}};

	(void)state;
	assert_read(cases, N(cases));
}

static void test_leap_second_is_read_as_the_one_before(void **state)
{
	static const struct reading cases[] = {
		{"2016-12-31T23:59:60Z", 1483228799000}, {"2016-12-31T23:59:60.5Z", 1483228799500}};

	(void)state;
	assert_read(cases, N(cases));
}

static void test_leap_days_are_those_of_the_calendar(void **state)
{
	static const struct reading real[] = {
		{"2024-02-29T00:00:00Z", 1709164800000}, {"2000-02-29T00:00:00Z", 951782400000}};
	static const char *const unreal[] = {
		"2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2024-02-30T00:00:00Z"};

	(void)state;
	assert_read(real, N(real));
	assert_refused(unreal, N(unreal));
}

static void test_fields_out_of_range_are_refused(void **state)
{
	static const char *const texts[] = {"2026-00-22T01:58:12Z", "2026-13-22T01:58:12Z",
		"2026-11-00T01:58:12Z", "2026-11-31T01:58:12Z", "2026-12-32T01:58:12Z",
		"2026-11-22T24:00:00Z", "2026-11-22T01:60:12Z", "2026-11-22T01:58:61Z",
		"2026-11-22T01:58:12+24:00", "2026-11-22T01:58:12+00:60"};

	(void)state;
	assert_refused(texts, N(texts));
}

static void test_other_forms_are_refused(void **state)
{
	static const char *const texts[] = {"", "2026-11-22", "2026-11-22T01:58Z",
		"2026-11-22 01:58:12Z", "2026-11-22T01:58:12", "2026-11-22T01:58:12.Z",
		"2026-11-22T01:58:12,4Z", "2026-11-22T01:58:12.0000000001Z",
		"2026-11-22T01:58:12+0200", "2026-11-22T01:58:12+02", "2026-11-22T01:58:12ZZ",
		"2026-11-22T01:58:12Z ", " 2026-11-22T01:58:12Z", "26-11-22T01:58:12Z",
		"+2026-11-22T01:58:12Z", "2026-1-22T01:58:12Z", "20261122T015812Z",
		"2026-11-22T-1:58:12Z", "1795312692"};

	(void)state;
	assert_refused(texts, N(texts));
}

static void test_times_before_1970_and_after_9999_are_refused(void **state)
{
	static const char *const texts[] = {"1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01",
		"9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z"};

	(void)state;
	assert_refused(texts, N(texts));
}

static void test_only_the_given_length_is_read(void **state)
{
	static const char whole[] = "2026-11-22T01:58:12.402Z";

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *text = malloc(len ? len : 1); /* so that the sanitizer sees a byte too many */
		int64_t ms;

		memcpy(text, whole, len);
		assert_int_equal(timestamp_parse(text, len, &ms), -EINVAL);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format_is_utc_with_milliseconds),
		cmocka_unit_test(test_format_of_times_out_of_range_is_the_nearest_within),
		cmocka_unit_test(test_what_was_written_reads_back_the_same),
		cmocka_unit_test(test_offset_is_taken_off),
		cmocka_unit_test(test_fraction_is_cut_to_milliseconds),
		cmocka_unit_test(test_small_letters_are_fine),
		cmocka_unit_test(test_leap_second_is_read_as_the_one_before),
		cmocka_unit_test(test_leap_days_are_those_of_the_calendar),
		cmocka_unit_test(test_fields_out_of_range_are_refused),
		cmocka_unit_test(test_other_forms_are_refused),
		cmocka_unit_test(test_times_before_1970_and_after_9999_are_refused),
		cmocka_unit_test(test_only_the_given_length_is_read),
	};

	return cmocka_run_group_tests_name("timestamp", tests, NULL, NULL);
}
