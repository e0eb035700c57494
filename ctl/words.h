/*
 * Times, spans, sizes and states as people read and write them.
 *
 * Times are local, or UTC with --utc. Ages refer to when the command began.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/units.h"
#include "ctl.h"

#define WORDS_SIZE 64

/* "2026-11-22 01:58:12" */
void words_time(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE]);
/* "01:58:12", on another day than base_ms with the date. */
void words_clock(const struct ctl *ctl, int64_t ms, int64_t base_ms, char text[static WORDS_SIZE]);
/* How long ago: "1h 14m". */
void words_since(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE]);
/* "in 1h 28m", "now" */
void words_until(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE]);
/* "96 bytes", "1.2 GiB" */
void words_size(int64_t bytes, char text[static WORDS_SIZE]);
/* "1.2 of 10 GiB", "12 MiB of 10 GiB" */
void words_share(int64_t bytes, int64_t of, char text[static WORDS_SIZE]);
/* "41/s", "0.3/s": n in so many seconds */
void words_rate(double n, double seconds, char text[static WORDS_SIZE]);

/* "acme/billing"; in the default tenant "billing". Of a delivery (member "endpoint") or an endpoint
 * (member "name"). */
#define WORDS_ADDRESS_SIZE 160
void words_address(const json_t *object, const char *member, char text[static WORDS_ADDRESS_SIZE]);

/* When an attempt's answer came or its failure was seen. */
int64_t attempt_ended(const json_t *attempt);

/*
 * A time as people give it: RFC 3339, or "2026-11-22", "2026-11-22 01:58", "2026-11-22 01:58:12",
 * or "01:58", the last one for direction -1 and the next one for 1, or a duration: ago for
 * direction -1, from now on for 1. name: of the option. Returns 0 or EXIT_USAGE.
 */
int parse_moment(
	const struct ctl *ctl, const char *name, const char *text, int direction, int64_t *ms);
