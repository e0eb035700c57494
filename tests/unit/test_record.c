#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/store/record.h"
#include "helpers.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_MS ((int64_t)1795312692402)
#define CHECKSUM_LEN 8

static const uint8_t key_bytes[20] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 0, 7};
static const struct bytes event_key = {key_bytes, 16}, delivery_key = {key_bytes, 20};

/* ---- One of each ---- */

static struct event event_with(uint32_t payload_len)
{
	return (struct event){.accepted_ms = NOW_MS,
		.timestamp_wall_ms = NOW_MS - 1,
		.deliver_at_wall_ms = NOW_MS + 1,
		.uid = 33,
		.n_deliveries = 2,
		.payload_len = payload_len,
		.tenant = "acme",
		.type = "order.paid",
		.content_type = "application/json",
		.key = "order-4711-paid"};
}

static struct attempt an_attempt(void)
{
	return (struct attempt){.number = 6,
		.result = RESULT_STATUS,
		.http_status = 503,
		.duration_ms = 812,
		.retry_after_s = 120,
		.started_ms = NOW_MS - 812,
		.peer = peer_at("203.0.113.9")};
}

static struct delivery a_delivery(void)
{
	return (struct delivery){.endpoint = 7,
		.state = DELIVERY_DEAD,
		.reason = DEAD_EXHAUSTED,
		.turn = 70000,
		.attempts = 300,
		.local_faults = 200,
		.since_ms = NOW_MS,
		.due_ms = NOW_MS + 1,
		.aged_from_ms = NOW_MS - 1,
		.payload_bytes = 96,
		.last = an_attempt()};
}

static struct attempt_story a_story(void)
{
	struct attempt_story story = {
		.attempt = an_attempt(), .message_len = 23, .response_len = 5};

	memcpy(story.message, "503 Service Unavailable", 23);
	memcpy(story.response, "\0\xff<h1", 5);
	return story;
}

static struct tally a_tally(void)
{
	struct tally tally = {.deliveries = {0, 1, 2, 3, UINT64_MAX},
		.owed_bytes = (uint64_t)1 << 40,
		.health = HEALTH_FAILING,
		.health_since_ms = NOW_MS,
		.failures = 372,
		.last = an_attempt(),
		.message_len = 3};

	memcpy(tally.message, "503", 3);
	return tally;
}

static struct key_record a_key(void)
{
	struct key_record key = {.n_deliveries = 2, .expires_ms = NOW_MS};

	memset(key.event.bytes, 0xe1, sizeof(key.event.bytes));
	memset(key.digest, 0xd1, sizeof(key.digest));
	return key;
}

static struct meta_record a_meta(void)
{
	return (struct meta_record){.schema = SCHEMA,
		.key_id = {1, 2, 3, 4, 5, 6, 7, 8},
		.queue_ms = NOW_MS,
		.stop_ms = NOW_MS - 1,
		.lag_ms = 86400000,
		.next_endpoint = 8,
		.sending = {
			.paused = true, .since_ms = NOW_MS - 2, .reason = "rubbish to everybody"}};
}

/* ---- Events ---- */

static uint8_t payload[4 * PIECE_PAYLOAD];

static size_t put_event_of(const struct event *event, uint8_t record[static RECORD_MAX])
{
	struct piece_plan plan = record_plan_pieces(event);

	return record_put_event(event_key, event, payload, plan.in_record, record);
}

static void assert_event_reads_back(const struct event *event)
{
	uint8_t record[RECORD_MAX];
	size_t len = put_event_of(event, record);
	struct event read;
	char strings[RECORD_STRINGS_SIZE];
	struct bytes in_record;

	assert_in_range(len, 1, RECORD_MAX);
	assert_int_equal(record_get_event(event_key, (struct bytes){record, len}, &read, strings,
				 &in_record),
		0);
	assert_memory_equal(read.id.bytes, key_bytes, sizeof(read.id.bytes));
	assert_int_equal(read.accepted_ms, event->accepted_ms);
	assert_int_equal(read.timestamp_wall_ms, event->timestamp_wall_ms);
	assert_int_equal(read.deliver_at_wall_ms, event->deliver_at_wall_ms);
	assert_int_equal(read.uid, event->uid);
	assert_int_equal(read.n_deliveries, event->n_deliveries);
	assert_int_equal(read.payload_len, event->payload_len);
	assert_string_equal(read.tenant, event->tenant);
	assert_string_equal(read.type, event->type);
	assert_string_equal(read.content_type, event->content_type);
	assert_int_equal(read.key == NULL, event->key == NULL);
	if (event->key)
		assert_string_equal(read.key, event->key);
	assert_int_equal(in_record.len, record_plan_pieces(event).in_record);
	assert_memory_equal(in_record.at, payload, in_record.len);
}

