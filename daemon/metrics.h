/*
 * What hookd counts, and how it is written down for Prometheus (OpenMetrics 1.0).
 *
 * Owned by the main thread. There is no label for endpoints: 100 000 customers would be as many
 * series.
 */
#pragma once

#include <stdint.h>

#include "delivery.h"
#include "problem.h"

#define METRICS_ROLES 4
#define HISTOGRAM_BUCKETS_MAX 16

struct histogram {
	const double *bounds; /* upper ones; the last bucket is beyond all */
	unsigned n_bounds;
	uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
	double sum;
};

/* What happened in the last five minutes, in slices of ten seconds. */
#define RECENT_SLICES 31
struct recent {
	uint64_t slices[RECENT_SLICES];
	int64_t newest; /* the number of the newest slice */
};

struct metrics {
	uint64_t submitted[N_PROBLEM_CODES]; /* events; PROBLEM_NONE: accepted */
	uint64_t duplicates, unmatched;
	uint64_t finished[N_DELIVERY_STATES]; /* delivered, dead */
	uint64_t attempts[N_ATTEMPT_RESULTS][6]; /* by class of HTTP status, 0 without an answer */
	uint64_t damaged; /* events found damaged on disk */
	int64_t damaged_ms; /* the first of them, in queue time */
	struct recent recent_accepted, recent_attempts, recent_ok;
	struct histogram attempt_duration, attempt_lateness, commit_duration, commit_requests;
	uint64_t api_requests[METRICS_ROLES][600]; /* by HTTP status */
};

void metrics_init(struct metrics *metrics);

void histogram_add(struct histogram *histogram, double value);
void recent_add(struct recent *recent, int64_t now_ms, uint64_t n);
uint64_t recent_sum(struct recent *recent, int64_t now_ms); /* of the last five minutes */

void metrics_attempt(struct metrics *metrics, const struct attempt *attempt, int64_t now_ms);
