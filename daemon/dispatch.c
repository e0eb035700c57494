#include "dispatch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>

#include "../lib/timestamp.h"
#include "certificates.h"
#include "gone.h"
#include "local_faults.h"
#include "log.h"
#include "out_of_memory.h"
#include "outgoing.h"
#include "reports.h"
#include "retry.h"
#include "suspects.h"
#include "wake_timer.h"

#define READY_MAX 4096
#define READY_BYTES_MAX ((size_t)32 << 20)
#define IN_FLIGHT_BYTES_MAX ((size_t)256 << 20)
#define UNSENT_SIZE 128
#define NOT_BEFORE_WALL_MS 1 /* deliver_at is checked to the millisecond */
#define EARLY_MAX_MS (10 * 60 * 1000) /* a wall clock that was wrong may be right again by then */

/* An attempt under way. */
struct job {
	struct sending_job sending; /* the first member: senders know this part */
	struct job *next, **at; /* among all jobs */
	uint32_t endpoint;
	uint32_t url_revision; /* the settings that the request was made from */
	bool url_was_left; /* the endpoint has another one since */
	struct delivery delivery;
	struct claimed *claimed; /* to be given back should the sender die; NULL for a test */
	struct dispatch_test *test;
	int64_t started_ms;
	size_t payload_len;
	char type[129];
};

struct dispatch {
	struct dispatch_options options;
	struct store *store;
	struct schedule *schedule;
	struct senders *senders;
	struct event *pump; /* runs once later in this turn of the loop */
	struct wake_timer *timer;
	struct job *jobs;
	struct suspects suspects;
	struct certificates *certificates;
	struct dispatch_test *waiting; /* for a sender with room */
	bool started, stopping;
	struct local_faults faults;
	void (*idle)(void *user);
	void *idle_user;
};

static const char *const waiting_names[] = {
	[WAITING_TIME] = "time",
	[WAITING_RATE] = "rate",
	[WAITING_TURN] = "turn",
	[WAITING_RESUME] = "resume",
	[WAITING_ANSWER] = "answer",
};

const char *waiting_for_name(enum waiting_for waiting)
{
	return waiting_names[waiting];
}

static int64_t now_ms(const struct dispatch *d)
{
	return clock_queue_ms(d->options.clock);
}