static void test_event_reads_back_the_same(void **state)
{
	struct event event = event_with(96);

	(void)state;
	assert_event_reads_back(&event);
}

static void test_event_without_key_reads_back_the_same(void **state)
{
	struct event event = event_with(96);

	(void)state;
	event.key = NULL;
	assert_event_reads_back(&event);
}

static void test_event_of_the_least_and_the_most_reads_back_the_same(void **state)
{
	struct event least = {.tenant = "", .type = "", .content_type = "", .key = ""}, most;
	char tenant[65], type[129], content_type[256], key[256];

	(void)state;
	assert_event_reads_back(&least);
	memset(tenant, 't', sizeof(tenant));
	memset(type, 'y', sizeof(type));
	memset(content_type, 'c', sizeof(content_type));
	memset(key, 'k', sizeof(key));
	tenant[64] = type[128] = content_type[255] = key[255] = '\0';
	most = (struct event){.accepted_ms = INT64_MAX,
		.timestamp_wall_ms = INT64_MIN,
		.deliver_at_wall_ms = -1,
		.uid = UINT32_MAX,
		.n_deliveries = UINT32_MAX,
		.payload_len = 3000,
		.tenant = tenant,
		.type = type,
		.content_type = content_type,
		.key = key};
	assert_event_reads_back(&most);
}

static void test_event_under_another_number_of_payload_bytes_is_refused(void **state)
{
	struct event event = event_with(96), read;
	uint8_t record[RECORD_MAX];
	size_t len = record_put_event(event_key, &event, payload, 95, record);
	char strings[RECORD_STRINGS_SIZE];
	struct bytes in_record;

	(void)state;
	assert_int_equal(record_get_event(event_key, (struct bytes){record, len}, &read, strings,
				 &in_record),
		-EBADMSG);
}

/* ---- Pieces ---- */

static struct piece_plan plan(uint32_t payload_len)
{
	struct event event = event_with(payload_len);

	return record_plan_pieces(&event);
}

static void assert_plan(uint32_t payload_len, size_t in_record, size_t n_full, size_t last)
{
	struct piece_plan p = plan(payload_len);

	if (p.in_record != in_record || p.n_full != n_full || p.last != last)
		fail_msg("%u bytes: %zu in the record, %zu pieces, then %zu", payload_len,
			p.in_record, p.n_full, p.last);
}

static void test_small_payload_stays_in_the_record(void **state)
{
	(void)state;
	assert_plan(0, 0, 0, 0);
	assert_plan(1, 1, 0, 0);
	assert_plan(96, 96, 0, 0);
}

static void test_payload_of_whole_pieces_leaves_nothing_for_the_record(void **state)
{
	(void)state;
	assert_plan(PIECE_PAYLOAD, 0, 1, 0);
	assert_plan(3 * PIECE_PAYLOAD, 0, 3, 0);
}

static void test_rest_of_a_payload_goes_into_the_record_when_it_fits(void **state)
{
	(void)state;
	assert_plan(PIECE_PAYLOAD + 1, 1, 1, 0);
	assert_plan(2 * PIECE_PAYLOAD + 100, 100, 2, 0);
}

static void test_rest_of_a_payload_that_does_not_fit_is_a_last_piece(void **state)
{
	(void)state;
	assert_plan(PIECE_PAYLOAD - 1, 0, 0, PIECE_PAYLOAD - 1);
	assert_plan(2 * PIECE_PAYLOAD - 1, 0, 1, PIECE_PAYLOAD - 1);
	assert_plan(3 * PIECE_PAYLOAD - 1, 0, 2, PIECE_PAYLOAD - 1);
}

