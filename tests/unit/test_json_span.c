#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/json_span.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

static bool span_is(struct span span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

static void assert_span(struct span span, const char *text)
{
	if (!span_is(span, text))
		fail_msg("\"%.*s\" instead of \"%s\"", (int)span.len, span.at, text);
}

static bool is_valid(struct span text)
{
	return json_span_value(text, NULL, NULL) == 0;
}

static void assert_all_valid(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_valid(span_of(texts[i])))
			fail_msg("%s is refused", texts[i]);
	}
}

static void assert_all_refused(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_valid(span_of(texts[i])))
			fail_msg("%s is accepted", texts[i]);
	}
}

/* ---- What is JSON ---- */

static void test_every_kind_of_value_is_accepted(void **state)
{
	static const char *const texts[] = {"null", "true", "false", "0", "\"\"", "\"text\"", "[]",
		"{}", "[1,2]", "{\"a\":1,\"b\":[{}]}"};

	(void)state;
	assert_all_valid(texts, N(texts));
}

static void test_numbers_of_the_grammar_are_accepted(void **state)
{
	static const char *const texts[] = {"0", "-0", "10", "-1.50", "0.5e1", "1E+2", "1e-2",
		"0e0", "123456789012345678901234567890", "1e99999", "-0.0E-0"};

	(void)state;
	assert_all_valid(texts, N(texts));
}

