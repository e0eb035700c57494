#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/sender/hosts.h"
#include "helpers.h"

#define ADDRESSES_MAX 4

/* Asserts what a file says of a name: its addresses in their order, up to a NULL. */
static void assert_says(void **state, const char *text, const char *name, ...)
{
	struct peer addresses[ADDRESSES_MAX];
	struct hosts *hosts;
	const char *expected;
	char path[256];
	va_list list;
	size_t n, i = 0;

	snprintf(path, sizeof(path), "%s/hosts", (char *)*state);
	write_file(path, text, strlen(text));
	hosts = hosts_read(path);
	assert_non_null(hosts);
	n = hosts_find(hosts, name, addresses, ADDRESSES_MAX);
	va_start(list, name);
	for (; (expected = va_arg(list, const char *)); i++) {
		struct peer peer = peer_at(expected);

		assert_true(i < n);
		peer.port = 0;
		assert_int_equal(addresses[i].family, peer.family);
		assert_memory_equal(addresses[i].bytes, peer.bytes, sizeof(peer.bytes));
		assert_int_equal(addresses[i].port, 0);
	}
	va_end(list);
	assert_int_equal(n, i);
	hosts_free(hosts);
}

static void test_name_and_its_aliases_have_the_address_of_their_line(void **state)
{
	static const char text[] = "10.0.0.1 one.example uno eins\n10.0.0.2\ttwo.example\n";

	assert_says(state, text, "one.example", "10.0.0.1", NULL);
	assert_says(state, text, "uno", "10.0.0.1", NULL);
	assert_says(state, text, "eins", "10.0.0.1", NULL);
	assert_says(state, text, "two.example", "10.0.0.2", NULL);
	assert_says(state, text, "three.example", NULL);
	assert_says(state, text, "one", NULL);
	assert_says(state, text, "10.0.0.1", NULL);
}

static void test_name_on_several_lines_has_all_their_addresses_in_order(void **state)
{
	assert_says(state, "10.0.0.9 a b\n2001:db8::1 b\n10.0.0.1 b a\n", "b", "10.0.0.9",
		"2001:db8::1", "10.0.0.1", NULL);
}

static void test_case_of_names_does_not_matter(void **state)
{
	assert_says(state, "10.0.0.1 One.Example\n", "oNE.eXAMPLE", "10.0.0.1", NULL);
}

static void test_comments_and_lines_without_an_address_say_nothing(void **state)
{
	static const char text[] = "# 10.0.0.1 a\n10.0.0.2 b # c\n10.0.0.3 # d\nnonsense e\n"
				   "\n   \n10.0.0.256 f\n10.0.0.4";

	assert_says(state, text, "a", NULL);
	assert_says(state, text, "b", "10.0.0.2", NULL);
	assert_says(state, text, "c", NULL);
	assert_says(state, text, "d", NULL);
	assert_says(state, text, "e", NULL);
	assert_says(state, text, "f", NULL);
}

static void test_last_line_needs_no_end(void **state)
{
	assert_says(state, "  10.0.0.1 \t a\r\n10.0.0.2 b", "a", "10.0.0.1", NULL);
	assert_says(state, "  10.0.0.1 \t a\r\n10.0.0.2 b", "b", "10.0.0.2", NULL);
}

static void test_no_more_addresses_than_there_is_room_for(void **state)
{
	assert_says(state, "10.0.0.1 a\n10.0.0.2 a\n10.0.0.3 a\n10.0.0.4 a\n10.0.0.5 a\n", "a",
		"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", NULL);
}

static void test_localhost_is_here_unless_the_file_says_otherwise(void **state)
{
	assert_says(state, "", "localhost", "127.0.0.1", "::1", NULL);
	assert_says(state, "", "LOCALHOST", "127.0.0.1", "::1", NULL);
	assert_says(state, "", "api.localhost", "127.0.0.1", "::1", NULL);
	assert_says(state, "", "notlocalhost", NULL);
	assert_says(state, "", "localhost.example", NULL);
	assert_says(state, "127.0.0.1 localhost\n", "localhost", "127.0.0.1", NULL);
}

static void test_file_that_is_missing_has_no_names(void **state)
{
	struct hosts *hosts = hosts_read("/nonexistent/hosts");
	struct peer address;

	(void)state;
	assert_non_null(hosts);
	assert_int_equal(hosts_find(hosts, "a", &address, 1), 0);
	hosts_free(hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_and_its_aliases_have_the_address_of_their_line),
		cmocka_unit_test(test_name_on_several_lines_has_all_their_addresses_in_order),
		cmocka_unit_test(test_case_of_names_does_not_matter),
		cmocka_unit_test(test_comments_and_lines_without_an_address_say_nothing),
		cmocka_unit_test(test_last_line_needs_no_end),
		cmocka_unit_test(test_no_more_addresses_than_there_is_room_for),
		cmocka_unit_test(test_localhost_is_here_unless_the_file_says_otherwise),
		cmocka_unit_test(test_file_that_is_missing_has_no_names),
	};

	return cmocka_run_group_tests_name("hosts", tests, make_directory, remove_directory);
}