static void test_record_is_filled_to_the_last_byte(void **state)
{
	uint8_t record[RECORD_MAX];
	struct event event = event_with(0);
	uint32_t most = (uint32_t)(RECORD_MAX - put_event_of(&event, record));

	(void)state;
	assert_plan(most, most, 0, 0);
	assert_plan(most + 1, 0, 0, most + 1);
	event = event_with(most);
	assert_int_equal(put_event_of(&event, record), RECORD_MAX);
}

static void test_every_plan_covers_its_payload(void **state)
{
	(void)state;
	for (uint32_t len = 0; len <= 3 * PIECE_PAYLOAD + 10; len++) {
		struct piece_plan p = plan(len);
		struct event event = event_with(len);
		uint8_t record[RECORD_MAX];

		assert_int_equal(p.n_full * PIECE_PAYLOAD + p.last + p.in_record, len);
		assert_true(p.last < PIECE_PAYLOAD);
		assert_true(p.last == 0 || p.in_record == 0);
		assert_int_not_equal(put_event_of(&event, record), 0);
	}
}

static void test_events_with_pieces_read_back_the_same(void **state)
{
	static const uint32_t lens[] = {0, 1, PIECE_PAYLOAD - 1, PIECE_PAYLOAD, PIECE_PAYLOAD + 1,
		2 * PIECE_PAYLOAD + 17, 3 * PIECE_PAYLOAD, 3 * PIECE_PAYLOAD + 4000};

	(void)state;
	for (size_t i = 0; i < N(lens); i++) {
		struct event event = event_with(lens[i]);

		assert_event_reads_back(&event);
	}
}

/* ---- The others ---- */

static void assert_same_attempt(const struct attempt *a, const struct attempt *b)
{
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->result, b->result);
	assert_int_equal(a->http_status, b->http_status);
	assert_int_equal(a->duration_ms, b->duration_ms);
	assert_int_equal(a->retry_after_s, b->retry_after_s);
	assert_int_equal(a->started_ms, b->started_ms);
	assert_int_equal(a->peer.family, b->peer.family);
	assert_memory_equal(a->peer.bytes, b->peer.bytes, sizeof(a->peer.bytes));
	assert_int_equal(a->peer.port, b->peer.port);
}

