/*
 * Deliveries that were in flight when a sender died. One of them may be what killed it: who was
 * there twice is a suspect.
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
void suspects_add(struct suspects *suspects, const struct delivery *delivery);
bool suspects_has(const struct suspects *suspects, const struct delivery *delivery);
/* It was attempted, and the sender lived. */
void suspects_clear(struct suspects *suspects, const struct delivery *delivery);
void suspects_free(struct suspects *suspects);
