#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../daemon/metrics.h"

#define NOW_MS ((int64_t)1795312690000) /* the start of a slice of ten seconds */
#define SLICE_MS 10000

/* ---- Histograms ---- */

static const double bounds[] = {1, 2, 5};

static void test_value_falls_into_the_first_bucket_that_holds_it(void **state)
{
	struct histogram h = {.bounds = bounds, .n_bounds = 3};

	(void)state;
	histogram_add(&h, 0);
	histogram_add(&h, 1);
	histogram_add(&h, 1.001);
	histogram_add(&h, 2);
	histogram_add(&h, 4.999);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.counts[1], 2);
	assert_int_equal(h.counts[2], 1);
	assert_int_equal(h.counts[3], 0);
}

static void test_value_beyond_all_bounds_falls_into_the_last_bucket(void **state)
{
	struct histogram h = {.bounds = bounds, .n_bounds = 3};

	(void)state;
	histogram_add(&h, 5.001);
	histogram_add(&h, 1e300);
	assert_int_equal(h.counts[3], 2);
}

static void test_histogram_knows_its_sum(void **state)
{
	struct histogram h = {.bounds = bounds, .n_bounds = 3};

	(void)state;
	histogram_add(&h, 0.5);
	histogram_add(&h, 100);
	assert_true(h.sum == 100.5);
}

static void test_bounds_of_every_histogram_grow_and_fit(void **state)
{
	struct metrics m;
	const struct histogram *histograms[] = {
		&m.attempt_duration, &m.attempt_lateness, &m.commit_duration, &m.commit_requests};

	(void)state;
	metrics_init(&m);
	for (size_t i = 0; i < sizeof(histograms) / sizeof(histograms[0]); i++) {
		const struct histogram *h = histograms[i];

		assert_in_range(h->n_bounds, 1, HISTOGRAM_BUCKETS_MAX);
		for (unsigned b = 1; b < h->n_bounds; b++)
			assert_true(h->bounds[b - 1] < h->bounds[b]);
	}
}

/* ---- The last five minutes ---- */

static void test_what_just_happened_is_recent(void **state)
{
	struct recent recent = {0};

	(void)state;
	recent_add(&recent, NOW_MS, 3);
	recent_add(&recent, NOW_MS + 1, 4);
	assert_int_equal(recent_sum(&recent, NOW_MS + 1), 7);
}

static void test_nothing_is_recent_at_first(void **state)
{
	struct recent recent = {0};

	(void)state;
	assert_int_equal(recent_sum(&recent, NOW_MS), 0);
}

static void test_what_happened_within_five_minutes_is_recent(void **state)
{
	struct recent recent = {0};

	(void)state;
	recent_add(&recent, NOW_MS, 1);
	assert_int_equal(recent_sum(&recent, NOW_MS + 300000), 1);
}

static void test_what_happened_before_is_not(void **state)
{
	struct recent recent = {0};

	(void)state;
	recent_add(&recent, NOW_MS + SLICE_MS - 1, 1);
	assert_int_equal(recent_sum(&recent, NOW_MS + 300000 + SLICE_MS), 0);
}

static void test_window_glides_slice_by_slice(void **state)
{
	struct recent recent = {0};

	(void)state;
	for (int i = 0; i < RECENT_SLICES; i++)
		recent_add(&recent, NOW_MS + i * SLICE_MS, 1);
	for (int i = 0; i < RECENT_SLICES; i++)
		assert_int_equal(recent_sum(&recent, NOW_MS + (RECENT_SLICES - 1 + i) * SLICE_MS),
			RECENT_SLICES - i);
}

static void test_long_silence_empties_the_window(void **state)
{
	struct recent recent = {0};

	(void)state;
	for (int i = 0; i < RECENT_SLICES; i++)
		recent_add(&recent, NOW_MS + i * SLICE_MS, 1);
	assert_int_equal(recent_sum(&recent, NOW_MS + 86400000), 0);
	recent_add(&recent, NOW_MS + 86400000, 5);
	assert_int_equal(recent_sum(&recent, NOW_MS + 86400000), 5);
}

static void test_time_that_stands_still_forgets_nothing(void **state)
{
	struct recent recent = {0};

	(void)state;
	recent_add(&recent, NOW_MS, 2);
	recent_add(&recent, NOW_MS, 3);
	assert_int_equal(recent_sum(&recent, NOW_MS), 5);
	assert_int_equal(recent_sum(&recent, NOW_MS), 5);
}

/* ---- Attempts ---- */

static struct metrics after(enum attempt_result result, uint16_t http_status)
{
	const struct attempt attempt = {
		.result = result, .http_status = http_status, .duration_ms = 250};
	struct metrics m;

	metrics_init(&m);
	metrics_attempt(&m, &attempt, NOW_MS);
	return m;
}

static void test_attempt_is_counted_by_result_and_class_of_status(void **state)
{
	(void)state;
	assert_int_equal(after(RESULT_OK, 204).attempts[RESULT_OK][2], 1);
	assert_int_equal(after(RESULT_STATUS, 301).attempts[RESULT_STATUS][3], 1);
	assert_int_equal(after(RESULT_STATUS, 410).attempts[RESULT_STATUS][4], 1);
	assert_int_equal(after(RESULT_STATUS, 599).attempts[RESULT_STATUS][5], 1);
	assert_int_equal(after(RESULT_TIMEOUT, 0).attempts[RESULT_TIMEOUT][0], 1);
}

static void test_status_of_no_class_is_counted_without_one(void **state)
{
	(void)state;
	assert_int_equal(after(RESULT_STATUS, 600).attempts[RESULT_STATUS][0], 1);
	assert_int_equal(after(RESULT_STATUS, UINT16_MAX).attempts[RESULT_STATUS][0], 1);
}

static void test_attempt_is_recent_and_ok_if_it_was(void **state)
{
	struct metrics ok = after(RESULT_OK, 200), failed = after(RESULT_STATUS, 500);

	(void)state;
	assert_int_equal(recent_sum(&ok.recent_attempts, NOW_MS), 1);
	assert_int_equal(recent_sum(&ok.recent_ok, NOW_MS), 1);
	assert_int_equal(recent_sum(&failed.recent_attempts, NOW_MS), 1);
	assert_int_equal(recent_sum(&failed.recent_ok, NOW_MS), 0);
}

static void test_duration_is_counted_in_seconds(void **state)
{
	struct metrics m = after(RESULT_OK, 200);

	(void)state;
	assert_true(m.attempt_duration.sum == 0.25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value_falls_into_the_first_bucket_that_holds_it),
		cmocka_unit_test(test_value_beyond_all_bounds_falls_into_the_last_bucket),
		cmocka_unit_test(test_histogram_knows_its_sum),
		cmocka_unit_test(test_bounds_of_every_histogram_grow_and_fit),
		cmocka_unit_test(test_what_just_happened_is_recent),
		cmocka_unit_test(test_nothing_is_recent_at_first),
		cmocka_unit_test(test_what_happened_within_five_minutes_is_recent),
		cmocka_unit_test(test_what_happened_before_is_not),
		cmocka_unit_test(test_window_glides_slice_by_slice),
		cmocka_unit_test(test_long_silence_empties_the_window),
		cmocka_unit_test(test_time_that_stands_still_forgets_nothing),
		cmocka_unit_test(test_attempt_is_counted_by_result_and_class_of_status),
		cmocka_unit_test(test_status_of_no_class_is_counted_without_one),
		cmocka_unit_test(test_attempt_is_recent_and_ok_if_it_was),
		cmocka_unit_test(test_duration_is_counted_in_seconds),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
