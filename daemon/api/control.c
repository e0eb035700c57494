/* hookd as a whole: health, status, all sending, backups, the master key, and the shape of the
 * backlog. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "filters.h"
#include "handlers.h"
#include "json_in.h"
#include "render.h"
#include "totals.h"

#define LATE_MS 10000
#define BUDGET_LOW 0.9
#define BACKLOG_ROWS_MAX 200000
#define BACKLOG_ITEMS_MAX 1000

/* ---- Health ---- */

static void answer_health(struct request *rq, const struct engine_stats *stats)
{
	if (stats->would_accept)
		answer_json(rq, 200, json_pack("{s:b}", "accepting", 1));
	else
		refuse(rq, PROBLEM_FULL, NULL, "%s", stats->refusal);
}

void handle_health(struct request *rq)
{
	with_stats(rq, answer_health);
}

/* ---- Status ---- */

static const char *const trouble_names[N_TROUBLES] = {
	[TROUBLE_REFUSING] = "refusing",
	[TROUBLE_BUDGET] = "budget_low",
	[TROUBLE_DISK] = "disk_low",
	[TROUBLE_SENDERS] = "senders_down",
	[TROUBLE_DNS] = "no_dns",
	[TROUBLE_LOCAL] = "cannot_send",
	[TROUBLE_PAUSED] = "sending_paused",
	[TROUBLE_LATE] = "late",
	[TROUBLE_DAMAGED] = "damaged",
	[TROUBLE_LOCKED] = "secrets_locked",
	[TROUBLE_READER] = "old_reader",
};

/* Adds the problem to the list if it is there, and remembers since when it has been. */
__attribute__((format(printf, 5, 6))) static void look_at(
	struct request *rq, json_t *list, enum trouble trouble, bool there, const char *format, ...)
{
	const struct api_options *o = api_options(rq);
	int64_t *since = &api_troubles(rq)[trouble];
	char message[512];
	va_list arguments;

	if (!there) {
		*since = 0;
		return;
	}
	if (!*since)
		*since = clock_queue_ms(o->clock);
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	json_array_append_new(list,
		json_pack("{s:s, s:o, s:s}", "code", trouble_names[trouble], "since",
			render_time(o, *since), "message", message));
}

/* "acme/billing and 2 others" */
static void describe_locked(const struct totals *t, char text[static ENDPOINT_ADDRESS_SIZE + 32])
{
	size_t len;

	text[0] = '\0';
	if (!t->locked)
		return;
	endpoint_address(t->first_locked->settings, text);
	len = strlen(text);
	if (t->locked > 1)
		snprintf(text + len, 32, " and %u others", t->locked - 1);
}

static json_t *render_problems(struct request *rq, const struct engine_stats *stats,
	const struct dispatch_numbers *numbers, const struct totals *t)
{
	char locked[ENDPOINT_ADDRESS_SIZE + 32];
	const struct api_options *o = api_options(rq);
	const struct sending *sending = store_sending(o->store);
	int64_t budget = o->config->store.budget, floor = o->config->store.min_free_disk;
	int64_t *since = api_troubles(rq);
	json_t *list = json_array();

	look_at(rq, list, TROUBLE_REFUSING, !stats->would_accept, "new events are refused: %s",
		stats->refusal);
	look_at(rq, list, TROUBLE_BUDGET,
		stats->would_accept && (double)stats->used_bytes > BUDGET_LOW * (double)budget,
		"%lld %% of the store's budget are used",
		(long long)(stats->used_bytes * 100 / budget));
	look_at(rq, list, TROUBLE_DISK,
		stats->would_accept && stats->disk_free_bytes < floor + floor / 4,
		"the disk has %lld MiB free; below %lld MiB new events are refused",
		(long long)(stats->disk_free_bytes >> 20), (long long)(floor >> 20));
	look_at(rq, list, TROUBLE_SENDERS, numbers->senders_running < numbers->senders_wanted,
		"%u of %u senders run%s%s; they are started again", numbers->senders_running,
		numbers->senders_wanted, numbers->senders_problem[0] ? ": " : "",
		numbers->senders_problem);
	look_at(rq, list, TROUBLE_DNS, numbers->fault == FAULT_RESOLVER,
		"no DNS server answers; attempts wait, at no cost");
	look_at(rq, list, TROUBLE_LOCAL, numbers->fault && numbers->fault != FAULT_RESOLVER,
		"attempts cannot be made: %s; they wait, at no cost",
		local_fault_text(numbers->fault));
	if (sending->paused && sending->since_ms)
		since[TROUBLE_PAUSED] = sending->since_ms;
	look_at(rq, list, TROUBLE_PAUSED, sending->paused,
		"all sending is paused%s%s (hookctl resume --all)", sending->reason[0] ? ": " : "",
		sending->reason);
	look_at(rq, list, TROUBLE_LATE, numbers->late_ms > LATE_MS,
		"attempts start %lld s late: every sender is busy ([senders])",
		(long long)(numbers->late_ms / 1000));
	if (o->metrics->damaged && !since[TROUBLE_DAMAGED])
		since[TROUBLE_DAMAGED] = o->metrics->damaged_ms;
	look_at(rq, list, TROUBLE_DAMAGED, o->metrics->damaged > 0 || stats->damaged,
		"%llu events were found damaged on disk (stop hookd, hookd --check-data)%s",
		(unsigned long long)o->metrics->damaged,
		stats->damaged
			? "; a restart of hookd makes the data file anew from what is sound in it"
			: "");
	describe_locked(t, locked);
	look_at(rq, list, TROUBLE_LOCKED, t->locked > 0,
		"the secret of %s cannot be opened, and nothing is sent there (hookctl endpoint rotate-secret)",
		locked);
	look_at(rq, list, TROUBLE_READER, stats->held_bytes > budget / 8,
		"process %ld reads an old state of the data file, %llu transactions behind: %lld MiB that are free cannot be "
		"used again",
		stats->reader_pid, (unsigned long long)stats->reader_lag,
		(long long)(stats->held_bytes >> 20));
	return list;
}

