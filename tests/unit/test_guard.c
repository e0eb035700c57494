/*
 * The address rules, held against the tables as the registries have them: each range is written
 * once more, in tests/special_addresses.txt, and looked at from its first address to its last and
 * at its neighbours. The tests with a network (tests/fault/test_addresses.py) read the same file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/guard.h"
#include "helpers.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Ranges as numbers ---- */

typedef unsigned __int128 number;

struct range {
	uint8_t family;
	number first, last;
};

static number number_of(const struct peer *peer)
{
	number n = 0;

	for (int i = 0; i < (peer->family == 4 ? 4 : 16); i++)
		n = n << 8 | peer->bytes[i];
	return n;
}

static struct peer peer_of(uint8_t family, number n)
{
	struct peer peer = {.family = family, .port = 443};

	for (int i = family == 4 ? 4 : 16; i-- > 0; n >>= 8)
		peer.bytes[i] = (uint8_t)n;
	return peer;
}

static struct range range_of(const char *text)
{
	char first[64];
	unsigned bits, width;
	struct peer peer;
	struct range range;

	assert_int_equal(sscanf(text, "%63[^/]/%u", first, &bits), 2);
	peer = peer_at(first);
	width = peer.family == 4 ? 32 : 128;
	range = (struct range){.family = peer.family, .first = number_of(&peer)};
	range.last = range.first + (bits ? ((number)1 << (width - bits)) - 1 : ~(number)0);
	return range;
}

static bool is_in_range(const struct range *range, const struct peer *peer)
{
	return range->family == peer->family && number_of(peer) >= range->first &&
		number_of(peer) <= range->last;
}

/* ---- The file ---- */

#define RANGES_MAX 100

static struct range special[RANGES_MAX], public_v6;
static size_t n_special;

static int read_ranges(void **state)
{
	FILE *file = fopen(SPECIAL_ADDRESSES, "re");
	char line[200], text[64];

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "special %63s", text) == 1) {
			assert_true(n_special < RANGES_MAX);
			special[n_special++] = range_of(text);
		} else if (sscanf(line, "public %63s", text) == 1) {
			public_v6 = range_of(text);
		}
	}
	fclose(file);
	assert_int_equal(n_special, 38);
	assert_int_equal(public_v6.family, 6);
	return 0;
}

/* The rules once more. */
static bool is_public(const struct peer *peer)
{
	for (size_t i = 0; i < n_special; i++) {
		if (is_in_range(&special[i], peer))
			return false;
	}
	return peer->family == 4 || is_in_range(&public_v6, peer);
}

/* ---- The tables ---- */

static const char *refusal(const struct peer *peer)
{
	static const struct guard_rules no_rules;

	return guard_refuses(&no_rules, peer);
}

static void assert_judged(struct peer peer, bool allowed)
{
	char text[PEER_TEXT_SIZE];

	peer_format(&peer, text);
	if (allowed != !refusal(&peer))
		fail_msg("%s is %s", text, allowed ? refusal(&peer) : "allowed");
}

static void assert_refused(const char *address)
{
	assert_judged(peer_at(address), false);
}

static void assert_allowed(const char *address)
{
	assert_judged(peer_at(address), true);
}

static void test_every_special_range_is_refused_from_end_to_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_special; i++) {
		struct range range = special[i];

		assert_judged(peer_of(range.family, range.first), false);
		assert_judged(peer_of(range.family, range.last), false);
		assert_judged(
			peer_of(range.family, range.first + (range.last - range.first) / 2), false);
	}
}

/* ::ffff:0:0/96, beside IPv4-compatible addresses, is IPv4, and judged as that. */
static bool is_mapped(const struct peer *peer)
{
	return peer->family == 6 && number_of(peer) >> 32 == 0xffff;
}

