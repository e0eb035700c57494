/*
 * The LMDB engine, the parts' common face: one data file, hookd.mdb, in the data directory.
 *
 * lmdb_rows.c knows the tables; lmdb_space.c how much may be stored; lmdb_commit.h changes;
 * lmdb_read.c reads; lmdb_engine.c opens, closes and copies. Internal; the rest of hookd sees
 * engine_lmdb alone.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine.h"
#include "lmdb_rows.h"

#define PAGE_BYTES 4096
#define DATA_FILE "hookd.mdb"
#define REBUILD_MARK \
	"rebuild" /* a file in the directory: the next start makes the data file anew */

/* Free pages when a transaction began, and how many of them it may have taken. */
struct freed {
	size_t pages, taken;
};

struct engine {
	MDB_env *env;
	MDB_dbi tables[N_TABLES];
	int data_fd; /* LMDB's own, not to be closed */
	struct meta_record meta; /* the writer's copy */

	size_t map_pages;
	atomic_size_t allocated_pages; /* as a rule the file's size: what a commit can use without
					  asking the disk; changed by the writer */
	atomic_size_t reusable_pages; /* that became free and can be taken again; by the writer */
	atomic_bool pages_are_short; /* what is under way may need all that is left */
	atomic_int_least64_t below_floor_bytes; /* of the disk, taken for what had been accepted; by
						   the writer */
	/* This batch's events, and more freed pages would have helped. */
	atomic_bool refused_for_room;
	struct freed freed, freed_before; /* of this transaction and the one before; the writer's */
	atomic_size_t freed_txn; /* of which freed is; by the writer */
	atomic_bool can_allocate; /* the file system knows fallocate(2) */

	atomic_bool is_broken;
	/* A copy under way: its end of the connection that it is written to, -1: none. */
	pthread_mutex_t copy_mutex;
	int copy_fd;
	size_t copy_from_page; /* the last one when it began; SIZE_MAX: not known yet */
	bool copy_ended; /* by lmdb_limit_copy() */

	char broken[256]; /* why */
	char mark_path[4096]; /* of REBUILD_MARK; "" where there is nobody to start again */
	atomic_bool damaged; /* marked */
};

extern const struct engine_verbs engine_lmdb;

/* Makes a new file with its tables and that first record, synced, and leaves it open. */
int lmdb_make_file(struct engine *engine, const char *path, int64_t map_bytes,
	const struct meta_record *meta, struct problem *problem);
void lmdb_close_file(struct engine *engine);
int64_t lmdb_map_bytes(const struct store_limits *limits, int64_t file_bytes);
int lmdb_sync_path(const char *path);

/* Opens the file for inspection or conversion, offline; what open() does after the first start. */
int lmdb_open_file(struct engine *engine, const char *path, bool with_lock,
	const struct store_limits *limits, struct problem *problem);

/* Begins a transaction in *t. Returns ENGINE_OK or ENGINE_BROKEN. */
enum engine_result lmdb_begin(struct engine *engine, struct txn *t, bool write);
void lmdb_abort(struct txn *t);
/* Notes the reason and returns ENGINE_BROKEN. error: LMDB's or a negative errno. */
enum engine_result lmdb_break(struct engine *engine, const char *what, int error);
/* Something is not as it was written: the next start makes the file anew. Any thread. */
void lmdb_mark_damaged(struct engine *engine);
const char *lmdb_explain(int error);
/* Is that an error which says so? */
bool lmdb_is_damage(int error);

void lmdb_put_meta(struct engine *engine, struct txn *t);

enum engine_result lmdb_commit_batch(struct engine *engine, struct batch *batch);
enum engine_result lmdb_claim(struct engine *engine, struct claim *claim);
enum engine_result lmdb_list_deliveries(
	struct engine *engine, const struct delivery_query *query, struct delivery_page *page);
enum engine_result lmdb_list_events(
	struct engine *engine, const struct event_query *query, struct event_page *page);
enum engine_result lmdb_get_event(
	struct engine *engine, const struct event_id *id, bool with_payload, struct event_row *row);
enum engine_result lmdb_get_history(
	struct engine *engine, const struct delivery_ref *ref, struct history *history);
enum engine_result lmdb_count_ages(
	struct engine *engine, const struct age_query *query, struct age_page *page);
enum engine_result lmdb_stats(
	struct engine *engine, const struct store_limits *limits, struct engine_stats *stats);

/* ---- Space ---- */

/* What the rows of a batch may need at worst, counted before it is begun. */
struct space_need {
	size_t rows, payload_pages;
};

/*
 * Makes room for a batch: extends the file ahead of use where it can. Returns how many pages its
 * submits may take (SIZE_MAX: all they want); those beyond are to be refused with the reason in
 * refusal.
 */
size_t space_prepare(struct engine *engine, struct txn *t, const struct store_limits *limits,
	const struct space_need *submits, const struct space_need *others, char *refusal,
	size_t refusal_size);

/* Sees to it, after the open, that the disk has all of the file, or all that was ever used of it.
 */
void space_fill_holes(struct engine *engine, const struct store_limits *limits);

/* What is used, and whether a small event would be taken now, by the same rules. Changes nothing.
 * Any thread. */
void space_judge(struct engine *engine, struct txn *t, const struct store_limits *limits,
	struct engine_stats *stats);

/* Does somebody read a state that is older than the last two, which keeps what was freed since from
 * being used again? Any thread. */
bool space_is_read(struct engine *engine);
/* Is so little left, and kept from being used again, that no more is to be begun? Any thread. */
bool space_is_short(struct engine *engine);

/* Ends the copy under way when the file has grown by so many pages meanwhile. */
void lmdb_limit_copy(struct engine *engine, size_t last_page, size_t pages);

/* Pages that rows and payload pieces can take beyond those the tables have. */
size_t space_pages(const struct space_need *need);

int64_t space_used_bytes(struct txn *t);
int64_t space_disk_free_bytes(const struct engine *engine);
void space_explain_budget(const struct store_limits *limits, char *text, size_t size);
void space_explain_disk(
	const struct store_limits *limits, int64_t free_bytes, char *text, size_t size);
