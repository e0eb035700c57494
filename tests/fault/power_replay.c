/*
 * Cuts the power: replays the log of a daemon up to some place in it, makes a disk as it may look
 * then, and checks that hookd starts on it and that nothing is lost that was promised. Many times.
 *
 *     power_replay --log FILE --ledger FILE [options]
 *
 *     --images N       how many (1000); each has a number, and with the seed that is all it depends
 * on
 *     --seed S         (1)
 *     --image I        only this one, which is kept
 *     --sweep          cut behind each record in turn, not at random ones
 *     --from C         but not before the first C records
 *     --cut C          cut behind the first C records; -1: all
 *     --choice NAME    of what is not durable keep: drop keep cut pages sectors
 *     --work DIR       where images are made; those that fail are kept there as failed-I
 *     --make DIR       make the one image there, check nothing, and tell which events are promised
 *     --jobs N         processes (2)
 *     --failures N     end after so many (10)
 *     --no-directory-sync   fsync of directories does nothing, behind what --from says: some image
 *                      has to fail
 *     --tear           zero a sector of a promised payload: every image in which there is one has
 * to fail
 *
 * Each image is checked in a process of its own, so that a crash is a failure like
 * another. Writes a line for each failure, and a last one with the sum. Exits with 0, with 1 when
 * an image failed, with 2 when the log or the ledger cannot be used.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "power_check.h"
#include "power_disk.h"
#include "power_facts.h"

#define PATIENCE_S 60
#define JOBS_MAX 64
#define SECTOR 512
#define PART 32 /* bytes of a payload that are looked for */
#define TORN_LEN_MIN 2000
#define NAMES_AFTER 16 /* records behind a change of names */

struct replay {
	const char *log_path, *ledger, *work, *make;
	uint64_t seed;
	long n_images, only, cut, jobs, failures_max;
	int choice; /* -1: at random */
	bool sweep, tear, no_directory_sync;
	size_t from;
	struct disk_faults faults;
	const struct power_record **records;
	size_t n_records;
	size_t *promises, n_promises, *flushes, n_flushes, *names, n_names; /* places in the log */
};

static const char *const choice_names[N_DISK_CHOICES] = {
	[DISK_DROP] = "drop",
	[DISK_KEEP] = "keep",
	[DISK_CUT] = "cut",
	[DISK_PAGES] = "pages",
	[DISK_SECTORS] = "sectors",
};

struct plan {
	long number;
	size_t cut;
	enum disk_choice choice;
	uint64_t seed;
};

struct sum {
	long images, failed, untorn;
	size_t promised;
};

/* ---- The log ---- */

static const uint8_t *body_of(const struct power_record *record)
{
	return (const uint8_t *)(record + 1);
}

static void *room_for(size_t n, size_t size)
{
	void *room = calloc(n ? n : 1, size);

	if (!room)
		err(2, "memory");
	return room;
}

