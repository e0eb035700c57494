#include "filters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "../../lib/timestamp.h"
#include "../bytes.h"
#include "../name.h"

#define CURSOR_VERSION 1
#define CURSOR_HEAD (1 + 4 + 8)
#define MAX_EXAMINED 20000

/* ---- Single values ---- */

int parse_time(struct request *rq, const char *field, const char *text, int64_t *queue_ms,
	struct problem *problem)
{
	int64_t wall_ms;

	if (timestamp_parse(text, strlen(text), &wall_ms) < 0)
		return problem_set(problem, PROBLEM_INVALID, field,
			"expected a time such as 2026-11-22T01:58:12Z (RFC 3339), not \"%.64s\"",
			text);
	*queue_ms = clock_to_queue(api_options(rq)->clock, wall_ms);
	return 0;
}

int parse_limit(
	const char *text, size_t by_default, size_t max, size_t *limit, struct problem *problem)
{
	*limit = by_default;
	if (!text)
		return 0;
	if (*text && strlen(text) <= 6 && strspn(text, "0123456789") == strlen(text))
		*limit = strtoul(text, NULL, 10);
	else
		*limit = 0;
	if (*limit >= 1 && *limit <= max)
		return 0;
	return problem_set(
		problem, PROBLEM_INVALID, "limit", "expected a whole number from 1 to %zu", max);
}

int parse_order(const char *text, bool *oldest_first, struct problem *problem)
{
	*oldest_first = text && strcmp(text, "oldest") == 0;
	if (!text || *oldest_first || strcmp(text, "newest") == 0)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "order", "expected newest or oldest");
}

int parse_tenant(const char *text, struct problem *problem)
{
	if (!text || !*text || name_is_valid(text, strlen(text)))
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "tenant",
		"expected %s; or nothing for the default tenant", name_rule);
}

int parse_pattern(const char *text, struct problem *problem)
{
	if (!text || pattern_is_valid(text, strlen(text)))
		return 0;
	return problem_set(
		problem, PROBLEM_INVALID, "type", "expected a pattern: %s", pattern_rule);
}

static int parse_states(const char *text, unsigned *states, struct problem *problem)
{
	char copy[64], *rest, *word;

	*states = 0;
	if (strlen(text) < sizeof(copy)) {
		memcpy(copy, text, strlen(text) + 1);
		for (word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
			int state = delivery_state_parse(word);

			if (state < 0) {
				*states = 0;
				break;
			}
			*states |= STATE_BIT(state);
		}
	}
	if (*states)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "state",
		"expected some of pending, held, delivered, dead, separated by commas");
}

static int parse_http_status(const char *text, struct delivery_query *q, struct problem *problem)
{
	if (strcmp(text, "none") == 0) {
		q->http_status_min = q->http_status_max = 0;
		return 0;
	}
	if (strlen(text) == 3 && text[0] >= '1' && text[0] <= '9') {
		int class = (text[0] - '0') * 100;

		if (strcmp(text + 1, "xx") == 0) {
			q->http_status_min = class;
			q->http_status_max = class + 99;
			return 0;
		}
		if (strspn(text, "0123456789") == 3) {
			q->http_status_min = q->http_status_max = atoi(text);
			return 0;
		}
	}
	return problem_set(problem, PROBLEM_INVALID, "http_status",
		"expected a status such as 503, a class such as 5xx, or none");
}

static int parse_error(const char *text, struct delivery_query *q, struct problem *problem)
{
	int result = attempt_result_parse(text);

	if (result > 0) {
		q->result = (enum attempt_result)result;
		return 0;
	}
	return problem_set(problem, PROBLEM_INVALID, "error",
		"expected one of ok, status, dns, address, connect, tls, timeout, protocol");
}

static int parse_event(const char *text, struct delivery_query *q, struct problem *problem)
{
	q->one_event = true;
	if (event_id_parse(text, strlen(text), &q->event) == 0)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "event",
		"expected an event's id: evt_ and 26 characters");
}

/* ---- Cursors ---- */

uint32_t values_digest(const char *const *values, size_t n)
{
	XXH64_hash_t digest = 0;

	for (size_t i = 0; i < n; i++) {
		digest = XXH3_64bits_withSeed(
			values[i] ? values[i] : "", values[i] ? strlen(values[i]) + 1 : 0, digest);
	}
	return (uint32_t)digest;
}

