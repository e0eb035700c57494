/*
 * The client half of libhookd: an event becomes one POST /v1/events, the answer a receipt.
 *
 * The promise that matters is which failures mean "not stored". A request that never left is a
 * negative errno; one that left and was not answered is HOOKD_UNKNOWN. Before that http.c repeats
 * it once, which is safe because every event carries an idempotency key, the caller's or one made
 * here.
 */
#include "hookd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <jansson.h>

#include "event_id.h"
#include "http.h"
#include "json_span.h"
#include "text.h"
#include "timestamp.h"

#ifndef HOOKD_VERSION
#error "HOOKD_VERSION comes from the build"
#endif

#define TIMEOUT_MS_DEFAULT 10000
#define BATCH_MAX 1000
#define TYPE_MAX 128
#define TENANT_MAX 64
#define KEY_MAX 255
#define CONTENT_TYPE_MAX 255

struct hookd_client {
	struct http_client *http;
	unsigned timeout_ms;
	struct event_id_source keys;
	char problem[512];
};

/* A growing text; failed stays set once memory was short, so that appends need no check of their
 * own. */
struct text {
	char *at;
	size_t len, size;
	bool failed;
};

static const struct {
	enum hookd_outcome outcome;
	const char *name;
} outcome_names[] = {
	{HOOKD_OK, "ok"},
	{HOOKD_MALFORMED, "malformed"},
	{HOOKD_INVALID, "invalid"},
	{HOOKD_FORBIDDEN, "forbidden"},
	{HOOKD_NOT_FOUND, "not_found"},
	{HOOKD_TOO_LARGE, "too_large"},
	{HOOKD_KEY_REUSED, "key_reused"},
	{HOOKD_BUSY, "busy"},
	{HOOKD_BUSY, "too_many"},
	{HOOKD_STOPPING, "stopping"},
	{HOOKD_FULL, "full"},
	{HOOKD_UNKNOWN, "unknown"},
	/* These the library does not provoke; met all the same, they are the request's fault. */
	{HOOKD_MALFORMED, "method"},
	{HOOKD_MALFORMED, "length"},
	{HOOKD_MALFORMED, "media_type"},
};

#define N_OUTCOME_NAMES (sizeof(outcome_names) / sizeof(outcome_names[0]))

const char *hookd_version(void)
{
	return HOOKD_VERSION;
}

const char *hookd_outcome_name(int outcome)
{
	for (size_t i = 0; i < N_OUTCOME_NAMES; i++) {
		if ((int)outcome_names[i].outcome == outcome)
			return outcome_names[i].name;
	}
	return "unexpected";
}

static int outcome_of_code(const char *code)
{
	for (size_t i = 0; i < N_OUTCOME_NAMES; i++) {
		if (strcmp(outcome_names[i].name, code) == 0)
			return (int)outcome_names[i].outcome;
	}
	return HOOKD_UNEXPECTED;
}

static void append(struct text *t, const void *bytes, size_t len)
{
	if (t->failed)
		return;
	if (len >= t->size - t->len) {
		size_t size = 2 * t->size + len + 256;
		char *grown = realloc(t->at, size);

		if (!grown) {
			t->failed = true;
			return;
		}
		t->at = grown;
		t->size = size;
	}
	memcpy(t->at + t->len, bytes, len);
	t->len += len;
	t->at[t->len] = '\0';
}

static void append_string(struct text *t, const char *string)
{
	append(t, string, strlen(string));
}

static void append_query(struct text *t, const char *name, const char *value)
{
	char *encoded = http_encode(value);

	if (!encoded) {
		t->failed = true;
		return;
	}
	append_string(t, t->len && strchr(t->at, '?') ? "&" : "?");
	append_string(t, name);
	append_string(t, "=");
	append_string(t, encoded);
	free(encoded);
}

static int on_json(const char *bytes, size_t len, void *text)
{
	append(text, bytes, len);
	return 0;
}

/* "name":"value" with JSON escapes, behind a comma unless it is the first. value is UTF-8. jansson
 * allocates nothing here that we would free: which functions it uses for that is the program's
 * choice (json_set_alloc_funcs()). */
static void append_member(struct text *t, const char *name, const char *value)
{
	json_t *string = json_string(value);

	append_string(t, t->len && t->at[t->len - 1] == '{' ? "\"" : ",\"");
	append_string(t, name);
	append_string(t, "\":");
	if (json_dump_callback(string, on_json, t, JSON_ENCODE_ANY) < 0)
		t->failed = true; /* out of memory */
	json_decref(string);
}

