/*
 * The seeded simulation: hookd's schedule, dispatch, senders and store on a machine that is made of
 * dice. Each seed is a history of its own; the oracle looks at every step of it.
 *
 *     sim SEEDS [FIRST]     so many seeds, on all cores; sums up, and says what was never tried
 *     sim --replay SEED     one seed, with a trace of what happens
 *     sim --mutant NAME SEEDS [FIRST]    with a bug planted (mutants.c); --mutants lists them
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/log.h"
#include "actions.h"
#include "check.h"
#include "dice.h"
#include "disk.h"
#include "hookd.h"
#include "kernel.h"
#include "limits.h"
#include "loop.h"
#include "mutants.h"
#include "oracle.h"
#include "threads.h"
#include "watch.h"
#include "worker.h"

#define TURNS_AT_ONCE 200000 /* more without time going on is a loop that spins */
#define DRAIN_US ((int64_t)4 * 86400 * 1000000)
#define SETTLE_US ((int64_t)60 * 1000000)
#define RETENTION_US ((int64_t)3 * 86400 * 1000000)
#define ASK_WHY 50 /* one rest in so many */
#define HURRY 200 /* once in so many turns, an action does not wait for its time */
#define NOBODY_THERE_US 1000000 /* then people come back a little later */
#define WORKERS_MAX 64

struct story {
	unsigned actions_left, turns;
	int64_t next_action_us, starts_at_us;
	unsigned kill_in;
};

/* ---- One seed ---- */

static void check_counts(void)
{
	static uint64_t counts[RECEIVERS_MAX][N_DELIVERY_STATES];
	struct registry *registry = store_registry(hookd.store);

	if (!oracle_count(counts))
		return;
	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		const uint64_t *expected = counts[slot->settings->number];

		for (int state = DELIVERY_PENDING; state <= DELIVERY_DEAD; state++)
			check(slot->deliveries[state] == expected[state],
				"hookd counts %llu %s deliveries of endpoint %u, and there are %llu",
				(unsigned long long)slot->deliveries[state],
				delivery_state_name(state), slot->settings->number,
				(unsigned long long)expected[state]);
	}
}

/* Nothing can happen before time goes on. */
static void rest(void)
{
	if (hookd.state != HOOKD_UP || !threads_are_idle() || !oracle_is_reported())
		return;
	oracle_rests(watch_senders());
	check_counts();
	if (dice_once_in(ASK_WHY))
		oracle_asks_why(hookd.dispatch, store_registry(hookd.store));
}

/* Kills hookd, lets it stop, or starts it, when it is time. */
static void keep_alive(struct story *h)
{
	if (hookd.state == HOOKD_DOWN) {
		if (kernel_mono_us() >= h->starts_at_us)
			hookd_start();
		return;
	}
	if (disk_wants_crash() || (h->kill_in && --h->kill_in == 0))
		hookd_kill();
	else if (hookd.state == HOOKD_STOPPING)
		hookd_go_on_stopping();
	if (hookd.state != HOOKD_DOWN)
		return;
	check(actions_open() == 0, "%u questions were never answered", actions_open());
	h->starts_at_us = kernel_mono_us() + actions_downtime_us();
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void act(struct story *h)
{
	h->next_action_us = kernel_mono_us() + actions_pause_us();
	if (actions_act())
		h->actions_left--;
	else
		h->next_action_us += NOBODY_THERE_US;
	if (!h->kill_in)
		h->kill_in = actions_kill_in();
}

/* One turn, or on to when there is one. Now and then an action comes between two turns. */
static void step(struct story *h)
{
	int64_t next_us;

	keep_alive(h);
	if (h->actions_left && dice_once_in(HURRY)) {
		act(h);
		return;
	}
	if (loop_turn()) {
		check(++h->turns < TURNS_AT_ONCE, "hookd spins");
		return;
	}
	h->turns = 0;
	rest();
	next_us = earlier(loop_next_us(), h->next_action_us);
	if (hookd.state == HOOKD_DOWN)
		next_us = earlier(next_us, h->starts_at_us);
	if (hookd.state == HOOKD_STOPPING)
		next_us = earlier(next_us, hookd.stops_at_us);
	kernel_advance(next_us);
	if (next_us < h->next_action_us)
		return;
	act(h);
}

static void run_until(struct story *h, int64_t until_us, bool (*done)(void))
{
	h->next_action_us = INT64_MAX;
	while (kernel_mono_us() < until_us && !done())
		step(h);
}

static bool is_up(void)
{
	return hookd.state == HOOKD_UP;
}

static bool is_drained(void)
{
	return is_up() && actions_open() == 0 && oracle_is_reported() && oracle_is_finished();
}

static bool is_answered(void)
{
	return is_up() && actions_open() == 0;
}

static bool never(void)
{
	return false;
}

static void run_story(struct story *h)
{
	actions_begin();
	hookd_start();
	actions_add_endpoints();
	h->actions_left = 100 + (unsigned)dice_spread(0, 400);
	h->next_action_us = kernel_mono_us();
	while (h->actions_left)
		step(h);
	h->kill_in = 0;
	disk_troubles.breaks_next = NOTHING;
	disk_troubles.crashes_next = false;
	worker_troubles.cannot_start = worker_troubles.dies_at_start = false;
	run_until(h, INT64_MAX, is_up);
	run_until(h, kernel_mono_us() + SETTLE_US, is_answered);
	run_until(h, INT64_MAX, is_up);
	for (int i = 0; i < 4 && !is_drained(); i++) {
		actions_calm();
		run_until(h, kernel_mono_us() + DRAIN_US / 4, is_drained);
	}
	oracle_ends(false);
	check(actions_open() == 0, "%u questions are not answered", actions_open());
	if (dice_once_in(16) && disk_lag_ms() * 1000 < RETENTION_US) {
		run_until(h, kernel_mono_us() + RETENTION_US + disk_lag_ms() * 1000, never);
		oracle_ends(true);
		cover("retention empties the store");
	}
	hookd_begin_stop();
	while (hookd.state != HOOKD_DOWN)
		step(h);
}

static void run_seed(uint64_t seed)
{
	struct story story = {0};

	dice_seed(seed);
	kernel_boot();
	check_seed(seed);
	disk_new();
	actions_reset();
	mutants_reset();
	run_story(&story);
	worker_reset();
	disk_free();
	limits_reset();
	oracle_reset();
	kernel_halt();
	loop_reset();
}

/* ---- Many ---- */

/* Shared with the parent. */
struct progress {
	uint64_t seed; /* being run */
	uint64_t n_done;
	bool finished;
	uint64_t times[]; /* of each point of check_points() */
};

static void run_seeds(struct progress *p, uint64_t first, uint64_t end, unsigned stride)
{
	struct cover_point *const *points;
	unsigned n;

	for (uint64_t seed = first; seed < end; seed += stride) {
		p->seed = seed;
		run_seed(seed);
		p->n_done++;
	}
	points = check_points(&n);
	for (unsigned i = 0; i < n; i++)
		p->times[i] = points[i]->times;
	p->finished = true;
	fflush(stdout);
	_exit(0);
}

static uint64_t times_of(struct progress *const *progress, unsigned n_workers, const char *name)
{
	struct cover_point *const *points;
	uint64_t sum = 0;
	unsigned n;

	points = check_points(&n);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned w = 0; w < n_workers && strcmp(points[i]->name, name) == 0; w++)
			sum += progress[w]->times[i];
	}
	return sum;
}