static void assert_delivery_reads_back(const struct delivery *d)
{
	uint8_t record[RECORD_MAX];
	size_t len = record_put_delivery(delivery_key, d, record);
	struct delivery read;

	assert_int_equal(record_get_delivery(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_memory_equal(read.event.bytes, key_bytes, sizeof(read.event.bytes));
	assert_int_equal(read.endpoint, 7);
	assert_int_equal(read.state, d->state);
	assert_int_equal(read.reason, d->reason);
	assert_int_equal(read.turn, d->turn);
	assert_int_equal(read.attempts, d->attempts);
	assert_int_equal(read.local_faults, d->local_faults);
	assert_int_equal(read.since_ms, d->since_ms);
	assert_int_equal(read.due_ms, d->due_ms);
	assert_int_equal(read.aged_from_ms, d->aged_from_ms);
	assert_int_equal(read.payload_bytes, d->payload_bytes);
	assert_same_attempt(&read.last, &d->last);
}

static void test_delivery_reads_back_the_same(void **state)
{
	struct delivery d = a_delivery();

	(void)state;
	assert_delivery_reads_back(&d);
}

static void test_delivery_without_an_attempt_reads_back_the_same(void **state)
{
	struct delivery d = a_delivery();

	(void)state;
	d.state = DELIVERY_PENDING;
	d.reason = NOT_DEAD;
	d.last = (struct attempt){.retry_after_s = -1};
	assert_delivery_reads_back(&d);
}

static void test_delivery_reads_back_with_an_attempt_of_each_family(void **state)
{
	struct delivery d = a_delivery();

	(void)state;
	d.last.peer = peer_at("2001:db8::1");
	assert_delivery_reads_back(&d);
	d.last.peer = (struct peer){0};
	d.last.retry_after_s = -1;
	assert_delivery_reads_back(&d);
}

static void test_attempt_reads_back_the_same(void **state)
{
	struct attempt_story story = a_story(), read;
	uint8_t record[RECORD_MAX];
	size_t len = record_put_attempt(delivery_key, &story, record);

	(void)state;
	assert_int_equal(record_get_attempt(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_same_attempt(&read.attempt, &story.attempt);
	assert_int_equal(read.message_len, 23);
	assert_memory_equal(read.message, story.message, 23);
	assert_int_equal(read.response_len, 5);
	assert_memory_equal(read.response, story.response, 5);
}

static void test_attempt_of_the_longest_story_fits(void **state)
{
	struct attempt_story story = a_story(), read;
	uint8_t record[RECORD_MAX];
	size_t len;

	(void)state;
	story.message_len = ATTEMPT_MESSAGE_MAX;
	story.response_len = ATTEMPT_RESPONSE_MAX;
	len = record_put_attempt(delivery_key, &story, record);
	assert_int_equal(record_get_attempt(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_int_equal(read.response_len, ATTEMPT_RESPONSE_MAX);
}

static void test_tally_reads_back_the_same(void **state)
{
	struct tally tally = a_tally(), read;
	uint8_t record[RECORD_MAX];
	size_t len = record_put_tally(delivery_key, &tally, record);

	(void)state;
	assert_int_equal(record_get_tally(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_memory_equal(read.deliveries, tally.deliveries, sizeof(read.deliveries));
	assert_int_equal(read.owed_bytes, tally.owed_bytes);
	assert_int_equal(read.health, tally.health);
	assert_int_equal(read.health_since_ms, tally.health_since_ms);
	assert_int_equal(read.failures, tally.failures);
	assert_same_attempt(&read.last, &tally.last);
	assert_int_equal(read.message_len, 3);
	assert_memory_equal(read.message, "503", 3);
}

static void test_tally_of_an_untried_endpoint_has_no_attempt(void **state)
{
	struct tally tally = a_tally(), read;
	uint8_t record[RECORD_MAX];
	size_t len;

	(void)state;
	tally.health = HEALTH_UNTRIED;
	len = record_put_tally(delivery_key, &tally, record);
	assert_int_equal(record_get_tally(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_int_equal(read.last.number, 0);
	assert_int_equal(read.message_len, 0);
}

static void test_idempotency_key_reads_back_the_same(void **state)
{
	struct key_record entry = a_key(), read;
	uint8_t record[RECORD_MAX];
	size_t len = record_put_key(delivery_key, &entry, record);

	(void)state;
	assert_int_equal(record_get_key(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_memory_equal(read.event.bytes, entry.event.bytes, sizeof(read.event.bytes));
	assert_int_equal(read.n_deliveries, entry.n_deliveries);
	assert_int_equal(read.expires_ms, entry.expires_ms);
	assert_memory_equal(read.digest, entry.digest, sizeof(read.digest));
}

static void test_meta_reads_back_the_same(void **state)
{
	struct meta_record meta = a_meta(), read;
	uint8_t record[RECORD_MAX];
	size_t len = record_put_meta(delivery_key, &meta, record);

	(void)state;
	assert_int_equal(record_get_meta(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_int_equal(read.schema, SCHEMA);
	assert_memory_equal(read.key_id, meta.key_id, sizeof(read.key_id));
	assert_int_equal(read.queue_ms, meta.queue_ms);
	assert_int_equal(read.stop_ms, meta.stop_ms);
	assert_int_equal(read.lag_ms, meta.lag_ms);
	assert_int_equal(read.next_endpoint, meta.next_endpoint);
	assert_true(read.sending.paused);
	assert_int_equal(read.sending.since_ms, meta.sending.since_ms);
	assert_string_equal(read.sending.reason, "rubbish to everybody");
}

static void test_meta_of_the_longest_reason_fits(void **state)
{
	struct meta_record meta = a_meta(), read;
	uint8_t record[RECORD_MAX];
	size_t len;

	(void)state;
	memset(meta.sending.reason, 'r', 256);
	len = record_put_meta(delivery_key, &meta, record);
	assert_int_equal(record_get_meta(delivery_key, (struct bytes){record, len}, &read), 0);
	assert_int_equal(strlen(read.sending.reason), 256);
}

static void test_meta_of_another_schema_is_known_as_such(void **state)
{
	struct meta_record meta = a_meta(), read;
	uint8_t record[RECORD_MAX];
	size_t len;

	(void)state;
	meta.schema = SCHEMA + 1;
	len = record_put_meta(delivery_key, &meta, record);
	assert_int_equal(
		record_get_meta(delivery_key, (struct bytes){record, len}, &read), -ENOTSUP);
}

static void test_blob_reads_back_the_same(void **state)
{
	uint8_t record[RECORD_MAX];
	struct bytes blob;
	size_t len = record_put_blob(
		delivery_key, (struct bytes){payload, 1000}, record, sizeof(record));

	(void)state;
	assert_int_equal(record_get_blob(delivery_key, (struct bytes){record, len}, &blob), 0);
	assert_int_equal(blob.len, 1000);
	assert_memory_equal(blob.at, payload, 1000);
}

static void test_empty_blob_reads_back_the_same(void **state)
{
	uint8_t record[16];
	struct bytes blob;
	size_t len = record_put_blob(delivery_key, (struct bytes){NULL, 0}, record, sizeof(record));

	(void)state;
	assert_int_equal(record_get_blob(delivery_key, (struct bytes){record, len}, &blob), 0);
	assert_int_equal(blob.len, 0);
}

static void test_blob_without_room_is_not_written(void **state)
{
	uint8_t record[1 + 10 + CHECKSUM_LEN];

	(void)state;
	assert_int_equal(
		record_put_blob(delivery_key, (struct bytes){payload, 10}, record, sizeof(record)),
		sizeof(record));
	assert_int_equal(record_put_blob(delivery_key, (struct bytes){payload, 10}, record,
				 sizeof(record) - 1),
		0);
	assert_int_equal(record_put_blob(delivery_key, (struct bytes){payload, 10}, record, 4), 0);
}

/* ---- Damage, of every kind of record ---- */

static size_t put_event(struct bytes key, uint8_t *record)
{
	struct event event = event_with(96);

	return record_put_event(key, &event, payload, 96, record);
}

static int get_event(struct bytes key, struct bytes record)
{
	struct event event;
	char strings[RECORD_STRINGS_SIZE];
	struct bytes in_record;

	return record_get_event(key, record, &event, strings, &in_record);
}

static size_t put_delivery(struct bytes key, uint8_t *record)
{
	struct delivery d = a_delivery();

	return record_put_delivery(key, &d, record);
}

static int get_delivery(struct bytes key, struct bytes record)
{
	struct delivery d;

	return record_get_delivery(key, record, &d);
}

static size_t put_attempt(struct bytes key, uint8_t *record)
{
	struct attempt_story story = a_story();

	return record_put_attempt(key, &story, record);
}

static int get_attempt(struct bytes key, struct bytes record)
{
	struct attempt_story story;

	return record_get_attempt(key, record, &story);
}

static size_t put_tally(struct bytes key, uint8_t *record)
{
	struct tally tally = a_tally();

	return record_put_tally(key, &tally, record);
}

static int get_tally(struct bytes key, struct bytes record)
{
	struct tally tally;

	return record_get_tally(key, record, &tally);
}

static size_t put_key(struct bytes key, uint8_t *record)
{
	struct key_record entry = a_key();

	return record_put_key(key, &entry, record);
}

static int get_key(struct bytes key, struct bytes record)
{
	struct key_record entry;

	return record_get_key(key, record, &entry);
}

static size_t put_meta(struct bytes key, uint8_t *record)
{
	struct meta_record meta = a_meta();

	return record_put_meta(key, &meta, record);
}

static int get_meta(struct bytes key, struct bytes record)
{
	struct meta_record meta;

	return record_get_meta(key, record, &meta);
}

static size_t put_blob(struct bytes key, uint8_t *record)
{
	return record_put_blob(key, (struct bytes){payload, 100}, record, RECORD_MAX);
}

static int get_blob(struct bytes key, struct bytes record)
{
	struct bytes blob;

	return record_get_blob(key, record, &blob);
}

static const struct kind {
	const char *name;
	size_t (*put)(struct bytes key, uint8_t *record);
	int (*get)(struct bytes key, struct bytes record);
	size_t key_len;
	bool any_length; /* what is left of it after a cut may be a record, too */
} kinds[] = {
	{"event", put_event, get_event, 16, false},
	{"delivery", put_delivery, get_delivery, 20, false},
	{"attempt", put_attempt, get_attempt, 20, false},
	{"tally", put_tally, get_tally, 4, false},
	{"key", put_key, get_key, 20, false},
	{"meta", put_meta, get_meta, 4, false},
	{"blob", put_blob, get_blob, 20, true},
};

static struct bytes key_of(const struct kind *kind)
{
	return (struct bytes){key_bytes, kind->key_len};
}

static void assert_refused(const struct kind *kind, struct bytes record, const char *why)
{
	if (kind->get(key_of(kind), record) != -EBADMSG)
		fail_msg("%s of %zu bytes is not refused: %s", kind->name, record.len, why);
}

static void test_undamaged_record_of_each_kind_is_read(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record);

		assert_int_equal(kind->get(key_of(kind), (struct bytes){record, len}), 0);
	}
}

static void test_every_changed_byte_of_a_record_is_noticed(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record);

		for (size_t i = 0; i < len; i++) {
			uint8_t right = record[i];

			for (int wrong = 0; wrong < 256; wrong++) {
				record[i] = (uint8_t)wrong;
				if (wrong != right)
					assert_refused(kind, (struct bytes){record, len},
						"a changed byte");
			}
			record[i] = right;
		}
	}
}

static void test_every_truncation_of_a_record_is_noticed(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record);

		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *piece = malloc(cut ? cut : 1); /* for the sanitizer */

			memcpy(piece, record, cut);
			assert_refused(kind, (struct bytes){piece, cut}, "a truncation");
			free(piece);
		}
	}
}

static void test_record_under_another_key_is_noticed(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX], other[sizeof(key_bytes)];
		size_t len = kind->put(key_of(kind), record);

		for (size_t bit = 0; bit < 8 * kind->key_len; bit++) {
			memcpy(other, key_bytes, sizeof(other));
			other[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (kind->get((struct bytes){other, kind->key_len},
				    (struct bytes){record, len}) != -EBADMSG)
				fail_msg("%s under another key", kind->name);
		}
	}
}

/* ---- Records that are no damage but a lie: their checksum is right ---- */

static size_t reseal(struct bytes key, uint8_t *record, size_t body_len)
{
	uint64_t checksum = record_checksum(key, (struct bytes){record, body_len});

	for (int i = 0; i < CHECKSUM_LEN; i++)
		record[body_len + (size_t)i] = (uint8_t)(checksum >> (56 - 8 * i));
	return body_len + CHECKSUM_LEN;
}

static void test_checksum_stands_at_the_end_in_big_endian(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX], again[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record);

		memcpy(again, record, len);
		assert_int_equal(reseal(key_of(kind), again, len - CHECKSUM_LEN), len);
		assert_memory_equal(again, record, len);
	}
}

static void test_record_of_another_version_is_refused(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record);

		record[0]++;
		reseal(key_of(kind), record, len - CHECKSUM_LEN);
		assert_refused(kind, (struct bytes){record, len}, "another version");
	}
}

/* A delivery without its last attempt is a delivery. */
static bool is_whole(const struct kind *kind, size_t body_len)
{
	struct delivery d = a_delivery();
	uint8_t record[RECORD_MAX];

	d.last.number = 0;
	return kind->get == get_delivery &&
		body_len == record_put_delivery(delivery_key, &d, record) - CHECKSUM_LEN;
}

static void test_record_that_ends_too_soon_is_refused(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t whole[RECORD_MAX];
		size_t len = kind->put(key_of(kind), whole) - CHECKSUM_LEN;

		for (size_t cut = 0; cut < len && !kind->any_length; cut++) {
			uint8_t *record = malloc(cut + CHECKSUM_LEN);

			memcpy(record, whole, cut);
			reseal(key_of(kind), record, cut);
			if (!is_whole(kind, cut))
				assert_refused(kind, (struct bytes){record, cut + CHECKSUM_LEN},
					"an early end");
			free(record);
		}
	}
}

static void test_record_that_goes_on_is_refused(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + N(kinds); kind++) {
		uint8_t record[RECORD_MAX];
		size_t len = kind->put(key_of(kind), record) - CHECKSUM_LEN;

		record[len] = 0;
		len = reseal(key_of(kind), record, len + 1);
		if (!kind->any_length)
			assert_refused(kind, (struct bytes){record, len}, "more behind the end");
	}
}