static void read_log(struct replay *r)
{
	int fd = open(r->log_path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	const uint8_t *at, *end;
	size_t most;

	if (fd < 0 || fstat(fd, &status) < 0 || !status.st_size)
		err(2, "%s", r->log_path);
	at = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		err(2, "%s", r->log_path);
	close(fd);
	end = at + status.st_size;
	most = (size_t)status.st_size / sizeof(struct power_record);
	r->records = room_for(most, sizeof(r->records[0]));
	r->promises = room_for(most, sizeof(size_t));
	r->flushes = room_for(most, sizeof(size_t));
	r->names = room_for(most, sizeof(size_t));
	while (at < end) {
		const struct power_record *record = (const struct power_record *)at;

		r->records[r->n_records++] = record;
		if (record->kind == POWER_ANSWER || record->kind == POWER_MARK)
			r->promises[r->n_promises++] = r->n_records;
		if (record->kind == POWER_SYNC_END || record->kind == POWER_WRITTEN)
			r->flushes[r->n_flushes++] = r->n_records;
		if (record->kind == POWER_CREATE || record->kind == POWER_MAKE_DIRECTORY ||
			record->kind == POWER_RENAME || record->kind == POWER_LINK ||
			record->kind == POWER_UNLINK)
			r->names[r->n_names++] = r->n_records;
		at += sizeof(*record) + record->length;
	}
	if (at != end)
		errx(2, "%s ends within a record", r->log_path);
}

/* ---- What an image is ---- */

static struct plan plan_image(const struct replay *r, long number)
{
	uint64_t random = disk_mix(r->seed, (uint64_t)number), place = disk_mix(random, 1);
	struct plan plan = {.number = number,
		.cut = 1 + place % r->n_records,
		.choice = (enum disk_choice)(disk_mix(random, 2) % N_DISK_CHOICES),
		.seed = disk_mix(random, 3)};

	/* Most dangerous are the moments behind a promise, around a flush, and after a change of
	 * names, which is rare. */
	if (r->sweep)
		plan.cut = r->from + (size_t)number % (r->n_records - r->from) + 1;
	else if (random % 4 == 1 && r->n_promises)
		plan.cut = r->promises[place % r->n_promises];
	else if (random % 4 == 2 && r->n_flushes)
		plan.cut = r->flushes[place % r->n_flushes] - disk_mix(place, 1) % 2;
	else if (random % 4 == 3 && r->n_names)
		plan.cut = r->names[place % r->n_names] + disk_mix(place, 1) % NAMES_AFTER;
	if (r->cut >= 0)
		plan.cut = (size_t)r->cut;
	if (plan.cut > r->n_records)
		plan.cut = r->n_records;
	if (r->choice >= 0)
		plan.choice = (enum disk_choice)r->choice;
	return plan;
}

static int compare_plans(const void *a, const void *b)
{
	const struct plan *x = a, *y = b;

	return x->cut < y->cut ? -1 : x->cut > y->cut;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		err(2, "%s", path);
}

/* ---- One image ---- */

/* Exit statuses of the process that checks one. */
enum { IMAGE_FINE, IMAGE_WRONG, IMAGE_UNUSABLE, IMAGE_UNTORN };

/* Zeroes the sectors that hold nothing but bytes of the text, wherever a part of it begins. */
static bool tear_sectors(uint8_t *bytes, size_t size, const uint8_t *text, size_t len, size_t part)
{
	uint8_t *from = bytes, *found;
	bool torn = false;

	while ((found = memmem(from, size - (size_t)(from - bytes), text + part, PART))) {
		size_t at = ((size_t)(found - bytes) + SECTOR - 1) / SECTOR * SECTOR;
		size_t in_text = part + at - (size_t)(found - bytes);

		if (at + SECTOR <= size && in_text + SECTOR <= len &&
			memcmp(bytes + at, text + in_text, SECTOR) == 0) {
			memset(bytes + at, 0, SECTOR);
			torn = true;
		}
		from = found + 1;
	}
	return torn;
}

/* A sector of the payload, in all copies that there are of it. */
static bool tear_payload(const struct known_event *e, uint8_t *bytes, size_t size)
{
	for (size_t part = 0; part + SECTOR < e->payload_len; part += SECTOR) {
		if (tear_sectors(bytes, size, e->payload, e->payload_len, part))
			return true;
	}
	return false;
}

static bool tear_image(const struct plan *plan, const struct facts *facts, const char *directory)
{
	size_t start = facts->n_events ? plan->seed % facts->n_events : 0;
	char path[4200];
	struct stat status;
	bool torn = false;
	uint8_t *bytes;
	int fd;

	snprintf(path, sizeof(path), "%s/data/hookd.mdb", directory);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0 || !status.st_size)
		return false;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		err(2, "%s", path);
	close(fd);
	for (size_t i = 0; i < facts->n_events && !torn; i++) {
		const struct known_event *e = &facts->events[(start + i) % facts->n_events];

		if (e->promised && e->payload_len >= TORN_LEN_MIN && !facts_may_be_gone(facts, e))
			torn = tear_payload(e, bytes, (size_t)status.st_size);
	}
	munmap(bytes, (size_t)status.st_size);
	return torn;
}

static int check(const struct facts *facts, const char *directory, int report)
{
	char text[512];

	alarm(PATIENCE_S);
	if (check_image(facts, directory, text, sizeof(text)))
		return IMAGE_FINE;
	return write(report, text, strlen(text)) < 0 ? IMAGE_UNUSABLE : IMAGE_WRONG;
}