/* Beside a range the internet goes on, but for where another range begins. */
static void test_neighbours_of_special_ranges_are_judged_for_themselves(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_special; i++) {
		struct range range = special[i];
		number max = range.family == 4 ? UINT32_MAX : ~(number)0;

		if (range.first > 0) {
			struct peer below = peer_of(range.family, range.first - 1);

			if (!is_mapped(&below))
				assert_judged(below, is_public(&below));
		}
		if (range.last < max) {
			struct peer above = peer_of(range.family, range.last + 1);

			if (!is_mapped(&above))
				assert_judged(above, is_public(&above));
		}
	}
}

static void test_public_ipv6_ends_where_it_ends(void **state)
{
	(void)state;
	assert_judged(peer_of(6, public_v6.first), true);
	assert_judged(peer_of(6, public_v6.first - 1), false);
	assert_judged(peer_of(6, public_v6.last), true);
	assert_judged(peer_of(6, public_v6.last + 1), false);
}

/* An address under each first byte, or first two: nothing is forgotten between the ranges. */
static void test_every_corner_of_the_address_space_is_judged(void **state)
{
	(void)state;
	for (number i = 0; i < 65536; i++) {
		struct peer v4 = peer_of(4, i << 16 | 0x0101), v6 = peer_of(6, i << 112 | 0x0101);

		assert_judged(v4, is_public(&v4));
		assert_judged(v6, is_public(&v6));
	}
}

static void test_addresses_of_clouds_metadata_are_refused(void **state)
{
	static const char *const addresses[] = {"169.254.169.254", "169.254.170.2",
		"169.254.170.23", "100.100.100.200", "192.0.0.192", "168.63.129.16",
		"fd00:ec2::254", "fd20:ce::254"};

	(void)state;
	for (size_t i = 0; i < N(addresses); i++)
		assert_refused(addresses[i]);
}

static void test_public_addresses_are_allowed(void **state)
{
	static const char *const addresses[] = {"1.1.1.1", "8.8.8.8", "93.184.216.34",
		"172.15.255.255", "172.32.0.0", "192.0.1.1", "168.63.129.15", "168.63.129.17",
		"2606:4700::1111", "2a00:1450:4001:800::200e", "2001:4860:4860::8888"};

	(void)state;
	for (size_t i = 0; i < N(addresses); i++)
		assert_allowed(addresses[i]);
}

static void test_ipv4_in_ipv6_clothes_is_judged_as_ipv4(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_special; i++) {
		const number mapped = (number)0xffff << 32;

		if (special[i].family == 6)
			continue;
		assert_judged(peer_of(6, mapped | special[i].first), false);
		assert_judged(peer_of(6, mapped | special[i].last), false);
	}
	assert_allowed("::ffff:8.8.8.8");
}

static void test_other_ways_of_ipv4_inside_ipv6_are_refused(void **state)
{
	(void)state;
	assert_refused("::127.0.0.1");
	assert_refused("::8.8.8.8");
	assert_refused("::ffff:0:8.8.8.8");
	assert_refused("64:ff9b::8.8.8.8");
	assert_refused("2002:808:808::1");
	assert_refused("2001:0:808:808::1"); /* Teredo */
}

static void test_address_of_no_family_is_refused(void **state)
{
	const struct peer nowhere = {0};

	(void)state;
	assert_non_null(refusal(&nowhere));
}

static void test_refusal_is_in_words(void **state)
{
	struct peer private = peer_at("10.1.2.3"), loopback = peer_at("127.0.0.1"),
		    local = peer_at("::1");

	(void)state;
	assert_string_equal(refusal(&private), "a private network");
	assert_string_equal(refusal(&loopback), "this machine (loopback)");
	assert_string_equal(refusal(&local), "not a public IPv6 network");
}

/* ---- Lists of the administrator ---- */

#define LIST_MAX 4

struct list {
	struct networks networks;
	struct network at[LIST_MAX];
};

static struct networks *list_of(struct list *list, const char *first, const char *second)
{
	list->networks = (struct networks){list->at, 0};
	assert_int_equal(network_parse(first, &list->at[list->networks.n++]), 0);
	if (second)
		assert_int_equal(network_parse(second, &list->at[list->networks.n++]), 0);
	return &list->networks;
}

