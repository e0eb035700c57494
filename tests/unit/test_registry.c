#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/store/registry.h"
#include "helpers.h"

static struct registry *registry;

static int setup(void **state)
{
	(void)state;
	registry = registry_new();
	return registry ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	registry_free(registry);
	return 0;
}

static struct slot *put(uint32_t number, const char *tenant, const char *name, const char *type)
{
	struct endpoint draft = plain_endpoint(number, tenant, name);
	struct slot *slot;

	draft.types = &type;
	slot = registry_put(registry, endpoint_new(&draft));
	assert_non_null(slot);
	return slot;
}

static void put_removed(uint32_t number, const char *tenant, const char *name)
{
	struct endpoint draft = plain_endpoint(number, tenant, name);

	draft.removed = true;
	assert_non_null(registry_put(registry, endpoint_new(&draft)));
}

static void assert_numbers(
	const uint32_t *actual, size_t n, const uint32_t *expected, size_t n_expected)
{
	assert_int_equal(n, n_expected);
	assert_memory_equal(actual, expected, n * sizeof(*actual));
}

static void assert_targets(
	const char *tenant, const char *type, const uint32_t *expected, size_t n_expected)
{
	uint32_t numbers[16];
	size_t n = registry_targets(registry, tenant, type, numbers);

	assert_numbers(numbers, n, expected, n_expected);
}

#define NUMBERS(...) \
	(const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

/* ---- Finding ---- */

static void test_endpoint_is_found_by_name_and_by_number(void **state)
{
	struct slot *slot = put(7, "acme", "billing", "*");

	(void)state;
	assert_ptr_equal(registry_find(registry, "acme", "billing"), slot);
	assert_ptr_equal(registry_at(registry, 7), slot);
	assert_string_equal(slot->settings->name, "billing");
}

static void test_names_are_those_of_their_tenant(void **state)
{
	struct slot *acme = put(1, "acme", "billing", "*"), *none = put(2, "", "billing", "*");

	(void)state;
	assert_ptr_equal(registry_find(registry, "acme", "billing"), acme);
	assert_ptr_equal(registry_find(registry, "", "billing"), none);
	assert_null(registry_find(registry, "globex", "billing"));
}

static void test_unknown_endpoint_is_not_found(void **state)
{
	(void)state;
	assert_null(registry_find(registry, "acme", "billing"));
	assert_null(registry_at(registry, 7));
	put(7, "acme", "billing", "*");
	assert_null(registry_find(registry, "acme", "billin"));
	assert_null(registry_find(registry, "acme", "billing2"));
	assert_null(registry_at(registry, 6));
	assert_null(registry_at(registry, 8));
	assert_null(registry_at(registry, UINT32_MAX));
}

static void test_every_one_of_many_is_found(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t number = i * 7919 % 1000 + 1; /* each once, in no order */
		char name[16];

		snprintf(name, sizeof(name), "n%u", number);
		put(number, number % 3 ? "acme" : "", name, "*");
	}
	for (uint32_t number = 1; number <= 1000; number++) {
		char name[16];

		snprintf(name, sizeof(name), "n%u", number);
		assert_ptr_equal(registry_find(registry, number % 3 ? "acme" : "", name),
			registry_at(registry, number));
		assert_int_equal(registry_at(registry, number)->settings->number, number);
	}
}

static void test_new_settings_take_the_place_of_the_old(void **state)
{
	struct slot *slot = put(7, "acme", "billing", "order.*");

	(void)state;
	slot->deliveries[DELIVERY_PENDING] = 3;
	assert_ptr_equal(put(7, "acme", "billing", "user.*"), slot);
	assert_string_equal(slot->settings->types[0], "user.*");
	assert_int_equal(slot->deliveries[DELIVERY_PENDING], 3);
	assert_int_equal(registry_count(registry, "acme"), 1);
}

/* ---- Counting ---- */

static void test_endpoints_are_counted_by_tenant_and_in_all(void **state)
{
	(void)state;
	assert_int_equal(registry_total(registry), 0);
	put(1, "acme", "a", "*");
	put(2, "acme", "b", "*");
	put(3, "", "a", "*");
	assert_int_equal(registry_count(registry, "acme"), 2);
	assert_int_equal(registry_count(registry, ""), 1);
	assert_int_equal(registry_count(registry, "globex"), 0);
	assert_int_equal(registry_total(registry), 3);
}

/* ---- Targets ---- */

static void test_targets_are_who_takes_the_type(void **state)
{
	(void)state;
	put(1, "acme", "all", "*");
	put(2, "acme", "orders", "order.*");
	put(3, "acme", "users", "user.*");
	assert_targets("acme", "order.paid", NUMBERS(1, 2));
	assert_targets("acme", "user.deleted", NUMBERS(1, 3));
	assert_targets("acme", "other", NUMBERS(1));
}

static void test_targets_are_of_the_own_tenant_alone(void **state)
{
	(void)state;
	put(1, "acme", "all", "*");
	put(2, "globex", "all", "*");
	put(3, "", "all", "*");
	assert_targets("acme", "order.paid", NUMBERS(1));
	assert_targets("", "order.paid", NUMBERS(3));
	assert_targets("initech", "order.paid", NULL, 0);
}

