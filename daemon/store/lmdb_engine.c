/*
 * The LMDB engine: opening and closing the data file, and copying it while it is used.
 *
 * What has to hold here (measured, see doc/format.md): a new file is made under another name,
 * synced and moved into place, because LMDB syncs neither its first pages nor the directory; after
 * every open the file and its directory are synced before anything is answered, because a killed
 * predecessor may have left pages and names that only the page cache knew. A second hookd on the
 * same directory is kept out by a lock of our own (data_lock.h).
 */
#include "lmdb_rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store_thread.h"

#define MAP_FACTOR 4
#define MAP_BYTES_MIN ((int64_t)64 << 20)

static const char *const table_names[N_TABLES] = {
	[T_META] = "meta",
	[T_EVENT] = "event",
	[T_PIECE] = "piece",
	[T_LIVE] = "live",
	[T_DONE] = "done",
	[T_ATTEMPT] = "attempt",
	[T_DUE] = "due",
	[T_STANDING] = "standing",
	[T_DEAD] = "dead",
	[T_ENDED] = "ended",
	[T_ENDPOINT] = "endpoint",
	[T_TALLY] = "tally",
	[T_KEY] = "key",
	[T_KEY_EXPIRY] = "key_expiry",
};

static const struct row_key meta_key = {.at = "hookd", .len = 5};

const char *lmdb_explain(int error)
{
	if (error == -EBADMSG)
		return "a record is damaged, or an index does not fit the records";
	return error < 0 && error > -4096 ? strerror(-error) : mdb_strerror(error);
}

bool lmdb_is_damage(int error)
{
	return error == -EBADMSG || error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND ||
		error == MDB_CURSOR_FULL || error == MDB_INVALID || error == MDB_BAD_VALSIZE ||
		error == MDB_INCOMPATIBLE || error == MDB_NOTFOUND ||
		error == MDB_BAD_TXN || /* seen by an earlier call, which did not say so */
		error == EFBIG; /* a list of free pages that names one which cannot be */
}

void lmdb_mark_damaged(struct engine *engine)
{
	int fd;

	store_thread_saw_damage();
	if (!engine->mark_path[0] || atomic_exchange(&engine->damaged, true))
		return;
	fd = open(engine->mark_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd); /* without it the damage is found again */
}

enum engine_result lmdb_break(struct engine *engine, const char *what, int error)
{
	bool damage = lmdb_is_damage(error);

	if (damage)
		lmdb_mark_damaged(engine);
	/* The first reason is the one that counts; others follow from it, in other threads. */
	if (!atomic_exchange(&engine->is_broken, true))
		snprintf(engine->broken, sizeof(engine->broken), "%s: %s%s", what,
			lmdb_explain(error),
			damage ? "; the next start makes the data file anew from what is sound"
			       : "");
	return ENGINE_BROKEN;
}

static const char *lmdb_broken(const struct engine *engine)
{
	return engine->broken;
}

enum engine_result lmdb_begin(struct engine *engine, struct txn *t, bool write)
{
	int r;

	*t = (struct txn){.tables = engine->tables};
	r = mdb_txn_begin(engine->env, NULL, write ? 0 : MDB_RDONLY, &t->mdb);
	return r ? lmdb_break(engine, "cannot begin a transaction", r) : ENGINE_OK;
}

void lmdb_abort(struct txn *t)
{
	mdb_txn_abort(t->mdb);
	t->mdb = NULL;
}

void lmdb_put_meta(struct engine *engine, struct txn *t)
{
	uint8_t record[RECORD_MAX];
	size_t len =
		record_put_meta((struct bytes){meta_key.at, meta_key.len}, &engine->meta, record);

	row_put(t, T_META, &meta_key, record, len);
}

/* ---- Opening ---- */

static int fail(struct problem *problem, const char *what, const char *path, int error)
{
	bool damage = lmdb_is_damage(error);

	problem_set(problem, PROBLEM_INVALID, NULL, "cannot %s %s: %s%s", what, path,
		lmdb_explain(error), damage ? " (restore a backup)" : "");
	return damage ? -EBADMSG : -EIO;
}