static bool allows(const struct guard_rules *rules, const char *address)
{
	struct peer peer = peer_at(address);

	return !guard_refuses(rules, &peer);
}

static void test_allowed_network_opens_itself_alone(void **state)
{
	struct list list;
	const struct guard_rules rules = {
		.allowed = {list_of(&list, "10.1.0.0/16", "fd00:1::/32")}};

	(void)state;
	assert_true(allows(&rules, "10.1.0.0"));
	assert_true(allows(&rules, "10.1.255.255"));
	assert_false(allows(&rules, "10.0.255.255"));
	assert_false(allows(&rules, "10.2.0.0"));
	assert_true(allows(&rules, "fd00:1::1"));
	assert_false(allows(&rules, "fd00:2::1"));
}

static void test_endpoint_may_allow_what_the_configuration_does_not(void **state)
{
	struct list configured, own;
	const struct guard_rules rules = {.allowed = {list_of(&configured, "10.0.0.0/24", NULL),
						  list_of(&own, "192.168.1.7", NULL)}};

	(void)state;
	assert_true(allows(&rules, "10.0.0.1"));
	assert_true(allows(&rules, "192.168.1.7"));
	assert_false(allows(&rules, "192.168.1.8"));
}

static void test_allowed_ipv4_is_allowed_in_ipv6_clothes_too(void **state)
{
	struct list list;
	const struct guard_rules rules = {.allowed = {list_of(&list, "10.0.0.0/8", NULL)}};

	(void)state;
	assert_true(allows(&rules, "::ffff:10.0.0.1"));
	assert_false(allows(&rules, "::ffff:192.168.0.1"));
}

static void test_nat64_that_is_allowed_leads_where_its_ipv4_may_go(void **state)
{
	struct list allowed, denied, own;
	const struct guard_rules rules = {
		.allowed = {list_of(&allowed, "64:ff9b::/96", "10.1.0.0/16")},
		.denied = list_of(&denied, "9.9.9.9", NULL),
		.own = list_of(&own, "1.1.1.1", NULL)};
	struct peer peer = peer_at("64:ff9b::7f00:1");

	(void)state;
	assert_true(allows(&rules, "64:ff9b::8.8.8.8"));
	assert_true(allows(&rules, "64:ff9b::10.1.2.3"));
	assert_false(allows(&rules, "64:ff9b::10.2.2.3"));
	assert_false(allows(&rules, "64:ff9b::169.254.169.254"));
	assert_false(allows(&rules, "64:ff9b::9.9.9.9"));
	assert_false(allows(&rules, "64:ff9b::1.1.1.1"));
	assert_false(allows(&rules, "64:ff9b:0:0:0:1:808:808"));
	assert_string_equal(guard_refuses(&rules, &peer), "this machine (loopback)");
}

static void test_denied_network_is_refused_though_public(void **state)
{
	struct list list;
	const struct guard_rules rules = {.denied = list_of(&list, "8.8.8.0/24", "2001:4860::/32")};
	struct peer peer = peer_at("8.8.8.8");

	(void)state;
	assert_false(allows(&rules, "8.8.8.8"));
	assert_false(allows(&rules, "::ffff:8.8.8.8"));
	assert_false(allows(&rules, "2001:4860:4860::8888"));
	assert_true(allows(&rules, "8.8.9.8"));
	assert_non_null(strstr(guard_refuses(&rules, &peer), "denied by the configuration"));
}

static void test_deny_wins_over_allow(void **state)
{
	struct list allowed, own, denied;
	const struct guard_rules rules = {.allowed = {list_of(&allowed, "10.0.0.0/8", NULL),
						  list_of(&own, "10.0.0.0/8", NULL)},
		.denied = list_of(&denied, "10.5.0.0/16", NULL)};

	(void)state;
	assert_false(allows(&rules, "10.5.0.1"));
	assert_true(allows(&rules, "10.6.0.1"));
}

