/* Events: single ones, their payload, and the list. */
#include <stdlib.h>
#include <string.h>

#include "filters.h"
#include "handlers.h"
#include "render.h"

#define MAX_EXAMINED 20000

/* A question to the store on behalf of a request. */
struct asking {
	struct store_query query; /* the first member */
	struct request *request;
	uint32_t digest;
};

static struct asking *ask_for(
	struct request *rq, enum query_kind kind, void (*done)(struct store_query *query))
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return NULL;
	}
	asking->query.kind = kind;
	asking->query.done = done;
	asking->request = rq;
	return asking;
}

static void no_such_event(struct request *rq)
{
	refuse(rq, PROBLEM_NOT_FOUND, NULL,
		"there is no event %.64s; it was never here, or was forgotten in time",
		rq->path_parameters[0]);
}

/* ---- One event ---- */

static void on_event(struct store_query *query)
{
	struct asking *asking = (struct asking *)query;
	struct event_row *row = &query->answer.event_row;

	if (query->result == ENGINE_OK && query->with_payload) {
		answer_bytes(asking->request, row->event->event.content_type, row->event->payload,
			row->event->event.payload_len);
		free(row->event);
	} else if (query->result == ENGINE_OK) {
		answer_json(asking->request, 200, render_event(api_options(asking->request), row));
		free(row->event);
	} else if (query->result == ENGINE_NOT_FOUND) {
		no_such_event(asking->request);
	} else {
		store_failed(asking->request);
	}
	free(asking);
}

static void get_event(struct request *rq, bool with_payload)
{
	const char *text = rq->path_parameters[0];
	struct asking *asking;
	struct event_id id;

	if (event_id_parse(text, strlen(text), &id) < 0) {
		no_such_event(rq);
		return;
	}
	asking = ask_for(rq, QUERY_EVENT, on_event);
	if (!asking)
		return;
	asking->query.ref.event = id;
	asking->query.with_payload = with_payload;
	store_ask(api_options(rq)->store, &asking->query);
}

void handle_event_get(struct request *rq)
{
	get_event(rq, false);
}

void handle_event_payload(struct request *rq)
{
	get_event(rq, true);
}

/* ---- The list ---- */

static void on_events(struct store_query *query)
{
	struct asking *asking = (struct asking *)query;
	struct event_page *page = &query->answer.event_page;
	json_t *items;

	if (query->result != ENGINE_OK) {
		store_failed(asking->request);
		free(asking);
		return;
	}
	items = json_array();
	for (size_t i = 0; i < page->n; i++)
		json_array_append_new(
			items, render_event(api_options(asking->request), &page->rows[i]));
	answer_json(asking->request, 200,
		json_pack("{s:o, s:o}", "items", items, "next",
			page->more
				? cursor_render(&page->next, asking->digest, query->events.until_ms)
				: json_null()));
	event_page_clear(page);
	free(asking);
}

static int parse_event_query(
	struct request *rq, struct event_query *q, uint32_t *digest, struct problem *problem)
{
	const char *since = request_query(rq, "since"), *until = request_query(rq, "until");
	const char *cursor = request_query(rq, "cursor"), *order = request_query(rq, "order");
	const char *digested[6];
	int r;

	*q = (struct event_query){.tenant = request_query(rq, "tenant"),
		.type = request_query(rq, "type"),
		.key = request_query(rq, "idempotency_key"),
		.since_ms = 0,
		.until_ms = INT64_MAX,
		.max_examined = MAX_EXAMINED};
	if (q->key && !q->tenant)
		q->tenant = "";
	digested[0] = q->tenant;
	digested[1] = q->type;
	digested[2] = since;
	digested[3] = until;
	digested[4] = order;
	digested[5] = q->key;
	*digest = values_digest(digested, 6);
	r = parse_tenant(q->tenant, problem);
	if (r == 0)
		r = parse_pattern(q->type, problem);
	if (r == 0 && q->key && (strlen(q->key) < 1 || strlen(q->key) > EVENT_KEY_MAX))
		r = problem_set(problem, PROBLEM_INVALID, "idempotency_key",
			"expected 1 to 255 characters");
	if (r == 0 && since)
		r = parse_time(rq, "since", since, &q->since_ms, problem);
	if (r == 0 && until)
		r = parse_time(rq, "until", until, &q->until_ms, problem);
	if (r == 0)
		r = parse_order(order, &q->oldest_first, problem);
	if (r == 0)
		r = parse_limit(request_query(rq, "limit"), 100, 1000, &q->limit, problem);
	if (r == 0 && cursor)
		r = cursor_parse(cursor, *digest, &q->from, &q->until_ms, problem);
	return r;
}

void handle_event_list(struct request *rq)
{
	struct event_query query;
	struct problem problem;
	struct asking *asking;
	uint32_t digest;

	if (parse_event_query(rq, &query, &digest, &problem)) {
		answer_problem(rq, &problem);
		return;
	}
	asking = ask_for(rq, QUERY_EVENTS, on_events);
	if (!asking)
		return;
	asking->query.events = query;
	asking->digest = digest;
	store_ask(api_options(rq)->store, &asking->query);
}