json_t *cursor_render(const struct position *position, uint32_t digest, int64_t until_ms)
{
	uint8_t bytes[CURSOR_HEAD + POSITION_MAX] = {0};
	struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};
	char text[2 * sizeof(bytes) + 1];

	put_u8(&w, CURSOR_VERSION);
	put_u32(&w, digest);
	put_i64(&w, until_ms);
	put_bytes(&w, position->bytes, position->len);
	for (size_t i = 0; i < w.used; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return json_string(text);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int cursor_refuse(struct problem *problem)
{
	return problem_set(
		problem, PROBLEM_INVALID, "cursor", "expected the \"next\" of an earlier answer");
}

int cursor_parse(const char *text, uint32_t digest, struct position *position, int64_t *until_ms,
	struct problem *problem)
{
	uint8_t bytes[CURSOR_HEAD + POSITION_MAX];
	size_t len = strlen(text) / 2;
	struct byte_reader r;
	bool ok = strlen(text) % 2 == 0 && len > CURSOR_HEAD && len <= sizeof(bytes);

	for (size_t i = 0; ok && i < len; i++) {
		int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);

		ok = high >= 0 && low >= 0;
		if (ok)
			bytes[i] = (uint8_t)(16 * high + low);
	}
	if (ok) {
		r = (struct byte_reader){bytes, bytes + len, false};
		ok = get_u8(&r) == CURSOR_VERSION;
		if (ok && get_u32(&r) != digest)
			return problem_set(problem, PROBLEM_INVALID, "cursor",
				"this cursor belongs to a list with other filters; repeat the call with the same ones");
		*until_ms = get_i64(&r);
		position->len = (uint8_t)(len - CURSOR_HEAD);
		memcpy(position->bytes, r.at, position->len);
	}
	return ok ? 0 : cursor_refuse(problem);
}

/* ---- Filters ---- */

/* Which endpoints are meant, as numbers: removed ones too, their dead letters keep the name. */
static int find_endpoints(struct request *rq, const struct filter_values *v, struct filter *f,
	struct problem *problem)
{
	f->query.any_endpoint = !v->tenant && !v->endpoint;
	if (f->query.any_endpoint)
		return 0;
	f->endpoints = registry_numbers(store_registry(api_options(rq)->store), v->tenant,
		v->endpoint, &f->query.n_endpoints);
	f->query.endpoints = f->endpoints;
	return f->endpoints ? 0
			    : problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
}

static int parse_values(struct request *rq, const struct filter_values *v, struct filter *f,
	struct problem *problem)
{
	struct delivery_query *q = &f->query;
	int r = parse_tenant(v->tenant, problem);

	if (r == 0 && v->endpoint && !name_is_valid(v->endpoint, strlen(v->endpoint)))
		r = problem_set(
			problem, PROBLEM_INVALID, "endpoint", "expected a name: %s", name_rule);
	if (r == 0)
		r = parse_pattern(v->type, problem);
	if (r == 0 && v->event)
		r = parse_event(v->event, q, problem);
	if (r == 0 && v->state)
		r = parse_states(v->state, &q->states, problem);
	if (r == 0 && v->since)
		r = parse_time(rq, "since", v->since, &q->since_ms, problem);
	if (r == 0 && v->until)
		r = parse_time(rq, "until", v->until, &q->until_ms, problem);
	if (r == 0 && v->http_status)
		r = parse_http_status(v->http_status, q, problem);
	if (r == 0 && v->error)
		r = parse_error(v->error, q, problem);
	return r == 0 ? parse_order(v->order, &q->oldest_first, problem) : r;
}

int filter_parse(struct request *rq, const struct filter_values *v,
	const struct filter_rules *rules, struct filter *f, struct problem *problem)
{
	const char *digested[] = {v->event, v->tenant, v->endpoint, v->type, v->state, v->since,
		v->until, v->http_status, v->error, v->order};
	int r;

	*f = (struct filter){.query = {.states = rules->default_states,
				     .type = v->type,
				     .since_ms = INT64_MIN,
				     .until_ms = INT64_MAX,
				     .http_status_min = -1,
				     .max_examined = MAX_EXAMINED},
		.any = v->event || v->tenant || v->endpoint || v->type || v->state || v->since ||
			v->until || v->http_status || v->error,
		.names_states = v->state != NULL,
		.digest = values_digest(digested, sizeof(digested) / sizeof(digested[0]))};
	r = parse_values(rq, v, f, problem);
	if (r == 0)
		r = parse_limit(
			v->limit, rules->default_limit, rules->max_limit, &f->query.limit, problem);
	if (r == 0 && v->cursor)
		r = cursor_parse(v->cursor, f->digest, &f->query.from, &f->query.until_ms, problem);
	if (r == 0)
		r = find_endpoints(rq, v, f, problem);
	return r;
}

void filter_clear(struct filter *f)
{
	free(f->endpoints);
	f->endpoints = NULL;
}
