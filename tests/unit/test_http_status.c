#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/http_status.h"

static void test_known_status_has_its_registered_name(void **state)
{
	(void)state;
	assert_string_equal(http_status_name(200), "OK");
	assert_string_equal(http_status_name(204), "No Content");
	assert_string_equal(http_status_name(308), "Permanent Redirect");
	assert_string_equal(http_status_name(410), "Gone");
	assert_string_equal(http_status_name(429), "Too Many Requests");
	assert_string_equal(http_status_name(503), "Service Unavailable");
	assert_string_equal(http_status_name(511), "Network Authentication Required");
}

static void test_status_of_the_table_of_answers_has_a_name(void **state)
{
	static const int statuses[] = {200, 408, 410, 425, 429, 500, 502, 503, 504};

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		assert_string_not_equal(http_status_name(statuses[i]), "");
}

static void test_unknown_status_has_an_empty_name(void **state)
{
	static const int statuses[] = {-1, 0, 99, 299, 418, 599, 600, 999, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		assert_string_equal(http_status_name(statuses[i]), "");
}

static void test_no_status_has_no_name_at_all(void **state)
{
	(void)state;
	for (int status = -10; status < 1010; status++)
		assert_non_null(http_status_name(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_status_has_its_registered_name),
		cmocka_unit_test(test_status_of_the_table_of_answers_has_a_name),
		cmocka_unit_test(test_unknown_status_has_an_empty_name),
		cmocka_unit_test(test_no_status_has_no_name_at_all),
	};

	return cmocka_run_group_tests_name("http_status", tests, NULL, NULL);
}
