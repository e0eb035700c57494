/*
 * What follows an attempt: the table of answers, the back-off, Retry-After.
 *
 * Pure: time and random numbers are handed in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "delivery.h"

struct retry_policy {
	const uint32_t *waits_s; /* between attempts; n waits make n + 1 attempts */
	unsigned n;
	int64_t max_age_s; /* no attempt beyond this age; 0: any age */
	int64_t retry_after_max_s; /* how long a receiver may put us off */
};

struct retry_verdict {
	enum outcome_kind kind; /* OUTCOME_DELIVERED, OUTCOME_RETRY or OUTCOME_DEAD */
	enum dead_reason reason;
	int64_t due_ms; /* for OUTCOME_RETRY */
	bool gone; /* 410: the receiver wants no more of this endpoint's events */
	int64_t endpoint_not_before_ms; /* 429 or 503 with Retry-After: nothing to the endpoint
					   until then; or 0 */
};

/*
 * Judges an attempt that was made. attempts: how many were made before it since the start or the
 * last replay. random: 32 fresh random bits for the jitter.
 */
struct retry_verdict retry_judge(const struct retry_policy *policy, unsigned attempts,
	int64_t aged_from_ms, const struct attempt *attempt, int64_t now_ms, uint32_t random);

/* Until when an answer that came at answered_ms stops its whole endpoint (429 or 503 with
 * Retry-After); 0: it does not. */
int64_t retry_endpoint_not_before_ms(
	const struct attempt *attempt, int64_t retry_after_max_s, int64_t answered_ms);

/* The wait after the n-th local fault in a row (from 0): 1 s doubling to 60 s. Costs no attempt. */
int64_t retry_local_wait_ms(unsigned faults);

/*
 * The value of a Retry-After header (RFC 9110 section 10.2.3): seconds, or a date in one of the
 * three forms of section 5.6.7, in seconds from now (0 for the past). Huge numbers are cut at a
 * year. Returns -1 for anything else.
 */
int32_t retry_after_parse(const char *text, int64_t wall_ms);
