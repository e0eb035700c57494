#include "lmdb_rebuild.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lmdb_commit.h"

#define SLICE_WRITES 16384 /* of one transaction */
#define LINES_MAX 100 /* about single records */

struct rebuild {
	const struct engine_options *options;
	struct txn from;
	/* What can be done without is read in transactions of its own: the first page that LMDB
	 * cannot read is the end of one. */
	struct txn tallies, standing, expiries;
	struct engine fresh;
	struct commit to;
	struct batch batch;
	bool under_way; /* to is */
	bool broken; /* the new file cannot be written */
	size_t n_events, n_deliveries, n_lost;
};

/* ---- Telling ---- */

static void tell(const struct rebuild *r, const char *line)
{
	if (r->options->mending)
		r->options->mending(r->options->user, line);
}

__attribute__((format(printf, 2, 3))) static void tell_lost(
	struct rebuild *r, const char *format, ...)
{
	char line[512];
	va_list arguments;

	if (r->n_lost++ >= LINES_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	tell(r, line);
}

/* ---- Writing ---- */

static void begin(struct rebuild *r)
{
	r->batch = (struct batch){.now_ms = r->fresh.meta.queue_ms};
	r->under_way = !r->broken && commit_begin(&r->to, &r->fresh, &r->batch) == ENGINE_OK;
	r->broken |= !r->under_way;
}

static void end(struct rebuild *r)
{
	if (!r->under_way)
		return;
	r->under_way = false;
	r->broken |= commit_end(&r->to) != ENGINE_OK;
	batch_clear(&r->batch);
}

/* To be called between rows, with no walk over the new file open. False: it is over. */
static bool go_on(struct rebuild *r)
{
	if (r->under_way && r->to.t.writes >= SLICE_WRITES) {
		end(r);
		tell(r, NULL);
		begin(r);
	}
	return r->under_way && !r->to.t.error && !r->from.error;
}

static bool has_row(struct rebuild *r, enum table table, const struct row_key *key)
{
	struct bytes value;

	return row_get(&r->to.t, table, key, &value);
}

/* ---- Copying ---- */

/* The row that a walk is on. */
struct row {
	struct row_key key;
	struct bytes value;
};

static struct bytes key_bytes(const struct row *row)
{
	return (struct bytes){row->key.at, row->key.len};
}

/* Visits every row of a table that a row of it can be, in the order of the pages. */
static void each_row_in(struct rebuild *r, struct txn *from, enum table table,
	void (*visit)(struct rebuild *r, enum table table, const struct row *row))
{
	struct walk walk;

	walk_open(&walk, from, table, "", 0);
	walk.any_key = true;
	for (walk_seek(&walk, NULL); walk.valid && go_on(r); walk_next(&walk)) {
		struct row row = {.key = {.len = walk.key.mv_size},
			.value = {walk.value.mv_data, walk.value.mv_size}};

		if (!row_key_is_possible(table, row.key.len))
			continue;
		memcpy(row.key.at, walk.key.mv_data, row.key.len);
		visit(r, table, &row);
	}
	walk_close(&walk);
}

static void each_row(struct rebuild *r, enum table table,
	void (*visit)(struct rebuild *r, enum table table, const struct row *row))
{
	each_row_in(r, &r->from, table, visit);
}

static void copy(struct rebuild *r, enum table table, const struct row *row)
{
	/* No value is longer than a page; what says so would write more than is there. */
	if (row->value.len <= RECORD_MAX || table == T_ENDPOINT)
		row_append(&r->to.t, table, &row->key, row->value.at, row->value.len);
}

static void copy_endpoint(struct rebuild *r, enum table table, const struct row *row)
{
	uint32_t number = key_u32_at(row->key.at, 0);
	struct tally old = {0}, fresh = {0};
	struct bytes blob;
	uint8_t record[RECORD_MAX];
	size_t len;

	if (record_get_blob(key_bytes(row), row->value, &blob) < 0) {
		r->from.error = -EBADMSG;
		return;
	}
	copy(r, table, row);
	/* How the endpoint did is kept, if it is known; what it is owed is counted anew. */
	if (get_tally(&r->tallies, number, &old) == 0)
		fresh = old;
	memset(fresh.deliveries, 0, sizeof(fresh.deliveries));
	fresh.owed_bytes = 0;
	len = record_put_tally(key_bytes(row), &fresh, record);
	row_put(&r->to.t, T_TALLY, &row->key, record, len);
	if (number >= r->fresh.meta.next_endpoint) {
		r->fresh.meta.next_endpoint = number + 1;
		r->to.meta_changed = true;
	}
}

static void copy_event(struct rebuild *r, enum table table, const struct row *row)
{
	char strings[RECORD_STRINGS_SIZE], text[EVENT_ID_TEXT_SIZE];
	struct event_id id = key_event_at(row->key.at, 0);
	struct bytes in_record;
	struct event event;

	event_id_format(&id, text);
	if (record_get_event(key_bytes(row), row->value, &event, strings, &in_record) < 0)
		tell_lost(r, "event %s: its record is damaged; it is not sent", text);
	copy(r, table, row);
	r->n_events++;
}

static void copy_key(struct rebuild *r, enum table table, const struct row *row)
{
	struct key_record entry;
	struct row_key expiry, event;
	struct bytes old;

	if (record_get_key(key_bytes(row), row->value, &entry) < 0)
		return; /* it could confirm nothing */
	copy(r, table, row);
	/* One that expired while its event was there stays with the event, and expires no more. If
	 * that is not known, it expires once more, and stays. */
	expiry = key_of_key_expiry(entry.expires_ms, &row->key);
	event = key_of_event(&entry.event);
	if (entry.expires_ms > r->batch.now_ms || !has_row(r, T_EVENT, &event) ||
		row_get(&r->expiries, T_KEY_EXPIRY, &expiry, &old) || r->expiries.error)
		row_put(&r->to.t, T_KEY_EXPIRY, &expiry, "", 0);
}

/* ---- Deliveries ---- */

static bool has_delivery(struct rebuild *r, const struct delivery *d)
{
	struct row_key key = key_of_delivery(&d->event, d->endpoint);

	return has_row(r, T_LIVE, &key) || has_row(r, T_DONE, &key);
}

/* Does the event know of more deliveries than there are? Keys carry no checksum of their own: one
 * that is damaged may name an endpoint that the event was never meant for. */
static bool misses_one(struct rebuild *r, const struct event_id *id)
{
	struct event_standing standing;
	struct stored_event *stored;
	int error = get_stored_event(&r->to.t, id, false, &stored);
	uint32_t n;

	if (error < 0)
		return error == -EBADMSG; /* it cannot be sent to anybody */
	n = stored->event.n_deliveries;
	free(stored);
	get_standing(&r->to.t, id, &standing);
	return standing.total < n;
}

/* Of a delivery nothing is known but that there was one; delivered, when it stood with those: that
 * a receiver took it is a fact. */
static void bury(struct rebuild *r, const struct delivery_ref *ref, bool delivered)
{
	struct row_key endpoint = key_of_number(ref->endpoint);
	int64_t now_ms = r->batch.now_ms;
	struct delivery d = {.event = ref->event,
		.endpoint = ref->endpoint,
		.state = delivered ? DELIVERY_DELIVERED : DELIVERY_DEAD,
		.reason = delivered ? NOT_DEAD : DEAD_DAMAGED,
		.since_ms = now_ms,
		.due_ms = now_ms,
		.aged_from_ms = now_ms,
		.last = {.retry_after_s = -1}};
	char text[EVENT_ID_TEXT_SIZE];

	if (!has_row(r, T_ENDPOINT, &endpoint) || has_delivery(r, &d) || !misses_one(r, &d.event))
		return;
	event_id_format(&d.event, text);
	tell_lost(r, "event %s: the record of its delivery to endpoint number %u is damaged; %s",
		text, d.endpoint, delivered ? "it was delivered" : "it becomes a dead letter");
	commit_rewrite(&r->to, NULL, &d);
	r->n_deliveries++;
}

static void copy_delivery(struct rebuild *r, enum table table, const struct row *row)
{
	struct row_key endpoint;
	struct delivery d;

	if (record_get_delivery(key_bytes(row), row->value, &d) < 0)
		return;
	endpoint = key_of_number(d.endpoint);
	if ((d.state == DELIVERY_DELIVERED) != (table == T_DONE) || has_delivery(r, &d) ||
		!has_row(r, T_ENDPOINT, &endpoint))
		return;
	commit_rewrite(&r->to, NULL, &d);
	r->n_deliveries++;
}

static void bury_damaged(struct rebuild *r, enum table table, const struct row *row)
{
	struct delivery_ref ref = {
		key_event_at(row->key.at, 0), key_u32_at(row->key.at, sizeof(struct event_id))};
	struct delivery d;

	if (record_get_delivery(key_bytes(row), row->value, &d) < 0)
		bury(r, &ref, table == T_DONE);
}

/* A row of the index whose delivery has no record: there was one. */
static void bury_missing(struct rebuild *r, enum table table, const struct row *row)
{
	struct delivery_ref ref = {key_event_at(row->key.at, 5), key_u32_at(row->key.at, 0)};

	(void)table;
	bury(r, &ref, false);
}

/* When a row whose own key is damaged could be any event's delivery, only the index tells whose. */
static bool has_lost_one(struct rebuild *r)
{
	return r->standing.error &&
		r->n_deliveries < count_entries(&r->from, T_LIVE) + count_entries(&r->from, T_DONE);
}

static void mark_ended(struct rebuild *r, enum table table, const struct row *row)
{
	struct event_id id = key_event_at(row->key.at, 0);

	(void)table;
	commit_mark_ended(&r->to, &id);
}

static void copy_all(struct rebuild *r)
{
	begin(r);
	each_row(r, T_ENDPOINT, copy_endpoint);
	each_row(r, T_EVENT, copy_event);
	each_row(r, T_PIECE, copy);
	each_row(r, T_DONE, copy_delivery); /* first: that a receiver took it is a fact */
	each_row(r, T_LIVE, copy_delivery);
	each_row(r, T_DONE, bury_damaged);
	each_row(r, T_LIVE, bury_damaged);
	each_row_in(r, &r->standing, T_STANDING, bury_missing);
	each_row(r, T_ATTEMPT, copy);
	each_row(r, T_KEY, copy_key);
	each_row(r, T_EVENT, mark_ended);
	end(r);
	if (r->tallies.error)
		tell(r, "how endpoints did cannot be read, and is forgotten");
}

/* ---- Life ---- */

/* 0: a table cannot be read, and it has to be tried. */
static int64_t needed_bytes(struct engine *old)
{
	int64_t bytes = 0;
	struct txn t;

	if (lmdb_begin(old, &t, false) == ENGINE_OK) {
		bytes = space_used_bytes(&t);
		lmdb_abort(&t);
	}
	return bytes;
}

/* The records that everything else refers to, and the room for another file. */
static int check_before(
	struct engine *old, struct txn *t, const char *path, struct problem *problem)
{
	int64_t needed = needed_bytes(old), there = space_disk_free_bytes(old);
	struct bytes blob;
	struct walk walk;
	size_t n = 0;

