/*
 * The URLs that hookd sends to: a strict subset of RFC 3986, checked when an endpoint is registered
 * and again by the sender.
 *
 * Pure. What different parsers read differently is refused rather than interpreted: user info,
 * backslashes, percent signs in the host, numbers that stand for an address, zone ids, fragments.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "delivery.h"

#define URL_MAX_LEN 2048
#define URL_HOST_SIZE 256

struct url {
	bool https;
	char host[URL_HOST_SIZE]; /* lower case, without trailing dot or brackets */
	struct peer literal; /* family 0: the host is a name; else its address, without the port */
	uint16_t port;
};

/* Returns 0, or -EINVAL with *expected a constant sentence for the user. */
int url_parse(const char *text, struct url *url, const char **expected);

/* Names that by their nature lead into the own network: single labels, .localhost, .local,
 * .internal, .home.arpa, .onion. Fine only where private networks are allowed. */
bool url_host_is_internal(const struct url *url);
