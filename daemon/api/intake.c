/*
 * Intake: POST /v1/events in its three forms becomes one submission to the store.
 *
 * The body is never copied and never parsed into values: the events' payloads are extents of it,
 * which live until the store has answered. What receivers get for an envelope is the envelope of
 * Standard Webhooks: type, timestamp, and the data byte for byte.
 */
#include <assert.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "../../lib/text.h"
#include "../../lib/timestamp.h"
#include "../bytes.h"
#include "envelope.h"
#include "handlers.h"

#define LINES_MAX 1000
#define DELIVERIES_MAX 100000

/* What one event of a submission needs beside struct new_event; kept in one block. */
struct room {
	char type[TYPE_MAX_LEN + 1], tenant[NAME_MAX_LEN + 1], key[EVENT_KEY_MAX + 1];
	char content_type[EVENT_CONTENT_TYPE_MAX + 1];
	char front[TYPE_MAX_LEN + TIMESTAMP_TEXT_SIZE + 64]; /* of the envelope, up to the data */
};

struct submission {
	struct submit_op op; /* the first member */
	struct request *request;
	bool batch;
	int64_t now_ms, now_as_wall_ms; /* when all its events are accepted, by the queue's clock */
	int64_t wall_ms; /* and by the machine's */
	struct new_event *events;
	struct room *rooms;
	uint32_t *targets;
	size_t n_targets, targets_size;
	size_t n;
};

static void free_submission(struct submission *s)
{
	free(s->events);
	free(s->rooms);
	free(s->targets);
	free(s);
}

/* ---- Making it ready for the store ---- */

static int digest_of(const struct arriving *a, uint8_t digest[static EVENT_DIGEST_LEN])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t form = a->envelope;
	bool ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
		EVP_DigestUpdate(context, a->tenant, strlen(a->tenant) + 1) &&
		EVP_DigestUpdate(context, a->type, strlen(a->type) + 1) &&
		EVP_DigestUpdate(context, a->content_type, strlen(a->content_type) + 1) &&
		EVP_DigestUpdate(context, &form, 1) &&
		EVP_DigestUpdate(context, a->payload.at, a->payload.len) &&
		EVP_DigestFinal_ex(context, digest, NULL);

	EVP_MD_CTX_free(context);
	return ok ? 0 : -1;
}

