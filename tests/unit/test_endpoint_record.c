#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/store/endpoint_record.h"
#include "helpers.h"

#define NUMBER 7
#define NOW_MS ((int64_t)1795312692402)

static const struct secretbox box = {.current = {.bytes = {1}, .id = {1}}},
			      other_box = {.current = {.bytes = {2}, .id = {2}}},
			      forged_box = {.current = {.bytes = {2}, .id = {1}}},
			      changed_box = {.current = {.bytes = {2}, .id = {2}},
				      .previous = {.bytes = {1}, .id = {1}},
				      .has_previous = true};

/* ---- There and back ---- */

static uint8_t *write_record(const struct endpoint *endpoint, size_t *len)
{
	uint8_t *blob = endpoint_record_write(endpoint, &box, len);

	assert_non_null(blob);
	return blob;
}

/* What comes back of an endpoint; endpoint_unref() it. */
static struct endpoint *there_and_back(const struct endpoint *endpoint)
{
	struct endpoint *read;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];
	size_t len;
	uint8_t *blob = write_record(endpoint, &len);

	assert_int_equal(endpoint_record_read(endpoint->number, endpoint->removed, blob, len, &box,
				 &read, key_id),
		0);
	assert_memory_equal(key_id, box.current.id, sizeof(key_id));
	free(blob);
	return read;
}

static const char *const types[] = {"order.*", "user.deleted"};
static const struct endpoint_header headers[] = {{"X-Token", "hunter2"}, {"Authorization", ""}};
static const uint32_t waits_s[] = {5, 30, 604800};

/* With every member set to something of its own. */
static struct endpoint full_endpoint(void)
{
	static struct network networks[2] = {{.family = 4, .bits = 8, .bytes = {10}},
		{.family = 6, .bits = 128, .bytes = {0xfd, [15] = 1}}};
	static struct endpoint_secret secrets[2] = {
		{.key = {.bytes = {1, 2, 3, [31] = 4}, .len = 32}, .created_ms = NOW_MS},
		{.key = {.bytes = {5, [63] = 6}, .len = 64},
			.created_ms = NOW_MS - 1000,
			.expires_ms = NOW_MS + 1000}};

	return (struct endpoint){.number = NUMBER,
		.revision = 3,
		.tenant = "acme",
		.name = "billing",
		.url = "https://hooks.example.com/in",
		.description = "the books",
		.types = types,
		.n_types = 2,
		.headers = headers,
		.n_headers = 2,
		.retry_waits_s = waits_s,
		.n_retry_waits = 3,
		.max_age_s = 3600,
		.timeout_s = 10,
		.max_in_flight = 4,
		.burst = 5,
		.rate_per_s = 0.1,
		.allow_http = true,
		.allow_private = {networks, 2},
		.ca = "acme.pem",
		.paused = PAUSED_BY_HOOKD,
		.state_since_ms = NOW_MS - 2,
		.reason = "the receiver answered 410 Gone",
		.secrets = secrets,
		.n_secrets = 2,
		.created_ms = NOW_MS - 3,
		.updated_ms = NOW_MS - 1};
}

static void test_texts_come_back(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read = there_and_back(&endpoint);

	(void)state;
	assert_string_equal(read->tenant, "acme");
	assert_string_equal(read->name, "billing");
	assert_string_equal(read->url, "https://hooks.example.com/in");
	assert_string_equal(read->description, "the books");
	assert_string_equal(read->ca, "acme.pem");
	assert_string_equal(read->reason, "the receiver answered 410 Gone");
	endpoint_unref(read);
}

static void test_numbers_come_back(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read = there_and_back(&endpoint);

	(void)state;
	assert_int_equal(read->references, 1);
	assert_int_equal(read->number, NUMBER);
	assert_int_equal(read->revision, 3);
	assert_int_equal(read->max_age_s, 3600);
	assert_int_equal(read->timeout_s, 10);
	assert_int_equal(read->max_in_flight, 4);
	assert_int_equal(read->burst, 5);
	assert_true(read->rate_per_s == 0.1);
	assert_true(read->allow_http);
	assert_int_equal(read->paused, PAUSED_BY_HOOKD);
	assert_int_equal(read->state_since_ms, NOW_MS - 2);
	assert_int_equal(read->created_ms, NOW_MS - 3);
	assert_int_equal(read->updated_ms, NOW_MS - 1);
	endpoint_unref(read);
}

