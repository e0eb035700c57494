/*
 * The LMDB engine, ground floor: the tables, the keys of their rows, and reading and writing single
 * rows.
 *
 * A transaction carries a sticky error: once a row could not be read or written, nothing more is
 * written and the transaction is abandoned, so that callers check once, at the end. What a record
 * says is checked by record.c on every read.
 *
 * Internal to the LMDB engine. doc/format.md specifies the tables.
 */
#pragma once

#include <lmdb.h>

#include "engine.h"
#include "record.h"

enum table {
	T_META,
	T_EVENT, /* event id -> event, start of the payload */
	T_PIECE, /* event id, piece number -> payload bytes */
	T_LIVE, /* event id, endpoint -> delivery that is pending, held or dead */
	T_DONE, /* event id, endpoint -> delivery that is delivered */
	T_ATTEMPT, /* event id, endpoint, attempt number -> its story */
	T_DUE, /* endpoint, due time, event id -> nothing */
	T_STANDING, /* endpoint, state, event id -> nothing: what is pending, held or dead, by
		       endpoint */
	T_DEAD, /* time of death, event id, endpoint -> nothing */
	T_ENDED, /* class, time of the end, event id -> nothing: events with nothing pending or held
		  */
	T_ENDPOINT, /* endpoint -> flags, settings */
	T_TALLY, /* endpoint -> what is counted */
	T_KEY, /* tenant, idempotency key -> event id, digest, expiry */
	T_KEY_EXPIRY, /* expiry, the key of T_KEY -> nothing */
	N_TABLES
};

/* Classes of ended events, in T_ENDED: with different times to keep. */
#define ENDED_DELIVERED 0
#define ENDED_WITH_DEAD 1

struct txn {
	MDB_txn *mdb;
	const MDB_dbi *tables;
	MDB_cursor *ends[N_TABLES]; /* of row_append() */
	int error; /* of LMDB, or -EBADMSG: a record that is needed is damaged, or an index does
		      not fit what it was made from; 0: fine so far */
	size_t writes;
};

/* The longest is T_KEY_EXPIRY's: 8 + 64 + 1 + 64. */
#define ROW_KEY_MAX 144

struct row_key {
	uint8_t at[ROW_KEY_MAX];
	size_t len;
};

/* How an event's deliveries stand. */
struct event_standing {
	uint32_t states[N_DELIVERY_STATES];
	int64_t ended_ms; /* the latest since_ms of all */
	uint32_t total;
};

struct row_key key_of_event(const struct event_id *id);
struct row_key key_of_piece(const struct event_id *id, uint32_t number);
struct row_key key_of_delivery(const struct event_id *id, uint32_t endpoint); /* T_LIVE, T_DONE */
struct row_key key_of_attempt(const struct event_id *id, uint32_t endpoint, uint32_t number);
struct row_key key_of_due(uint32_t endpoint, int64_t due_ms, const struct event_id *id);
struct row_key key_of_standing(
	uint32_t endpoint, enum delivery_state state, const struct event_id *id);
struct row_key key_of_dead(int64_t died_ms, const struct event_id *id, uint32_t endpoint);
struct row_key key_of_ended(const struct event_id *id, const struct event_standing *standing);
struct row_key key_of_number(uint32_t number); /* T_ENDPOINT, T_TALLY */
struct row_key key_of_idempotency(const char *tenant, const char *key);
struct row_key key_of_key_expiry(int64_t expires_ms, const struct row_key *key);

struct event_id key_event_at(const void *key, size_t offset);
uint32_t key_u32_at(const void *key, size_t offset);
int64_t key_i64_at(const void *key, size_t offset);

/* Can a row of the table have a key of that length? What a page says is not trusted. */
bool row_key_is_possible(enum table table, size_t len);

/* Single rows. row_get() returns false when there is none; the bytes live until the next write. */
bool row_get(struct txn *t, enum table table, const struct row_key *key, struct bytes *value);
void row_put(
	struct txn *t, enum table table, const struct row_key *key, const void *value, size_t len);
/* row_put() for a row that most likely comes behind all others of its table: it leaves full pages
 * behind, where LMDB takes the last row out of a full page that a new one does not fit in. */
void row_append(
	struct txn *t, enum table table, const struct row_key *key, const void *value, size_t len);
bool row_delete(
	struct txn *t, enum table table, const struct row_key *key); /* false: there was none */

/* A walk over rows whose keys begin with a prefix. Reposition after every write to the table. A key
 * that no row of the table can have is damage, and the transaction's error, unless any_key is set.
 */
struct walk {
	struct txn *t;
	MDB_cursor *cursor;
	enum table table;
	bool any_key;
	uint8_t prefix[ROW_KEY_MAX];
	size_t prefix_len;
	MDB_val key, value;
	bool valid; /* key and value are of a row */
};

void walk_open(
	struct walk *walk, struct txn *t, enum table table, const void *prefix, size_t prefix_len);
void walk_close(struct walk *walk);
/* To the first row at or behind from (NULL: the first of all); or to the last one at or before it.
 */
bool walk_seek(struct walk *walk, const struct row_key *from);
bool walk_seek_back(struct walk *walk, const struct row_key *from);
bool walk_next(struct walk *walk);
bool walk_previous(struct walk *walk);
/* Deletes the row that the walk is on, which is then to be positioned anew. A row that cannot be
 * found by its own key lies in a damaged page: the transaction's error, or who goes on until none
 * is left would go on for ever. */
void walk_delete(struct walk *walk);
/* How many rows the table says it has. */
size_t count_entries(struct txn *t, enum table table);

/* Records. 0, -ENOENT or -EBADMSG; damage does not set the transaction's error. */
int get_delivery(struct txn *t, const struct delivery_ref *ref, struct delivery *delivery);
int get_tally(struct txn *t, uint32_t endpoint, struct tally *tally);
int get_story(struct txn *t, const struct delivery_ref *ref, uint32_t number,
	struct attempt_story *story);
int get_key_record(struct txn *t, const struct row_key *key, struct key_record *entry);

/* An event in one block; -ENOMEM too. */
int get_stored_event(
	struct txn *t, const struct event_id *id, bool with_payload, struct stored_event **event);
/* Its type alone, "" when it cannot be told. */
void get_event_type(struct txn *t, const struct event_id *id, char type[static 129]);

void get_standing(struct txn *t, const struct event_id *id, struct event_standing *standing);
/* The same of an event that has ended. Returns false, and not all, for one that has not: as a rule
 * that is seen at the first delivery. */
bool get_ended(struct txn *t, const struct event_id *id, struct event_standing *standing);

/* When the oldest event that the endpoint is still pending for was accepted; 0: nothing pending. */
int64_t get_oldest_pending(struct txn *t, uint32_t endpoint);

static inline bool standing_is_open(const struct event_standing *s)
{
	return s->states[DELIVERY_PENDING] || s->states[DELIVERY_HELD];
}