static void put_text(struct byte_writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

/* Returns its length. */
static size_t write_front(struct room *room, int64_t timestamp_wall_ms)
{
	struct byte_writer w = {.at = (uint8_t *)room->front, .size = sizeof(room->front)};
	char time[TIMESTAMP_TEXT_SIZE];

	timestamp_format(timestamp_wall_ms, time);
	put_text(&w, "{\"type\":\"");
	put_text(&w, room->type);
	put_text(&w, "\",\"timestamp\":\"");
	put_text(&w, time);
	put_text(&w, "\",\"data\":");
	assert(!w.overflow);
	return w.used;
}

static int add_targets(struct submission *s, struct new_event *e, struct problem *problem)
{
	struct registry *registry = store_registry(api_options(s->request)->store);
	size_t most = registry_count(registry, e->event.tenant);

	if (s->n_targets + most > DELIVERIES_MAX)
		return problem_set(problem, PROBLEM_TOO_LARGE, NULL,
			"this request might owe more than %d deliveries; send fewer events at once",
			DELIVERIES_MAX);
	if (s->n_targets + most > s->targets_size) {
		size_t size = 2 * s->targets_size + most;
		uint32_t *grown = realloc(s->targets, size * sizeof(*grown));

		if (!grown)
			return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
		s->targets = grown;
		s->targets_size = size;
	}
	e->n_targets = (uint32_t)registry_targets(
		registry, e->event.tenant, e->event.type, s->targets + s->n_targets);
	/* The array may still move: what is kept for now is the place in it. */
	e->targets = NULL;
	s->n_targets += e->n_targets;
	return 0;
}

static int add_event(
	struct submission *s, const struct arriving *a, unsigned line, struct problem *problem)
{
	const struct api_options *o = api_options(s->request);
	struct new_event *e = &s->events[s->n];
	struct room *room = &s->rooms[s->n];
	int64_t now_ms = s->now_ms, ahead_ms;
	size_t len = a->payload.len;

	memcpy(room->type, a->type, sizeof(room->type));
	memcpy(room->tenant, a->tenant, sizeof(room->tenant));
	memcpy(room->key, a->key, sizeof(room->key));
	snprintf(room->content_type, sizeof(room->content_type), "%s", a->content_type);
	*e = (struct new_event){.event = {.id = store_next_id(o->store, now_ms),
					.accepted_ms = now_ms,
					.timestamp_wall_ms = a->has_timestamp ? a->timestamp_wall_ms
									      : s->now_as_wall_ms,
					.deliver_at_wall_ms = a->deliver_at_wall_ms,
					.uid = request_uid(s->request),
					.tenant = room->tenant,
					.type = room->type,
					.content_type = room->content_type,
					.key = a->has_key ? room->key : NULL},
		.due_ms = now_ms,
		.line = line};
	if (a->envelope) {
		e->payload[0].at = room->front;
		e->payload[0].len = write_front(room, e->event.timestamp_wall_ms);
		e->payload[2].at = "}";
		e->payload[2].len = 1;
	}
	e->payload[1].at = a->payload.at;
	e->payload[1].len = a->payload.len;
	len += e->payload[0].len + e->payload[2].len;
	if (len > (size_t)o->config->intake.max_payload)
		return problem_set(problem, PROBLEM_TOO_LARGE, a->envelope ? "data" : NULL,
			"receivers would get %zu bytes; at most %lld are taken ([intake] max_payload)",
			len, (long long)o->config->intake.max_payload);
	e->event.payload_len = (uint32_t)len;
	ahead_ms = a->deliver_at_wall_ms - s->wall_ms;
	if (a->deliver_at_wall_ms && ahead_ms > 0)
		e->due_ms = now_ms + ahead_ms;
	e->key_expires_ms = e->due_ms + o->config->retention.idempotency_keys * 1000;
	if (a->has_key && digest_of(a, e->digest) < 0)
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	if (add_targets(s, e, problem))
		return (int)problem->code;
	s->op.bytes += len;
	s->n++;
	return 0;
}

/* ---- Lines with the same key ---- */

static int compare_keys(const void *a, const void *b)
{
	const struct event *x = &((const struct new_event *)a)->event,
			   *y = &((const struct new_event *)b)->event;
	int order = strcmp(x->key, y->key);

	return order ? order : strcmp(x->tenant, y->tenant);
}

static void keep_node(void *node)
{
	(void)node; /* the events are the submission's */
}

static int find_repeats(struct submission *s, struct problem *problem)
{
	void *seen = NULL;
	int r = 0;

	for (size_t i = 0; i < s->n && r == 0; i++) {
		struct new_event *e = &s->events[i], **first;

		if (!e->event.key)
			continue;
		first = tsearch(e, &seen, compare_keys);
		if (!first) {
			r = problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
		} else if (*first != e &&
			memcmp((*first)->digest, e->digest, sizeof(e->digest)) == 0) {
			e->same_as = *first;
		} else if (*first != e) {
			r = problem_set(problem, PROBLEM_KEY_REUSED, "idempotency_key",
				"lines %u and %u have the same key, but another tenant, type or data",
				(*first)->line, e->line);
			problem->line = e->line;
		}
	}
	tdestroy(seen, keep_node);
	return r;
}

/* ---- The three forms ---- */

static bool has_media_type(const char *header, const char *type)
{
	size_t len = strcspn(header, "; \t");

	return len == strlen(type) && strncasecmp(header, type, len) == 0;
}

static int check_content_type(const char *type, struct problem *problem)
{
	if (text_is_visible(type, strlen(type), EVENT_CONTENT_TYPE_MAX, ' '))
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "Content-Type",
		"expected up to 255 visible ASCII characters");
}

/* The parameters of the query are the members of an envelope, without data. */
static int read_raw(struct submission *s, struct arriving *a, struct problem *problem)
{
	struct request *rq = s->request;
	const char *type = request_header(rq, "Content-Type"),
		   *key = request_header(rq, "Idempotency-Key");
	int r = 0;

	memset(a, 0, sizeof(*a));
	a->content_type = type ? type : "application/octet-stream";
	a->payload = (struct span){rq->body.bytes ? rq->body.bytes : "", rq->body.len};
	for (unsigned i = 0; i < rq->n_query && r == 0; i++)
		r = envelope_take_member(a, rq->query[i].name, rq->query[i].value,
			strlen(rq->query[i].value), s->wall_ms, problem);
	if (r == 0 && key)
		r = envelope_take_key(a, key, strlen(key), problem);
	if (r == 0)
		r = check_content_type(a->content_type, problem);
	if (r == 0 && type && has_media_type(type, "application/x-www-form-urlencoded") &&
		a->payload.len && (a->payload.at[0] == '{' || a->payload.at[0] == '['))
		r = problem_set(problem, PROBLEM_MEDIA_TYPE, "Content-Type",
			"the body looks like JSON and is labelled as a form; use curl --json, or -H 'Content-Type: ...'");
	return r;
}