static void test_delivery_under_a_key_of_another_length_is_refused(void **state)
{
	uint8_t record[RECORD_MAX], long_key[24] = {0};
	struct bytes short_key = {key_bytes, 19}, longer = {long_key, sizeof(long_key)};
	struct delivery d = a_delivery();
	size_t len = record_put_delivery(short_key, &d, record);

	(void)state;
	assert_int_equal(get_delivery(short_key, (struct bytes){record, len}), -EBADMSG);
	len = record_put_delivery(longer, &d, record);
	assert_int_equal(get_delivery(longer, (struct bytes){record, len}), -EBADMSG);
}

static void test_event_under_a_key_of_another_length_is_refused(void **state)
{
	uint8_t record[RECORD_MAX];
	size_t len = put_event(delivery_key, record);

	(void)state;
	assert_int_equal(get_event(delivery_key, (struct bytes){record, len}), -EBADMSG);
}

static int read_back(struct delivery d)
{
	uint8_t record[RECORD_MAX];
	size_t len = record_put_delivery(delivery_key, &d, record);

	return get_delivery(delivery_key, (struct bytes){record, len});
}

static void test_delivery_in_no_known_state_is_refused(void **state)
{
	struct delivery d = a_delivery();

	(void)state;
	d.reason = NOT_DEAD;
	for (int i = 0; i < 256; i++) {
		bool known = i == DELIVERY_PENDING || i == DELIVERY_HELD || i == DELIVERY_DELIVERED;

		d.state = (enum delivery_state)i;
		assert_int_equal(read_back(d), known ? 0 : -EBADMSG); /* dead needs a reason */
	}
}

