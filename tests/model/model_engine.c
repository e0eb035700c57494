#include "model_engine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/name.h"

/* Allocation in a test may as well end the test. */
#define GROW(array, n) \
	do { \
		(array) = realloc((array), ((n) + 1) * sizeof(*(array))); \
		assert(array); \
		memset(&(array)[n], 0, sizeof(*(array))); \
	} while (0)

struct model_delivery {
	struct delivery d;
	struct attempt_story stories[HISTORY_MAX];
	size_t n_stories;
};

struct model_event {
	struct stored_event *stored;
	struct model_delivery *deliveries; /* sorted by endpoint */
	size_t n;
};

struct model_endpoint {
	uint32_t number;
	bool removed;
	uint8_t *blob;
	size_t blob_len;
	struct tally tally;
};

struct model_key {
	char tenant[65], key[256];
	struct event_id event;
	uint32_t n_deliveries;
	int64_t expires_ms;
	uint8_t digest[EVENT_DIGEST_LEN];
	bool listed; /* its expiry is still to come */
};

struct engine {
	struct model_event *events; /* in the order of their ids */
	size_t n_events;
	struct model_endpoint *endpoints; /* in the order of their numbers */
	size_t n_endpoints;
	struct model_key *keys;
	size_t n_keys;
	struct engine_found found;
	/* Of the batch being applied. */
	struct batch *batch;
};

/* ---- Finding ---- */

static struct model_event *find_event(struct engine *m, const struct event_id *id)
{
	size_t low = 0, high = m->n_events;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = event_id_compare(&m->events[middle].stored->event.id, id);