	walk_open(&walk, t, T_ENDPOINT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk), n++) {
		struct bytes key = {walk.key.mv_data, walk.key.mv_size};
		struct bytes value = {walk.value.mv_data, walk.value.mv_size};

		if (record_get_blob(key, value, &blob) == 0)
			continue;
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is damaged: the record of endpoint number %u cannot be read (restore a backup)",
			path, key_u32_at(walk.key.mv_data, 0));
		walk_close(&walk);
		return -EBADMSG;
	}
	walk_close(&walk);
	if (t->error || n != count_entries(t, T_ENDPOINT)) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is damaged: %zu records of endpoints are to be read of %zu (restore a backup)",
			path, n, count_entries(t, T_ENDPOINT));
		return -EBADMSG;
	}
	if (needed <= there)
		return 0;
	problem_set(problem, PROBLEM_INVALID, NULL,
		"%s is damaged, and the disk has no room to make it anew: %lld MiB are needed, %lld MiB are free",
		path, (long long)(needed >> 20), (long long)(there >> 20));
	return -EBADMSG;
}

static int fail(struct problem *problem, const char *path, const char *why)
{
	problem_set(problem, PROBLEM_INVALID, NULL,
		"%s is damaged and cannot be made anew: %s (restore a backup)", path, why);
	return -EBADMSG;
}

