#include "totals.h"

#include <stdlib.h>
#include <string.h>

static void rank(struct totals *t, struct slot *slot)
{
	uint64_t pending = slot->deliveries[DELIVERY_PENDING];
	size_t at = t->n_worst;

	while (at > 0 && t->worst[at - 1]->deliveries[DELIVERY_PENDING] < pending)
		at--;
	if (at == WORST_MAX)
		return;
	if (t->n_worst < WORST_MAX)
		t->n_worst++;
	memmove(&t->worst[at + 1], &t->worst[at], (t->n_worst - at - 1) * sizeof(t->worst[0]));
	t->worst[at] = slot;
}

struct totals totals_of(struct registry *registry)
{
	struct totals t = {.oldest_pending_ms = 0};

	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		for (int state = DELIVERY_PENDING; state < N_DELIVERY_STATES; state++)
			t.deliveries[state] += slot->deliveries[state];
		if (slot->oldest_pending_ms &&
			(!t.oldest_pending_ms || slot->oldest_pending_ms < t.oldest_pending_ms))
			t.oldest_pending_ms = slot->oldest_pending_ms;
		t.with_old_key += slot->old_key;
		if (slot->settings->removed)
			continue;
		if (slot->settings->n_secrets == 0 && t.locked++ == 0)
			t.first_locked = slot;
		t.endpoints++;
		t.by_health[slot->health]++;
		t.paused_by[slot->settings->paused]++;
		if (slot->health == HEALTH_FAILING || slot->settings->paused)
			rank(&t, slot);
	}
	return t;
}

struct numbering {
	struct store_query query; /* the first member */
	struct request *request;
	void (*answer)(struct request *request, const struct engine_stats *stats);
};

static void on_stats(struct store_query *query)
{
	struct numbering *n = (struct numbering *)query;

	if (query->result == ENGINE_OK)
		n->answer(n->request, &query->answer.stats);
	else
		store_failed(n->request);
	free(n);
}

void with_stats(struct request *rq,
	void (*answer)(struct request *request, const struct engine_stats *stats))
{
	struct numbering *n = calloc(1, sizeof(*n));

	if (!n) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	n->query.kind = QUERY_STATS;
	n->query.done = on_stats;
	n->request = rq;
	n->answer = answer;
	store_ask(api_options(rq)->store, &n->query);
}
