/*
 * Producers for the benchmark: threads that submit one event after another, each on a connection of
 * its own, for some time.
 *
 *     producers SOCKET THREADS SECONDS BATCH BYTES TYPE
 *
 * Prints "EVENTS SECONDS P50_US P99_US": what was confirmed, in what time, and how long a call
 * took.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../lib/hookd.h"

#define CALLS_MAX 1000000

static const char *path, *type;
static double seconds;
static size_t batch;
static char *payload;

struct producer {
	pthread_t thread;
	size_t n_events, n_calls;
	unsigned *call_us;
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "producers: %s: %s\n", what, why);
	exit(1);
}

static void *produce(void *user)
{
	struct producer *p = user;
	struct hookd_event *events = calloc(batch, sizeof(*events));
	struct hookd_client *client;
	double end = now_s() + seconds;

	if (!events || hookd_client_new(&client, path) != 0)
		give_up("start", "out of memory");
	for (size_t i = 0; i < batch; i++)
		events[i] = (struct hookd_event){
			.type = type, .payload = payload, .payload_len = strlen(payload)};
	while (now_s() < end && p->n_calls < CALLS_MAX) {
		double start = now_s();
		int r = batch == 1 ? hookd_submit(client, events, NULL)
				   : hookd_submit_batch(client, events, batch, NULL);

		if (r != 0)
			give_up("submit", hookd_client_problem(client));
		p->call_us[p->n_calls++] = (unsigned)((now_s() - start) * 1e6);
		p->n_events += batch;
	}
	hookd_client_free(client);
	free(events);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

/* Runs all and puts the times of their calls, sorted, into *all_us. */
static void run(
	struct producer *producers, size_t n, size_t *n_events, size_t *n_calls, unsigned **all_us)
{
	for (size_t i = 0; i < n; i++) {
		producers[i].call_us = malloc(CALLS_MAX * sizeof(unsigned));
		if (!producers[i].call_us ||
			pthread_create(&producers[i].thread, NULL, produce, &producers[i]) != 0)
			give_up("start", strerror(errno));
	}
	for (size_t i = 0; i < n; i++) {
		struct producer *p = &producers[i];

		pthread_join(p->thread, NULL);
		*all_us = realloc(*all_us, (*n_calls + p->n_calls + 1) * sizeof(unsigned));
		if (!*all_us)
			give_up("end", "out of memory");
		memcpy(*all_us + *n_calls, p->call_us, p->n_calls * sizeof(unsigned));
		*n_calls += p->n_calls;
		*n_events += p->n_events;
		free(p->call_us);
	}
	qsort(*all_us, *n_calls, sizeof(unsigned), compare);
}

int main(int argc, char **argv)
{
	size_t n_producers, n_bytes, n_events = 0, n_calls = 0;
	struct producer *producers;
	unsigned *all_us = NULL;
	double start;

	if (argc != 7)
		give_up("usage", "producers SOCKET THREADS SECONDS BATCH BYTES TYPE");
	path = argv[1];
	n_producers = (size_t)atoi(argv[2]);
	seconds = atof(argv[3]);
	batch = (size_t)atoi(argv[4]);
	n_bytes = (size_t)atoi(argv[5]);
	type = argv[6];
	producers = calloc(n_producers, sizeof(*producers));
	payload = malloc(n_bytes + 3);
	if (!producers || !payload)
		give_up("start", "out of memory");
	payload[0] = '"';
	memset(payload + 1, 'x', n_bytes);
	memcpy(payload + 1 + n_bytes, "\"", 2);
	start = now_s();
	run(producers, n_producers, &n_events, &n_calls, &all_us);
	printf("%zu %.3f %u %u\n", n_events, now_s() - start, all_us[n_calls / 2],
		all_us[n_calls * 99 / 100]);
	free(all_us);
	free(producers);
	free(payload);
	return 0;
}
