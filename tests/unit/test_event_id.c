#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/event_id.h"
#include "helpers.h"

#define NOW_MS ((int64_t)1795312692402)

static const uint8_t no_random[10],
	all_random[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct event_id random_id(void)
{
	struct event_id id;

	random_bytes(id.bytes, sizeof(id.bytes));
	return id;
}

static void assert_same(struct event_id a, struct event_id b)
{
	assert_memory_equal(a.bytes, b.bytes, sizeof(a.bytes));
}

static int parse(const char *text)
{
	struct event_id id;

	return event_id_parse(text, strlen(text), &id);
}

/* ---- Text ---- */

static void test_id_is_26_characters_behind_evt(void **state)
{
	struct event_id id = {{0x01, 0xa2, 0x07, 0x2c, 0xb2, 0x32, 0x80, 0x11, 0x22, 0x33, 0x44,
		0x55, 0x66, 0x77, 0x88, 0x99}};
	char text[EVENT_ID_TEXT_SIZE];

	(void)state;
	event_id_format(&id, text);
	assert_string_equal(text, "evt_01M83JSCHJG08J4CT4ANK7F24S");
}

static void test_smallest_and_largest_id(void **state)
{
	struct event_id none = {{0}}, all;
	char text[EVENT_ID_TEXT_SIZE];

	(void)state;
	memset(&all, 0xff, sizeof(all));
	event_id_format(&none, text);
	assert_string_equal(text, "evt_00000000000000000000000000");
	event_id_format(&all, text);
	assert_string_equal(text, "evt_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

static void test_bare_text_is_the_same_without_prefix(void **state)
{
	struct event_id id = random_id();
	char text[EVENT_ID_TEXT_SIZE], bare[27];

	(void)state;
	event_id_format(&id, text);
	event_id_format_bare(&id, bare);
	assert_string_equal(bare, text + 4);
}

static void test_every_id_reads_back_the_same(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct event_id id = random_id(), again;
		char text[EVENT_ID_TEXT_SIZE];

		event_id_format(&id, text);
		assert_int_equal(event_id_parse(text, EVENT_ID_TEXT_LEN, &again), 0);
		assert_same(again, id);
	}
}

static void test_text_sorts_like_the_id(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct event_id a = random_id(), b = random_id();
		char a_text[EVENT_ID_TEXT_SIZE], b_text[EVENT_ID_TEXT_SIZE];

		b.bytes[0] = a.bytes[0]; /* not decided by the first byte already */
		event_id_format(&a, a_text);
		event_id_format(&b, b_text);
		assert_int_equal(event_id_compare(&a, &b) < 0, strcmp(a_text, b_text) < 0);
	}
}

static void test_text_of_another_length_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(""), -EINVAL);
	assert_int_equal(parse("evt_"), -EINVAL);
	assert_int_equal(parse("evt_01M83JSCHJG08J4CT4ANK7F24"), -EINVAL);
	assert_int_equal(parse("evt_01M83JSCHJG08J4CT4ANK7F24SS"), -EINVAL);
}

static void test_text_with_another_prefix_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("EVT_01M83JSCHJG08J4CT4ANK7F24S"), -EINVAL);
	assert_int_equal(parse("evt-01M83JSCHJG08J4CT4ANK7F24S"), -EINVAL);
	assert_int_equal(parse("msg_01M83JSCHJG08J4CT4ANK7F24S"), -EINVAL);
}

/* Crockford's base32 lets readers take o for 0; one id shall have one text. */
static void test_characters_outside_of_the_alphabet_are_refused(void **state)
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

	(void)state;
	for (int c = 0; c < 256; c++) {
		char text[EVENT_ID_TEXT_SIZE] = "evt_01M83JSCHJG08J4CT4ANK7F24S";
		struct event_id id;
		int expected = c && strchr(alphabet, c) ? 0 : -EINVAL;

		text[20] = (char)c;
		assert_int_equal(event_id_parse(text, EVENT_ID_TEXT_LEN, &id), expected);
	}
}

static void test_text_of_more_than_128_bits_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("evt_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), 0);
	assert_int_equal(parse("evt_80000000000000000000000000"), -EINVAL);
	assert_int_equal(parse("evt_ZZZZZZZZZZZZZZZZZZZZZZZZZZ"), -EINVAL);
}

/* ---- Time and order ---- */

static void test_time_stands_at_the_front(void **state)
{
	struct event_id_source source = {0};
	struct event_id id = event_id_next(&source, NOW_MS, all_random);

	(void)state;
	assert_int_equal(event_id_ms(&id), NOW_MS);
}

