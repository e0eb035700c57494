/*
 * What libhookd says before it sends anything. No hookd listens at the clients' socket: an event
 * that is refused is wrong in itself, and one that passes is -ENOENT.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "../../lib/hookd.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static int make_client(void **state)
{
	return hookd_client_new((struct hookd_client **)state, "/nonexistent/submit.sock");
}

static int free_client(void **state)
{
	hookd_client_free(*state);
	return 0;
}

/* The least that an event can be; its payload is JSON and stands for itself as well. */
static struct hookd_event plain_event(void)
{
	return (struct hookd_event){.type = "t", .payload = "1", .payload_len = 1};
}

static void assert_passes(struct hookd_client *client, const struct hookd_event *event)
{
	assert_int_equal(hookd_submit(client, event, NULL), -ENOENT);
}

static void assert_refused(
	struct hookd_client *client, const struct hookd_event *event, const char *words)
{
	assert_int_equal(hookd_submit(client, event, NULL), HOOKD_INVALID);
	assert_non_null(strstr(hookd_client_problem(client), words));
}

/* Both forms have the key; one has it in the head, where a line end would end the line. */
static void assert_key_refused(struct hookd_client *client, const char *key)
{
	struct hookd_event event = plain_event();

	event.idempotency_key = key;
	assert_refused(client, &event, "idempotency_key: expected 1 to 255 visible ASCII");
	event.content_type = "text/plain";
	assert_refused(client, &event, "idempotency_key: expected 1 to 255 visible ASCII");
}

/* ---- The head of a request ---- */

static void test_key_that_would_split_the_request_is_refused(void **state)
{
	assert_key_refused(
		*state, "k\r\nContent-Length: 0\r\n\r\nPOST /v1/events?type=forged HTTP/1.1");
	assert_key_refused(*state, "k\nX: y");
}

static void test_key_that_is_no_visible_ascii_is_refused(void **state)
{
	assert_key_refused(*state, "a b");
	assert_key_refused(*state, "\x7f");
	assert_key_refused(*state, "\xc3\xa4");
}

/* An empty header is as good as none: the repeat of such an event would be a second event. */
static void test_empty_key_is_refused(void **state)
{
	assert_key_refused(*state, "");
}

static void test_key_has_at_most_255_characters(void **state)
{
	struct hookd_event event = plain_event();
	char key[257];

	memset(key, 'k', 256);
	key[256] = '\0';
	assert_key_refused(*state, key);
	key[255] = '\0';
	event.idempotency_key = key;
	assert_passes(*state, &event);
	event.content_type = "text/plain";
	assert_passes(*state, &event);
}

static void test_content_type_that_hookd_would_not_see_so_is_refused(void **state)
{
	static const char *const wrong[] = {"", " ", " text/plain", "text/plain\r\nX: y",
		"text/plain\nX: y", "text/plain\t", "text/\xc3\xa4", "text/\x7f"};
	struct hookd_event event = plain_event();
	char longest[257];

	for (size_t i = 0; i < N(wrong); i++) {
		event.content_type = wrong[i];
		assert_refused(*state, &event, "content_type: expected a media type");
	}
	memset(longest, 'x', 256);
	longest[256] = '\0';
	event.content_type = longest;
	assert_refused(*state, &event, "content_type: expected a media type");
	longest[255] = '\0';
	assert_passes(*state, &event);
	event.content_type = "text/plain; charset=utf-8";
	assert_passes(*state, &event);
}

/* ---- Text that is none ---- */

/* Not -ENOMEM, which asks the producer to try again. */
static void test_type_that_is_not_utf8_is_invalid(void **state)
{
	struct hookd_event event = plain_event();

	event.type = "order.\xff";
	assert_refused(*state, &event, "type: expected 1 to 128 of A-Z");
	event.content_type = "text/plain";
	assert_refused(*state, &event, "type: expected 1 to 128 of A-Z");
}

static void test_tenant_that_is_not_utf8_is_invalid(void **state)
{
	struct hookd_event event = plain_event();

	event.tenant = "\xed\xa0\x80"; /* half of a surrogate pair */
	assert_refused(*state, &event, "tenant: expected 1 to 64 of A-Z");
	event.content_type = "text/plain";
	assert_refused(*state, &event, "tenant: expected 1 to 64 of A-Z");
}

