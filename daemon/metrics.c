#include "metrics.h"

#include <string.h>

#define SLICE_MS 10000

static const double duration_bounds[] = {
	0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
static const double lateness_bounds[] = {0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600};
static const double commit_bounds[] = {
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5};
static const double request_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};

#define BOUNDS(array) \
	{ \
		.bounds = (array), .n_bounds = sizeof(array) / sizeof((array)[0]) \
	}

void metrics_init(struct metrics *metrics)
{
	memset(metrics, 0, sizeof(*metrics));
	metrics->attempt_duration = (struct histogram)BOUNDS(duration_bounds);
	metrics->attempt_lateness = (struct histogram)BOUNDS(lateness_bounds);
	metrics->commit_duration = (struct histogram)BOUNDS(commit_bounds);
	metrics->commit_requests = (struct histogram)BOUNDS(request_bounds);
}

void histogram_add(struct histogram *h, double value)
{
	unsigned i = 0;

	while (i < h->n_bounds && value > h->bounds[i])
		i++;
	h->counts[i]++;
	h->sum += value;
}

/* Empties the slices between the newest and now. */
static void advance(struct recent *recent, int64_t now_ms)
{
	int64_t slice = now_ms / SLICE_MS;

	if (slice - recent->newest >= RECENT_SLICES)
		memset(recent->slices, 0, sizeof(recent->slices));
	else
		for (int64_t i = recent->newest + 1; i <= slice; i++)
			recent->slices[i % RECENT_SLICES] = 0;
	if (slice > recent->newest)
		recent->newest = slice;
}

void recent_add(struct recent *recent, int64_t now_ms, uint64_t n)
{
	advance(recent, now_ms);
	recent->slices[recent->newest % RECENT_SLICES] += n;
}

uint64_t recent_sum(struct recent *recent, int64_t now_ms)
{
	uint64_t sum = 0;

	advance(recent, now_ms);
	for (int i = 0; i < RECENT_SLICES; i++)
		sum += recent->slices[i];
	return sum;
}

void metrics_attempt(struct metrics *metrics, const struct attempt *attempt, int64_t now_ms)
{
	unsigned class = attempt->http_status / 100;

	metrics->attempts[attempt->result][class < 6 ? class : 0]++;
	histogram_add(&metrics->attempt_duration, attempt->duration_ms / 1000.0);
	recent_add(&metrics->recent_attempts, now_ms, 1);
	if (attempt->result == RESULT_OK)
		recent_add(&metrics->recent_ok, now_ms, 1);
}