static void test_own_addresses_are_refused_though_public(void **state)
{
	struct list list;
	const struct guard_rules rules = {
		.own = list_of(&list, "93.184.216.34", "2606:4700::1111")};
	struct peer peer = peer_at("93.184.216.34");

	(void)state;
	assert_false(allows(&rules, "93.184.216.34"));
	assert_false(allows(&rules, "::ffff:93.184.216.34"));
	assert_false(allows(&rules, "2606:4700::1111"));
	assert_true(allows(&rules, "93.184.216.35"));
	assert_string_equal(guard_refuses(&rules, &peer), "an address of this machine");
}

static void test_own_address_may_be_allowed(void **state)
{
	struct list own, allowed;
	const struct guard_rules rules = {.allowed = {list_of(&allowed, "93.184.216.34", NULL)},
		.own = list_of(&own, "93.184.216.34", NULL)};

	(void)state;
	assert_true(allows(&rules, "93.184.216.34"));
}

/* ---- Networks ---- */

static void assert_network(const char *text, const char *expected)
{
	struct network network;
	char written[NETWORK_TEXT_SIZE];

	if (network_parse(text, &network) != 0)
		fail_msg("\"%s\" is refused", text);
	network_format(&network, written);
	assert_string_equal(written, expected);
}

static void test_network_is_read_and_written(void **state)
{
	(void)state;
	assert_network("10.0.0.0/8", "10.0.0.0/8");
	assert_network("0.0.0.0/0", "0.0.0.0/0");
	assert_network("172.16.0.0/12", "172.16.0.0/12");
	assert_network("fd00::/8", "fd00::/8");
	assert_network("::/0", "::/0");
	assert_network("2001:db8:0:0::/33", "2001:db8::/33");
}

static void test_lone_address_is_a_network_of_one(void **state)
{
	(void)state;
	assert_network("192.168.1.7", "192.168.1.7/32");
	assert_network("2001:db8::1", "2001:db8::1/128");
}

static void test_bits_beyond_the_prefix_are_refused(void **state)
{
	static const char *const texts[] = {"10.0.0.1/8", "10.1.0.0/8", "172.24.0.0/12",
		"0.0.0.1/0", "10.0.0.1/31", "fd00::1/127", "fd01::/8", "2001:db8:8000::/32"};
	struct network network;

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_int_equal(network_parse(texts[i], &network), -EINVAL);
}

static void test_text_that_is_no_network_is_refused(void **state)
{
	static const char *const texts[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/+8", "10.0.0.0/8x", "10.0.0.0/ 8", "10.0.0.0/8/8", "10.0.0.0/0008",
		"10/8", "10.0.0/24", "fd00::/129", "fd00::/", "fe80::1%eth0", "example.com",
		" 10.0.0.0/8", "10.0.0.0/8 ", "010.0.0.0/8",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/8"};
	struct network network;

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		if (network_parse(texts[i], &network) != -EINVAL)
			fail_msg("\"%s\" is taken", texts[i]);
	}
}

static void test_network_contains_what_shares_its_prefix(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct network network = {.family = 6, .bits = (uint8_t)bits};
		struct peer peer = {.family = 6};

		memset(network.bytes, 0xff, sizeof(network.bytes));
		for (unsigned i = bits; i < 128; i++)
			network.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
		memcpy(peer.bytes, network.bytes, sizeof(peer.bytes));
		assert_true(network_contains(&network, &peer));
		if (bits < 128) {
			peer.bytes[bits / 8] ^= (uint8_t)(0x80 >> bits % 8); /* behind the prefix */
			assert_true(network_contains(&network, &peer));
		}
		if (bits > 0) {
			peer.bytes[(bits - 1) / 8] ^= (uint8_t)(0x80 >> (bits - 1) % 8);
			assert_false(network_contains(&network, &peer));
		}
	}
}

static void test_network_contains_no_address_of_the_other_family(void **state)
{
	struct network all_v4, all_v6;
	struct peer v4 = peer_at("10.0.0.1"), v6 = peer_at("fd00::1");

	(void)state;
	assert_int_equal(network_parse("0.0.0.0/0", &all_v4), 0);
	assert_int_equal(network_parse("::/0", &all_v6), 0);
	assert_true(network_contains(&all_v4, &v4));
	assert_false(network_contains(&all_v4, &v6));
	assert_true(network_contains(&all_v6, &v6));
	assert_false(network_contains(&all_v6, &v4));
}

