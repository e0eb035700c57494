#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/attempt_frame.h"
#include "../../daemon/channel.h"
#include "helpers.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Frames as bytes ---- */

struct frame_bytes {
	uint8_t at[2 * CONFIG_FRAME_SIZE];
	size_t len;
};

static struct byte_reader reader_of(const uint8_t *bytes, size_t len)
{
	return (struct byte_reader){bytes, bytes + len, false};
}

static struct text_span span_of(const char *text)
{
	return (struct text_span){text, strlen(text)};
}

static void assert_span(struct text_span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.at, text, span.len);
}

/* Reads every beginning of a frame, and the frame with a byte more: none of them is one. */
static void assert_only_whole(
	const struct frame_bytes *frame, bool (*is_read)(const uint8_t *bytes, size_t len))
{
	assert_true(is_read(frame->at, frame->len));
	for (size_t len = 0; len <= frame->len + 1; len++) {
		uint8_t *piece =
			malloc(len ? len : 1); /* so that the sanitizer sees a byte too many */

		memcpy(piece, frame->at, len);
		if (len > frame->len)
			piece[frame->len] = 0;
		if (len != frame->len && is_read(piece, len))
			fail_msg("%zu bytes of %zu are read", len, frame->len);
		free(piece);
	}
}

/* ---- The configuration ---- */

static struct sender_config a_config(void)
{
	struct sender_config config = {.user_agent = "hookd/1.0.0",
		.ca_file = "/etc/ssl/certs/ca-certificates.crt",
		.dns_servers = "127.0.0.1:5353",
		.connect_timeout_ms = 5000,
		.max_in_flight = 512,
		.landlock_optional = true,
		.allowed = {.n = 1},
		.denied = {.n = 2},
		.ports = {.list = {{80, 80}, {1024, 65535}}, .n = 2}};

	network_parse("10.0.0.0/8", &config.allowed.list[0]);
	network_parse("192.168.1.7", &config.denied.list[0]);
	network_parse("fd00:1::/64", &config.denied.list[1]);
	return config;
}

static struct frame_bytes put_config(const struct sender_config *config)
{
	struct frame_bytes frame = {.len = 0};
	struct byte_writer w = {.at = frame.at, .size = CONFIG_FRAME_SIZE};

	frame_put_config(&w, config);
	assert_false(w.overflow);
	frame.len = w.used;
	return frame;
}

static bool get_config(const uint8_t *bytes, size_t len)
{
	struct byte_reader r = reader_of(bytes, len);
	struct sender_config config;

	return frame_get_config(&r, &config);
}

static void assert_networks(const struct config_networks *a, const struct config_networks *b)
{
	assert_int_equal(a->n, b->n);
	for (size_t i = 0; i < a->n; i++) {
		assert_int_equal(a->list[i].family, b->list[i].family);
		assert_int_equal(a->list[i].bits, b->list[i].bits);
		assert_memory_equal(a->list[i].bytes, b->list[i].bytes, 16);
	}
}

static void assert_config_comes_through(const struct sender_config *config)
{
	struct frame_bytes frame = put_config(config);
	struct byte_reader r = reader_of(frame.at, frame.len);
	struct sender_config read;

	assert_true(frame_get_config(&r, &read));
	assert_string_equal(read.user_agent, config->user_agent);
	assert_string_equal(read.ca_file, config->ca_file);
	assert_string_equal(read.dns_servers, config->dns_servers);
	assert_int_equal(read.connect_timeout_ms, config->connect_timeout_ms);
	assert_int_equal(read.max_in_flight, config->max_in_flight);
	assert_int_equal(read.landlock_optional, config->landlock_optional);
	assert_networks(&read.allowed, &config->allowed);
	assert_networks(&read.denied, &config->denied);
	assert_int_equal(read.ports.n, config->ports.n);
	assert_memory_equal(read.ports.list, config->ports.list,
		config->ports.n * sizeof(config->ports.list[0]));
}

static void test_config_comes_through(void **state)
{
	struct sender_config config = a_config();

	(void)state;
	assert_config_comes_through(&config);
}

static void test_least_config_comes_through(void **state)
{
	struct sender_config config = {.max_in_flight = 1};

	(void)state;
	assert_config_comes_through(&config);
}