static void test_lists_come_back(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read = there_and_back(&endpoint);

	(void)state;
	assert_int_equal(read->n_types, 2);
	assert_string_equal(read->types[0], "order.*");
	assert_string_equal(read->types[1], "user.deleted");
	assert_int_equal(read->n_retry_waits, 3);
	assert_memory_equal(read->retry_waits_s, waits_s, sizeof(waits_s));
	assert_int_equal(read->allow_private.n, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			read->allow_private.list[i].family, endpoint.allow_private.list[i].family);
		assert_int_equal(
			read->allow_private.list[i].bits, endpoint.allow_private.list[i].bits);
		assert_memory_equal(read->allow_private.list[i].bytes,
			endpoint.allow_private.list[i].bytes, 16);
	}
	endpoint_unref(read);
}

static void test_secrets_and_headers_come_back(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read = there_and_back(&endpoint);

	(void)state;
	assert_int_equal(read->n_headers, 2);
	assert_string_equal(read->headers[0].name, "X-Token");
	assert_string_equal(read->headers[0].value, "hunter2");
	assert_string_equal(read->headers[1].value, "");
	assert_int_equal(read->n_secrets, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(read->secrets[i].key.len, endpoint.secrets[i].key.len);
		assert_memory_equal(read->secrets[i].key.bytes, endpoint.secrets[i].key.bytes,
			endpoint.secrets[i].key.len);
		assert_int_equal(read->secrets[i].created_ms, endpoint.secrets[i].created_ms);
		assert_int_equal(read->secrets[i].expires_ms, endpoint.secrets[i].expires_ms);
	}
	endpoint_unref(read);
}

static void test_what_is_not_set_comes_back_so(void **state)
{
	struct endpoint endpoint = plain_endpoint(NUMBER, "", "billing"),
			*read = there_and_back(&endpoint);

	(void)state;
	assert_string_equal(read->tenant, "");
	assert_string_equal(read->description, "");
	assert_null(read->retry_waits_s);
	assert_null(read->ca);
	assert_null(read->reason);
	assert_int_equal(read->n_headers, 0);
	assert_int_equal(read->n_secrets, 0);
	assert_int_equal(read->paused, NOT_PAUSED);
	assert_false(read->allow_http);
	endpoint_unref(read);
}

static void test_empty_schedule_does_not_come_back_as_the_default(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read;

	(void)state;
	endpoint.n_retry_waits = 0;
	read = there_and_back(&endpoint);
	assert_non_null(read->retry_waits_s);
	assert_int_equal(read->n_retry_waits, 0);
	endpoint_unref(read);
}

/* Whether it is removed stands beside the blob. */
static void test_removed_endpoint_comes_back_as_such(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read;

	(void)state;
	endpoint.removed = true;
	read = there_and_back(&endpoint);
	assert_true(read->removed);
	endpoint_unref(read);
}

/* Everything as long as the API lets it be. */
static void test_largest_endpoint_comes_back(void **state)
{
	static char url[2049], description[257], reason[257], type[131], header_name[201],
		value[201];
	static const char *many_types[ENDPOINT_TYPES_MAX];
	static struct endpoint_header many_headers[ENDPOINT_HEADERS_MAX];
	static uint32_t many_waits_s[50];
	static struct network many_networks[ENDPOINT_NETWORKS_MAX];
	static struct endpoint_secret many_secrets[ENDPOINT_SECRETS_MAX];
	struct endpoint endpoint = full_endpoint(), *read;

	(void)state;
	memset(url, 'u', sizeof(url) - 1);
	memset(description, 'd', sizeof(description) - 1);
	memset(reason, 'r', sizeof(reason) - 1);
	memset(type, 't', sizeof(type) - 1);
	memset(header_name, 'h', sizeof(header_name) - 1);
	memset(value, 'v', sizeof(value) - 1);
	for (int i = 0; i < ENDPOINT_TYPES_MAX; i++)
		many_types[i] = type;
	for (int i = 0; i < ENDPOINT_HEADERS_MAX; i++) /* 8 000 bytes of at most 8 192 */
		many_headers[i] = (struct endpoint_header){header_name, value};
	for (int i = 0; i < ENDPOINT_NETWORKS_MAX; i++)
		many_networks[i] = (struct network){.family = 6, .bits = 128};
	for (int i = 0; i < ENDPOINT_SECRETS_MAX; i++)
		many_secrets[i].key.len = WEBHOOK_KEY_MAX;
	endpoint.url = url;
	endpoint.description = description;
	endpoint.reason = reason;
	endpoint.types = many_types;
	endpoint.n_types = ENDPOINT_TYPES_MAX;
	endpoint.headers = many_headers;
	endpoint.n_headers = ENDPOINT_HEADERS_MAX;
	endpoint.retry_waits_s = many_waits_s;
	endpoint.n_retry_waits = 50;
	endpoint.allow_private = (struct networks){many_networks, ENDPOINT_NETWORKS_MAX};
	endpoint.secrets = many_secrets;
	endpoint.n_secrets = ENDPOINT_SECRETS_MAX;
	read = there_and_back(&endpoint);
	assert_string_equal(read->types[63], type);
	assert_string_equal(read->headers[19].value, value);
	assert_int_equal(read->n_secrets, ENDPOINT_SECRETS_MAX);
	endpoint_unref(read);
}

