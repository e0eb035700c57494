/*
 * Durations and sizes as people write them: "90s", "1h30m", "10G".
 *
 * Pure. Used by hookd.conf and hookctl; the API itself takes plain integers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Durations stay under 100 years and sizes under 2^60, so that sums cannot overflow. */
#define UNITS_DURATION_MAX_S ((int64_t)3155760000)
#define UNITS_SIZE_MAX ((int64_t)1 << 60)

/* "5s", "30m", "2h", "3d", "1w", "1h30m", each unit at most once and the larger first; "0" is
 * nought. Returns 0, or -EINVAL (not a duration) or -ERANGE. */
int units_parse_duration(const char *text, int64_t *seconds);

/* "4096", "64K", "1M", "10G", "1T" in powers of 1024. Returns 0, -EINVAL or -ERANGE. */
int units_parse_size(const char *text, int64_t *bytes);

#define UNITS_TEXT_SIZE 48

/* The exact opposites: what they write parses to the same number. */
void units_format_duration(int64_t seconds, char text[static UNITS_TEXT_SIZE]);
void units_format_size(int64_t bytes, char text[static UNITS_TEXT_SIZE]);

/* For reading, not for parsing: at most the two largest units, "41s", "1h 14m", "2d 19h", "3d". */
void units_describe_span(int64_t milliseconds, char text[static UNITS_TEXT_SIZE]);