		if (order == 0)
			return &m->events[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static struct model_delivery *find_owed_to(struct model_event *e, uint32_t endpoint)
{
	for (size_t i = 0; i < e->n; i++) {
		if (e->deliveries[i].d.endpoint == endpoint)
			return &e->deliveries[i];
	}
	return NULL;
}

static struct model_delivery *find_delivery(struct engine *m, const struct delivery_ref *ref)
{
	struct model_event *e = find_event(m, &ref->event);

	return e ? find_owed_to(e, ref->endpoint) : NULL;
}

static struct model_endpoint *find_endpoint(struct engine *m, uint32_t number)
{
	for (size_t i = 0; i < m->n_endpoints; i++) {
		if (m->endpoints[i].number == number)
			return &m->endpoints[i];
	}
	return NULL;
}

static struct model_key *find_key(struct engine *m, const char *tenant, const char *key)
{
	for (size_t i = 0; i < m->n_keys; i++) {
		if (strcmp(m->keys[i].tenant, tenant) == 0 && strcmp(m->keys[i].key, key) == 0)
			return &m->keys[i];
	}
	return NULL;
}

/* ---- What batches touch ---- */

static struct touched *touch(struct engine *m, uint32_t endpoint)
{
	struct batch *b = m->batch;
	struct touched *t;

	for (size_t i = 0; i < b->n_touched; i++) {
		if (b->touched[i].endpoint == endpoint)
			return &b->touched[i];
	}
	GROW(b->touched, b->n_touched);
	t = &b->touched[b->n_touched++];
	t->endpoint = endpoint;
	t->earliest_due_ms = INT64_MAX;
	return t;
}

static bool is_owed(const struct delivery *d)
{
	return d->state == DELIVERY_PENDING || d->state == DELIVERY_HELD;
}

/* Counts a delivery in or out, and notes what became due. */
static void account(struct engine *m, const struct delivery *d, int by)
{
	struct model_endpoint *e = find_endpoint(m, d->endpoint);

	assert(e);
	e->tally.deliveries[d->state] += (uint64_t)by;
	if (is_owed(d))
		e->tally.owed_bytes += (uint64_t)(by * (int64_t)(d->payload_bytes + OWED_OVERHEAD));
	touch(m, d->endpoint);
}

static void replace(struct engine *m, struct model_delivery *at, const struct delivery *after)
{
	bool newly_due = after->state == DELIVERY_PENDING &&
		(at->d.state != DELIVERY_PENDING || at->d.due_ms != after->due_ms);

	account(m, &at->d, -1);
	at->d = *after;
	account(m, &at->d, 1);
	if (newly_due && after->due_ms < touch(m, after->endpoint)->earliest_due_ms)
		touch(m, after->endpoint)->earliest_due_ms = after->due_ms;
}

/* ---- Forgetting ---- */

static void drop_delivery(struct engine *m, struct model_event *e, size_t i)
{
	account(m, &e->deliveries[i].d, -1);
	memmove(e->deliveries + i, e->deliveries + i + 1, (e->n - i - 1) * sizeof(*e->deliveries));
	e->n--;
}

static void drop_event(struct engine *m, struct model_event *e)
{
	size_t i = (size_t)(e - m->events);

	while (e->n)
		drop_delivery(m, e, 0);
	if (e->stored->event.key) {
		struct model_key *k = find_key(m, e->stored->event.tenant, e->stored->event.key);

		if (k && k->expires_ms <= m->batch->now_ms &&
			event_id_compare(&k->event, &e->stored->event.id) == 0)
			*k = m->keys[--m->n_keys];
	}
	free(e->stored);
	free(e->deliveries);
	memmove(m->events + i, m->events + i + 1, (m->n_events - i - 1) * sizeof(*m->events));
	m->n_events--;
}

/* Has it ended, in which class, when? */
static bool has_ended(const struct model_event *e, int *class, int64_t *ended_ms)
{
	*class = 0;
	*ended_ms = e->n ? 0 : event_id_ms(&e->stored->event.id);
	for (size_t i = 0; i < e->n; i++) {
		const struct delivery *d = &e->deliveries[i].d;

		if (is_owed(d))
			return false;
		if (d->state == DELIVERY_DEAD)
			*class = 1;
		if (d->since_ms > *ended_ms)
			*ended_ms = d->since_ms;
	}
	return true;
}

static struct model_event *first_ended(struct engine *m, int wanted_class, int64_t *ended_ms)
{
	struct model_event *first = NULL;

	for (size_t i = 0; i < m->n_events; i++) {
		int class;
		int64_t ms;

		if (has_ended(&m->events[i], &class, &ms) && class == wanted_class &&
			(!first || ms < *ended_ms)) {
			first = &m->events[i];
			*ended_ms = ms;
		}
	}
	return first;
}

static unsigned forget_ended(struct engine *m, int class, int64_t before_ms, unsigned max)
{
	unsigned n = 0;

	for (; n < max; n++) {
		int64_t ended_ms;
		struct model_event *e = first_ended(m, class, &ended_ms);

		if (!e || ended_ms >= before_ms)
			break;
		drop_event(m, e);
	}
	return n;
}

static unsigned forget_keys(struct engine *m, int64_t before_ms, unsigned max)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->n_keys && n < max;) {
		struct model_key *k = &m->keys[i];

		if (!k->listed || k->expires_ms >= before_ms) {
			i++;
			continue;
		}
		n++;
		k->listed = false;
		if (!find_event(m, &k->event))
			*k = m->keys[--m->n_keys];
		else
			i++;
	}
	return n;
}

static unsigned remove_owed(
	struct engine *m, uint32_t endpoint, enum delivery_state state, unsigned max)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->n_events && n < max; i++) {
		struct model_delivery *at = find_owed_to(&m->events[i], endpoint);
		struct delivery after;

		if (!at || at->d.state != state)
			continue;
		after = at->d;
		delivery_apply_verb(
			&after, VERB_ENDPOINT_REMOVED, ALL_STATES, true, m->batch->now_ms);
		replace(m, at, &after);
		touch(m, endpoint)->by_verb = true;
		n++;
	}
	return n;
}

/* ---- Applying ---- */