static void test_largest_config_comes_through(void **state)
{
	struct sender_config config = a_config();

	(void)state;
	memset(config.user_agent, 'u', sizeof(config.user_agent) - 1);
	memset(config.ca_file, 'c', sizeof(config.ca_file) - 1);
	memset(config.dns_servers, 'd', sizeof(config.dns_servers) - 1);
	config.allowed.n = config.denied.n = config.ports.n = CONFIG_LIST_MAX;
	for (int i = 0; i < CONFIG_LIST_MAX; i++) {
		network_parse("10.0.0.0/8", &config.allowed.list[i]);
		network_parse("2001:db8::1", &config.denied.list[i]);
		config.ports.list[i] = (struct port_range){1, 65535};
	}
	assert_config_comes_through(&config);
}

static void test_config_is_read_whole_or_not(void **state)
{
	struct sender_config config = a_config();
	struct frame_bytes frame = put_config(&config);

	(void)state;
	assert_only_whole(&frame, get_config);
}

static void test_config_of_another_version_is_refused(void **state)
{
	struct sender_config config = a_config();
	struct frame_bytes frame = put_config(&config);

	(void)state;
	frame.at[1] = CHANNEL_VERSION + 1;
	assert_false(get_config(frame.at, frame.len));
}

static void test_config_with_a_nul_in_a_text_is_refused(void **state)
{
	struct sender_config config = a_config();
	struct frame_bytes frame = put_config(&config);
	uint8_t *agent = memmem(frame.at, frame.len, "hookd/1", 7);

	(void)state;
	agent[2] = '\0';
	assert_false(get_config(frame.at, frame.len));
}

static void test_config_with_an_impossible_network_is_refused(void **state)
{
	static const struct network impossible[] = {{.family = 0, .bits = 0},
		{.family = 5, .bits = 8}, {.family = 4, .bits = 33}, {.family = 6, .bits = 129}};

	(void)state;
	for (size_t i = 0; i < N(impossible); i++) {
		struct sender_config config = a_config();
		struct frame_bytes frame;

		config.allowed.list[0] = impossible[i];
		frame = put_config(&config);
		assert_false(get_config(frame.at, frame.len));
	}
}

/* A text of a frame, of any length, before what follows it in whole. */
static void test_config_with_too_long_a_text_is_refused(void **state)
{
	struct frame_bytes frame = {.len = 0};
	struct byte_writer w = {.at = frame.at, .size = sizeof(frame.at)};
	struct sender_config config = a_config(), longest = config;
	struct frame_bytes whole;
	char agent[65];

	(void)state;
	memset(agent, 'u', sizeof(agent));
	memset(longest.user_agent, 'u', sizeof(longest.user_agent) - 1);
	whole = put_config(&longest);
	put_u16(&w, CHANNEL_VERSION);
	put_string(&w, agent, 64); /* one more than there is room for */
	put_bytes(&w, whole.at + 4 + 63, whole.len - 4 - 63);
	assert_false(get_config(frame.at, w.used));
	assert_true(get_config(whole.at, whole.len));
}

static void test_config_with_too_many_networks_is_refused(void **state)
{
	struct sender_config config = {.max_in_flight = 1};
	struct frame_bytes frame = put_config(&config);
	size_t at = 2 + 3 * 2 + 2 * 4 + 1; /* behind version, empty texts, numbers, flags */
	static const uint8_t network[18] = {4, 32};

	(void)state;
	assert_int_equal(frame.at[at], 0);
	memmove(frame.at + at + 65 * 18, frame.at + at, frame.len - at);
	frame.at[at] = 65;
	for (int i = 0; i < 65; i++)
		memcpy(frame.at + at + 1 + i * 18, network, 18);
	assert_false(get_config(frame.at, frame.len + 65 * 18));
}

/* ---- Requests ---- */

static struct network request_networks[1];

static struct sender_request a_request(void)
{
	struct sender_request request = {.slot = 0x0102030405060708,
		.timeout_ms = 15000,
		.allow_http = true,
		.allow_private = {request_networks, 1},
		.url = span_of("https://hooks.example.com/in"),
		.headers = {span_of("webhook-id: evt_1"), span_of("X-Empty:")},
		.n_headers = 2,
		.ca = span_of("-----BEGIN CERTIFICATE-----"),
		.body = {"{\"a\":\"\0\"}", 9}};

	network_parse("10.0.0.0/8", &request_networks[0]);
	return request;
}

static struct frame_bytes put_request(const struct sender_request *request)
{
	struct frame_bytes frame = {.len = 0};
	struct byte_writer w = {.at = frame.at, .size = frame_request_size(request)};