static int fail_to_begin(struct problem *problem, const struct engine *engine, const char *path)
{
	problem_set(problem, PROBLEM_INVALID, NULL, "cannot read %s: %s", path, engine->broken);
	return -EIO;
}

/* File systems on which mmap and locks do not mean what LMDB needs them to mean. */
static int check_file_system(const char *directory, struct problem *problem)
{
	static const struct {
		unsigned magic;
		const char *name;
	} unfit[] = {{0x6969, "NFS"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"}, {0x517b, "SMB"},
		{0x65735546, "FUSE"}, {0x01021997, "9p"}, {0x5346414f, "AFS"}};
	struct statfs fs;

	if (statfs(directory, &fs) < 0)
		return fail(problem, "look at", directory, -errno);
	for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++) {
		if ((unsigned)fs.f_type == unfit[i].magic) {
			problem_set(problem, PROBLEM_INVALID, NULL,
				"%s is on %s: the store needs a local file system (ext4, xfs, btrfs, tmpfs ...)",
				directory, unfit[i].name);
			return -EIO;
		}
	}
	return 0;
}

int64_t lmdb_map_bytes(const struct store_limits *limits, int64_t file_bytes)
{
	int64_t bytes = MAP_FACTOR * limits->budget_bytes;

	if (bytes < 2 * file_bytes)
		bytes = 2 * file_bytes;
	if (bytes < MAP_BYTES_MIN)
		bytes = MAP_BYTES_MIN;
	return bytes / PAGE_BYTES * PAGE_BYTES;
}

static int open_tables(struct engine *engine, unsigned flags)
{
	MDB_txn *txn;
	int r = mdb_txn_begin(engine->env, NULL, flags & MDB_CREATE ? 0 : MDB_RDONLY, &txn);

	for (int i = 0; r == 0 && i < N_TABLES; i++)
		r = mdb_dbi_open(txn, table_names[i], flags, &engine->tables[i]);
	if (r == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return r;
}

/* The environment on a file that exists or is made; without its tables. */
static int open_environment(struct engine *engine, const char *path, unsigned flags, int64_t bytes)
{
	int r = mdb_env_create(&engine->env);

	if (r == 0)
		r = mdb_env_set_maxdbs(engine->env, N_TABLES);
	if (r == 0)
		r = mdb_env_set_mapsize(engine->env, (size_t)bytes);
	if (r == 0)
		r = mdb_env_open(engine->env, path, MDB_NOSUBDIR | flags, 0600);
	if (r == 0)
		r = mdb_env_get_fd(engine->env, &engine->data_fd);
	if (r == 0 && fcntl(engine->data_fd, F_SETFD, FD_CLOEXEC) < 0)
		r = errno;
	engine->map_pages = (size_t)bytes / PAGE_BYTES;
	return r;
}

void lmdb_close_file(struct engine *engine)
{
	if (engine->env)
		mdb_env_close(engine->env);
	engine->env = NULL;
}

int lmdb_sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* Names last once their directory is synced; the directory's own once that above it is, which may
 * be closed to us, and then was not made by us. */
static int sync_directory(const char *directory, struct problem *problem)
{
	char parent[4096];
	int r = lmdb_sync_path(directory);

	if (r < 0)
		return fail(problem, "sync", directory, r);
	snprintf(parent, sizeof(parent), "%s/..", directory);
	r = lmdb_sync_path(parent);
	return r < 0 && r != -EACCES ? fail(problem, "sync", parent, r) : 0;
}

static int write_meta(struct engine *engine, const struct meta_record *meta)
{
	struct txn t = {.tables = engine->tables};
	int r = mdb_txn_begin(engine->env, NULL, 0, &t.mdb);

	if (r)
		return r;
	engine->meta = *meta;
	lmdb_put_meta(engine, &t);
	if (t.error) {
		mdb_txn_abort(t.mdb);
		return t.error;
	}
	return mdb_txn_commit(t.mdb);
}

int lmdb_make_file(struct engine *engine, const char *path, int64_t map_bytes,
	const struct meta_record *meta, struct problem *problem)
{
	char lock_path[4096 + 8];
	int r;

	snprintf(lock_path, sizeof(lock_path), "%s-lock", path);
	unlink(path); /* left by a start that was cut short */
	unlink(lock_path);
	*engine = (struct engine){0};
	r = open_environment(engine, path, MDB_NOLOCK, map_bytes);
	if (r == 0)
		r = open_tables(engine, MDB_CREATE);
	if (r == 0)
		r = write_meta(engine, meta);
	if (r == 0)
		r = mdb_env_sync(engine->env, 1);
	if (r == 0)
		return 0;
	lmdb_close_file(engine);
	return fail(problem, "create", path, r);
}

/* The first start: the file appears whole or not at all. */
static int create_file(const char *directory, const char *path,
	const struct engine_options *options, struct problem *problem)
{
	struct meta_record first = {.schema = SCHEMA, .next_endpoint = 1};
	struct engine fresh = {0};
	char new_path[4096];
	int r;

	memcpy(first.key_id, options->key_id, sizeof(first.key_id));
	snprintf(new_path, sizeof(new_path), "%s/%s.new", directory, DATA_FILE);
	r = lmdb_make_file(&fresh, new_path, lmdb_map_bytes(&options->limits, 0), &first, problem);
	if (r < 0)
		return r;
	lmdb_close_file(&fresh);
	r = lmdb_sync_path(new_path);
	if (r == 0 && rename(new_path, path) < 0)
		r = -errno;
	return r < 0 ? fail(problem, "create", path, r) : 0;
}

static int read_meta(struct engine *engine, const char *path, struct problem *problem)
{
	struct txn t;
	struct bytes value;
	int r = -ENOENT;

	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return fail_to_begin(problem, engine, path);
	if (row_get(&t, T_META, &meta_key, &value))
		r = record_get_meta(
			(struct bytes){meta_key.at, meta_key.len}, value, &engine->meta);
	lmdb_abort(&t);
	if (r == 0)
		return 0;
	if (t.error && !lmdb_is_damage(t.error))
		return fail(problem, "read", path, t.error);
	if (r == -ENOTSUP) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s has schema %u, and this hookd knows schema %d: it was written by a newer hookd",
			path, engine->meta.schema, SCHEMA);
		return -EIO;
	}
	problem_set(problem, PROBLEM_INVALID, NULL,
		"%s is damaged: its first record cannot be read (restore a backup)", path);
	return -EBADMSG;
}

