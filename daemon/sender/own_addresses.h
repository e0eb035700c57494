/*
 * The machine's own addresses, to which no request goes unless an administrator allows it; and
 * whether there is one to send from.
 *
 * The kernel tells of every address that comes or goes, on a netlink socket. On the loop it comes
 * before everything else that is ready: what was added a moment ago counts. If they cannot be
 * known, nothing may be sent.
 */
#pragma once

#include "../guard.h"

struct event_base;

struct own_addresses {
	struct networks networks;
	int changes; /* the netlink socket */
	struct event *changed;
	bool known; /* networks is what the machine has, as far as changes was read */
};

/* base: with two priorities, the higher one for this alone. Returns 0 or a negative errno. */
int own_addresses_init(struct own_addresses *own, struct event_base *base);
void own_addresses_deinit(struct own_addresses *own);

/* Sees to it that networks are up to date; before each use. Returns 0 or a negative errno; then
 * they must not be relied upon. */
int own_addresses_refresh(struct own_addresses *own);

/* Has this machine an address from which it could send to this one of IPv6? Connecting a datagram
 * socket sends nothing. */
bool has_way_to(const struct peer *peer);
