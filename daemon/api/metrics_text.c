/*
 * GET /metrics: OpenMetrics 1.0 text, from the counters in metrics.h and what can be counted now.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "handlers.h"
#include "totals.h"

static const char content_type[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/* name: of the family, without "_total". */
static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
	family(out, name, "gauge", help);
	fprintf(out, "%s %.15g\n", name, value);
}

static void counter(FILE *out, const char *name, const char *help, double value)
{
	family(out, name, "counter", help);
	fprintf(out, "%s_total %.15g\n", name, value);
}

static void histogram(FILE *out, const char *name, const char *help, const struct histogram *h)
{
	uint64_t sum = 0;

	family(out, name, "histogram", help);
	for (unsigned i = 0; i < h->n_bounds; i++) {
		sum += h->counts[i];
		/* The canonical form has a decimal point. */
		fprintf(out,
			h->bounds[i] == (double)(long)h->bounds[i] ? "%s_bucket{le=\"%.1f\"} %llu\n"
								   : "%s_bucket{le=\"%g\"} %llu\n",
			name, h->bounds[i], (unsigned long long)sum);
	}
	sum += h->counts[h->n_bounds];
	fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.15g\n%s_count %llu\n", name,
		(unsigned long long)sum, name, h->sum, name, (unsigned long long)sum);
}

static void put_intake(FILE *out, const struct metrics *m)
{
	family(out, "hookd_submitted_events", "counter",
		"Events by what became of submitting them: accepted, duplicate, or the problem's code.");
	fprintf(out, "hookd_submitted_events_total{outcome=\"accepted\"} %llu\n",
		(unsigned long long)m->submitted[PROBLEM_NONE]);
	fprintf(out, "hookd_submitted_events_total{outcome=\"duplicate\"} %llu\n",
		(unsigned long long)m->duplicates);
	for (int code = PROBLEM_NONE + 1; code < N_PROBLEM_CODES; code++) {
		if (m->submitted[code])
			fprintf(out, "hookd_submitted_events_total{outcome=\"%s\"} %llu\n",
				problem_name((enum problem_code)code),
				(unsigned long long)m->submitted[code]);
	}
	counter(out, "hookd_unmatched_events", "Accepted events that no endpoint subscribed to.",
		(double)m->unmatched);
}

static void put_queue(
	FILE *out, const struct api_options *o, const struct totals *s, int64_t oldest_dead_ms)
{
	int64_t now = clock_queue_ms(o->clock);

	family(out, "hookd_queue_deliveries", "gauge", "Deliveries by state.");
	for (int state = DELIVERY_PENDING; state < N_DELIVERY_STATES; state++)
		fprintf(out, "hookd_queue_deliveries{state=\"%s\"} %llu\n",
			delivery_state_name((enum delivery_state)state),
			(unsigned long long)s->deliveries[state]);
	family(out, "hookd_queue_oldest_age_seconds", "gauge",
		"Age of the oldest: of pending ones since their event was accepted, of dead ones since they died.");
	fprintf(out, "hookd_queue_oldest_age_seconds{state=\"pending\"} %.3f\n",
		s->oldest_pending_ms ? (double)(now - s->oldest_pending_ms) / 1000 : 0);
	fprintf(out, "hookd_queue_oldest_age_seconds{state=\"dead\"} %.3f\n",
		oldest_dead_ms ? (double)(now - oldest_dead_ms) / 1000 : 0);
}

static void put_attempts(FILE *out, const struct metrics *m)
{
	static const char *const classes[6] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

	family(out, "hookd_deliveries_finished", "counter", "Deliveries that ended, by how.");
	fprintf(out, "hookd_deliveries_finished_total{state=\"delivered\"} %llu\n",
		(unsigned long long)m->finished[DELIVERY_DELIVERED]);
	fprintf(out, "hookd_deliveries_finished_total{state=\"dead\"} %llu\n",
		(unsigned long long)m->finished[DELIVERY_DEAD]);
	family(out, "hookd_attempts", "counter", "Attempts by result and class of HTTP status.");
	for (int result = RESULT_OK; result < N_ATTEMPT_RESULTS; result++) {
		for (int class = 0; class < 6; class ++) {
			if (m->attempts[result][class])
				fprintf(out,
					"hookd_attempts_total{result=\"%s\",http_class=\"%s\"} %llu\n",
					attempt_result_name((enum attempt_result)result),
					classes[class],
					(unsigned long long)m->attempts[result][class]);
		}
	}
}

static void put_endpoints(FILE *out, const struct totals *s)
{
	family(out, "hookd_endpoints", "gauge", "Endpoints by health.");
	fprintf(out, "hookd_endpoints{health=\"untried\"} %u\n", s->by_health[HEALTH_UNTRIED]);
	fprintf(out, "hookd_endpoints{health=\"ok\"} %u\n", s->by_health[HEALTH_OK]);
	fprintf(out, "hookd_endpoints{health=\"failing\"} %u\n", s->by_health[HEALTH_FAILING]);
	family(out, "hookd_endpoints_paused", "gauge", "Paused endpoints by who paused them.");
	fprintf(out, "hookd_endpoints_paused{by=\"request\"} %u\n",
		s->paused_by[PAUSED_BY_REQUEST]);
	fprintf(out, "hookd_endpoints_paused{by=\"hookd\"} %u\n", s->paused_by[PAUSED_BY_HOOKD]);
}