/* null: there is no other key. */
static json_t *render_master_key(const struct api_options *o, const struct totals *t)
{
	const struct secretbox *box = o->box;
	struct rekey_state state = rekey_state(o->rekey);
	char current[SECRETBOX_KEY_ID_SIZE], previous[SECRETBOX_KEY_ID_SIZE] = "";

	secretbox_key_id_format(box->current.id, current);
	if (box->has_previous)
		secretbox_key_id_format(box->previous.id, previous);
	return json_pack("{s:s, s:s, s:o, s:i, s:b}", "id", current, "source",
		box->current.is_credential ? "credential" : "file", "previous_id",
		previous[0] ? json_string(previous) : json_null(), "sealed_with_previous",
		(int)t->with_old_key, "previous_is_spare", (int)state.credential_is_spare);
}

static json_t *render_sending(const struct api_options *o)
{
	const struct sending *sending = store_sending(o->store);

	return json_pack("{s:s, s:o, s:o}", "state", sending->paused ? "paused" : "on", "since",
		sending->since_ms ? render_time(o, sending->since_ms)
				  : render_wall_time(o->started_wall_ms),
		"reason", sending->reason[0] ? json_string(sending->reason) : json_null());
}

static uint64_t sum_refused(const struct metrics *m)
{
	uint64_t sum = 0;

	for (int code = PROBLEM_NONE + 1; code < N_PROBLEM_CODES; code++)
		sum += m->submitted[code];
	return sum;
}

