/*
 * One moment at which to wake, on CLOCK_BOOTTIME: that goes on while the machine sleeps, which the
 * timers of libevent do not know.
 *
 * Main thread.
 */
#pragma once

#include <stdint.h>

#define WAKE_NEVER INT64_MAX

struct event_base;
struct wake_timer;

/* Returns NULL without memory or descriptors. */
struct wake_timer *wake_timer_new(struct event_base *base, void (*wake)(void *user), void *user);
void wake_timer_free(struct wake_timer *timer); /* NULL is fine */

/* Instead of what was set before. A moment that is over is now. */
void wake_timer_set(struct wake_timer *timer, int64_t boot_ms);
