/* Endpoints: registering, changing, pausing, rotating secrets, trying them out, removing them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>

#include "../../lib/hookd.h"
#include "../name.h"
#include "endpoint_json.h"
#include "filters.h"
#include "handlers.h"
#include "json_in.h"
#include "render.h"

/* A change on its way: what was asked, until it is committed. */
struct changing {
	struct endpoint_edit edit; /* the first member */
	struct request *request;
	struct endpoint_room room;
	struct webhook_key key; /* a new secret */
	bool shows_secret;
	const char *reason;
	int64_t overlap_s;
	char name[NAME_MAX_LEN + 1];
	const char *action, *done; /* for the log: "pause", "paused" */
};

static struct slot *find_endpoint(struct request *rq)
{
	const char *tenant = request_query(rq, "tenant"), *name = rq->path_parameters[0];
	struct slot *slot =
		registry_find(store_registry(api_options(rq)->store), tenant ? tenant : "", name);

	if (!slot)
		refuse(rq, PROBLEM_NOT_FOUND, NULL, "there is no endpoint %.64s in %s%.64s", name,
			tenant && *tenant ? "tenant " : "the default tenant", tenant ? tenant : "");
	return slot;
}

static void free_change(struct changing *c)
{
	OPENSSL_cleanse(&c->key, sizeof(c->key));
	free(c);
}

/* ---- After the commit ---- */

static json_t *render_with_secret(struct changing *c, struct slot *slot)
{
	json_t *json = render_endpoint(api_options(c->request), slot);
	char secret[HOOKD_SECRET_SIZE];

	if (json && c->shows_secret && webhook_key_format(&c->key, secret, sizeof(secret)) == 0)
		json_object_set_new(json, "secret", json_string(secret));
	OPENSSL_cleanse(secret, sizeof(secret));
	return json;
}

static void on_changed(struct endpoint_edit *edit, struct slot *slot, const struct problem *problem)
{
	struct changing *c = (struct changing *)edit;
	char address[ENDPOINT_ADDRESS_SIZE];

	if (problem->code != PROBLEM_NONE) {
		answer_problem(c->request, problem);
		free_change(c);
		return;
	}
	endpoint_address(slot->settings, address);
	log_change(c->request, c->action, address, "%s endpoint %s%s%s", c->done, address,
		c->reason ? ": " : "", c->reason ? c->reason : "");
	if (slot->settings->removed)
		answer_nothing(c->request);
	else
		answer_json(c->request, edit->creates ? 201 : 200, render_with_secret(c, slot));
	free_change(c);
}

static struct changing *new_change(struct request *rq, uint32_t number,
	int (*apply)(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem),
	const char *action, const char *done)
{
	struct changing *c = calloc(1, sizeof(*c));

	if (!c) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return NULL;
	}
	c->edit = (struct endpoint_edit){.number = number, .apply = apply, .done = on_changed};
	c->request = rq;
	c->action = action;
	c->done = done;
	return c;
}

static void refuse_change(struct changing *c, const struct problem *problem)
{
	answer_problem(c->request, problem);
	free_change(c);
}

static int64_t now_ms(const struct changing *c)
{
	return clock_queue_ms(api_options(c->request)->clock);
}

/* ---- Creating ---- */

static void make_name(char name[static NAME_MAX_LEN + 1])
{
	struct event_id random = {{0}};
	char text[27];

	if (getrandom(random.bytes, sizeof(random.bytes), 0) < 0)
		random = event_id_first_of(0);
	event_id_format_bare(&random, text);
	snprintf(name, NAME_MAX_LEN + 1, "ep_%.16s", text + 10);
}

static int apply_create(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct changing *c = (struct changing *)edit;
	struct request *rq = c->request;
	const struct api_options *o = api_options(rq);
	struct registry *registry = store_registry(o->store);
	int r;

	c->room.types[0] = "*";
	draft->types = c->room.types;
	draft->n_types = 1;
	draft->description = "";
	r = endpoint_json_apply(
		rq->json, request_role(rq) == ROLE_ADMIN, o->config, draft, &c->room, problem);
	if (r)
		return r;
	if (!draft->tenant)
		draft->tenant = "";
	if (!draft->name) {
		make_name(c->name);
		draft->name = c->name;
	}
	if (registry_find(registry, draft->tenant, draft->name) ||
		store_creating(o->store, draft->tenant, draft->name))
		return problem_set(problem, PROBLEM_EXISTS, "name",
			"there is an endpoint of this name already");
	if (registry_count(registry, draft->tenant) +
			store_creating(o->store, draft->tenant, NULL) >=
		(size_t)o->config->intake.max_endpoints_per_tenant)
		return problem_set(problem, PROBLEM_FULL, "tenant",
			"this tenant has %lld endpoints, and may not have more ([intake] max_endpoints_per_tenant)",
			(long long)o->config->intake.max_endpoints_per_tenant);
	endpoint_rotate_secret(draft, &c->key, draft->created_ms, 0);
	return 0;
}