static void apply_outcome(struct engine *m, struct outcome_op *op)
{
	struct outcome *o = &op->outcome;
	struct delivery_ref ref = {o->event, o->endpoint};
	struct model_delivery *at = find_delivery(m, &ref);
	struct model_endpoint *endpoint = find_endpoint(m, o->endpoint);
	struct delivery after;

	op->after = (struct delivery){0};
	if (!at)
		return;
	after = at->d;
	if (delivery_apply_outcome(&after, o, m->batch->now_ms) == DELIVERY_CHANGED) {
		if (o->attempt.number && (o->attempt.number > 1 || o->kind != OUTCOME_DELIVERED)) {
			if (at->n_stories == HISTORY_MAX) {
				memmove(at->stories, at->stories + 1,
					(HISTORY_MAX - 1) * sizeof(at->stories[0]));
				at->n_stories--;
			}
			at->stories[at->n_stories] = (struct attempt_story){.attempt = o->attempt,
				.message_len = op->message_len,
				.response_len = op->response_len};
			memcpy(at->stories[at->n_stories].message, op->message, op->message_len);
			memcpy(at->stories[at->n_stories].response, op->response, op->response_len);
			at->n_stories++;
		}
		if (o->attempt.number) {
			struct tally *t = &endpoint->tally;
			enum health health =
				o->attempt.result == RESULT_OK ? HEALTH_OK : HEALTH_FAILING;

			if (t->health != health) {
				t->health = health;
				t->health_since_ms = m->batch->now_ms;
				t->failures = health == HEALTH_FAILING ? 0 : t->failures;
			}
			t->failures += health == HEALTH_FAILING;
			t->last = o->attempt;
			t->message_len = op->message_len;
			memcpy(t->message, op->message, op->message_len);
		}
		replace(m, at, &after);
	}
	if (after.state == DELIVERY_PENDING &&
		after.due_ms < touch(m, o->endpoint)->earliest_due_ms)
		touch(m, o->endpoint)->earliest_due_ms = after.due_ms;
	op->after = after;
}

static void apply_endpoint(struct engine *m, struct endpoint_op *op)
{
	struct model_endpoint *e = find_endpoint(m, op->number);

	if (!e) {
		size_t i = m->n_endpoints;

		GROW(m->endpoints, m->n_endpoints);
		m->n_endpoints++;
		for (; i > 0 && m->endpoints[i - 1].number > op->number; i--)
			m->endpoints[i] = m->endpoints[i - 1];
		e = &m->endpoints[i];
		*e = (struct model_endpoint){.number = op->number};
	}
	free(e->blob);
	e->blob = malloc(op->blob_len + 1);
	assert(e->blob);
	memcpy(e->blob, op->blob, op->blob_len);
	e->blob_len = op->blob_len;
	e->removed = op->removed;
	if (op->number >= m->found.next_endpoint)
		m->found.next_endpoint = op->number + 1;
	touch(m, op->number);
}

static bool takes(struct engine *m, uint32_t number)
{
	struct model_endpoint *e = find_endpoint(m, number);

	return e && !e->removed;
}

static uint64_t adds_to(const struct submit_op *op, size_t upto, uint32_t endpoint)
{
	uint64_t sum = 0;

	for (size_t i = 0; i <= upto; i++) {
		for (uint32_t j = 0; j < op->events[i].n_targets; j++) {
			if (op->events[i].targets[j] == endpoint && !op->events[i].same_as &&
				!op->events[i].duplicate)
				sum += op->events[i].event.payload_len + OWED_OVERHEAD;
		}
	}
	return sum;
}

static enum engine_result check_submit(struct engine *m, struct submit_op *op)
{
	for (size_t i = 0; i < op->n; i++)
		op->events[i].duplicate = false;
	for (size_t i = 0; i < op->n; i++) {
		struct new_event *e = &op->events[i];
		struct model_key *k =
			e->event.key ? find_key(m, e->event.tenant, e->event.key) : NULL;

		if (e->same_as)
			continue;
		if (k && k->expires_ms > m->batch->now_ms) {
			if (memcmp(k->digest, e->digest, sizeof(k->digest)) != 0) {
				problem_set(&op->problem, PROBLEM_KEY_REUSED, "idempotency_key",
					"reused");
				op->problem.line = e->line;
				return ENGINE_REFUSED;
			}
			e->duplicate = true;
			e->id = k->event;
			e->n_deliveries = k->n_deliveries;
		}
	}
	for (size_t i = 0; i < op->n; i++) {
		const struct new_event *e = &op->events[i];

		for (uint32_t j = 0; !e->same_as && !e->duplicate && j < e->n_targets; j++) {
			struct model_endpoint *t = find_endpoint(m, e->targets[j]);

			if (takes(m, e->targets[j]) &&
				t->tally.owed_bytes + adds_to(op, i, e->targets[j]) >
					(uint64_t)m->batch->limits.budget_bytes / 4) {
				op->full_endpoint = e->targets[j];
				problem_set(&op->problem, PROBLEM_FULL, NULL, "share");
				return ENGINE_REFUSED;
			}
		}
	}
	return ENGINE_OK;
}