static uint32_t random_bits(void)
{
	uint32_t bits = 0;

	if (getrandom(&bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
		return UINT32_MAX / 2; /* no jitter */
	return bits;
}

static void pump_soon(struct dispatch *d)
{
	event_active(d->pump, EV_TIMEOUT, 0);
}

static struct slot *slot_at(struct dispatch *d, uint32_t endpoint)
{
	return registry_at(store_registry(d->store), endpoint);
}

/* ---- Jobs ---- */

static void link_job(struct dispatch *d, struct job *job)
{
	job->next = d->jobs;
	job->at = &d->jobs;
	if (job->next)
		job->next->at = &job->next;
	d->jobs = job;
}

static void free_job(struct job *job)
{
	if (job->at) {
		*job->at = job->next;
		if (job->next)
			job->next->at = job->at;
	}
	claimed_free(job->claimed);
	free(job);
}

static void tell_when_idle(struct dispatch *d)
{
	if (d->stopping && d->idle && senders_in_flight(d->senders) == 0) {
		void (*idle)(void *user) = d->idle;

		d->idle = NULL;
		idle(d->idle_user);
	}
}

/* ---- Outcomes ---- */

/* An outcome on its way to the store. */
struct storing {
	struct outcome_op op; /* the first member */
	struct dispatch *dispatch;
	char type[129];
};

static void on_outcome_stored(struct op *op)
{
	struct storing *storing = (struct storing *)op;
	struct dispatch *d = storing->dispatch;
	const struct outcome *outcome = &storing->op.outcome;
	const struct delivery *after = &storing->op.after;
	bool dead = outcome->kind == OUTCOME_DEAD || outcome->kind == OUTCOME_TOO_OLD ||
		outcome->kind == OUTCOME_DAMAGED;
	struct slot *slot = slot_at(d, outcome->endpoint);

	if (op->result == ENGINE_OK && outcome->kind == OUTCOME_DELIVERED &&
		after->state == DELIVERY_DELIVERED)
		d->options.metrics->finished[DELIVERY_DELIVERED]++;
	/* Of an old turn, it was dead before, and is counted. */
	if (op->result == ENGINE_OK && dead && after->state == DELIVERY_DEAD &&
		after->turn == outcome->turn) {
		d->options.metrics->finished[DELIVERY_DEAD]++;
		if (slot)
			reports_dead(d->options.reports, slot, after, storing->type,
				storing->op.message, storing->op.message_len);
	}
	free(storing);
}

static struct outcome_op *new_outcome(struct dispatch *d, const struct delivery *delivery,
	const char *type, enum outcome_kind kind)
{
	struct storing *storing = calloc(1, sizeof(*storing));

	if (!storing)
		out_of_memory("an outcome"); /* the delivery would be in flight for ever */
	storing->dispatch = d;
	snprintf(storing->type, sizeof(storing->type), "%s", type);
	storing->op.op.done = on_outcome_stored;
	storing->op.outcome = (struct outcome){.event = delivery->event,
		.endpoint = delivery->endpoint,
		.turn = delivery->turn,
		.kind = kind,
		.due_ms = delivery->due_ms,
		.attempt.retry_after_s = -1};
	return &storing->op;
}

/* An attempt that could not be made through no fault of the receiver: later, at no cost, and with
 * it everything else for the endpoint, which would fare no better. */
static void postpone(struct dispatch *d, struct slot *slot, const struct delivery *delivery,
	size_t payload_len, enum attempt_effect effect)
{
	struct outcome_op *op = new_outcome(d, delivery, "", OUTCOME_LOCAL);
	int64_t now = now_ms(d);

	op->outcome.due_ms = now + retry_local_wait_ms(delivery->local_faults);
	schedule_ended(d->schedule, slot, payload_len, effect, op->outcome.due_ms, now);
	store_outcome(d->store, op);
}

static struct attempt read_attempt(
	struct dispatch *d, const struct job *job, const struct sender_outcome *o)
{
	return (struct attempt){.result = o->result,
		.http_status = o->http_status,
		.duration_ms = o->duration_us / 1000,
		.retry_after_s = o->retry_after[0]
			? retry_after_parse(o->retry_after, clock_wall_ms(d->options.clock))
			: -1,
		.started_ms = job->started_ms,
		.peer = o->peer};
}

static void log_attempt(struct dispatch *d, const struct job *job, const struct slot *slot,
	const struct attempt *attempt, const struct sender_outcome *o)
{
	enum log_attempts wanted = d->options.config->log.attempts;
	char id[EVENT_ID_TEXT_SIZE], address[ENDPOINT_ADDRESS_SIZE];
	struct log_fields fields = {.event = &job->delivery.event,
		.endpoint = address,
		.type = job->type,
		.attempt = attempt};

	if (wanted == LOG_ATTEMPTS_NONE ||
		(wanted == LOG_ATTEMPTS_FAILURES && attempt->result == RESULT_OK))
		return;
	event_id_format(&job->delivery.event, id);
	endpoint_address(slot->settings, address);
	fields.tenant = slot->settings->tenant;
	log_line(LOG_LEVEL_INFO, LOG_ATTEMPT, &fields, "%s to %s: %.*s, %u ms", id, address,
		(int)o->message_len, o->message, attempt->duration_ms);
}

/* The receiver answered, or did not, or could not be reached: what follows for delivery and
 * endpoint. */
static void conclude_attempt(
	struct dispatch *d, struct job *job, struct slot *slot, const struct sender_outcome *o)
{
	const struct config *c = d->options.config;
	struct effective effective = endpoint_effective(slot->settings, c);
	struct retry_policy policy = {effective.retry_waits_s, effective.n_retry_waits,
		effective.max_age_s, c->delivery.retry_after_max};
	struct attempt attempt = read_attempt(d, job, o);
	int64_t now = now_ms(d);
	uint32_t jitter = attempt.result == RESULT_OK ? 0 : random_bits(); /* a system call */
	struct retry_verdict verdict = retry_judge(
		&policy, job->delivery.attempts, job->delivery.aged_from_ms, &attempt, now, jitter);
	struct outcome_op *op = new_outcome(d, &job->delivery, job->type, verdict.kind);
	enum attempt_effect effect = attempt.result == RESULT_OK ? EFFECT_SUCCESS
		: attempt.http_status                            ? EFFECT_ANSWERED
								 : EFFECT_NO_ANSWER;

	op->outcome.reason = verdict.reason;
	op->outcome.due_ms = verdict.due_ms;
	op->outcome.attempt = attempt;
	op->message_len = o->message_len;
	op->response_len = o->response_len;
	memcpy(op->message, o->message, o->message_len);
	memcpy(op->response, o->response, o->response_len);
	metrics_attempt(d->options.metrics, &attempt, now);
	log_attempt(d, job, slot, &attempt, o);
	schedule_ended(d->schedule, slot, job->payload_len, effect,
		job->url_was_left ? 0 : verdict.endpoint_not_before_ms, now);
	store_outcome(d->store, op);
	if (verdict.gone)
		gone_pause(d->store, d->options.clock, job->endpoint, job->url_revision);
}

static void conclude_fault(
	struct dispatch *d, struct job *job, struct slot *slot, enum local_fault fault)
{
	char address[ENDPOINT_ADDRESS_SIZE];

	local_faults_met(&d->faults, fault, now_ms(d));
	endpoint_address(slot->settings, address);
	log_line(LOG_LEVEL_DEBUG, LOG_TROUBLE, NULL, "an attempt for %s could not be made: %s",
		address, local_fault_text(fault));
	/* Memory may have run out when the request was out. */
	postpone(d, slot, &job->delivery, job->payload_len, EFFECT_NOT_MADE);
}

static void conclude_test(struct dispatch *d, struct job *job, const struct sender_outcome *o)
{
	struct dispatch_test *test = job->test;

	test->story.attempt = read_attempt(d, job, o);
	test->story.attempt.number = 1;
	test->story.message_len = o->message_len;
	memcpy(test->story.message, o->message, o->message_len);
	if (o->fault)
		test->story.message_len = (uint16_t)snprintf(test->story.message,
			sizeof(test->story.message), "%s", local_fault_text(o->fault));
	test->story.response_len = o->response_len;
	memcpy(test->story.response, o->response, o->response_len);
	test->done(test);
}

static void end_job(struct dispatch *d, struct job *job, const struct sender_outcome *o)
{
	struct slot *slot = slot_at(d, job->endpoint);

	if (!o->fault && job->delivery.local_faults > 0)
		local_faults_over(&d->faults, now_ms(d));
	if (job->test)
		conclude_test(d, job, o);
	else if (!slot)
		store_outcome(d->store,
			new_outcome(d, &job->delivery, "", OUTCOME_LOCAL)); /* ends the claim */
	else if (o->fault)
		conclude_fault(d, job, slot, o->fault);
	else
		conclude_attempt(d, job, slot, o);
	free_job(job);
	tell_when_idle(d);
	pump_soon(d);
}

static void on_outcome(void *user, struct sending_job *sending, const struct sender_outcome *o)
{
	struct dispatch *d = user;
	struct job *job = (struct job *)sending;

	if (!job->test)
		suspects_clear(&d->suspects, &job->delivery);
	end_job(d, job, o);
}

/* ---- Lost senders ---- */

/* No attempt is made; the delivery will be claimed anew. */
static void give_back(
	struct dispatch *d, struct claimed *claimed, size_t payload_len, enum attempt_effect effect)
{
	struct slot *slot = slot_at(d, claimed->delivery.endpoint);

	store_unclaim(d->store, claimed);
	if (slot)
		schedule_ended(d->schedule, slot, payload_len, effect, 0, now_ms(d));
}

static void on_lost(void *user, struct sending_job *sending, bool guilty)
{
	struct dispatch *d = user;
	struct job *job = (struct job *)sending;
	struct slot *slot = slot_at(d, job->endpoint);
	struct sender_outcome died = {.result = RESULT_PROTOCOL};

	died.message_len = (uint16_t)snprintf(died.message, sizeof(died.message),
		"the sender process died while it made this attempt");
	if (job->test) {
		conclude_test(d, job, &died);
	} else if (slot && guilty) {
		conclude_attempt(d, job, slot, &died);
	} else {
		suspects_add(&d->suspects, &job->delivery, clock_monotonic_us());
		give_back(d, job->claimed, job->payload_len, EFFECT_NOT_MADE);
		job->claimed = NULL;
	}
	free_job(job);
	tell_when_idle(d);
	pump_soon(d);
}

/* For which no sender could be started; it waits, and does not start one after the other. */
static void on_unsent(void *user, struct sending_job *sending)
{
	struct sender_outcome fault = {.fault = FAULT_SENDER};

	end_job(user, (struct job *)sending, &fault);
}

static void wake(void *user)
{
	pump_soon(user);
}

/* ---- Sending ---- */

/* What cannot be sent now, through a fault of our own. */
static void put_off(struct dispatch *d, struct slot *slot, struct claimed *claimed, const char *why)
{
	char address[ENDPOINT_ADDRESS_SIZE];

	endpoint_address(slot->settings, address);
	log_line(LOG_LEVEL_WARNING, LOG_TROUBLE, NULL, "an attempt for %s cannot be made: %s",
		address, why);
	postpone(d, slot, &claimed->delivery, claimed_payload_len(claimed), EFFECT_UNSENT);
	claimed_free(claimed);
}

/* Not attempted; what becomes of the delivery says op. */
static void end_unsent(
	struct dispatch *d, struct slot *slot, struct claimed *claimed, struct outcome_op *op)
{
	schedule_ended(
		d->schedule, slot, claimed_payload_len(claimed), EFFECT_UNSENT, 0, now_ms(d));
	store_outcome(d->store, op);
	claimed_free(claimed);
}

/* deliver_at is the producer's wall clock, and that may have been set since. */
static bool is_early(struct dispatch *d, struct slot *slot, struct claimed *claimed)
{
	int64_t early_ms =
		claimed->event->event.deliver_at_wall_ms - clock_wall_ms(d->options.clock);
	struct outcome_op *op;

	if (claimed->event->event.deliver_at_wall_ms == 0 || early_ms < NOT_BEFORE_WALL_MS ||
		claimed->delivery.attempts > 0 || claimed->delivery.turn > 0)
		return false;
	op = new_outcome(d, &claimed->delivery, "", OUTCOME_EARLY);
	op->outcome.due_ms = now_ms(d) + (early_ms < EARLY_MAX_MS ? early_ms : EARLY_MAX_MS);
	end_unsent(d, slot, claimed, op);
	return true;
}

/* It was paused, or hookd did not run, for longer than the delivery is worth something. */
static bool is_too_old(struct dispatch *d, struct slot *slot, struct claimed *claimed)
{
	struct effective effective = endpoint_effective(slot->settings, d->options.config);
	int64_t age_ms = now_ms(d) - claimed->delivery.aged_from_ms;

	if (effective.max_age_s == 0 || age_ms <= effective.max_age_s * 1000)
		return false;
	end_unsent(d, slot, claimed,
		new_outcome(d, &claimed->delivery, claimed->event->event.type, OUTCOME_TOO_OLD));
	return true;
}

static void report_damage(struct dispatch *d, struct slot *slot, struct claimed *claimed)
{
	char id[EVENT_ID_TEXT_SIZE], address[ENDPOINT_ADDRESS_SIZE];
	struct log_fields fields = {.event = &claimed->delivery.event, .endpoint = address};

	if (d->options.metrics->damaged++ == 0)
		d->options.metrics->damaged_ms = now_ms(d);
	event_id_format(&claimed->delivery.event, id);
	endpoint_address(slot->settings, address);
	log_line(LOG_LEVEL_ERROR, LOG_STORE, &fields,
		"event %s is damaged on disk and not sent to %s; it becomes a dead letter (stop hookd, hookd --check-data)",
		id, address);
	end_unsent(d, slot, claimed, new_outcome(d, &claimed->delivery, "", OUTCOME_DAMAGED));
}

static struct job *new_job(struct dispatch *d, struct slot *slot, const struct event *event)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->endpoint = slot->settings->number;
	job->url_revision = slot->settings->revision;
	job->started_ms = now_ms(d);
	job->payload_len = event->payload_len;
	snprintf(job->type, sizeof(job->type), "%s", event->type);
	return job;
}

static int send_request(struct dispatch *d, struct slot *slot, struct job *job,
	const struct event *event, const void *payload, bool suspect)
{
	struct outgoing_parts parts = {.endpoint = slot->settings,
		.event = event,
		.payload = payload,
		.config = d->options.config,
		.certificates = d->certificates,
		.queue_ms = now_ms(d),
		.wall_ms = clock_wall_ms(d->options.clock)};
	struct outgoing outgoing;
	int r = outgoing_build(&outgoing, &parts);

	if (r == 0)
		r = senders_send(
			d->senders, &job->sending, job->endpoint, &outgoing.request, suspect);
	outgoing_clear(&outgoing);
	return r;
}

/* In words, why send_request() did not. */
static void explain_unsent(const struct slot *slot, int error, char text[static UNSENT_SIZE])
{
	if (error == -ENOKEY)
		snprintf(text, UNSENT_SIZE, "its secret cannot be opened (rotate-secret)");
	else if (error == -ENOENT)
		snprintf(text, UNSENT_SIZE, "its CA file %s cannot be read as PEM",
			slot->settings->ca);
	else
		snprintf(text, UNSENT_SIZE, "%s",
			error == -EAGAIN ? "no sender is free" : strerror(-error));
}

static void send_one(struct dispatch *d, struct slot *slot, struct claimed *claimed)
{
	bool suspect = suspects_has(&d->suspects, &claimed->delivery);
	const struct event *event;
	char why[UNSENT_SIZE];
	struct job *job;
	int64_t late_ms;
	int r;

	if (!claimed->event) {
		report_damage(d, slot, claimed);
		return;
	}
	if (is_early(d, slot, claimed) || is_too_old(d, slot, claimed))
		return;
	if (suspect && !senders_take_suspect(d->senders)) {
		suspects_hold(&d->suspects, claimed);
		return;
	}
	event = &claimed->event->event;
	job = new_job(d, slot, event);
	if (!job) {
		put_off(d, slot, claimed, "out of memory");
		return;
	}
	job->delivery = claimed->delivery;
	late_ms = job->started_ms - claimed->delivery.due_ms;
	r = send_request(d, slot, job, event, claimed->event->payload, suspect);
	if (r < 0) {
		free(job);
		explain_unsent(slot, r, why);
		put_off(d, slot, claimed, why);
		return;
	}
	histogram_add(
		&d->options.metrics->attempt_lateness, late_ms > 0 ? (double)late_ms / 1000 : 0);
	free(claimed->event); /* the sender has it now */
	claimed->event = NULL;
	job->claimed = claimed;
	link_job(d, job);
}

/* Its endpoint may have been stopped since schedule gave it away. */
static bool may_still_go(struct dispatch *d, const struct slot *slot)
{
	int64_t not_before_ms = 0;
	enum lane_wait wait;

	if (!slot)
		return false;
	wait = schedule_explain(d->schedule, slot, now_ms(d), &not_before_ms);
	return wait != LANE_PAUSED && wait != LANE_NOT_BEFORE;
}

static void send_suspects(struct dispatch *d)
{
	while (d->suspects.held && senders_take_suspect(d->senders)) {
		struct claimed *claimed = suspects_next(&d->suspects);
		struct slot *slot = slot_at(d, claimed->delivery.endpoint);

		if (may_still_go(d, slot))
			send_one(d, slot, claimed);
		else
			give_back(d, claimed, claimed_payload_len(claimed), EFFECT_UNSENT);
	}
}

/* A verb changed some of them: what was claimed before it is out of date. */
static void give_back_suspects(struct dispatch *d, uint32_t endpoint)
{
	struct claimed *claimed;

	while ((claimed = suspects_next_of(&d->suspects, endpoint)))
		give_back(d, claimed, claimed_payload_len(claimed), EFFECT_UNSENT);
}

/* ---- Tests ---- */

static void refuse_test(struct dispatch_test *test, const char *why)
{
	memset(&test->story, 0, sizeof(test->story));
	test->story.attempt.retry_after_s = -1;
	test->story.message_len =
		(uint16_t)snprintf(test->story.message, sizeof(test->story.message), "%s", why);
	test->done(test);
}

/* Returns -EAGAIN when no sender has room, and then changes nothing. */
static int try_test(struct dispatch *d, struct slot *slot, struct dispatch_test *test)
{
	struct event event = {.id = store_next_id(d->store, now_ms(d)),
		.tenant = slot->settings->tenant,
		.type = "hookd.test",
		.content_type = "application/json"};
	char payload[256], time[TIMESTAMP_TEXT_SIZE];
	struct job *job;
	int r;

	timestamp_format(clock_wall_ms(d->options.clock), time);
	event.payload_len = (uint32_t)snprintf(payload, sizeof(payload),
		"{\"type\":\"hookd.test\",\"timestamp\":\"%s\",\"data\":{\"endpoint\":\"%s\"}}",
		time, slot->settings->name);
	job = new_job(d, slot, &event);
	if (!job)
		return -ENOMEM;
	job->test = test;
	job->delivery.event = event.id;
	r = send_request(d, slot, job, &event, payload, false);
	if (r < 0)
		free(job);
	else
		link_job(d, job);
	return r;
}

/* Those that waited for a sender, in their order. */
static void try_waiting_tests(struct dispatch *d)
{
	while (d->waiting) {
		struct dispatch_test *test = d->waiting;
		struct slot *slot = slot_at(d, test->endpoint);
		int r = slot ? try_test(d, slot, test) : -ENODEV;
		char why[UNSENT_SIZE] = "the endpoint was removed";

		if (r == -EAGAIN)
			return;
		d->waiting = test->next;
		if (slot && r < 0)
			explain_unsent(slot, r, why);
		if (r < 0)
			refuse_test(test, why);
	}
}

void dispatch_test(struct dispatch *d, struct slot *slot, struct dispatch_test *test)
{
	struct dispatch_test **end = &d->waiting;

	if (d->stopping) {
		refuse_test(test, "hookd is stopping");
		return;
	}
	test->endpoint = slot->settings->number;
	test->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = test;
	pump_soon(d);
}

/* ---- The pump ---- */

/* The heart: send what may go, ask the store for more, sleep until something is due. */
static void on_pump(evutil_socket_t fd, short what, void *user)
{
	struct dispatch *d = user;
	struct wish_for wish;
	struct claimed *claimed;
	int64_t now = now_ms(d), wake_ms;

	(void)fd;
	(void)what;
	if (!d->started || d->stopping)
		return;
	try_waiting_tests(d);
	send_suspects(d);
	schedule_tick(d->schedule, now);
	while ((claimed = schedule_next(d->schedule, senders_free_slots(d->senders), now)))
		send_one(d, slot_at(d, claimed->delivery.endpoint), claimed);
	while (schedule_wish(d->schedule, &wish))
		store_claim(d->store, wish.endpoint, now, wish.max_n, wish.max_bytes);
	wake_ms = schedule_wake_ms(d->schedule);
	wake_timer_set(d->timer,
		wake_ms == INT64_MAX ? WAKE_NEVER : wake_ms - d->options.clock->offset_ms);
}

/* ---- What the store tells ---- */

static bool owes(const struct slot *slot)
{
	return slot->deliveries[DELIVERY_PENDING] > 0;
}

void dispatch_touched(struct dispatch *d, struct slot *slot, const struct slot *before,
	const struct touched *touched)
{
	int64_t now = now_ms(d);

	if (slot->settings->removed &&
		slot->deliveries[DELIVERY_DEAD] > before->deliveries[DELIVERY_DEAD])
		d->options.metrics->finished[DELIVERY_DEAD] +=
			slot->deliveries[DELIVERY_DEAD] - before->deliveries[DELIVERY_DEAD];
	reports_health(d->options.reports, slot, before, touched->earliest_due_ms);
	if (touched->by_verb) {
		give_back_suspects(d, touched->endpoint);
		schedule_stale(d->schedule, slot, now);
	}
	if (touched->earliest_due_ms != INT64_MAX)
		schedule_due(d->schedule, slot, touched->earliest_due_ms, now);
	pump_soon(d);
}

void dispatch_forgetting(struct dispatch *d, struct slot *slot)
{
	schedule_forget(d->schedule, slot);
	reports_forget(d->options.reports, slot);
}

/* What the receiver at the old URL asked for, or will ask for, is not for the new one. */
static void leave_url(struct dispatch *d, struct slot *slot)
{
	for (struct job *job = d->jobs; job; job = job->next) {
		if (job->endpoint == slot->settings->number)
			job->url_was_left = true;
	}
	schedule_lift(d->schedule, slot, now_ms(d));
}

void dispatch_edited(struct dispatch *d, struct slot *slot, const struct endpoint *before)
{
	certificates_forget(d->certificates); /* the file it names may be newly written */
	if (before && strcmp(before->url, slot->settings->url) != 0)
		leave_url(d, slot);
	schedule_changed(d->schedule, slot, now_ms(d));
	pump_soon(d);
}

void dispatch_claimed(
	struct dispatch *d, uint32_t endpoint, struct claimed *list, int64_t next_due_ms)
{
	struct slot *slot = slot_at(d, endpoint);

	if (slot) {
		schedule_claimed(d->schedule, slot, list, next_due_ms, now_ms(d));
		pump_soon(d);
		return;
	}
	while (list) {
		struct claimed *next = list->next;

		store_unclaim(d->store, list);
		list = next;
	}
}

static void each_slot(struct dispatch *d, void (*visit)(struct dispatch *d, struct slot *slot))
{
	struct registry *registry = store_registry(d->store);
	struct slot *next;

	for (struct slot *slot = registry_next(registry, 0); slot; slot = next) {
		next = registry_next(registry, slot->settings->number + 1);
		visit(d, slot);
	}
}

/* What a receiver asked for holds over a restart. */
static void find_out(struct dispatch *d, struct slot *slot)
{
	const struct attempt *last = &slot->last;
	int64_t now = now_ms(d), not_before_ms;

	not_before_ms = retry_endpoint_not_before_ms(last,
		d->options.config->delivery.retry_after_max, last->started_ms + last->duration_ms);
	if (not_before_ms > now)
		schedule_not_before(d->schedule, slot, not_before_ms, now);
	if (owes(slot))
		schedule_due(d->schedule, slot, INT64_MIN, now);
}

static void look_again(struct dispatch *d, struct slot *slot)
{
	schedule_changed(d->schedule, slot, now_ms(d));
}

void dispatch_sending_changed(struct dispatch *d)
{
	schedule_set_paused(d->schedule, store_sending(d->store)->paused);
	each_slot(d, look_again);
	pump_soon(d);
}

/* ---- Questions ---- */

static bool is_under_way(const struct dispatch *d, const struct delivery *delivery)
{
	for (const struct job *job = d->jobs; job; job = job->next) {
		if (job->endpoint == delivery->endpoint && !job->test &&
			event_id_compare(&job->delivery.event, &delivery->event) == 0)
			return true;
	}
	return false;
}

enum waiting_for dispatch_explain(
	struct dispatch *d, struct slot *slot, const struct delivery *delivery, int64_t *next_ms)
{
	int64_t now = now_ms(d), not_before_ms = 0;
	enum lane_wait wait;

	*next_ms = delivery->due_ms;
	if (slot->lane && is_under_way(d, delivery))
		return WAITING_ANSWER;
	wait = schedule_explain(d->schedule, slot, now, &not_before_ms);
	if (wait == LANE_PAUSED)
		return WAITING_RESUME;
	if (delivery->due_ms > now || wait == LANE_NOT_BEFORE) {
		if (wait == LANE_NOT_BEFORE && not_before_ms > *next_ms)
			*next_ms = not_before_ms;
		return WAITING_TIME;
	}
	return wait == LANE_RATE ? WAITING_RATE : WAITING_TURN;
}

int64_t dispatch_not_before_ms(struct dispatch *d, struct slot *slot)
{
	int64_t not_before_ms = 0;

	schedule_explain(d->schedule, slot, now_ms(d), &not_before_ms);
	return not_before_ms;
}

struct dispatch_numbers dispatch_numbers(struct dispatch *d)
{
	return (struct dispatch_numbers){
		.senders_wanted = (unsigned)d->options.config->senders.count,
		.senders_running = senders_running(d->senders),
		.senders_problem = senders_problem(d->senders),
		.in_flight = senders_in_flight(d->senders),
		.sender_restarts = senders_restarts(d->senders),
		.late_ms = schedule_lateness_ms(d->schedule, now_ms(d)),
		.fault = local_faults_current(&d->faults, now_ms(d))};
}

/* ---- Life ---- */

static struct lane_limits limits_of(void *user, const struct slot *slot)
{
	const struct dispatch *d = user;
	struct effective e = endpoint_effective(slot->settings, d->options.config);

	return (struct lane_limits){.paused = slot->settings->paused || slot->settings->removed,
		.max_in_flight = e.max_in_flight,
		.burst = e.burst,
		.rate_per_s = e.rate_per_s};
}

static void unclaim(void *user, struct claimed *claimed)
{
	store_unclaim(((struct dispatch *)user)->store, claimed);
}

static void configure_senders(struct dispatch *d)
{
	const struct config *c = d->options.config;
	struct sender_config config = {
		.connect_timeout_ms = (uint32_t)c->delivery.connect_timeout * 1000,
		.max_in_flight = (uint32_t)c->senders.max_in_flight,
		.landlock_optional = c->senders.landlock == LANDLOCK_OPTIONAL,
		.allowed = c->network.allow_private,
		.denied = c->network.deny,
		.ports = c->network.ports};

	snprintf(config.user_agent, sizeof(config.user_agent), "hookd/%s", HOOKD_VERSION);
	snprintf(config.ca_file, sizeof(config.ca_file), "%s", c->network.ca_file);
	snprintf(config.dns_servers, sizeof(config.dns_servers), "%s", c->network.dns_servers);
	senders_configure(d->senders, &config);
}

int dispatch_new(struct dispatch **dispatch, const struct dispatch_options *options)
{
	static const struct senders_callbacks callbacks = {on_outcome, on_lost, on_unsent, wake};
	struct dispatch *d = calloc(1, sizeof(*d));
	struct schedule_options schedule = {.limits = limits_of,
		.unclaim = unclaim,
		.user = d,
		.max_ready = READY_MAX,
		.max_ready_bytes = READY_BYTES_MAX,
		.max_in_flight_bytes = IN_FLIGHT_BYTES_MAX};
	struct senders_options senders = {.base = options->base,
		.path = options->sender_path,
		.count = (unsigned)options->config->senders.count,
		.callbacks = &callbacks,
		.user = d};

	if (!d)
		return -ENOMEM;
	d->options = *options;
	d->timer = wake_timer_new(options->base, wake, d);
	d->schedule = schedule_new(&schedule);
	d->certificates = certificates_new(options->ca_directory);
	d->pump = event_new(options->base, -1, 0, on_pump, d);
	if (!d->schedule || !d->certificates || !d->pump || !d->timer ||
		senders_new(&d->senders, &senders) < 0) {
		dispatch_free(d);
		return -ENOMEM;
	}
	*dispatch = d;
	return 0;
}

void dispatch_start(struct dispatch *d, struct store *store)
{
	d->store = store;
	d->started = true;
	schedule_set_paused(d->schedule, store_sending(store)->paused);
	configure_senders(d);
	each_slot(d, find_out);
	pump_soon(d);
}

void dispatch_stop(struct dispatch *d, void (*idle)(void *user), void *user)
{
	struct claimed *claimed;

	while (d->waiting) {
		struct dispatch_test *test = d->waiting;

		d->waiting = test->next;
		refuse_test(test, "hookd is stopping");
	}
	while ((claimed = suspects_next(&d->suspects)))
		give_back(d, claimed, claimed_payload_len(claimed), EFFECT_UNSENT);
	d->stopping = true;
	d->idle = idle;
	d->idle_user = user;
	tell_when_idle(d);
}

void dispatch_reload(struct dispatch *d, const struct config *config)
{
	d->options.config = config;
	certificates_forget(d->certificates);
	configure_senders(d);
	each_slot(d, look_again);
	pump_soon(d);
}

static void free_lane_of(struct dispatch *d, struct slot *slot)
{
	schedule_forget(d->schedule, slot);
}

void dispatch_free(struct dispatch *d)
{
	if (!d)
		return;
	senders_free(d->senders);
	if (d->store)
		each_slot(d, free_lane_of);
	while (d->jobs) { /* free_job() takes each off the list */
		if (d->jobs->test) /* NOLINT(clang-analyzer-unix.Malloc) */
			refuse_test(d->jobs->test, "hookd is stopping");
		free_job(d->jobs);
	}
	schedule_free(d->schedule);
	wake_timer_free(d->timer);
	if (d->pump)
		event_free(d->pump);
	suspects_free(&d->suspects);
	certificates_free(d->certificates);
	free(d);
}
