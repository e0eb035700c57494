/*
 * What is counted over all endpoints, and the store's numbers: for status and metrics. Internal to
 * api.
 */
#pragma once

#include "request.h"

#define WORST_MAX 10

struct totals {
	uint64_t deliveries[N_DELIVERY_STATES]; /* by state */
	int64_t oldest_pending_ms; /* 0: nothing pending */
	unsigned endpoints;
	unsigned by_health[3]; /* enum health */
	unsigned paused_by[3]; /* enum pause_origin */
	unsigned locked; /* without a secret: what was sealed cannot be opened */
	struct slot *first_locked;
	unsigned with_old_key; /* records that the previous master key sealed; removed ones, too */
	struct slot *worst[WORST_MAX]; /* failing or paused, most pending first */
	size_t n_worst;
};

struct totals totals_of(struct registry *registry);

/* Asks the store for its numbers and calls answer with them, or answers that there are none. */
void with_stats(struct request *request,
	void (*answer)(struct request *request, const struct engine_stats *stats));
