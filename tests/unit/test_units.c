#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/units.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

struct reading {
	const char *text;
	int64_t value;
};

static void assert_durations(const struct reading *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t seconds = -1;

		if (units_parse_duration(cases[i].text, &seconds) != 0 || seconds != cases[i].value)
			fail_msg("\"%s\" is read as %lld", cases[i].text, (long long)seconds);
	}
}

static void assert_durations_refused(const char *const *texts, size_t n, int error)
{
	for (size_t i = 0; i < n; i++) {
		int64_t seconds;

		if (units_parse_duration(texts[i], &seconds) != error)
			fail_msg("\"%s\" is not refused as it should", texts[i]);
	}
}

static void assert_sizes(const struct reading *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t bytes = -1;

		if (units_parse_size(cases[i].text, &bytes) != 0 || bytes != cases[i].value)
			fail_msg("\"%s\" is read as %lld", cases[i].text, (long long)bytes);
	}
}

static void assert_sizes_refused(const char *const *texts, size_t n, int error)
{
	for (size_t i = 0; i < n; i++) {
		int64_t bytes;

		if (units_parse_size(texts[i], &bytes) != error)
			fail_msg("\"%s\" is not refused as it should", texts[i]);
	}
}

/* ---- Durations ---- */

static void test_duration_in_each_unit(void **state)
{
	static const struct reading cases[] = {
		{"5s", 5}, {"30m", 1800}, {"2h", 7200}, {"3d", 259200}, {"1w", 604800}};

	(void)state;
	assert_durations(cases, N(cases));
}

static void test_duration_is_the_sum_of_its_units(void **state)
{
	static const struct reading cases[] = {
		{"1h30m", 5400}, {"1w2d3h4m5s", 788645}, {"1d1s", 86401}, {"0h90m", 5400}};

	(void)state;
	assert_durations(cases, N(cases));
}

static void test_duration_of_nothing_needs_no_unit(void **state)
{
	static const struct reading cases[] = {{"0", 0}, {"0s", 0}, {"0h0m", 0}};

	(void)state;
	assert_durations(cases, N(cases));
}

static void test_duration_without_unit_is_refused(void **state)
{
	static const char *const texts[] = {"5", "1h30", "00"};

	(void)state;
	assert_durations_refused(texts, N(texts), -EINVAL);
}

static void test_duration_with_units_out_of_order_is_refused(void **state)
{
	static const char *const texts[] = {"30m1h", "1h1h", "5s1d", "1d1w"};

	(void)state;
	assert_durations_refused(texts, N(texts), -EINVAL);
}

static void test_duration_that_is_none_is_refused(void **state)
{
	static const char *const texts[] = {
		"", "s", " 5s", "5s ", "5 s", "-5s", "+5s", "1.5h", "5S", "5x", "5s!", "none"};

	(void)state;
	assert_durations_refused(texts, N(texts), -EINVAL);
}

static void test_duration_ends_at_100_years(void **state)
{
	static const struct reading longest[] = {{"3155760000s", UNITS_DURATION_MAX_S}};
	static const char *const beyond[] = {
		"3155760001s", "36525d1s", "5218w", "3155760000w", "99999999999999999999999s"};

	(void)state;
	assert_durations(longest, N(longest));
	assert_durations_refused(beyond, N(beyond), -ERANGE);
}