/* ---- Removed endpoints ---- */

static void test_removed_endpoint_is_known_by_its_number_alone(void **state)
{
	(void)state;
	put(7, "acme", "billing", "*");
	put_removed(7, "acme", "billing");
	assert_null(registry_find(registry, "acme", "billing"));
	assert_true(registry_at(registry, 7)->settings->removed);
	assert_targets("acme", "order.paid", NULL, 0);
	assert_int_equal(registry_count(registry, "acme"), 0);
	assert_int_equal(registry_total(registry), 0);
}

static void test_removing_leaves_the_others_of_the_tenant(void **state)
{
	(void)state;
	put(1, "acme", "a", "*");
	put(2, "acme", "b", "*");
	put(3, "acme", "c", "*");
	put_removed(2, "acme", "b");
	assert_non_null(registry_find(registry, "acme", "a"));
	assert_null(registry_find(registry, "acme", "b"));
	assert_non_null(registry_find(registry, "acme", "c"));
	assert_int_equal(registry_count(registry, "acme"), 2);
}

static void test_name_of_a_removed_endpoint_may_be_taken_by_another(void **state)
{
	struct slot *fresh;

	(void)state;
	put(7, "acme", "billing", "*");
	put_removed(7, "acme", "billing");
	fresh = put(8, "acme", "billing", "*");
	assert_ptr_equal(registry_find(registry, "acme", "billing"), fresh);
	assert_true(registry_at(registry, 7)->settings->removed);
	put_removed(7, "acme", "billing"); /* a late change of the old one */
	assert_ptr_equal(registry_find(registry, "acme", "billing"), fresh);
	assert_int_equal(registry_count(registry, "acme"), 1);
}

/* As they are found at the start. */
static void test_endpoint_may_come_as_removed(void **state)
{
	(void)state;
	put_removed(7, "acme", "billing");
	assert_null(registry_find(registry, "acme", "billing"));
	assert_non_null(registry_at(registry, 7));
	assert_int_equal(registry_total(registry), 0);
}

static void test_forgotten_endpoint_is_gone(void **state)
{
	(void)state;
	put(7, "acme", "billing", "*");
	put_removed(7, "acme", "billing");
	registry_forget(registry, 7);
	assert_null(registry_at(registry, 7));
	assert_null(registry_next(registry, 0));
}

static void test_forgetting_an_unknown_number_does_nothing(void **state)
{
	(void)state;
	registry_forget(registry, 7);
	put(7, "acme", "billing", "*");
	registry_forget(registry, 8);
	registry_forget(registry, UINT32_MAX);
	assert_non_null(registry_at(registry, 7));
}

/* ---- In order ---- */

static void assert_listed(
	const char *tenant, const char *name, const uint32_t *expected, size_t n_expected)
{
	size_t n;
	uint32_t *numbers = registry_numbers(registry, tenant, name, &n);

	assert_non_null(numbers);
	assert_numbers(numbers, n, expected, n_expected);
	free(numbers);
}

static void test_numbers_are_sorted_and_know_removed_ones(void **state)
{
	(void)state;
	put(300, "acme", "billing", "*");
	put(2, "globex", "billing", "*");
	put(70, "acme", "audit", "*");
	put_removed(5, "acme", "billing");
	assert_listed(NULL, NULL, NUMBERS(2, 5, 70, 300));
	assert_listed("acme", NULL, NUMBERS(5, 70, 300));
	assert_listed(NULL, "billing", NUMBERS(2, 5, 300));
	assert_listed("acme", "billing", NUMBERS(5, 300));
	assert_listed("globex", "audit", NULL, 0);
}

static void test_numbers_of_nothing_are_an_empty_list(void **state)
{
	(void)state;
	assert_listed(NULL, NULL, NULL, 0);
}

static void test_long_list_of_numbers_is_whole(void **state)
{
	uint32_t expected[100];

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		char name[16];

		expected[i] = 2 * i + 1;
		snprintf(name, sizeof(name), "n%u", i);
		put(expected[i], "acme", name, "*");
	}
	assert_listed("acme", NULL, expected, 100);
}

static void test_next_goes_up_by_number(void **state)
{
	struct slot *a = put(3, "", "a", "*"), *b = put(200, "", "b", "*");

	(void)state;
	assert_ptr_equal(registry_next(registry, 0), a);
	assert_ptr_equal(registry_next(registry, 3), a);
	assert_ptr_equal(registry_next(registry, 4), b);
	assert_ptr_equal(registry_next(registry, 200), b);
	assert_null(registry_next(registry, 201));
	assert_null(registry_next(registry, UINT32_MAX));
}

static void test_previous_goes_down_by_number(void **state)
{
	struct slot *a = put(3, "", "a", "*"), *b = put(200, "", "b", "*");

	(void)state;
	assert_ptr_equal(registry_previous(registry, UINT32_MAX), b);
	assert_ptr_equal(registry_previous(registry, 200), b);
	assert_ptr_equal(registry_previous(registry, 199), a);
	assert_ptr_equal(registry_previous(registry, 3), a);
	assert_null(registry_previous(registry, 2));
	assert_null(registry_previous(registry, 0));
}