static struct stored_event *copy_stored(const struct event *event, const uint8_t *payload)
{
	size_t strings = strlen(event->tenant) + strlen(event->type) + strlen(event->content_type) +
		3 + (event->key ? strlen(event->key) + 1 : 0);
	struct stored_event *s = malloc(sizeof(*s) + strings + event->payload_len);
	char *to = (char *)(s + 1);

	assert(s);
	s->event = *event;
	s->event.tenant = memcpy(to, event->tenant, strlen(event->tenant) + 1);
	to += strlen(event->tenant) + 1;
	s->event.type = memcpy(to, event->type, strlen(event->type) + 1);
	to += strlen(event->type) + 1;
	s->event.content_type = memcpy(to, event->content_type, strlen(event->content_type) + 1);
	to += strlen(event->content_type) + 1;
	if (event->key) {
		s->event.key = memcpy(to, event->key, strlen(event->key) + 1);
		to += strlen(event->key) + 1;
	}
	s->payload = (uint8_t *)to;
	if (payload && event->payload_len)
		memcpy(to, payload, event->payload_len);
	return s;
}

static void store_event(struct engine *m, struct new_event *e)
{
	struct model_event *at;
	uint8_t *payload;
	size_t used = 0;

	GROW(m->events, m->n_events);
	at = &m->events[m->n_events++];
	at->stored = copy_stored(&e->event, NULL);
	payload = (uint8_t *)at->stored->payload;
	for (int i = 0; i < 3; i++) {
		if (e->payload[i].len)
			memcpy(payload + used, e->payload[i].at, e->payload[i].len);
		used += e->payload[i].len;
	}
	assert(used == e->event.payload_len);
	e->id = e->event.id;
	e->n_deliveries = 0;
	for (uint32_t i = 0; i < e->n_targets; i++) {
		size_t place;

		if (!takes(m, e->targets[i]))
			continue;
		GROW(at->deliveries, at->n);
		for (place = at->n++;
			place > 0 && at->deliveries[place - 1].d.endpoint > e->targets[i]; place--)
			at->deliveries[place] = at->deliveries[place - 1];
		memset(&at->deliveries[place], 0, sizeof(at->deliveries[place]));
		at->deliveries[place].d = (struct delivery){.event = e->event.id,
			.endpoint = e->targets[i],
			.state = DELIVERY_PENDING,
			.since_ms = e->event.accepted_ms,
			.due_ms = e->due_ms,
			.aged_from_ms = e->due_ms,
			.payload_bytes = e->event.payload_len,
			.last = {.retry_after_s = -1}};
		account(m, &at->deliveries[place].d, 1);
		if (e->due_ms < touch(m, e->targets[i])->earliest_due_ms)
			touch(m, e->targets[i])->earliest_due_ms = e->due_ms;
		e->n_deliveries++;
	}
	at->stored->event.n_deliveries = e->n_deliveries;
	if (e->event.key) {
		struct model_key *k = find_key(m, e->event.tenant, e->event.key);

		if (!k) {
			GROW(m->keys, m->n_keys);
			k = &m->keys[m->n_keys++];
		}
		snprintf(k->tenant, sizeof(k->tenant), "%s", e->event.tenant);
		snprintf(k->key, sizeof(k->key), "%s", e->event.key);
		k->event = e->event.id;
		k->n_deliveries = e->n_deliveries;
		k->expires_ms = e->key_expires_ms;
		k->listed = true;
		memcpy(k->digest, e->digest, sizeof(k->digest));
	}
	m->found.last_event = e->event.id;
}

static void apply_submit(struct engine *m, struct submit_op *op)
{
	op->op.result = check_submit(m, op);
	for (size_t i = 0; i < op->n && op->op.result == ENGINE_OK; i++) {
		struct new_event *e = &op->events[i];

		if (e->same_as) {
			e->duplicate = true;
			e->id = e->same_as->id;
			e->n_deliveries = e->same_as->n_deliveries;
		} else if (!e->duplicate) {
			store_event(m, e);
		}
	}
}

