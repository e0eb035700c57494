#include "record.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "../bytes.h"

#define RECORD_VERSION 1
#define CHECKSUM_LEN 8

uint64_t record_checksum(struct bytes key, struct bytes record)
{
	return XXH3_64bits_withSeed(record.at, record.len, XXH3_64bits(key.at, key.len));
}

static struct byte_writer begin(uint8_t *record, size_t size)
{
	struct byte_writer w = {.at = record, .size = size};

	put_u8(&w, RECORD_VERSION);
	return w;
}

static size_t finish(struct byte_writer *w, struct bytes key)
{
	put_u64(w, record_checksum(key, (struct bytes){w->at, w->used}));
	return w->overflow ? 0 : w->used;
}

/* A reader of what stands between version and checksum; bad when one of the two is wrong. */
static struct byte_reader open_record(struct bytes key, struct bytes record)
{
	struct byte_reader r = {.bad = true}, checksum;

	if (record.len < 1 + CHECKSUM_LEN)
		return r;
	r.at = record.at;
	r.end = r.at + record.len - CHECKSUM_LEN;
	checksum = (struct byte_reader){r.end, r.end + CHECKSUM_LEN, false};
	r.bad = get_u64(&checksum) !=
		record_checksum(key, (struct bytes){record.at, record.len - CHECKSUM_LEN});
	if (get_u8(&r) != RECORD_VERSION)
		r.bad = true;
	return r;
}

static int done(const struct byte_reader *r)
{
	return reader_is_done(r) ? 0 : -EBADMSG;
}

/* ---- Events ---- */

static size_t event_head_len(const struct event *e)
{
	return 1 + 3 * 8 + 3 * 4 + 2 + strlen(e->tenant) + 2 + strlen(e->type) + 2 +
		strlen(e->content_type) + 1 + (e->key ? 2 + strlen(e->key) : 0) + CHECKSUM_LEN;
}

struct piece_plan record_plan_pieces(const struct event *event)
{
	struct piece_plan plan = {.n_full = event->payload_len / PIECE_PAYLOAD};
	size_t rest = event->payload_len % PIECE_PAYLOAD;

	if (event_head_len(event) + rest <= RECORD_MAX)
		plan.in_record = rest;
	else
		plan.last = rest;
	return plan;
}

size_t record_put_event(struct bytes key, const struct event *e, const void *payload,
	size_t in_record, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	put_i64(&w, e->accepted_ms);
	put_i64(&w, e->timestamp_wall_ms);
	put_i64(&w, e->deliver_at_wall_ms);
	put_u32(&w, e->uid);
	put_u32(&w, e->n_deliveries);
	put_u32(&w, e->payload_len);
	put_string(&w, e->tenant, strlen(e->tenant));
	put_string(&w, e->type, strlen(e->type));
	put_string(&w, e->content_type, strlen(e->content_type));
	put_u8(&w, e->key != NULL);
	if (e->key)
		put_string(&w, e->key, strlen(e->key));
	put_bytes(&w, payload, in_record);
	return finish(&w, key);
}

/* A string copied with a NUL to *to, which moves on; "" and a bad reader when it has a NUL of its
 * own. */