/* A file that was cut short would end hookd with SIGBUS at the first page that is missing. */
static int check_length(struct engine *engine, const char *path, struct problem *problem)
{
	MDB_envinfo info;
	struct stat file;

	if (fstat(engine->data_fd, &file) < 0)
		return fail(problem, "look at", path, -errno);
	mdb_env_info(engine->env, &info);
	engine->allocated_pages = (size_t)file.st_size / PAGE_BYTES;
	if ((int64_t)file.st_size < ((int64_t)info.me_last_pgno + 1) * PAGE_BYTES) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is cut short: %lld bytes of %lld (restore a backup)", path,
			(long long)file.st_size, ((long long)info.me_last_pgno + 1) * PAGE_BYTES);
		return -EBADMSG;
	}
	return 0;
}

int lmdb_open_file(struct engine *engine, const char *path, bool with_lock,
	const struct store_limits *limits, struct problem *problem)
{
	struct stat file;
	int r, dead_readers;

	if (stat(path, &file) < 0)
		return fail(problem, "open", path, -errno);
	if (file.st_size < 2 * PAGE_BYTES) { /* LMDB would take an empty one for a new one */
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is cut short: %lld bytes (restore a backup)", path,
			(long long)file.st_size);
		return -EBADMSG;
	}
	r = open_environment(
		engine, path, with_lock ? 0 : MDB_NOLOCK, lmdb_map_bytes(limits, file.st_size));
	if (r)
		return fail(problem, "open", path, r);
	r = check_length(engine, path, problem);
	if (r < 0)
		return r;
	r = open_tables(engine, 0);
	if (r)
		return fail(problem, "open the tables of", path, r);
	r = mdb_env_sync(engine->env, 1);
	if (r == 0 && with_lock)
		r = mdb_reader_check(engine->env, &dead_readers);
	if (r)
		return fail(problem, "sync", path, r);
	engine->can_allocate = true;
	return read_meta(engine, path, problem);
}

