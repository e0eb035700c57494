#include "oracle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/model_engine.h"
#include "check.h"
#include "dice.h"
#include "expected.h"
#include "kernel.h"
#include "limits.h"
#include "queue_time.h"

#define OUTCOME_WAITS_US 10000 /* for others, at most */

/* ---- Life ---- */

void oracle_reset(void)
{
	for (size_t i = 0; i < expectations.n; i++)
		free(expectations.events[i].deliveries);
	free(expectations.events);
	free(expectations.keys);
	memset(&expectations, 0, sizeof(expectations));
}

/* By the settings of now, and by those that the batch under way may still go by. */
static int64_t keep_ms(bool dead)
{
	int64_t now = dead ? expectations.keep_dead_ms : expectations.keep_delivered_ms;
	int64_t before = dead ? expectations.kept_dead_ms : expectations.kept_delivered_ms;

	return expectations.batches <= expectations.keep_batch + 1 && before < now ? before : now;
}

void oracle_keep(int64_t delivered_ms, int64_t dead_ms)
{
	expectations.kept_delivered_ms = keep_ms(false);
	expectations.kept_dead_ms = keep_ms(true);
	expectations.keep_batch = expectations.batches;
	expectations.keep_delivered_ms = delivered_ms;
	expectations.keep_dead_ms = dead_ms;
}

void oracle_crashed(void)
{
	for (size_t i = 0; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++) {
			struct expected *d = &expectations.events[i].deliveries[j];

			if (d->sent || d->answered_for) {
				d->lost += d->sent || d->answered_made;
				cover("a crash while an attempt is under way");
			}
			d->claimed = d->damaged = d->unsendable = false;
			d->answered_for = d->answered_made = false;
			d->deaths = 0;
			expected_leave_sender(d);
		}
	}
	expectations.reported = expectations.batches;
}

/* ---- Submits ---- */

static struct expected_key *find_key(const char *tenant, const char *key)
{
	for (size_t i = 0; i < expectations.n_keys; i++) {
		if (strcmp(expectations.keys[i].key, key) == 0 &&
			strcmp(expectations.keys[i].tenant, tenant) == 0)
			return &expectations.keys[i];
	}
	return NULL;
}

static void note_key(const struct new_event *e)
{
	struct expected_key *k = find_key(e->event.tenant, e->event.key);

	if (!k) {
		if (expectations.n_keys == expectations.keys_size) {
			expectations.keys_size =
				expectations.keys_size ? 2 * expectations.keys_size : 32;
			expectations.keys = realloc(expectations.keys,
				expectations.keys_size * sizeof(*expectations.keys));
			assert(expectations.keys);
		}
		k = &expectations.keys[expectations.n_keys++];
		snprintf(k->tenant, sizeof(k->tenant), "%s", e->event.tenant);
		snprintf(k->key, sizeof(k->key), "%s", e->event.key);
	}
	k->event = e->event.id;
	k->expires_ms = e->key_expires_ms;
	memcpy(k->digest, e->digest, sizeof(k->digest));
}

static void expect_event(const struct new_event *e)
{
	struct expected_event *at;

	check(expectations.n == 0 ||
			event_id_compare(
				&expectations.events[expectations.n - 1].id, &e->event.id) < 0,
		"the id of a new event is not above all others");
	if (expectations.n == expectations.size) {
		expectations.size = expectations.size ? 2 * expectations.size : 128;
		expectations.events = realloc(
			expectations.events, expectations.size * sizeof(*expectations.events));
		assert(expectations.events);
	}
	at = &expectations.events[expectations.n++];
	*at = (struct expected_event){.id = e->event.id,
		.accepted_ms = e->event.accepted_ms,
		.deliver_at_wall_ms = e->event.deliver_at_wall_ms,
		.payload_hash = 1,
		.payload_len = e->event.payload_len,
		.is_poison = strcmp(e->event.type, POISON_TYPE) == 0};
	for (int i = 0; i < 3; i++)
		at->payload_hash =
			expected_hash(at->payload_hash, e->payload[i].at, e->payload[i].len);
	at->deliveries = calloc(e->n_targets + 1, sizeof(*at->deliveries));
	assert(at->deliveries);
	for (uint32_t i = 0; i < e->n_targets; i++) {
		uint32_t endpoint = e->targets[i];

		if (!expectations.endpoints[endpoint].there ||
			expectations.endpoints[endpoint].removed)
			continue;
		at->deliveries[at->n++] = (struct expected){.event = e->event.id,
			.endpoint = endpoint,
			.state = DELIVERY_PENDING,
			.since_ms = e->event.accepted_ms,
			.due_ms = e->due_ms,
			.aged_from_ms = e->due_ms};
		expectations.n_there++;
	}
	trace("event %zu is stored, owed to %u endpoints%s", expectations.n - 1, at->n,
		at->is_poison ? ", and kills senders" : "");
	at->gone = at->n == 0; /* owed to nobody: nothing to follow */
	if (e->event.key)
		note_key(e);
}

