/*
 * Deliveries: the list, single ones with their history, and the verbs of people.
 *
 * A verb works in two steps: the deliveries that are meant are found as a list would find them,
 * then the store applies the verb to each, looking at its state once more. What is named by ids is
 * found event by event, and when that has become many, the verb is applied before more are looked
 * for: an event may have a hundred thousand deliveries.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters.h"
#include "handlers.h"
#include "json_in.h"
#include "render.h"

#define IDS_MAX 1000
#define BULK_DEFAULT 1000
#define BULK_MAX 10000

/* ---- The list ---- */

struct listing {
	struct store_query query; /* the first member */
	struct request *request;
	struct filter filter;
};

static void on_listed(struct store_query *query)
{
	struct listing *l = (struct listing *)query;
	struct delivery_page *page = &query->answer.delivery_page;
	json_t *items;

	if (query->result != ENGINE_OK) {
		store_failed(l->request);
	} else {
		items = json_array();
		for (size_t i = 0; i < page->n; i++) {
			json_t *item = render_delivery(api_options(l->request),
				&page->rows[i].delivery, page->rows[i].type, page->rows[i].story);

			if (json_is_null(item))
				json_decref(item);
			else
				json_array_append_new(items, item);
		}
		answer_json(l->request, 200,
			json_pack("{s:o, s:o}", "items", items, "next",
				page->more ? cursor_render(&page->next, l->filter.digest,
						     l->filter.query.until_ms)
					   : json_null()));
		delivery_page_clear(page);
	}
	filter_clear(&l->filter);
	free(l);
}

static struct filter_values values_of_query(const struct request *rq)
{
	return (struct filter_values){.event = request_query(rq, "event"),
		.tenant = request_query(rq, "tenant"),
		.endpoint = request_query(rq, "endpoint"),
		.type = request_query(rq, "type"),
		.state = request_query(rq, "state"),
		.since = request_query(rq, "since"),
		.until = request_query(rq, "until"),
		.http_status = request_query(rq, "http_status"),
		.error = request_query(rq, "error"),
		.order = request_query(rq, "order"),
		.limit = request_query(rq, "limit"),
		.cursor = request_query(rq, "cursor")};
}

void handle_delivery_list(struct request *rq)
{
	static const struct filter_rules rules = {ALL_STATES, 100, 1000};
	struct filter_values values = values_of_query(rq);
	struct listing *l = calloc(1, sizeof(*l));
	struct problem problem;

	if (!l) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	if (filter_parse(rq, &values, &rules, &l->filter, &problem)) {
		answer_problem(rq, &problem);
		filter_clear(&l->filter);
		free(l);
		return;
	}
	l->request = rq;
	l->query.kind = QUERY_DELIVERIES;
	l->query.done = on_listed;
	l->query.deliveries = l->filter.query;
	store_ask(api_options(rq)->store, &l->query);
}

/* ---- Finding deliveries by event and name ---- */

/* The deliveries of one event, of which those to an endpoint of that name are meant (NULL: all). */
struct finding {
	struct store_query query; /* the first member */
	/* A page of them, others among them; find_more() gives the next. NULL: the store failed. */
	void (*found)(struct finding *finding, const struct delivery_page *page);
	struct store *store;
	struct event_id event;
	const char *name;
};

static void on_found(struct store_query *query)
{
	struct finding *f = (struct finding *)query;
	struct delivery_page page = query->answer.delivery_page;
	bool ok = query->result == ENGINE_OK;

	f->found(f, ok ? &page : NULL); /* may free f, or ask anew with it */
	if (ok)
		delivery_page_clear(&page);
}

static void find_all(struct finding *f)
{
	f->query.kind = QUERY_DELIVERIES;
	f->query.done = on_found;
	f->query.deliveries = (struct delivery_query){.one_event = true,
		.event = f->event,
		.states = ALL_STATES,
		.any_endpoint = true,
		.since_ms = INT64_MIN,
		.until_ms = INT64_MAX,
		.http_status_min = -1,
		.limit = BULK_MAX,
		.max_examined = 10 * BULK_MAX,
		.refs_only = true};
	store_ask(f->store, &f->query);
}

