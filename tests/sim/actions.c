#include "actions.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/channel.h"
#include "check.h"
#include "dice.h"
#include "disk.h"
#include "hookd.h"
#include "kernel.h"
#include "limits.h"
#include "oracle.h"
#include "queue_time.h"
#include "receivers.h"
#include "worker.h"

#define EVENTS_MAX 4
#define KEYS_MAX 12
#define UNSURE_MAX 16
#define TARGETS_MAX 16
#define PAGE 64
#define DAY_MS 86400000

static const char *const tenants[] = {"", "acme", ""};
static const char *const types[] = {"order.paid", "order.lost", "user.new", POISON_TYPE};
static const char *const patterns[] = {"*", "order.*", "*", "*", "user.new"};

/* What was submitted, to be submitted again. */
struct draft {
	const char *tenant, *type;
	int key; /* -1: none */
	uint32_t content; /* its payload grows from this */
	uint32_t len;
	int64_t deliver_at_wall_ms;
};

static struct {
	struct draft keys[KEYS_MAX]; /* the last one of each */
	struct draft unsure[UNSURE_MAX]; /* perhaps stored */
	unsigned n_unsure;
	unsigned endpoints_max;
	uint32_t last_endpoint; /* the highest number */
	bool poisonous;
	int64_t pace_us;
	int64_t last_deliver_at_wall_ms;
	unsigned kill_in;
	unsigned open;
	bool calm;
} world;

unsigned actions_open(void)
{
	return world.open;
}

static void ask(const char *what)
{
	world.open++;
	trace("asked: %s", what);
}

static void hear(const char *what)
{
	world.open--;
	trace("%s: %s", hookd.answers ? "answered" : "not answered", what);
}

/* ---- Submitting ---- */

struct submission {
	struct submit_op op; /* the first member */
	struct new_event events[EVENTS_MAX];
	struct draft drafts[EVENTS_MAX];
	uint32_t targets[EVENTS_MAX][RECEIVERS_MAX];
	char keys[EVENTS_MAX][16];
	uint8_t *payloads[EVENTS_MAX];
};

static void remember_unsure(const struct draft *draft)
{
	if (draft->key >= 0 && world.n_unsure < UNSURE_MAX)
		world.unsure[world.n_unsure++] = *draft;
}

static void on_submitted(struct op *op)
{
	struct submission *s = (struct submission *)op;

	hear("submit");
	for (size_t i = 0; i < s->op.n; i++) {
		if (!hookd.answers || op->result == ENGINE_BROKEN)
			remember_unsure(&s->drafts[i]);
		else if (op->result == ENGINE_OK)
			oracle_acknowledged(&s->events[i].id);
		free(s->payloads[i]);
	}
	free(s);
}

static uint8_t *make_payload(uint32_t content, uint32_t len)
{
	uint8_t *bytes = malloc(len + 1);

	assert(bytes);
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(content = content * 1664525 + 1013904223);
	return bytes;
}

/* As api/intake.c does it. */
static void add_event(struct submission *s, const struct draft *draft)
{
	struct registry *registry = store_registry(hookd.store);
	int64_t now_ms = clock_queue_ms(&hookd.clock);
	int64_t ahead_ms = draft->deliver_at_wall_ms - clock_wall_ms(&hookd.clock);
	size_t i = s->op.n;
	struct new_event *e = &s->events[i];

	s->drafts[i] = *draft;
	snprintf(s->keys[i], sizeof(s->keys[i]), "key-%d", draft->key);
	s->payloads[i] = make_payload(draft->content, draft->len);
	*e = (struct new_event){.event = {.id = store_next_id(hookd.store, now_ms),
					.accepted_ms = now_ms,
					.timestamp_wall_ms = clock_to_wall(&hookd.clock, now_ms),
					.deliver_at_wall_ms = draft->deliver_at_wall_ms,
					.payload_len = draft->len,
					.tenant = draft->tenant,
					.type = draft->type,
					.content_type = "application/json",
					.key = draft->key >= 0 ? s->keys[i] : NULL},
		.due_ms = draft->deliver_at_wall_ms && ahead_ms > 0 ? now_ms + ahead_ms : now_ms,
		.line = (unsigned)i + 1,
		.targets = s->targets[i]};
	/* In up to three pieces, like an envelope. */
	for (size_t piece = 0, used = 0; piece < 3; piece++) {
		size_t n = piece == 2 ? draft->len - used
				      : (size_t)dice_between(0, (int64_t)(draft->len - used));

		e->payload[piece].at = s->payloads[i] + used;
		e->payload[piece].len = n;
		used += n;
	}
	memcpy(e->digest, &draft->content, sizeof(draft->content));
	memcpy(e->digest + 8, draft->type, strlen(draft->type));
	e->key_expires_ms = e->due_ms + hookd.config.retention.idempotency_keys * 1000;
	e->n_targets =
		(uint32_t)registry_targets(registry, draft->tenant, draft->type, s->targets[i]);
	s->op.n_deliveries += e->n_targets;
	s->op.bytes += draft->len;
	s->op.n++;
}

