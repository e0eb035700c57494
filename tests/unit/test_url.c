#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/url.h"
#include "helpers.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static struct url parse(const char *text)
{
	struct url url;
	const char *expected;

	if (url_parse(text, &url, &expected) != 0)
		fail_msg("%s is refused: expected %s", text, expected);
	return url;
}

static const char *refusal(const char *text)
{
	struct url url;
	const char *expected = NULL;

	if (url_parse(text, &url, &expected) != -EINVAL)
		fail_msg("%s is not refused", text);
	return expected;
}

static void assert_all_refused(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_non_null(refusal(texts[i]));
}

static void assert_refused_for(const char *text, const char *word)
{
	const char *expected = refusal(text);

	if (!strstr(expected, word))
		fail_msg("%s is refused for another reason: expected %s", text, expected);
}

static void assert_literal(const char *text, const char *address)
{
	struct url url = parse(text);
	struct peer peer = peer_at(address);

	assert_int_equal(url.literal.family, peer.family);
	assert_memory_equal(url.literal.bytes, peer.bytes, sizeof(peer.bytes));
}

/* ---- What is fine ---- */

static void test_parts_of_a_url(void **state)
{
	struct url url = parse("https://hooks.example.com:8443/in/a?b=c");

	(void)state;
	assert_true(url.https);
	assert_string_equal(url.host, "hooks.example.com");
	assert_int_equal(url.port, 8443);
	assert_int_equal(url.literal.family, 0);
}

static void test_port_defaults_to_that_of_the_scheme(void **state)
{
	(void)state;
	assert_int_equal(parse("https://example.com/").port, 443);
	assert_int_equal(parse("http://example.com/").port, 80);
	assert_false(parse("http://example.com/").https);
}

static void test_scheme_may_be_in_capitals(void **state)
{
	(void)state;
	assert_true(parse("HTTPS://example.com/").https);
	assert_false(parse("hTTp://example.com/").https);
}

static void test_host_is_made_lower_case(void **state)
{
	(void)state;
	assert_string_equal(parse("https://Hooks.EXAMPLE.com/In").host, "hooks.example.com");
	assert_string_equal(parse("https://[2001:DB8::A]/").host, "2001:db8::a");
}

static void test_one_trailing_dot_is_stripped(void **state)
{
	(void)state;
	assert_string_equal(parse("https://example.com./").host, "example.com");
	assert_refused_for("https://example.com../", "a host name");
	assert_refused_for("https://./", "a host name");
}

static void test_path_is_not_needed(void **state)
{
	(void)state;
	assert_string_equal(parse("https://example.com").host, "example.com");
	assert_string_equal(parse("https://example.com?a=b").host, "example.com");
	assert_string_equal(parse("https://example.com:8443?a=b").host, "example.com");
}

static void test_path_and_query_take_all_that_rfc_3986_does(void **state)
{
	(void)state;
	parse("https://example.com/a-._~:@!$&'()*+,;=%20/[x]?y=/?:@%zz");
}

static void test_international_name_is_fine_in_its_ascii_form(void **state)
{
	(void)state;
	assert_string_equal(parse("https://xn--mller-kva.example/").host, "xn--mller-kva.example");
}

static void test_label_may_hold_63_characters(void **state)
{
	char text[128];

	(void)state;
	snprintf(text, sizeof(text), "https://%063d.example/", 1);
	parse(text);
	snprintf(text, sizeof(text), "https://%064d.example/", 1);
	assert_refused_for(text, "a host name");
}

static void test_host_may_hold_253_characters(void **state)
{
	char text[400] = "https://";

	(void)state;
	for (int i = 0; i < 50; i++)
		strcat(text, "abcd.");
	strcat(text, "abc/");
	assert_int_equal(strlen(parse(text).host), 253);
	for (size_t len = 254; len < 300; len++) {
		text[8 + len - 1] = 'd';
		strcpy(text + 8 + len, "/");
		assert_non_null(refusal(text));
	}
}

static void test_url_may_hold_2048_characters(void **state)
{
	char text[URL_MAX_LEN + 2];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "https://example.com/", 20);
	text[URL_MAX_LEN] = '\0';
	parse(text);
	text[URL_MAX_LEN] = 'a';
	text[URL_MAX_LEN + 1] = '\0';
	assert_refused_for(text, "2048");
}

static void test_any_port_is_a_port(void **state)
{
	(void)state;
	assert_int_equal(parse("https://example.com:1/").port, 1);
	assert_int_equal(parse("https://example.com:65535/").port, 65535);
	assert_int_equal(parse("https://[2001:db8::1]:8443/").port, 8443);
	assert_int_equal(parse("https://[2001:db8::1]/").port, 443);
}

/* ---- Addresses ---- */