	assert_true(w.size <= sizeof(frame.at));
	frame_put_request(&w, request);
	assert_false(w.overflow);
	frame.len = w.used;
	return frame;
}

static bool get_request(const uint8_t *bytes, size_t len)
{
	struct byte_reader r = reader_of(bytes, len);
	struct network networks[CONFIG_LIST_MAX];
	struct sender_request request;

	return frame_get_request(&r, &request, networks);
}

static void test_request_comes_through(void **state)
{
	struct sender_request request = a_request(), read;
	struct frame_bytes frame = put_request(&request);
	struct byte_reader r = reader_of(frame.at, frame.len);
	struct network networks[CONFIG_LIST_MAX];

	(void)state;
	assert_true(frame_get_request(&r, &read, networks));
	assert_int_equal(read.slot, request.slot);
	assert_int_equal(read.timeout_ms, 15000);
	assert_true(read.allow_http);
	assert_false(read.body_in_file);
	assert_int_equal(read.allow_private.n, 1);
	assert_int_equal(read.allow_private.list[0].bytes[0], 10);
	assert_span(read.url, "https://hooks.example.com/in");
	assert_int_equal(read.n_headers, 2);
	assert_span(read.headers[0], "webhook-id: evt_1");
	assert_span(read.headers[1], "X-Empty:");
	assert_span(read.ca, "-----BEGIN CERTIFICATE-----");
	assert_int_equal(read.body.len, 9);
	assert_memory_equal(read.body.at, request.body.at, 9);
}

static void test_request_with_its_body_in_a_file_tells_its_length_alone(void **state)
{
	struct sender_request request = a_request(), read;
	struct network networks[CONFIG_LIST_MAX];
	struct frame_bytes frame;
	struct byte_reader r;

	(void)state;
	request.allow_http = false;
	request.body_in_file = true;
	request.body = (struct text_span){NULL, 1000000};
	frame = put_request(&request);
	r = reader_of(frame.at, frame.len);
	assert_true(frame_get_request(&r, &read, networks));
	assert_true(read.body_in_file);
	assert_false(read.allow_http);
	assert_null(read.body.at);
	assert_int_equal(read.body.len, 1000000);
}

static void test_least_request_comes_through(void **state)
{
	struct sender_request request = {
		.url = span_of(""), .ca = span_of(""), .body = span_of("")};
	struct frame_bytes frame = put_request(&request);

	(void)state;
	assert_true(get_request(frame.at, frame.len));
}

static void test_request_of_32_headers_comes_through(void **state)
{
	struct sender_request request = a_request();
	struct frame_bytes frame;

	(void)state;
	for (int i = 0; i < REQUEST_HEADERS_MAX; i++)
		request.headers[i] = span_of("X-Header: value");
	request.n_headers = REQUEST_HEADERS_MAX;
	frame = put_request(&request);
	assert_true(get_request(frame.at, frame.len));
}

static void test_request_of_33_headers_is_refused(void **state)
{
	struct frame_bytes frame = {.len = 0};
	struct byte_writer w = {.at = frame.at, .size = sizeof(frame.at)};

	(void)state;
	put_u64(&w, 1);
	put_u32(&w, 15000);
	put_u8(&w, 0); /* flags */
	put_u8(&w, 0); /* networks */
	put_string(&w, "https://example.com/", 20);
	put_u8(&w, 33);
	for (int i = 0; i < 33; i++)
		put_string(&w, "a: b", 4);
	put_u32(&w, 0); /* ca */
	put_u32(&w, 0); /* body */
	assert_false(get_request(frame.at, w.used));
}

static void test_request_is_read_whole_or_not(void **state)
{
	struct sender_request request = a_request();
	struct frame_bytes frame = put_request(&request);

	(void)state;
	assert_only_whole(&frame, get_request);
}

/* curl would cut it there, and send something else than was signed. */
static void test_request_with_a_nul_in_url_or_header_is_refused(void **state)
{
	static const char *const texts[] = {"https://hooks", "webhook-id", "X-Empty"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		struct sender_request request = a_request();
		struct frame_bytes frame = put_request(&request);
		uint8_t *found = memmem(frame.at, frame.len, texts[i], strlen(texts[i]));

		assert_non_null(found);
		found[3] = '\0';
		assert_false(get_request(frame.at, frame.len));
	}
}