/* The old file goes aside and the new one comes into its place, so that there is always one. */
static int swap(const char *path, const char *new_path, const char *directory)
{
	char aside[4096 + 16];
	int r;

	snprintf(aside, sizeof(aside), "%s.damaged", path);
	if (unlink(aside) < 0 && errno != ENOENT)
		return -errno;
	r = lmdb_sync_path(new_path);
	if (r < 0)
		return r;
	if (link(path, aside) < 0 || rename(new_path, path) < 0)
		return -errno;
	return lmdb_sync_path(directory);
}

static int make_anew(struct rebuild *r, struct engine *old, const char *path, const char *new_path,
	struct problem *problem)
{
	int64_t map_bytes =
		lmdb_map_bytes(&r->options->limits, (int64_t)old->allocated_pages * PAGE_BYTES);
	int result = check_before(old, &r->from, path, problem);

	if (result == 0)
		result = lmdb_make_file(&r->fresh, new_path, map_bytes, &old->meta, problem);
	if (result < 0)
		return result;
	copy_all(r);
	if (r->broken || r->from.error)
		result = fail(
			problem, path, r->broken ? r->fresh.broken : lmdb_explain(r->from.error));
	else if (has_lost_one(r))
		result = fail(problem, path,
			"a delivery's record is damaged, and so is the index that may tell whose it was");
	lmdb_close_file(&r->fresh);
	return result;
}