static void find_more(struct finding *f, const struct position *from)
{
	f->query.deliveries.from = *from;
	store_ask(f->store, &f->query);
}

static void on_looked_up(struct store_query *query)
{
	struct finding *f = (struct finding *)query;
	struct delivery_row row = {.delivery = query->answer.history.delivery};
	struct delivery_page page = {.rows = &row, .n = 1};

	if (query->result == ENGINE_NOT_FOUND) {
		find_all(f);
		return;
	}
	if (query->result == ENGINE_OK)
		free(query->answer.history.stories);
	f->found(f, query->result == ENGINE_OK ? &page : NULL);
}

/* The event knows the tenant, and with that the name leads to the endpoint of now. */
static void on_event_of_name(struct store_query *query)
{
	struct finding *f = (struct finding *)query;
	struct stored_event *event = query->answer.event_row.event;
	struct slot *slot = NULL;

	if (query->result == ENGINE_OK) {
		slot = registry_find(store_registry(f->store), event->event.tenant, f->name);
		free(event);
	}
	if (slot) {
		f->query.kind = QUERY_HISTORY;
		f->query.done = on_looked_up;
		f->query.ref = (struct delivery_ref){f->event, slot->settings->number};
		store_ask(f->store, &f->query);
	} else if (query->result == ENGINE_BROKEN) {
		f->found(f, NULL);
	} else {
		find_all(f);
	}
}

/* A delivery with a name is looked up; where that does not lead to it, because its endpoint was
 * removed or its event is damaged, it is looked for among all. */
static void find_deliveries(struct finding *f)
{
	if (!f->name) {
		find_all(f);
		return;
	}
	f->query.kind = QUERY_EVENT;
	f->query.done = on_event_of_name;
	f->query.ref.event = f->event;
	store_ask(f->store, &f->query);
}

static bool is_meant(const struct finding *f, const struct delivery *d)
{
	struct slot *slot = registry_at(store_registry(f->store), d->endpoint);

	return slot && (!f->name || strcmp(slot->settings->name, f->name) == 0);
}

/* ---- One delivery ---- */

struct getting {
	struct finding finding; /* the first member */
	struct store_query history;
	struct request *request;
};

static json_t *render_history(const struct api_options *o, const struct history *h)
{
	json_t *list = json_array();

	for (size_t i = 0; i < h->n; i++)
		json_array_append_new(list, render_attempt(o, &h->stories[i]));
	/* A success at the first try has no story of its own. */
	if (h->n == 0 && h->delivery.last.number)
		json_array_append_new(list, render_last_attempt(o, &h->delivery.last, NULL));
	return list;
}

static void no_such_delivery(struct request *rq)
{
	refuse(rq, PROBLEM_NOT_FOUND, NULL, "there is no delivery %.64s/%.64s",
		rq->path_parameters[0], rq->path_parameters[1]);
}

static void on_history(struct store_query *query)
{
	struct getting *g =
		(struct getting *)(void *)((char *)query - offsetof(struct getting, history));
	const struct api_options *o = api_options(g->request);
	struct history *h = &query->answer.history;

	if (query->result == ENGINE_OK) {
		struct attempt_story *last = h->n ? &h->stories[h->n - 1] : NULL;
		json_t *json = render_delivery(o, &h->delivery, h->type, last);

		if (json_is_null(json)) {
			json_decref(json);
			no_such_delivery(g->request);
		} else {
			json_object_set_new(json, "history", render_history(o, h));
			answer_json(g->request, 200, json);
		}
		free(h->stories);
	} else if (query->result == ENGINE_NOT_FOUND) {
		no_such_delivery(g->request);
	} else {
		store_failed(g->request);
	}
	free(g);
}