static void follow_submit(const struct submit_op *op, bool full)
{
	if (op->op.result == ENGINE_REFUSED) {
		check(op->problem.code == PROBLEM_KEY_REUSED ||
				(op->problem.code == PROBLEM_FULL && full),
			"a submit was refused (%s), though there is room",
			problem_name(op->problem.code));
		if (op->problem.code == PROBLEM_FULL)
			cover("a submit is refused: full");
		else
			cover("a submit is refused: key reused");
		return;
	}
	for (size_t i = 0; i < op->n; i++) {
		const struct new_event *e = &op->events[i];
		const struct expected_key *k =
			e->event.key ? find_key(e->event.tenant, e->event.key) : NULL;
		bool known = k && k->expires_ms > expectations.now_ms;

		check(known == e->duplicate, "a submit with a key that is %s is taken for %s one",
			known ? "known" : "new", e->duplicate ? "a known" : "a new");
		if (!known) {
			expect_event(e);
			continue;
		}
		check(event_id_compare(&k->event, &e->id) == 0,
			"a repeat is answered with another event's id");
		check(memcmp(k->digest, e->digest, sizeof(k->digest)) == 0,
			"a repeat with another content is taken");
		cover("a repeat is answered with the first one's id");
	}
}

/* ---- Verbs: the table ---- */

static void enter(struct expected *d, enum delivery_state state, enum dead_reason reason)
{
	d->state = state;
	d->reason = reason;
	d->since_ms = expectations.now_ms;
}

static void note_verb(struct expected *d)
{
	d->verbs++;
	d->verb_batch = expectations.batches;
	expected_find_event(&d->event)->settled = false;
	limits_stale(d->endpoint);
	if (d->sent || d->answered_for)
		cover("a verb on a delivery under way");
}

static void vanish(struct expected *d)
{
	d->state = GONE;
	expectations.n_there--;
}

/* What the verb does with a delivery in that state. Returns whether it changes anything. */
static bool apply_verb(struct expected *d, enum verb verb, unsigned states)
{
	bool removed = expectations.endpoints[d->endpoint].removed ||
		!expectations.endpoints[d->endpoint].there;
	enum delivery_state was = d->state;

	if (was == GONE || !(states & STATE_BIT(was)))
		return false;
	switch (verb) {
	case VERB_REPLAY:
		if (removed)
			return false;
		enter(d, DELIVERY_PENDING, NOT_DEAD);
		d->due_ms = d->aged_from_ms = expectations.now_ms;
		d->attempts = d->local_faults = 0;
		cover("replay");
		break;
	case VERB_HOLD:
		if (was != DELIVERY_PENDING)
			return false;
		enter(d, DELIVERY_HELD, NOT_DEAD);
		cover("hold");
		break;
	case VERB_RELEASE:
		if (was != DELIVERY_HELD)
			return false;
		enter(d, DELIVERY_PENDING, NOT_DEAD);
		cover("release");
		break;
	case VERB_CANCEL:
		if (!expected_is_owed(d))
			return false;
		enter(d, DELIVERY_DEAD, DEAD_CANCELLED);
		cover("cancel");
		break;
	case VERB_PURGE:
		note_verb(d);
		vanish(d);
		cover("purge");
		return true;
	case VERB_ENDPOINT_REMOVED:
		return false;
	}
	note_verb(d);
	return true;
}

static void forget_if_empty(struct expected_event *e)
{
	e->gone = true;
	for (uint32_t i = 0; i < e->n; i++)
		e->gone = e->gone && e->deliveries[i].state == GONE;
}