static void test_delivery_is_dead_for_a_known_reason_or_alive(void **state)
{
	struct delivery d = a_delivery();

	(void)state;
	for (int i = 0; i < 256; i++) {
		bool known = i >= DEAD_EXHAUSTED && i <= DEAD_DAMAGED;

		d.reason = (enum dead_reason)i;
		d.state = DELIVERY_DEAD;
		assert_int_equal(read_back(d), known ? 0 : -EBADMSG);
		d.state = DELIVERY_PENDING;
		assert_int_equal(read_back(d), i == NOT_DEAD ? 0 : -EBADMSG);
	}
}

static void test_attempt_with_an_unknown_result_or_family_is_refused(void **state)
{
	(void)state;
	for (int i = 0; i < 256; i++) {
		struct delivery d = a_delivery();

		d.last.result = (enum attempt_result)i;
		assert_int_equal(read_back(d), i < N_ATTEMPT_RESULTS ? 0 : -EBADMSG);
		d = a_delivery();
		d.last.peer.family = (uint8_t)i;
		assert_int_equal(read_back(d), i == 0 || i == 4 || i == 6 ? 0 : -EBADMSG);
	}
}

static void test_tally_of_unknown_health_is_refused(void **state)
{
	struct tally tally = a_tally();
	uint8_t record[RECORD_MAX];
	size_t len;

	(void)state;
	tally.health = (enum health)3;
	len = record_put_tally(delivery_key, &tally, record);
	assert_int_equal(get_tally(delivery_key, (struct bytes){record, len}), -EBADMSG);
}

