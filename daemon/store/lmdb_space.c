/*
 * How much may be stored, so that a commit never meets a full disk.
 *
 * Two bounds hold for new events. The budget counts pages in use over all tables. The disk: the
 * file is extended with fallocate(2) before it is needed, in steps, as long as min_free stays free;
 * a batch is admitted only if the pages it may touch at worst lie within the file. Outcomes,
 * deletions and moves are never refused: a reserve of allocated pages is kept for them, and the map
 * is far above the budget.
 *
 * Room within the file is its end, which was never used, and where the disk has no more to give the
 * pages that became free. Of these only what a transaction can take for certain counts: not what
 * the last one gave back, nothing while somebody still reads an older state, and never instead of
 * all of the end, for a list of freed pages needs some in a row.
 *
 * Somebody who goes on reading an old state (a copy under way, or another process that has opened
 * the file) keeps all that was freed since from being used again, and so the file grows with every
 * commit. New events stop at half of the map, and a backup is given up when it has cost a quarter
 * of the budget. The other half is for outcomes and deletions; before it is used up no more
 * attempts are begun.
 *
 * A file that was copied may have holes where the original had zeros: they are filled at the start,
 * which costs milliseconds for gigabytes; what was never used only as long as min_free stays free.
 *
 * Where the file system cannot preallocate, or copies on every write as btrfs does, the check of
 * the free space has to carry this alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../../lib/units.h"
#include "lmdb_engine.h"

#define STEP_PAGES_MIN 256 /* 1 MiB */
#define STEP_PAGES_MAX 16384 /* 64 MiB */
#define RESERVE_PAGES_MAX 8192 /* 32 MiB */
#define COPY_SHARE 4 /* of the budget a copy may cost one in so many */
#define FILL_BYTES ((off_t)64 << 20)
#define OLD_TXNS 256 /* a reader so far behind is an old one, worth telling */

#define PAGES_APART 3 /* LMDB's own two, and the root of the tables' names */

struct usage {
	size_t pages; /* in use over all tables, and by the list of those that are free */
	size_t depth; /* of the deepest table */
	size_t last_page;
	size_t free_pages; /* up to the last one */
};

static bool read_usage(struct txn *t, struct usage *usage)
{
	MDB_envinfo info;

	*usage = (struct usage){0};
	for (int i = -1; i < N_TABLES && !t->error; i++) {
		MDB_stat stat;

		t->error = mdb_stat(t->mdb, i < 0 ? 0 : t->tables[i], &stat);
		usage->pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
		if (stat.ms_depth > usage->depth)
			usage->depth = stat.ms_depth;
	}
	if (!t->error)
		t->error = mdb_env_info(mdb_txn_env(t->mdb), &info);
	if (t->error)
		return false;
	usage->last_page = info.me_last_pgno;
	if (usage->last_page + 1 > usage->pages + PAGES_APART)
		usage->free_pages = usage->last_page + 1 - usage->pages - PAGES_APART;
	return true;
}

size_t space_pages(const struct space_need *need)
{
	/* Sixteen index rows or more fit a page even when every split leaves it half empty. */
	return need->rows / 16 + need->payload_pages + 4;
}

/* Copy-on-write: each row may copy its page and those above it, once, and each of these may split.
 */
static size_t worst_case(const struct space_need *need, const struct usage *usage)
{
	size_t copied = need->rows * usage->depth;

	if (copied > usage->pages)
		copied = usage->pages;
	return 2 * copied + space_pages(need) + 64;
}

static size_t clamp(size_t value, size_t min, size_t max)
{
	return value < min ? min : value > max ? max : value;
}

/* Extends the file to at least so many pages, or only says whether that could be done. floor_bytes
 * have to stay free on the disk. */
static bool extend(
	struct engine *engine, size_t pages, size_t step, int64_t floor_bytes, bool really)
{
	size_t target = (pages + step - 1) / step * step, allocated = engine->allocated_pages;
	off_t from = (off_t)allocated * PAGE_BYTES;
	off_t bytes;

	if (target > engine->map_pages)
		target = engine->map_pages;
	if (pages > target)
		return false;
	bytes = (off_t)(target - allocated) * PAGE_BYTES;
	if (space_disk_free_bytes(engine) - bytes < floor_bytes)
		return false;
	if (!really)
		return true;
	if (engine->can_allocate && fallocate(engine->data_fd, 0, from, bytes) < 0) {
		if (errno != EOPNOTSUPP && errno != ENOSYS)
			return false;
		engine->can_allocate = false;
	}
	engine->allocated_pages = target;
	return true;
}

