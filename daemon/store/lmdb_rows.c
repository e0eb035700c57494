#include "lmdb_rows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "../bytes.h"

#define KEY_HASHED_BEYOND 64

static struct byte_writer begin_key(struct row_key *key)
{
	return (struct byte_writer){.at = key->at, .size = sizeof(key->at)};
}

static void end_key(struct row_key *key, const struct byte_writer *w)
{
	assert(!w->overflow);
	key->len = w->used;
}

static void put_id(struct byte_writer *w, const struct event_id *id)
{
	put_bytes(w, id->bytes, sizeof(id->bytes));
}

struct row_key key_of_event(const struct event_id *id)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_id(&w, id);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_piece(const struct event_id *id, uint32_t number)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_id(&w, id);
	put_u32(&w, number);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_delivery(const struct event_id *id, uint32_t endpoint)
{
	return key_of_piece(id, endpoint);
}

struct row_key key_of_attempt(const struct event_id *id, uint32_t endpoint, uint32_t number)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_id(&w, id);
	put_u32(&w, endpoint);
	put_u32(&w, number);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_due(uint32_t endpoint, int64_t due_ms, const struct event_id *id)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_u32(&w, endpoint);
	put_i64(&w, due_ms);
	put_id(&w, id);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_standing(
	uint32_t endpoint, enum delivery_state state, const struct event_id *id)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_u32(&w, endpoint);
	put_u8(&w, (uint8_t)state);
	put_id(&w, id);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_dead(int64_t died_ms, const struct event_id *id, uint32_t endpoint)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_i64(&w, died_ms);
	put_id(&w, id);
	put_u32(&w, endpoint);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_ended(const struct event_id *id, const struct event_standing *standing)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_u8(&w, standing->states[DELIVERY_DEAD] ? ENDED_WITH_DEAD : ENDED_DELIVERED);
	/* An event that nobody subscribed to ended when it was accepted. */
	put_i64(&w, standing->total ? standing->ended_ms : event_id_ms(id));
	put_id(&w, id);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_number(uint32_t number)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_u32(&w, number);
	end_key(&key, &w);
	return key;
}

struct row_key key_of_idempotency(const char *tenant, const char *text)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);
	size_t len = strlen(text);

	put_bytes(&w, tenant, strlen(tenant) + 1);
	if (len <= KEY_HASHED_BEYOND) {
		put_bytes(&w, text, len);
	} else {
		/* A byte that no key may hold goes in front, so that no short key equals a hash. */
		uint8_t hash[SHA256_DIGEST_LENGTH];

		SHA256((const unsigned char *)text, len, hash);
		put_u8(&w, 0);
		put_bytes(&w, hash, sizeof(hash));
	}
	end_key(&key, &w);
	return key;
}

struct row_key key_of_key_expiry(int64_t expires_ms, const struct row_key *idempotency)
{
	struct row_key key;
	struct byte_writer w = begin_key(&key);

	put_i64(&w, expires_ms);
	put_bytes(&w, idempotency->at, idempotency->len);
	end_key(&key, &w);
	return key;
}

struct event_id key_event_at(const void *key, size_t offset)
{
	struct event_id id;

	memcpy(id.bytes, (const uint8_t *)key + offset, sizeof(id.bytes));
	return id;
}

uint32_t key_u32_at(const void *key, size_t offset)
{
	struct byte_reader r = {
		(const uint8_t *)key + offset, (const uint8_t *)key + offset + 4, false};

	return get_u32(&r);
}

int64_t key_i64_at(const void *key, size_t offset)
{
	struct byte_reader r = {
		(const uint8_t *)key + offset, (const uint8_t *)key + offset + 8, false};

	return get_i64(&r);
}

/* ---- Rows ---- */

static MDB_val as_val(const struct row_key *key)
{
	return (MDB_val){key->len, (void *)key->at};
}

bool row_get(struct txn *t, enum table table, const struct row_key *key, struct bytes *value)
{
	MDB_val k = as_val(key), v;
	int r;

	if (t->error)
		return false;
	r = mdb_get(t->mdb, t->tables[table], &k, &v);
	if (r == MDB_SUCCESS)
		*value = (struct bytes){v.mv_data, v.mv_size};
	else if (r != MDB_NOTFOUND)
		t->error = r;
	return r == MDB_SUCCESS;
}

/* LMDB takes a cursor that has come to the end for granted: not any more when somebody else changes
 * the table. */