static void follow_verb(const struct verb_op *op, size_t from, size_t changed_before)
{
	size_t changed = 0;

	for (size_t i = from; i < op->at; i++) {
		const struct delivery_ref *ref = &op->refs[i];
		struct expected_event *e = expected_find_event(&ref->event);
		struct expected *d = expected_find(&ref->event, ref->endpoint);

		if (!e || e->gone || !d || !apply_verb(d, op->verb, op->states))
			continue;
		changed++;
		trace("%s: %s, now %s", verb_name(op->verb), expected_name(d),
			expected_state_name(d->state));
		forget_if_empty(e);
	}
	check(op->n_changed - changed_before == changed,
		"%s changed %zu deliveries, but %zu were to be changed", verb_name(op->verb),
		op->n_changed - changed_before, changed);
}

/* ---- Outcomes ---- */

static void conclude(struct expected *d, const struct outcome *outcome)
{
	bool made = expected_effect(outcome) != NOT_MADE, old = d->claimed_verbs != d->verbs;

	if (made)
		d->made++;
	if (made && !old) {
		d->attempts++;
		d->local_faults = 0;
	}
	if (outcome->kind == OUTCOME_DELIVERED) {
		if (old)
			cover("a success that began before a verb");
		enter(d, DELIVERY_DELIVERED, NOT_DEAD);
		return;
	}
	if (old) {
		cover("a failure that began before a verb");
		return;
	}
	switch (outcome->kind) {
	case OUTCOME_DELIVERED:
		break;
	case OUTCOME_RETRY:
		d->due_ms = outcome->due_ms;
		break;
	case OUTCOME_EARLY:
		d->due_ms = d->aged_from_ms = outcome->due_ms;
		break;
	case OUTCOME_LOCAL:
		d->due_ms = outcome->due_ms;
		d->local_faults += d->local_faults < UINT8_MAX;
		break;
	case OUTCOME_DEAD:
		enter(d, DELIVERY_DEAD, outcome->reason);
		break;
	case OUTCOME_TOO_OLD:
		enter(d, DELIVERY_DEAD, DEAD_TOO_OLD);
		break;
	case OUTCOME_DAMAGED:
		enter(d, DELIVERY_DEAD, DEAD_DAMAGED);
		break;
	}
}

static void follow_outcome(const struct outcome_op *op)
{
	struct expected *d = expected_find(&op->outcome.event, op->outcome.endpoint);

	check(d && d->answered_for, "an outcome of %s is stored that nobody had handed in",
		expected_name_of(&op->outcome.event, op->outcome.endpoint));
	d->claimed = d->answered_for = d->answered_made = false;
	if (d->state == GONE) {
		d->lost += expected_effect(&op->outcome) != NOT_MADE;
		cover("an outcome that finds nothing");
		return;
	}
	if (expected_effect(&op->outcome) != NOT_MADE)
		limits_stored(d->endpoint, &op->outcome.attempt);
	conclude(d, &op->outcome);
	trace("%s is %s now, %u attempts", expected_name(d), expected_state_name(d->state),
		d->attempts);
}

/* ---- Comparing ---- */

/* What a removed endpoint was owed dies, in slices. */
static bool died_with_its_endpoint(struct expected *d, const struct delivery *found)
{
	if (!expectations.endpoints[d->endpoint].removed || !expected_is_owed(d) ||
		found->state != DELIVERY_DEAD || found->reason != DEAD_ENDPOINT_REMOVED)
		return false;
	enter(d, DELIVERY_DEAD, DEAD_ENDPOINT_REMOVED);
	note_verb(d);
	cover("a delivery dies with its endpoint");
	return true;
}

/* The engine shows them in our order. */
static struct expected *find_next(const struct delivery *found)
{
	while (expectations.cursor < expectations.n &&
		event_id_compare(&expectations.events[expectations.cursor].id, &found->event) < 0)
		expectations.cursor++;
	if (expectations.cursor == expectations.n ||
		event_id_compare(&expectations.events[expectations.cursor].id, &found->event) != 0)
		return NULL;
	for (uint32_t i = 0; i < expectations.events[expectations.cursor].n; i++) {
		if (expectations.events[expectations.cursor].deliveries[i].endpoint ==
			found->endpoint)
			return &expectations.events[expectations.cursor].deliveries[i];
	}
	return NULL;
}

