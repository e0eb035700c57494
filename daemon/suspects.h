/*
 * Deliveries that were in flight when a sender died. One of them may be what killed it.
 *
 * Main thread.
 */
#pragma once

#include "store/engine.h"

struct suspects {
	void *tree;
};

/* Counts a death; returns how many there were. Without memory: one. */
unsigned suspects_add(struct suspects *suspects, const struct delivery *delivery);
unsigned suspects_count(const struct suspects *suspects, const struct delivery *delivery);
/* It was attempted, and the sender lived. */
void suspects_clear(struct suspects *suspects, const struct delivery *delivery);
void suspects_free(struct suspects *suspects);
