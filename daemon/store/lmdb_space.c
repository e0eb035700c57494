/*
 * How much may be stored, so that a commit never meets a full disk.
 *
 * Two bounds hold for new events. The budget counts pages in use over all tables. The disk: the
 * file is extended with fallocate(2) before it is needed, in steps, as long as min_free stays free;
 * a batch is admitted only if the pages it may touch at worst lie within the file. Outcomes,
 * deletions and moves are never refused: a reserve of allocated pages is kept for them, and the map
 * is far above the budget.
 *
 * Where the file system cannot preallocate, or copies on every write as btrfs does, the check of
 * the free space has to carry this alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "../../lib/units.h"
#include "lmdb_engine.h"

#define STEP_PAGES_MIN 256 /* 1 MiB */
#define STEP_PAGES_MAX 16384 /* 64 MiB */
#define RESERVE_PAGES_MAX 8192 /* 32 MiB */

struct usage {
	size_t pages; /* in use over all tables */
	size_t depth; /* of the deepest table */
	size_t last_page;
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
	usage->last_page = info.me_last_pgno;
	return t->error == 0;
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

/* Extends the file to at least so many pages. floor_bytes have to stay free on the disk. */
static bool extend(struct engine *engine, size_t pages, size_t step, int64_t floor_bytes)
{
	size_t target = (pages + step - 1) / step * step;
	off_t from = (off_t)engine->allocated_pages * PAGE_BYTES;
	off_t bytes;

	if (target > engine->map_pages)
		target = engine->map_pages;
	if (pages > target)
		return false;
	bytes = (off_t)(target - engine->allocated_pages) * PAGE_BYTES;
	if (space_disk_free_bytes(engine) - bytes < floor_bytes)
		return false;
	if (engine->can_allocate && fallocate(engine->data_fd, 0, from, bytes) < 0) {
		if (errno != EOPNOTSUPP && errno != ENOSYS)
			return false;
		engine->can_allocate = false;
	}
	engine->allocated_pages = target;
	return true;
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

size_t space_prepare(struct engine *engine, struct txn *t, const struct store_limits *limits,
	const struct space_need *submits, const struct space_need *others, char *refusal,
	size_t refusal_size)
{
	size_t budget = (size_t)(limits->budget_bytes / PAGE_BYTES);
	size_t step = clamp(budget / 16, STEP_PAGES_MIN, STEP_PAGES_MAX);
	size_t reserve = clamp(budget / 8, STEP_PAGES_MIN, RESERVE_PAGES_MAX);
	size_t needed = space_pages(submits), base, full;
	struct usage usage;
	int64_t free_bytes;

	if (!read_usage(t, &usage))
		return 0;
	base = usage.last_page + 1 + worst_case(others, &usage);
	full = base + worst_case(submits, &usage) + reserve;
	if (base > engine->allocated_pages)
		extend(engine, base, step,
			0); /* else the commit reuses free pages, or fails and stops hookd */
	if (submits->rows == 0)
		return 0;

	if (usage.pages + needed > budget) {
		space_explain_budget(limits, refusal, refusal_size);
		return usage.pages < budget ? budget - usage.pages : 0;
	}
	free_bytes = space_disk_free_bytes(engine);
	if (free_bytes < limits->min_free_bytes ||
		(full > engine->allocated_pages &&
			!extend(engine, full, step, limits->min_free_bytes))) {
		space_explain_disk(limits, free_bytes, refusal, refusal_size);
		return 0;
	}
	return SIZE_MAX;
}