static void compare(void *user, const struct delivery *found)
{
	struct expected *d = find_next(found);

	(void)user;
	check(d && d->state != GONE, "%s is stored, but nothing was to be left of it",
		expected_name_of(&found->event, found->endpoint));
	expectations.n_seen++;
	if (found->state != d->state)
		died_with_its_endpoint(d, found);
	check(found->state == d->state && found->reason == d->reason,
		"%s is %s (%s), but has to be %s (%s)", expected_name(d),
		expected_state_name(found->state),
		dead_reason_name(found->reason) ? dead_reason_name(found->reason) : "-",
		expected_state_name(d->state),
		dead_reason_name(d->reason) ? dead_reason_name(d->reason) : "-");
	check(found->since_ms == d->since_ms && found->aged_from_ms == d->aged_from_ms,
		"%s: since or age are %lld, %lld, but have to be %lld, %lld", expected_name(d),
		(long long)found->since_ms, (long long)found->aged_from_ms, (long long)d->since_ms,
		(long long)d->aged_from_ms);
	check(found->due_ms == d->due_ms, "%s is due at %lld, but has to be at %lld",
		expected_name(d), (long long)found->due_ms, (long long)d->due_ms);
	check(found->attempts == d->attempts && found->last.number == d->made &&
			found->local_faults == d->local_faults,
		"%s: %u attempts, %u in all, %u local faults; but have to be %u, %u, %u",
		expected_name(d), found->attempts, found->last.number, found->local_faults,
		d->attempts, d->made, d->local_faults);
}

/* An event that is not stored any more: may retention have taken it? */
static void explain_loss(struct expected_event *e)
{
	int64_t ended_ms = e->n ? 0 : e->accepted_ms;
	bool dead = false;

	for (uint32_t i = 0; i < e->n; i++) {
		const struct expected *d = &e->deliveries[i];

		if (d->state == GONE)
			continue;
		check(!expected_is_owed(d), "%s is owed, and lost", expected_name(d));
		dead = dead || d->state == DELIVERY_DEAD;
		if (d->since_ms > ended_ms)
			ended_ms = d->since_ms;
	}
	check((expectations.pressed && !dead) || ended_ms < expectations.now_ms - keep_ms(dead),
		"%s is forgotten after %lld of %lld ms", expected_name_of(&e->id, 0),
		(long long)(expectations.now_ms - ended_ms), (long long)keep_ms(dead));
	if (ended_ms >= expectations.now_ms - keep_ms(dead))
		cover("an event goes early, for want of room");
	else if (dead)
		cover("retention takes a dead letter");
	else
		cover("retention takes a delivered event");
	for (uint32_t i = 0; i < e->n; i++) {
		if (e->deliveries[i].state != GONE)
			vanish(&e->deliveries[i]);
	}
	e->gone = true;
}

static void note_found(void *user, const struct delivery *found)
{
	struct expected_event *e = expected_find_event(&found->event);

	(void)user;
	if (e && !e->gone)
		e->accepted_ms |= INT64_MIN; /* marked as seen */
}

static void find_losses(const struct engine *engine)
{
	model_engine_each_delivery(engine, note_found, NULL);
	for (size_t i = expectations.first_left; i < expectations.n; i++) {
		struct expected_event *e = &expectations.events[i];
		bool seen = e->accepted_ms < 0;

		e->accepted_ms &= INT64_MAX;
		if (!e->gone && !seen)
			explain_loss(e);
	}
}

static void compare_all(const struct engine *engine, bool forgot)
{
	if (forgot)
		find_losses(engine);
	while (expectations.first_left < expectations.n &&
		expectations.events[expectations.first_left].gone)
		expectations.first_left++;
	expectations.cursor = expectations.first_left;
	expectations.n_seen = 0;
	model_engine_each_delivery(engine, compare, NULL);
	check(expectations.n_seen == expectations.n_there,
		"%zu deliveries are stored, but %zu have to be", expectations.n_seen,
		expectations.n_there);
}

/* ---- At the engine ---- */

static void follow_endpoint(const struct endpoint_op *op)
{
	check(op->number < RECEIVERS_MAX, "endpoint %u is out of bounds", op->number);
	if (!expectations.endpoints[op->number].there)
		check(!op->removed, "endpoint %u is removed before it was there", op->number);
	expectations.endpoints[op->number].there = true;
	expectations.endpoints[op->number].removed = op->removed;
}