int hookd_client_new(struct hookd_client **client, const char *path)
{
	const char *directory = getenv("HOOKD_SOCKETS");
	struct hookd_client *c;
	char standard[256];
	int r;

	if (!path) {
		if (!directory || !*directory)
			directory = "/run/hookd";
		if (snprintf(standard, sizeof(standard), "%s/submit.sock", directory) >=
			(int)sizeof(standard))
			return -ENAMETOOLONG;
		path = standard;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->timeout_ms = TIMEOUT_MS_DEFAULT;
	r = http_client_new(&c->http, path);
	if (r < 0) {
		free(c);
		return r;
	}
	*client = c;
	return 0;
}

void hookd_client_free(struct hookd_client *client)
{
	if (!client)
		return;
	http_client_free(client->http);
	free(client);
}

void hookd_client_set_timeout(struct hookd_client *client, unsigned milliseconds)
{
	client->timeout_ms = milliseconds ? milliseconds : 1;
}

const char *hookd_client_problem(const struct hookd_client *client)
{
	return client->problem;
}

static int refuse(struct hookd_client *client, int outcome, const char *problem)
{
	snprintf(client->problem, sizeof(client->problem), "%s", problem);
	return outcome;
}

/* A key for an event without one; grows with time, see event_id.h. */
static int make_key(struct hookd_client *client, char key[static 27])
{
	struct timespec now;
	struct event_id id;
	uint8_t random[10];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	clock_gettime(CLOCK_REALTIME, &now);
	id = event_id_next(
		&client->keys, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, random);
	event_id_format_bare(&id, key);
	return 0;
}

/* A problem answer in words: 'detail (field "type", line 3)'. */
static int explain_problem(struct hookd_client *client, const struct http_answer *answer)
{
	json_t *problem = json_loadb(answer->body, answer->body_len, 0, NULL);
	const char *code = json_string_value(json_object_get(problem, "code"));
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *field = json_string_value(json_object_get(problem, "field"));
	json_int_t line = json_integer_value(json_object_get(problem, "line"));
	char where[96] = "";
	int outcome = code ? outcome_of_code(code) : HOOKD_UNEXPECTED;

	if (line > 0)
		snprintf(where, sizeof(where), "line %lld: ", (long long)line);
	if (!detail)
		snprintf(client->problem, sizeof(client->problem),
			"unexpected answer, HTTP status %d", answer->status);
	else if (field && !strstr(detail, field))
		snprintf(
			client->problem, sizeof(client->problem), "%s%s: %s", where, field, detail);
	else
		snprintf(client->problem, sizeof(client->problem), "%s%s", where, detail);
	json_decref(problem);
	return outcome;
}

static int exchange(
	struct hookd_client *client, const struct http_request *request, struct http_answer *answer)
{
	int r = http_exchange(client->http, request, client->timeout_ms, answer);

	if (r == HTTP_DONE) {
		client->problem[0] = '\0';
		return 0;
	}
	snprintf(client->problem, sizeof(client->problem), "%s", http_client_problem(client->http));
	return r == HTTP_BROKEN ? HOOKD_UNKNOWN : r;
}

static int read_receipt(json_t *answer, struct hookd_receipt *receipt)
{
	const char *id = json_string_value(json_object_get(answer, "id"));
	json_t *deliveries = json_object_get(answer, "deliveries");
	json_t *duplicate = json_object_get(answer, "duplicate");

	if (!id || strlen(id) >= sizeof(receipt->id) || !json_is_integer(deliveries) ||
		!json_is_boolean(duplicate))
		return HOOKD_UNEXPECTED;
	memcpy(receipt->id, id, strlen(id) + 1);
	receipt->deliveries = (uint32_t)json_integer_value(deliveries);
	receipt->duplicate = json_is_true(duplicate);
	return 0;
}

/* receipts of one answer: the object itself, or for a batch the members of "items". */
static int read_receipts(struct hookd_client *client, const struct http_answer *answer, bool batch,
	size_t n, struct hookd_receipt *receipts)
{
	json_t *root = json_loadb(answer->body, answer->body_len, 0, NULL);
	json_t *items = json_object_get(root, "items");
	int r = 0;

	if (batch && json_array_size(items) != n)
		r = HOOKD_UNEXPECTED;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_receipt(batch ? json_array_get(items, i) : root, &receipts[i]);
	json_decref(root);
	return r ? refuse(client, r, "hookd accepted, but its answer was not understood") : 0;
}

static int submit(struct hookd_client *client, const struct http_request *request, bool batch,
	size_t n, struct hookd_receipt *receipts)
{
	struct http_answer answer;
	int r = exchange(client, request, &answer);

	if (r)
		return r;
	if (answer.status != 202)
		r = explain_problem(client, &answer);
	else if (receipts)
		r = read_receipts(client, &answer, batch, n, receipts);
	http_answer_clear(&answer);
	return r;
}

/* hookd says itself which characters a type and a tenant are made of. Here they only have to be
 * text that fits a request: else there is no answer of hookd's. */
static bool fits(const char *text, size_t len_max)
{
	size_t len = strlen(text);

	return len <= len_max && text_is_utf8(text, len);
}

/* Is each member one that can be sent? What stands in the head of a request could end it there. */
static int check_members(struct hookd_client *client, const struct hookd_event *event)
{
	const char *key = event->idempotency_key, *media = event->content_type;

	if (!event->type || !event->payload)
		return refuse(client, -EINVAL, "type and payload are needed");
	if (!fits(event->type, TYPE_MAX))
		return refuse(
			client, HOOKD_INVALID, "type: expected 1 to 128 of A-Z a-z 0-9 _ - . : /");
	if (event->tenant && !fits(event->tenant, TENANT_MAX))
		return refuse(client, HOOKD_INVALID,
			"tenant: expected 1 to 64 of A-Z a-z 0-9 _ . -; or \"\" for the default tenant");
	if (key && !text_is_visible(key, strlen(key), KEY_MAX, '!'))
		return refuse(client, HOOKD_INVALID,
			"idempotency_key: expected 1 to 255 visible ASCII characters without spaces");
	if (media && !text_is_visible(media, strlen(media), CONTENT_TYPE_MAX, ' '))
		return refuse(client, HOOKD_INVALID,
			"content_type: expected a media type such as text/plain");
	return 0;
}

/* The payload goes into a text of ours as it is, so it has to be one JSON value and nothing behind
 * it. */
static int check_payload(
	struct hookd_client *client, const struct hookd_event *event, struct span *value)
{
	struct json_span_error error;

	if (json_span_member_value(
		    (struct span){event->payload, event->payload_len}, value, &error) == 0)
		return 0;
	snprintf(client->problem, sizeof(client->problem),
		"payload: not JSON: expected %s at byte %zu (set content_type to send other bytes)",
		error.expected, error.offset);
	return HOOKD_INVALID;
}

static void append_envelope(
	struct text *t, const struct hookd_event *event, const char *key, struct span payload)
{
	char time[TIMESTAMP_TEXT_SIZE];

	append_string(t, "{");
	append_member(t, "type", event->type);
	append_member(t, "idempotency_key", key);
	if (event->tenant)
		append_member(t, "tenant", event->tenant);
	if (event->timestamp_ms) {
		timestamp_format(event->timestamp_ms, time);
		append_member(t, "timestamp", time);
	}
	if (event->deliver_at_ms) {
		timestamp_format(event->deliver_at_ms, time);
		append_member(t, "deliver_at", time);
	}
	append_string(t, ",\"data\":");
	append(t, payload.at, payload.len);
	append_string(t, "}");
}

static int submit_raw(struct hookd_client *client, const struct hookd_event *event, const char *key,
	struct hookd_receipt *receipt)
{
	struct text target = {0};
	char time[TIMESTAMP_TEXT_SIZE];
	int r;

	append_string(&target, "/v1/events");
	append_query(&target, "type", event->type);
	if (event->tenant)
		append_query(&target, "tenant", event->tenant);
	if (event->timestamp_ms) {
		timestamp_format(event->timestamp_ms, time);
		append_query(&target, "timestamp", time);
	}
	if (event->deliver_at_ms) {
		timestamp_format(event->deliver_at_ms, time);
		append_query(&target, "deliver_at", time);
	}
	if (target.failed) {
		r = refuse(client, -ENOMEM, "out of memory");
	} else {
		struct http_request request = {.method = "POST",
			.target = target.at,
			.content_type = event->content_type,
			.idempotency_key = key,
			.body = event->payload,
			.body_len = event->payload_len,
			.is_keyed = true};

		r = submit(client, &request, false, 1, receipt);
	}
	free(target.at);
	return r;
}

static int submit_envelope(struct hookd_client *client, const struct hookd_event *event,
	const char *key, struct hookd_receipt *receipt)
{
	struct text body = {0};
	struct span payload;
	int r = check_payload(client, event, &payload);

	if (r)
		return r;
	append_envelope(&body, event, key, payload);
	if (body.failed) {
		r = refuse(client, -ENOMEM, "out of memory");
	} else {
		struct http_request request = {.method = "POST",
			.target = "/v1/events",
			.content_type = "application/json",
			.body = body.at,
			.body_len = body.len,
			.is_keyed = true};

		r = submit(client, &request, false, 1, receipt);
	}
	free(body.at);
	return r;
}

/* The event's key or, without one, a fresh one in room. NULL when there is no randomness. */
static const char *key_of(
	struct hookd_client *client, const struct hookd_event *event, char room[static 27])
{
	if (event->idempotency_key)
		return event->idempotency_key;
	return make_key(client, room) == 0 ? room : NULL;
}

int hookd_submit(
	struct hookd_client *client, const struct hookd_event *event, struct hookd_receipt *receipt)
{
	char room[27];
	const char *key;
	int r = check_members(client, event);

	if (r)
		return r;
	key = key_of(client, event, room);
	if (!key)
		return refuse(client, -EIO, "no random numbers from the kernel");
	if (event->content_type)
		return submit_raw(client, event, key, receipt);
	return submit_envelope(client, event, key, receipt);
}

/* The problem is that of one event of a batch; hookd counts from 1, too. */
static void name_line(struct hookd_client *client, size_t line)
{
	char words[sizeof(client->problem)];

	snprintf(words, sizeof(words), "line %zu: %s", line, client->problem);
	snprintf(client->problem, sizeof(client->problem), "%s", words);
}

static int append_line(
	struct hookd_client *client, struct text *body, const struct hookd_event *event)
{
	struct span payload;
	char room[27];
	const char *key;
	int r = check_members(client, event);

	if (r)
		return r;
	if (event->content_type)
		return refuse(client, -EINVAL,
			"content_type cannot be set in a batch: submit such events one by one");
	r = check_payload(client, event, &payload);
	if (r)
		return r;
	if (memchr(payload.at, '\n', payload.len) || memchr(payload.at, '\r', payload.len))
		return refuse(client, -EINVAL, "a payload in a batch must be JSON on one line");
	key = key_of(client, event, room);
	if (!key)
		return refuse(client, -EIO, "no random numbers from the kernel");
	append_envelope(body, event, key, payload);
	append_string(body, "\n");
	return body->failed ? refuse(client, -ENOMEM, "out of memory") : 0;
}

int hookd_submit_batch(struct hookd_client *client, const struct hookd_event *events, size_t n,
	struct hookd_receipt *receipts)
{
	struct text body = {0};
	int r = 0;

	if (n < 1 || n > BATCH_MAX)
		return refuse(client, -EINVAL, "a batch has 1 to 1000 events");
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = append_line(client, &body, &events[i]);
		if (r == HOOKD_INVALID || r == -EINVAL)
			name_line(client, i + 1);
	}
	if (r == 0) {
		struct http_request request = {.method = "POST",
			.target = "/v1/events",
			.content_type = "application/x-ndjson",
			.body = body.at,
			.body_len = body.len,
			.is_keyed = true};

		r = submit(client, &request, true, n, receipts);
	}
	free(body.at);
	return r;
}