static void forget_end(struct txn *t, enum table table)
{
	if (t->ends[table])
		mdb_cursor_close(t->ends[table]);
	t->ends[table] = NULL;
}

void row_put(
	struct txn *t, enum table table, const struct row_key *key, const void *value, size_t len)
{
	MDB_val k = as_val(key), v = {len, (void *)value};

	if (t->error)
		return;
	forget_end(t, table);
	t->error = mdb_put(t->mdb, t->tables[table], &k, &v, 0);
	t->writes++;
}

void row_append(
	struct txn *t, enum table table, const struct row_key *key, const void *value, size_t len)
{
	MDB_val k = as_val(key), v = {len, (void *)value};

	if (t->error)
		return;
	/* Goes with the transaction. */
	if (!t->ends[table])
		t->error = mdb_cursor_open(t->mdb, t->tables[table], &t->ends[table]);
	if (t->error)
		return;
	t->error = mdb_cursor_put(t->ends[table], &k, &v, MDB_APPEND);
	if (t->error == MDB_KEYEXIST) /* not behind all others; nothing was changed */
		t->error = mdb_cursor_put(t->ends[table], &k, &v, 0);
	t->writes++;
}

bool row_delete(struct txn *t, enum table table, const struct row_key *key)
{
	MDB_val k = as_val(key);
	int r;

	if (t->error)
		return false;
	forget_end(t, table);
	r = mdb_del(t->mdb, t->tables[table], &k, NULL);
	if (r == MDB_SUCCESS)
		t->writes++;
	else if (r != MDB_NOTFOUND)
		t->error = r;
	return r == MDB_SUCCESS;
}

size_t count_entries(struct txn *t, enum table table)
{
	MDB_stat stat = {0};

	if (!t->error)
		t->error = mdb_stat(t->mdb, t->tables[table], &stat);
	return stat.ms_entries;
}

/* ---- Walks ---- */

/* The length of each table's keys; where they vary, the longest. */
static const struct {
	uint8_t len;
	bool varies;
} key_sizes[N_TABLES] = {
	[T_META] = {5},
	[T_EVENT] = {16},
	[T_PIECE] = {20},
	[T_LIVE] = {20},
	[T_DONE] = {20},
	[T_ATTEMPT] = {24},
	[T_DUE] = {28},
	[T_STANDING] = {21},
	[T_DEAD] = {28},
	[T_ENDED] = {25},
	[T_ENDPOINT] = {4},
	[T_TALLY] = {4},
	[T_KEY] = {ROW_KEY_MAX - 8, true},
	[T_KEY_EXPIRY] = {ROW_KEY_MAX, true},
};

bool row_key_is_possible(enum table table, size_t len)
{
	/* Of a varying one at least the expiry, or the byte behind the tenant. */
	if (key_sizes[table].varies)
		return len <= key_sizes[table].len && len > (table == T_KEY_EXPIRY ? 8 : 0);
	return len == key_sizes[table].len;
}

void walk_open(
	struct walk *walk, struct txn *t, enum table table, const void *prefix, size_t prefix_len)
{
	*walk = (struct walk){.t = t, .table = table, .prefix_len = prefix_len};
	memcpy(walk->prefix, prefix, prefix_len);
	if (!t->error)
		t->error = mdb_cursor_open(t->mdb, t->tables[table], &walk->cursor);
}

void walk_close(struct walk *walk)
{
	if (walk->cursor)
		mdb_cursor_close(walk->cursor);
	walk->cursor = NULL;
	walk->valid = false;
}

static bool move(struct walk *walk, MDB_cursor_op op)
{
	int r;

	walk->valid = false;
	if (walk->t->error)
		return false;
	r = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, op);
	if (r != MDB_SUCCESS && r != MDB_NOTFOUND)
		walk->t->error = r;
	if (r == MDB_SUCCESS && !walk->any_key &&
		!row_key_is_possible(walk->table, walk->key.mv_size))
		walk->t->error = -EBADMSG;
	walk->valid = r == MDB_SUCCESS && !walk->t->error &&
		walk->key.mv_size >= walk->prefix_len &&
		memcmp(walk->key.mv_data, walk->prefix, walk->prefix_len) == 0;
	return walk->valid;
}