static void on_delivery_found(struct finding *finding, const struct delivery_page *page)
{
	struct getting *g = (struct getting *)finding;

	for (size_t i = 0; page && i < page->n; i++) {
		const struct delivery *d = &page->rows[i].delivery;

		if (!is_meant(finding, d))
			continue;
		g->history.kind = QUERY_HISTORY;
		g->history.done = on_history;
		g->history.ref = (struct delivery_ref){d->event, d->endpoint};
		store_ask(finding->store, &g->history);
		return;
	}
	if (page && page->more) {
		find_more(finding, &page->next);
		return;
	}
	if (page)
		no_such_delivery(g->request);
	else
		store_failed(g->request);
	free(g);
}

void handle_delivery_get(struct request *rq)
{
	const char *event = rq->path_parameters[0], *name = rq->path_parameters[1];
	struct getting *g;
	struct event_id id;

	if (event_id_parse(event, strlen(event), &id) < 0) {
		no_such_delivery(rq);
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	g->request = rq;
	g->finding.found = on_delivery_found;
	g->finding.store = api_options(rq)->store;
	g->finding.event = id;
	g->finding.name = name;
	find_deliveries(&g->finding);
}

/* ---- Verbs ---- */

struct bulk {
	struct verb_op op; /* the first member */
	struct finding finding; /* of ids */
	struct store_query event; /* of ids of events without deliveries */
	struct store_query query; /* of filters */
	struct request *request;
	struct filter filter;
	char http_status[16], limit[16]; /* numbers as texts */
	const json_t *ids;
	size_t at_id, n_of_id; /* the one that is looked for, and what was found of it */
	struct position more_of_id; /* len 0: there is no more of it */
	bool dry_run, is_applied; /* perhaps, and in part */
	size_t refs_size, n_would_change, n_changed, n_matched;
	json_t *not_found, *next;
};

static struct bulk *bulk_of_query(struct store_query *query)
{
	return (struct bulk *)(void *)((char *)query - offsetof(struct bulk, query));
}

static struct bulk *bulk_of_finding(struct finding *finding)
{
	return (struct bulk *)(void *)((char *)finding - offsetof(struct bulk, finding));
}

static void free_bulk(struct bulk *b)
{
	filter_clear(&b->filter);
	free(b->op.refs);
	json_decref(b->not_found);
	json_decref(b->next);
	free(b);
}

static bool append_ref(struct bulk *b, const struct event_id *event, uint32_t endpoint)
{
	if (b->op.n == b->refs_size) {
		size_t size = b->refs_size ? 2 * b->refs_size : 256;
		struct delivery_ref *grown = realloc(b->op.refs, size * sizeof(*grown));

		if (!grown)
			return false;
		b->op.refs = grown;
		b->refs_size = size;
	}
	b->op.refs[b->op.n++] = (struct delivery_ref){*event, endpoint};
	b->n_matched++;
	return true;
}

static bool add_ref(struct bulk *b, const struct delivery *d)
{
	struct slot *slot =
		registry_at(store_registry(api_options(b->request)->store), d->endpoint);
	bool removed = !slot || slot->settings->removed;
	struct delivery copy = *d;

	b->n_would_change += delivery_apply_verb(&copy, b->op.verb, b->op.states, removed, 0) !=
		DELIVERY_UNCHANGED;
	return append_ref(b, &d->event, d->endpoint);
}

static bool add_event(struct bulk *b, const struct event_id *event)
{
	b->n_would_change++;
	return append_ref(b, event, 0);
}

static json_t *take(json_t **json)
{
	json_t *taken = *json;

	*json = NULL;
	return taken;
}

/* What is left of the words of a filter, for the log. */
static void describe(const struct bulk *b, char *text, size_t size)
{
	static const char *const names[] = {"event", "state", "tenant", "endpoint", "type", "since",
		"until", "http_status", "error"};
	const json_t *body = b->request->json;
	size_t used = 0;

	text[0] = '\0';
	if (b->ids) {
		snprintf(text, size, "%zu ids", json_array_size(b->ids));
		return;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && used < size; i++) {
		const json_t *member = json_object_get(body, names[i]);
		const char *value =
			json_is_integer(member) ? b->http_status : json_string_value(member);

		if (value)
			used += (size_t)snprintf(text + used, size - used, "%s%s %s",
				used ? ", " : "", names[i], value);
	}
	if (!used)
		snprintf(text, size, "all");
}

static void log_bulk(const struct bulk *b)
{
	static const char *const past[N_VERBS] = {
		"replayed", "held", "released", "cancelled", "purged", ""};
	const char *endpoint = json_string_value(json_object_get(b->request->json, "endpoint"));
	const char *tenant = json_string_value(json_object_get(b->request->json, "tenant"));
	char what[256], address[ENDPOINT_ADDRESS_SIZE];

	if (b->n_changed == 0)
		return;
	describe(b, what, sizeof(what));
	snprintf(address, sizeof(address), "%s%s%s", tenant ? tenant : "",
		tenant && *tenant ? "/" : "", endpoint ? endpoint : "");
	log_change(b->request, verb_name(b->op.verb), endpoint ? address : NULL,
		"%s %zu deliveries: %s", past[b->op.verb], b->n_changed, what);
}

static void fail_bulk(struct bulk *b)
{
	log_bulk(b); /* what was done before */
	if (b->is_applied)
		refuse(b->request, PROBLEM_UNKNOWN, NULL, "the store failed: perhaps changed");
	else
		store_failed(b->request);
	free_bulk(b);
}

static void answer_bulk(struct bulk *b)
{
	log_bulk(b);
	answer_json(b->request, 200,
		json_pack("{s:I, s:I, s:o, s:o}", "matched", (json_int_t)b->n_matched, "changed",
			(json_int_t)(b->dry_run ? b->n_would_change : b->n_changed), "not_found",
			take(&b->not_found), "next", take(&b->next)));
	free_bulk(b);
}

static void next_id(struct bulk *b);

/* What has been found is done. */
static void go_on(struct bulk *b)
{
	b->op.n = 0;
	if (b->ids) {
		next_id(b);
		return;
	}
	answer_bulk(b);
}

static void on_applied(struct op *op)
{
	struct bulk *b = (struct bulk *)op;

	if (op->result != ENGINE_OK) {
		fail_bulk(b);
		return;
	}
	if (b->op.verb == VERB_CANCEL)
		api_options(b->request)->metrics->finished[DELIVERY_DEAD] += b->op.n_changed;
	b->n_changed += b->op.n_changed;
	go_on(b);
}

/* To what has been found so far. */
static void apply_bulk(struct bulk *b)
{
	if (b->dry_run || b->op.n == 0) {
		go_on(b);
		return;
	}
	b->is_applied = true;
	b->op.op.done = on_applied;
	store_verb(api_options(b->request)->store, &b->op);
}

/* By filters: one page of the list. */
static void on_page(struct store_query *query)
{
	struct bulk *b = bulk_of_query(query);
	struct delivery_page *page = &query->answer.delivery_page;
	bool ok = query->result == ENGINE_OK;

	for (size_t i = 0; ok && i < page->n; i++)
		ok = add_ref(b, &page->rows[i].delivery);
	if (query->result == ENGINE_OK) {
		if (page->more)
			b->next = cursor_render(
				&page->next, b->filter.digest, b->filter.query.until_ms);
		delivery_page_clear(page);
	}
	if (!b->next)
		b->next = json_null();
	if (ok)
		apply_bulk(b);
	else
		fail_bulk(b);
}

/* By ids: event by event. */
static void not_found(struct bulk *b)
{
	json_array_append(b->not_found, json_array_get(b->ids, b->at_id++));
	next_id(b);
}

/* An event without deliveries has only itself to lose. */
static void on_event_found(struct store_query *query)
{
	struct bulk *b = (struct bulk *)(void *)((char *)query - offsetof(struct bulk, event));

	if (query->result == ENGINE_NOT_FOUND) {
		not_found(b);
		return;
	}
	if (query->result == ENGINE_OK)
		free(query->answer.event_row.event);
	/* It is in no state. */
	if (query->result != ENGINE_OK ||
		(b->op.verb == VERB_PURGE && !b->filter.names_states &&
			!add_event(b, &query->ref.event))) {
		fail_bulk(b);
		return;
	}
	b->at_id++;
	next_id(b);
}

static void on_id_found(struct finding *finding, const struct delivery_page *page)
{
	struct bulk *b = bulk_of_finding(finding);
	bool ok = page != NULL;

	for (size_t i = 0; ok && i < page->n; i++) {
		const struct delivery *d = &page->rows[i].delivery;

		if (!is_meant(finding, d))
			continue;
		b->n_of_id++;
		if (d->since_ms <= b->filter.query.until_ms)
			ok = add_ref(b, d);
	}
	if (!ok) {
		fail_bulk(b);
		return;
	}
	b->more_of_id.len = 0;
	if (page->more && !(finding->name && b->n_of_id)) {
		b->more_of_id = page->next;
		next_id(b);
	} else if (b->n_of_id) {
		b->at_id++;
		next_id(b);
	} else if (finding->name) {
		not_found(b);
	} else {
		b->event.kind = QUERY_EVENT;
		b->event.done = on_event_found;
		b->event.ref.event = finding->event;
		store_ask(finding->store, &b->event);
	}
}

/* Goes on with what is named by ids, until all of it is found and done. */
static void next_id(struct bulk *b)
{
	if (b->op.n >= BULK_MAX) {
		apply_bulk(b);
		return;
	}
	if (b->more_of_id.len) {
		find_more(&b->finding, &b->more_of_id);
		return;
	}
	while (b->at_id < json_array_size(b->ids)) {
		const char *text = json_string_value(json_array_get(b->ids, b->at_id));
		const char *slash = strchr(text, '/');
		struct event_id id;

		if (event_id_parse(text, slash ? (size_t)(slash - text) : strlen(text), &id) == 0) {
			b->finding.found = on_id_found;
			b->finding.store = api_options(b->request)->store;
			b->finding.event = id;
			b->finding.name = slash ? slash + 1 : NULL;
			b->n_of_id = 0;
			find_deliveries(&b->finding);
			return;
		}
		json_array_append(b->not_found, json_array_get(b->ids, b->at_id++));
	}
	if (b->op.n) {
		apply_bulk(b);
		return;
	}
	b->next = json_null();
	answer_bulk(b);
}

/* A member that is text in the list's query; numbers are fine where a number is meant. */
static int get_value(const json_t *body, const char *name, char *room, size_t room_size,
	const char **value, struct problem *problem)
{
	const json_t *member = json_object_get(body, name);

	if (json_is_integer(member) && room) {
		snprintf(room, room_size, "%lld", (long long)json_integer_value(member));
		*value = room;
		return 0;
	}
	return json_get_text(body, name, 512, value, problem);
}

static int parse_bulk_values(struct bulk *b, struct filter_values *v, struct problem *problem)
{
	const json_t *body = b->request->json;
	struct {
		const char *name;
		const char **value;
		char *room;
	} members[] = {{"event", &v->event, NULL}, {"tenant", &v->tenant, NULL},
		{"endpoint", &v->endpoint, NULL}, {"type", &v->type, NULL},
		{"state", &v->state, NULL}, {"since", &v->since, NULL}, {"until", &v->until, NULL},
		{"http_status", &v->http_status, b->http_status}, {"error", &v->error, NULL},
		{"order", &v->order, NULL}, {"limit", &v->limit, b->limit},
		{"cursor", &v->cursor, NULL}};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		int r = get_value(body, members[i].name, members[i].room, sizeof(b->limit),
			members[i].value, problem);

		if (r)
			return r;
	}
	return 0;
}

