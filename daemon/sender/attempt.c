#include "attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../lib/units.h"
#include "../clock.h"
#include "../out_of_memory.h"
#include "../url.h"
#include "own_addresses.h"
#include "resolver.h"
#include "transfer.h"

struct attempt_job {
	struct transfer transfer;
	struct resolver_query query;
	struct attempts *attempts;
	struct attempt_job *next, **at;
	struct event *deadline;
	int64_t started_us;
	uint32_t timeout_ms;
	uint64_t slot;

	struct url url;
	bool allow_http;
	struct networks allow_private; /* of the endpoint */
	struct peer addresses[RESOLVER_ADDRESSES_MAX]; /* all allowed */
	size_t n_addresses, tried;

	void *mapped; /* the memory file's content */
	size_t mapped_len;
	const char *headers[REQUEST_HEADERS_MAX];
	char text[]; /* of all strings and networks */
};

struct attempts {
	struct attempts_options options;
	struct resolver *resolver;
	struct transfers *transfers;
	struct networks configured_allowed, configured_denied;
	struct own_addresses own;
	struct attempt_job *jobs;
	size_t n_jobs;
};

/* ---- The rules ---- */

static const char *refuses(const struct attempt_job *job, const struct peer *peer)
{
	const struct attempts *a = job->attempts;
	struct guard_rules rules = {.allowed = {&a->configured_allowed, &job->allow_private},
		.denied = &a->configured_denied,
		.own = &a->own.networks};

	return guard_refuses(&rules, peer);
}

static const char *transfer_refuses(struct transfer *transfer, const struct peer *peer)
{
	return refuses((struct attempt_job *)transfer, peer);
}

/* ---- The end ---- */

static void free_job(struct attempt_job *job)
{
	resolver_cancel(&job->query);
	transfer_cancel(&job->transfer);
	if (job->deadline)
		event_free(job->deadline);
	if (job->at) {
		*job->at = job->next;
		if (job->next)
			job->next->at = job->at;
		job->attempts->n_jobs--;
	}
	if (job->mapped)
		munmap(job->mapped, job->mapped_len);
	free(job);
}

static void finish(struct attempt_job *job, struct sender_outcome *outcome)
{
	struct attempts *a = job->attempts;
	int64_t us = clock_monotonic_us() - job->started_us;

	outcome->slot = job->slot;
	outcome->duration_us = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
	free_job(job);
	a->options.done(a->options.user, outcome);
}

static void finish_with_fault(struct attempt_job *job, enum local_fault fault)
{
	struct sender_outcome outcome = {.fault = fault};

	finish(job, &outcome);
}

__attribute__((format(printf, 3, 4))) static void finish_with(
	struct attempt_job *job, enum attempt_result result, const char *format, ...)
{
	struct sender_outcome outcome = {.result = result};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(outcome.message, sizeof(outcome.message), format, arguments);
	va_end(arguments);
	outcome.message_len = (uint16_t)strlen(outcome.message);
	if (job->tried)
		outcome.peer = job->transfer.peer;
	finish(job, &outcome);
}

static void finish_with_timeout(struct attempt_job *job)
{
	char limit[UNITS_TEXT_SIZE];

	snprintf(limit, sizeof(limit), "%g s", job->timeout_ms / 1000.0);
	finish_with(job, RESULT_TIMEOUT, "timeout: no answer within %s", limit);
}

/* ---- The transfer ---- */

static void try_next_address(struct attempt_job *job);

static unsigned time_left_ms(const struct attempt_job *job)
{
	int64_t used_ms = (clock_monotonic_us() - job->started_us) / 1000;

	return used_ms < job->timeout_ms ? (unsigned)(job->timeout_ms - used_ms) : 0;
}

static void on_transfer_done(struct transfer *transfer)
{
	struct attempt_job *job = (struct attempt_job *)transfer;
	struct sender_outcome outcome = {.fault = transfer->fault,
		.result = transfer->result,
		.http_status = transfer->http_status,
		.peer = transfer->peer,
		.message_len = (uint16_t)strlen(transfer->message),
		.response_len = (uint16_t)transfer->response_len};

	if (!transfer->fault && transfer->another_may_answer && job->tried < job->n_addresses &&
		time_left_ms(job) > 0) {
		try_next_address(job);
		return;
	}
	if (transfer->result == RESULT_TIMEOUT) {
		finish_with_timeout(job);
		return;
	}
	memcpy(outcome.retry_after, transfer->retry_after, sizeof(outcome.retry_after));
	memcpy(outcome.message, transfer->message, outcome.message_len);
	memcpy(outcome.response, transfer->response, outcome.response_len);
	finish(job, &outcome);
}

