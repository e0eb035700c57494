/*
 * The address rules, against tables of first and last addresses and a comparison bit by bit. The
 * input is an address (a byte for the family, 16 for the address), then lines: "a", "d" or "o" and
 * a network that is allowed, denied, or this machine's own.
 */
#include <arpa/inet.h>
#include <string.h>

#include "../../daemon/guard.h"
#include "fuzz.h"

#define NETWORKS_MAX 16

/* All that is not the public internet, from the registries. */
static const char *const special_v4[][2] = {
	{"0.0.0.0", "0.255.255.255"},
	{"10.0.0.0", "10.255.255.255"},
	{"100.64.0.0", "100.127.255.255"},
	{"127.0.0.0", "127.255.255.255"},
	{"168.63.129.16", "168.63.129.16"},
	{"169.254.0.0", "169.254.255.255"},
	{"172.16.0.0", "172.31.255.255"},
	{"192.0.0.0", "192.0.0.255"},
	{"192.0.2.0", "192.0.2.255"},
	{"192.31.196.0", "192.31.196.255"},
	{"192.52.193.0", "192.52.193.255"},
	{"192.88.99.0", "192.88.99.255"},
	{"192.168.0.0", "192.168.255.255"},
	{"192.175.48.0", "192.175.48.255"},
	{"198.18.0.0", "198.19.255.255"},
	{"198.51.100.0", "198.51.100.255"},
	{"203.0.113.0", "203.0.113.255"},
	{"224.0.0.0", "255.255.255.255"},
};

static const char *const special_v6[][2] = {
	{"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"},
	{"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"},
	{"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

static bool is_between(const struct peer *peer, const char *const range[2])
{
	int family = peer->family == 4 ? AF_INET : AF_INET6;
	size_t len = peer->family == 4 ? 4 : 16;
	uint8_t first[16], last[16];

	promise(inet_pton(family, range[0], first) == 1 && inet_pton(family, range[1], last) == 1);
	return memcmp(peer->bytes, first, len) >= 0 && memcmp(peer->bytes, last, len) <= 0;
}

static bool is_special(const struct peer *peer)
{
	bool v4 = peer->family == 4;
	size_t n = v4 ? sizeof(special_v4) / sizeof(special_v4[0])
		      : sizeof(special_v6) / sizeof(special_v6[0]);

	for (size_t i = 0; i < n; i++) {
		if (is_between(peer, v4 ? special_v4[i] : special_v6[i]))
			return true;
	}
	return false;
}

static bool bit(const uint8_t *bytes, unsigned i)
{
	return bytes[i / 8] >> (7 - i % 8) & 1;
}

static bool holds(const struct networks *networks, const struct peer *peer)
{
	for (size_t i = 0; i < networks->n; i++) {
		const struct network *network = &networks->list[i];
		unsigned same = 0;

		while (same < network->bits && bit(network->bytes, same) == bit(peer->bytes, same))
			same++;
		if (network->family == peer->family && same == network->bits)
			return true;
	}
	return false;
}

static void take_network(const char *text, struct networks *networks)
{
	char again[NETWORK_TEXT_SIZE];
	struct network network, same;

	if (networks->n == NETWORKS_MAX || network_parse(text, &network) < 0)
		return;
	promise(network.family == 4 || network.family == 6);
	promise(network.bits <= (network.family == 4 ? 32 : 128));
	network_format(&network, again);
	promise(network_parse(again, &same) == 0);
	promise(memcmp(&network, &same, sizeof(network)) == 0);
	networks->list[networks->n++] = network;
}

static void take_networks(
	char *text, struct networks *allowed, struct networks *denied, struct networks *own)
{
	char *line;

	while ((line = strsep(&text, "\n"))) {
		if (line[0] == 'a')
			take_network(line + 1, allowed);
		else if (line[0] == 'd')
			take_network(line + 1, denied);
		else if (line[0] == 'o')
			take_network(line + 1, own);
	}
}

/* An IPv4 address in IPv6 clothes is judged as what it is. */
static struct peer undress(struct peer peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (peer.family == 6 && memcmp(peer.bytes, mapped, sizeof(mapped)) == 0) {
		peer.family = 4;
		memmove(peer.bytes, peer.bytes + 12, 4);
		memset(peer.bytes + 4, 0, 12);
	}
	return peer;
}

/* What the rules say. An IPv4 address behind NAT64 is judged, too, when the way to it is allowed.
 */
static bool has_to_be_refused(const struct guard_rules *rules, struct peer peer)
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};

	if (holds(rules->denied, &peer))
		return true;
	if (!holds(rules->allowed[0], &peer))
		return is_special(&peer) || holds(rules->own, &peer);
	if (peer.family == 4 || memcmp(peer.bytes, nat64, sizeof(nat64)) != 0)
		return false;
	peer.family = 4;
	memmove(peer.bytes, peer.bytes + 12, 4);
	memset(peer.bytes + 4, 0, 12);
	return has_to_be_refused(rules, peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct network lists[3][NETWORKS_MAX];
	struct networks allowed = {lists[0], 0}, denied = {lists[1], 0}, own = {lists[2], 0};
	struct guard_rules rules = {{&allowed, NULL}, &denied, &own};
	struct peer peer = {0}, real;
	char *text;
	bool refused;

	if (size < 17)
		return 0;
	peer.family = data[0] & 1 ? 6 : 4;
	memcpy(peer.bytes, data + 1, peer.family == 4 ? 4 : 16);
	text = malloc(size - 17 + 1);
	memcpy(text, data + 17, size - 17);
	text[size - 17] = '\0';
	take_networks(text, &allowed, &denied, &own);
	free(text);
	real = undress(peer);
	refused = guard_refuses(&rules, &peer) != NULL;
	promise(refused == has_to_be_refused(&rules, real));
	return 0;
}
