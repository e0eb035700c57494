/*
 * One hookd to a data directory: an exclusive flock(2) on its file "lock".
 *
 * It is taken before anything else there is looked at, or made: of two hookds that start together
 * on an empty directory, the second would otherwise put its master key over the one with which the
 * first has begun to seal.
 */
#pragma once

#include "../problem.h"

/* Returns a descriptor, which holds the lock until it is closed, or -EIO. */
int data_lock(const char *directory, struct problem *problem);
