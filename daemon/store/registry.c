/* tsearch(3) holds the tenants, an array sorted by name the endpoints of each, another one all by
 * number. */
#include "registry.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct tenant {
	const char *name;
	struct slot **slots; /* sorted by name, not removed */
	size_t n;
};

struct registry {
	void *tenants; /* tsearch tree of struct tenant */
	struct slot **by_number;
	size_t size; /* of by_number */
	size_t total;
};

static int compare_tenants(const void *a, const void *b)
{
	return strcmp(((const struct tenant *)a)->name, ((const struct tenant *)b)->name);
}

static struct tenant *find_tenant(const struct registry *registry, const char *name)
{
	struct tenant key = {.name = name};
	void *found = tfind(&key, &registry->tenants, compare_tenants);

	return found ? *(struct tenant **)found : NULL;
}

static struct tenant *add_tenant(struct registry *registry, const char *name)
{
	struct tenant *tenant = find_tenant(registry, name);

	if (tenant)
		return tenant;
	tenant = calloc(1, sizeof(*tenant) + strlen(name) + 1);
	if (!tenant)
		return NULL;
	tenant->name = memcpy(tenant + 1, name, strlen(name) + 1);
	if (!tsearch(tenant, &registry->tenants, compare_tenants)) {
		free(tenant);
		return NULL;
	}
	return tenant;
}

