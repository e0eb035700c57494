/*
 * Reading the store: claims, lists, single events. Each call is one short view.
 *
 * A list is a merge of sources, each a walk over one table in the order of event and endpoint.
 * Which sources, decides how fast a filter is: a few endpoints have their own index (T_STANDING),
 * the dead have theirs by time of death, everything else walks the deliveries. Rows looked at are
 * bounded, not rows found: a page may come back short or empty with a position to go on from.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../name.h"
#include "lmdb_engine.h"
#include "store_thread.h"

#define SOURCES_MAX 192 /* 64 endpoints in three states */
#define SHORT_PAUSE_MS 1000 /* until it is looked again whether there are pages for outcomes */
#define PLACE_LEN 20 /* event id, endpoint: the order of lists */

/* ---- Claims ---- */

/*
 * The rows of T_DUE carry no checksum. What a row says is compared with the record of its delivery,
 * before anything follows from it; and when a walk has come to the end of an endpoint's rows, there
 * were as many as the endpoint has deliveries pending. A delivery that no row leads to would wait
 * for ever unseen.
 */
static void judge_due(
	struct txn *t, const struct delivery_ref *ref, int64_t due_ms, struct delivery *delivery)
{
	int r = get_delivery(t, ref, delivery);

	if (t->error || r == -EBADMSG) /* a delivery of which nothing is known but its name */
		*delivery = (struct delivery){
			.event = ref->event, .endpoint = ref->endpoint, .due_ms = due_ms};
	else if (r < 0 || delivery->state != DELIVERY_PENDING || delivery->due_ms != due_ms)
		t->error = -EBADMSG;
}

static void judge_number(struct txn *t, uint32_t endpoint, uint64_t n_rows)
{
	struct tally tally = {0};

	if (get_tally(t, endpoint, &tally) == -EBADMSG ||
		tally.deliveries[DELIVERY_PENDING] != n_rows)
		t->error = t->error ? t->error : -EBADMSG;
}

/* NULL: without memory, or the index is damaged, which the transaction's error says. */
static struct claimed *make_claimed(struct txn *t, const struct delivery_ref *ref, int64_t due_ms)
{
	struct claimed *claimed = calloc(1, sizeof(*claimed));
	int r = 0;

	if (claimed) {
		judge_due(t, ref, due_ms, &claimed->delivery);
		if (claimed->delivery.state)
			r = get_stored_event(t, &ref->event, true, &claimed->event);
	}
	if (!claimed || r == -ENOMEM)
		t->error = ENOMEM;
	if (t->error) {
		claimed_free(claimed);
		return NULL;
	}
	if (!claimed->event)
		store_thread_saw_damage();
	return claimed;
}

enum engine_result lmdb_claim(struct engine *engine, struct claim *claim)
{
	struct row_key prefix = key_of_number(claim->endpoint);
	struct claimed **end = &claim->list;
	struct delivery ahead;
	uint64_t n_rows = 0;
	size_t bytes = 0;
	unsigned n = 0;
	struct walk walk;
	struct txn t;

	claim->list = NULL;
	claim->next_due_ms = INT64_MAX;
	if (space_is_short(engine)) {
		claim->next_due_ms = claim->until_ms + SHORT_PAUSE_MS;
		return ENGINE_OK;
	}
	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	walk_open(&walk, &t, T_DUE, prefix.at, prefix.len);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		int64_t due_ms = key_i64_at(walk.key.mv_data, 4);
		struct delivery_ref ref = {key_event_at(walk.key.mv_data, 12), claim->endpoint};

		n_rows++;
		if (claim->skip(claim->user, &ref))
			continue;
		if (due_ms > claim->until_ms || n == claim->max_n || bytes >= claim->max_bytes) {
			judge_due(&t, &ref, due_ms, &ahead);
			claim->next_due_ms = due_ms;
			break;
		}
		*end = make_claimed(&t, &ref, due_ms);
		if (!*end)
			break;
		bytes += (*end)->event ? (*end)->event->event.payload_len : 0;
		n++;
		end = &(*end)->next;
	}
	if (!walk.valid)
		judge_number(&t, claim->endpoint, n_rows);
	walk_close(&walk);
	lmdb_abort(&t);
	return t.error ? lmdb_break(engine, "cannot read what is due", t.error) : ENGINE_OK;
}

/* ---- Lists of deliveries ---- */

/* One of the walks that a list merges. at is the place of its current row. */
struct source {
	struct walk walk;
	enum table table;
	uint32_t endpoint; /* of a walk over T_STANDING */
	uint8_t at[PLACE_LEN];
};

