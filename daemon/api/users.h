/*
 * How many connections each user has. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct users {
	void *tree; /* tsearch(3) */
};

unsigned users_connections(const struct users *users, uint32_t uid);

/* One more, one less. Returns false without memory. */
bool users_enter(struct users *users, uint32_t uid);
void users_leave(struct users *users, uint32_t uid);

void users_free(struct users *users);
