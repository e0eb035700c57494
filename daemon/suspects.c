#include "suspects.h"

#include <search.h>
#include <stdlib.h>

#define DEATHS_TO_SUSPECT 2
#define SUSPECTS_MAX 65536
#define ONE_DEATH_US 1000000

struct suspect {
	struct delivery_ref ref;
	unsigned deaths;
	int64_t counted_us; /* the last one */
};

static int compare(const void *a, const void *b)
{
	const struct delivery_ref *x = &((const struct suspect *)a)->ref;
	const struct delivery_ref *y = &((const struct suspect *)b)->ref;
	int order = event_id_compare(&x->event, &y->event);

	if (order)
		return order;
	return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static struct suspect *find(const struct suspects *suspects, const struct delivery *delivery)
{
	struct suspect key = {.ref = {delivery->event, delivery->endpoint}};
	void *found = tfind(&key, &suspects->tree, compare);

	return found ? *(struct suspect **)found : NULL;
}

static void forget_all(struct suspects *suspects)
{
	tdestroy(suspects->tree, free);
	suspects->tree = NULL;
	suspects->n = 0;
}

void suspects_add(struct suspects *suspects, const struct delivery *delivery, int64_t monotonic_us)
{
	struct suspect *suspect = find(suspects, delivery);

	if (suspect && monotonic_us - suspect->counted_us < ONE_DEATH_US)
		return;
	if (suspect) {
		suspect->deaths++;
		suspect->counted_us = monotonic_us;
		return;
	}
	/* Those that were purged meanwhile are never cleared. */
	if (suspects->n >= SUSPECTS_MAX)
		forget_all(suspects);
	suspect = calloc(1, sizeof(*suspect));
	if (!suspect)
		return;
	*suspect = (struct suspect){{delivery->event, delivery->endpoint}, 1, monotonic_us};
	if (tsearch(suspect, &suspects->tree, compare))
		suspects->n++;
	else
		free(suspect);
}

bool suspects_has(const struct suspects *suspects, const struct delivery *delivery)
{
	const struct suspect *suspect = find(suspects, delivery);

	return suspect && suspect->deaths >= DEATHS_TO_SUSPECT;
}

void suspects_clear(struct suspects *suspects, const struct delivery *delivery)
{
	struct suspect *suspect = find(suspects, delivery);

	if (!suspect)
		return;
	tdelete(suspect, &suspects->tree, compare);
	free(suspect);
	suspects->n--;
}

void suspects_hold(struct suspects *suspects, struct claimed *claimed)
{
	struct claimed **end = &suspects->held;

	while (*end)
		end = &(*end)->next;
	*end = claimed;
}

static struct claimed *take(struct claimed **at)
{
	struct claimed *claimed = *at;

	if (claimed) {
		*at = claimed->next;
		claimed->next = NULL;
	}
	return claimed;
}

struct claimed *suspects_next(struct suspects *suspects)
{
	return take(&suspects->held);
}

struct claimed *suspects_next_of(struct suspects *suspects, uint32_t endpoint)
{
	struct claimed **at = &suspects->held;

	while (*at && (*at)->delivery.endpoint != endpoint)
		at = &(*at)->next;
	return take(at);
}

void suspects_free(struct suspects *suspects)
{
	struct claimed *claimed;

	while ((claimed = suspects_next(suspects)))
		claimed_free(claimed);
	forget_all(suspects);
}