/* All zero if there is none, or damage hides it. */
static int find_last_event(
	struct engine *engine, const char *path, struct event_id *id, struct problem *problem)
{
	struct walk walk;
	struct txn t;

	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return fail_to_begin(problem, engine, path);
	walk_open(&walk, &t, T_EVENT, "", 0);
	if (walk_seek_back(&walk, NULL))
		*id = key_event_at(walk.key.mv_data, 0);
	walk_close(&walk);
	lmdb_abort(&t);
	if (t.error && !lmdb_is_damage(t.error))
		return fail(problem, "read", path, t.error);
	return 0;
}

static void lmdb_close(struct engine *engine, int64_t now_ms)
{
	struct txn t;

	if (engine->env && now_ms && lmdb_begin(engine, &t, true) == ENGINE_OK) {
		engine->meta.queue_ms = now_ms;
		lmdb_put_meta(engine, &t);
		if (t.error)
			lmdb_abort(&t);
		else
			mdb_txn_commit(t.mdb); /* a time that is lost only makes retention later */
	}
	lmdb_close_file(engine);
	pthread_mutex_destroy(&engine->copy_mutex);
	free(engine);
}

/* Endpoints have to be there, and with each what is counted of it: deliveries that no count tells
 * of would not be looked for. */
static int check_endpoints(
	struct engine *engine, const char *path, bool *sound, struct problem *problem)
{
	struct tally tally;
	struct walk walk;
	size_t n = 0;
	struct txn t;

	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return fail_to_begin(problem, engine, path);
	walk_open(&walk, &t, T_ENDPOINT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct bytes key = {walk.key.mv_data, walk.key.mv_size}, blob;
		struct bytes value = {walk.value.mv_data, walk.value.mv_size};

		n++;
		if (record_get_blob(key, value, &blob) < 0 || blob.len < 1 ||
			get_tally(&t, key_u32_at(key.at, 0), &tally) < 0)
			t.error = -EBADMSG;
	}
	walk_close(&walk);
	*sound = n == count_entries(&t, T_ENDPOINT) && n == count_entries(&t, T_TALLY) && !t.error;
	lmdb_abort(&t);
	if (t.error && !lmdb_is_damage(t.error))
		return fail(problem, "read", path, t.error);
	return 0;
}

/* Opens the file; one that is known to be damaged, or seen to be, only after it was made anew. */
static int open_or_rebuild(struct engine *e, const char *path, const struct engine_options *options,
	struct problem *problem)
{
	int r = lmdb_open_file(e, path, true, &options->limits, problem);
	bool sound = false;

	if (r == 0 && options->check_key)
		r = options->check_key(options->check_user, e->meta.key_id, problem);
	if (r == 0 && access(e->mark_path, F_OK) < 0)
		r = check_endpoints(e, path, &sound, problem);
	if (r < 0 || sound)
		return r;
	r = lmdb_rebuild(e, path, options, problem);
	if (r == 0)
		r = lmdb_open_file(e, path, true, &options->limits, problem);
	if (r == 0 && unlink(e->mark_path) < 0 && errno != ENOENT)
		r = fail(problem, "remove", e->mark_path, -errno);
	return r;
}

static int lmdb_open(struct engine **engine, const struct engine_options *options,
	struct engine_found *found, struct problem *problem)
{
	struct engine *e = calloc(1, sizeof(*e));
	char path[4096];
	int r;