static void follow_forgotten(const struct batch *batch)
{
	for (size_t i = 0; i < batch->n_touched; i++) {
		if (batch->touched[i].forgotten)
			expectations.endpoints[batch->touched[i].endpoint].there = false;
	}
}

void oracle_committed(const struct batch *batch, const struct engine *engine, bool full,
	bool pressed, size_t verb_at, size_t verb_changed)
{
	const struct housekeeping *h = &batch->housekeeping;

	expectations.batches++;
	expectations.perhaps_finished = true;
	expectations.now_ms = batch->now_ms;
	expectations.pressed = pressed;
	for (const struct op *op = batch->ops; op; op = op->next) {
		switch (op->kind) {
		case OP_OUTCOME:
			follow_outcome((const struct outcome_op *)op);
			break;
		case OP_ENDPOINT:
			follow_endpoint((const struct endpoint_op *)op);
			break;
		case OP_SENDING:
		case OP_KEY:
			break;
		case OP_SUBMIT:
			follow_submit((const struct submit_op *)op, full);
			break;
		case OP_VERB:
			follow_verb((const struct verb_op *)op, verb_at, verb_changed);
			break;
		}
	}
	compare_all(engine, h->n_forgotten > 0);
	follow_forgotten(batch);
}

void oracle_claimed(const struct claim *claim)
{
	for (const struct claimed *c = claim->list; c; c = c->next) {
		struct expected *d = expected_find(&c->delivery.event, c->delivery.endpoint);

		check(d && d->state == DELIVERY_PENDING, "%s is claimed, and is %s",
			expected_name_of(&c->delivery.event, c->delivery.endpoint),
			expected_state_name(d ? d->state : GONE));
		check(!d->claimed, "%s is claimed twice", expected_name(d));
		check(d->due_ms <= queue_ms(), "%s is claimed %lld ms before it is due",
			expected_name(d), (long long)(d->due_ms - queue_ms()));
		d->claimed = true;
		d->claimed_verbs = d->verbs;
		d->claimed_batch = expectations.batches;
		d->claimed_due_ms = d->due_ms;
		d->claimed_aged_from_ms = d->aged_from_ms;
	}
}

void oracle_damaged(const struct delivery *delivery)
{
	expected_find(&delivery->event, delivery->endpoint)->damaged = true;
}

/* ---- On the main thread ---- */

void oracle_reported(void)
{
	expectations.reported++;
}

bool oracle_is_reported(void)
{
	return expectations.reported == expectations.batches;
}

void oracle_acknowledged(const struct event_id *event)
{
	check(expected_find_event(event), "an event is acknowledged and not stored");
}

/* ---- At rest ---- */

static void rest_on(const struct expected *d, unsigned n_suspects)
{
	if (d->answered_for) {
		check(kernel_mono_us() - d->answered_us <= OUTCOME_WAITS_US,
			"the outcome of %s waits, and the store rests", expected_name(d));
		return;
	}
	if (!expected_is_owed(d))
		return;
	check(!expectations.endpoints[d->endpoint].removed,
		"%s is owed to an endpoint that is removed, and nothing moves", expected_name(d));
	if (d->state == DELIVERY_PENDING && !d->sent && d->due_ms <= queue_ms() &&
		!(n_suspects && expected_n_suspects(d->endpoint)))
		limits_waits(d->endpoint, d->due_ms);
}

void oracle_rests(const struct senders *senders)
{
	unsigned n_suspects = expected_n_suspects(0);

	limits_rests(senders, n_suspects);
	for (size_t i = expectations.first_left; i < expectations.n; i++) {
		struct expected_event *e = &expectations.events[i];
		bool settled = true;

		if (e->settled)
			continue;
		for (uint32_t j = 0; j < e->n; j++) {
			const struct expected *d = &e->deliveries[j];

			rest_on(d, n_suspects);
			settled = settled && !expected_is_owed(d) && !d->claimed;
		}
		e->settled = settled;
	}
}

bool oracle_is_finished(void)
{
	if (!expectations.perhaps_finished)
		return false;
	for (size_t i = 0; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++) {
			const struct expected *d = &expectations.events[i].deliveries[j];

			if (d->state == DELIVERY_PENDING || d->sent || d->answered_for) {
				expectations.perhaps_finished = false; /* until the next batch */
				return false;
			}
		}
	}
	return true;
}