static void try_next_address(struct attempt_job *job)
{
	struct attempts *a = job->attempts;
	unsigned left_ms = time_left_ms(job);

	if (job->url.https && !job->transfer.ca.len && !transfers_have_authorities(a->transfers)) {
		finish_with_fault(job, FAULT_AUTHORITIES);
		return;
	}
	job->transfer.peer = job->addresses[job->tried++];
	job->transfer.peer.port = job->url.port;
	job->transfer.timeout_ms = left_ms ? left_ms : 1;
	job->transfer.connect_timeout_ms = a->options.config->connect_timeout_ms;
	if (transfer_start(a->transfers, &job->transfer) < 0)
		finish_with_fault(job, FAULT_MEMORY);
}

/* ---- Names and addresses ---- */

/* Every address has to be allowed: with a mixed answer somebody tries something. */
static const char *refuse_any(
	struct attempt_job *job, const struct peer *addresses, size_t n, struct peer *refused)
{
	for (size_t i = 0; i < n; i++) {
		const char *refusal = refuses(job, &addresses[i]);

		if (refusal) {
			*refused = addresses[i];
			return refusal;
		}
	}
	return NULL;
}

static void go_to(struct attempt_job *job, const struct peer *addresses, size_t n)
{
	struct peer refused;
	const char *refusal;
	char text[PEER_TEXT_SIZE];
	int r = own_addresses_refresh(&job->attempts->own);

	if (r < 0) {
		finish_with_fault(
			job, r == -EMFILE || r == -ENFILE ? FAULT_DESCRIPTORS : FAULT_MEMORY);
		return;
	}
	refusal = refuse_any(job, addresses, n, &refused);
	if (refusal) {
		refused.port = job->url.port;
		peer_format(&refused, text);
		finish_with(job, RESULT_ADDRESS, "refused by the address rules: %s is %s, %s",
			job->url.host, text, refusal);
		return;
	}
	memcpy(job->addresses, addresses, n * sizeof(*addresses));
	job->n_addresses = n;
	try_next_address(job);
}

static void on_resolved(struct resolver_query *query, const struct resolver_answer *answer)
{
	struct attempt_job *job =
		(struct attempt_job *)(void *)((char *)query - offsetof(struct attempt_job, query));

	switch (answer->result) {
	case RESOLVED:
		go_to(job, answer->addresses, answer->n);
		break;
	case NAME_UNKNOWN:
		finish_with(job, RESULT_DNS, "DNS: %s has no address", job->url.host);
		break;
	case NAME_FAILED:
		finish_with(job, RESULT_DNS, "DNS: %s: %s", job->url.host, answer->text);
		break;
	case RESOLVER_DOWN:
		finish_with_fault(job, FAULT_RESOLVER);
		break;
	}
}

/* Behind curl's own time limit and the resolver's: whatever happens, an attempt ends. */
static void on_deadline(evutil_socket_t fd, short what, void *user)
{
	struct attempt_job *job = user;

	(void)fd;
	(void)what;
	if (job->query.at && !resolver_answers(job->attempts->resolver, job->started_us))
		finish_with_fault(job, FAULT_RESOLVER);
	else if (job->query.at)
		finish_with(job, RESULT_DNS, "DNS: no answer about %s in time", job->url.host);
	else
		finish_with_timeout(job);
}

static void start(struct attempt_job *job)
{
	const struct sender_config *config = job->attempts->options.config;
	const char *expected;

	if (url_parse(job->transfer.url, &job->url, &expected) < 0)
		finish_with(job, RESULT_ADDRESS, "the URL is not one: expected %s", expected);
	else if (!job->url.https && !job->allow_http)
		finish_with(job, RESULT_ADDRESS,
			"refused by the address rules: plain http is not allowed");
	else if (!guard_port_allowed(config->ports.list, config->ports.n, job->url.port))
		finish_with(job, RESULT_ADDRESS,
			"refused by the address rules: port %u ([network] ports)", job->url.port);
	else if (url_host_is_internal(&job->url) && !job->allow_private.n && !config->allowed.n)
		finish_with(job, RESULT_ADDRESS,
			"refused by the address rules: %s is a name of the inner network",
			job->url.host);
	else if (job->url.literal.family)
		go_to(job, &job->url.literal, 1);
	else
		resolver_ask(job->attempts->resolver, job->url.host, &job->query);
}

/* ---- Taking a request ---- */

static char *copy_text(char **to, struct text_span span)
{
	char *copy = *to;

	if (span.len)
		memcpy(copy, span.at, span.len);
	copy[span.len] = '\0';
	*to += span.len + 1;
	return copy;
}