static json_t *render_status(struct request *rq, const struct engine_stats *stats)
{
	const struct api_options *o = api_options(rq);
	struct dispatch_numbers numbers = dispatch_numbers(o->dispatch);
	struct totals t = totals_of(store_registry(o->store));
	int64_t now = clock_queue_ms(o->clock);
	struct metrics *m = o->metrics;
	json_t *sending = render_sending(o), *worst = json_array();

	json_object_set_new(sending, "in_flight", json_integer(numbers.in_flight));
	json_object_set_new(sending, "attempts_5m",
		json_integer((json_int_t)recent_sum(&m->recent_attempts, now)));
	json_object_set_new(
		sending, "ok_5m", json_integer((json_int_t)recent_sum(&m->recent_ok, now)));
	json_object_set_new(sending, "late_s", json_integer(numbers.late_ms / 1000));
	for (size_t i = 0; i < t.n_worst; i++)
		json_array_append_new(worst, render_endpoint(o, t.worst[i]));
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:{s:b, s:o, s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:o, s:o},"
		" s:{s:I, s:I, s:I, s:f}, s:{s:i, s:i, s:i}, s:{s:i, s:i, s:I}, s:o, s:o}",
		"version", HOOKD_VERSION, "started_at", render_wall_time(o->started_wall_ms),
		"problems", render_problems(rq, stats, &numbers, &t), "sending", sending,
		/* intake */
		"intake", "accepting", (int)stats->would_accept, "code",
		stats->would_accept ? json_null() : json_string(problem_name(PROBLEM_FULL)),
		"accepted_5m", (json_int_t)recent_sum(&m->recent_accepted, now), "accepted_total",
		(json_int_t)m->submitted[PROBLEM_NONE], "duplicates_total",
		(json_int_t)m->duplicates, "refused_total", (json_int_t)sum_refused(m),
		/* queue */
		"queue", "pending", (json_int_t)t.deliveries[DELIVERY_PENDING], "held",
		(json_int_t)t.deliveries[DELIVERY_HELD], "dead",
		(json_int_t)t.deliveries[DELIVERY_DEAD], "oldest_pending_at",
		render_time_or_null(o, t.oldest_pending_ms), "newest_dead_at",
		render_time_or_null(o, stats->newest_dead_ms),
		/* store */
		"store", "used_bytes", (json_int_t)stats->used_bytes, "budget_bytes",
		(json_int_t)o->config->store.budget, "disk_free_bytes",
		(json_int_t)stats->disk_free_bytes, "commit_ms",
		(double)store_numbers(o->store).commit_us / 1000,
		/* endpoints, senders, worst */
		"endpoints", "total", (int)t.endpoints, "failing", (int)t.by_health[HEALTH_FAILING],
		"paused", (int)(t.paused_by[PAUSED_BY_REQUEST] + t.paused_by[PAUSED_BY_HOOKD]),
		"senders", "wanted", (int)numbers.senders_wanted, "running",
		(int)numbers.senders_running, "restarts_total", (json_int_t)numbers.sender_restarts,
		"master_key", render_master_key(o, &t), "worst", worst);
}

static void answer_status(struct request *rq, const struct engine_stats *stats)
{
	answer_json(rq, 200, render_status(rq, stats));
}

void handle_status(struct request *rq)
{
	with_stats(rq, answer_status);
}

/* ---- All sending ---- */

struct switching {
	struct sending_op op; /* the first member */
	struct request *request;
};

static void on_switched(struct op *op)
{
	struct switching *s = (struct switching *)op;
	const struct api_options *o = api_options(s->request);

	if (op->result != ENGINE_OK) {
		refuse(s->request, PROBLEM_UNKNOWN, NULL, "the store failed: perhaps changed");
	} else {
		bool paused = s->op.sending.paused;

		log_change(s->request, paused ? "pause" : "resume", NULL, "%s all sending%s%s",
			paused ? "paused" : "resumed", s->op.sending.reason[0] ? ": " : "",
			s->op.sending.reason);
		answer_json(s->request, 200, render_sending(o));
	}
	free(s);
}

static void switch_sending(struct request *rq, bool paused)
{
	const struct api_options *o = api_options(rq);
	struct switching *s = calloc(1, sizeof(*s));
	const char *reason = NULL;
	struct problem problem;

	if (!s) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	if (rq->json &&
		(json_check_members(rq->json, paused ? "reason" : "", &problem) ||
			json_get_text(rq->json, "reason", 256, &reason, &problem))) {
		answer_problem(rq, &problem);
		free(s);
		return;
	}
	s->op.sending = (struct sending){.paused = paused, .since_ms = clock_queue_ms(o->clock)};
	if (store_sending(o->store)->paused == paused)
		s->op.sending.since_ms = store_sending(o->store)->since_ms;
	if (reason)
		memcpy(s->op.sending.reason, reason, strlen(reason) + 1);
	s->op.op.done = on_switched;
	s->request = rq;
	store_set_sending(o->store, &s->op);
	dispatch_sending_changed(o->dispatch);
}

void handle_pause(struct request *rq)
{
	switch_sending(rq, true);
}

void handle_resume(struct request *rq)
{
	switch_sending(rq, false);
}

/* ---- Backups ---- */

struct backing_up {
	struct store_backup backup; /* the first member */
	struct request *request;
};

static void on_backup(struct store_backup *backup)
{
	struct backing_up *b = (struct backing_up *)backup;

	if (backup->problem.code != PROBLEM_NONE) {
		refuse(b->request, PROBLEM_FULL, NULL, "no backup was made: %s",
			backup->problem.detail);
	} else {
		log_change(b->request, "backup", NULL, "made a backup of %lld bytes: %s",
			(long long)backup->bytes, backup->path);
		answer_json(b->request, 200,
			json_pack("{s:s, s:I}", "file", backup->path, "bytes",
				(json_int_t)backup->bytes));
	}
	free(b);
}

