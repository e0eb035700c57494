/*
 * Records of a data file that somebody forged, checksum and all: what is understood of one can be
 * written, and that is understood the same. The first byte says which kind it is, and whether the
 * checksum is made right.
 */
#include <string.h>

#include "../../daemon/store/record.h"
#include "fuzz.h"

#define CHECKSUM_LEN 8

static const uint8_t key_bytes[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
static const struct bytes event_key = {key_bytes, 16}, delivery_key = {key_bytes, 20};

/* Reads a record and writes what it says to copy; returns the length, 0 when it was refused. */
typedef size_t rewrite(struct bytes record, uint8_t copy[static RECORD_MAX]);

static size_t rewrite_event(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	char strings[RECORD_STRINGS_SIZE];
	struct event event;
	struct bytes in_record;

	if (record_get_event(event_key, record, &event, strings, &in_record) < 0)
		return 0;
	promise(in_record.len <= event.payload_len);
	return record_put_event(event_key, &event, in_record.at, in_record.len, copy);
}

static size_t rewrite_delivery(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct delivery delivery;

	if (record_get_delivery(delivery_key, record, &delivery) < 0)
		return 0;
	promise(delivery_state_name(delivery.state));
	promise(!delivery.reason == !dead_reason_name(delivery.reason));
	return record_put_delivery(delivery_key, &delivery, copy);
}

static size_t rewrite_attempt(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct attempt_story story;

	if (record_get_attempt(delivery_key, record, &story) < 0)
		return 0;
	promise(story.message_len <= ATTEMPT_MESSAGE_MAX);
	promise(story.response_len <= ATTEMPT_RESPONSE_MAX);
	return record_put_attempt(delivery_key, &story, copy);
}

static size_t rewrite_tally(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct tally tally;

	if (record_get_tally(delivery_key, record, &tally) < 0)
		return 0;
	promise(tally.message_len <= ATTEMPT_MESSAGE_MAX);
	return record_put_tally(delivery_key, &tally, copy);
}

static size_t rewrite_key(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct key_record key;

	if (record_get_key(delivery_key, record, &key) < 0)
		return 0;
	return record_put_key(delivery_key, &key, copy);
}

static size_t rewrite_meta(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct meta_record meta;

	if (record_get_meta(delivery_key, record, &meta) < 0)
		return 0;
	promise(strlen(meta.sending.reason) < sizeof(meta.sending.reason));
	return record_put_meta(delivery_key, &meta, copy);
}

static size_t rewrite_blob(struct bytes record, uint8_t copy[static RECORD_MAX])
{
	struct bytes blob;

	if (record_get_blob(delivery_key, record, &blob) < 0)
		return 0;
	return record_put_blob(delivery_key, blob, copy, RECORD_MAX);
}

static rewrite *const kinds[] = {rewrite_event, rewrite_delivery, rewrite_attempt, rewrite_tally,
	rewrite_key, rewrite_meta, rewrite_blob};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void put_checksum(struct bytes key, uint8_t *record, size_t body_len)
{
	uint64_t checksum = record_checksum(key, (struct bytes){record, body_len});

	for (size_t i = 0; i < CHECKSUM_LEN; i++)
		record[body_len + i] = (uint8_t)(checksum >> (56 - 8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t first[RECORD_MAX], second[RECORD_MAX], *record;
	struct bytes key;
	rewrite *kind;
	size_t len;

	if (size < 1 + CHECKSUM_LEN || size - 1 > RECORD_MAX)
		return 0;
	kind = kinds[(data[0] & 0x7f) % N_KINDS];
	key = kind == rewrite_event ? event_key : delivery_key;
	record = malloc(size - 1);
	memcpy(record, data + 1, size - 1);
	if (data[0] & 0x80)
		put_checksum(key, record, size - 1 - CHECKSUM_LEN);
	len = kind((struct bytes){record, size - 1}, first);
	free(record);
	if (len == 0)
		return 0;
	promise(kind((struct bytes){first, len}, second) == len);
	promise(memcmp(first, second, len) == 0);
	return 0;
}