static void test_without_endpoints_there_is_no_next_nor_previous(void **state)
{
	(void)state;
	assert_null(registry_next(registry, 0));
	assert_null(registry_previous(registry, UINT32_MAX));
}

/* ---- What a batch counted ---- */

static struct touched touched_with(enum health health, const char *message)
{
	struct touched touched = {.endpoint = 7,
		.oldest_pending_ms = 1000,
		.tally = {.deliveries = {0, 1, 2, 3, 4},
			.health = health,
			.health_since_ms = 2000,
			.failures = 5,
			.last = {.number = 9, .result = RESULT_STATUS, .http_status = 503},
			.message_len = (uint16_t)strlen(message)}};

	memcpy(touched.tally.message, message, strlen(message));
	return touched;
}

static void test_update_takes_what_was_counted(void **state)
{
	struct slot *slot = put(7, "", "a", "*");
	struct touched touched = touched_with(HEALTH_FAILING, "503 Service Unavailable");

	(void)state;
	registry_update(slot, &touched);
	assert_memory_equal(slot->deliveries, touched.tally.deliveries, sizeof(slot->deliveries));
	assert_int_equal(slot->oldest_pending_ms, 1000);
	assert_int_equal(slot->health, HEALTH_FAILING);
	assert_int_equal(slot->health_since_ms, 2000);
	assert_int_equal(slot->failures, 5);
	assert_int_equal(slot->last.http_status, 503);
	assert_string_equal(slot->message, "503 Service Unavailable");
}

static void test_message_is_kept_while_the_endpoint_fails(void **state)
{
	struct slot *slot = put(7, "", "a", "*");
	struct touched failing = touched_with(HEALTH_FAILING, "503"),
		       worse = touched_with(HEALTH_FAILING, "timeout"),
		       ok = touched_with(HEALTH_OK, "204 No Content");

	(void)state;
	registry_update(slot, &failing);
	registry_update(slot, &worse);
	assert_string_equal(slot->message, "timeout");
	registry_update(slot, &ok);
	assert_null(slot->message);
}

static void test_message_need_not_end_with_nul(void **state)
{
	struct slot *slot = put(7, "", "a", "*");
	struct touched touched = touched_with(HEALTH_FAILING, "");

	(void)state;
	memset(touched.tally.message, 'm', sizeof(touched.tally.message));
	touched.tally.message_len = ATTEMPT_MESSAGE_MAX;
	registry_update(slot, &touched);
	assert_int_equal(strlen(slot->message), ATTEMPT_MESSAGE_MAX);
}

static void test_message_is_as_long_as_it_says(void **state)
{
	struct slot *slot = put(7, "", "a", "*");
	struct touched touched = touched_with(HEALTH_FAILING, "503 and what was there before");

	(void)state;
	touched.tally.message_len = 3;
	registry_update(slot, &touched);
	assert_string_equal(slot->message, "503");
}

static void test_no_registry_can_be_freed(void **state)
{
	(void)state;
	registry_free(NULL);
}

#define WITH_REGISTRY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_REGISTRY(test_endpoint_is_found_by_name_and_by_number),
		WITH_REGISTRY(test_names_are_those_of_their_tenant),
		WITH_REGISTRY(test_unknown_endpoint_is_not_found),
		WITH_REGISTRY(test_every_one_of_many_is_found),
		WITH_REGISTRY(test_new_settings_take_the_place_of_the_old),
		WITH_REGISTRY(test_endpoints_are_counted_by_tenant_and_in_all),
		WITH_REGISTRY(test_targets_are_who_takes_the_type),
		WITH_REGISTRY(test_targets_are_of_the_own_tenant_alone),
		WITH_REGISTRY(test_removed_endpoint_is_known_by_its_number_alone),
		WITH_REGISTRY(test_removing_leaves_the_others_of_the_tenant),
		WITH_REGISTRY(test_name_of_a_removed_endpoint_may_be_taken_by_another),
		WITH_REGISTRY(test_endpoint_may_come_as_removed),
		WITH_REGISTRY(test_forgotten_endpoint_is_gone),
		WITH_REGISTRY(test_forgetting_an_unknown_number_does_nothing),
		WITH_REGISTRY(test_numbers_are_sorted_and_know_removed_ones),
		WITH_REGISTRY(test_numbers_of_nothing_are_an_empty_list),
		WITH_REGISTRY(test_long_list_of_numbers_is_whole),
		WITH_REGISTRY(test_next_goes_up_by_number),
		WITH_REGISTRY(test_previous_goes_down_by_number),
		WITH_REGISTRY(test_without_endpoints_there_is_no_next_nor_previous),
		WITH_REGISTRY(test_update_takes_what_was_counted),
		WITH_REGISTRY(test_message_is_kept_while_the_endpoint_fails),
		WITH_REGISTRY(test_message_need_not_end_with_nul),
		WITH_REGISTRY(test_message_is_as_long_as_it_says),
		cmocka_unit_test(test_no_registry_can_be_freed),
	};

	return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