static bool begin_reading(struct rebuild *r, struct engine *old)
{
	struct txn *const all[] = {&r->from, &r->tallies, &r->standing, &r->expiries};

	for (size_t i = 0; i < 4; i++) {
		if (lmdb_begin(old, all[i], false) != ENGINE_OK)
			return false;
	}
	return true;
}

static void end_reading(struct rebuild *r)
{
	lmdb_abort(&r->from);
	lmdb_abort(&r->tallies);
	lmdb_abort(&r->standing);
	lmdb_abort(&r->expiries);
}

int lmdb_rebuild(struct engine *old, const char *path, const struct engine_options *options,
	struct problem *problem)
{
	struct rebuild r = {.options = options};
	char new_path[4096 + 8], line[512];
	int result;

	tell(&r, "the data file is damaged; it is made anew from what is sound in it");
	/* With LMDB's locks a thread has one transaction; nobody else writes here. */
	lmdb_close_file(old);
	result = lmdb_open_file(old, path, false, &options->limits, problem);
	if (result < 0)
		return result;
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	result = begin_reading(&r, old) ? make_anew(&r, old, path, new_path, problem)
					: fail(problem, path, old->broken);
	end_reading(&r);
	if (result < 0) {
		unlink(new_path);
		return result;
	}
	lmdb_close_file(old);
	result = swap(path, new_path, options->directory);
	if (result < 0)
		return fail(problem, path, strerror(-result));
	snprintf(line, sizeof(line),
		"the data file was made anew: %zu events, %zu deliveries, %zu of them damaged; the old one is %s.damaged, "
		"and may be deleted",
		r.n_events, r.n_deliveries, r.n_lost, path);
	tell(&r, line);
	return 0;
}
