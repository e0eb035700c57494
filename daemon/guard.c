#include "guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct special {
	uint8_t bytes[4];
	uint8_t bits;
	const char *what;
};

/*
 * IPv4 that is not the public internet. IANA IPv4 Special-Purpose Address Registry as of 2025-10,
 * multicast, and the addresses at which clouds serve their metadata.
 */
static const struct special special_v4[] = {
	{{0, 0, 0, 0}, 8, "\"this network\""},
	{{10, 0, 0, 0}, 8, "a private network"},
	{{100, 64, 0, 0}, 10, "carrier-grade NAT"},
	{{127, 0, 0, 0}, 8, "this machine (loopback)"},
	{{169, 254, 0, 0}, 16, "link-local, where clouds keep their metadata"},
	{{172, 16, 0, 0}, 12, "a private network"},
	{{192, 0, 0, 0}, 24, "reserved for protocols"},
	{{192, 0, 2, 0}, 24, "reserved for documentation"},
	{{192, 31, 196, 0}, 24, "AS112"},
	{{192, 52, 193, 0}, 24, "AMT"},
	{{192, 88, 99, 0}, 24, "6to4 relays"},
	{{192, 168, 0, 0}, 16, "a private network"},
	{{192, 175, 48, 0}, 24, "AS112"},
	{{198, 18, 0, 0}, 15, "reserved for benchmarks"},
	{{198, 51, 100, 0}, 24, "reserved for documentation"},
	{{203, 0, 113, 0}, 24, "reserved for documentation"},
	{{168, 63, 129, 16}, 32, "Azure's host service"},
	{{224, 0, 0, 0}, 4, "multicast"},
	{{240, 0, 0, 0}, 4, "reserved"},
};

struct special_v6 {
	uint8_t bytes[6];
	uint8_t bits;
	const char *what;
};

/* IPv6: only 2000::/3 is public, and of it not these (IANA IPv6 registry as of 2025-10). */
static const struct special_v6 special_v6[] = {
	{{0x20, 0x01, 0x00, 0x00}, 23, "reserved for protocols (Teredo, ORCHID, ...)"},
	{{0x20, 0x01, 0x0d, 0xb8}, 32, "reserved for documentation"},
	{{0x20, 0x02}, 16, "6to4"},
	{{0x26, 0x20, 0x00, 0x4f, 0x80, 0x00}, 48, "AS112"},
	{{0x3f, 0xff, 0x00}, 20, "reserved for documentation"},
};

/* NAT64's well-known prefix (RFC 6052), behind which is an IPv4 address. */
static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool has_prefix(const uint8_t *bytes, const uint8_t *prefix, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(bytes, prefix, whole) != 0)
		return false;
	return rest == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

int network_parse(const char *text, struct network *network)
{
	size_t len = strcspn(text, "/");
	unsigned max;
	char address[INET6_ADDRSTRLEN];

	memset(network, 0, sizeof(*network));
	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET, address, network->bytes) == 1)
		network->family = 4;
	else if (inet_pton(AF_INET6, address, network->bytes) == 1)
		network->family = 6;
	else
		return -EINVAL;
	max = network->family == 4 ? 32 : 128;
	network->bits = (uint8_t)max;
	if (text[len] == '/') {
		const char *digits = text + len + 1;
		unsigned long bits;

		if (!*digits || strlen(digits) > 3 ||
			strspn(digits, "0123456789") != strlen(digits))
			return -EINVAL;
		bits = strtoul(digits, NULL, 10);
		if (bits > max)
			return -EINVAL;
		network->bits = (uint8_t)bits;
	}
	for (unsigned i = network->bits; i < max; i++) {
		if (network->bytes[i / 8] >> (7 - i % 8) & 1)
			return -EINVAL;
	}
	return 0;
}

void network_format(const struct network *network, char text[static NETWORK_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN] = "?";

	inet_ntop(network->family == 4 ? AF_INET : AF_INET6, network->bytes, address,
		sizeof(address));
	snprintf(text, NETWORK_TEXT_SIZE, "%s/%u", address, network->bits);
}

bool network_contains(const struct network *network, const struct peer *peer)
{
	return network->family == peer->family &&
		has_prefix(peer->bytes, network->bytes, network->bits);
}

static char *put_number(char *to, unsigned number)
{
	char digits[8];
	int n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		*to++ = digits[--n];
	return to;
}

/* Once for every request: printf takes ten times as long. */
static void format_v4(const struct peer *peer, char *to)
{
	for (int i = 0; i < 4; i++) {
		to = put_number(to, peer->bytes[i]);
		*to++ = i < 3 ? '.' : ':';
	}
	*put_number(to, peer->port) = '\0';
}

void peer_format(const struct peer *peer, char text[static PEER_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN] = "?";

	text[0] = '\0';
	if (peer->family == 0)
		return;
	if (peer->family == 4) {
		format_v4(peer, text);
		return;
	}
	inet_ntop(AF_INET6, peer->bytes, address, sizeof(address));
	snprintf(text, PEER_TEXT_SIZE, "[%s]:%u", address, peer->port);
}

static bool is_in(const struct networks *networks, const struct peer *peer)
{
	for (size_t i = 0; networks && i < networks->n; i++) {
		if (network_contains(&networks->list[i], peer))
			return true;
	}
	return false;
}

/* What an address is if it is not public; NULL for public ones. */
static const char *special_purpose(const struct peer *peer)
{
	if (peer->family == 4) {
		for (size_t i = 0; i < sizeof(special_v4) / sizeof(special_v4[0]); i++) {
			if (has_prefix(peer->bytes, special_v4[i].bytes, special_v4[i].bits))
				return special_v4[i].what;
		}
		return NULL;
	}
	if (peer->bytes[0] >> 5 != 1)
		return "not a public IPv6 network";
	for (size_t i = 0; i < sizeof(special_v6) / sizeof(special_v6[0]); i++) {
		if (has_prefix(peer->bytes, special_v6[i].bytes, special_v6[i].bits))
			return special_v6[i].what;
	}
	return NULL;
}

static bool wears(const struct peer *peer, const uint8_t prefix[static 12])
{
	return peer->family == 6 && memcmp(peer->bytes, prefix, 12) == 0;
}

static void undress(struct peer *peer)
{
	peer->family = 4;
	memmove(peer->bytes, peer->bytes + 12, 4);
}

const char guard_denied[] = "denied by the configuration ([network] deny)";

const char *guard_refuses(const struct guard_rules *rules, const struct peer *given)
{
	struct peer peer = *given;
	const char *special;

	/* An IPv4 address in IPv6 clothes is the IPv4 address. */
	if (wears(&peer, v4_mapped))
		undress(&peer);
	if (is_in(rules->denied, &peer))
		return guard_denied;
	if (is_in(rules->allowed[0], &peer) || is_in(rules->allowed[1], &peer)) {
		if (!wears(&peer, nat64))
			return NULL;
		/* The way is allowed; where it leads is to be judged. */
		undress(&peer);
		return guard_refuses(rules, &peer);
	}
	special = special_purpose(&peer);
	if (special)
		return special;
	return is_in(rules->own, &peer) ? "an address of this machine" : NULL;
}

bool guard_port_allowed(const struct port_range *ranges, size_t n, uint16_t port)
{
	for (size_t i = 0; i < n; i++) {
		if (port >= ranges[i].first && port <= ranges[i].last)
			return true;
	}
	return false;
}