/* A name that tells the time, and that no backup has: several within a second get numbers. */
static void name_backup(char *path, size_t size, const char *directory, time_t now)
{
	struct tm tm;

	gmtime_r(&now, &tm);
	for (unsigned n = 1; n == 1 || access(path, F_OK) == 0; n++) {
		char number[16] = "";

		if (n > 1)
			snprintf(number, sizeof(number), "-%u", n);
		snprintf(path, size, "%s/backup/hookd-%04d%02d%02dT%02d%02d%02dZ%s.mdb", directory,
			tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			tm.tm_sec, number);
	}
}

void handle_backup(struct request *rq)
{
	const struct api_options *o = api_options(rq);
	struct backing_up *b = calloc(1, sizeof(*b));

	if (!b) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	if (rekey_state(o->rekey).under_way) {
		refuse(rq, PROBLEM_BUSY, NULL,
			"the master key is being changed, and a backup would need both: try again");
		free(b);
		return;
	}
	snprintf(b->backup.path, sizeof(b->backup.path), "%s/backup", o->data_directory);
	if (mkdir(b->backup.path, 0700) < 0 && errno != EEXIST) {
		refuse(rq, PROBLEM_FULL, NULL, "cannot make %s: %s", b->backup.path,
			strerror(errno));
		free(b);
		return;
	}
	name_backup(b->backup.path, sizeof(b->backup.path), o->data_directory,
		(time_t)(clock_wall_ms(o->clock) / 1000));
	b->backup.done = on_backup;
	b->request = rq;
	if (!store_backup(o->store, &b->backup)) {
		refuse(rq, PROBLEM_BUSY, NULL, "another backup is being made");
		free(b);
	}
}

/* ---- The master key ---- */

struct rekeying {
	struct rekey_wait wait; /* the first member */
	struct request *request;
};

static void answer_rekeyed(struct request *rq)
{
	const struct api_options *o = api_options(rq);
	struct rekey_state state = rekey_state(o->rekey);
	char id[SECRETBOX_KEY_ID_SIZE];

	secretbox_key_id_format(o->box->current.id, id);
	answer_json(rq, 200,
		json_pack("{s:s, s:s, s:I}", "id", id, "source",
			o->box->current.is_credential ? "credential" : "file", "resealed",
			(json_int_t)state.n_sealed));
}

static void on_rekeyed(struct rekey_wait *wait, const struct problem *problem)
{
	struct rekeying *k = (struct rekeying *)wait;

	if (problem->code != PROBLEM_NONE)
		answer_problem(k->request, problem);
	else
		answer_rekeyed(k->request);
	free(k);
}