/* ---- Peers and ports ---- */

static void test_peer_is_written_as_in_a_url(void **state)
{
	struct peer v4 = peer_at("203.0.113.9"), v6 = peer_at("2001:db8::1"), nowhere = {0};
	char text[PEER_TEXT_SIZE];

	(void)state;
	peer_format(&v4, text);
	assert_string_equal(text, "203.0.113.9:443");
	peer_format(&v6, text);
	assert_string_equal(text, "[2001:db8::1]:443");
	peer_format(&nowhere, text);
	assert_string_equal(text, "");
}

static void test_longest_peer_has_room(void **state)
{
	struct peer peer = peer_at("1111:2222:3333:4444:5555:6666:7777:8888");
	char text[PEER_TEXT_SIZE];

	(void)state;
	peer.port = 65535;
	peer_format(&peer, text);
	assert_string_equal(text, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

static void test_port_is_allowed_within_a_range_and_at_its_ends(void **state)
{
	static const struct port_range ranges[] = {{80, 80}, {443, 443}, {1024, 65535}};
	static const struct {
		uint16_t port;
		bool allowed;
	} cases[] = {{79, false}, {80, true}, {81, false}, {442, false}, {443, true}, {444, false},
		{1023, false}, {1024, true}, {30000, true}, {65535, true}, {0, false}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		assert_int_equal(
			guard_port_allowed(ranges, N(ranges), cases[i].port), cases[i].allowed);
}

static void test_without_ranges_no_port_is_allowed(void **state)
{
	(void)state;
	assert_false(guard_port_allowed(NULL, 0, 443));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_special_range_is_refused_from_end_to_end),
		cmocka_unit_test(test_neighbours_of_special_ranges_are_judged_for_themselves),
		cmocka_unit_test(test_public_ipv6_ends_where_it_ends),
		cmocka_unit_test(test_every_corner_of_the_address_space_is_judged),
		cmocka_unit_test(test_addresses_of_clouds_metadata_are_refused),
		cmocka_unit_test(test_public_addresses_are_allowed),
		cmocka_unit_test(test_ipv4_in_ipv6_clothes_is_judged_as_ipv4),
		cmocka_unit_test(test_other_ways_of_ipv4_inside_ipv6_are_refused),
		cmocka_unit_test(test_address_of_no_family_is_refused),
		cmocka_unit_test(test_refusal_is_in_words),
		cmocka_unit_test(test_allowed_network_opens_itself_alone),
		cmocka_unit_test(test_endpoint_may_allow_what_the_configuration_does_not),
		cmocka_unit_test(test_allowed_ipv4_is_allowed_in_ipv6_clothes_too),
		cmocka_unit_test(test_nat64_that_is_allowed_leads_where_its_ipv4_may_go),
		cmocka_unit_test(test_denied_network_is_refused_though_public),
		cmocka_unit_test(test_deny_wins_over_allow),
		cmocka_unit_test(test_own_addresses_are_refused_though_public),
		cmocka_unit_test(test_own_address_may_be_allowed),
		cmocka_unit_test(test_network_is_read_and_written),
		cmocka_unit_test(test_lone_address_is_a_network_of_one),
		cmocka_unit_test(test_bits_beyond_the_prefix_are_refused),
		cmocka_unit_test(test_text_that_is_no_network_is_refused),
		cmocka_unit_test(test_network_contains_what_shares_its_prefix),
		cmocka_unit_test(test_network_contains_no_address_of_the_other_family),
		cmocka_unit_test(test_peer_is_written_as_in_a_url),
		cmocka_unit_test(test_longest_peer_has_room),
		cmocka_unit_test(test_port_is_allowed_within_a_range_and_at_its_ends),
		cmocka_unit_test(test_without_ranges_no_port_is_allowed),
	};

	return cmocka_run_group_tests_name("guard", tests, read_ranges, NULL);
}
