#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/text.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static size_t sequence(const char *bytes)
{
	return text_utf8_sequence((const uint8_t *)bytes, strlen(bytes));
}

/* UTF-8 by its definition (RFC 3629 section 3), whatever the code. */
static size_t encode(uint32_t code, uint8_t bytes[4])
{
	if (code < 0x80) {
		bytes[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		bytes[0] = (uint8_t)(0xc0 | code >> 6);
		bytes[1] = (uint8_t)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		bytes[0] = (uint8_t)(0xe0 | code >> 12);
		bytes[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		bytes[2] = (uint8_t)(0x80 | (code & 0x3f));
		return 3;
	}
	bytes[0] = (uint8_t)(0xf0 | code >> 18);
	bytes[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
	bytes[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
	bytes[3] = (uint8_t)(0x80 | (code & 0x3f));
	return 4;
}

/* ---- Sequences ---- */

static void test_every_code_point_but_surrogates_is_a_sequence(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x1fffff; code++) {
		uint8_t bytes[4];
		size_t len = encode(code, bytes);
		bool exists = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

		if (text_utf8_sequence(bytes, len) != (exists ? len : 0))
			fail_msg("U+%04x is misjudged", code);
	}
}

static void test_longer_form_than_needed_is_no_sequence(void **state)
{
	static const char *const texts[] = {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",
		"\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_int_equal(sequence(texts[i]), 0);
}

static void test_stray_bytes_are_no_sequence(void **state)
{
	(void)state;
	for (int c = 0x80; c < 0x100; c++) {
		uint8_t bytes[4] = {(uint8_t)c, 'a', 'a', 'a'};

		assert_int_equal(text_utf8_sequence(bytes, 4), 0);
	}
}

static void test_each_following_byte_has_to_be_one(void **state)
{
	(void)state;
	for (size_t len = 2; len <= 4; len++) {
		for (size_t at = 1; at < len; at++) {
			uint8_t bytes[4];

			encode(len == 2 ? 0xe4 : len == 3 ? 0x20ac : 0x1f600, bytes);
			bytes[at] = 'a';
			assert_int_equal(text_utf8_sequence(bytes, len), 0);
			bytes[at] = 0xc0;
			assert_int_equal(text_utf8_sequence(bytes, len), 0);
		}
	}
}

static void test_cut_off_sequence_is_none_and_nothing_beyond_is_read(void **state)
{
	(void)state;
	for (size_t len = 2; len <= 4; len++) {
		for (size_t left = 0; left < len; left++) {
			uint8_t bytes[4], *cut = malloc(left ? left : 1);

			encode(len == 2 ? 0xe4 : len == 3 ? 0x20ac : 0x1f600, bytes);
			memcpy(cut, bytes, left);
			assert_int_equal(text_utf8_sequence(cut, left), 0);
			free(cut);
		}
	}
}

static void test_text_is_utf8_when_all_of_it_is(void **state)
{
	(void)state;
	assert_true(text_is_utf8("", 0));
	assert_true(text_is_utf8("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 10));
	assert_false(text_is_utf8("a\xff", 2));
	assert_false(text_is_utf8("\xffz", 2));
	assert_false(text_is_utf8("a\xe2\x82\xac", 3)); /* of which the last byte is cut off */
}

/* ---- Values of headers ---- */

static bool is_visible(const char *text, char lowest)
{
	return text_is_visible(text, strlen(text), 5, lowest);
}

static void test_visible_text_has_its_length(void **state)
{
	(void)state;
	assert_false(is_visible("", '!'));
	assert_true(is_visible("a", '!'));
	assert_true(is_visible("abcde", '!'));
	assert_false(is_visible("abcdef", '!'));
}

static void test_visible_text_has_no_controls_and_nothing_beyond_ascii(void **state)
{
	(void)state;
	for (int c = 0; c < 0x100; c++) {
		char text[] = {'a', (char)c, 'b'};

		assert_int_equal(text_is_visible(text, 3, 3, '!'), c > 0x20 && c < 0x7f);
		assert_int_equal(text_is_visible(text, 3, 3, ' '), c >= 0x20 && c < 0x7f);
	}
}

/* Who reads a header takes the space in front for one behind the colon. */
static void test_visible_text_does_not_begin_with_a_space(void **state)
{
	(void)state;
	assert_true(is_visible("a b", ' '));
	assert_false(is_visible(" ", ' '));
	assert_false(is_visible(" a", ' '));
}

/* ---- Cleaning ---- */

static void assert_cleaned(const char *bytes, size_t len, const char *expected)
{
	char *text = malloc(len + 1); /* all the room that it may use */

	text_clean_bytes(bytes, len, text);
	assert_string_equal(text, expected);
	free(text);
}

static void test_clean_leaves_text_alone(void **state)
{
	static const char text[] = "503 Service Unavailable, \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";

	(void)state;
	assert_cleaned(text, strlen(text), text);
}

static void test_clean_turns_line_ends_and_tabs_into_spaces(void **state)
{
	(void)state;
	assert_cleaned("a\r\nb\tc", 6, "a  b c");
}

static void test_clean_replaces_control_characters(void **state)
{
	(void)state;
	for (int c = 0; c < 0x20; c++) {
		char bytes[3] = {'a', (char)c, 'b'};

		if (c != '\t' && c != '\r' && c != '\n')
			assert_cleaned(bytes, 3, "a?b");
	}
	assert_cleaned("\x1b[31m\x7f", 6, "?[31m?");
}

/* Terminals obey U+009B like ESC [. */
static void test_clean_replaces_the_controls_of_latin_1(void **state)
{
	(void)state;
	assert_cleaned("\xc2\x80\xc2\x9b\xc2\x9f", 6, "???");
	assert_cleaned("\xc2\xa0", 2, "\xc2\xa0");
}

static void test_clean_replaces_each_byte_that_is_not_utf8(void **state)
{
	(void)state;
	assert_cleaned("a\xff\xfe z", 5, "a?? z");
	assert_cleaned("\xe2\x82", 2, "??");
	assert_cleaned("\xe2\x82\xe2\x82\xac", 5, "??\xe2\x82\xac");
}

static void test_clean_of_nothing_is_empty(void **state)
{
	(void)state;
	assert_cleaned("", 0, "");
}

static void test_clean_works_in_place(void **state)
{
	char text[] = "a\xc2\x9b\x1b\xff\xc3\xa4\nb";

	(void)state;
	text_clean(text);
	assert_string_equal(text, "a???\xc3\xa4 b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_point_but_surrogates_is_a_sequence),
		cmocka_unit_test(test_longer_form_than_needed_is_no_sequence),
		cmocka_unit_test(test_stray_bytes_are_no_sequence),
		cmocka_unit_test(test_each_following_byte_has_to_be_one),
		cmocka_unit_test(test_cut_off_sequence_is_none_and_nothing_beyond_is_read),
		cmocka_unit_test(test_text_is_utf8_when_all_of_it_is),
		cmocka_unit_test(test_visible_text_has_its_length),
		cmocka_unit_test(test_visible_text_has_no_controls_and_nothing_beyond_ascii),
		cmocka_unit_test(test_visible_text_does_not_begin_with_a_space),
		cmocka_unit_test(test_clean_leaves_text_alone),
		cmocka_unit_test(test_clean_turns_line_ends_and_tabs_into_spaces),
		cmocka_unit_test(test_clean_replaces_control_characters),
		cmocka_unit_test(test_clean_replaces_the_controls_of_latin_1),
		cmocka_unit_test(test_clean_replaces_each_byte_that_is_not_utf8),
		cmocka_unit_test(test_clean_of_nothing_is_empty),
		cmocka_unit_test(test_clean_works_in_place),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
