#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../daemon/clock.h"

#define WALL_MS ((int64_t)1795312692402)
#define BOOT_MS ((int64_t)86400000)
#define HOUR_MS 3600000

/* A machine whose clocks go as the test says. */
struct machine {
	int64_t boot_ms, wall_ms;
};

static int64_t boot_ms(void *user)
{
	return ((struct machine *)user)->boot_ms;
}

static int64_t wall_ms(void *user)
{
	return ((struct machine *)user)->wall_ms;
}

static void pass(struct machine *machine, int64_t ms)
{
	machine->boot_ms += ms;
	machine->wall_ms += ms;
}

static struct clock start(struct machine *machine, int64_t last_queue_ms)
{
	const struct clock_source source = {boot_ms, wall_ms, machine};
	struct clock clock;

	*machine = (struct machine){BOOT_MS, WALL_MS};
	clock_start(&clock, &source, last_queue_ms);
	return clock;
}

/* ---- Queue time ---- */

static void test_queue_time_of_a_new_store_starts_at_the_wall_clock(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	assert_int_equal(clock_queue_ms(&clock), WALL_MS);
}

static void test_queue_time_starts_at_the_wall_clock_when_that_is_later(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, WALL_MS - HOUR_MS);

	(void)state;
	assert_int_equal(clock_queue_ms(&clock), WALL_MS);
}

static void test_queue_time_starts_where_it_ended_when_that_is_later(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, WALL_MS + HOUR_MS);

	(void)state;
	assert_int_equal(clock_queue_ms(&clock), WALL_MS + HOUR_MS);
}

static void test_queue_time_advances_with_the_machine(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	pass(&machine, 12345);
	assert_int_equal(clock_queue_ms(&clock), WALL_MS + 12345);
}

static void test_steps_of_the_wall_clock_do_not_move_queue_time(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	machine.wall_ms += 365 * (int64_t)24 * HOUR_MS;
	assert_int_equal(clock_queue_ms(&clock), WALL_MS);
	machine.wall_ms -= 730 * (int64_t)24 * HOUR_MS;
	assert_int_equal(clock_queue_ms(&clock), WALL_MS);
}

static void test_queue_time_never_goes_back_over_a_restart(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);
	int64_t last_ms;

	(void)state;
	pass(&machine, HOUR_MS);
	last_ms = clock_queue_ms(&clock);
	clock = start(&machine, last_ms); /* an hour back on the wall, and booted anew */
	assert_int_equal(clock_queue_ms(&clock), last_ms);
}

static void test_wall_clock_is_shown_as_it_is(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, WALL_MS + HOUR_MS);

	(void)state;
	machine.wall_ms = 42;
	assert_int_equal(clock_wall_ms(&clock), 42);
}

/* ---- Conversions ---- */

static void test_both_times_are_the_same_at_first(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	assert_int_equal(clock_to_wall(&clock, WALL_MS - 5), WALL_MS - 5);
	assert_int_equal(clock_to_queue(&clock, WALL_MS + 5), WALL_MS + 5);
}

static void test_conversion_knows_of_a_start_ahead_of_the_wall_clock(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, WALL_MS + HOUR_MS);

	(void)state;
	assert_int_equal(clock_to_wall(&clock, WALL_MS + HOUR_MS), WALL_MS);
	assert_int_equal(clock_to_queue(&clock, WALL_MS), WALL_MS + HOUR_MS);
}

static void test_conversion_follows_a_step_of_the_wall_clock(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	machine.wall_ms += HOUR_MS;
	assert_int_equal(clock_to_wall(&clock, WALL_MS), WALL_MS + HOUR_MS);
	assert_int_equal(clock_to_queue(&clock, WALL_MS + HOUR_MS), WALL_MS);
	machine.wall_ms -= 2 * HOUR_MS;
	assert_int_equal(clock_to_wall(&clock, WALL_MS), WALL_MS - HOUR_MS);
}

/* NTP slews the wall clock; what happened at 12:00:00.000 shall not be shown as 12:00:00.001. */
static void test_shown_time_does_not_move_while_the_wall_clock_drifts(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	for (int i = 0; i < 100; i++) {
		pass(&machine, 1000);
		machine.wall_ms++;
		assert_int_equal(clock_to_wall(&clock, WALL_MS), WALL_MS);
	}
}

static void test_drift_of_more_than_100_ms_is_made_up_for(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, 0);

	(void)state;
	machine.wall_ms += 101;
	assert_int_equal(clock_to_wall(&clock, WALL_MS), WALL_MS + 101);
	machine.wall_ms -= 202;
	assert_int_equal(clock_to_wall(&clock, WALL_MS), WALL_MS - 101);
}

static void test_conversions_there_and_back_meet(void **state)
{
	struct machine machine;
	struct clock clock = start(&machine, WALL_MS + HOUR_MS);

	(void)state;
	machine.wall_ms += 17 * HOUR_MS + 99;
	assert_int_equal(clock_to_queue(&clock, clock_to_wall(&clock, WALL_MS)), WALL_MS);
}

/* ---- The kernel's ---- */

static void test_kernel_clocks_can_be_read(void **state)
{
	struct clock clock;

	(void)state;
	clock_start(&clock, &clock_kernel, 0);
	assert_true(clock_wall_ms(&clock) > WALL_MS - 10 * 365 * (int64_t)24 * HOUR_MS);
	assert_true(clock_queue_ms(&clock) >= clock_wall_ms(&clock) - 10000);
	assert_true(clock_monotonic_us() > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue_time_of_a_new_store_starts_at_the_wall_clock),
		cmocka_unit_test(test_queue_time_starts_at_the_wall_clock_when_that_is_later),
		cmocka_unit_test(test_queue_time_starts_where_it_ended_when_that_is_later),
		cmocka_unit_test(test_queue_time_advances_with_the_machine),
		cmocka_unit_test(test_steps_of_the_wall_clock_do_not_move_queue_time),
		cmocka_unit_test(test_queue_time_never_goes_back_over_a_restart),
		cmocka_unit_test(test_wall_clock_is_shown_as_it_is),
		cmocka_unit_test(test_both_times_are_the_same_at_first),
		cmocka_unit_test(test_conversion_knows_of_a_start_ahead_of_the_wall_clock),
		cmocka_unit_test(test_conversion_follows_a_step_of_the_wall_clock),
		cmocka_unit_test(test_shown_time_does_not_move_while_the_wall_clock_drifts),
		cmocka_unit_test(test_drift_of_more_than_100_ms_is_made_up_for),
		cmocka_unit_test(test_conversions_there_and_back_meet),
		cmocka_unit_test(test_kernel_clocks_can_be_read),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