/* In pieces: XFS looks for room for all that it is asked for, though most of it is there. */
static bool fill(struct engine *engine, off_t bytes)
{
	for (off_t at = 0; at < bytes; at += FILL_BYTES) {
		off_t piece = bytes - at < FILL_BYTES ? bytes - at : FILL_BYTES;

		if (fallocate(engine->data_fd, 0, at, piece) < 0)
			return false;
	}
	return true;
}

void space_fill_holes(struct engine *engine, const struct store_limits *limits)
{
	MDB_envinfo info;
	struct stat file;
	int64_t missing;
	size_t used, wanted;

	mdb_env_info(engine->env, &info);
	used = wanted = info.me_last_pgno + 1;
	if (fstat(engine->data_fd, &file) < 0) {
		engine->allocated_pages = used;
		return;
	}
	missing = (int64_t)file.st_size - (int64_t)file.st_blocks * 512;
	if (missing <= 0 || space_disk_free_bytes(engine) - missing >= limits->min_free_bytes)
		wanted = (size_t)file.st_size / PAGE_BYTES;
	engine->allocated_pages =
		missing <= 0 || fill(engine, (off_t)wanted * PAGE_BYTES) ? wanted : used;
}

int64_t space_used_bytes(struct txn *t)
{
	struct usage usage;

	return read_usage(t, &usage) ? (int64_t)usage.pages * PAGE_BYTES : 0;
}