void handle_endpoint_create(struct request *rq)
{
	struct changing *c = new_change(rq, 0, apply_create, "add", "added");
	struct problem problem;

	if (!c)
		return;
	c->edit.creates = true;
	c->shows_secret = true;
	if (endpoint_json_secret(rq->json, &c->key, &problem)) {
		refuse_change(c, &problem);
		return;
	}
	store_edit(api_options(rq)->store, &c->edit);
}

/* ---- Changing ---- */

static int apply_patch(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct changing *c = (struct changing *)edit;
	struct request *rq = c->request;

	if (json_object_get(rq->json, "secret"))
		return problem_set(problem, PROBLEM_INVALID, "secret",
			"is changed by rotate-secret, not here");
	return endpoint_json_apply(rq->json, request_role(rq) == ROLE_ADMIN,
		api_options(rq)->config, draft, &c->room, problem);
}

void handle_endpoint_patch(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	struct changing *c = slot
		? new_change(rq, slot->settings->number, apply_patch, "change", "changed")
		: NULL;

	if (c)
		store_edit(api_options(rq)->store, &c->edit);
}

static int apply_remove(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	(void)edit;
	(void)problem;
	draft->removed = true;
	return 0;
}

void handle_endpoint_delete(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	struct changing *c = slot
		? new_change(rq, slot->settings->number, apply_remove, "remove", "removed")
		: NULL;

	if (c)
		store_edit(api_options(rq)->store, &c->edit);
}

static int apply_pause(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct changing *c = (struct changing *)edit;

	(void)problem;
	if (!draft->paused)
		draft->state_since_ms = now_ms(c);
	draft->paused = PAUSED_BY_REQUEST;
	draft->reason = c->reason;
	return 0;
}

void handle_endpoint_pause(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	const char *reason = NULL;
	struct problem problem;
	struct changing *c;

	if (!slot)
		return;
	if (rq->json &&
		(json_check_members(rq->json, "reason", &problem) ||
			json_get_text(
				rq->json, "reason", ENDPOINT_REASON_MAX, &reason, &problem))) {
		answer_problem(rq, &problem);
		return;
	}
	c = new_change(rq, slot->settings->number, apply_pause, "pause", "paused");
	if (!c)
		return;
	c->reason = reason;
	store_edit(api_options(rq)->store, &c->edit);
}

static int apply_resume(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct changing *c = (struct changing *)edit;

	if (draft->n_secrets == 0)
		return problem_set(problem, PROBLEM_INVALID, NULL,
			"it has no secret to sign with, because that cannot be opened: give it a new one first (rotate-secret)");
	if (draft->paused)
		draft->state_since_ms = now_ms(c);
	draft->paused = NOT_PAUSED;
	draft->reason = NULL;
	return 0;
}

void handle_endpoint_resume(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	struct problem problem;
	struct changing *c;

	if (!slot)
		return;
	if (rq->json && json_check_members(rq->json, "", &problem)) {
		answer_problem(rq, &problem);
		return;
	}
	c = new_change(rq, slot->settings->number, apply_resume, "resume", "resumed");
	if (c)
		store_edit(api_options(rq)->store, &c->edit);
}

/* ---- Secrets ---- */

static int apply_rotate(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct changing *c = (struct changing *)edit;
	int64_t now = now_ms(c);

	(void)problem;
	endpoint_rotate_secret(draft, &c->key, now, now + c->overlap_s * 1000);
	return 0;
}

void handle_endpoint_rotate_secret(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	struct problem problem;
	struct changing *c = slot ? new_change(rq, slot->settings->number, apply_rotate,
					    "rotate-secret", "rotated the secret of")
				  : NULL;
	int r = 0;

	if (!c)
		return;
	c->shows_secret = true;
	c->overlap_s = api_options(rq)->config->delivery.secret_overlap;
	if (rq->json)
		r = json_check_members(rq->json, "secret overlap_s", &problem);
	if (r == 0 && rq->json)
		r = json_get_integer(rq->json, "overlap_s", 0, 2592000, &c->overlap_s, &problem);
	if (r == 0)
		r = endpoint_json_secret(rq->json, &c->key, &problem);
	if (r) {
		refuse_change(c, &problem);
		return;
	}
	store_edit(api_options(rq)->store, &c->edit);
}

/* ---- Trying it out ---- */

struct trying {
	struct dispatch_test test; /* the first member */
	struct request *request;
};

static void on_tried(struct dispatch_test *test)
{
	struct trying *t = (struct trying *)test;

	if (test->story.attempt.result == RESULT_NONE)
		refuse(t->request, PROBLEM_BUSY, NULL, "no attempt could be made: %.*s",
			(int)test->story.message_len, test->story.message);
	else
		answer_json(t->request, 200, render_attempt(api_options(t->request), &test->story));
	free(t);
}