static bool make_rooms(struct submission *s, size_t n)
{
	s->events = malloc(n * sizeof(*s->events));
	s->rooms = malloc(n * sizeof(*s->rooms));
	return s->events && s->rooms;
}

static int read_single(struct submission *s, struct problem *problem)
{
	struct request *rq = s->request;
	const char *type = request_header(rq, "Content-Type"),
		   *key = request_header(rq, "Idempotency-Key");
	struct arriving a = {.has_key = false};
	int r;

	if (!make_rooms(s, 1))
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	if (request_query(rq, "type")) {
		r = read_raw(s, &a, problem);
	} else if (!type || !has_media_type(type, "application/json")) {
		r = problem_set(problem, PROBLEM_MEDIA_TYPE, "Content-Type",
			"expected application/json (an envelope), application/x-ndjson (one a line), or ?type= in the query "
			"for a payload of any kind");
	} else if (rq->n_query) {
		r = problem_set(problem, PROBLEM_INVALID, rq->query[0].name,
			"an envelope has its members in the body; the query is for payloads sent with ?type=");
	} else {
		r = envelope_read(&a,
			(struct span){rq->body.bytes ? rq->body.bytes : "", rq->body.len},
			s->wall_ms, problem);
		if (r == 0 && key && a.has_key && strcmp(key, a.key) != 0)
			r = problem_set(problem, PROBLEM_INVALID, "idempotency_key",
				"the header Idempotency-Key says another key than the envelope");
		if (r == 0 && key)
			r = envelope_take_key(&a, key, strlen(key), problem);
	}
	return r ? r : add_event(s, &a, 0, problem);
}

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 1;

	for (const char *at = text; (at = memchr(at, '\n', len - (size_t)(at - text))); at++)
		n++;
	return n;
}

static int read_line(
	struct submission *s, struct span line, unsigned number, struct problem *problem)
{
	struct arriving a = {.has_key = false};
	int r;

	problem->line = 0;
	if (s->n == LINES_MAX)
		r = problem_set(problem, PROBLEM_TOO_LARGE, NULL,
			"more than %d events in one request", LINES_MAX);
	else
		r = envelope_read(&a, line, s->wall_ms, problem);
	if (r == 0)
		r = add_event(s, &a, number, problem);
	if (r)
		problem->line = number;
	return r;
}

static int read_batch(struct submission *s, struct problem *problem)
{
	struct request *rq = s->request;
	struct span rest = {rq->body.bytes ? rq->body.bytes : "", rq->body.len}, line;
	size_t n_lines = count_lines(rest.at, rest.len);
	unsigned number = 0;

	if (rq->n_query)
		return problem_set(problem, PROBLEM_INVALID, rq->query[0].name,
			"a batch takes no query parameters");
	if (request_header(rq, "Idempotency-Key"))
		return problem_set(problem, PROBLEM_INVALID, "Idempotency-Key",
			"one key cannot stand for many events; put \"idempotency_key\" in the lines");
	if (!make_rooms(s, n_lines < LINES_MAX ? n_lines : LINES_MAX))
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	while (envelope_next_line(&rest, &line, &number)) {
		int r = read_line(s, line, number, problem);

		if (r)
			return r;
	}
	if (s->n == 0)
		return problem_set(problem, PROBLEM_INVALID, NULL,
			"expected 1 to 1000 lines, each an envelope");
	return find_repeats(s, problem);
}

/* ---- The answer ---- */

#define RECEIPT_MAX 128 /* bytes of one, with the comma behind it */

static void put_number(struct byte_writer *w, uint32_t number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	put_text(w, text);
}

static void put_receipt(struct byte_writer *w, const struct new_event *e)
{
	char id[EVENT_ID_TEXT_SIZE];

	event_id_format(&e->id, id);
	put_text(w, "{\"id\":\"");
	put_text(w, id);
	put_text(w, "\",\"deliveries\":");
	put_number(w, e->n_deliveries);
	put_text(w, e->duplicate ? ",\"duplicate\":true}" : ",\"duplicate\":false}");
}

