/*
 * Deliveries that were in flight when a sender died. One of them may be what killed it: who was
 * there twice is a suspect. Deaths within a second count as one: when all senders are killed at
 * once, what one had is often in the hands of the next when that goes, too.
 *
 * Main thread.
 */
#pragma once

#include "store/engine.h"

struct suspects {
	void *tree;
	unsigned n;
};

/* A sender died while it had the delivery. */
void suspects_add(struct suspects *suspects, const struct delivery *delivery, int64_t monotonic_us);
bool suspects_has(const struct suspects *suspects, const struct delivery *delivery);
/* It was attempted, and the sender lived. */
void suspects_clear(struct suspects *suspects, const struct delivery *delivery);
void suspects_free(struct suspects *suspects);