static bool has_key(const struct submission *s, const struct draft *draft)
{
	for (size_t i = 0; i < s->op.n; i++) {
		if (draft->key >= 0 && s->drafts[i].key == draft->key)
			return true;
	}
	return false;
}

static struct submission *new_submission(void)
{
	struct submission *s = calloc(1, sizeof(*s));

	assert(s);
	s->op.op.done = on_submitted;
	s->op.events = s->events;
	return s;
}

static void hand_in(struct submission *s)
{
	ask("submit");
	trace("%zu events are submitted", s->op.n);
	check(store_submit(hookd.store, &s->op), "a submit is not taken, though little waits");
}

static struct draft draft_event(void)
{
	struct draft draft = {.tenant = tenants[dice(3)],
		.type = types[dice(world.poisonous ? 4 : 3)],
		.key = dice(2) ? (int)dice(KEYS_MAX) : -1,
		.content = (uint32_t)dice_bits(),
		.len = (uint32_t)dice_spread(0, 2000)};

	if (dice_once_in(200))
		draft.len = CHANNEL_INLINE_MAX + 1 + dice(2000);
	if (dice_once_in(6))
		draft.deliver_at_wall_ms =
			kernel_wall_ms() + dice_spread(0, DAY_MS / 2) - dice_spread(0, 10000);
	if (draft.deliver_at_wall_ms > world.last_deliver_at_wall_ms)
		world.last_deliver_at_wall_ms = draft.deliver_at_wall_ms;
	if (draft.key < 0)
		return draft;
	draft.tenant = tenants[draft.key % 2];
	/* Half of those with a key repeat what went before under it. */
	if (dice(2) && world.keys[draft.key].type)
		draft = world.keys[draft.key];
	world.keys[draft.key] = draft;
	return draft;
}

static void submit(void)
{
	struct submission *s = new_submission();
	unsigned n = 1 + (unsigned)dice_spread(0, EVENTS_MAX - 1);

	cover("action: submit");
	while (n--) {
		struct draft draft = draft_event();

		if (!has_key(s, &draft))
			add_event(s, &draft);
	}
	hand_in(s);
}

/* A producer that got no answer submits again, with the same key. */
static void submit_again(void)
{
	struct submission *s;

	if (world.n_unsure == 0)
		return;
	cover("action: submit again what was not answered");
	s = new_submission();
	add_event(s, &world.unsure[--world.n_unsure]);
	hand_in(s);
}

static void submit_many(void)
{
	for (unsigned n = 2 + dice(20); n; n--)
		submit();
}

/* ---- Endpoints ---- */

enum change_kind { ADD, SET, PAUSE, RESUME, REMOVE, ROTATE };

struct change {
	struct endpoint_edit edit; /* the first member */
	enum change_kind kind;
	struct webhook_key key;
	char name[16], url[64];
	uint32_t waits_s[RETRY_WAITS_MAX];
	const char *type;
};

static void choose_key(struct webhook_key *key)
{
	key->len = 32;
	dice_fill(key->bytes, key->len);
}

