/*
 * The address rules: where requests may go.
 *
 * Pure. Judged when an endpoint is registered with a literal address, for every address a name
 * resolves to, again when the socket is opened, and again before a kept connection is reused.
 *
 * An address is allowed if no network of "deny" holds it, and if it is either public (the tables in
 * guard.c, from IANA's special-purpose registries) and none of this machine's own, or held by a
 * network that an administrator allowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "delivery.h"

struct network {
	uint8_t family; /* 4 or 6 */
	uint8_t bits; /* 0-32 or 0-128 */
	uint8_t bytes[16];
};

struct networks {
	struct network *list;
	size_t n;
};

#define NETWORK_TEXT_SIZE 56
#define PEER_TEXT_SIZE 56

/* "10.0.0.0/8", "fd00::/8"; a lone address is a network of one. Returns 0 or -EINVAL. Bits beyond
 * the prefix must be zero, so that a slip is noticed. */
int network_parse(const char *text, struct network *network);
void network_format(const struct network *network, char text[static NETWORK_TEXT_SIZE]);
bool network_contains(const struct network *network, const struct peer *peer);

/* "203.0.113.9:443", "[2001:db8::1]:443"; "" for family 0. */
void peer_format(const struct peer *peer, char text[static PEER_TEXT_SIZE]);

struct guard_rules {
	const struct networks
		*allowed[2]; /* of the configuration and of the endpoint; NULL: none */
	const struct networks *denied;
	const struct networks *own; /* this machine's addresses */
};

/* What is said of an address that the configuration denies, which nothing can allow. */
extern const char guard_denied[];

/* Returns NULL when requests may go there, else why not in words (constant): "a private network",
 * or guard_denied. */
const char *guard_refuses(const struct guard_rules *rules, const struct peer *peer);

struct port_range {
	uint16_t first, last;
};

bool guard_port_allowed(const struct port_range *ranges, size_t n, uint16_t port);