int hookd_event_get(struct hookd_client *client, const char *id, struct hookd_event_info *info)
{
	struct http_answer answer;
	struct http_request request = {.method = "GET"};
	struct event_id parsed;
	char target[64];
	json_t *root, *states;
	int r;

	if (event_id_parse(id, strlen(id), &parsed) < 0)
		return refuse(client, HOOKD_NOT_FOUND,
			"not an event id: expected evt_ and 26 characters");
	snprintf(target, sizeof(target), "/v1/events/%s", id);
	request.target = target;
	r = exchange(client, &request, &answer);
	if (r)
		return r;
	if (answer.status != 200) {
		r = explain_problem(client, &answer);
		http_answer_clear(&answer);
		return r;
	}
	root = json_loadb(answer.body, answer.body_len, 0, NULL);
	states = json_object_get(root, "states");
	info->deliveries = (uint32_t)json_integer_value(json_object_get(root, "deliveries"));
	info->pending = (uint32_t)json_integer_value(json_object_get(states, "pending"));
	info->held = (uint32_t)json_integer_value(json_object_get(states, "held"));
	info->delivered = (uint32_t)json_integer_value(json_object_get(states, "delivered"));
	info->dead = (uint32_t)json_integer_value(json_object_get(states, "dead"));
	if (!states)
		r = refuse(client, HOOKD_UNEXPECTED, "hookd's answer was not understood");
	json_decref(root);
	http_answer_clear(&answer);
	return r;
}