static const char *copy_string(struct byte_reader *r, char **to, const char *end)
{
	size_t len;
	const char *text = get_string(r, &len);
	char *copy = *to;

	if (r->bad || len + 1 > (size_t)(end - copy) || memchr(text, '\0', len)) {
		r->bad = true;
		return "";
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	*to += len + 1;
	return copy;
}

int record_get_event(struct bytes key, struct bytes record, struct event *e,
	char strings[static RECORD_STRINGS_SIZE], struct bytes *in_record)
{
	struct byte_reader r = open_record(key, record);
	char *to = strings, *end = strings + RECORD_STRINGS_SIZE;

	if (key.len != sizeof(e->id.bytes))
		return -EBADMSG;
	memcpy(e->id.bytes, key.at, key.len);
	e->accepted_ms = get_i64(&r);
	e->timestamp_wall_ms = get_i64(&r);
	e->deliver_at_wall_ms = get_i64(&r);
	e->uid = get_u32(&r);
	e->n_deliveries = get_u32(&r);
	e->payload_len = get_u32(&r);
	e->tenant = copy_string(&r, &to, end);
	e->type = copy_string(&r, &to, end);
	e->content_type = copy_string(&r, &to, end);
	e->key = get_u8(&r) ? copy_string(&r, &to, end) : NULL;
	in_record->len = r.bad ? 0 : (size_t)(r.end - r.at);
	in_record->at = get_bytes(&r, in_record->len);
	if (r.bad || in_record->len != record_plan_pieces(e).in_record)
		return -EBADMSG;
	return done(&r);
}

/* ---- Deliveries and attempts ---- */

static void put_attempt(struct byte_writer *w, const struct attempt *a)
{
	put_u32(w, a->number);
	put_u8(w, (uint8_t)a->result);
	put_u16(w, a->http_status);
	put_u32(w, a->duration_ms);
	put_u32(w, (uint32_t)a->retry_after_s);
	put_i64(w, a->started_ms);
	put_u8(w, a->peer.family);
	if (a->peer.family) {
		put_bytes(w, a->peer.bytes, a->peer.family == 4 ? 4 : 16);
		put_u16(w, a->peer.port);
	}
}

static void get_attempt(struct byte_reader *r, struct attempt *a)
{
	memset(a, 0, sizeof(*a));
	a->number = get_u32(r);
	a->result = get_u8(r);
	a->http_status = get_u16(r);
	a->duration_ms = get_u32(r);
	a->retry_after_s = (int32_t)get_u32(r);
	a->started_ms = get_i64(r);
	a->peer.family = get_u8(r);
	if (a->peer.family) {
		size_t len = a->peer.family == 4 ? 4 : 16;
		const uint8_t *bytes = get_bytes(r, len);

		if (bytes)
			memcpy(a->peer.bytes, bytes, len);
		a->peer.port = get_u16(r);
	}
	if (a->result >= N_ATTEMPT_RESULTS ||
		(a->peer.family != 0 && a->peer.family != 4 && a->peer.family != 6))
		r->bad = true;
}

size_t record_put_delivery(
	struct bytes key, const struct delivery *d, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	put_u8(&w, (uint8_t)d->state);
	put_u8(&w, (uint8_t)d->reason);
	put_u32(&w, d->turn);
	put_u16(&w, d->attempts);
	put_u8(&w, d->local_faults);
	put_i64(&w, d->since_ms);
	put_i64(&w, d->due_ms);
	put_i64(&w, d->aged_from_ms);
	put_u32(&w, d->payload_bytes);
	if (d->last.number)
		put_attempt(&w, &d->last);
	return finish(&w, key);
}

int record_get_delivery(struct bytes key, struct bytes record, struct delivery *d)
{
	struct byte_reader k = {key.at, (const uint8_t *)key.at + key.len, false};
	struct byte_reader r = open_record(key, record);
	const uint8_t *id = get_bytes(&k, sizeof(d->event.bytes));

	memset(d, 0, sizeof(*d));
	if (id)
		memcpy(d->event.bytes, id, sizeof(d->event.bytes));
	d->endpoint = get_u32(&k);
	d->state = get_u8(&r);
	d->reason = get_u8(&r);
	d->turn = get_u32(&r);
	d->attempts = get_u16(&r);
	d->local_faults = get_u8(&r);
	d->since_ms = get_i64(&r);
	d->due_ms = get_i64(&r);
	d->aged_from_ms = get_i64(&r);
	d->payload_bytes = get_u32(&r);
	d->last.retry_after_s = -1;
	if (r.at < r.end)
		get_attempt(&r, &d->last);
	if (!reader_is_done(&k) || d->state < DELIVERY_PENDING || d->state > DELIVERY_DEAD ||
		d->reason >= N_DEAD_REASONS ||
		(d->state == DELIVERY_DEAD) != (d->reason != NOT_DEAD))
		return -EBADMSG;
	return done(&r);
}

size_t record_put_attempt(
	struct bytes key, const struct attempt_story *s, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	put_attempt(&w, &s->attempt);
	put_string(&w, s->message, s->message_len);
	put_string(&w, s->response, s->response_len);
	return finish(&w, key);
}

static void get_text(struct byte_reader *r, char *text, uint16_t *len, size_t max)
{
	size_t n;
	const char *at = get_string(r, &n);

	if (n > max) {
		r->bad = true;
		n = 0;
	}
	memcpy(text, at, n);
	*len = (uint16_t)n;
}

int record_get_attempt(struct bytes key, struct bytes record, struct attempt_story *s)
{
	struct byte_reader r = open_record(key, record);

	get_attempt(&r, &s->attempt);
	get_text(&r, s->message, &s->message_len, sizeof(s->message));
	get_text(&r, s->response, &s->response_len, sizeof(s->response));
	return done(&r);
}

/* ---- Tallies, keys, meta, blobs ---- */

size_t record_put_tally(struct bytes key, const struct tally *t, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	for (int state = DELIVERY_PENDING; state < N_DELIVERY_STATES; state++)
		put_u64(&w, t->deliveries[state]);
	put_u64(&w, t->owed_bytes);
	put_u8(&w, (uint8_t)t->health);
	put_i64(&w, t->health_since_ms);
	put_u32(&w, t->failures);
	if (t->health != HEALTH_UNTRIED) {
		put_attempt(&w, &t->last);
		put_string(&w, t->message, t->message_len);
	}
	return finish(&w, key);
}

int record_get_tally(struct bytes key, struct bytes record, struct tally *t)
{
	struct byte_reader r = open_record(key, record);

	memset(t, 0, sizeof(*t));
	for (int state = DELIVERY_PENDING; state < N_DELIVERY_STATES; state++)
		t->deliveries[state] = get_u64(&r);
	t->owed_bytes = get_u64(&r);
	t->health = get_u8(&r);
	t->health_since_ms = get_i64(&r);
	t->failures = get_u32(&r);
	if (t->health != HEALTH_UNTRIED) {
		get_attempt(&r, &t->last);
		get_text(&r, t->message, &t->message_len, sizeof(t->message));
	}
	if (t->health > HEALTH_FAILING)
		return -EBADMSG;
	return done(&r);
}

size_t record_put_key(
	struct bytes key, const struct key_record *k, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	put_bytes(&w, k->event.bytes, sizeof(k->event.bytes));
	put_u32(&w, k->n_deliveries);
	put_i64(&w, k->expires_ms);
	put_bytes(&w, k->digest, sizeof(k->digest));
	return finish(&w, key);
}

int record_get_key(struct bytes key, struct bytes record, struct key_record *k)
{
	struct byte_reader r = open_record(key, record);
	const uint8_t *id = get_bytes(&r, sizeof(k->event.bytes)), *digest;

	if (id)
		memcpy(k->event.bytes, id, sizeof(k->event.bytes));
	k->n_deliveries = get_u32(&r);
	k->expires_ms = get_i64(&r);
	digest = get_bytes(&r, sizeof(k->digest));
	if (digest)
		memcpy(k->digest, digest, sizeof(k->digest));
	return done(&r);
}

size_t record_put_meta(
	struct bytes key, const struct meta_record *m, uint8_t record[static RECORD_MAX])
{
	struct byte_writer w = begin(record, RECORD_MAX);

	put_u32(&w, m->schema);
	put_bytes(&w, m->key_id, sizeof(m->key_id));
	put_i64(&w, m->queue_ms);
	put_i64(&w, m->stop_ms);
	put_i64(&w, m->lag_ms);
	put_u32(&w, m->next_endpoint);
	put_u8(&w, m->sending.paused);
	put_i64(&w, m->sending.since_ms);
	put_string(&w, m->sending.reason, strlen(m->sending.reason));
	return finish(&w, key);
}

int record_get_meta(struct bytes key, struct bytes record, struct meta_record *m)
{
	struct byte_reader r = open_record(key, record);
	const uint8_t *key_id;
	uint16_t len;

	memset(m, 0, sizeof(*m));
	m->schema = get_u32(&r);
	if (!r.bad && m->schema != SCHEMA)
		return -ENOTSUP;
	key_id = get_bytes(&r, sizeof(m->key_id));
	if (key_id)
		memcpy(m->key_id, key_id, sizeof(m->key_id));
	m->queue_ms = get_i64(&r);
	m->stop_ms = get_i64(&r);
	m->lag_ms = get_i64(&r);
	m->next_endpoint = get_u32(&r);
	m->sending.paused = get_u8(&r) != 0;
	m->sending.since_ms = get_i64(&r);
	get_text(&r, m->sending.reason, &len, sizeof(m->sending.reason) - 1);
	return done(&r);
}

size_t record_put_blob(struct bytes key, struct bytes blob, uint8_t *record, size_t size)
{
	struct byte_writer w = begin(record, size);

	put_bytes(&w, blob.at, blob.len);
	return finish(&w, key);
}

int record_get_blob(struct bytes key, struct bytes record, struct bytes *blob)
{
	struct byte_reader r = open_record(key, record);

	if (r.bad)
		return -EBADMSG;
	*blob = (struct bytes){r.at, (size_t)(r.end - r.at)};
	return 0;
}