static unsigned choose_schedule(uint32_t *waits_s)
{
	unsigned n = dice_once_in(8) ? 0 : 1 + (unsigned)dice_spread(0, 9);
	int64_t most_s = dice_once_in(10) ? 86400 : dice_spread(1, 7200);

	for (unsigned i = 0; i < n; i++)
		waits_s[i] = (uint32_t)dice_spread(1, most_s);
	return n;
}

static void choose_settings(struct change *c, struct endpoint *draft)
{
	if (dice_once_in(3)) {
		draft->n_retry_waits = choose_schedule(c->waits_s);
		draft->retry_waits_s = c->waits_s;
	}
	if (dice_once_in(4))
		draft->max_in_flight = 1 + dice(5);
	if (dice_once_in(6))
		draft->max_age_s = dice(2) ? dice_spread(1, 20000) : ENDPOINT_NONE;
	if (dice_once_in(4))
		draft->timeout_s = 1 + dice(30);
	if (dice_once_in(6)) {
		draft->rate_per_s = dice(2) ? (double)dice_spread(1, 100) / 10 : ENDPOINT_NONE;
		draft->burst = dice(4);
	}
	if (dice_once_in(3)) {
		snprintf(c->url, sizeof(c->url), "https://r%u.example/%u", draft->number,
			draft->revision);
		draft->url = c->url;
	}
}

static void create(struct change *c, struct endpoint *draft)
{
	snprintf(c->name, sizeof(c->name), "e%u", draft->number);
	snprintf(c->url, sizeof(c->url), "https://r%u.example/", draft->number);
	world.last_endpoint = draft->number;
	draft->tenant = tenants[dice(3)];
	draft->name = c->name;
	draft->url = c->url;
	draft->description = "";
	draft->types = &c->type;
	draft->n_types = 1;
	choose_settings(c, draft);
	endpoint_rotate_secret(draft, &c->key, draft->created_ms, 0);
}

static int apply_change(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct change *c = (struct change *)edit;
	int64_t now = clock_queue_ms(&hookd.clock);

	(void)problem;
	switch (c->kind) {
	case ADD:
		create(c, draft);
		break;
	case SET:
		choose_settings(c, draft);
		break;
	case PAUSE:
		draft->paused = PAUSED_BY_REQUEST;
		break;
	case RESUME:
		draft->paused = NOT_PAUSED;
		draft->reason = NULL;
		break;
	case REMOVE:
		draft->removed = true;
		break;
	case ROTATE:
		endpoint_rotate_secret(draft, &c->key, now, now + dice_spread(0, DAY_MS));
		break;
	}
	return 0;
}

static void on_changed(struct endpoint_edit *edit, struct slot *slot, const struct problem *problem)
{
	struct change *c = (struct change *)edit;

	hear("change");
	if (hookd.answers && problem->code == PROBLEM_NONE) {
		check(slot && (c->kind != PAUSE || slot->settings->paused) &&
				(c->kind != REMOVE || slot->settings->removed),
			"an endpoint's change is done, and is not in force");
		trace("the change of endpoint %u is done", edit->number);
	}
	free(c);
}

static void change(uint32_t endpoint, enum change_kind kind)
{
	static const char *const names[] = {
		"", "set", "paused", "resumed", "removed", "given a new secret"};
	struct change *c = calloc(1, sizeof(*c));

	assert(c);
	if (kind == ADD)
		trace("an endpoint is to be added");
	else
		trace("endpoint %u is to be %s", endpoint, names[kind]);
	c->edit = (struct endpoint_edit){.number = endpoint,
		.creates = kind == ADD,
		.apply = apply_change,
		.done = on_changed};
	c->kind = kind;
	c->type = patterns[dice(5)];
	choose_key(&c->key);
	ask("change");
	store_edit(hookd.store, &c->edit);
}

/* One that is there; 0: none. */
static uint32_t any_endpoint(void)
{
	struct registry *registry = store_registry(hookd.store);
	uint32_t chosen = 0, n = 0;

	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		if (!slot->settings->removed && dice(++n) == 0)
			chosen = slot->settings->number;
	}
	return chosen;
}

