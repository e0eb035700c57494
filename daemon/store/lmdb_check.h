/*
 * Looking through a data file from end to end, while no hookd uses it: every record's checksum, and
 * every table against the others. What a single flipped bit in LMDB's own pages can do (rows lost
 * or doubled without any error) shows only so.
 */
#pragma once

#include <stddef.h>

#include "../problem.h"

struct check_result {
	size_t n_events, n_deliveries, n_endpoints, n_faults;
	unsigned char key_id[8]; /* of the master key that the store was sealed with */
};

/* report is called for each fault, in words. Returns 0 when the file could be read through, else
 * -EIO with the reason. */
int lmdb_check(const char *directory, void (*report)(void *user, const char *fault), void *user,
	struct check_result *result, struct problem *problem);
