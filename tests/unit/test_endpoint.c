#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/endpoint.h"
#include "helpers.h"

#define NOW_MS ((int64_t)1795312692402)
#define DAY_MS ((int64_t)86400000)

static struct webhook_key key_of(uint8_t byte)
{
	struct webhook_key key = {.len = 32};

	memset(key.bytes, byte, key.len);
	return key;
}

/* ---- Copies ---- */

/* Everything that a draft can point to, on the heap, so that it can be destroyed. */
struct material {
	char tenant[8], name[8], url[32], description[16], ca[16], reason[16];
	char type[2][16], header_name[8], header_value[16];
	const char *types[2];
	struct endpoint_header headers[1];
	uint32_t waits_s[2];
	struct network networks[1];
	struct endpoint_secret secrets[ENDPOINT_SECRETS_MAX];
};

static const struct material material = {.tenant = "acme",
	.name = "billing",
	.url = "https://hooks.example.com/in",
	.description = "the books",
	.ca = "acme.pem",
	.reason = "being moved",
	.type = {"order.*", "user.deleted"},
	.header_name = "X-Token",
	.header_value = "hunter2",
	.waits_s = {5, 30},
	.networks = {{.family = 4, .bits = 8, .bytes = {10}}}};

static struct endpoint draft_of(struct material *m)
{
	*m = material;
	m->types[0] = m->type[0];
	m->types[1] = m->type[1];
	m->headers[0] = (struct endpoint_header){m->header_name, m->header_value};
	m->secrets[0] = (struct endpoint_secret){key_of(1), NOW_MS, 0};
	m->secrets[1] = (struct endpoint_secret){key_of(2), NOW_MS - DAY_MS, NOW_MS + DAY_MS};
	return (struct endpoint){.number = 7,
		.revision = 3,
		.tenant = m->tenant,
		.name = m->name,
		.url = m->url,
		.description = m->description,
		.types = m->types,
		.n_types = 2,
		.headers = m->headers,
		.n_headers = 1,
		.retry_waits_s = m->waits_s,
		.n_retry_waits = 2,
		.max_age_s = 3600,
		.timeout_s = 10,
		.max_in_flight = 4,
		.burst = 5,
		.rate_per_s = 2.5,
		.allow_http = true,
		.allow_private = {m->networks, 1},
		.ca = m->ca,
		.paused = PAUSED_BY_REQUEST,
		.state_since_ms = NOW_MS,
		.reason = m->reason,
		.secrets = m->secrets,
		.n_secrets = 2,
		.created_ms = NOW_MS - DAY_MS,
		.updated_ms = NOW_MS};
}

static void test_copy_owns_everything(void **state)
{
	struct material *m = malloc(sizeof(*m));
	struct endpoint draft = draft_of(m), *copy = endpoint_new(&draft);

	(void)state;
	memset(m, 0xa5, sizeof(*m));
	free(m);
	assert_string_equal(copy->tenant, "acme");
	assert_string_equal(copy->name, "billing");
	assert_string_equal(copy->url, "https://hooks.example.com/in");
	assert_string_equal(copy->description, "the books");
	assert_string_equal(copy->ca, "acme.pem");
	assert_string_equal(copy->reason, "being moved");
	assert_int_equal(copy->n_types, 2);
	assert_string_equal(copy->types[0], "order.*");
	assert_string_equal(copy->types[1], "user.deleted");
	assert_int_equal(copy->n_headers, 1);
	assert_string_equal(copy->headers[0].name, "X-Token");
	assert_string_equal(copy->headers[0].value, "hunter2");
	assert_int_equal(copy->n_retry_waits, 2);
	assert_int_equal(copy->retry_waits_s[0], 5);
	assert_int_equal(copy->retry_waits_s[1], 30);
	assert_int_equal(copy->allow_private.n, 1);
	assert_int_equal(copy->allow_private.list[0].bytes[0], 10);
	assert_int_equal(copy->n_secrets, 2);
	assert_int_equal(copy->secrets[0].key.bytes[31], 1);
	assert_int_equal(copy->secrets[1].key.bytes[0], 2);
	assert_int_equal(copy->secrets[1].expires_ms, NOW_MS + DAY_MS);
	endpoint_unref(copy);
}

static void test_copy_has_all_plain_members(void **state)
{
	struct material m;
	struct endpoint draft = draft_of(&m), *copy = endpoint_new(&draft);

	(void)state;
	assert_int_equal(copy->number, 7);
	assert_int_equal(copy->revision, 3);
	assert_int_equal(copy->max_age_s, 3600);
	assert_int_equal(copy->timeout_s, 10);
	assert_int_equal(copy->max_in_flight, 4);
	assert_int_equal(copy->burst, 5);
	assert_true(copy->rate_per_s == 2.5);
	assert_true(copy->allow_http);
	assert_false(copy->removed);
	assert_int_equal(copy->paused, PAUSED_BY_REQUEST);
	assert_int_equal(copy->state_since_ms, NOW_MS);
	assert_int_equal(copy->created_ms, NOW_MS - DAY_MS);
	assert_int_equal(copy->updated_ms, NOW_MS);
	endpoint_unref(copy);
}