/* Puts a story with a message and a response of any length, as no honest writer would. */
static int read_story(size_t message_len, size_t response_len)
{
	struct attempt_story empty = {.attempt = an_attempt()};
	uint8_t record[RECORD_MAX];
	size_t len = record_put_attempt(delivery_key, &empty, record) - CHECKSUM_LEN - 4;

	record[len++] = (uint8_t)(message_len >> 8);
	record[len++] = (uint8_t)message_len;
	memset(record + len, 'm', message_len);
	len += message_len;
	record[len++] = (uint8_t)(response_len >> 8);
	record[len++] = (uint8_t)response_len;
	memset(record + len, 'r', response_len);
	len += response_len;
	len = reseal(delivery_key, record, len);
	return get_attempt(delivery_key, (struct bytes){record, len});
}

static void test_story_that_is_too_long_is_refused(void **state)
{
	(void)state;
	assert_int_equal(read_story(ATTEMPT_MESSAGE_MAX, ATTEMPT_RESPONSE_MAX), 0);
	assert_int_equal(read_story(ATTEMPT_MESSAGE_MAX + 1, 0), -EBADMSG);
	assert_int_equal(read_story(0, ATTEMPT_RESPONSE_MAX + 1), -EBADMSG);
}

static void test_event_with_a_nul_in_a_string_is_refused(void **state)
{
	static const char *const strings[] = {
		"acme", "order.paid", "application/json", "order-4711-paid"};

	(void)state;
	for (size_t i = 0; i < N(strings); i++) {
		uint8_t record[RECORD_MAX];
		size_t len = put_event(event_key, record);
		uint8_t *found = memmem(record, len, strings[i], strlen(strings[i]));

		assert_non_null(found);
		found[1] = '\0';
		reseal(event_key, record, len - CHECKSUM_LEN);
		assert_int_equal(get_event(event_key, (struct bytes){record, len}), -EBADMSG);
	}
}

