/*
 * The records of the data file: how each is written and read. doc/format.md is the specification.
 *
 * Every record begins with a version and ends with a checksum over its key and itself, so that a
 * record that was damaged, or stands under another's key, is noticed before it is used. Readers
 * check lengths throughout: bytes from the disk are not trusted.
 *
 * Pure. Functions that write return the length; the buffer has RECORD_MAX bytes unless said
 * otherwise. Functions that read return 0 or -EBADMSG; record_get_meta() also -ENOTSUP: of a schema
 * not known here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../delivery.h"
#include "../event.h"
#include "engine.h"

struct bytes {
	const void *at;
	size_t len;
};

/* Payload bytes kept per piece: with its checksum a piece fills one 4096 byte page of LMDB exactly.
 */
#define PIECE_PAYLOAD 4072
#define PIECE_LEN (PIECE_PAYLOAD + 8)
#define RECORD_MAX 4080

/* How a payload is divided: so many full pieces, then a last one (0: none), and this much in the
 * event's own record, which holds the start of the payload. */
struct piece_plan {
	size_t in_record, n_full, last;
};

struct piece_plan record_plan_pieces(const struct event *event);

/* The event with the first bytes of its payload. */
size_t record_put_event(struct bytes key, const struct event *event, const void *payload,
	size_t in_record, uint8_t record[static RECORD_MAX]);

/* strings points event's strings into a buffer of the caller with RECORD_STRINGS_SIZE bytes. */
#define RECORD_STRINGS_SIZE 1024
int record_get_event(struct bytes key, struct bytes record, struct event *event,
	char strings[static RECORD_STRINGS_SIZE], struct bytes *in_record);

size_t record_put_delivery(
	struct bytes key, const struct delivery *delivery, uint8_t record[static RECORD_MAX]);
int record_get_delivery(struct bytes key, struct bytes record, struct delivery *delivery);

size_t record_put_attempt(
	struct bytes key, const struct attempt_story *story, uint8_t record[static RECORD_MAX]);
int record_get_attempt(struct bytes key, struct bytes record, struct attempt_story *story);

size_t record_put_tally(
	struct bytes key, const struct tally *tally, uint8_t record[static RECORD_MAX]);
int record_get_tally(struct bytes key, struct bytes record, struct tally *tally);

/* What an idempotency key stands for. */
struct key_record {
	struct event_id event;
	uint32_t n_deliveries;
	int64_t expires_ms;
	uint8_t digest[EVENT_DIGEST_LEN];
};

size_t record_put_key(
	struct bytes key, const struct key_record *entry, uint8_t record[static RECORD_MAX]);
int record_get_key(struct bytes key, struct bytes record, struct key_record *entry);

/* What this program writes and reads. */
#define SCHEMA 1

/* The one record of table "meta". */
struct meta_record {
	uint32_t schema;
	uint8_t key_id[8]; /* of the master key that seals the secrets */
	int64_t queue_ms; /* the latest queue time seen */
	int64_t stop_ms, lag_ms; /* a long stop: how much of it retention leaves out for what ended
				    before stop_ms */
	uint32_t next_endpoint;
	struct sending sending;
};

size_t record_put_meta(
	struct bytes key, const struct meta_record *meta, uint8_t record[static RECORD_MAX]);
int record_get_meta(struct bytes key, struct bytes record, struct meta_record *meta);

/* Wraps bytes that have a layout of their own (an endpoint's settings) into a checked record and
 * back. size: of the buffer. Returns 0 when it does not fit. */
size_t record_put_blob(struct bytes key, struct bytes blob, uint8_t *record, size_t size);
int record_get_blob(struct bytes key, struct bytes record, struct bytes *blob);

/* The checksum that ends every record. */
uint64_t record_checksum(struct bytes key, struct bytes record);