static void test_request_with_an_impossible_network_is_refused(void **state)
{
	struct sender_request request = a_request();
	struct frame_bytes frame;

	(void)state;
	request_networks[0].bits = 33;
	frame = put_request(&request);
	assert_false(get_request(frame.at, frame.len));
}

static void test_size_of_a_request_is_always_enough(void **state)
{
	static char text[3000];
	static struct network networks[CONFIG_LIST_MAX];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < CONFIG_LIST_MAX; i++)
		networks[i] = (struct network){.family = 6, .bits = 128};
	for (int i = 0; i < 1000; i++) {
		struct sender_request request = {.allow_private = {networks, random_below(65)},
			.url = {text, random_below(2049)},
			.n_headers = random_below(33),
			.ca = {text, random_below(3000)},
			.body = {text, random_below(3000)},
			.body_in_file = random_below(2)};
		struct frame_bytes frame;

		for (unsigned h = 0; h < request.n_headers; h++)
			request.headers[h] = (struct text_span){text, random_below(300)};
		frame = put_request(&request);
		assert_true(get_request(frame.at, frame.len));
	}
}

/* ---- Outcomes ---- */

static struct sender_outcome an_outcome(void)
{
	struct sender_outcome outcome = {.slot = 0x0102030405060708,
		.result = RESULT_STATUS,
		.http_status = 503,
		.duration_us = 812000,
		.peer = peer_at("203.0.113.9"),
		.retry_after = "120",
		.message_len = 23,
		.response_len = 4};

	memcpy(outcome.message, "503 Service Unavailable", 23);
	memcpy(outcome.response, "\0\xff<h", 4);
	return outcome;
}

static struct frame_bytes put_outcome(const struct sender_outcome *outcome)
{
	struct frame_bytes frame = {.len = 0};
	struct byte_writer w = {.at = frame.at, .size = OUTCOME_FRAME_SIZE};

	frame_put_outcome(&w, outcome);
	assert_false(w.overflow);
	frame.len = w.used;
	return frame;
}

static bool get_outcome(const uint8_t *bytes, size_t len)
{
	struct byte_reader r = reader_of(bytes, len);
	struct sender_outcome outcome;

	return frame_get_outcome(&r, &outcome);
}

static bool comes_through(const struct sender_outcome *outcome, struct sender_outcome *read)
{
	struct frame_bytes frame = put_outcome(outcome);
	struct byte_reader r = reader_of(frame.at, frame.len);

	return frame_get_outcome(&r, read);
}

static bool is_taken(enum local_fault fault, enum attempt_result result, uint16_t http_status)
{
	struct sender_outcome outcome = an_outcome(), read;

	outcome.fault = fault;
	outcome.result = result;
	outcome.http_status = http_status;
	return comes_through(&outcome, &read);
}

static void test_outcome_comes_through(void **state)
{
	struct sender_outcome outcome = an_outcome(), read;

	(void)state;
	assert_true(comes_through(&outcome, &read));
	assert_int_equal(read.slot, outcome.slot);
	assert_int_equal(read.fault, NO_LOCAL_FAULT);
	assert_int_equal(read.result, RESULT_STATUS);
	assert_int_equal(read.http_status, 503);
	assert_int_equal(read.duration_us, 812000);
	assert_int_equal(read.peer.family, 4);
	assert_memory_equal(read.peer.bytes, outcome.peer.bytes, 16);
	assert_int_equal(read.peer.port, 443);
	assert_string_equal(read.retry_after, "120");
	assert_int_equal(read.message_len, 23);
	assert_memory_equal(read.message, outcome.message, 23);
	assert_int_equal(read.response_len, 4);
	assert_memory_equal(read.response, outcome.response, 4);
}

static void test_longest_outcome_fits_its_frame(void **state)
{
	struct sender_outcome outcome = an_outcome(), read;

	(void)state;
	memset(outcome.retry_after, 'r', sizeof(outcome.retry_after) - 1);
	memset(outcome.message, 'm', sizeof(outcome.message));
	memset(outcome.response, 'b', sizeof(outcome.response));
	outcome.message_len = ATTEMPT_MESSAGE_MAX;
	outcome.response_len = ATTEMPT_RESPONSE_MAX;
	assert_true(comes_through(&outcome, &read));
	assert_int_equal(read.message_len, ATTEMPT_MESSAGE_MAX);
	assert_int_equal(read.response_len, ATTEMPT_RESPONSE_MAX);
}