static void put_api(FILE *out, const struct request *rq)
{
	const struct metrics *m = api_options(rq)->metrics;

	family(out, "hookd_api_requests", "counter", "Requests by socket and HTTP status.");
	for (int role = 0; role < N_ROLES; role++) {
		for (int status = 0; status < 600; status++) {
			if (m->api_requests[role][status])
				fprintf(out,
					"hookd_api_requests_total{role=\"%s\",http_status=\"%d\"} %llu\n",
					role_name((enum role)role), status,
					(unsigned long long)m->api_requests[role][status]);
		}
	}
	family(out, "hookd_api_connections", "gauge", "Open connections by socket.");
	for (int role = 0; role < N_ROLES; role++)
		fprintf(out, "hookd_api_connections{role=\"%s\"} %u\n", role_name((enum role)role),
			api_connections(rq, (enum role)role));
}

static unsigned count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned n = 0;

	while (directory && readdir(directory))
		n++;
	if (directory)
		closedir(directory);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the one just used */
}

static void put_process(FILE *out, int64_t started_wall_ms)
{
	long size = 0, resident = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	struct rusage usage = {0};
	struct rlimit files = {0};

	if (statm) {
		if (fscanf(statm, "%ld %ld", &size, &resident) != 2)
			size = resident = 0;
		fclose(statm);
	}
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &files);
	counter(out, "process_cpu_seconds",
		"CPU time of hookd, user and system, without its senders.",
		(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	gauge(out, "process_virtual_memory_bytes",
		"Address space of hookd; the data file is mapped into it.",
		(double)size * (double)sysconf(_SC_PAGESIZE));
	gauge(out, "process_resident_memory_bytes",
		"Resident memory of hookd, cached pages of the data file included.",
		(double)resident * (double)sysconf(_SC_PAGESIZE));
	gauge(out, "process_open_fds", "Open file descriptors of hookd.", count_descriptors());
	gauge(out, "process_max_fds", "How many it may have.", (double)files.rlim_cur);
	gauge(out, "process_start_time_seconds", "When hookd started, since 1970.",
		(double)started_wall_ms / 1000);
}

static void put_all(FILE *out, struct request *rq, const struct engine_stats *stats)
{
	const struct api_options *o = api_options(rq);
	struct dispatch_numbers numbers = dispatch_numbers(o->dispatch);
	struct totals sums = totals_of(store_registry(o->store));
	const struct metrics *m = o->metrics;

	family(out, "hookd_build", "info", "The version that runs.");
	fprintf(out, "hookd_build_info{version=\"%s\"} 1\n", HOOKD_VERSION);
	put_intake(out, m);
	put_queue(out, o, &sums, stats->oldest_dead_ms);
	put_attempts(out, m);
	gauge(out, "hookd_attempts_in_flight", "Attempts under way.", numbers.in_flight);
	histogram(out, "hookd_attempt_duration_seconds", "How long attempts took.",
		&m->attempt_duration);
	histogram(out, "hookd_attempt_lateness_seconds",
		"From when an attempt was due to its start.", &m->attempt_lateness);
	histogram(out, "hookd_commit_duration_seconds", "How long commits took.",
		&m->commit_duration);
	histogram(out, "hookd_commit_requests", "How many requests a commit held.",
		&m->commit_requests);
	gauge(out, "hookd_store_used_bytes", "Bytes in use in the store.",
		(double)stats->used_bytes);
	gauge(out, "hookd_store_budget_bytes", "Bytes the store may use.",
		(double)o->config->store.budget);
	gauge(out, "hookd_store_held_bytes",
		"Free bytes of the data file that somebody who reads an old state keeps from being used again.",
		(double)stats->held_bytes);
	gauge(out, "hookd_disk_free_bytes", "Bytes free on the store's disk.",
		(double)stats->disk_free_bytes);
	put_endpoints(out, &sums);
	gauge(out, "hookd_sending_paused", "1 while all sending is paused.",
		store_sending(o->store)->paused);
	gauge(out, "hookd_senders", "Sender processes that run.", numbers.senders_running);
	counter(out, "hookd_sender_restarts", "Sender processes that died and were replaced.",
		(double)numbers.sender_restarts);
	put_api(out, rq);
	put_process(out, o->started_wall_ms);
	fputs("# EOF\n", out);
}

static void answer_metrics(struct request *rq, const struct engine_stats *stats)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	put_all(out, rq, stats);
	if (fclose(out) != 0 || !text) {
		free(text);
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	answer_text(rq, 200, content_type, text);
}

void handle_metrics(struct request *rq)
{
	with_stats(rq, answer_metrics);
}