static int compare_points(const void *a, const void *b)
{
	return strcmp(
		(*(struct cover_point *const *)a)->name, (*(struct cover_point *const *)b)->name);
}

/* Returns how many were never reached. */
static unsigned sum_up(struct progress *const *progress, unsigned n_workers)
{
	struct cover_point *const *points, **sorted;
	unsigned n, n_never = 0;

	points = check_points(&n);
	sorted = calloc(n, sizeof(*sorted));
	if (!sorted)
		exit(1);
	for (unsigned i = 0; i < n; i++)
		sorted[i] = points[i];
	qsort(sorted, n, sizeof(*sorted), compare_points);
	for (unsigned i = 0; i < n; i++) {
		uint64_t times;

		if (i > 0 && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
			continue;
		times = times_of(progress, n_workers, sorted[i]->name);
		printf("%12llu  %s\n", (unsigned long long)times, sorted[i]->name);
		n_never += times == 0;
	}
	free(sorted);
	return n_never;
}

static struct progress *new_progress(void)
{
	unsigned n;
	void *shared;

	check_points(&n);
	shared = mmap(NULL, sizeof(struct progress) + n * sizeof(uint64_t), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return shared;
}

static int replay(uint64_t seed)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	dup2(STDOUT_FILENO, STDERR_FILENO); /* what hookd logs belongs between */
	check_init(true);
	log_set_level(LOG_LEVEL_INFO);
	run_seed(seed);
	printf("seed %llu went well\n", (unsigned long long)seed);
	return 0;
}

/* Seeds are dealt out in turn; when one fails, its number is told, and how to see what happened. */
static int run_all(uint64_t n_seeds, uint64_t first, const char *mutant)
{
	long n_workers = sysconf(_SC_NPROCESSORS_ONLN);
	struct progress *progress[WORKERS_MAX];
	uint64_t n_done = 0;
	int bad = 0;

	if (n_workers < 1 || n_workers > WORKERS_MAX)
		n_workers = 1;
	check_init(false);
	log_set_level(-1);
	for (long i = 0; i < n_workers; i++) {
		progress[i] = new_progress();
		fflush(stdout);
		switch (fork()) {
		case 0:
			run_seeds(progress[i], first + (uint64_t)i, first + n_seeds,
				(unsigned)n_workers);
			break;
		case -1:
			perror("fork");
			return 1;
		}
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	for (long i = 0; i < n_workers; i++) {
		n_done += progress[i]->n_done;
		if (progress[i]->finished)
			continue;
		bad++;
		printf("to see what happened: sim %s%s%s--replay %llu\n", mutant ? "--mutant " : "",
			mutant ? mutant : "", mutant ? " " : "",
			(unsigned long long)progress[i]->seed);
	}
	if (bad)
		return FAILED_STATUS;
	bad = (int)sum_up(progress, (unsigned)n_workers);
	printf("%llu seeds went well, %d things were never tried\n", (unsigned long long)n_done,
		bad);
	return 0;
}

static int usage(void)
{
	fprintf(stderr,
		"Usage: sim [--mutant NAME] SEEDS [FIRST]\n"
		"       sim [--mutant NAME] --replay SEED\n"
		"       sim --mutants\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"mutant", required_argument, NULL, 'm'},
		{"replay", required_argument, NULL, 'r'}, {"mutants", no_argument, NULL, 'l'},
		{NULL, 0, NULL, 0}};
	const char *mutant = NULL, *seed = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'm':
			mutant = optarg;
			break;
		case 'r':
			seed = optarg;
			break;
		case 'l':
			mutants_list();
			return 0;
		default:
			return usage();
		}
	}
	if (mutant && !mutants_choose(mutant))
		return usage();
	if (seed)
		return replay(strtoull(seed, NULL, 10));
	if (optind >= argc || optind + 2 < argc)
		return usage();
	return run_all(strtoull(argv[optind], NULL, 10),
		optind + 1 < argc ? strtoull(argv[optind + 1], NULL, 10) : 1, mutant);
}