bool walk_seek(struct walk *walk, const struct row_key *from)
{
	walk->key = from ? as_val(from) : (MDB_val){walk->prefix_len, walk->prefix};
	if (walk->key.mv_size == 0)
		return move(walk, MDB_FIRST);
	return move(walk, MDB_SET_RANGE);
}

/* The largest key with the prefix is found from the smallest one behind all of them. */
static bool seek_last(struct walk *walk)
{
	uint8_t behind[ROW_KEY_MAX];
	size_t len = walk->prefix_len;

	memcpy(behind, walk->prefix, len);
	while (len > 0 && ++behind[len - 1] == 0)
		len--;
	if (len == 0)
		return move(walk, MDB_LAST);
	walk->key = (MDB_val){len, behind};
	move(walk, MDB_SET_RANGE);
	return walk->t->error == 0 && move(walk, walk->key.mv_data == behind ? MDB_LAST : MDB_PREV);
}

bool walk_seek_back(struct walk *walk, const struct row_key *from)
{
	if (!from)
		return seek_last(walk);
	walk->key = as_val(from);
	if (move(walk, MDB_SET_RANGE) && walk->key.mv_size == from->len &&
		memcmp(walk->key.mv_data, from->at, from->len) == 0)
		return true;
	/* Nothing at or behind: MDB leaves the key alone. */
	return move(walk, walk->key.mv_data == from->at ? MDB_LAST : MDB_PREV);
}

bool walk_next(struct walk *walk)
{
	return walk->valid && move(walk, MDB_NEXT);
}

bool walk_previous(struct walk *walk)
{
	return walk->valid && move(walk, MDB_PREV);
}

void walk_delete(struct walk *walk)
{
	struct row_key key = {.len = walk->key.mv_size};

	memcpy(key.at, walk->key.mv_data, key.len);
	if (!row_delete(walk->t, walk->table, &key) && !walk->t->error)
		walk->t->error = -EBADMSG;
}

/* ---- Records ---- */

static struct bytes as_bytes(const struct row_key *key)
{
	return (struct bytes){key->at, key->len};
}

int get_delivery(struct txn *t, const struct delivery_ref *ref, struct delivery *delivery)
{
	struct row_key key = key_of_delivery(&ref->event, ref->endpoint);
	struct bytes value;

	if (!row_get(t, T_LIVE, &key, &value) && !row_get(t, T_DONE, &key, &value))
		return -ENOENT;
	return record_get_delivery(as_bytes(&key), value, delivery);
}

int get_tally(struct txn *t, uint32_t endpoint, struct tally *tally)
{
	struct row_key key = key_of_number(endpoint);
	struct bytes value;

	if (!row_get(t, T_TALLY, &key, &value))
		return -ENOENT;
	return record_get_tally(as_bytes(&key), value, tally);
}

int get_story(
	struct txn *t, const struct delivery_ref *ref, uint32_t number, struct attempt_story *story)
{
	struct row_key key = key_of_attempt(&ref->event, ref->endpoint, number);
	struct bytes value;

	if (!row_get(t, T_ATTEMPT, &key, &value))
		return -ENOENT;
	return record_get_attempt(as_bytes(&key), value, story);
}

int get_key_record(struct txn *t, const struct row_key *key, struct key_record *entry)
{
	struct bytes value;

	if (!row_get(t, T_KEY, key, &value))
		return -ENOENT;
	return record_get_key(as_bytes(key), value, entry);
}

/* Moves a string of the event into the block. */
static const char *settle(const char *text, char **to)
{
	size_t size = strlen(text) + 1;
	char *at = *to;

	memcpy(at, text, size);
	*to += size;
	return at;
}

static struct stored_event *allocate_event(const struct event *event, bool with_payload)
{
	size_t strings = strlen(event->tenant) + strlen(event->type) + strlen(event->content_type) +
		3 + (event->key ? strlen(event->key) + 1 : 0);
	struct stored_event *stored =
		malloc(sizeof(*stored) + strings + (with_payload ? event->payload_len : 0));
	char *to;

	if (!stored)
		return NULL;
	to = (char *)(stored + 1);
	stored->event = *event;
	stored->event.tenant = settle(event->tenant, &to);
	stored->event.type = settle(event->type, &to);
	stored->event.content_type = settle(event->content_type, &to);
	if (event->key)
		stored->event.key = settle(event->key, &to);
	stored->payload = with_payload ? (uint8_t *)to : NULL;
	return stored;
}