static void test_duration_is_written_in_days_to_seconds(void **state)
{
	static const struct reading cases[] = {{"0s", 0}, {"59s", 59}, {"1m", 60}, {"1h30m", 5400},
		{"7d", 604800}, {"1d1s", 86401}, {"36525d", UNITS_DURATION_MAX_S}};
	char text[UNITS_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		units_format_duration(cases[i].value, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_duration_that_was_written_reads_back_the_same(void **state)
{
	(void)state;
	for (int64_t seconds = 0; seconds <= UNITS_DURATION_MAX_S;
		seconds += 1 + seconds / 1000 * 7) {
		char text[UNITS_TEXT_SIZE];
		const struct reading same = {text, seconds};

		units_format_duration(seconds, text);
		assert_durations(&same, 1);
	}
}

/* ---- Sizes ---- */

static void test_size_is_counted_in_powers_of_1024(void **state)
{
	static const struct reading cases[] = {{"0", 0}, {"4096", 4096}, {"64K", 65536},
		{"1M", 1048576}, {"10G", (int64_t)10 << 30}, {"1T", (int64_t)1 << 40}};

	(void)state;
	assert_sizes(cases, N(cases));
}

static void test_size_that_is_none_is_refused(void **state)
{
	static const char *const texts[] = {
		"", "K", "1k", "1KB", "1KK", "1 K", " 1K", "1K ", "-1", "+1", "1.5G", "0x10", "1P"};

	(void)state;
	assert_sizes_refused(texts, N(texts), -EINVAL);
}

static void test_size_ends_at_two_to_the_60(void **state)
{
	static const struct reading largest[] = {
		{"1152921504606846976", UNITS_SIZE_MAX}, {"1048576T", UNITS_SIZE_MAX}};
	static const char *const beyond[] = {"1152921504606846977", "1048577T", "1125899906842625K",
		"9223372036854775808", "18446744073709551616", "99999999999999999999999"};

	(void)state;
	assert_sizes(largest, N(largest));
	assert_sizes_refused(beyond, N(beyond), -ERANGE);
}

static void test_size_is_written_in_the_largest_unit_that_fits(void **state)
{
	static const struct reading cases[] = {{"0", 0}, {"1023", 1023}, {"1K", 1024},
		{"1025", 1025}, {"1536K", 1536 << 10}, {"10G", (int64_t)10 << 30},
		{"1048576T", UNITS_SIZE_MAX}};
	char text[UNITS_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		units_format_size(cases[i].value, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_size_that_was_written_reads_back_the_same(void **state)
{
	(void)state;
	for (int64_t bytes = 0; bytes <= UNITS_SIZE_MAX; bytes += 1 + bytes / 64 * 5) {
		char text[UNITS_TEXT_SIZE];
		const struct reading same = {text, bytes};

		units_format_size(bytes, text);
		assert_sizes(&same, 1);
	}
}

/* ---- Spans, for reading ---- */

static void test_span_shows_its_two_largest_units(void **state)
{
	static const struct reading cases[] = {{"0s", 999}, {"1s", 1000}, {"59s", 59999},
		{"1m", 60000}, {"59m", 3599999}, {"1h", 3600000}, {"1h", 3659999},
		{"1h 1m", 3660000}, {"23h 59m", 86399999}, {"1d", 86400000}, {"1d", 89999999},
		{"1d 1h", 90000000}, {"2d 19h", 241200000}, {"3d", 259200000}};
	char text[UNITS_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		units_describe_span(cases[i].value, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_span_below_zero_is_shown_as_none(void **state)
{
	char text[UNITS_TEXT_SIZE];

	(void)state;
	units_describe_span(-5000, text);
	assert_string_equal(text, "0s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration_in_each_unit),
		cmocka_unit_test(test_duration_is_the_sum_of_its_units),
		cmocka_unit_test(test_duration_of_nothing_needs_no_unit),
		cmocka_unit_test(test_duration_without_unit_is_refused),
		cmocka_unit_test(test_duration_with_units_out_of_order_is_refused),
		cmocka_unit_test(test_duration_that_is_none_is_refused),
		cmocka_unit_test(test_duration_ends_at_100_years),
		cmocka_unit_test(test_duration_is_written_in_days_to_seconds),
		cmocka_unit_test(test_duration_that_was_written_reads_back_the_same),
		cmocka_unit_test(test_size_is_counted_in_powers_of_1024),
		cmocka_unit_test(test_size_that_is_none_is_refused),
		cmocka_unit_test(test_size_ends_at_two_to_the_60),
		cmocka_unit_test(test_size_is_written_in_the_largest_unit_that_fits),
		cmocka_unit_test(test_size_that_was_written_reads_back_the_same),
		cmocka_unit_test(test_span_shows_its_two_largest_units),
		cmocka_unit_test(test_span_below_zero_is_shown_as_none),
	};

	return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
