/*
 * Deliveries that were in flight when a sender died. One of them may be what killed it: who was
 * there twice is a suspect. Deaths within a second count as one: when all senders are killed at
 * once, what one had is often in the hands of the next when that goes, too.
 *
 * Suspects that wait for a sender to themselves are held here, the first one first.
 *
 * Main thread.
 */
#pragma once

#include "store/engine.h"

struct suspects {
	void *tree;
	unsigned n;
	struct claimed *held;
};

/* A sender died while it had the delivery. */
void suspects_add(struct suspects *suspects, const struct delivery *delivery, int64_t monotonic_us);
bool suspects_has(const struct suspects *suspects, const struct delivery *delivery);
/* It was attempted, and the sender lived. */
void suspects_clear(struct suspects *suspects, const struct delivery *delivery);

/* Takes it over until it is asked for. */
void suspects_hold(struct suspects *suspects, struct claimed *claimed);
/* The first that is held, of all or of an endpoint; NULL: there is none. */
struct claimed *suspects_next(struct suspects *suspects);
struct claimed *suspects_next_of(struct suspects *suspects, uint32_t endpoint);

void suspects_free(struct suspects *suspects);