static void apply_verb(struct engine *m, struct verb_op *op)
{
	size_t end = op->n - op->at > 1024 ? op->at + 1024 : op->n;

	for (; op->at < end; op->at++) {
		const struct delivery_ref *ref = &op->refs[op->at];
		struct model_event *event = find_event(m, &ref->event);
		struct model_delivery *at = find_delivery(m, ref);
		struct delivery after;
		enum delivery_change change;

		if (ref->endpoint == 0 && event && event->n == 0 && op->verb == VERB_PURGE) {
			drop_event(m, event);
			op->n_changed++;
			continue;
		}
		if (!at)
			continue;
		after = at->d;
		change = delivery_apply_verb(
			&after, op->verb, op->states, !takes(m, ref->endpoint), m->batch->now_ms);
		if (change == DELIVERY_UNCHANGED)
			continue;
		op->n_changed++;
		touch(m, ref->endpoint)->by_verb = true;
		if (change == DELIVERY_CHANGED) {
			replace(m, at, &after);
			continue;
		}
		drop_delivery(m, event, (size_t)(at - event->deliveries));
		if (event->n == 0)
			drop_event(m, event);
	}
}

static void keep_house(struct engine *m, struct housekeeping *h)
{
	h->n_forgotten = h->n_keys_forgotten = h->n_removed = 0;
	if (h->delivered_before_ms)
		h->n_forgotten += forget_ended(m, 0, h->delivered_before_ms, h->max_events);
	if (h->dead_before_ms)
		h->n_forgotten +=
			forget_ended(m, 1, h->dead_before_ms, h->max_events - h->n_forgotten);
	if (h->oldest_delivered)
		h->n_forgotten += forget_ended(m, 0, INT64_MAX, h->oldest_delivered);
	if (h->keys_before_ms)
		h->n_keys_forgotten = forget_keys(m, h->keys_before_ms, 4 * h->max_events);
	if (h->remove_endpoint) {
		h->n_removed = remove_owed(m, h->remove_endpoint, DELIVERY_PENDING, h->max_events);
		h->n_removed += remove_owed(
			m, h->remove_endpoint, DELIVERY_HELD, h->max_events - h->n_removed);
	}
}

static int64_t oldest_pending(struct engine *m, uint32_t endpoint)
{
	for (size_t i = 0; i < m->n_events; i++) {
		const struct model_delivery *at = find_owed_to(&m->events[i], endpoint);

		if (at && at->d.state == DELIVERY_PENDING)
			return event_id_ms(&at->d.event);
	}
	return 0;
}

static void conclude(struct engine *m, struct touched *t)
{
	struct model_endpoint *e = find_endpoint(m, t->endpoint);

	assert(e);
	t->tally = e->tally;
	t->oldest_pending_ms = oldest_pending(m, t->endpoint);
	t->forgotten = e->removed;
	for (int state = DELIVERY_PENDING; state <= DELIVERY_DEAD; state++)
		t->forgotten = t->forgotten && e->tally.deliveries[state] == 0;
	if (t->forgotten) {
		size_t i = (size_t)(e - m->endpoints);

		free(e->blob);
		memmove(e, e + 1, (m->n_endpoints - i - 1) * sizeof(*e));
		m->n_endpoints--;
	}
}

static enum engine_result model_commit(struct engine *m, struct batch *batch)
{
	m->batch = batch;
	batch->touched = NULL;
	batch->n_touched = 0;
	for (struct op *op = batch->ops; op; op = op->next) {
		op->result = ENGINE_OK;
		switch (op->kind) {
		case OP_OUTCOME:
			apply_outcome(m, (struct outcome_op *)op);
			break;
		case OP_ENDPOINT:
			apply_endpoint(m, (struct endpoint_op *)op);
			break;
		case OP_SENDING:
			m->found.sending = ((struct sending_op *)op)->sending;
			break;
		case OP_KEY:
			memcpy(m->found.key_id, ((struct key_op *)op)->key_id,
				sizeof(m->found.key_id));
			break;
		case OP_SUBMIT:
			apply_submit(m, (struct submit_op *)op);
			break;
		case OP_VERB:
			apply_verb(m, (struct verb_op *)op);
			break;
		}
	}
	keep_house(m, &batch->housekeeping);
	for (size_t i = 0; i < batch->n_touched; i++)
		conclude(m, &batch->touched[i]);
	m->found.queue_ms = batch->now_ms;
	return ENGINE_OK;
}

/* ---- Reading ---- */

static enum engine_result model_claim(struct engine *m, struct claim *claim)
{
	struct claimed **end = &claim->list;
	struct delivery_ref last = {{{0}}, 0};
	int64_t last_due = INT64_MIN;
	size_t bytes = 0;
	unsigned n = 0;