static void test_outcome_is_read_whole_or_not(void **state)
{
	struct sender_outcome outcome = an_outcome();
	struct frame_bytes frame = put_outcome(&outcome);

	(void)state;
	assert_only_whole(&frame, get_outcome);
}

static void test_message_is_cleaned(void **state)
{
	static const char dirty[] = "a\x1b[31m\xff\n\xc2\x9b\0z";
	struct sender_outcome outcome = an_outcome(), read;

	(void)state;
	outcome.message_len = sizeof(dirty) - 1;
	memcpy(outcome.message, dirty, outcome.message_len);
	assert_true(comes_through(&outcome, &read));
	assert_int_equal(read.message_len, 11);
	assert_memory_equal(read.message, "a?[31m? ??z", 11);
}

static void test_outcome_with_too_long_a_text_is_refused(void **state)
{
	static const size_t lens[][3] = {
		{64, 0, 0}, {0, ATTEMPT_MESSAGE_MAX + 1, 0}, {0, 0, ATTEMPT_RESPONSE_MAX + 1}};

	(void)state;
	for (size_t i = 0; i < N(lens); i++) {
		struct sender_outcome empty = {.result = RESULT_TIMEOUT};
		struct frame_bytes frame = put_outcome(&empty);
		struct byte_writer w = {
			.at = frame.at, .size = sizeof(frame.at), .used = frame.len - 6};
		static const char text[2000] = {[0 ... 1999] = 'x'};

		for (int t = 0; t < 3; t++)
			put_string(&w, text, lens[i][t]);
		assert_false(get_outcome(frame.at, w.used));
	}
}

static void test_success_has_a_status_of_200_to_299(void **state)
{
	(void)state;
	for (unsigned status = 0; status <= 1100; status++)
		assert_int_equal(is_taken(NO_LOCAL_FAULT, RESULT_OK, (uint16_t)status),
			status >= 200 && status <= 299);
}

static void test_other_answer_has_a_status_of_300_to_999(void **state)
{
	(void)state;
	for (unsigned status = 0; status <= 1100; status++)
		assert_int_equal(is_taken(NO_LOCAL_FAULT, RESULT_STATUS, (uint16_t)status),
			status >= 300 && status <= 999);
}

static void test_attempt_without_answer_has_no_status(void **state)
{
	(void)state;
	for (int result = RESULT_DNS; result < N_ATTEMPT_RESULTS; result++) {
		assert_true(is_taken(NO_LOCAL_FAULT, (enum attempt_result)result, 0));
		assert_false(is_taken(NO_LOCAL_FAULT, (enum attempt_result)result, 200));
	}
}

static void test_outcome_without_a_result_is_refused(void **state)
{
	(void)state;
	assert_false(is_taken(NO_LOCAL_FAULT, RESULT_NONE, 0));
	assert_false(is_taken(NO_LOCAL_FAULT, (enum attempt_result)N_ATTEMPT_RESULTS, 0));
	assert_false(is_taken(NO_LOCAL_FAULT, (enum attempt_result)255, 0));
}

static void test_local_fault_has_neither_result_nor_status(void **state)
{
	(void)state;
	for (int fault = FAULT_DESCRIPTORS; fault < N_LOCAL_FAULTS; fault++) {
		assert_true(is_taken((enum local_fault)fault, RESULT_NONE, 0));
		assert_false(is_taken((enum local_fault)fault, RESULT_OK, 200));
		assert_false(is_taken((enum local_fault)fault, RESULT_NONE, 200));
		assert_false(is_taken((enum local_fault)fault, RESULT_TIMEOUT, 0));
	}
}

static void test_unknown_fault_is_refused(void **state)
{
	(void)state;
	assert_false(is_taken((enum local_fault)N_LOCAL_FAULTS, RESULT_NONE, 0));
	assert_false(is_taken((enum local_fault)255, RESULT_NONE, 0));
}

static void test_peer_of_an_unknown_family_is_refused(void **state)
{
	(void)state;
	for (int family = 0; family < 256; family++) {
		struct sender_outcome outcome = an_outcome(), read;

		outcome.peer.family = (uint8_t)family;
		assert_int_equal(
			comes_through(&outcome, &read), family == 0 || family == 4 || family == 6);
	}
}