/* The place of a name among the tenant's endpoints, taken or not. */
static size_t place_of(const struct tenant *tenant, const char *name)
{
	size_t low = 0, high = tenant->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(tenant->slots[middle]->settings->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct tenant *tenant, size_t place, const char *name)
{
	return place < tenant->n && strcmp(tenant->slots[place]->settings->name, name) == 0;
}

static bool enlist(struct registry *registry, struct slot *slot)
{
	struct tenant *tenant = add_tenant(registry, slot->settings->tenant);
	struct slot **grown;
	size_t place;

	if (!tenant)
		return false;
	grown = realloc(tenant->slots, (tenant->n + 1) * sizeof(*grown));
	if (!grown)
		return false;
	tenant->slots = grown;
	place = place_of(tenant, slot->settings->name);
	memmove(grown + place + 1, grown + place, (tenant->n - place) * sizeof(*grown));
	grown[place] = slot;
	tenant->n++;
	registry->total++;
	return true;
}

static void delist(struct registry *registry, struct slot *slot)
{
	struct tenant *tenant = find_tenant(registry, slot->settings->tenant);
	size_t place = tenant ? place_of(tenant, slot->settings->name) : 0;

	if (!tenant || place == tenant->n || tenant->slots[place] != slot)
		return;
	tenant->n--;
	registry->total--;
	memmove(tenant->slots + place, tenant->slots + place + 1,
		(tenant->n - place) * sizeof(*tenant->slots));
	if (tenant->n == 0) {
		tdelete(tenant, &registry->tenants, compare_tenants);
		free(tenant->slots);
		free(tenant);
	}
}

static bool make_room(struct registry *registry, uint32_t number)
{
	size_t size = registry->size ? registry->size : 64;
	struct slot **grown;

	if (number < registry->size)
		return true;
	while (size <= number)
		size *= 2;
	grown = realloc(registry->by_number, size * sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + registry->size, 0, (size - registry->size) * sizeof(*grown));
	registry->by_number = grown;
	registry->size = size;
	return true;
}

struct registry *registry_new(void)
{
	return calloc(1, sizeof(struct registry));
}

static void free_slot(struct slot *slot)
{
	endpoint_unref(slot->settings);
	free(slot->message);
	free(slot);
}

static void free_tenant(void *tenant)
{
	free(((struct tenant *)tenant)->slots);
	free(tenant);
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	tdestroy(registry->tenants, free_tenant);
	for (size_t i = 0; i < registry->size; i++) {
		if (registry->by_number[i])
			free_slot(registry->by_number[i]);
	}
	free(registry->by_number);
	free(registry);
}

static struct slot *add_slot(struct registry *registry, struct endpoint *endpoint)
{
	struct slot *slot = make_room(registry, endpoint->number) ? calloc(1, sizeof(*slot)) : NULL;

	if (!slot) {
		endpoint_unref(endpoint);
		return NULL;
	}
	slot->settings = endpoint;
	if (!endpoint->removed && !enlist(registry, slot)) {
		free_slot(slot);
		return NULL;
	}
	registry->by_number[endpoint->number] = slot;
	return slot;
}

struct slot *registry_put(struct registry *registry, struct endpoint *endpoint)
{
	struct slot *slot = registry_at(registry, endpoint->number);

	if (!slot)
		return add_slot(registry, endpoint);
	if (endpoint->removed)
		delist(registry, slot);
	endpoint_unref(
		slot->settings); /* tenant and name never change, so the slot stays in its place */
	slot->settings = endpoint;
	return slot;
}

void registry_update(struct slot *slot, const struct touched *touched)
{
	const struct tally *tally = &touched->tally;

	memcpy(slot->deliveries, tally->deliveries, sizeof(slot->deliveries));
	slot->oldest_pending_ms = touched->oldest_pending_ms;
	slot->health = tally->health;
	slot->health_since_ms = tally->health_since_ms;
	slot->failures = tally->failures;
	slot->last = tally->last;
	free(slot->message);
	slot->message = NULL;
	if (tally->health == HEALTH_FAILING)
		slot->message =
			strndup(tally->message, tally->message_len); /* NULL only costs words */
}

void registry_forget(struct registry *registry, uint32_t number)
{
	struct slot *slot = registry_at(registry, number);

	if (!slot)
		return;
	registry->by_number[number] = NULL;
	free_slot(slot);
}

struct slot *registry_find(
	const struct registry *registry, const char *tenant_name, const char *name)
{
	const struct tenant *tenant = find_tenant(registry, tenant_name);
	size_t place;

	if (!tenant)
		return NULL;
	place = place_of(tenant, name);
	return is_at(tenant, place, name) ? tenant->slots[place] : NULL;
}

struct slot *registry_at(const struct registry *registry, uint32_t number)
{
	return number < registry->size ? registry->by_number[number] : NULL;
}

size_t registry_count(const struct registry *registry, const char *tenant_name)
{
	const struct tenant *tenant = find_tenant(registry, tenant_name);

	return tenant ? tenant->n : 0;
}

size_t registry_total(const struct registry *registry)
{
	return registry->total;
}

size_t registry_targets(const struct registry *registry, const char *tenant_name, const char *type,
	uint32_t *numbers)
{
	const struct tenant *tenant = find_tenant(registry, tenant_name);
	size_t n = 0;

	for (size_t i = 0; tenant && i < tenant->n; i++) {
		if (endpoint_takes(tenant->slots[i]->settings, type))
			numbers[n++] = tenant->slots[i]->settings->number;
	}
	return n;
}

uint32_t *registry_numbers(
	const struct registry *registry, const char *tenant, const char *name, size_t *n)
{
	uint32_t *numbers = NULL;
	size_t size = 0;

	*n = 0;
	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		const struct endpoint *e = slot->settings;

		if ((tenant && strcmp(e->tenant, tenant) != 0) ||
			(name && strcmp(e->name, name) != 0))
			continue;
		if (*n == size) {
			uint32_t *grown = realloc(numbers, (2 * size + 16) * sizeof(*grown));

			if (!grown) {
				free(numbers);
				return NULL;
			}
			numbers = grown;
			size = 2 * size + 16;
		}
		numbers[(*n)++] = e->number;
	}
	return numbers ? numbers : malloc(sizeof(*numbers));
}

struct slot *registry_next(const struct registry *registry, uint32_t number)
{
	for (size_t i = number; i < registry->size; i++) {
		if (registry->by_number[i])
			return registry->by_number[i];
	}
	return NULL;
}

struct slot *registry_previous(const struct registry *registry, uint32_t number)
{
	for (size_t i = number < registry->size ? (size_t)number + 1 : registry->size; i-- > 0;) {
		if (registry->by_number[i])
			return registry->by_number[i];
	}
	return NULL;
}