static void change_any(enum change_kind kind)
{
	uint32_t endpoint = any_endpoint();

	if (endpoint)
		change(endpoint, kind);
}

static void add(void)
{
	if (registry_total(store_registry(hookd.store)) >= world.endpoints_max ||
		world.last_endpoint + 1 >= RECEIVERS_MAX)
		return;
	cover("action: add an endpoint");
	change(0, ADD);
}

static void set(void)
{
	cover("action: set an endpoint");
	change_any(SET);
}

static void pause_one(void)
{
	cover("action: pause an endpoint");
	change_any(PAUSE);
}

static void resume_one(void)
{
	cover("action: resume an endpoint");
	change_any(RESUME);
}

static void kill_soon(void)
{
	cover("action: kill");
	if (dice(2))
		world.kill_in = 1 + (unsigned)dice_spread(0, 200);
	else
		disk_troubles.crashes_next = true;
}

static void remove_one(void)
{
	cover("action: remove an endpoint");
	change_any(REMOVE);
	if (dice_once_in(3))
		kill_soon(); /* while what it is owed dies */
}

static void rotate(void)
{
	cover("action: rotate a secret");
	change_any(ROTATE);
}

static void each_endpoint(enum change_kind kind)
{
	struct registry *registry = store_registry(hookd.store);

	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		if (!slot->settings->removed && (kind != RESUME || slot->settings->paused))
			change(slot->settings->number, kind);
	}
}

/* ---- Verbs ---- */

struct bulk {
	struct verb_op op; /* the first member */
	struct store_query query;
	struct delivery_ref refs[PAGE];
	uint32_t endpoint;
};

static void on_done(struct op *op)
{
	hear("verb");
	free((struct bulk *)op);
}

static struct bulk *new_bulk(void)
{
	struct bulk *b = calloc(1, sizeof(*b));

	assert(b);
	b->op.op.done = on_done;
	b->op.refs = b->refs;
	b->op.verb = dice(VERB_PURGE + 1);
	b->op.states = verb_default_states(b->op.verb);
	if (dice_once_in(3))
		b->op.states = verb_possible_states(b->op.verb) &
			(unsigned)dice_between(1 << DELIVERY_PENDING, ALL_STATES);
	ask("verb");
	return b;
}

static void verb_one(void)
{
	struct bulk *b = new_bulk();

	cover("action: a verb on one delivery");
	b->op.n = oracle_any(&b->refs[0]);
	trace("%s is asked for", verb_name(b->op.verb));
	store_verb(hookd.store, &b->op);
}

static void on_listed(struct store_query *query)
{
	struct bulk *b = (struct bulk *)(void *)((char *)query - offsetof(struct bulk, query));
	struct delivery_page *page = &query->answer.delivery_page;

	if (query->result != ENGINE_OK || !hookd.answers) {
		if (query->result == ENGINE_OK)
			delivery_page_clear(page);
		on_done(&b->op.op);
		return;
	}
	for (size_t i = 0; i < page->n; i++)
		b->refs[b->op.n++] = (struct delivery_ref){
			page->rows[i].delivery.event, page->rows[i].delivery.endpoint};
	delivery_page_clear(page);
	trace("%s is asked for, of %zu deliveries", verb_name(b->op.verb), b->op.n);
	store_verb(hookd.store, &b->op);
}

static void verb_many(void)
{
	struct bulk *b = new_bulk();

	cover("action: a verb on many deliveries");
	b->endpoint = any_endpoint();
	b->query.kind = QUERY_DELIVERIES;
	b->query.done = on_listed;
	b->query.deliveries = (struct delivery_query){.states = b->op.states,
		.any_endpoint = dice(2) || !b->endpoint,
		.endpoints = &b->endpoint,
		.n_endpoints = 1,
		.since_ms = INT64_MIN,
		.until_ms = INT64_MAX,
		.http_status_min = -1,
		.oldest_first = dice(2),
		.limit = 1 + (size_t)dice_spread(0, PAGE - 1),
		.max_examined = SIZE_MAX,
		.refs_only = true};
	store_ask(hookd.store, &b->query);
}