static int fill_payload(void **state)
{
	(void)state;
	random_bytes(payload, sizeof(payload));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_reads_back_the_same),
		cmocka_unit_test(test_event_without_key_reads_back_the_same),
		cmocka_unit_test(test_event_of_the_least_and_the_most_reads_back_the_same),
		cmocka_unit_test(test_event_under_another_number_of_payload_bytes_is_refused),
		cmocka_unit_test(test_small_payload_stays_in_the_record),
		cmocka_unit_test(test_payload_of_whole_pieces_leaves_nothing_for_the_record),
		cmocka_unit_test(test_rest_of_a_payload_goes_into_the_record_when_it_fits),
		cmocka_unit_test(test_rest_of_a_payload_that_does_not_fit_is_a_last_piece),
		cmocka_unit_test(test_record_is_filled_to_the_last_byte),
		cmocka_unit_test(test_every_plan_covers_its_payload),
		cmocka_unit_test(test_events_with_pieces_read_back_the_same),
		cmocka_unit_test(test_delivery_reads_back_the_same),
		cmocka_unit_test(test_delivery_without_an_attempt_reads_back_the_same),
		cmocka_unit_test(test_delivery_reads_back_with_an_attempt_of_each_family),
		cmocka_unit_test(test_attempt_reads_back_the_same),
		cmocka_unit_test(test_attempt_of_the_longest_story_fits),
		cmocka_unit_test(test_tally_reads_back_the_same),
		cmocka_unit_test(test_tally_of_an_untried_endpoint_has_no_attempt),
		cmocka_unit_test(test_idempotency_key_reads_back_the_same),
		cmocka_unit_test(test_meta_reads_back_the_same),
		cmocka_unit_test(test_meta_of_the_longest_reason_fits),
		cmocka_unit_test(test_meta_of_another_schema_is_known_as_such),
		cmocka_unit_test(test_blob_reads_back_the_same),
		cmocka_unit_test(test_empty_blob_reads_back_the_same),
		cmocka_unit_test(test_blob_without_room_is_not_written),
		cmocka_unit_test(test_undamaged_record_of_each_kind_is_read),
		cmocka_unit_test(test_every_changed_byte_of_a_record_is_noticed),
		cmocka_unit_test(test_every_truncation_of_a_record_is_noticed),
		cmocka_unit_test(test_record_under_another_key_is_noticed),
		cmocka_unit_test(test_checksum_stands_at_the_end_in_big_endian),
		cmocka_unit_test(test_record_of_another_version_is_refused),
		cmocka_unit_test(test_record_that_ends_too_soon_is_refused),
		cmocka_unit_test(test_record_that_goes_on_is_refused),
		cmocka_unit_test(test_delivery_under_a_key_of_another_length_is_refused),
		cmocka_unit_test(test_event_under_a_key_of_another_length_is_refused),
		cmocka_unit_test(test_delivery_in_no_known_state_is_refused),
		cmocka_unit_test(test_delivery_is_dead_for_a_known_reason_or_alive),
		cmocka_unit_test(test_attempt_with_an_unknown_result_or_family_is_refused),
		cmocka_unit_test(test_tally_of_unknown_health_is_refused),
		cmocka_unit_test(test_story_that_is_too_long_is_refused),
		cmocka_unit_test(test_event_with_a_nul_in_a_string_is_refused),
	};

	return cmocka_run_group_tests_name("record", tests, fill_payload, NULL);
}