static int check_ids(const json_t *ids, struct problem *problem)
{
	size_t n = json_array_size(ids);
	bool ok = json_is_array(ids) && n >= 1 && n <= IDS_MAX;

	for (size_t i = 0; ok && i < n; i++)
		ok = json_is_string(json_array_get(ids, i));
	if (ok)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "ids",
		"expected 1 to %d ids of events (evt_...) or deliveries (evt_.../ENDPOINT)",
		IDS_MAX);
}

static int check_states(struct bulk *b, struct problem *problem)
{
	unsigned possible = verb_possible_states(b->op.verb);
	char list[64] = "";

	if ((b->op.states & ~possible) == 0)
		return 0;
	for (int state = DELIVERY_PENDING; state <= DELIVERY_DEAD; state++) {
		if (possible & STATE_BIT(state))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
				list[0] ? ", " : "",
				delivery_state_name((enum delivery_state)state));
	}
	return problem_set(problem, PROBLEM_INVALID, "state", "%s works on %s only",
		verb_name(b->op.verb), list);
}

static int parse_bulk(struct bulk *b, struct problem *problem)
{
	static const struct filter_rules rules = {ALL_STATES, BULK_DEFAULT, BULK_MAX};
	const json_t *body = b->request->json;
	struct filter_values values = {0};
	bool all = false;
	int r = json_check_members(body,
		"event tenant endpoint type state since until http_status error order limit cursor ids all dry_run",
		problem);

	b->ids = json_object_get(body, "ids");
	if (json_is_null(b->ids))
		b->ids = NULL;
	if (r == 0)
		r = json_get_bool(body, "all", &all, problem);
	if (r == 0)
		r = json_get_bool(body, "dry_run", &b->dry_run, problem);
	if (r == 0 && b->ids)
		r = check_ids(b->ids, problem);
	if (r == 0)
		r = parse_bulk_values(b, &values, problem);
	if (r == 0)
		r = filter_parse(b->request, &values, &rules, &b->filter, problem);
	if (r)
		return r;
	if (!b->ids && !b->filter.any && !all)
		return problem_set(problem, PROBLEM_INVALID, NULL,
			"say which deliveries: \"ids\", one of the filters, or \"all\": true");
	if (b->ids &&
		(all || values.event || values.tenant || values.endpoint || values.type ||
			values.since || values.http_status || values.error || values.cursor))
		return problem_set(problem, PROBLEM_INVALID, "ids",
			"goes with \"state\", \"until\" and \"dry_run\" alone");
	b->op.states =
		b->filter.names_states ? b->filter.query.states : verb_default_states(b->op.verb);
	b->filter.query.states = b->op.states;
	return check_states(b, problem);
}