/* Written without jansson: of all that hookd says, this is what it says most often. Returns NULL
 * without memory. */
static char *write_receipts(const struct submission *s)
{
	struct byte_writer w = {.size = s->n * RECEIPT_MAX + sizeof("{\"items\":[]}\n")};

	w.at = malloc(w.size);
	if (!w.at)
		return NULL;
	if (s->batch)
		put_text(&w, "{\"items\":[");
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			put_text(&w, ",");
		put_receipt(&w, &s->events[i]);
	}
	put_text(&w, s->batch ? "]}\n" : "\n");
	put_u8(&w, '\0');
	assert(!w.overflow);
	return (char *)w.at;
}

static void count_refused(struct request *rq, enum problem_code code, size_t n)
{
	api_options(rq)->metrics->submitted[code] += n ? n : 1;
}

static void count_accepted(struct submission *s)
{
	struct metrics *metrics = api_options(s->request)->metrics;
	size_t n_new = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->events[i].duplicate)
			metrics->duplicates++;
		else
			n_new++;
		metrics->unmatched += !s->events[i].duplicate && s->events[i].n_deliveries == 0;
	}
	metrics->submitted[PROBLEM_NONE] += n_new;
	recent_add(
		&metrics->recent_accepted, clock_queue_ms(api_options(s->request)->clock), n_new);
}

static void answer_accepted(struct submission *s)
{
	count_accepted(s);
	answer_text(s->request, 202, "application/json", write_receipts(s));
}

/* The engine knows the endpoint by number only. */
static void name_full_endpoint(struct submission *s)
{
	struct slot *slot =
		registry_at(store_registry(api_options(s->request)->store), s->op.full_endpoint);
	char address[ENDPOINT_ADDRESS_SIZE] = "an endpoint";

	if (slot)
		endpoint_address(slot->settings, address);
	problem_set(&s->op.problem, PROBLEM_FULL, "endpoint",
		"%s is owed a quarter of the store's budget; it takes nothing more until it is delivered to, or purged "
		"(hookctl list -e %s)",
		address, address);
}

static void on_submitted(struct op *op)
{
	struct submission *s = (struct submission *)op;

	switch (op->result) {
	case ENGINE_OK:
		answer_accepted(s);
		break;
	case ENGINE_REFUSED:
		if (s->op.full_endpoint)
			name_full_endpoint(s);
		count_refused(s->request, s->op.problem.code, s->n);
		answer_problem(s->request, &s->op.problem);
		break;
	case ENGINE_NOT_FOUND:
	case ENGINE_BROKEN:
		count_refused(s->request, PROBLEM_UNKNOWN, s->n);
		refuse(s->request, PROBLEM_UNKNOWN, NULL,
			"the store failed: perhaps stored; submit again with the same idempotency key");
		break;
	}
	free_submission(s);
}

void handle_submit(struct request *rq)
{
	const char *type = request_header(rq, "Content-Type");
	struct clock *clock = api_options(rq)->clock;
	struct submission *s = calloc(1, sizeof(*s));
	struct problem problem = {.line = 0};
	size_t used = 0;
	int r;

	if (!s) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	s->request = rq;
	s->now_ms = clock_queue_ms(clock);
	s->now_as_wall_ms = clock_to_wall(clock, s->now_ms);
	s->wall_ms = clock_wall_ms(clock);
	s->batch =
		!request_query(rq, "type") && type && has_media_type(type, "application/x-ndjson");
	r = s->batch ? read_batch(s, &problem) : read_single(s, &problem);
	if (r) {
		count_refused(rq, problem.code, 1);
		answer_problem(rq, &problem);
		free_submission(s);
		return;
	}
	for (size_t i = 0; i < s->n; i++) {
		s->events[i].targets = s->targets + used;
		used += s->events[i].n_targets;
	}
	s->op.events = s->events;
	s->op.n = s->n;
	s->op.n_deliveries = s->n_targets;
	s->op.op.done = on_submitted;
	if (!store_submit(api_options(rq)->store, &s->op)) {
		count_refused(rq, PROBLEM_BUSY, s->n);
		refuse(rq, PROBLEM_BUSY, NULL, "the store is behind: try again");
		free_submission(s);
	}
}