static void test_one_header_may_take_all_of_the_8_kib(void **state)
{
	static char value[ENDPOINT_HEADERS_BYTES_MAX];
	static const struct endpoint_header one = {"h", value};
	struct endpoint endpoint = full_endpoint(), *read;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	endpoint.headers = &one;
	endpoint.n_headers = 1;
	read = there_and_back(&endpoint);
	assert_string_equal(read->headers[0].value, value);
	endpoint_unref(read);
}

/* ---- What is refused ---- */

static int read_record(
	uint32_t number, const uint8_t *blob, size_t len, const struct secretbox *with)
{
	struct endpoint *endpoint;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];
	int r = endpoint_record_read(number, false, blob, len, with, &endpoint, key_id);

	if (r >= 0)
		endpoint_unref(endpoint);
	return r;
}

static void test_record_of_the_previous_key_is_read_and_told_apart(void **state)
{
	struct endpoint endpoint = full_endpoint(), *read;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	assert_int_equal(
		endpoint_record_read(NUMBER, false, blob, len, &changed_box, &read, key_id),
		RECORD_OLD_KEY);
	assert_memory_equal(key_id, box.current.id, sizeof(key_id));
	assert_int_equal(read->n_secrets, endpoint.n_secrets);
	assert_int_equal(read->n_headers, endpoint.n_headers);
	assert_int_equal(read->paused, endpoint.paused);
	endpoint_unref(read);
	free(blob);
}

/* Everything but what is sealed is there, nothing may be sent, and the reason says what to do. */
static void assert_is_locked(const struct endpoint *read, const struct endpoint *written)
{
	assert_int_equal(read->n_secrets, 0);
	assert_int_equal(read->n_headers, 0);
	assert_int_equal(read->paused, PAUSED_BY_HOOKD);
	assert_non_null(strstr(read->reason, "rotate-secret"));
	for (unsigned i = 0; i < written->n_headers; i++) {
		assert_non_null(strstr(read->reason, written->headers[i].name));
		if (written->headers[i].value[0])
			assert_null(strstr(read->reason, written->headers[i].value));
	}
	assert_string_equal(read->url, written->url);
	assert_int_equal(read->n_types, written->n_types);
	assert_true(strlen(read->reason) <= ENDPOINT_REASON_MAX);
}

static void assert_read_locked(
	uint32_t number, const uint8_t *blob, size_t len, const struct secretbox *with, int outcome)
{
	struct endpoint written = full_endpoint(), *read;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];

	assert_int_equal(
		endpoint_record_read(number, false, blob, len, with, &read, key_id), outcome);
	assert_is_locked(read, &written);
	assert_memory_equal(key_id, box.current.id, sizeof(key_id));
	endpoint_unref(read);
}

static void test_record_sealed_with_another_key_comes_back_without_its_secrets(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	assert_read_locked(NUMBER, blob, len, &other_box, RECORD_NO_KEY);
	assert_read_locked(NUMBER, blob, len, &forged_box, RECORD_LOCKED);
	free(blob);
}

static void test_box_of_another_endpoint_comes_back_without_its_secrets(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	assert_read_locked(NUMBER + 1, blob, len, &box, RECORD_LOCKED);
	free(blob);
}

static void test_reason_of_a_locked_endpoint_keeps_within_its_bound(void **state)
{
	static char names[ENDPOINT_HEADERS_MAX][129];
	static struct endpoint_header many[ENDPOINT_HEADERS_MAX];
	struct endpoint endpoint = full_endpoint(), *read;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN], *blob;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < ENDPOINT_HEADERS_MAX; i++) {
		memset(names[i], 'a' + (int)i, 128);
		many[i] = (struct endpoint_header){names[i], "v"};
	}
	endpoint.headers = many;
	endpoint.n_headers = ENDPOINT_HEADERS_MAX;
	blob = write_record(&endpoint, &len);
	assert_int_equal(endpoint_record_read(NUMBER, false, blob, len, &forged_box, &read, key_id),
		RECORD_LOCKED);
	assert_true(strlen(read->reason) <= ENDPOINT_REASON_MAX);
	endpoint_unref(read);
	free(blob);
}