static size_t text_size(const struct sender_request *q)
{
	size_t size = q->url.len + 1 + q->ca.len + 1 + (q->body_in_file ? 0 : q->body.len) + 1;

	for (unsigned i = 0; i < q->n_headers; i++)
		size += q->headers[i].len + 1;
	return size + q->allow_private.n * sizeof(struct network);
}

static void copy_request(struct attempt_job *job, const struct sender_request *q)
{
	size_t networks_size = q->allow_private.n * sizeof(struct network);
	char *to = job->text;

	/* Networks are bytes, they may stand anywhere. */
	_Static_assert(_Alignof(struct network) == 1, "");
	job->allow_private = (struct networks){(void *)to, q->allow_private.n};
	memcpy(to, q->allow_private.list, networks_size);
	to += networks_size;
	job->transfer.url = copy_text(&to, q->url);
	for (unsigned i = 0; i < q->n_headers; i++)
		job->headers[i] = copy_text(&to, q->headers[i]);
	job->transfer.ca = (struct text_span){copy_text(&to, q->ca), q->ca.len};
	if (!q->body_in_file)
		job->transfer.body = copy_text(&to, q->body);
}

static bool map_body(struct attempt_job *job, size_t len, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END); /* fstat(2) is a call of the path-taking kind */
	void *mapped;

	if (size < 0 || (size_t)size != len || len == 0)
		return false;
	mapped = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mapped == MAP_FAILED)
		return false;
	job->mapped = mapped;
	job->mapped_len = len;
	job->transfer.body = mapped;
	return true;
}

void attempts_begin(struct attempts *a, const struct sender_request *q, int body_fd)
{
	struct attempt_job *job = malloc(sizeof(*job) + text_size(q));
	/* curl's own limit comes first, so that it can say what was reached. */
	struct timeval limit = {(q->timeout_ms + 500) / 1000, (q->timeout_ms + 500) % 1000 * 1000};
	enum local_fault fault = NO_LOCAL_FAULT;

	if (!job)
		out_of_memory("an attempt"); /* hookd makes it again, with another sender */
	*job = (struct attempt_job){.attempts = a,
		.slot = q->slot,
		.timeout_ms = q->timeout_ms,
		.allow_http = q->allow_http,
		.started_us = clock_monotonic_us(),
		.query.done = on_resolved,
		.transfer = {.headers = job->headers,
			.n_headers = q->n_headers,
			.body_len = q->body.len,
			.https = q->url.len > 5 && (q->url.at[4] == 's' || q->url.at[4] == 'S'),
			.refuses = transfer_refuses,
			.done = on_transfer_done}};
	copy_request(job, q);
	job->next = a->jobs;
	job->at = &a->jobs;
	if (job->next)
		job->next->at = &job->next;
	a->jobs = job;
	a->n_jobs++;

	job->deadline = evtimer_new(a->options.base, on_deadline, job);
	if (q->body_in_file && body_fd < 0)
		fault = FAULT_DESCRIPTORS;
	else if ((q->body_in_file && !map_body(job, q->body.len, body_fd)) || !job->deadline ||
		event_add(job->deadline, &limit) < 0)
		fault = FAULT_MEMORY;
	if (body_fd >= 0)
		close(body_fd);
	if (fault)
		finish_with_fault(job, fault);
	else
		start(job);
}

size_t attempts_under_way(const struct attempts *a)
{
	return a->n_jobs;
}

/* ---- Life ---- */

int attempts_new(struct attempts **attempts, const struct attempts_options *options)
{
	struct attempts *a = calloc(1, sizeof(*a));
	const struct sender_config *config = options->config;
	struct transfer_options transfer = {
		config->user_agent, config->ca_file, config->max_in_flight};
	int r;

	if (!a)
		return -ENOMEM;
	a->options = *options;
	a->configured_allowed =
		(struct networks){(struct network *)config->allowed.list, config->allowed.n};
	a->configured_denied =
		(struct networks){(struct network *)config->denied.list, config->denied.n};
	r = own_addresses_init(&a->own, options->base);
	if (r == 0)
		r = resolver_new(&a->resolver, options->base, config->dns_servers);
	if (r == 0)
		r = transfers_new(&a->transfers, options->base, &transfer);
	if (r < 0) {
		attempts_free(a);
		return r;
	}
	*attempts = a;
	return 0;
}

void attempts_free(struct attempts *a)
{
	while (a->jobs) /* free_job() takes each off the list */
		free_job(a->jobs); /* NOLINT(clang-analyzer-unix.Malloc) */
	if (a->transfers)
		transfers_free(a->transfers);
	if (a->resolver)
		resolver_free(a->resolver);
	own_addresses_deinit(&a->own);
	free(a);
}
