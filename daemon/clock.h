/*
 * The two clocks of hookd.
 *
 * Queue time decides when things are due, how old they are and when they may be forgotten. It
 * starts at the later of the wall clock and the last queue time that the store remembers, and then
 * advances with CLOCK_BOOTTIME: it never goes back, stands still only while hookd is stopped, and
 * steps of the wall clock do not touch it. The wall clock is what people, producers and signatures
 * mean.
 *
 * All times in the store are queue time unless their name says wall. Times are shown to people
 * through clock_to_wall(). Both differ only after the wall clock was stepped while hookd runs.
 *
 * clock_queue_ms() and clock_wall_ms() may be called from any thread after clock_start(); the
 * conversions are for the main thread.
 */
#pragma once

#include <stdint.h>

/* Where time comes from: the kernel, or a simulation. */
struct clock_source {
	int64_t (*boot_ms)(void *user);
	int64_t (*wall_ms)(void *user);
	void *user;
};

struct clock {
	struct clock_source source;
	int64_t offset_ms; /* queue time = offset + boot time */
	int64_t skew_ms; /* wall clock - queue time, as last used for a conversion */
};

extern const struct clock_source clock_kernel;

/* last_queue_ms: the latest queue time that the store has seen, 0 for a new one. */
void clock_start(struct clock *clock, const struct clock_source *source, int64_t last_queue_ms);

int64_t clock_queue_ms(const struct clock *clock);
int64_t clock_wall_ms(const struct clock *clock);

/* Between the two. A fact of the past keeps its shown time while the wall clock only drifts. */
int64_t clock_to_wall(struct clock *clock, int64_t queue_ms);
int64_t clock_to_queue(struct clock *clock, int64_t wall_ms);

/* For durations: microseconds since some point, unaffected by anything. */
int64_t clock_monotonic_us(void);
