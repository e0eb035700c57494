/*
 * Points in time as RFC 3339 text, to and from milliseconds since 1970-01-01 UTC.
 *
 * Pure. Leap seconds are not counted (POSIX time); a second of 60 is read as 59.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TIMESTAMP_TEXT_SIZE 32

/* "2026-11-22T01:58:12.402Z", always UTC and always with milliseconds. Years 1970 to 9999. */
void timestamp_format(int64_t ms, char text[static TIMESTAMP_TEXT_SIZE]);

/* RFC 3339 section 5.6 with any offset and up to nine digits of a second. Returns 0 or -EINVAL. */
int timestamp_parse(const char *text, size_t len, int64_t *ms);
