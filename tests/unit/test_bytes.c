#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/bytes.h"

static struct byte_reader reader_of(const void *bytes, size_t len)
{
	return (struct byte_reader){bytes, (const uint8_t *)bytes + len, false};
}

/* ---- Writing ---- */

static void test_integers_are_written_in_big_endian(void **state)
{
	static const uint8_t expected[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
		0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe};
	uint8_t bytes[sizeof(expected)];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};

	(void)state;
	put_u8(&w, 0x01);
	put_u16(&w, 0x0203);
	put_u32(&w, 0x04050607);
	put_u64(&w, 0x08090a0b0c0d0e0f);
	put_i64(&w, -2);
	assert_false(w.overflow);
	assert_int_equal(w.used, sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

static void test_string_is_written_behind_its_length(void **state)
{
	uint8_t bytes[8];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};

	(void)state;
	put_string(&w, "hook", 4);
	assert_int_equal(w.used, 6);
	assert_memory_equal(bytes, "\0\4hook", 6);
}

static void test_writer_without_room_writes_nothing_more(void **state)
{
	uint8_t bytes[4] = {0, 0, 0, 0xa5};
	struct byte_writer w = {.at = bytes, .size = 3};

	(void)state;
	put_u16(&w, 0x0102);
	put_u16(&w, 0x0304);
	assert_true(w.overflow);
	put_u8(&w, 0x05); /* would fit, but the record is lost already */
	assert_true(w.overflow);
	assert_int_equal(w.used, 2);
	assert_int_equal(bytes[2], 0);
	assert_int_equal(bytes[3], 0xa5);
}

static void test_last_byte_of_the_room_can_be_written(void **state)
{
	uint8_t bytes[2];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};

	(void)state;
	put_u16(&w, 1);
	put_bytes(&w, NULL, 0);
	assert_false(w.overflow);
}

static void test_string_of_64_kib_is_too_long(void **state)
{
	static char text[UINT16_MAX + 1];
	static uint8_t bytes[UINT16_MAX + 10];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};

	(void)state;
	put_string(&w, text, UINT16_MAX);
	assert_false(w.overflow);
	w.used = 0;
	put_string(&w, text, UINT16_MAX + 1);
	assert_true(w.overflow);
}

/* ---- Reading ---- */

static void test_what_was_written_reads_back_the_same(void **state)
{
	uint8_t bytes[64];
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};
	struct byte_reader r;
	const char *text;
	size_t len;

	(void)state;
	put_u8(&w, UINT8_MAX);
	put_u16(&w, UINT16_MAX - 1);
	put_u32(&w, UINT32_MAX - 2);
	put_u64(&w, UINT64_MAX - 3);
	put_i64(&w, INT64_MIN);
	put_string(&w, "hook", 4);
	r = reader_of(bytes, w.used);
	assert_int_equal(get_u8(&r), UINT8_MAX);
	assert_int_equal(get_u16(&r), UINT16_MAX - 1);
	assert_int_equal(get_u32(&r), UINT32_MAX - 2);
	assert_int_equal(get_u64(&r), UINT64_MAX - 3);
	assert_int_equal(get_i64(&r), INT64_MIN);
	text = get_string(&r, &len);
	assert_int_equal(len, 4);
	assert_memory_equal(text, "hook", 4);
	assert_true(reader_is_done(&r));
}

static void test_reader_without_bytes_gives_zeros_and_empty_strings(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3};
	struct byte_reader r = reader_of(bytes, sizeof(bytes));
	size_t len = 99;

	(void)state;
	assert_int_equal(get_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(get_u8(&r), 0); /* there is one, but who knows what it means */
	assert_string_equal(get_string(&r, &len), "");
	assert_int_equal(len, 0);
	assert_null(get_bytes(&r, 1));
	assert_false(reader_is_done(&r));
}

static void test_string_longer_than_what_is_left_is_empty_and_bad(void **state)
{
	struct byte_reader r = reader_of("\0\5hook", 6);
	size_t len = 99;

	(void)state;
	assert_string_equal(get_string(&r, &len), "");
	assert_int_equal(len, 0);
	assert_true(r.bad);
}

static void test_reader_is_done_when_nothing_is_left(void **state)
{
	struct byte_reader r = reader_of("ab", 2), none = reader_of("", 0);

	(void)state;
	assert_false(reader_is_done(&r));
	get_u16(&r);
	assert_true(reader_is_done(&r));
	assert_true(reader_is_done(&none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers_are_written_in_big_endian),
		cmocka_unit_test(test_string_is_written_behind_its_length),
		cmocka_unit_test(test_writer_without_room_writes_nothing_more),
		cmocka_unit_test(test_last_byte_of_the_room_can_be_written),
		cmocka_unit_test(test_string_of_64_kib_is_too_long),
		cmocka_unit_test(test_what_was_written_reads_back_the_same),
		cmocka_unit_test(test_reader_without_bytes_gives_zeros_and_empty_strings),
		cmocka_unit_test(test_string_longer_than_what_is_left_is_empty_and_bad),
		cmocka_unit_test(test_reader_is_done_when_nothing_is_left),
	};

	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