	claim->list = NULL;
	claim->next_due_ms = INT64_MAX;
	while (true) { /* the next one in the order of due time and event */
		struct model_event *event = NULL;
		struct model_delivery *next = NULL;

		for (size_t i = 0; i < m->n_events; i++) {
			struct model_delivery *at = find_owed_to(&m->events[i], claim->endpoint);

			if (!at || at->d.state != DELIVERY_PENDING || at->d.due_ms < last_due ||
				(at->d.due_ms == last_due &&
					event_id_compare(&at->d.event, &last.event) <= 0))
				continue;
			if (!next || at->d.due_ms < next->d.due_ms) {
				next = at;
				event = &m->events[i];
			}
		}
		if (!next)
			return ENGINE_OK;
		last.event = next->d.event;
		last_due = next->d.due_ms;
		last.endpoint = claim->endpoint;
		if (claim->skip(claim->user, &last))
			continue;
		if (last_due > claim->until_ms || n == claim->max_n || bytes >= claim->max_bytes) {
			claim->next_due_ms = last_due;
			return ENGINE_OK;
		}
		*end = calloc(1, sizeof(**end));
		assert(*end);
		(*end)->delivery = next->d;
		(*end)->event = copy_stored(&event->stored->event, event->stored->payload);
		bytes += event->stored->event.payload_len;
		n++;
		end = &(*end)->next;
	}
}

static bool matches(struct engine *m, const struct delivery_query *q, const struct delivery *d)
{
	bool endpoint = q->any_endpoint;

	for (size_t i = 0; i < q->n_endpoints && !endpoint; i++)
		endpoint = q->endpoints[i] == d->endpoint;
	return endpoint && (!q->one_event || event_id_compare(&q->event, &d->event) == 0) &&
		(q->states & STATE_BIT(d->state)) && d->since_ms >= q->since_ms &&
		d->since_ms <= q->until_ms &&
		(q->http_status_min < 0 ||
			(d->last.number && d->last.http_status >= q->http_status_min &&
				d->last.http_status <= q->http_status_max)) &&
		(q->result == RESULT_NONE || d->last.result == q->result) &&
		(!q->type ||
			pattern_matches(q->type, find_event(m, &d->event)->stored->event.type));
}

/* The place of a delivery in the order of a list. */
struct place {
	int64_t died_ms; /* only in lists of the dead alone */
	struct event_id event;
	uint32_t endpoint;
};

static struct place place_of(const struct delivery_query *q, const struct delivery *d)
{
	bool dead_alone = q->states == STATE_BIT(DELIVERY_DEAD) && !q->one_event;

	return (struct place){dead_alone ? d->since_ms : 0, d->event, d->endpoint};
}

static int compare_places(const struct place *a, const struct place *b)
{
	int order = event_id_compare(&a->event, &b->event);

	if (a->died_ms != b->died_ms)
		return a->died_ms < b->died_ms ? -1 : 1;
	if (order)
		return order;
	return a->endpoint < b->endpoint ? -1 : a->endpoint > b->endpoint;
}

static enum engine_result model_list_deliveries(
	struct engine *m, const struct delivery_query *q, struct delivery_page *page)
{
	struct place after = {0};
	bool bounded = q->from.len > 0;

	*page = (struct delivery_page){.rows = calloc(q->limit, sizeof(*page->rows))};
	assert(page->rows);
	if (bounded)
		memcpy(&after, q->from.bytes, sizeof(after));
	while (true) {
		struct model_delivery *next = NULL;
		struct place next_place = {0};

		for (size_t i = 0; i < m->n_events; i++) {
			for (size_t j = 0; j < m->events[i].n; j++) {
				struct model_delivery *at = &m->events[i].deliveries[j];
				struct place place = place_of(q, &at->d);
				int sign = q->oldest_first ? 1 : -1;

				if (!matches(m, q, &at->d) ||
					(bounded && sign * compare_places(&place, &after) <= 0))
					continue;
				if (!next || sign * compare_places(&place, &next_place) < 0) {
					next = at;
					next_place = place;
				}
			}
		}
		if (!next)
			return ENGINE_OK;
		if (page->n == q->limit) {
			page->more = true;
			return ENGINE_OK;
		}
		after = next_place;
		bounded = true;
		memcpy(page->next.bytes, &after, sizeof(after));
		page->next.len = sizeof(after);
		page->rows[page->n].delivery = next->d;
		snprintf(page->rows[page->n].type, 129, "%s",
			find_event(m, &next->d.event)->stored->event.type);
		if (next->n_stories && !q->refs_only &&
			next->stories[next->n_stories - 1].attempt.number == next->d.last.number) {
			page->rows[page->n].story = malloc(sizeof(struct attempt_story));
			assert(page->rows[page->n].story);
			*page->rows[page->n].story = next->stories[next->n_stories - 1];
		}
		page->n++;
	}
}