static void test_other_numbers_are_refused(void **state)
{
	static const char *const texts[] = {"01", "-", "+1", ".5", "1.", "1.e1", "1e", "1e+", "--1",
		"0x10", "1_0", "NaN", "Infinity", "-Infinity", "1.2.3"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_words_are_taken_exactly(void **state)
{
	static const char *const texts[] = {
		"nul", "nulll", "True", "FALSE", "tru", "fals", "undefined"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_escapes_of_the_grammar_are_accepted(void **state)
{
	static const char *const texts[] = {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00e4\\uABCD\"",
		"\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "\"\\ude00x\""};

	(void)state;
	assert_all_valid(texts, N(texts));
}

static void test_other_escapes_are_refused(void **state)
{
	static const char *const texts[] = {"\"\\a\"", "\"\\'\"", "\"\\x41\"", "\"\\u12\"",
		"\"\\u12g4\"", "\"\\U0041\"", "\"\\\n\"", "\"\\\"", "\"\\u123"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_control_characters_in_strings_are_refused(void **state)
{
	(void)state;
	for (int c = 0; c < 0x20; c++) {
		char text[3] = {'"', (char)c, '"'};

		assert_false(is_valid((struct span){text, 3}));
	}
}

static void test_strings_are_utf8(void **state)
{
	static const char *const good[] = {"\"\xc3\xa4\"", "\"\xe2\x82\xac\"",
		"\"\xf0\x9f\x98\x80\"", "\"\x7f\"", "{\"\xc3\xa4\":1}"};
	static const char *const bad[] = {"\"\x80\"", "\"\xc3\"", "\"\xc0\x80\"",
		"\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xff\"", "{\"\xe4\":1}"};

	(void)state;
	assert_all_valid(good, N(good));
	assert_all_refused(bad, N(bad));
}

static void test_punctuation_has_to_be_right(void **state)
{
	static const char *const texts[] = {"", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]",
		"[,1]", "[1 2]", "[1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1]", "{a:1}",
		"{1:1}", "{\"a\" 1}", "{,}", "\"open", "1,2", "{} {}", "[1]]", "'a'", "// note\n1",
		"[1/**/]"};

	(void)state;
	assert_all_refused(texts, N(texts));
}

static void test_white_space_is_of_four_kinds(void **state)
{
	static const char *const good[] = {
		" \t\r\n1 \t\r\n", "[ 1 , 2 ]", "{ \"a\" : 1 , \"b\":2 }", "[ ]"};
	static const char *const bad[] = {"\v1", "\f1",
		"\xc2\xa0"
		"1",
		"\xef\xbb\xbf"
		"1"};

	(void)state;
	assert_all_valid(good, N(good));
	assert_all_refused(bad, N(bad));
}

static void test_nul_is_not_the_end(void **state)
{
	(void)state;
	assert_false(is_valid((struct span){"1\0", 2}));
	assert_false(is_valid((struct span){"\0", 1}));
	assert_false(is_valid((struct span){"\"a\\\0b\"", 6}));
}

static void test_only_the_given_length_is_read(void **state)
{
	static const char whole[] = "{\"a\":[1.5e1,\"\\u00e4\xc3\xa4\",true,null]}";

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *text = malloc(len ? len : 1); /* so that the sanitizer sees a byte too many */

		memcpy(text, whole, len);
		assert_false(is_valid((struct span){text, len}));
		free(text);
	}
}

static bool is_valid_at_depth(size_t depth, char open, char close)
{
	char text[2 * JSON_SPAN_DEPTH_MAX + 4];

	memset(text, open, depth);
	memset(text + depth, close, depth);
	return is_valid((struct span){text, 2 * depth});
}

static void test_nesting_ends_at_512_levels(void **state)
{
	(void)state;
	assert_true(is_valid_at_depth(JSON_SPAN_DEPTH_MAX, '[', ']'));
	assert_false(is_valid_at_depth(JSON_SPAN_DEPTH_MAX + 1, '[', ']'));
}

static void test_error_says_how_many_levels_there_may_be(void **state)
{
	char text[JSON_SPAN_DEPTH_MAX + 1];
	struct json_span_error error;

	(void)state;
	memset(text, '[', sizeof(text));
	assert_int_equal(json_span_value((struct span){text, sizeof(text)}, NULL, &error), -EINVAL);
	assert_int_equal(error.offset, JSON_SPAN_DEPTH_MAX);
	assert_string_equal(error.expected, "at most 512 levels of nesting");
}

static void test_value_of_a_member_has_one_level_less(void **state)
{
	static const size_t deepest = JSON_SPAN_DEPTH_MAX - 1;
	char text[2 * JSON_SPAN_DEPTH_MAX + 1];
	struct json_span_error error = {0};
	struct span value;

	(void)state;
	memset(text, '[', deepest);
	memset(text + deepest, ']', deepest);
	assert_int_equal(
		json_span_member_value((struct span){text, 2 * deepest}, &value, &error), 0);
	assert_int_equal(value.len, 2 * deepest);
	memset(text, '[', deepest + 1);
	memset(text + deepest + 1, ']', deepest + 1);
	assert_int_equal(json_span_member_value((struct span){text, 2 * deepest + 2}, NULL, &error),
		-EINVAL);
	assert_int_equal(error.offset, deepest);
	assert_string_equal(error.expected, "at most 511 levels of nesting");
}

/* Whether a level is an object or an array is kept in one bit each. */
static void test_brackets_match_at_every_depth(void **state)
{
	(void)state;
	for (size_t wrong = 0; wrong < 20; wrong++) {
		char text[256] = "";

		for (size_t i = 0; i < 20; i++)
			strcat(text, i % 3 ? "[" : "{\"a\":");
		strcat(text, "1");
		for (size_t i = 20; i-- > 0;) {
			bool object = i % 3 == 0;

			if (i == wrong)
				object = !object;
			strcat(text, object ? "}" : "]");
		}
		assert_false(is_valid(span_of(text)));
	}
}

/* ---- Extents and errors ---- */

static void test_extent_is_without_white_space(void **state)
{
	struct span value;

	(void)state;
	assert_int_equal(json_span_value(span_of(" \n{ \"a\" : 1.10 }\t "), &value, NULL), 0);
	assert_span(value, "{ \"a\" : 1.10 }");
}

static void test_error_tells_where_and_what(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		const char *expected;
	} cases[] = {
		{"", 0, "a value"},
		{"[1,]", 3, "a value"},
		{"{\"a\":1,}", 7, "a member name in quotes"},
		{"{\"a\" 1}", 5, "':' after the member name"},
		{"[1 2]", 3, "',' or ']'"},
		{"{\"a\":1 2}", 7, "',' or '}'"},
		{"\"a\n\"", 2, "control characters in strings written as escapes"},
		{"\"a\xff\"", 2, "UTF-8"},
		{"\"a", 2, "the string's closing quote"},
		{"\"\\q\"", 2, "one of \" \\ / b f n r t u after the backslash"},
		{"\"\\u00x0\"", 5, "four hexadecimal digits"},
		{"-x", 1, "a digit"},
		{"1.x", 2, "a digit after the decimal point"},
		{"1ex", 2, "a digit of the exponent"},
		{"1 2", 2, "nothing behind the value"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct json_span_error error = {0};

		assert_int_equal(json_span_value(span_of(cases[i].text), NULL, &error), -EINVAL);
		assert_string_equal(error.expected, cases[i].expected);
		assert_int_equal(error.offset, cases[i].offset);
	}
}

/* ---- Members ---- */

static void assert_members(const char *object, const char *const (*members)[2], size_t n)
{
	struct json_span_walk walk;
	struct json_span_member member;

	assert_true(json_span_walk_begin(&walk, span_of(object), NULL));
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(json_span_walk_next(&walk, &member), 1);
		assert_span(member.name, members[i][0]);
		assert_span(member.value, members[i][1]);
	}
	assert_int_equal(json_span_walk_next(&walk, &member), 0);
}

static void test_walk_gives_the_bytes_of_each_member(void **state)
{
	static const char *const members[][2] = {{"n", "1.10"}, {"s", "\"\\u00e4,}\""},
		{"o", "{ \"x\":[1] }"}, {"a", "[1, 2]"}, {"z", "null"}};

	(void)state;
	assert_members(
		"{ \"n\" : 1.10 ,\"s\":\"\\u00e4,}\", \"o\": { \"x\":[1] },\n\"a\":[1, 2],\"z\":null}",
		members, N(members));
}

static void test_walk_leaves_names_as_they_are_written(void **state)
{
	static const char *const members[][2] = {
		{"\\u0061", "1"}, {"a", "2"}, {"", "3"}, {"\\\"", "4"}};

	(void)state;
	assert_members("{\"\\u0061\":1,\"a\":2,\"\":3,\"\\\"\":4}", members, N(members));
}

static void test_walk_over_an_empty_object_ends_at_once(void **state)
{
	(void)state;
	assert_members("{}", NULL, 0);
	assert_members("{ \n}", NULL, 0);
}

static void test_walk_begins_at_an_object_only(void **state)
{
	static const char *const texts[] = {"", " ", "[]", "1", "}", "\"{\"", "null{}"};
	struct json_span_walk walk;

	(void)state;
	for (size_t i = 0; i < N(texts); i++)
		assert_false(json_span_walk_begin(&walk, span_of(texts[i]), NULL));
	assert_true(json_span_walk_begin(&walk, span_of(" \n{}"), NULL));
}

/* The walk validates as json_span_value() does: an error is found at the same place, with the same
 * words. */
static void test_walk_finds_the_errors_of_the_text(void **state)
{
	static const char *const texts[] = {"{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
		"{,}", "{\"a\":1,}", "{\"a\" 1}", "{\"a\":1 2}", "{\"a\":1,,\"b\":2}",
		"{\"a\":[1}}", "{\"a\":1}}", "{} x", " {\"a\":{}} {}", "{\"a\":\"\xff\"}",
		"{\"\\q\":1}", "{\"a\":.1}", "{\"a\":1]", "{1:1}", "{\"a\":{\"b\":1,}}"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		struct json_span_error error = {0}, expected = {0};
		struct json_span_member member;
		struct json_span_walk walk;
		int r;

		assert_int_equal(json_span_value(span_of(texts[i]), NULL, &expected), -EINVAL);
		assert_true(json_span_walk_begin(&walk, span_of(texts[i]), &error));
		while ((r = json_span_walk_next(&walk, &member)) > 0)
			;
		assert_int_equal(r, -EINVAL);
		assert_string_equal(error.expected, expected.expected);
		assert_int_equal(error.offset, expected.offset);
	}
}

static void test_walk_counts_its_own_level_of_nesting(void **state)
{
	char text[2 * JSON_SPAN_DEPTH_MAX + 16] = "{\"a\":";
	struct json_span_member member;
	struct json_span_walk walk;

	(void)state;
	for (size_t inner = JSON_SPAN_DEPTH_MAX - 1; inner <= JSON_SPAN_DEPTH_MAX; inner++) {
		memset(text + 5, '[', inner);
		memset(text + 5 + inner, ']', inner);
		strcpy(text + 5 + 2 * inner, "}");
		assert_true(json_span_walk_begin(&walk, span_of(text), NULL));
		assert_int_equal(json_span_walk_next(&walk, &member),
			inner < JSON_SPAN_DEPTH_MAX ? 1 : -EINVAL);
		assert_int_equal(is_valid(span_of(text)), inner < JSON_SPAN_DEPTH_MAX);
	}
}

static void test_value_tells_its_kind(void **state)
{
	struct span body;

	(void)state;
	assert_true(json_span_is_null(span_of("null")));
	assert_false(json_span_is_null(span_of("\"null\"")));
	assert_false(json_span_is_null(span_of("true")));
	assert_false(json_span_is_string(span_of("1"), &body));
	assert_true(json_span_is_string(span_of("\"a b\""), &body));
	assert_span(body, "a b");
}

/* ---- Strings ---- */

static void assert_unescaped(const char *body, const char *expected)
{
	char text[64];

	assert_int_equal(json_span_unescape(span_of(body), text, sizeof(text)), strlen(expected));
	assert_string_equal(text, expected);
}

static void test_unescape_resolves_every_escape(void **state)
{
	(void)state;
	assert_unescaped("", "");
	assert_unescaped("plain \xc3\xa4", "plain \xc3\xa4");
	assert_unescaped("\\\"\\\\\\/", "\"\\/");
	assert_unescaped("\\b\\f\\n\\r\\t", "\b\f\n\r\t");
}

static void test_unescape_writes_utf8_of_every_length(void **state)
{
	(void)state;
	assert_unescaped("\\u0001\\u007f", "\x01\x7f");
	assert_unescaped("\\u0080\\u07FF", "\xc2\x80\xdf\xbf");
	assert_unescaped(
		"\\u0800\\ud7ff\\ue000\\uffff", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf");
	assert_unescaped("\\ud800\\udc00\\uDBFF\\uDFFF", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void test_unescape_refuses_what_c_strings_and_utf8_cannot_hold(void **state)
{
	static const char *const bodies[] = {"\\u0000", "\\ud83d", "\\ud83dx", "\\ud83d\\n",
		"\\ude00", "\\ud83d\\ud83d", "\\ud83d\\u0041", "\\ude00\\ud83d"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < N(bodies); i++)
		assert_int_equal(
			json_span_unescape(span_of(bodies[i]), text, sizeof(text)), -EINVAL);
}

static void test_unescape_never_writes_beyond_its_room(void **state)
{
	const struct span body =
		span_of("a\\u00e4\\ud83d\\ude00b"); /* 1 + 2 + 4 + 1 bytes, and NUL */

	(void)state;
	for (size_t size = 0; size <= 9; size++) {
		char *text = malloc(size ? size : 1);

		assert_int_equal(json_span_unescape(body, text, size), size < 9 ? -ENOSPC : 8);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_of_value_is_accepted),
		cmocka_unit_test(test_numbers_of_the_grammar_are_accepted),
		cmocka_unit_test(test_other_numbers_are_refused),
		cmocka_unit_test(test_words_are_taken_exactly),
		cmocka_unit_test(test_escapes_of_the_grammar_are_accepted),
		cmocka_unit_test(test_other_escapes_are_refused),
		cmocka_unit_test(test_control_characters_in_strings_are_refused),
		cmocka_unit_test(test_strings_are_utf8),
		cmocka_unit_test(test_punctuation_has_to_be_right),
		cmocka_unit_test(test_white_space_is_of_four_kinds),
		cmocka_unit_test(test_nul_is_not_the_end),
		cmocka_unit_test(test_only_the_given_length_is_read),
		cmocka_unit_test(test_nesting_ends_at_512_levels),
		cmocka_unit_test(test_error_says_how_many_levels_there_may_be),
		cmocka_unit_test(test_value_of_a_member_has_one_level_less),
		cmocka_unit_test(test_brackets_match_at_every_depth),
		cmocka_unit_test(test_extent_is_without_white_space),
		cmocka_unit_test(test_error_tells_where_and_what),
		cmocka_unit_test(test_walk_gives_the_bytes_of_each_member),
		cmocka_unit_test(test_walk_leaves_names_as_they_are_written),
		cmocka_unit_test(test_walk_over_an_empty_object_ends_at_once),
		cmocka_unit_test(test_walk_begins_at_an_object_only),
		cmocka_unit_test(test_walk_finds_the_errors_of_the_text),
		cmocka_unit_test(test_walk_counts_its_own_level_of_nesting),
		cmocka_unit_test(test_value_tells_its_kind),
		cmocka_unit_test(test_unescape_resolves_every_escape),
		cmocka_unit_test(test_unescape_writes_utf8_of_every_length),
		cmocka_unit_test(test_unescape_refuses_what_c_strings_and_utf8_cannot_hold),
		cmocka_unit_test(test_unescape_never_writes_beyond_its_room),
	};

	return cmocka_run_group_tests_name("json_span", tests, NULL, NULL);
}
