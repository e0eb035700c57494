/*
 * The machine's own addresses, to which no request goes unless an administrator allows it.
 *
 * The kernel tells of every address that comes or goes, on a netlink socket that is looked at
 * before each use: what was added a moment ago counts. If they cannot be known, nothing may be
 * sent.
 */
#pragma once

#include "../guard.h"

struct own_addresses {
	struct networks networks;
	int changes; /* the netlink socket */
	bool known; /* networks is what the machine has, as far as changes was read */
};

/* Returns 0 or a negative errno. */
int own_addresses_init(struct own_addresses *own);
void own_addresses_deinit(struct own_addresses *own);

/* Brings networks up to date. Returns 0 or a negative errno; then they must not be relied upon. */
int own_addresses_refresh(struct own_addresses *own);
