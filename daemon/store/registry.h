/*
 * All endpoints, in memory: their settings, what is counted of them, and who subscribes to what.
 *
 * Owned by the main thread alone. The store keeps it in step with what was committed; schedule and
 * dispatch hang their own state on a slot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../endpoint.h"
#include "engine.h"

struct lane; /* of schedule: what is going on with an endpoint */
struct edits; /* of store: changes to an endpoint that wait for the one before */

/* One endpoint. Compact: there may be hundreds of thousands. */
struct slot {
	struct endpoint *settings;
	struct lane *lane; /* NULL while nothing is owed */
	struct edits *edits; /* NULL while nobody changes it */
	bool old_key; /* its secrets are sealed with the previous master key */
	uint64_t deliveries[N_DELIVERY_STATES];
	int64_t oldest_pending_ms; /* 0: nothing pending */
	int64_t health_since_ms;
	enum health health;
	uint32_t failures; /* in a row */
	struct attempt last;
	char *message; /* of the last attempt, unless it was a success */
};

struct registry;

struct registry *registry_new(void);
void registry_free(struct registry *registry);

/* Takes over the reference; replaces the settings of the same number or adds the endpoint. NULL
 * without memory (the reference is released). */
struct slot *registry_put(struct registry *registry, struct endpoint *endpoint);

/* Takes over what a batch counted. */
void registry_update(struct slot *slot, const struct touched *touched);

/* A removed endpoint to which nothing refers any more. */
void registry_forget(struct registry *registry, uint32_t number);

struct slot *registry_find(
	const struct registry *registry, const char *tenant, const char *name); /* not removed */
struct slot *registry_at(const struct registry *registry, uint32_t number); /* removed ones too */

/* How many endpoints a tenant has. */
size_t registry_count(const struct registry *registry, const char *tenant);
size_t registry_total(const struct registry *registry);

/* The endpoints of a tenant that take a type, appended to numbers, which has room for
 * registry_count(). */
size_t registry_targets(
	const struct registry *registry, const char *tenant, const char *type, uint32_t *numbers);

/*
 * The numbers of endpoints, removed ones too, sorted: of a tenant (NULL: any), of a name (NULL:
 * any). In a new array for free(); NULL without memory.
 */
uint32_t *registry_numbers(
	const struct registry *registry, const char *tenant, const char *name, size_t *n);

/* The next slot by number, beginning with number 0: for (slot = next(r, 0); slot; slot = next(r, n
 * + 1)). */
struct slot *registry_next(const struct registry *registry, uint32_t number);
/* The other way round: the slot at the number or the one before. */
struct slot *registry_previous(const struct registry *registry, uint32_t number);
