/* The examples in doc/format.md are what hookd reads and writes: who changes a layout learns here
 * that files of that layout exist. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "../../daemon/secretbox.h"
#include "../../daemon/store/record.h"

#define HEX_COLUMN 6 /* of a line of an example: offset, bytes, what they mean */
#define HEX_WIDTH 48

static char *page;

/* Takes hexadecimal digits, with spaces between, up to something else. */
static size_t read_hex(const char *text, size_t max_chars, uint8_t *bytes)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < max_chars;) {
		int high = OPENSSL_hexchar2int((unsigned char)text[i]),
		    low = high < 0 ? -1 : OPENSSL_hexchar2int((unsigned char)text[i + 1]);

		if (text[i] == ' ') {
			i++;
			continue;
		}
		if (low < 0)
			break;
		bytes[n++] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	return n;
}

static const char *find(const char *from, const char *text)
{
	const char *at = strstr(from, text);

	if (!at)
		fail_msg("doc/format.md does not say \"%s\"", text);
	return at + strlen(text);
}

/* An example: the key of its row, and its bytes. */
struct example {
	uint8_t key[64], bytes[1024];
	size_t key_len, len;
};

static struct example read_example(const char *table)
{
	struct example e = {.len = 0};
	char heading[64];
	const char *at, *end;

	snprintf(heading, sizeof(heading), "Table `%s`, key `", table);
	at = find(page, heading);
	e.key_len = read_hex(at, strcspn(at, "`") + 1, e.key);
	at = find(at, "```\n");
	end = strstr(at, "```");
	while (at < end) {
		size_t line = strcspn(at, "\n");

		if (line > HEX_COLUMN)
			e.len += read_hex(at + HEX_COLUMN,
				line - HEX_COLUMN < HEX_WIDTH ? line - HEX_COLUMN + 1 : HEX_WIDTH,
				e.bytes + e.len);
		at += line + 1;
	}
	return e;
}

static void test_event_of_the_page_is_read_and_written_so(void **state)
{
	struct example e = read_example("event");
	struct bytes key = {e.key, e.key_len}, payload;
	char strings[RECORD_STRINGS_SIZE];
	uint8_t again[RECORD_MAX];
	struct event event;

	(void)state;
	assert_int_equal(
		record_get_event(key, (struct bytes){e.bytes, e.len}, &event, strings, &payload),
		0);
	assert_string_equal(event.tenant, "acme");
	assert_string_equal(event.key, "order-4711-paid");
	assert_int_equal(payload.len, event.payload_len);
	assert_int_equal(record_put_event(key, &event, payload.at, payload.len, again), e.len);
	assert_memory_equal(again, e.bytes, e.len);
}

static void test_delivery_of_the_page_is_read_and_written_so(void **state)
{
	struct example e = read_example("live");
	struct bytes key = {e.key, e.key_len};
	uint8_t again[RECORD_MAX];
	struct delivery delivery;

	(void)state;
	assert_int_equal(record_get_delivery(key, (struct bytes){e.bytes, e.len}, &delivery), 0);
	assert_int_equal(delivery.state, DELIVERY_PENDING);
	assert_int_equal(delivery.last.http_status, 503);
	assert_int_equal(record_put_delivery(key, &delivery, again), e.len);
	assert_memory_equal(again, e.bytes, e.len);
}

/* The key, the box and its content as the page has them. */
static void test_box_of_the_page_opens_with_its_key(void **state)
{
	struct example e = read_example("endpoint"); /* from the time of creation on */
	const uint8_t *length = e.bytes + 16, *sealed = length + 4;
	size_t sealed_len = (size_t)length[2] << 8 | length[3];
	struct secretbox box = {.has_previous = false};
	uint8_t content[256], plain[256];
	const char *at = find(page, "The master key was\n`");
	size_t n;

	(void)state;
	assert_int_equal(read_hex(at, 65, box.current.bytes), SECRETBOX_KEY_LEN);
	assert_int_equal(sealed_len + 4 + 16 + 8, e.len);
	memcpy(box.current.id, secretbox_key_id_of(sealed, sealed_len), SECRETBOX_KEY_ID_LEN);
	assert_int_equal(secretbox_unseal(&box, 1, sealed, sealed_len, plain), 0);
	at = find(page, "The content of the box is `");
	n = read_hex(at, strcspn(at, "`") + 1, content);
	assert_int_equal(n, sealed_len - SECRETBOX_OVERHEAD);
	assert_memory_equal(plain, content, n);
}

static int read_page(void **state)
{
	FILE *file = fopen(FORMAT_PAGE, "re");
	size_t size = 1 << 20, n;

	(void)state;
	page = calloc(1, size);
	if (!file || !page)
		return -1;
	n = fread(page, 1, size - 1, file);
	fclose(file);
	return n > 0 ? 0 : -1;
}

static int forget_page(void **state)
{
	(void)state;
	free(page);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_of_the_page_is_read_and_written_so),
		cmocka_unit_test(test_delivery_of_the_page_is_read_and_written_so),
		cmocka_unit_test(test_box_of_the_page_opens_with_its_key),
	};

	return cmocka_run_group_tests_name("format", tests, read_page, forget_page);
}