	if (!e)
		return fail(problem, "open", options->directory, -ENOMEM);
	e->copy_fd = -1;
	pthread_mutex_init(&e->copy_mutex, NULL);
	*found = (struct engine_found){0};
	snprintf(path, sizeof(path), "%s/%s", options->directory, DATA_FILE);
	r = check_file_system(options->directory, problem);
	if (r == 0 && access(path, F_OK) < 0) {
		r = errno == ENOENT ? create_file(options->directory, path, options, problem)
				    : fail(problem, "open", path, -errno);
		found->fresh = true;
	}
	snprintf(e->mark_path, sizeof(e->mark_path), "%s/" REBUILD_MARK, options->directory);
	if (r == 0)
		r = open_or_rebuild(e, path, options, problem);
	/* Not only of a new file: one that was killed may have made it, or a person copied it. */
	if (r == 0)
		r = sync_directory(options->directory, problem);
	if (r == 0)
		r = find_last_event(e, path, &found->last_event, problem);
	if (r < 0) {
		lmdb_close(e, 0);
		return r;
	}
	space_fill_holes(e, &options->limits);
	found->queue_ms = e->meta.queue_ms;
	found->stop_ms = e->meta.stop_ms;
	found->lag_ms = e->meta.lag_ms;
	found->next_endpoint = e->meta.next_endpoint;
	found->sending = e->meta.sending;
	memcpy(found->key_id, e->meta.key_id, sizeof(found->key_id));
	*engine = e;
	return 0;
}

static enum engine_result lmdb_each_endpoint(struct engine *engine,
	void (*found)(void *user, uint32_t number, bool removed, const uint8_t *blob, size_t len,
		const struct touched *state),
	void *user)
{
	struct walk walk;
	struct txn t;

	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	walk_open(&walk, &t, T_ENDPOINT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid && !t.error; walk_next(&walk)) {
		struct touched state = {
			.endpoint = key_u32_at(walk.key.mv_data, 0), .earliest_due_ms = INT64_MAX};
		struct bytes blob;

		if (record_get_blob((struct bytes){walk.key.mv_data, walk.key.mv_size},
			    (struct bytes){walk.value.mv_data, walk.value.mv_size}, &blob) < 0 ||
			blob.len < 1 || get_tally(&t, state.endpoint, &state.tally) == -EBADMSG) {
			t.error = -EBADMSG;
			break;
		}
		if (state.tally.deliveries[DELIVERY_PENDING])
			state.oldest_pending_ms = get_oldest_pending(&t, state.endpoint);
		found(user, state.endpoint, *(const uint8_t *)blob.at & 1,
			(const uint8_t *)blob.at + 1, blob.len - 1, &state);
	}
	walk_close(&walk);
	lmdb_abort(&t);
	return t.error ? lmdb_break(engine, "cannot read the endpoints", t.error) : ENGINE_OK;
}

static enum engine_result lmdb_set_lag(struct engine *engine, int64_t stop_ms, int64_t lag_ms)
{
	engine->meta.stop_ms = stop_ms;
	engine->meta.lag_ms = lag_ms;
	return ENGINE_OK;
}

/* ---- Backup ---- */

/* LMDB copies into a pair of sockets, in a thread of its own: only so can a copy be stopped half
 * way, even while the disk that it goes to stands still. */
struct copy {
	MDB_env *env;
	int ends[2];
	int error;
};

static void *run_copy(void *user)
{
	struct copy *copy = user;

	store_thread_begin("hookd-copy");
	copy->error = mdb_env_copyfd2(copy->env, copy->ends[1], 0);
	shutdown(copy->ends[1], SHUT_RDWR);
	return NULL;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int pump(int from, int to, bool (*cancelled)(void *user), void *user, int64_t *bytes)
{
	uint8_t buffer[65536];

	*bytes = 0;
	while (true) {
		ssize_t n = read(from, buffer, sizeof(buffer));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = write_all(to, buffer, (size_t)n);
		if (r < 0)
			return r;
		if (cancelled(user))
			return -ECANCELED;
		*bytes += n;
	}
}

void lmdb_limit_copy(struct engine *engine, size_t last_page, size_t pages)
{
	pthread_mutex_lock(&engine->copy_mutex);
	if (engine->copy_from_page == SIZE_MAX)
		engine->copy_from_page = last_page;
	if (engine->copy_fd >= 0 && last_page > engine->copy_from_page + pages) {
		engine->copy_ended = true;
		shutdown(engine->copy_fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&engine->copy_mutex);
}

static void set_copy(struct engine *engine, int fd)
{
	pthread_mutex_lock(&engine->copy_mutex);
	engine->copy_fd = fd;
	engine->copy_from_page = SIZE_MAX;
	if (fd >= 0)
		engine->copy_ended = false;
	pthread_mutex_unlock(&engine->copy_mutex);
}

static int copy_environment(
	struct engine *engine, int fd, bool (*cancelled)(void *user), void *user, int64_t *bytes)
{
	struct copy copy = {.env = engine->env};
	pthread_t thread;
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, copy.ends) < 0)
		return -errno;
	set_copy(engine, copy.ends[1]);
	r = store_thread_start(&thread, run_copy, &copy);
	if (r == 0) {
		r = pump(copy.ends[0], fd, cancelled, user, bytes);
		shutdown(copy.ends[0], SHUT_RDWR); /* ends a copy that goes on: its writes fail */
		pthread_join(thread, NULL);
	}
	set_copy(engine, -1);
	close(copy.ends[0]);
	close(copy.ends[1]);
	if (engine->copy_ended)
		return -ETIMEDOUT;
	if (r == 0 && copy.error)
		r = copy.error > 0 ? -copy.error : -EIO;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r;
}

