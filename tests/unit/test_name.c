#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/name.h"

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

typedef bool is_valid(const char *text, size_t len);

static bool check(is_valid *valid, const char *text)
{
	return valid(text, strlen(text));
}

/* Which single characters are taken? prefix stands before each. */
static void assert_alphabet(is_valid *valid, const char *prefix, const char *allowed)
{
	for (int c = 0; c < 256; c++) {
		char text[8] = {0};
		size_t len = strlen(prefix);

		memcpy(text, prefix, len);
		text[len] = (char)c;
		if (valid(text, len + 1) != (c && strchr(allowed, c)))
			fail_msg("character 0x%02x behind \"%s\" is misjudged", c, prefix);
	}
}

static void assert_lengths(is_valid *valid, size_t max)
{
	char text[200];

	memset(text, 'a', sizeof(text));
	assert_false(valid(text, 0));
	assert_true(valid(text, 1));
	assert_true(valid(text, max));
	assert_false(valid(text, max + 1));
}

/* ---- Names ---- */

static void test_name_is_of_1_to_64_characters(void **state)
{
	(void)state;
	assert_lengths(name_is_valid, 64);
}

static void test_name_begins_with_letter_or_digit(void **state)
{
	(void)state;
	assert_alphabet(name_is_valid, "", ALPHANUMERIC);
}

static void test_name_goes_on_with_underscore_dot_and_hyphen_too(void **state)
{
	(void)state;
	assert_alphabet(name_is_valid, "a", ALPHANUMERIC "_.-");
}

static void test_name_may_end_anyhow(void **state)
{
	(void)state;
	assert_true(check(name_is_valid, "billing."));
	assert_true(check(name_is_valid, "billing-"));
	assert_true(check(name_is_valid, "a..b"));
}

/* ---- Types ---- */

static void test_type_is_of_1_to_128_characters(void **state)
{
	(void)state;
	assert_lengths(type_is_valid, 128);
}

static void test_type_is_of_letters_digits_and_five_others(void **state)
{
	(void)state;
	assert_alphabet(type_is_valid, "", ALPHANUMERIC "_-.:/");
	assert_alphabet(type_is_valid, "order.", ALPHANUMERIC "_-.:/");
}

/* ---- Patterns ---- */

static void test_pattern_is_a_type_or_a_prefix_or_all(void **state)
{
	(void)state;
	assert_true(check(pattern_is_valid, "order.paid"));
	assert_true(check(pattern_is_valid, "order.*"));
	assert_true(check(pattern_is_valid, "order.paid.*"));
	assert_true(check(pattern_is_valid, "*"));
}

static void test_star_elsewhere_is_no_pattern(void **state)
{
	static const char *const texts[] = {"", ".*", "**", "order*", "*.paid", "order.*.paid",
		"order.**", "order.*.*", "*.*", "order.* "};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (check(pattern_is_valid, texts[i]))
			fail_msg("\"%s\" is taken", texts[i]);
	}
}

static void test_pattern_may_be_a_type_of_128_characters_and_its_star(void **state)
{
	char text[PATTERN_MAX_LEN + 2];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text + 128, ".*", 3);
	assert_true(check(pattern_is_valid, text));
	memset(text, 'a', sizeof(text));
	memcpy(text + 129, ".*", 3);
	assert_false(check(pattern_is_valid, text));
}

static void test_star_matches_every_type(void **state)
{
	(void)state;
	assert_true(pattern_matches("*", "order"));
	assert_true(pattern_matches("*", "order.paid.eu"));
	assert_true(pattern_matches("*", "/fastapi-webhook"));
}

static void test_prefix_matches_what_is_below_it_at_any_depth(void **state)
{
	(void)state;
	assert_true(pattern_matches("order.*", "order.paid"));
	assert_true(pattern_matches("order.*", "order.paid.eu"));
	assert_true(pattern_matches("order.paid.*", "order.paid.eu"));
}

static void test_prefix_matches_neither_itself_nor_neighbours(void **state)
{
	(void)state;
	assert_false(pattern_matches("order.*", "order"));
	assert_false(pattern_matches("order.*", "order."));
	assert_false(pattern_matches("order.*", "orders.paid"));
	assert_false(pattern_matches("order.*", "orderxpaid"));
	assert_false(pattern_matches("order.*", "my.order.paid"));
	assert_false(pattern_matches("order.*", "Order.paid"));
	assert_false(pattern_matches("order.paid.*", "order.pai"));
}

static void test_type_matches_itself_alone(void **state)
{
	(void)state;
	assert_true(pattern_matches("order.paid", "order.paid"));
	assert_false(pattern_matches("order.paid", "order.pai"));
	assert_false(pattern_matches("order.paid", "order.paid.eu"));
	assert_false(pattern_matches("order", "order.paid"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_is_of_1_to_64_characters),
		cmocka_unit_test(test_name_begins_with_letter_or_digit),
		cmocka_unit_test(test_name_goes_on_with_underscore_dot_and_hyphen_too),
		cmocka_unit_test(test_name_may_end_anyhow),
		cmocka_unit_test(test_type_is_of_1_to_128_characters),
		cmocka_unit_test(test_type_is_of_letters_digits_and_five_others),
		cmocka_unit_test(test_pattern_is_a_type_or_a_prefix_or_all),
		cmocka_unit_test(test_star_elsewhere_is_no_pattern),
		cmocka_unit_test(test_pattern_may_be_a_type_of_128_characters_and_its_star),
		cmocka_unit_test(test_star_matches_every_type),
		cmocka_unit_test(test_prefix_matches_what_is_below_it_at_any_depth),
		cmocka_unit_test(test_prefix_matches_neither_itself_nor_neighbours),
		cmocka_unit_test(test_type_matches_itself_alone),
	};

	return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