static void fill_event_row(struct model_event *e, struct event_row *row, bool with_payload)
{
	row->event = copy_stored(&e->stored->event, e->stored->payload);
	if (!with_payload)
		row->event->payload = NULL;
	memset(row->states, 0, sizeof(row->states));
	for (size_t i = 0; i < e->n; i++)
		row->states[e->deliveries[i].d.state]++;
}

static enum engine_result model_list_events(
	struct engine *m, const struct event_query *q, struct event_page *page)
{
	*page = (struct event_page){.rows = calloc(q->limit, sizeof(*page->rows))};
	assert(page->rows);
	for (size_t i = 0; i < m->n_events; i++) {
		struct model_event *e = &m->events[q->oldest_first ? i : m->n_events - 1 - i];
		const struct event *event = &e->stored->event;
		int order = q->from.len ? memcmp(event->id.bytes, q->from.bytes, 16) : 0;

		if (q->from.len && (q->oldest_first ? order <= 0 : order >= 0))
			continue;
		if ((q->tenant && strcmp(q->tenant, event->tenant) != 0) ||
			(q->type && !pattern_matches(q->type, event->type)) ||
			event->accepted_ms < q->since_ms || event->accepted_ms > q->until_ms)
			continue;
		if (q->key) {
			struct model_key *k = find_key(m, q->tenant, q->key);

			if (!k || event_id_compare(&k->event, &event->id) != 0)
				continue;
		}
		if (page->n == q->limit) {
			page->more = true;
			return ENGINE_OK;
		}
		fill_event_row(e, &page->rows[page->n++], false);
		memcpy(page->next.bytes, event->id.bytes, 16);
		page->next.len = 16;
	}
	return ENGINE_OK;
}

static enum engine_result model_get_event(
	struct engine *m, const struct event_id *id, bool with_payload, struct event_row *row)
{
	struct model_event *e = find_event(m, id);

	if (!e)
		return ENGINE_NOT_FOUND;
	fill_event_row(e, row, with_payload);
	return ENGINE_OK;
}

static enum engine_result model_get_history(
	struct engine *m, const struct delivery_ref *ref, struct history *history)
{
	struct model_delivery *at = find_delivery(m, ref);

	*history = (struct history){0};
	if (!at)
		return ENGINE_NOT_FOUND;
	history->delivery = at->d;
	snprintf(history->type, sizeof(history->type), "%s",
		find_event(m, &ref->event)->stored->event.type);
	history->stories = malloc(sizeof(at->stories));
	assert(history->stories);
	memcpy(history->stories, at->stories, sizeof(at->stories));
	history->n = at->n_stories;
	return ENGINE_OK;
}

/* In one page, whatever the limit: the position would say nothing to the other engine anyway. */
static enum engine_result model_count_ages(
	struct engine *m, const struct age_query *q, struct age_page *page)
{
	*page = (struct age_page){.next_due_ms = INT64_MAX};
	for (size_t i = 0; i < m->n_events; i++) {
		struct delivery_ref ref = {m->events[i].stored->event.id, q->endpoint};
		struct model_delivery *at = find_delivery(m, &ref);
		unsigned class = 0;

		if (!at || at->d.state != DELIVERY_PENDING)
			continue;
		while (class < AGE_CLASSES - 1 && event_id_ms(&ref.event) < q->bounds_ms[class])
			class ++;
		page->counts[class]++;
		page->n++;
		if (at->d.due_ms < page->next_due_ms)
			page->next_due_ms = at->d.due_ms;
	}
	return ENGINE_OK;
}