static void test_what_is_not_set_stays_null_in_a_copy(void **state)
{
	struct endpoint draft = plain_endpoint(7, "", "billing"), *copy = endpoint_new(&draft);

	(void)state;
	assert_null(copy->retry_waits_s);
	assert_null(copy->ca);
	assert_null(copy->reason);
	assert_int_equal(copy->n_headers, 0);
	assert_int_equal(copy->n_secrets, 0);
	assert_int_equal(copy->allow_private.n, 0);
	endpoint_unref(copy);
}

/* A schedule without waits is one attempt; no schedule is the default. */
static void test_empty_schedule_is_not_the_default_in_a_copy(void **state)
{
	static const uint32_t none[1];
	struct endpoint draft = plain_endpoint(7, "", "billing"), *copy;

	(void)state;
	draft.retry_waits_s = none;
	draft.n_retry_waits = 0;
	copy = endpoint_new(&draft);
	assert_non_null(copy->retry_waits_s);
	endpoint_unref(copy);
}

static void test_copy_begins_with_one_reference(void **state)
{
	struct endpoint draft = plain_endpoint(7, "", "billing"), *copy;

	(void)state;
	draft.references = 99;
	copy = endpoint_new(&draft);
	assert_int_equal(copy->references, 1);
	assert_ptr_equal(endpoint_ref(copy), copy);
	assert_int_equal(copy->references, 2);
	endpoint_unref(copy);
	assert_string_equal(copy->name, "billing");
	endpoint_unref(copy);
}

static void test_no_endpoint_can_be_released(void **state)
{
	(void)state;
	endpoint_unref(NULL);
}

/* ---- Types and names ---- */

static bool takes(const char *const *types, unsigned n, const char *type)
{
	struct endpoint endpoint = {.types = types, .n_types = n};

	return endpoint_takes(&endpoint, type);
}

static void test_endpoint_takes_what_one_of_its_patterns_matches(void **state)
{
	static const char *const types[] = {"order.*", "user.deleted"};

	(void)state;
	assert_true(takes(types, 2, "order.paid"));
	assert_true(takes(types, 2, "user.deleted"));
	assert_false(takes(types, 2, "user.created"));
	assert_false(takes(types, 1, "user.deleted"));
	assert_false(takes(NULL, 0, "order.paid"));
}

static void test_address_is_tenant_and_name(void **state)
{
	struct endpoint endpoint = plain_endpoint(7, "acme", "billing");
	char text[ENDPOINT_ADDRESS_SIZE];

	(void)state;
	endpoint_address(&endpoint, text);
	assert_string_equal(text, "acme/billing");
}

static void test_address_in_the_default_tenant_is_the_name(void **state)
{
	struct endpoint endpoint = plain_endpoint(7, "", "billing");
	char text[ENDPOINT_ADDRESS_SIZE];

	(void)state;
	endpoint_address(&endpoint, text);
	assert_string_equal(text, "billing");
}

static void test_longest_address_has_room(void **state)
{
	char tenant[65] = "", name[65] = "", text[ENDPOINT_ADDRESS_SIZE];
	struct endpoint endpoint = plain_endpoint(7, tenant, name);

	(void)state;
	memset(tenant, 't', 64);
	memset(name, 'n', 64);
	endpoint_address(&endpoint, text);
	assert_int_equal(strlen(text), 129);
}

/* ---- Secrets ---- */

struct secrets {
	struct endpoint draft;
	struct endpoint_secret list[ENDPOINT_SECRETS_MAX];
};

/* With secrets of the keys n, n - 1 ... 1, newest first; all but the newest expire. */
static struct endpoint *with_secrets(struct secrets *s, unsigned n)
{
	*s = (struct secrets){.draft = {.n_secrets = n}};
	s->draft.secrets = s->list;
	for (unsigned i = 0; i < n; i++)
		s->list[i] = (struct endpoint_secret){
			key_of((uint8_t)(n - i)), NOW_MS - (i + 1) * 1000, i ? NOW_MS + DAY_MS : 0};
	return &s->draft;
}

static void rotate(struct endpoint *draft, uint8_t byte, int64_t overlap_ms)
{
	struct webhook_key key = key_of(byte);

	endpoint_rotate_secret(draft, &key, NOW_MS, NOW_MS + overlap_ms);
}

static void test_first_secret_needs_no_other(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 0);

	(void)state;
	rotate(draft, 9, DAY_MS);
	assert_int_equal(draft->n_secrets, 1);
	assert_int_equal(draft->secrets[0].key.bytes[0], 9);
	assert_int_equal(draft->secrets[0].created_ms, NOW_MS);
	assert_int_equal(draft->secrets[0].expires_ms, 0);
}