int64_t space_disk_free_bytes(const struct engine *engine)
{
	struct statvfs disk;

	if (fstatvfs(engine->data_fd, &disk) < 0)
		return 0;
	return (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
}

void space_explain_budget(const struct store_limits *limits, char *text, size_t size)
{
	char budget[UNITS_TEXT_SIZE];

	units_format_size(limits->budget_bytes, budget);
	snprintf(text, size,
		"the store's budget of %s is used up; what was accepted goes on being delivered "
		"([store] budget; hookctl purge makes room)",
		budget);
}

void space_explain_disk(
	const struct store_limits *limits, int64_t free_bytes, char *text, size_t size)
{
	char floor[UNITS_TEXT_SIZE];

	units_format_size(limits->min_free_bytes, floor);
	snprintf(text, size,
		"the disk has %lld MiB free, and %s are to stay free; what was accepted goes on being delivered "
		"([store] min_free_disk)",
		(long long)(free_bytes >> 20), floor);
}

/* ---- Pages that became free ---- */

struct readers {
	size_t oldest;
	long pid; /* of that one */
};

/* On the line of a reader stand its process, its thread, and the transaction that it reads, or "-".
 */
static int on_reader(const char *line, void *user)
{
	unsigned long long thread, txn;
	struct readers *readers = user;
	long pid;

	if (sscanf(line, "%ld %llx %llu", &pid, &thread, &txn) == 3 && txn < readers->oldest)
		*readers = (struct readers){(size_t)txn, pid};
	return 0;
}

/* The transaction of the oldest state that somebody reads; SIZE_MAX: nobody does. A process that
 * was killed seems to read until somebody looks whether it is there. */
static size_t oldest_reader(struct engine *engine, long *pid)
{
	struct readers readers = {SIZE_MAX, 0};
	bool known = mdb_reader_list(engine->env, on_reader, &readers) >= 0;
	MDB_envinfo info;
	int dead = 0;

	mdb_env_info(engine->env, &info);
	if (known && readers.oldest < info.me_last_txnid &&
		mdb_reader_check(engine->env, &dead) == 0 && dead) {
		readers = (struct readers){SIZE_MAX, 0};
		known = mdb_reader_list(engine->env, on_reader, &readers) >= 0;
	}
	if (pid)
		*pid = readers.pid;
	return known ? readers.oldest : 0;
}

/* Does somebody read a state that is older than the last two? */
static bool has_old_reader(struct engine *engine, long *pid)
{
	return oldest_reader(engine, pid) < engine->freed_txn - 1;
}

/* Does another process? hookd's own views are short. */
static bool has_old_stranger(struct engine *engine)
{
	long pid;

	return has_old_reader(engine, &pid) && pid != getpid();
}

bool space_is_read(struct engine *engine)
{
	return has_old_reader(engine, NULL);
}

bool space_is_short(struct engine *engine)
{
	return engine->pages_are_short && space_is_read(engine);
}

/* Notes what was free when the transaction began, and what it may take of that at worst. A
 * transaction finds free what was free before the one before it, less what that one took. */
static void note_free(struct engine *engine, const struct txn *t, size_t free_pages, size_t worst)
{
	size_t id = mdb_txn_id(t->mdb), reusable = 0;

	if (id != engine->freed_txn) /* else the last one was given up */
		engine->freed_before = engine->freed;
	engine->freed_txn = id;
	engine->freed = (struct freed){free_pages, worst};
	if (engine->freed_before.pages > engine->freed_before.taken)
		reusable = engine->freed_before.pages - engine->freed_before.taken;
	engine->reusable_pages = reusable < free_pages ? reusable : free_pages;
}

/* ---- Admission ---- */

/* What is asked of the file for a batch. */
struct demand {
	size_t pages; /* at worst, by all of the batch */
	size_t step, reserve;
};

static struct demand demand_for(const struct store_limits *limits, size_t pages)
{
	size_t budget = (size_t)(limits->budget_bytes / PAGE_BYTES);

	return (struct demand){.pages = pages,
		.step = clamp(budget / 16, STEP_PAGES_MIN, STEP_PAGES_MAX),
		.reserve = clamp(budget / 8, STEP_PAGES_MIN, RESERVE_PAGES_MAX)};
}

/* May pages that became free be counted on? */
static bool can_reuse(struct engine *engine, size_t end, const struct demand *demand)
{
	return engine->can_allocate && end >= demand->reserve / 4 && !has_old_reader(engine, NULL);
}

/* What was accepted may go through the floor. The file gives nothing back: were that held against
 * new events, a file that is empty by now would take none for ever. Until the disk has room again.
 */
static void extend_for_accepted(struct engine *engine, size_t pages, const struct demand *demand,
	const struct store_limits *limits)
{
	int64_t before = space_disk_free_bytes(engine), after;

	/* Else the commit reuses free pages, or fails and stops hookd. */
	if (!extend(engine, pages, demand->step, 0, true))
		return;
	after = space_disk_free_bytes(engine);
	if (after < limits->min_free_bytes && after < before)
		engine->below_floor_bytes +=
			(before < limits->min_free_bytes ? before : limits->min_free_bytes) - after;
}

enum room {
	ROOM,
	ROOM_ONCE_FREED, /* not now, but were more pages of the file to become free */
	NO_ROOM
};

/* May the file become as large as that needs, as far as the map goes? */
static bool fits_the_map(
	const struct engine *engine, const struct usage *usage, const struct demand *demand)
{
	return usage->last_page + 1 + demand->pages + demand->reserve <= engine->map_pages / 2;
}

/* Is there room for new events, with all that comes with them? really: makes some, if it can. */
static enum room find_room(struct engine *engine, const struct usage *usage,
	const struct store_limits *limits, const struct demand *demand, bool really)
{
	size_t allocated = engine->allocated_pages, used = usage->last_page + 1;
	size_t end = allocated > used ? allocated - used : 0,
	       wanted = demand->pages + demand->reserve;
	bool fits = fits_the_map(engine, usage, demand);

	if (space_disk_free_bytes(engine) + engine->below_floor_bytes < limits->min_free_bytes)
		return NO_ROOM;
	/* Beyond what the map has for events, the file was made longer for what was accepted. */
	if (wanted <= end && (fits || !has_old_stranger(engine)))
		return ROOM;
	if (fits && extend(engine, used + wanted, demand->step, limits->min_free_bytes, really))
		return ROOM;
	if (!can_reuse(engine, end, demand))
		return NO_ROOM;
	return wanted <= end + engine->reusable_pages ? ROOM : ROOM_ONCE_FREED;
}

static void explain_file(struct engine *engine, const struct usage *usage, char *text, size_t size)
{
	long long mib = (long long)(usage->last_page * PAGE_BYTES >> 20);
	long pid;

	if (has_old_reader(engine, &pid))
		snprintf(text, size,
			"the data file is as large as it may become (%lld MiB): process %ld reads an old state of it, and what "
			"was freed since cannot be used again; what was accepted goes on being delivered",
			mib, pid);
	else
		snprintf(text, size,
			"the data file is as large as it may become (%lld MiB), and too little in it is free; what was "
			"accepted goes on being delivered",
			mib);
}

/* Why there is no room: the disk, unless it has some and the file may not take it. */
static void explain_room(struct engine *engine, const struct usage *usage,
	const struct store_limits *limits, const struct demand *demand, char *text, size_t size)
{
	int64_t free_bytes = space_disk_free_bytes(engine);

	if (free_bytes + engine->below_floor_bytes >= limits->min_free_bytes &&
		!fits_the_map(engine, usage, demand))
		explain_file(engine, usage, text, size);
	else
		space_explain_disk(limits, free_bytes, text, size);
}

/* By how many transactions the oldest state that is read is behind the last one. */
static uint64_t info_of_reader(struct engine *engine, const struct txn *t, long *pid)
{
	size_t last = mdb_txn_id(t->mdb), oldest = oldest_reader(engine, pid);

	return oldest < last ? last - oldest : 0;
}

/* The least that a batch with one event needs for that and for the rest. */
static const struct space_need small_submit = {.rows = 7, .payload_pages = 1},
			       no_others = {.rows = 8};

void space_judge(struct engine *engine, struct txn *t, const struct store_limits *limits,
	struct engine_stats *stats)
{
	struct usage usage;
	struct demand demand;
	enum room room;

	if (!read_usage(t, &usage))
		return;
	stats->used_bytes = (int64_t)usage.pages * PAGE_BYTES;
	stats->disk_free_bytes = space_disk_free_bytes(engine);
	demand = demand_for(
		limits, worst_case(&small_submit, &usage) + worst_case(&no_others, &usage));
	room = find_room(engine, &usage, limits, &demand, false);
	stats->history_in_the_way = room == ROOM_ONCE_FREED || engine->refused_for_room ||
		stats->used_bytes > limits->budget_bytes / 5 * 4;
	stats->reader_lag = info_of_reader(engine, t, &stats->reader_pid);
	stats->held_bytes =
		stats->reader_lag > OLD_TXNS ? (int64_t)usage.free_pages * PAGE_BYTES : 0;
	if (stats->used_bytes + 64 * PAGE_BYTES > limits->budget_bytes)
		space_explain_budget(limits, stats->refusal, sizeof(stats->refusal));
	else if (room != ROOM)
		explain_room(
			engine, &usage, limits, &demand, stats->refusal, sizeof(stats->refusal));
	else
		stats->would_accept = true;
}

size_t space_prepare(struct engine *engine, struct txn *t, const struct store_limits *limits,
	const struct space_need *submits, const struct space_need *others, char *refusal,
	size_t refusal_size)
{
	size_t budget = (size_t)(limits->budget_bytes / PAGE_BYTES);
	size_t needed = space_pages(submits), base, worst;
	struct demand demand;
	enum room room;
	struct usage usage;

	if (!read_usage(t, &usage))
		return 0;
	worst = worst_case(others, &usage) + worst_case(submits, &usage);
	base = usage.last_page + 1 + worst_case(others, &usage);
	demand = demand_for(limits, worst);
	note_free(engine, t, usage.free_pages, worst);
	engine->refused_for_room = false;
	if (space_disk_free_bytes(engine) >= limits->min_free_bytes)
		engine->below_floor_bytes = 0;
	if (base > engine->allocated_pages)
		extend_for_accepted(engine, base, &demand, limits);
	/* What is under way has to fit when nothing can be used again. */
	engine->pages_are_short = base + demand.reserve > engine->allocated_pages &&
		!extend(engine, base + demand.reserve, demand.step, limits->min_free_bytes, true);
	lmdb_limit_copy(engine, usage.last_page, budget / COPY_SHARE);
	if (submits->rows == 0)
		return 0;

	if (usage.pages + needed > budget)
		space_explain_budget(limits, refusal, refusal_size);
	if (usage.pages >= budget)
		return 0;
	room = find_room(engine, &usage, limits, &demand, true);
	if (room == ROOM)
		return usage.pages + needed > budget ? budget - usage.pages : SIZE_MAX;
	engine->refused_for_room = room == ROOM_ONCE_FREED;
	explain_room(engine, &usage, limits, &demand, refusal, refusal_size);
	return 0;
}