static enum engine_result model_stats(
	struct engine *m, const struct store_limits *limits, struct engine_stats *stats)
{
	(void)limits;
	*stats = (struct engine_stats){.disk_free_bytes = INT64_MAX,
		.would_accept = true,
		.first_delivered_end_ms = INT64_MAX,
		.first_dead_end_ms = INT64_MAX,
		.first_key_expiry_ms = INT64_MAX};
	first_ended(m, 0, &stats->first_delivered_end_ms);
	first_ended(m, 1, &stats->first_dead_end_ms);
	for (size_t i = 0; i < m->n_keys; i++) {
		if (m->keys[i].listed && m->keys[i].expires_ms < stats->first_key_expiry_ms)
			stats->first_key_expiry_ms = m->keys[i].expires_ms;
	}
	for (size_t i = 0; i < m->n_events; i++) {
		for (size_t j = 0; j < m->events[i].n; j++) {
			const struct delivery *d = &m->events[i].deliveries[j].d;

			if (d->state != DELIVERY_DEAD)
				continue;
			if (d->since_ms > stats->newest_dead_ms)
				stats->newest_dead_ms = d->since_ms;
			if (!stats->oldest_dead_ms || d->since_ms < stats->oldest_dead_ms)
				stats->oldest_dead_ms = d->since_ms;
		}
	}
	return ENGINE_OK;
}

/* ---- Opening ---- */

static int model_open(struct engine **engine, const struct engine_options *options,
	struct engine_found *found, struct problem *problem)
{
	struct engine *m = calloc(1, sizeof(*m));

	(void)problem;
	assert(m);
	m->found = (struct engine_found){.next_endpoint = 1, .fresh = true};
	memcpy(m->found.key_id, options->key_id, sizeof(m->found.key_id));
	*found = m->found;
	*engine = m;
	return 0;
}

static void model_close(struct engine *m, int64_t now_ms)
{
	(void)now_ms;
	for (size_t i = 0; i < m->n_events; i++) {
		free(m->events[i].stored);
		free(m->events[i].deliveries);
	}
	for (size_t i = 0; i < m->n_endpoints; i++)
		free(m->endpoints[i].blob);
	free(m->events);
	free(m->endpoints);
	free(m->keys);
	free(m);
}

struct engine_found model_engine_found(const struct engine *m)
{
	struct engine_found found = m->found;

	found.fresh = false;
	return found;
}

void model_engine_each_delivery(const struct engine *m,
	void (*found)(void *user, const struct delivery *delivery), void *user)
{
	for (size_t i = 0; i < m->n_events; i++) {
		for (size_t j = 0; j < m->events[i].n; j++)
			found(user, &m->events[i].deliveries[j].d);
	}
}

static const char *model_broken(const struct engine *m)
{
	(void)m;
	return "";
}

static enum engine_result model_each_endpoint(struct engine *m,
	void (*found)(void *user, uint32_t number, bool removed, const uint8_t *blob, size_t len,
		const struct touched *state),
	void *user)
{
	for (size_t i = 0; i < m->n_endpoints; i++) {
		const struct model_endpoint *e = &m->endpoints[i];
		struct touched state = {.endpoint = e->number,
			.earliest_due_ms = INT64_MAX,
			.oldest_pending_ms = oldest_pending(m, e->number),
			.tally = e->tally};

		found(user, e->number, e->removed, e->blob, e->blob_len, &state);
	}
	return ENGINE_OK;
}

static enum engine_result model_set_lag(struct engine *m, int64_t stop_ms, int64_t lag_ms)
{
	m->found.stop_ms = stop_ms;
	m->found.lag_ms = lag_ms;
	return ENGINE_OK;
}

static enum engine_result model_backup(struct engine *m, const char *path,
	bool (*cancelled)(void *user), void *user, int64_t *bytes, struct problem *problem)
{
	(void)m, (void)path, (void)cancelled, (void)user, (void)bytes;
	problem_set(problem, PROBLEM_INVALID, NULL, "memory has no backup");
	return ENGINE_REFUSED;
}

const struct engine_verbs engine_model = {
	.open = model_open,
	.close = model_close,
	.broken = model_broken,
	.each_endpoint = model_each_endpoint,
	.set_lag = model_set_lag,
	.commit = model_commit,
	.claim = model_claim,
	.list_deliveries = model_list_deliveries,
	.list_events = model_list_events,
	.get_event = model_get_event,
	.get_history = model_get_history,
	.count_ages = model_count_ages,
	.stats = model_stats,
	.backup = model_backup,
};