struct listing {
	struct engine *engine;
	struct txn t;
	const struct delivery_query *query;
	struct delivery_page *page;
	struct source *sources;
	size_t n_sources;
	size_t n_examined;
};

static void read_place(struct source *s)
{
	const uint8_t *key = s->walk.key.mv_data;

	if (!s->walk.valid)
		return;
	if (s->table == T_STANDING) {
		struct row_key place;
		struct event_id id = key_event_at(key, 5);

		place = key_of_delivery(&id, s->endpoint);
		memcpy(s->at, place.at, PLACE_LEN);
	} else {
		memcpy(s->at, key, PLACE_LEN);
	}
}

static void advance(struct source *s, bool oldest_first)
{
	if (oldest_first)
		walk_next(&s->walk);
	else
		walk_previous(&s->walk);
	read_place(s);
}

/* The row of this source's table that corresponds to a place. */
static struct row_key key_at_place(const struct source *s, const uint8_t place[static PLACE_LEN])
{
	struct event_id id = key_event_at(place, 0);

	if (s->table == T_STANDING)
		return key_of_standing(s->endpoint, (enum delivery_state)s->walk.prefix[4], &id);
	return key_of_delivery(&id, key_u32_at(place, sizeof(id.bytes)));
}

/* Is place a behind b in the order of the list? */
static bool is_behind(const uint8_t *a, const uint8_t *b, bool oldest_first)
{
	int order = memcmp(a, b, PLACE_LEN);

	return oldest_first ? order > 0 : order < 0;
}

static void start_source(struct listing *l, struct source *s)
{
	bool oldest_first = l->query->oldest_first;
	const struct position *from = &l->query->from;
	struct row_key key;
	const struct row_key *start = NULL;

	if (from->len == PLACE_LEN) {
		key = key_at_place(s, from->bytes);
		/* Within one event, or at another endpoint's walk, the place lies outside of the
		 * prefix. */
		if (memcmp(key.at, s->walk.prefix, s->walk.prefix_len) == 0)
			start = &key;
	}
	if (oldest_first)
		walk_seek(&s->walk, start);
	else
		walk_seek_back(&s->walk, start);
	read_place(s);
	while (s->walk.valid && from->len == PLACE_LEN &&
		!is_behind(s->at, from->bytes, oldest_first))
		advance(s, oldest_first);
}

static void add_source(struct listing *l, enum table table, const void *prefix, size_t prefix_len,
	uint32_t endpoint)
{
	struct source *s = &l->sources[l->n_sources++];

	s->table = table;
	s->endpoint = endpoint;
	walk_open(&s->walk, &l->t, table, prefix, prefix_len);
	start_source(l, s);
}

static void add_standing_sources(struct listing *l)
{
	const struct delivery_query *q = l->query;

	for (size_t i = 0; i < q->n_endpoints; i++) {
		struct row_key prefix = key_of_number(q->endpoints[i]);

		prefix.len++;
		for (int state = DELIVERY_PENDING; state <= DELIVERY_DEAD; state++) {
			if (state == DELIVERY_DELIVERED || !(q->states & STATE_BIT(state)))
				continue;
			prefix.at[prefix.len - 1] = (uint8_t)state;
			add_source(l, T_STANDING, prefix.at, prefix.len, q->endpoints[i]);
		}
	}
}

static void choose_sources(struct listing *l)
{
	const struct delivery_query *q = l->query;
	const void *prefix = q->one_event ? q->event.bytes : (const void *)"";
	size_t prefix_len = q->one_event ? sizeof(q->event.bytes) : 0;

	if (!q->one_event && !q->any_endpoint && 3 * q->n_endpoints <= SOURCES_MAX &&
		!(q->states & STATE_BIT(DELIVERY_DELIVERED))) {
		add_standing_sources(l);
		return;
	}
	if (q->states & ~STATE_BIT(DELIVERY_DELIVERED))
		add_source(l, T_LIVE, prefix, prefix_len, 0);
	if (q->states & STATE_BIT(DELIVERY_DELIVERED))
		add_source(l, T_DONE, prefix, prefix_len, 0);
}

static struct source *first_source(const struct listing *l)
{
	struct source *first = NULL;

	for (size_t i = 0; i < l->n_sources; i++) {
		struct source *s = &l->sources[i];

		if (s->walk.valid &&
			(!first || is_behind(first->at, s->at, l->query->oldest_first)))
			first = s;
	}
	return first;
}