static void test_first_and_last_of_a_millisecond_enclose_its_ids(void **state)
{
	struct event_id first = event_id_first_of(NOW_MS), last = event_id_last_of(NOW_MS);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct event_id_source source = {0};
		uint8_t random[10];
		struct event_id id;

		random_bytes(random, sizeof(random));
		id = event_id_next(&source, NOW_MS, random);
		assert_true(event_id_compare(&first, &id) <= 0);
		assert_true(event_id_compare(&id, &last) <= 0);
	}
}

static void test_bounds_of_neighbouring_milliseconds_do_not_overlap(void **state)
{
	struct event_id last = event_id_last_of(NOW_MS), next = event_id_first_of(NOW_MS + 1);

	(void)state;
	assert_true(event_id_compare(&last, &next) < 0);
}

static void test_bounds_of_times_before_1970_are_those_of_1970(void **state)
{
	(void)state;
	assert_same(event_id_first_of(INT64_MIN), event_id_first_of(0));
	assert_same(event_id_first_of(-1), event_id_first_of(0));
	assert_same(event_id_last_of(-1), event_id_last_of(0));
}

static void test_next_id_uses_the_random_bytes(void **state)
{
	struct event_id_source a = {0}, b = {0};
	struct event_id from_none = event_id_next(&a, NOW_MS, no_random);
	struct event_id from_all = event_id_next(&b, NOW_MS, all_random);

	(void)state;
	for (size_t i = 6; i < sizeof(from_none.bytes); i++)
		assert_int_not_equal(from_none.bytes[i], from_all.bytes[i]);
}

static void test_ids_of_one_millisecond_count_up(void **state)
{
	struct event_id_source source = {0};
	struct event_id id = event_id_next(&source, NOW_MS, no_random);

	(void)state;
	for (int i = 1; i <= 1000; i++) {
		struct event_id next = event_id_next(&source, NOW_MS, all_random);

		assert_true(event_id_compare(&id, &next) < 0);
		assert_int_equal(event_id_ms(&next), NOW_MS);
		assert_int_equal(next.bytes[15] | next.bytes[14] << 8, i);
		id = next;
	}
}

/* Half of the random space stays free for counting. */
static void test_counting_up_never_reaches_the_next_millisecond(void **state)
{
	struct event_id_source source = {0};
	struct event_id id = event_id_next(&source, NOW_MS, all_random);

	(void)state;
	assert_int_equal(id.bytes[6], 0x7f);
	id = event_id_next(&source, NOW_MS, all_random); /* carries through all ten bytes */
	assert_int_equal(id.bytes[6], 0x80);
	assert_int_equal(id.bytes[15], 0);
	assert_int_equal(event_id_ms(&id), NOW_MS);
}

static void test_ids_grow_while_the_clock_goes_back(void **state)
{
	struct event_id_source source = {0};
	struct event_id id = event_id_next(&source, NOW_MS, no_random);

	(void)state;
	for (int64_t ms = NOW_MS; ms > NOW_MS - 1000; ms -= 100) {
		struct event_id next = event_id_next(&source, ms, all_random);

		assert_true(event_id_compare(&id, &next) < 0);
		id = next;
	}
}

static void test_ids_start_above_the_last_stored_one(void **state)
{
	struct event_id_source source = {.last = event_id_last_of(NOW_MS + 5000)};
	struct event_id last = source.last, id = event_id_next(&source, NOW_MS, no_random);

	(void)state;
	assert_true(event_id_compare(&last, &id) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_is_26_characters_behind_evt),
		cmocka_unit_test(test_smallest_and_largest_id),
		cmocka_unit_test(test_bare_text_is_the_same_without_prefix),
		cmocka_unit_test(test_every_id_reads_back_the_same),
		cmocka_unit_test(test_text_sorts_like_the_id),
		cmocka_unit_test(test_text_of_another_length_is_refused),
		cmocka_unit_test(test_text_with_another_prefix_is_refused),
		cmocka_unit_test(test_characters_outside_of_the_alphabet_are_refused),
		cmocka_unit_test(test_text_of_more_than_128_bits_is_refused),
		cmocka_unit_test(test_time_stands_at_the_front),
		cmocka_unit_test(test_first_and_last_of_a_millisecond_enclose_its_ids),
		cmocka_unit_test(test_bounds_of_neighbouring_milliseconds_do_not_overlap),
		cmocka_unit_test(test_bounds_of_times_before_1970_are_those_of_1970),
		cmocka_unit_test(test_next_id_uses_the_random_bytes),
		cmocka_unit_test(test_ids_of_one_millisecond_count_up),
		cmocka_unit_test(test_counting_up_never_reaches_the_next_millisecond),
		cmocka_unit_test(test_ids_grow_while_the_clock_goes_back),
		cmocka_unit_test(test_ids_start_above_the_last_stored_one),
	};

	return cmocka_run_group_tests_name("event_id", tests, NULL, NULL);
}