static void test_ipv4_in_its_usual_form_is_a_literal(void **state)
{
	(void)state;
	assert_literal("https://203.0.113.9/", "203.0.113.9");
	assert_literal("https://127.0.0.1:8443/", "127.0.0.1");
	assert_literal("https://127.0.0.1./", "127.0.0.1");
}

static void test_ipv4_in_other_spellings_is_refused(void **state)
{
	static const char *const texts[] = {"http://2130706433/", "http://0x7f000001/",
		"http://0X7F000001/", "http://0177.0.0.1/", "http://127.1/", "http://0/",
		"http://0300.0250.1/", "http://127.0.0.0x1/", "http://1.2.3.4.5/",
		"http://127.0.0.256/", "http://127.0.0.01/", "http://127.0.1/",
		"http://1.2.3.4.5./"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_name_whose_last_label_is_a_number_is_refused(void **state)
{
	(void)state;
	assert_refused_for("https://example.123/", "a host name");
	assert_refused_for("https://example.0x1f/", "a host name");
	parse("https://123.example/");
	parse("https://example.a123/");
}

static void test_ipv6_in_brackets_is_a_literal(void **state)
{
	(void)state;
	assert_literal("https://[2001:db8::1]/", "2001:db8::1");
	assert_literal("https://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1");
	assert_literal("https://[::127.0.0.1]/", "::127.0.0.1");
	assert_literal("https://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1");
	assert_literal("https://[2002:7f00:1::]/", "2002:7f00:1::");
	assert_literal("https://[::]/", "::");
	assert_string_equal(parse("https://[::]/").host, "::");
}

static void test_ipv6_zone_is_refused(void **state)
{
	static const char *const texts[] = {"https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
		"https://[fe80::1%1]/", "https://[2001:db8::1%25]/"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_other_things_in_brackets_are_refused(void **state)
{
	static const char *const texts[] = {"https://[]/", "https://[127.0.0.1]/",
		"https://[example.com]/", "https://[2001:db8::1/", "https://2001:db8::1]/",
		"https://[2001:db8::1]x/", "https://[2001:db8::1]x:443/", "https://[[::1]]/",
		"https://[::1]]/", "https://2001:db8::1/", "https://::1/", "https://[::1][::2]/",
		"https://[v1.fe80::a]/", "https://[::1]:443:443/"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

/* ---- What is read differently by different parsers ---- */

static void test_other_schemes_are_refused(void **state)
{
	static const char *const texts[] = {"gopher://example.com/", "file:///etc/passwd",
		"ftp://example.com/", "ws://example.com/", "httpss://example.com/",
		"xhttps://example.com/", "javascript:alert(1)", "example.com/", ""};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "https://HOST");
}

static void test_scheme_needs_its_two_slashes(void **state)
{
	static const char *const texts[] = {
		"http:127.0.0.1", "http:/127.0.0.1", "//127.0.0.1", "https:example.com/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "https://HOST");
}

static void test_url_without_host_is_refused(void **state)
{
	static const char *const texts[] = {"http:///127.0.0.1", "https://", "https:///",
		"https://?a", "https://:443/", "https://.example.com/", "https://a..example.com/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "a host name");
}

static void test_user_info_is_refused(void **state)
{
	static const char *const texts[] = {"https://user@example.com/",
		"https://user:pw@example.com/", "https://@example.com/",
		"https://127.0.0.1%2f@good.com/", "https://a@b@example.com/",
		"https://user@example.com:443?x", "https://user:pw@[::1]/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "no user name");
}

static void test_at_sign_in_the_path_is_no_user_info(void **state)
{
	(void)state;
	assert_string_equal(parse("https://example.com/@a").host, "example.com");
	assert_string_equal(parse("https://example.com?@a").host, "example.com");
}

static void test_percent_in_the_host_is_refused(void **state)
{
	static const char *const texts[] = {"http://1%32%37.0.0.1/", "http://%6cocalhost/",
		"https://example%2ecom/", "https://example.com%00/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "a host name");
}

static void test_characters_that_have_to_be_encoded_are_refused(void **state)
{
	(void)state;
	for (int c = 1; c < 256; c++) {
		char text[] = "https://example.com/?";

		if (c > ' ' && c < 0x7f && !strchr("\"<>\\^`{|}#", c))
			continue;
		text[20] = (char)c;
		assert_non_null(refusal(text));
	}
}

static void test_backslash_is_refused_everywhere(void **state)
{
	(void)state;
	assert_refused_for("https://good.com\\@127.0.0.1/", "percent-encoded");
	assert_refused_for("https:\\\\example.com/", "percent-encoded");
	assert_refused_for("https://example.com/a\\b", "percent-encoded");
}

static void test_fragment_is_refused(void **state)
{
	(void)state;
	assert_refused_for("https://example.com/#a", "without fragment");
	assert_refused_for("https://example.com#@127.0.0.1/", "without fragment");
}

/* Full-width digits, an ideographic full stop, a soft hyphen, an umlaut. */
static void test_host_beyond_ascii_is_refused(void **state)
{
	static const char *const texts[] = {"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/",
		"http://127\343\200\2020.0.1/", "http://local\xc2\xadhost/",
		"https://m\xc3\xbcller.example/",
		"http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_host_is_of_letters_digits_and_inner_hyphens(void **state)
{
	static const char *const texts[] = {"https://a_b.example/", "https://-a.example/",
		"https://a-.example/", "https://a.-example/", "https://a!.example/",
		"https://a,b.example/", "https://a*.example/", "https://a b.example/",
		"https://a$.example/", "https://a;.example/"};

	(void)state;
	assert_all_refused(texts, N(texts));
	parse("https://a--b.0-9.example/");
}

static void test_port_that_is_none_is_refused(void **state)
{
	static const char *const texts[] = {"https://example.com:0/", "https://example.com:65536/",
		"https://example.com:99999/", "https://example.com:100000/",
		"https://example.com:/", "https://example.com:-1/", "https://example.com:+80/",
		"https://example.com:0x50/", "https://example.com:80a/",
		"https://example.com:80:80/", "https://[2001:db8::1]:0/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_refused_for(texts[i], "a port");
}

/* ---- Names of the own network ---- */

static bool is_internal(const char *text)
{
	struct url url = parse(text);

	return url_host_is_internal(&url);
}

static void test_names_of_the_own_network_are_internal(void **state)
{
	static const char *const texts[] = {"http://localhost/", "http://localhost./",
		"http://LOCALHOST/", "http://foo.localhost/", "http://foo.bar.localhost./",
		"http://printer.local/", "http://db.internal/", "http://metadata.google.internal/",
		"http://nas.home.arpa/", "http://home.arpa/", "http://abcdefgh.onion/",
		"http://intranet/", "http://com/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		if (!is_internal(texts[i]))
			fail_msg("%s is not internal", texts[i]);
	}
}

static void test_names_that_only_look_like_them_are_not_internal(void **state)
{
	static const char *const texts[] = {"http://localhost.example/", "http://mylocal.example/",
		"http://foo.mylocal/", "http://notinternal.example/",
		"http://internal.example.com/", "http://home.arpa.example/", "http://myhome.arpa/",
		"http://example.com/"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		if (is_internal(texts[i]))
			fail_msg("%s is internal", texts[i]);
	}
}

/* They are judged by the address rules. */
static void test_addresses_are_not_internal_names(void **state)
{
	(void)state;
	assert_false(is_internal("http://127.0.0.1/"));
	assert_false(is_internal("http://[::1]/"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts_of_a_url),
		cmocka_unit_test(test_port_defaults_to_that_of_the_scheme),
		cmocka_unit_test(test_scheme_may_be_in_capitals),
		cmocka_unit_test(test_host_is_made_lower_case),
		cmocka_unit_test(test_one_trailing_dot_is_stripped),
		cmocka_unit_test(test_path_is_not_needed),
		cmocka_unit_test(test_path_and_query_take_all_that_rfc_3986_does),
		cmocka_unit_test(test_international_name_is_fine_in_its_ascii_form),
		cmocka_unit_test(test_label_may_hold_63_characters),
		cmocka_unit_test(test_host_may_hold_253_characters),
		cmocka_unit_test(test_url_may_hold_2048_characters),
		cmocka_unit_test(test_any_port_is_a_port),
		cmocka_unit_test(test_ipv4_in_its_usual_form_is_a_literal),
		cmocka_unit_test(test_ipv4_in_other_spellings_is_refused),
		cmocka_unit_test(test_name_whose_last_label_is_a_number_is_refused),
		cmocka_unit_test(test_ipv6_in_brackets_is_a_literal),
		cmocka_unit_test(test_ipv6_zone_is_refused),
		cmocka_unit_test(test_other_things_in_brackets_are_refused),
		cmocka_unit_test(test_other_schemes_are_refused),
		cmocka_unit_test(test_scheme_needs_its_two_slashes),
		cmocka_unit_test(test_url_without_host_is_refused),
		cmocka_unit_test(test_user_info_is_refused),
		cmocka_unit_test(test_at_sign_in_the_path_is_no_user_info),
		cmocka_unit_test(test_percent_in_the_host_is_refused),
		cmocka_unit_test(test_characters_that_have_to_be_encoded_are_refused),
		cmocka_unit_test(test_backslash_is_refused_everywhere),
		cmocka_unit_test(test_fragment_is_refused),
		cmocka_unit_test(test_host_beyond_ascii_is_refused),
		cmocka_unit_test(test_host_is_of_letters_digits_and_inner_hyphens),
		cmocka_unit_test(test_port_that_is_none_is_refused),
		cmocka_unit_test(test_names_of_the_own_network_are_internal),
		cmocka_unit_test(test_names_that_only_look_like_them_are_not_internal),
		cmocka_unit_test(test_addresses_are_not_internal_names),
	};

	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