/* Writes a line if something is wrong. Returns the exit status, or -1 for a crash. */
static int try_image(const struct replay *r, const struct plan *plan, struct disk *disk,
	const struct facts *facts, const char *directory)
{
	char text[512] = "";
	int report[2], status;
	ssize_t len;
	pid_t pid;

	if (mkdir(directory, 0700) < 0 || pipe2(report, O_CLOEXEC) < 0)
		err(2, "%s", directory);
	disk_make_image(disk, directory, plan->choice, plan->seed);
	if (r->tear && !tear_image(plan, facts, directory)) {
		close(report[0]);
		close(report[1]);
		return IMAGE_UNTORN;
	}
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0)
		_exit(check(facts, directory, report[1]));
	close(report[1]);
	len = read(report[0], text, sizeof(text) - 1);
	close(report[0]);
	if (len < 0 || waitpid(pid, &status, 0) < 0)
		err(2, "wait");
	if (WIFEXITED(status) && WEXITSTATUS(status) == IMAGE_UNUSABLE)
		errx(2, "image %ld cannot be made or checked", plan->number);
	if (!WIFEXITED(status))
		snprintf(text, sizeof(text), "crashed: %s", strsignal(WTERMSIG(status)));
	if (!WIFEXITED(status) || WEXITSTATUS(status) == IMAGE_WRONG) {
		printf("image %ld (cut %zu of %zu, %s): %s\n", plan->number, plan->cut,
			r->n_records, choice_names[plan->choice], text);
		fflush(stdout);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- Many ---- */

static void go_to(
	const struct replay *r, size_t *at, size_t cut, struct disk *disk, struct facts *facts)
{
	for (; *at < cut; ++*at) {
		const struct power_record *record = r->records[*at];

		disk_apply(disk, record, body_of(record));
		if (record->kind == POWER_ANSWER)
			facts_answer(facts, body_of(record), record->length);
		if (record->kind == POWER_MARK)
			facts_mark(facts, body_of(record), record->length);
	}
}

/* The images of one process, in the order of their cuts, so that the log is read once. */
static struct sum run_images(const struct replay *r, long job)
{
	struct plan *plans = room_for((size_t)(r->n_images / r->jobs + 1), sizeof(*plans));
	struct disk *disk = disk_new(&r->faults);
	struct facts *facts = facts_read(r->ledger);
	struct sum sum = {0};
	size_t at = 0, n = 0;

	for (long i = job; i < r->n_images; i += r->jobs)
		plans[n++] = plan_image(r, r->only >= 0 ? r->only : i);
	qsort(plans, n, sizeof(*plans), compare_plans);
	for (size_t i = 0; i < n && sum.failed < r->failures_max; i++) {
		char directory[4096], kept[4096];
		int status;

		snprintf(directory, sizeof(directory), "%s/image-%ld", r->work, plans[i].number);
		snprintf(kept, sizeof(kept), "%s/failed-%ld", r->work, plans[i].number);
		go_to(r, &at, plans[i].cut, disk, facts);
		status = try_image(r, &plans[i], disk, facts, directory);
		sum.images++;
		sum.untorn += status == IMAGE_UNTORN;
		sum.failed += status == IMAGE_WRONG || status < 0;
		if (facts->n_promised > sum.promised)
			sum.promised = facts->n_promised;
		if (r->only >= 0)
			printf("image %ld is in %s\n", plans[i].number, directory);
		else if ((status == IMAGE_WRONG || status < 0) && !r->tear)
			rename(directory, kept);
		else
			remove_tree(directory);
	}
	disk_free(disk);
	free(plans);
	return sum;
}

static struct sum run_jobs(const struct replay *r)
{
	struct sum total = {0}, sum;
	int results[2], status;

	if (pipe2(results, O_CLOEXEC) < 0)
		err(2, "pipe");
	for (long job = 0; job < r->jobs; job++) {
		pid_t pid = fork();

		if (pid < 0)
			err(2, "fork");
		if (pid == 0) {
			sum = run_images(r, job);
			fflush(stdout);
			_exit(write(results[1], &sum, sizeof(sum)) == sizeof(sum) ? 0 : 2);
		}
	}
	for (long job = 0; job < r->jobs; job++) {
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
			errx(2, "a process of mine ended badly");
		if (read(results[0], &sum, sizeof(sum)) != sizeof(sum))
			err(2, "read");
		total.images += sum.images;
		total.failed += sum.failed;
		total.untorn += sum.untorn;
		if (sum.promised > total.promised)
			total.promised = sum.promised;
	}
	return total;
}

static void make_one(const struct replay *r)
{
	struct plan plan = plan_image(r, r->only >= 0 ? r->only : 0);
	struct disk *disk = disk_new(&r->faults);
	struct facts *facts = facts_read(r->ledger);
	size_t at = 0;

	go_to(r, &at, plan.cut, disk, facts);
	disk_make_image(disk, r->make, plan.choice, plan.seed);
	for (size_t i = 0; i < facts->n_events; i++) {
		const struct known_event *e = &facts->events[i];

		if (e->promised)
			printf("%s %s\n", e->text,
				facts_may_be_gone(facts, e) ? "perhaps" : "surely");
	}
}

/* ---- Options ---- */

static long number_of(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (*end || end == text)
		errx(2, "not a number: %s", text);
	return number;
}

static int choice_of(const char *name)
{
	for (int i = 0; i < N_DISK_CHOICES; i++) {
		if (strcmp(choice_names[i], name) == 0)
			return i;
	}
	errx(2, "--choice: %s is none", name);
}

static void take_option(struct replay *r, int option)
{
	switch (option) {
	case 'l':
		r->log_path = optarg;
		break;
	case 'e':
		r->ledger = optarg;
		break;
	case 'n':
		r->n_images = number_of(optarg);
		break;
	case 's':
		r->seed = (uint64_t)number_of(optarg);
		break;
	case 'i':
		r->only = number_of(optarg);
		break;
	case 'a':
		r->sweep = true;
		break;
	case 'b':
		r->from = (size_t)number_of(optarg);
		break;
	case 'c':
		r->cut = number_of(optarg);
		r->cut = r->cut < 0 ? INT32_MAX : r->cut;
		break;
	case 'o':
		r->choice = choice_of(optarg);
		break;
	case 'w':
		r->work = optarg;
		break;
	case 'm':
		r->make = optarg;
		break;
	case 'j':
		r->jobs = number_of(optarg);
		break;
	case 'f':
		r->failures_max = number_of(optarg);
		break;
	case 'D':
		r->no_directory_sync = true;
		break;
	case 't':
		r->tear = true;
		break;
	default:
		errx(2, "the head of power_replay.c tells the options");
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"log", required_argument, NULL, 'l'},
		{"ledger", required_argument, NULL, 'e'}, {"images", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'}, {"image", required_argument, NULL, 'i'},
		{"sweep", no_argument, NULL, 'a'}, {"from", required_argument, NULL, 'b'},
		{"cut", required_argument, NULL, 'c'}, {"choice", required_argument, NULL, 'o'},
		{"work", required_argument, NULL, 'w'}, {"make", required_argument, NULL, 'm'},
		{"jobs", required_argument, NULL, 'j'}, {"failures", required_argument, NULL, 'f'},
		{"no-directory-sync", no_argument, NULL, 'D'}, {"tear", no_argument, NULL, 't'},
		{NULL, 0, NULL, 0}};
	struct replay r = {.seed = 1,
		.n_images = 1000,
		.only = -1,
		.cut = -1,
		.choice = -1,
		.jobs = 2,
		.failures_max = 10};
	struct sum sum;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&r, option);
	if (!r.log_path || !r.ledger || (!r.work && !r.make) || r.jobs < 1 || r.jobs > JOBS_MAX)
		errx(2, "the head of power_replay.c tells the options");
	r.faults.directories_sync_until = r.no_directory_sync ? r.from : UINT64_MAX;
	read_log(&r);
	if (r.from >= r.n_records)
		errx(2, "--from: there are %zu records", r.n_records);
	if (r.make) {
		make_one(&r);
		return 0;
	}
	if (r.only >= 0)
		r.n_images = r.jobs = 1;
	sum = run_jobs(&r);
	printf("%ld images, %ld failed, %ld untorn, %zu events promised at most, %zu records\n",
		sum.images, sum.failed, sum.untorn, sum.promised, r.n_records);
	return sum.failed ? 1 : 0;
}