static bool has_endpoint(const struct delivery_query *q, uint32_t endpoint)
{
	size_t low = 0, high = q->n_endpoints;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (q->endpoints[middle] == endpoint)
			return true;
		if (q->endpoints[middle] < endpoint)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool matches(const struct delivery_query *q, const struct delivery *d)
{
	if (!(q->states & STATE_BIT(d->state)) || d->since_ms < q->since_ms ||
		d->since_ms > q->until_ms)
		return false;
	if (q->http_status_min >= 0 &&
		(d->last.number == 0 || d->last.http_status < q->http_status_min ||
			d->last.http_status > q->http_status_max))
		return false;
	return q->result == RESULT_NONE || d->last.result == q->result;
}

/* Adds the delivery to the page if it matches. */
static void consider(struct listing *l, const struct delivery_ref *ref)
{
	const struct delivery_query *q = l->query;
	struct delivery_row *row = &l->page->rows[l->page->n];

	l->n_examined++;
	if (!q->any_endpoint && !has_endpoint(q, ref->endpoint))
		return;
	/* What leads here is an index, or the record itself: one of the two is damaged. */
	if (get_delivery(&l->t, ref, &row->delivery) < 0) {
		lmdb_mark_damaged(l->engine);
		return;
	}
	if (!matches(q, &row->delivery))
		return;
	if (!q->refs_only || q->type)
		get_event_type(&l->t, &ref->event, row->type);
	if (q->type && !pattern_matches(q->type, row->type))
		return;
	row->story = NULL;
	if (!q->refs_only && row->delivery.last.number) {
		row->story = malloc(sizeof(*row->story));
		if (row->story &&
			get_story(&l->t, ref, row->delivery.last.number, row->story) < 0) {
			free(row->story);
			row->story = NULL;
		}
	}
	l->page->n++;
}

static void set_position(struct position *position, const void *bytes, size_t len)
{
	memcpy(position->bytes, bytes, len);
	position->len = (uint8_t)len;
}

static bool page_is_full(const struct listing *l)
{
	return l->page->n == l->query->limit || l->n_examined >= l->query->max_examined;
}

static void merge(struct listing *l)
{
	struct source *s;

	choose_sources(l);
	while ((s = first_source(l))) {
		struct delivery_ref ref = {
			key_event_at(s->at, 0), key_u32_at(s->at, sizeof(struct event_id))};

		if (page_is_full(l)) {
			l->page->more = true;
			return;
		}
		set_position(&l->page->next, s->at, PLACE_LEN);
		consider(l, &ref);
		advance(s, l->query->oldest_first);
	}
}

/* The dead alone come in the order of their death. */
static void list_dead(struct listing *l)
{
	const struct delivery_query *q = l->query;
	struct row_key start = {.len = 0};
	struct walk walk;

	if (q->from.len) {
		start.len = q->from.len;
		memcpy(start.at, q->from.bytes, start.len);
	} else if (q->oldest_first && q->since_ms > 0) {
		start = key_of_dead(q->since_ms, &(struct event_id){{0}}, 0);
	} else if (!q->oldest_first && q->until_ms < INT64_MAX) {
		struct event_id last = event_id_last_of((int64_t)0xffffffffffff);

		start = key_of_dead(q->until_ms, &last, UINT32_MAX);
	}
	walk_open(&walk, &l->t, T_DEAD, "", 0);
	if (q->oldest_first)
		walk_seek(&walk, start.len ? &start : NULL);
	else
		walk_seek_back(&walk, start.len ? &start : NULL);
	for (; walk.valid; q->oldest_first ? walk_next(&walk) : walk_previous(&walk)) {
		struct delivery_ref ref = {
			key_event_at(walk.key.mv_data, 8), key_u32_at(walk.key.mv_data, 24)};
		int64_t died_ms = key_i64_at(walk.key.mv_data, 0);

		if (q->from.len == walk.key.mv_size &&
			memcmp(q->from.bytes, walk.key.mv_data, q->from.len) == 0)
			continue;
		if (q->oldest_first ? died_ms > q->until_ms : died_ms < q->since_ms)
			break;
		if (page_is_full(l)) {
			l->page->more = true;
			break;
		}
		set_position(&l->page->next, walk.key.mv_data, walk.key.mv_size);
		consider(l, &ref);
	}
	walk_close(&walk);
}

enum engine_result lmdb_list_deliveries(
	struct engine *engine, const struct delivery_query *query, struct delivery_page *page)
{
	struct listing l = {.engine = engine, .query = query, .page = page};

	*page = (struct delivery_page){0};
	if (!query->any_endpoint && query->n_endpoints == 0)
		return ENGINE_OK;
	if (lmdb_begin(engine, &l.t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	page->rows = calloc(query->limit, sizeof(*page->rows));
	l.sources = calloc(SOURCES_MAX, sizeof(*l.sources));
	if (!page->rows || !l.sources)
		l.t.error = ENOMEM;
	else if (query->states == STATE_BIT(DELIVERY_DEAD) && !query->one_event)
		list_dead(&l);
	else
		merge(&l);
	for (size_t i = 0; i < l.n_sources; i++)
		walk_close(&l.sources[i].walk);
	free(l.sources);
	lmdb_abort(&l.t);
	return l.t.error ? lmdb_break(engine, "cannot list deliveries", l.t.error) : ENGINE_OK;
}

/* ---- Events ---- */

static enum engine_result end_read(struct engine *engine, struct txn *t, const char *what)
{
	lmdb_abort(t);
	return t->error ? lmdb_break(engine, what, t->error) : ENGINE_OK;
}

/* 0, -ENOENT for one that is missing or damaged; the transaction's error when memory is out. */
static int read_event_row(
	struct txn *t, const struct event_id *id, bool with_payload, struct event_row *row)
{
	struct event_standing standing;
	int r = get_stored_event(t, id, with_payload, &row->event);

	if (r == -ENOMEM)
		t->error = ENOMEM;
	if (r < 0)
		return -ENOENT;
	get_standing(t, id, &standing);
	memcpy(row->states, standing.states, sizeof(row->states));
	return 0;
}

static bool event_matches(const struct event_query *q, const struct event *e)
{
	return (!q->tenant || strcmp(q->tenant, e->tenant) == 0) &&
		(!q->type || pattern_matches(q->type, e->type)) &&
		(!q->key || (e->key && strcmp(q->key, e->key) == 0)) &&
		e->accepted_ms >= q->since_ms && e->accepted_ms <= q->until_ms;
}

static void consider_event(struct txn *t, const struct event_query *q, const struct event_id *id,
	struct event_page *page)
{
	struct event_row *row = &page->rows[page->n];

	if (read_event_row(t, id, false, row) < 0)
		return;
	if (event_matches(q, &row->event->event))
		page->n++;
	else
		free(row->event);
}

/* A key leads to its event directly. */
static void list_by_key(struct txn *t, const struct event_query *q, struct event_page *page)
{
	struct row_key key = key_of_idempotency(q->tenant, q->key);
	struct key_record entry;

	if (q->from.len == 0 && get_key_record(t, &key, &entry) == 0)
		consider_event(t, q, &entry.event, page);
}

static void list_by_time(struct txn *t, const struct event_query *q, struct event_page *page)
{
	struct event_id first = event_id_first_of(q->since_ms),
			last = event_id_last_of(q->until_ms);
	struct row_key start = {.len = 0};
	size_t n_examined = 0;
	struct walk walk;

	if (q->from.len == sizeof(first.bytes)) {
		start.len = q->from.len;
		memcpy(start.at, q->from.bytes, start.len);
	} else if (q->oldest_first) {
		start = key_of_event(&first);
	} else if (q->until_ms <= 0xffffffffffff) {
		start = key_of_event(&last);
	}
	walk_open(&walk, t, T_EVENT, "", 0);
	if (q->oldest_first)
		walk_seek(&walk, &start);
	else
		walk_seek_back(&walk, start.len ? &start : NULL);
	for (; walk.valid; q->oldest_first ? walk_next(&walk) : walk_previous(&walk)) {
		struct event_id id = key_event_at(walk.key.mv_data, 0);

		if (q->from.len == sizeof(id.bytes) &&
			memcmp(q->from.bytes, id.bytes, sizeof(id.bytes)) == 0)
			continue;
		if (q->oldest_first ? event_id_ms(&id) > q->until_ms
				    : event_id_ms(&id) < q->since_ms)
			break;
		if (page->n == q->limit || n_examined++ == q->max_examined) {
			page->more = true;
			break;
		}
		set_position(&page->next, id.bytes, sizeof(id.bytes));
		consider_event(t, q, &id, page);
	}
	walk_close(&walk);
}

enum engine_result lmdb_list_events(
	struct engine *engine, const struct event_query *query, struct event_page *page)
{
	struct txn t;

	*page = (struct event_page){0};
	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	page->rows = calloc(query->limit, sizeof(*page->rows));
	if (!page->rows)
		t.error = ENOMEM;
	else if (query->key)
		list_by_key(&t, query, page);
	else
		list_by_time(&t, query, page);
	return end_read(engine, &t, "cannot list events");
}

enum engine_result lmdb_get_event(
	struct engine *engine, const struct event_id *id, bool with_payload, struct event_row *row)
{
	enum engine_result result;
	struct txn t;
	int r;

	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	r = read_event_row(&t, id, with_payload, row);
	result = end_read(engine, &t, "cannot read an event");
	return result == ENGINE_OK && r < 0 ? ENGINE_NOT_FOUND : result;
}

enum engine_result lmdb_get_history(
	struct engine *engine, const struct delivery_ref *ref, struct history *history)
{
	struct row_key prefix = key_of_delivery(&ref->event, ref->endpoint);
	enum engine_result result;
	struct walk walk;
	struct txn t;
	int r;

	*history = (struct history){0};
	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	r = get_delivery(&t, ref, &history->delivery);
	if (r == 0) {
		get_event_type(&t, &ref->event, history->type);
		history->stories = calloc(HISTORY_MAX, sizeof(*history->stories));
		if (!history->stories)
			t.error = ENOMEM;
		walk_open(&walk, &t, T_ATTEMPT, prefix.at, prefix.len);
		for (walk_seek(&walk, NULL); walk.valid && history->n < HISTORY_MAX;
			walk_next(&walk)) {
			struct bytes key = {walk.key.mv_data, walk.key.mv_size};
			struct bytes value = {walk.value.mv_data, walk.value.mv_size};

			if (record_get_attempt(key, value, &history->stories[history->n]) == 0)
				history->n++;
		}
		walk_close(&walk);
	}
	result = end_read(engine, &t, "cannot read a delivery");
	return result == ENGINE_OK && r < 0 ? ENGINE_NOT_FOUND : result;
}

/* ---- Numbers ---- */

static unsigned age_class(const struct age_query *q, const struct event_id *id)
{
	unsigned class = 0;

	while (class < AGE_CLASSES - 1 && event_id_ms(id) < q->bounds_ms[class])
		class ++;
	return class;
}

enum engine_result lmdb_count_ages(
	struct engine *engine, const struct age_query *q, struct age_page *page)
{
	struct row_key prefix = key_of_number(q->endpoint), from = {.len = q->from.len};
	struct walk walk;
	struct txn t;

	*page = (struct age_page){.next_due_ms = INT64_MAX};
	memcpy(from.at, q->from.bytes, q->from.len);
	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	walk_open(&walk, &t, T_DUE, prefix.at, prefix.len);
	for (walk_seek(&walk, from.len ? &from : NULL); walk.valid; walk_next(&walk)) {
		struct event_id id = key_event_at(walk.key.mv_data, 12);

		if (page->n == q->max_examined) {
			/* The position is that of the first row not counted. */
			page->more = true;
			set_position(&page->next, walk.key.mv_data, walk.key.mv_size);
			break;
		}
		if (page->n++ == 0)
			page->next_due_ms = key_i64_at(walk.key.mv_data, 4);
		page->counts[age_class(q, &id)]++;
	}
	walk_close(&walk);
	return end_read(engine, &t, "cannot count what is due");
}

static int64_t first_ended(struct txn *t, uint8_t class)
{
	int64_t ms = INT64_MAX;
	struct walk walk;

	walk_open(&walk, t, T_ENDED, &class, 1);
	if (walk_seek(&walk, NULL))
		ms = key_i64_at(walk.key.mv_data, 1);
	walk_close(&walk);
	return ms;
}

/* The time at the front of the first or last key of a table. */
static int64_t time_at_end(struct txn *t, enum table table, bool last, int64_t otherwise)
{
	int64_t ms = otherwise;
	struct walk walk;

	walk_open(&walk, t, table, "", 0);
	if (last ? walk_seek_back(&walk, NULL) : walk_seek(&walk, NULL))
		ms = key_i64_at(walk.key.mv_data, 0);
	walk_close(&walk);
	return ms;
}

enum engine_result lmdb_stats(
	struct engine *engine, const struct store_limits *limits, struct engine_stats *stats)
{
	struct txn t;

	*stats = (struct engine_stats){0};
	if (lmdb_begin(engine, &t, false) != ENGINE_OK)
		return ENGINE_BROKEN;
	space_judge(engine, &t, limits, stats);
	stats->damaged = atomic_load(&engine->damaged);
	stats->first_delivered_end_ms = first_ended(&t, ENDED_DELIVERED);
	stats->first_dead_end_ms = first_ended(&t, ENDED_WITH_DEAD);
	stats->first_key_expiry_ms = time_at_end(&t, T_KEY_EXPIRY, false, INT64_MAX);
	stats->newest_dead_ms = time_at_end(&t, T_DEAD, true, 0);
	stats->oldest_dead_ms = time_at_end(&t, T_DEAD, false, 0);
	return end_read(engine, &t, "cannot read the store's numbers");
}