static void start_bulk(struct request *rq, enum verb verb)
{
	struct bulk *b = calloc(1, sizeof(*b));
	struct problem problem;

	if (!b || !(b->not_found = json_array())) {
		free(b);
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	b->request = rq;
	b->op.verb = verb;
	if (parse_bulk(b, &problem)) {
		answer_problem(rq, &problem);
		free_bulk(b);
		return;
	}
	if (b->ids) {
		next_id(b);
		return;
	}
	/* What comes into its state while slices go by is for another call. */
	if (b->filter.query.until_ms == INT64_MAX)
		b->filter.query.until_ms = clock_queue_ms(api_options(rq)->clock) - 1;
	b->filter.query.refs_only = true;
	b->query.kind = QUERY_DELIVERIES;
	b->query.done = on_page;
	b->query.deliveries = b->filter.query;
	store_ask(api_options(rq)->store, &b->query);
}

void handle_replay(struct request *rq)
{
	start_bulk(rq, VERB_REPLAY);
}

void handle_hold(struct request *rq)
{
	start_bulk(rq, VERB_HOLD);
}

void handle_release(struct request *rq)
{
	start_bulk(rq, VERB_RELEASE);
}

void handle_cancel(struct request *rq)
{
	start_bulk(rq, VERB_CANCEL);
}

void handle_purge(struct request *rq)
{
	start_bulk(rq, VERB_PURGE);
}
