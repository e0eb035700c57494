/*
 * Retry schedules as people write them: the waits between attempts, in seconds.
 *
 * Pure. "5s 30s 2m" or "5s,30s,2m" is the list itself; "exponential 5s 4 12h 12" is base, factor,
 * cap and attempts, and stands for the list it makes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RETRY_WAITS_MAX 50
#define RETRY_WAIT_MAX_S 604800 /* a week */

struct retry_schedule {
	unsigned n;
	uint32_t waits_s[RETRY_WAITS_MAX];
};

/* Returns 0, or -EINVAL with a sentence in *expected (constant). */
int retry_schedule_parse(const char *text, struct retry_schedule *schedule, const char **expected);

/* Writes "5s 30s 2m" back; size 1024 is enough for any. */
void retry_schedule_format(const uint32_t *waits_s, unsigned n, char *text, size_t size);