static int get_pieces(struct txn *t, const struct event *event, struct piece_plan plan, uint8_t *to)
{
	for (uint32_t i = 0; i < plan.n_full + (plan.last > 0); i++) {
		struct row_key key = key_of_piece(&event->id, i);
		size_t len = i < plan.n_full ? PIECE_PAYLOAD : plan.last;
		struct bytes value;
		struct byte_reader checksum;

		if (!row_get(t, T_PIECE, &key, &value) || value.len != len + 8)
			return -EBADMSG;
		checksum = (struct byte_reader){(const uint8_t *)value.at + len,
			(const uint8_t *)value.at + len + 8, false};
		if (get_u64(&checksum) !=
			record_checksum(as_bytes(&key), (struct bytes){value.at, len}))
			return -EBADMSG;
		memcpy(to, value.at, len);
		to += len;
	}
	return 0;
}

int get_stored_event(
	struct txn *t, const struct event_id *id, bool with_payload, struct stored_event **stored)
{
	struct row_key key = key_of_event(id);
	char strings[RECORD_STRINGS_SIZE];
	struct bytes value, in_record;
	struct event event;
	int r;

	if (!row_get(t, T_EVENT, &key, &value))
		return -ENOENT;
	r = record_get_event(as_bytes(&key), value, &event, strings, &in_record);
	if (r < 0)
		return r;
	*stored = allocate_event(&event, with_payload);
	if (!*stored)
		return -ENOMEM;
	if (with_payload) {
		uint8_t *payload = (uint8_t *)(*stored)->payload;

		if (in_record.len)
			memcpy(payload, in_record.at, in_record.len);
		r = get_pieces(t, &event, record_plan_pieces(&event), payload + in_record.len);
		if (r < 0) {
			free(*stored);
			*stored = NULL;
		}
	}
	return r;
}

void get_event_type(struct txn *t, const struct event_id *id, char type[static 129])
{
	struct row_key key = key_of_event(id);
	char strings[RECORD_STRINGS_SIZE];
	struct bytes value, in_record;
	struct event event;

	type[0] = '\0';
	if (row_get(t, T_EVENT, &key, &value) &&
		record_get_event(as_bytes(&key), value, &event, strings, &in_record) == 0 &&
		strlen(event.type) < 129)
		memcpy(type, event.type, strlen(event.type) + 1);
}

/* Adds what is in a table; if not all is wanted, until one is open. */
static void add_standing(struct txn *t, enum table table, const struct event_id *id, bool all,
	struct event_standing *standing)
{
	struct walk walk;

	walk_open(&walk, t, table, id->bytes, sizeof(id->bytes));
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct bytes key = {walk.key.mv_data, walk.key.mv_size};
		struct bytes value = {walk.value.mv_data, walk.value.mv_size};
		struct delivery delivery;

		standing->total++;
		/* A damaged row says nothing. Counted as dead it lets its event end and be
		 * forgotten. */
		if (record_get_delivery(key, value, &delivery) < 0) {
			standing->states[DELIVERY_DEAD]++;
			continue;
		}
		standing->states[delivery.state]++;
		if (delivery.since_ms > standing->ended_ms)
			standing->ended_ms = delivery.since_ms;
		if (!all && standing_is_open(standing))
			break;
	}
	walk_close(&walk);
}

void get_standing(struct txn *t, const struct event_id *id, struct event_standing *standing)
{
	*standing = (struct event_standing){0};
	add_standing(t, T_LIVE, id, true, standing);
	add_standing(t, T_DONE, id, true, standing);
}

bool get_ended(struct txn *t, const struct event_id *id, struct event_standing *standing)
{
	*standing = (struct event_standing){0};
	add_standing(t, T_LIVE, id, false, standing);
	if (standing_is_open(standing))
		return false;
	add_standing(t, T_DONE, id, true, standing);
	return true;
}

int64_t get_oldest_pending(struct txn *t, uint32_t endpoint)
{
	struct row_key prefix = key_of_number(endpoint);
	struct walk walk;
	int64_t oldest_ms = 0;

	prefix.at[prefix.len++] = DELIVERY_PENDING;
	walk_open(&walk, t, T_STANDING, prefix.at, prefix.len);
	if (walk_seek(&walk, NULL)) {
		struct event_id id = key_event_at(walk.key.mv_data, 5);

		oldest_ms = event_id_ms(&id);
	}
	walk_close(&walk);
	return oldest_ms;
}