void handle_rekey(struct request *rq)
{
	const struct api_options *o = api_options(rq);
	bool was_under_way = rekey_state(o->rekey).under_way;
	struct rekeying *k;
	struct problem problem;

	if (rq->json && json_check_members(rq->json, "", &problem)) {
		answer_problem(rq, &problem);
		return;
	}
	/* What was asked for has been done since the credentials were handed in. */
	if (o->box->current.is_credential && rekey_state(o->rekey).credential_is_spare) {
		answer_rekeyed(rq);
		return;
	}
	k = calloc(1, sizeof(*k));
	if (!k) {
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	if (rekey_begin(o->rekey, &problem)) {
		answer_problem(rq, &problem);
		free(k);
		return;
	}
	if (!was_under_way)
		log_change(rq, "rekey", NULL, "began to change the master key");
	*k = (struct rekeying){.wait.done = on_rekeyed, .request = rq};
	rekey_wait(o->rekey, &k->wait);
}

/* ---- The backlog by age ---- */

/* An age class each, the last without end. */
static const struct {
	const char *name;
	int64_t within_ms;
} ages[AGE_CLASSES] = {{"1m", 60000}, {"5m", 300000}, {"30m", 1800000}, {"2h", 7200000},
	{"8h", 28800000}, {"1d", 86400000}, {"older", 0}};

struct counting {
	struct store_query query; /* the first member */
	struct request *request;
	const char *tenant;
	uint32_t digest;
	size_t n_rows;
	json_t *items;
};

static void count_next(struct counting *c, uint32_t endpoint);

static bool has_backlog(const struct counting *c, const struct slot *slot)
{
	return slot->deliveries[DELIVERY_PENDING] &&
		(!c->tenant || strcmp(c->tenant, slot->settings->tenant) == 0);
}

static void answer_counted(struct counting *c, uint32_t endpoint, const struct position *from)
{
	struct position position = {.len = (uint8_t)(sizeof(endpoint) + (from ? from->len : 0))};
	json_t *next = json_null();

	if (endpoint) {
		memcpy(position.bytes, &endpoint, sizeof(endpoint));
		if (from)
			memcpy(position.bytes + sizeof(endpoint), from->bytes, from->len);
		json_decref(next);
		next = cursor_render(&position, c->digest, 0);
	}
	answer_json(c->request, 200, json_pack("{s:o, s:o}", "items", c->items, "next", next));
	free(c);
}

static void add_counted(struct counting *c, struct slot *slot, const struct age_page *page)
{
	const struct api_options *o = api_options(c->request);
	int64_t next_ms = dispatch_not_before_ms(o->dispatch, slot);
	json_t *by_age = json_object();

	if (next_ms < page->next_due_ms)
		next_ms = page->next_due_ms;

	for (int i = 0; i < AGE_CLASSES; i++)
		json_object_set_new(
			by_age, ages[i].name, json_integer((json_int_t)page->counts[i]));
	json_array_append_new(c->items,
		json_pack("{s:s, s:s, s:s, s:I, s:o, s:o}", "tenant", slot->settings->tenant,
			"endpoint", slot->settings->name, "state",
			slot->settings->paused ? "paused" : "active", "pending",
			(json_int_t)page->n, "ages", by_age, "next_attempt_at",
			next_ms == INT64_MAX || slot->settings->paused ? json_null()
								       : render_time(o, next_ms)));
}

static void on_counted(struct store_query *query)
{
	struct counting *c = (struct counting *)query;
	struct age_page *page = &query->answer.age_page;
	struct registry *registry = store_registry(api_options(c->request)->store);
	struct slot *slot = registry_at(registry, query->ages.endpoint);

	if (query->result != ENGINE_OK) {
		json_decref(c->items);
		store_failed(c->request);
		free(c);
		return;
	}
	if (slot && page->n)
		add_counted(c, slot, page);
	c->n_rows += page->n;
	if (page->more) {
		answer_counted(c, query->ages.endpoint, &page->next);
		return;
	}
	query->ages.from.len = 0;
	count_next(c, query->ages.endpoint + 1);
}

/* Goes on with the first endpoint from that number that is owed something. */
static void count_next(struct counting *c, uint32_t endpoint)
{
	struct store *store = api_options(c->request)->store;
	struct slot *slot = registry_next(store_registry(store), endpoint);

	while (slot && !has_backlog(c, slot))
		slot = registry_next(store_registry(store), slot->settings->number + 1);
	if (!slot) {
		answer_counted(c, 0, NULL);
		return;
	}
	if (c->n_rows >= BACKLOG_ROWS_MAX || json_array_size(c->items) >= BACKLOG_ITEMS_MAX) {
		answer_counted(c, slot->settings->number, NULL);
		return;
	}
	if (slot->settings->number != c->query.ages.endpoint)
		c->query.ages.from.len = 0;
	c->query.ages.endpoint = slot->settings->number;
	c->query.ages.max_examined = BACKLOG_ROWS_MAX - c->n_rows;
	store_ask(store, &c->query);
}

void handle_backlog(struct request *rq)
{
	const struct api_options *o = api_options(rq);
	const char *tenant = request_query(rq, "tenant"), *cursor = request_query(rq, "cursor");
	struct counting *c = calloc(1, sizeof(*c));
	int64_t now = clock_queue_ms(o->clock), until_ms;
	struct position position;
	struct problem problem;
	uint32_t endpoint = 0;
	int r = parse_tenant(tenant, &problem);

	if (!c || !(c->items = json_array())) {
		free(c);
		refuse(rq, PROBLEM_BUSY, NULL, "out of memory: try again");
		return;
	}
	c->digest = values_digest(&tenant, 1);
	if (r == 0 && cursor)
		r = cursor_parse(cursor, c->digest, &position, &until_ms, &problem);
	if (r) {
		answer_problem(rq, &problem);
		json_decref(c->items);
		free(c);
		return;
	}
	c->request = rq;
	c->tenant = tenant;
	c->query.kind = QUERY_AGES;
	c->query.done = on_counted;
	for (int i = 0; i < AGE_CLASSES - 1; i++)
		c->query.ages.bounds_ms[i] = now - ages[i].within_ms + 1;
	if (cursor && position.len >= sizeof(endpoint)) {
		memcpy(&endpoint, position.bytes, sizeof(endpoint));
		c->query.ages.endpoint = endpoint;
		c->query.ages.from.len = (uint8_t)(position.len - sizeof(endpoint));
		memcpy(c->query.ages.from.bytes, position.bytes + sizeof(endpoint),
			c->query.ages.from.len);
	}
	count_next(c, endpoint);
}