bool oracle_count(uint64_t counts[static RECEIVERS_MAX][N_DELIVERY_STATES])
{
	if (expectations.counted_batch == expectations.batches)
		return false;
	expectations.counted_batch = expectations.batches;
	memset(counts, 0, RECEIVERS_MAX * sizeof(counts[0]));
	for (size_t i = expectations.first_left; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++)
			counts[expectations.events[i].deliveries[j].endpoint]
			      [expectations.events[i].deliveries[j].state]++;
	}
	return true;
}

/* One that is under way, by chance. */
static bool any_under_way(struct delivery_ref *ref)
{
	uint32_t n = 0;

	for (size_t i = expectations.first_left; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++) {
			const struct expected *d = &expectations.events[i].deliveries[j];

			if ((d->sent || d->answered_for) && dice(++n) == 0)
				*ref = (struct delivery_ref){d->event, d->endpoint};
		}
	}
	return n > 0;
}

bool oracle_any(struct delivery_ref *ref)
{
	const struct expected_event *e;

	if (expectations.n == 0)
		return false;
	if (dice(2) && any_under_way(ref))
		return true;
	/* The young ones are where the action is. */
	e = &expectations.events[expectations.n - 1 -
		(size_t)dice_spread(0, (int64_t)expectations.n - 1)];
	if (e->n == 0)
		return false;
	*ref = (struct delivery_ref){e->id, e->deliveries[dice(e->n)].endpoint};
	return true;
}

void oracle_asks_why(struct dispatch *dispatch, struct registry *registry)
{
	struct delivery_ref ref;
	const struct expected *d =
		oracle_any(&ref) ? expected_find(&ref.event, ref.endpoint) : NULL;
	struct delivery delivery;
	enum waiting_for waiting;
	int64_t next_ms, due_ms;

	if (!d || d->state != DELIVERY_PENDING || !limits_of(d->endpoint))
		return;
	delivery = (struct delivery){
		.event = d->event, .endpoint = d->endpoint, .state = d->state, .due_ms = d->due_ms};
	waiting =
		dispatch_explain(dispatch, registry_at(registry, d->endpoint), &delivery, &next_ms);
	due_ms = limits_not_before_ms(d->endpoint) > queue_ms() &&
			limits_not_before_ms(d->endpoint) > d->due_ms
		? limits_not_before_ms(d->endpoint)
		: d->due_ms;
	if (d->sent)
		check(waiting == WAITING_ANSWER, "%s is said to wait for %s, and is under way",
			expected_name(d), waiting_for_name(waiting));
	else if (limits_is_paused(d->endpoint))
		check(waiting == WAITING_RESUME, "%s is said to wait for %s, and is paused",
			expected_name(d), waiting_for_name(waiting));
	else if (due_ms > queue_ms())
		check(waiting == WAITING_TIME && next_ms == due_ms,
			"%s is said to wait for %s in %lld ms, and waits %lld ms", expected_name(d),
			waiting_for_name(waiting), (long long)(next_ms - queue_ms()),
			(long long)(due_ms - queue_ms()));
	else
		check(waiting == WAITING_RATE || waiting == WAITING_TURN,
			"%s is said to wait for %s, and waits for its turn", expected_name(d),
			waiting_for_name(waiting));
	cover("people are told why a delivery waits");
}

static bool has_ended(const struct expected_event *e)
{
	for (uint32_t i = 0; i < e->n; i++) {
		if (expected_is_owed(&e->deliveries[i]))
			return false;
	}
	return true;
}

void oracle_ends(bool all_forgotten)
{
	for (size_t i = 0; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++) {
			const struct expected *d = &expectations.events[i].deliveries[j];

			check(d->state != DELIVERY_PENDING, "%s is never attempted again",
				expected_name(d));
			check(d->state != DELIVERY_DELIVERED || d->accepted,
				"%s is delivered, but nobody took it", expected_name(d));
			check(d->sends == d->made + d->lost,
				"%s was sent %u times; %u attempts are in its history, %u were lost",
				expected_name(d), d->sends, d->made, d->lost);
		}
		check(!all_forgotten || expectations.events[i].gone ||
				!has_ended(&expectations.events[i]),
			"%s is never forgotten", expected_name_of(&expectations.events[i].id, 0));
	}
}