/* ---- All of hookd ---- */

static void on_switched(struct op *op)
{
	hear("switch all sending");
	free((struct sending_op *)op);
}

static void switch_sending(bool paused)
{
	struct sending_op *op = calloc(1, sizeof(*op));

	assert(op);
	trace("all sending is %s", paused ? "paused" : "resumed");
	op->op.done = on_switched;
	op->sending = (struct sending){.paused = paused};
	ask("switch all sending");
	limits_pause_all(paused);
	store_set_sending(hookd.store, op);
	dispatch_sending_changed(hookd.dispatch);
}

static void pause_or_resume_all(void)
{
	cover("action: pause or resume all sending");
	switch_sending(!store_sending(hookd.store)->paused && dice(3) == 0);
}

static void on_tried(struct dispatch_test *test)
{
	hear("try out");
	free(test);
}

static void try_out(void)
{
	uint32_t endpoint = any_endpoint();
	struct dispatch_test *test;

	if (!endpoint)
		return;
	cover("action: try an endpoint out");
	test = calloc(1, sizeof(*test));
	assert(test);
	test->done = on_tried;
	ask("try out");
	dispatch_test(hookd.dispatch, registry_at(store_registry(hookd.store), endpoint), test);
}

static void choose_config(struct config *c)
{
	int64_t count = c->senders.count;

	config_default(c);
	c->senders.count = count;
	c->senders.max_in_flight = 1 + dice_spread(0, 15);
	c->delivery.max_in_flight = 1 + dice_spread(0, 9);
	c->delivery.retry_after_max = dice_spread(1, 43200);
	c->delivery.rate = dice_once_in(6) ? (double)dice_spread(1, 50) : 0;
	c->delivery.max_age = dice_once_in(6) ? dice_spread(1, 100000) : 0;
	if (dice(10))
		c->delivery.retry_schedule.n = choose_schedule(c->delivery.retry_schedule.waits_s);
	c->retention.delivered = dice_spread(60, 86400);
	c->retention.dead = dice_spread(60, 86400);
	c->retention.idempotency_keys = dice_spread(60, 86400);
}

static void reload(void)
{
	cover("action: reload");
	choose_config(&hookd.next_config);
	hookd_reload();
}

static void stop(void)
{
	cover("action: stop");
	disk_troubles.crashes_next = false;
	disk_troubles.breaks_next = NOTHING;
	hookd_begin_stop();
}

/* ---- The world ---- */

static void change_receiver(void)
{
	cover("action: a receiver's mood");
	receiver_change(1 + dice(world.last_endpoint ? world.last_endpoint : 1));
}

static void trouble_senders(void)
{
	cover("action: trouble with senders");
	switch (dice(7)) {
	case 0:
		worker_hang_any();
		break;
	case 1:
		worker_troubles.cannot_start = dice(2);
		break;
	case 2:
		worker_troubles.dies_at_start = dice(2);
		break;
	case 3:
		worker_troubles.dies_once_in = dice(2) ? 1 + dice(40) : 0;
		break;
	case 4:
		worker_troubles.lacks_once_in = dice(2) ? 1 + dice(20) : 0;
		break;
	default:
		worker_kill_any();
		break;
	}
}

static void trouble_disk(void)
{
	cover("action: trouble with the disk");
	switch (dice(5)) {
	case 0:
		disk_troubles.full = dice(2);
		break;
	case 1:
		disk_troubles.pressed = dice_once_in(4);
		break;
	case 2:
		disk_troubles.slowest_us = dice_spread(2, 3000000);
		break;
	case 3:
		disk_troubles.damages_once_in = dice_once_in(4) ? 50 : 0;
		break;
	case 4:
		disk_troubles.breaks_next = dice_once_in(3) ? 1 + dice(CLAIM) : NOTHING;
		break;
	}
	trace("the disk is %s%s%s, commits take up to %lld us",
		disk_troubles.full ? "full" : "not full", disk_troubles.pressed ? ", pressed" : "",
		disk_troubles.breaks_next ? ", about to break" : "",
		(long long)disk_troubles.slowest_us);
}