void handle_endpoint_test(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);
	struct trying *t = slot ? calloc(1, sizeof(*t)) : NULL;
	struct problem problem;

	if (!slot)
		return;
	if (!t) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	if (rq->json && json_check_members(rq->json, "", &problem)) {
		answer_problem(rq, &problem);
		free(t);
		return;
	}
	t->test.done = on_tried;
	t->request = rq;
	dispatch_test(api_options(rq)->dispatch, slot, &t->test);
}

/* ---- Looking ---- */

void handle_endpoint_get(struct request *rq)
{
	struct slot *slot = find_endpoint(rq);

	if (slot)
		answer_json(rq, 200, render_endpoint(api_options(rq), slot));
}

struct endpoint_filter {
	const char *tenant, *state, *health;
	bool oldest_first;
	size_t limit;
	uint32_t from; /* behind this number; 0: from the start */
	uint32_t digest;
};

static int parse_endpoint_filter(
	struct request *rq, struct endpoint_filter *f, struct problem *problem)
{
	const char *order = request_query(rq, "order"), *cursor = request_query(rq, "cursor");
	const char *digested[4];
	struct position position;
	int64_t until_ms;
	int r;

	*f = (struct endpoint_filter){.tenant = request_query(rq, "tenant"),
		.state = request_query(rq, "state"),
		.health = request_query(rq, "health")};
	digested[0] = f->tenant;
	digested[1] = f->state;
	digested[2] = f->health;
	digested[3] = order;
	f->digest = values_digest(digested, 4);
	r = parse_tenant(f->tenant, problem);
	if (r == 0 && f->state && strcmp(f->state, "active") != 0 &&
		strcmp(f->state, "paused") != 0)
		r = problem_set(problem, PROBLEM_INVALID, "state", "expected active or paused");
	if (r == 0 && f->health && strcmp(f->health, "untried") != 0 &&
		strcmp(f->health, "ok") != 0 && strcmp(f->health, "failing") != 0)
		r = problem_set(
			problem, PROBLEM_INVALID, "health", "expected untried, ok or failing");
	if (r == 0)
		r = parse_order(order, &f->oldest_first, problem);
	if (r == 0)
		r = parse_limit(request_query(rq, "limit"), 100, 1000, &f->limit, problem);
	if (r == 0 && cursor) {
		r = cursor_parse(cursor, f->digest, &position, &until_ms, problem);
		if (r == 0 && position.len != sizeof(f->from))
			r = cursor_refuse(problem);
		if (r == 0)
			memcpy(&f->from, position.bytes, sizeof(f->from));
	}
	return r;
}

static bool is_wanted(const struct endpoint_filter *f, const struct slot *slot)
{
	static const char *const healths[] = {
		[HEALTH_UNTRIED] = "untried", [HEALTH_OK] = "ok", [HEALTH_FAILING] = "failing"};
	const struct endpoint *e = slot->settings;

	return !e->removed && (!f->tenant || strcmp(f->tenant, e->tenant) == 0) &&
		(!f->state || strcmp(f->state, e->paused ? "paused" : "active") == 0) &&
		(!f->health || strcmp(f->health, healths[slot->health]) == 0);
}

/* The next wanted slot behind a number (0: the first), in the filter's order. */
static struct slot *next_wanted(
	struct registry *registry, const struct endpoint_filter *f, uint32_t behind)
{
	struct slot *slot;

	if (f->oldest_first) {
		for (slot = registry_next(registry, behind + 1); slot && !is_wanted(f, slot);)
			slot = registry_next(registry, slot->settings->number + 1);
		return slot;
	}
	for (slot = registry_previous(registry, behind ? behind - 1 : UINT32_MAX);
		slot && !is_wanted(f, slot);)
		slot = registry_previous(registry, slot->settings->number - 1);
	return slot;
}

void handle_endpoint_list(struct request *rq)
{
	struct registry *registry = store_registry(api_options(rq)->store);
	struct position position = {.len = sizeof(uint32_t)};
	struct endpoint_filter f;
	struct problem problem;
	struct slot *slot;
	json_t *items, *next = NULL;

	if (parse_endpoint_filter(rq, &f, &problem)) {
		answer_problem(rq, &problem);
		return;
	}
	items = json_array();
	for (slot = next_wanted(registry, &f, f.from); slot;
		slot = next_wanted(registry, &f, slot->settings->number)) {
		if (json_array_size(items) == f.limit) {
			next = cursor_render(&position, f.digest, 0);
			break;
		}
		json_array_append_new(items, render_endpoint(api_options(rq), slot));
		memcpy(position.bytes, &slot->settings->number, sizeof(uint32_t));
	}
	answer_json(rq, 200,
		json_pack("{s:o, s:o}", "items", items, "next", next ? next : json_null()));
}
