#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/problem.h"

static void test_set_fills_all_members_and_returns_the_code(void **state)
{
	struct problem problem = {.line = 7};

	(void)state;
	assert_int_equal(
		problem_set(&problem, PROBLEM_INVALID, "url", "expected %d of %s", 3, "them"),
		PROBLEM_INVALID);
	assert_int_equal(problem.code, PROBLEM_INVALID);
	assert_string_equal(problem.field, "url");
	assert_string_equal(problem.detail, "expected 3 of them");
	assert_int_equal(problem.line, 0);
}

static void test_problem_without_field_has_an_empty_one(void **state)
{
	struct problem problem;

	(void)state;
	problem_set(&problem, PROBLEM_FULL, NULL, "no room");
	assert_string_equal(problem.field, "");
}

static void test_words_that_are_too_long_are_cut_off(void **state)
{
	struct problem problem;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	problem_set(&problem, PROBLEM_INVALID, text, "%s", text);
	assert_int_equal(strlen(problem.field), sizeof(problem.field) - 1);
	assert_int_equal(strlen(problem.detail), sizeof(problem.detail) - 1);
}

static void test_codes_have_the_names_and_statuses_of_the_api(void **state)
{
	static const struct {
		enum problem_code code;
		const char *name;
		int http_status;
	} codes[] = {
		{PROBLEM_MALFORMED, "malformed", 400},
		{PROBLEM_INVALID, "invalid", 400},
		{PROBLEM_FORBIDDEN, "forbidden", 403},
		{PROBLEM_NOT_FOUND, "not_found", 404},
		{PROBLEM_METHOD, "method", 405},
		{PROBLEM_EXISTS, "exists", 409},
		{PROBLEM_LENGTH, "length", 411},
		{PROBLEM_TOO_LARGE, "too_large", 413},
		{PROBLEM_MEDIA_TYPE, "media_type", 415},
		{PROBLEM_KEY_REUSED, "key_reused", 422},
		{PROBLEM_TOO_MANY, "too_many", 429},
		{PROBLEM_BUSY, "busy", 503},
		{PROBLEM_STOPPING, "stopping", 503},
		{PROBLEM_UNKNOWN, "unknown", 503},
		{PROBLEM_FULL, "full", 507},
	};

	(void)state;
	assert_int_equal(sizeof(codes) / sizeof(codes[0]), N_PROBLEM_CODES - 1);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_string_equal(problem_name(codes[i].code), codes[i].name);
		assert_int_equal(problem_http_status(codes[i].code), codes[i].http_status);
	}
}

static void test_every_code_has_a_title_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < N_PROBLEM_CODES; a++) {
		assert_non_null(problem_title((enum problem_code)a));
		for (int b = 0; b < a; b++)
			assert_string_not_equal(problem_title((enum problem_code)a),
				problem_title((enum problem_code)b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_fills_all_members_and_returns_the_code),
		cmocka_unit_test(test_problem_without_field_has_an_empty_one),
		cmocka_unit_test(test_words_that_are_too_long_are_cut_off),
		cmocka_unit_test(test_codes_have_the_names_and_statuses_of_the_api),
		cmocka_unit_test(test_every_code_has_a_title_of_its_own),
	};

	return cmocka_run_group_tests_name("problem", tests, NULL, NULL);
}