/* A raw event has both in its request line. One that is too long for hookd to read is no answer of
 * hookd's, and would be submitted again. */
static void test_type_and_tenant_too_long_for_a_request_line_are_invalid(void **state)
{
	struct hookd_event event = plain_event();
	char *longest = calloc(1, 100001);

	memset(longest, 'x', 100000);
	event.content_type = "text/plain";
	event.tenant = longest;
	assert_refused(*state, &event, "tenant: expected 1 to 64 of A-Z");
	event.tenant = "";
	event.type = longest;
	assert_refused(*state, &event, "type: expected 1 to 128 of A-Z");
	longest[128] = '\0';
	assert_passes(*state, &event);
	free(longest);
}

/* ---- Batches ---- */

/* hookd counts the lines of a batch from 1; an event is a line. */
static void test_refusal_of_a_batch_says_which_event(void **state)
{
	struct hookd_event events[1000];

	for (size_t i = 0; i < N(events); i++)
		events[i] = plain_event();
	events[998].idempotency_key = "a b";
	assert_int_equal(hookd_submit_batch(*state, events, N(events), NULL), HOOKD_INVALID);
	assert_string_equal(hookd_client_problem(*state),
		"line 999: idempotency_key: expected 1 to 255 visible ASCII characters without spaces");
	events[7].payload = "x";
	assert_int_equal(hookd_submit_batch(*state, events, N(events), NULL), HOOKD_INVALID);
	assert_string_equal(hookd_client_problem(*state),
		"line 8: payload: not JSON: expected a value at byte 0 (set content_type to send "
		"other bytes)");
	events[0].payload = NULL;
	assert_int_equal(hookd_submit_batch(*state, events, N(events), NULL), -EINVAL);
	assert_string_equal(hookd_client_problem(*state), "line 1: type and payload are needed");
	events[0] = plain_event();
	events[0].content_type = "text/plain";
	assert_int_equal(hookd_submit_batch(*state, events, N(events), NULL), -EINVAL);
	assert_memory_equal(hookd_client_problem(*state), "line 1: content_type", 20);
	assert_int_equal(hookd_submit_batch(*state, events + 8, 900, NULL), -ENOENT);
}

/* ---- The program's own memory ---- */

#define FRONT 64 /* bytes before each block, so that no other function may free it */

static size_t n_blocks;

static void *allocate(size_t size)
{
	char *block = malloc(FRONT + size);

	n_blocks += block != NULL;
	return block ? block + FRONT : NULL;
}

static void release(void *memory)
{
	if (!memory)
		return;
	n_blocks--;
	free((char *)memory - FRONT);
}

static int take_own_allocator(void **state)
{
	json_set_alloc_funcs(allocate, release);
	return make_client(state);
}

static int give_allocator_back(void **state)
{
	json_set_alloc_funcs(malloc, free);
	return free_client(state);
}

static void test_what_jansson_allocated_goes_back_to_the_program_s_allocator(void **state)
{
	struct hookd_event event = plain_event();

	event.tenant = "acme";
	event.idempotency_key = "k";
	assert_passes(*state, &event);
	assert_int_equal(n_blocks, 0);
}

int main(void)
{
#define client_test(name) cmocka_unit_test_setup_teardown(name, make_client, free_client)
	const struct CMUnitTest tests[] = {
		client_test(test_key_that_would_split_the_request_is_refused),
		client_test(test_key_that_is_no_visible_ascii_is_refused),
		client_test(test_empty_key_is_refused),
		client_test(test_key_has_at_most_255_characters),
		client_test(test_content_type_that_hookd_would_not_see_so_is_refused),
		client_test(test_type_that_is_not_utf8_is_invalid),
		client_test(test_tenant_that_is_not_utf8_is_invalid),
		client_test(test_type_and_tenant_too_long_for_a_request_line_are_invalid),
		client_test(test_refusal_of_a_batch_says_which_event),
		cmocka_unit_test_setup_teardown(
			test_what_jansson_allocated_goes_back_to_the_program_s_allocator,
			take_own_allocator, give_allocator_back),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