static void test_retry_after_with_a_nul_is_refused(void **state)
{
	struct sender_outcome outcome = an_outcome();
	struct frame_bytes frame = put_outcome(&outcome);
	uint8_t *found = memmem(frame.at, frame.len, "\0\003120", 5);

	(void)state;
	assert_non_null(found);
	found[3] = '\0';
	assert_false(get_outcome(frame.at, frame.len));
}

static void test_every_local_fault_has_its_words(void **state)
{
	(void)state;
	for (int fault = 0; fault < N_LOCAL_FAULTS; fault++)
		assert_non_null(local_fault_text((enum local_fault)fault));
}

/* ---- A sender that cannot work ---- */

static bool get_unfit(const char *reason, size_t len, char read[UNFIT_SIZE])
{
	uint8_t bytes[1024];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};
	struct byte_reader r;

	put_string(&w, reason, len);
	r = reader_of(bytes, w.used);
	return frame_get_unfit(&r, read);
}

static void test_reason_why_a_sender_cannot_work_comes_through(void **state)
{
	uint8_t bytes[UNFIT_SIZE];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};
	struct byte_reader r;
	char read[UNFIT_SIZE];

	(void)state;
	frame_put_unfit(&w, "Landlock: Function not implemented");
	r = reader_of(bytes, w.used);
	assert_true(frame_get_unfit(&r, read));
	assert_string_equal(read, "Landlock: Function not implemented");
}

static void test_reason_is_cleaned(void **state)
{
	char read[UNFIT_SIZE];

	(void)state;
	assert_true(get_unfit("a\0\x1b[2J\nb", 8, read));
	assert_string_equal(read, "a??[2J b");
}

static void test_reason_that_is_too_long_is_refused(void **state)
{
	char reason[UNFIT_SIZE], read[UNFIT_SIZE];

	(void)state;
	memset(reason, 'r', sizeof(reason));
	assert_true(get_unfit(reason, UNFIT_SIZE - 1, read));
	assert_false(get_unfit(reason, UNFIT_SIZE, read));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_comes_through),
		cmocka_unit_test(test_least_config_comes_through),
		cmocka_unit_test(test_largest_config_comes_through),
		cmocka_unit_test(test_config_is_read_whole_or_not),
		cmocka_unit_test(test_config_of_another_version_is_refused),
		cmocka_unit_test(test_config_with_a_nul_in_a_text_is_refused),
		cmocka_unit_test(test_config_with_an_impossible_network_is_refused),
		cmocka_unit_test(test_config_with_too_long_a_text_is_refused),
		cmocka_unit_test(test_config_with_too_many_networks_is_refused),
		cmocka_unit_test(test_request_comes_through),
		cmocka_unit_test(test_request_with_its_body_in_a_file_tells_its_length_alone),
		cmocka_unit_test(test_least_request_comes_through),
		cmocka_unit_test(test_request_of_32_headers_comes_through),
		cmocka_unit_test(test_request_of_33_headers_is_refused),
		cmocka_unit_test(test_request_is_read_whole_or_not),
		cmocka_unit_test(test_request_with_a_nul_in_url_or_header_is_refused),
		cmocka_unit_test(test_request_with_an_impossible_network_is_refused),
		cmocka_unit_test(test_size_of_a_request_is_always_enough),
		cmocka_unit_test(test_outcome_comes_through),
		cmocka_unit_test(test_longest_outcome_fits_its_frame),
		cmocka_unit_test(test_outcome_is_read_whole_or_not),
		cmocka_unit_test(test_message_is_cleaned),
		cmocka_unit_test(test_outcome_with_too_long_a_text_is_refused),
		cmocka_unit_test(test_success_has_a_status_of_200_to_299),
		cmocka_unit_test(test_other_answer_has_a_status_of_300_to_999),
		cmocka_unit_test(test_attempt_without_answer_has_no_status),
		cmocka_unit_test(test_outcome_without_a_result_is_refused),
		cmocka_unit_test(test_local_fault_has_neither_result_nor_status),
		cmocka_unit_test(test_unknown_fault_is_refused),
		cmocka_unit_test(test_peer_of_an_unknown_family_is_refused),
		cmocka_unit_test(test_retry_after_with_a_nul_is_refused),
		cmocka_unit_test(test_every_local_fault_has_its_words),
		cmocka_unit_test(test_reason_why_a_sender_cannot_work_comes_through),
		cmocka_unit_test(test_reason_is_cleaned),
		cmocka_unit_test(test_reason_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("attempt_frame", tests, NULL, NULL);
}