static void test_rotation_puts_the_new_secret_first(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 1);

	(void)state;
	rotate(draft, 9, DAY_MS);
	assert_int_equal(draft->n_secrets, 2);
	assert_int_equal(draft->secrets[0].key.bytes[0], 9);
	assert_int_equal(draft->secrets[0].expires_ms, 0);
	assert_int_equal(draft->secrets[1].key.bytes[0], 1);
}

static void test_old_secret_lives_for_the_overlap(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 1);

	(void)state;
	rotate(draft, 9, DAY_MS);
	assert_int_equal(draft->secrets[1].expires_ms, NOW_MS + DAY_MS);
}

static void test_rotation_never_lengthens_the_life_of_an_older_secret(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 2);

	(void)state;
	rotate(draft, 9, 30 * DAY_MS);
	assert_int_equal(draft->secrets[2].expires_ms, NOW_MS + DAY_MS);
}

static void test_rotation_may_shorten_the_life_of_an_older_secret(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 2);

	(void)state;
	rotate(draft, 9, 1000);
	assert_int_equal(draft->secrets[2].expires_ms, NOW_MS + 1000);
}

static void test_rotation_without_overlap_drops_all_others_at_once(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 3);

	(void)state;
	rotate(draft, 9, 0);
	assert_int_equal(draft->n_secrets, 1);
	assert_int_equal(draft->secrets[0].key.bytes[0], 9);
}

static void test_there_are_at_most_four_secrets(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, ENDPOINT_SECRETS_MAX);

	(void)state;
	rotate(draft, 9, DAY_MS);
	assert_int_equal(draft->n_secrets, 4);
	assert_int_equal(draft->secrets[0].key.bytes[0], 9);
	assert_int_equal(draft->secrets[1].key.bytes[0], 4);
	assert_int_equal(draft->secrets[3].key.bytes[0], 2); /* the oldest is gone */
}

static void test_secret_expires_when_its_time_has_come(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 2);

	(void)state;
	endpoint_expire_secrets(draft, NOW_MS + DAY_MS - 1);
	assert_int_equal(draft->n_secrets, 2);
	endpoint_expire_secrets(draft, NOW_MS + DAY_MS);
	assert_int_equal(draft->n_secrets, 1);
}

static void test_current_secret_never_expires(void **state)
{
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 1);

	(void)state;
	endpoint_expire_secrets(draft, INT64_MAX);
	assert_int_equal(draft->n_secrets, 1);
}

static void test_expired_secret_is_wiped_and_the_others_keep_their_order(void **state)
{
	static const uint8_t nothing[WEBHOOK_KEY_MAX];
	struct secrets s;
	struct endpoint *draft = with_secrets(&s, 3);

	(void)state;
	draft->secrets[1].expires_ms = NOW_MS;
	endpoint_expire_secrets(draft, NOW_MS);
	assert_int_equal(draft->n_secrets, 2);
	assert_int_equal(draft->secrets[0].key.bytes[0], 3);
	assert_int_equal(draft->secrets[1].key.bytes[0], 1);
	assert_memory_equal(draft->secrets[2].key.bytes, nothing, sizeof(nothing));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_owns_everything),
		cmocka_unit_test(test_copy_has_all_plain_members),
		cmocka_unit_test(test_what_is_not_set_stays_null_in_a_copy),
		cmocka_unit_test(test_empty_schedule_is_not_the_default_in_a_copy),
		cmocka_unit_test(test_copy_begins_with_one_reference),
		cmocka_unit_test(test_no_endpoint_can_be_released),
		cmocka_unit_test(test_endpoint_takes_what_one_of_its_patterns_matches),
		cmocka_unit_test(test_address_is_tenant_and_name),
		cmocka_unit_test(test_address_in_the_default_tenant_is_the_name),
		cmocka_unit_test(test_longest_address_has_room),
		cmocka_unit_test(test_first_secret_needs_no_other),
		cmocka_unit_test(test_rotation_puts_the_new_secret_first),
		cmocka_unit_test(test_old_secret_lives_for_the_overlap),
		cmocka_unit_test(test_rotation_never_lengthens_the_life_of_an_older_secret),
		cmocka_unit_test(test_rotation_may_shorten_the_life_of_an_older_secret),
		cmocka_unit_test(test_rotation_without_overlap_drops_all_others_at_once),
		cmocka_unit_test(test_there_are_at_most_four_secrets),
		cmocka_unit_test(test_secret_expires_when_its_time_has_come),
		cmocka_unit_test(test_current_secret_never_expires),
		cmocka_unit_test(test_expired_secret_is_wiped_and_the_others_keep_their_order),
	};

	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
