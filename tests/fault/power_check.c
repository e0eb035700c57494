#include "power_check.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../daemon/clock.h"
#include "../../daemon/secretbox.h"
#include "../../daemon/store/data_lock.h"
#include "../../daemon/store/lmdb_check.h"
#include "../../daemon/store/lmdb_engine.h"
#include "../../daemon/store/store.h"

#define LIMITS ((struct store_limits){.budget_bytes = (int64_t)8 << 20}) /* that of the load */
#define ENDPOINTS_MAX 64

struct check {
	const struct facts *facts;
	char data[4096];
	struct secretbox *box;
	struct {
		char name[65];
		uint32_t number;
	} endpoints[ENDPOINTS_MAX]; /* removed ones included */
	size_t n_endpoints;
	struct engine *engine;
	struct delivery_page deliveries; /* all there are */
	char *text;
	size_t text_size;
};

/* Notes what is wrong; the first is enough. Returns false. */
__attribute__((format(printf, 2, 3))) static bool wrong(struct check *c, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (!c->text[0])
		vsnprintf(c->text, c->text_size, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- As hookd starts ---- */

static bool note_endpoints(struct check *c, struct registry *registry)
{
	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		if (c->n_endpoints == ENDPOINTS_MAX)
			return wrong(c, "too many endpoints");
		snprintf(c->endpoints[c->n_endpoints].name, sizeof(c->endpoints[0].name), "%s",
			slot->settings->name);
		c->endpoints[c->n_endpoints++].number = slot->settings->number;
	}
	for (size_t i = 0; i < c->facts->n_endpoints; i++) {
		const struct known_endpoint *known = &c->facts->endpoints[i];
		const struct slot *slot = registry_find(registry, "", known->name);

		if (!known->revision)
			continue;
		if (!slot)
			return wrong(c, "endpoint %s is lost", known->name);
		if (slot->settings->revision < known->revision)
			return wrong(c, "endpoint %s has revision %u instead of %u", known->name,
				slot->settings->revision, known->revision);
	}
	return true;
}

static bool check_opened(struct check *c, struct store *store)
{
	bool paused = store_sending(store)->paused;

	if (c->facts->sending != SENDING_ANY && paused != (c->facts->sending == SENDING_PAUSED))
		return wrong(c, "all sending is %s", paused ? "paused" : "active");
	return note_endpoints(c, store_registry(store));
}

/* Which file is the one that was damaged; 0 for none. */
static ino_t set_aside(const struct check *c)
{
	char path[4200];
	struct stat status;

	snprintf(path, sizeof(path), "%s/" DATA_FILE ".damaged", c->data);
	return stat(path, &status) < 0 ? 0 : status.st_ino;
}

/* What main.c does before it is ready. */
static bool start(struct check *c)
{
	static const struct store_callbacks callbacks;
	struct event_base *base = event_base_new();
	struct clock clock;
	struct store_options options = {.directory = c->data,
		.engine = &engine_lmdb,
		.settings = {.limits = LIMITS},
		.clock = &clock,
		.clock_source = &clock_kernel,
		.box = c->box,
		.base = base,
		.callbacks = &callbacks};
	char path[4200];
	struct problem problem;
	struct store *store;
	ino_t aside = set_aside(c);
	bool is_first_start, ok;
	int lock;

	if (mkdir(c->data, 0700) < 0 && errno != EEXIST)
		return wrong(c, "cannot make %s", c->data);
	lock = data_lock(c->data, &problem);
	if (lock < 0)
		return wrong(c, "hookd would not start: %s", problem.detail);
	snprintf(path, sizeof(path), "%s/" DATA_FILE, c->data);
	is_first_start = access(path, F_OK) < 0;
	if (is_first_start && c->facts->n_promised)
		return wrong(c, "there is no data file, and %zu events were promised",
			c->facts->n_promised);
	if (secretbox_open_keys(c->box, c->data, is_first_start, &problem) < 0 ||
		store_open(&store, &options, &problem) < 0)
		return wrong(c, "hookd would not start: %s", problem.detail);
	ok = check_opened(c, store);
	store_close(store);
	event_base_free(base);
	close(lock);
	if (ok && c->facts->one_key && c->box->has_previous)
		return wrong(c, "the previous master key is still there");
	return ok &&
		(c->facts->damaged || set_aside(c) == aside ||
			wrong(c, "the data file was damaged, and made anew"));
}

/* ---- All that is there ---- */

static void on_fault(void *user, const char *fault)
{
	wrong(user, "check-data: %s", fault);
}

static bool check_tables(struct check *c)
{
	struct check_result result;
	struct problem problem;

	if (lmdb_check(c->data, on_fault, c, &result, &problem) < 0)
		return wrong(c, "check-data: %s", problem.detail);
	return result.n_faults == 0;
}

static bool open_engine(struct check *c, struct engine_found *found)
{
	struct engine_options options = {.directory = c->data, .limits = LIMITS};
	struct problem problem;

	if (engine_lmdb.open(&c->engine, &options, found, &problem) < 0)
		return wrong(c, "cannot be opened again: %s", problem.detail);
	return true;
}

static bool list_deliveries(struct check *c)
{
	const struct delivery_query query = {.states = ALL_STATES,
		.any_endpoint = true,
		.since_ms = INT64_MIN,
		.until_ms = INT64_MAX,
		.http_status_min = -1,
		.http_status_max = -1,
		.oldest_first = true,
		.limit = 100000,
		.max_examined = 1000000,
		.refs_only = true};

	if (engine_lmdb.list_deliveries(c->engine, &query, &c->deliveries) != ENGINE_OK)
		return wrong(c, "the deliveries cannot be listed");
	return !c->deliveries.more || wrong(c, "too many deliveries");
}

static const struct delivery *find_delivery(
	const struct check *c, const struct event_id *event, const char *endpoint)
{
	size_t low = 0, high = c->deliveries.n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (event_id_compare(&c->deliveries.rows[middle].delivery.event, event) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < c->deliveries.n; low++) {
		const struct delivery *d = &c->deliveries.rows[low].delivery;

		if (event_id_compare(&d->event, event) != 0)
			return NULL;
		for (size_t i = 0; i < c->n_endpoints; i++) {
			if (c->endpoints[i].number == d->endpoint &&
				strcmp(c->endpoints[i].name, endpoint) == 0)
				return d;
		}
	}
	return NULL;
}

/* ---- What was promised ---- */

static bool check_content(
	struct check *c, const struct known_event *known, const struct stored_event *stored)
{
	const struct event *e = &stored->event;

	if (e->payload_len != known->payload_len ||
		(e->payload_len && memcmp(stored->payload, known->payload, e->payload_len) != 0))
		return wrong(c, "event %s has another payload", known->text);
	if (strcmp(e->type, known->type) != 0 || e->tenant[0] ||
		strcmp(e->content_type, known->content_type) != 0 ||
		strcmp(e->key ? e->key : "", known->key) != 0 || e->n_deliveries != known->n_owed)
		return wrong(c, "event %s has another head", known->text);
	return true;
}

static bool check_deliveries(struct check *c, const struct known_event *known)
{
	for (size_t i = 0; i < known->n_owed; i++) {
		const struct owed *owed = &known->owed[i];
		const struct delivery *d = find_delivery(c, &known->id, owed->endpoint);

		if (!((d ? STATE_BIT(d->state) : STATE_GONE) & owed->allowed))
			return wrong(c, "delivery %s/%s is %s; allowed are the states %x",
				known->text, owed->endpoint,
				d ? delivery_state_name(d->state) : "gone", owed->allowed);
	}
	return true;
}

static bool check_event(struct check *c, const struct known_event *known)
{
	struct event_row row = {0};
	enum engine_result r = engine_lmdb.get_event(c->engine, &known->id, true, &row);
	bool ok;

	if (r == ENGINE_NOT_FOUND)
		return facts_may_be_gone(c->facts, known) ||
			wrong(c, "event %s is lost", known->text);
	ok = r == ENGINE_OK && row.event && row.event->payload
		? check_content(c, known, row.event) && check_deliveries(c, known)
		: wrong(c, "event %s is damaged", known->text);
	free(row.event);
	return ok;
}

/* ---- Going on from there ---- */

static struct submit_op *submit_of(const struct known_event *known, int64_t now_ms)
{
	struct submit_op *op = calloc(1, sizeof(*op));

	op->op.kind = OP_SUBMIT;
	op->events = calloc(1, sizeof(*op->events));
	op->n = 1;
	op->bytes = known->payload_len;
	op->events[0] = (struct new_event){.event = {.id = known->id,
						   .accepted_ms = now_ms,
						   .timestamp_wall_ms = now_ms,
						   .payload_len = (uint32_t)known->payload_len,
						   .tenant = "",
						   .type = known->type,
						   .content_type = known->content_type,
						   .key = known->key[0] ? known->key : NULL},
		.payload = {{known->payload, known->payload_len}},
		.due_ms = now_ms,
		.key_expires_ms = now_ms + 1000000};
	memcpy(op->events[0].digest, known->digest, sizeof(known->digest));
	return op;
}

static bool check_repeat(struct check *c, const struct submit_op *op)
{
	const struct new_event *e = &op->events[0];
	char text[EVENT_ID_TEXT_SIZE];

	if (op->op.result != ENGINE_OK)
		return wrong(c, "key %s is refused: %s", e->event.key, op->problem.detail);
	event_id_format(&e->id, text);
	/* What was submitted carries the promised id: a new event would be given it, too. */
	if (!e->duplicate || event_id_compare(&e->id, &e->event.id) != 0)
		return wrong(c, "key %s is %s %s", e->event.key,
			e->duplicate ? "that of" : "forgotten: a new event", text);
	return true;
}

/* All promised keys again, and an event that nobody knows, in one commit. */
static bool submit_again(struct check *c, const struct engine_found *found)
{
	static const struct known_event novelty = {.id = {.bytes = {0xff}},
		.type = "new",
		.content_type = "text/plain",
		.payload = (const uint8_t *)"new",
		.payload_len = 3};
	struct batch batch = {.now_ms = found->queue_ms, .limits = LIMITS};
	struct op **last = &batch.ops;
	struct event_row row = {0};
	bool ok = true;

	for (size_t i = 0; i <= c->facts->n_events; i++) {
		const struct known_event *known =
			i < c->facts->n_events ? &c->facts->events[i] : &novelty;

		if (known == &novelty || (known->promised && known->key[0])) {
			*last = &submit_of(known, batch.now_ms)->op;
			last = &(*last)->next;
		}
	}
	if (engine_lmdb.commit(c->engine, &batch) != ENGINE_OK)
		return wrong(c, "cannot go on: %s", engine_lmdb.broken(c->engine));
	for (struct op *op = batch.ops; op && ok; op = op->next) {
		if (op->next)
			ok = check_repeat(c, (struct submit_op *)op);
		else if (op->result != ENGINE_OK)
			ok = wrong(c, "a new event is refused: %s",
				((struct submit_op *)op)->problem.detail);
	}
	if (ok && engine_lmdb.get_event(c->engine, &novelty.id, false, &row) != ENGINE_OK)
		ok = wrong(c, "a new event is not there");
	free(row.event);
	return ok;
}

static bool check_store(struct check *c)
{
	struct engine_found found;
	bool ok = open_engine(c, &found) && list_deliveries(c);

	for (size_t i = 0; i < c->facts->n_events && ok; i++) {
		if (c->facts->events[i].promised)
			ok = check_event(c, &c->facts->events[i]);
	}
	ok = ok && submit_again(c, &found);
	if (c->engine)
		engine_lmdb.close(c->engine, ok ? found.queue_ms : 0);
	return ok && check_tables(c);
}

/* ---- Backups ---- */

static bool check_copied(struct check *c)
{
	for (size_t i = 0; i < c->facts->n_events; i++) {
		const struct known_event *known = &c->facts->events[i];
		struct event_row row = {0};
		bool ok;

		/* What was purged later is still in it, or not. */
		if (!known->in_backup || facts_may_be_gone(c->facts, known))
			continue;
		ok = engine_lmdb.get_event(c->engine, &known->id, true, &row) == ENGINE_OK
			? check_content(c, known, row.event)
			: wrong(c, "event %s is lost in the backup", known->text);
		free(row.event);
		if (!ok)
			return false;
	}
	return true;
}

/* Confirmed or not, what has a backup's name is whole, and would not send. */
static bool check_backup(struct check *c, const char *directory, const char *path, bool confirmed)
{
	struct engine_found found;
	char from[4096], to[4200];
	bool ok;

	snprintf(from, sizeof(from), "%s/%s", directory, path);
	snprintf(c->data, sizeof(c->data), "%s/restored", directory);
	snprintf(to, sizeof(to), "%s/" DATA_FILE, c->data);
	if ((mkdir(c->data, 0700) < 0 && errno != EEXIST) || rename(from, to) < 0)
		return wrong(c, "cannot restore %s", from);
	c->engine = NULL;
	ok = check_tables(c) && open_engine(c, &found);
	if (ok && !found.sending.paused)
		ok = wrong(c, "the backup %s would send", path);
	ok = ok && (!confirmed || check_copied(c));
	if (c->engine)
		engine_lmdb.close(c->engine, 0);
	return ok;
}

static bool is_backup(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".mdb") == 0;
}

static bool check_backups(struct check *c, const char *directory)
{
	char path[4096];
	bool found = false, ok = true;
	DIR *backups;

	snprintf(path, sizeof(path), "%s/data/backup", directory);
	backups = opendir(path);
	for (struct dirent *entry; backups && ok && (entry = readdir(backups));) {
		if (!is_backup(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "data/backup/%s", entry->d_name);
		found = found || strcmp(path, c->facts->backup) == 0;
		ok = check_backup(c, directory, path, strcmp(path, c->facts->backup) == 0);
	}
	if (backups)
		closedir(backups);
	if (ok && c->facts->backup[0] && !found)
		return wrong(c, "the backup %s is lost", c->facts->backup);
	return ok;
}

bool check_image(const struct facts *facts, const char *directory, char *text, size_t size)
{
	struct check c = {.facts = facts, .box = secretbox_new(), .text = text, .text_size = size};
	bool ok;

	text[0] = '\0';
	snprintf(c.data, sizeof(c.data), "%s/data", directory);
	ok = start(&c) && check_tables(&c) && check_store(&c) && check_backups(&c, directory);
	secretbox_free(c.box);
	return ok;
}