static void test_every_truncation_is_refused(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *piece =
			malloc(cut ? cut : 1); /* so that the sanitizer sees a byte too many */

		memcpy(piece, blob, cut);
		assert_int_equal(read_record(NUMBER, piece, cut, &box), -EBADMSG);
		free(piece);
	}
	free(blob);
}

/* guard would read beyond the address. */
static void test_network_that_cannot_be_is_refused(void **state)
{
	static const struct network impossible[] = {{.family = 4, .bits = 33},
		{.family = 6, .bits = 129}, {.family = 6, .bits = 255}, {.family = 0, .bits = 8},
		{.family = 5, .bits = 8}};

	(void)state;
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		struct endpoint endpoint = full_endpoint();
		struct network network = impossible[i];
		uint8_t *blob;
		size_t len;

		endpoint.allow_private = (struct networks){&network, 1};
		blob = write_record(&endpoint, &len);
		assert_int_equal(read_record(NUMBER, blob, len, &box), -EBADMSG);
		free(blob);
	}
}

static void test_record_that_goes_on_is_refused(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	blob = realloc(blob, len + 1);
	blob[len] = 0;
	assert_int_equal(read_record(NUMBER, blob, len + 1, &box), -EBADMSG);
	free(blob);
}

/* The settings are guarded by the checksum around the blob; here they only must do no harm. */
static void test_no_changed_byte_does_harm(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		static const uint8_t changes[] = {0x01, 0x80, 0xff};

		for (size_t c = 0; c < sizeof(changes); c++) {
			blob[i] ^= changes[c];
			assert_in_set(read_record(NUMBER, blob, len, &box),
				((const LargestIntegralType[]){0, RECORD_NO_KEY, RECORD_LOCKED,
					(LargestIntegralType)-EBADMSG}),
				4);
			blob[i] ^= changes[c];
		}
	}
	free(blob);
}

static void test_secrets_and_header_values_are_not_readable_in_a_record(void **state)
{
	struct endpoint endpoint = full_endpoint();
	size_t len;
	uint8_t *blob = write_record(&endpoint, &len);

	(void)state;
	assert_null(memmem(blob, len, "hunter2", 7));
	assert_null(memmem(blob, len, "\1\2\3\0\0\0\0\0", 8));
	assert_non_null(memmem(blob, len, "X-Token", 7)); /* names are no secrets */
	free(blob);
}

static void test_endpoint_that_does_not_fit_is_not_written(void **state)
{
	static char value[ENDPOINT_HEADERS_BYTES_MAX + 2048];
	static const struct endpoint_header one = {"h", value};
	struct endpoint endpoint = full_endpoint();
	size_t len;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	endpoint.headers = &one;
	endpoint.n_headers = 1;
	assert_null(endpoint_record_write(&endpoint, &box, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts_come_back),
		cmocka_unit_test(test_numbers_come_back),
		cmocka_unit_test(test_lists_come_back),
		cmocka_unit_test(test_secrets_and_headers_come_back),
		cmocka_unit_test(test_what_is_not_set_comes_back_so),
		cmocka_unit_test(test_empty_schedule_does_not_come_back_as_the_default),
		cmocka_unit_test(test_removed_endpoint_comes_back_as_such),
		cmocka_unit_test(test_largest_endpoint_comes_back),
		cmocka_unit_test(test_one_header_may_take_all_of_the_8_kib),
		cmocka_unit_test(test_record_of_the_previous_key_is_read_and_told_apart),
		cmocka_unit_test(
			test_record_sealed_with_another_key_comes_back_without_its_secrets),
		cmocka_unit_test(test_box_of_another_endpoint_comes_back_without_its_secrets),
		cmocka_unit_test(test_reason_of_a_locked_endpoint_keeps_within_its_bound),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_network_that_cannot_be_is_refused),
		cmocka_unit_test(test_record_that_goes_on_is_refused),
		cmocka_unit_test(test_no_changed_byte_does_harm),
		cmocka_unit_test(test_secrets_and_header_values_are_not_readable_in_a_record),
		cmocka_unit_test(test_endpoint_that_does_not_fit_is_not_written),
	};

	return cmocka_run_group_tests_name("endpoint_record", tests, NULL, NULL);
}