/* A copy that is started must not send what the original has sent since. */
static int pause_copy(const char *path, struct problem *problem)
{
	struct engine copy = {0};
	struct store_limits limits = {0};
	struct txn t;
	int r = lmdb_open_file(&copy, path, false, &limits, problem);

	if (r == 0 && lmdb_begin(&copy, &t, true) != ENGINE_OK) {
		problem_set(
			problem, PROBLEM_INVALID, NULL, "cannot write %s: %s", path, copy.broken);
		r = -EIO;
	} else if (r == 0) {
		copy.meta.sending =
			(struct sending){.paused = true, .since_ms = copy.meta.queue_ms};
		snprintf(copy.meta.sending.reason, sizeof(copy.meta.sending.reason),
			"this is a restored backup: look first");
		lmdb_put_meta(&copy, &t);
		if (t.error) {
			lmdb_abort(&t);
			r = fail(problem, "write", path, t.error);
		} else if ((r = mdb_txn_commit(t.mdb)) != 0) {
			r = fail(problem, "write", path, r);
		}
	}
	lmdb_close_file(&copy);
	return r;
}

static enum engine_result lmdb_backup(struct engine *engine, const char *path,
	bool (*cancelled)(void *user), void *user, int64_t *bytes, struct problem *problem)
{
	char part[4096], directory[4096];
	int fd, r;

	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(path, '/') - path), path);
	snprintf(part, sizeof(part), "%s.part", path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		fail(problem, "create", part, -errno);
		return ENGINE_REFUSED;
	}
	r = copy_environment(engine, fd, cancelled, user, bytes);
	close(fd);
	if (r == -ETIMEDOUT)
		problem_set(problem, PROBLEM_INVALID, NULL,
			"the copy took so long that the data file grew by a quarter of the budget meanwhile");
	else if (r < 0)
		fail(problem, "write", part, r);
	if (r == 0)
		r = pause_copy(part, problem);
	if (r == 0 && rename(part, path) < 0)
		r = fail(problem, "rename", part, -errno);
	if (r < 0) {
		unlink(part);
		return ENGINE_REFUSED;
	}
	/* A copy of which nobody is told that it is there would only take room. */
	if (sync_directory(directory, problem) < 0) {
		unlink(path);
		return ENGINE_REFUSED;
	}
	return ENGINE_OK;
}

const struct engine_verbs engine_lmdb = {
	.open = lmdb_open,
	.close = lmdb_close,
	.broken = lmdb_broken,
	.each_endpoint = lmdb_each_endpoint,
	.set_lag = lmdb_set_lag,
	.commit = lmdb_commit_batch,
	.claim = lmdb_claim,
	.list_deliveries = lmdb_list_deliveries,
	.list_events = lmdb_list_events,
	.get_event = lmdb_get_event,
	.get_history = lmdb_get_history,
	.count_ages = lmdb_count_ages,
	.stats = lmdb_stats,
	.backup = lmdb_backup,
};