static void set_clock(void)
{
	static const int64_t steps_ms[] = {
		-DAY_MS, DAY_MS, -3600000, 3600000, -1000, 1000, -1, 27 * (int64_t)DAY_MS};
	int64_t step_ms = steps_ms[dice(8)];

	cover("action: step the wall clock");
	trace("the wall clock is set by %lld ms", (long long)step_ms);
	kernel_step_wall(step_ms);
}

static void sleep_machine(void)
{
	int64_t ms = dice_spread(1, DAY_MS);

	cover("action: suspend the machine");
	trace("the machine sleeps for %lld ms", (long long)ms);
	kernel_sleep(ms);
}

static void change_file(void)
{
	cover("action: change a file that senders read");
	kernel_change_file();
}

static const struct {
	unsigned weight;
	void (*act)(void);
	bool needs_hookd;
} actions[] = {
	{40, submit, true},
	{3, submit_many, true},
	{8, submit_again, true},
	{5, add, true},
	{5, set, true},
	{4, pause_one, true},
	{6, resume_one, true},
	{1, remove_one, true},
	{2, rotate, true},
	{20, verb_one, true},
	{8, verb_many, true},
	{3, pause_or_resume_all, true},
	{2, try_out, true},
	{2, reload, true},
	{1, stop, true},
	{2, kill_soon, true},
	{14, change_receiver, false},
	{10, trouble_senders, false},
	{8, trouble_disk, false},
	{3, set_clock, false},
	{1, change_file, false},
	{2, sleep_machine, false},
};
#define N_ACTIONS (sizeof(actions) / sizeof(actions[0]))

bool actions_act(void)
{
	unsigned sum = 0, chosen;

	for (size_t i = 0; i < N_ACTIONS; i++)
		sum += actions[i].weight;
	chosen = dice(sum);
	for (size_t i = 0; i < N_ACTIONS; i++) {
		if (chosen < actions[i].weight) {
			if (hookd.state != HOOKD_UP && actions[i].needs_hookd)
				return false;
			actions[i].act();
			return true;
		}
		chosen -= actions[i].weight;
	}
	return false;
}

int64_t actions_pause_us(void)
{
	return dice_spread(0, world.pace_us);
}

int64_t actions_downtime_us(void)
{
	return dice_once_in(5) ? dice_spread(1000, (int64_t)3 * 86400 * 1000000)
			       : dice_spread(1000, 5000000);
}

unsigned actions_kill_in(void)
{
	unsigned in = world.kill_in;

	world.kill_in = 0;
	return in;
}

/* ---- Life ---- */

void actions_reset(void)
{
	memset(&world, 0, sizeof(world));
}

void actions_begin(void)
{
	hookd.next_config.senders.count = 1 + dice(3);
	choose_config(&hookd.next_config);
	hookd.box.has_previous = false;
	memset(&hookd.box.current, 7, sizeof(hookd.box.current));
	world.endpoints_max = 1 + dice(8);
	world.poisonous = dice_once_in(3);
	world.pace_us = dice_spread(1000, 600 * (int64_t)1000000);
	receivers_calm();
}

void actions_add_endpoints(void)
{
	for (unsigned n = 1 + dice(world.endpoints_max); n; n--)
		add();
}

void actions_calm(void)
{
	int64_t right_ms = queue_ms();

	trace("from now on all is well");
	receivers_calm();
	worker_troubles = (struct worker_troubles){.harmless = true};
	disk_troubles = (struct disk_troubles){.slowest_us = 1000};
	world.kill_in = 0;
	/* No deliver_at is ahead any more, and the wall clock is not behind. */
	if (world.last_deliver_at_wall_ms > right_ms)
		right_ms = world.last_deliver_at_wall_ms;
	if (kernel_wall_ms() < right_ms)
		kernel_step_wall(right_ms - kernel_wall_ms());
	each_endpoint(RESUME);
	if (store_sending(hookd.store)->paused)
		switch_sending(false);
}
