#include "reports.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>

#include "../lib/units.h"
#include "log.h"
#include "loop.h"

#define STILL_FAILING_MS (5 * 60 * 1000)
#define DEAD_LINES_MAX 10
#define WINDOW_S 60

/* What was said of an endpoint lately. */
struct said {
	uint32_t endpoint;
	int64_t failing_ms; /* when last that it is failing; 0: not */
	unsigned dead_lines, dead_untold; /* in the current minute */
	struct event *dead_window;
	char address[ENDPOINT_ADDRESS_SIZE];
};

struct reports {
	struct event_base *base;
	struct clock *clock;
	void *said; /* tsearch tree */
	unsigned n_early; /* events forgotten and not told yet */
	struct event *early; /* pending for a minute after each line */
};

static int compare(const void *a, const void *b)
{
	uint32_t x = ((const struct said *)a)->endpoint, y = ((const struct said *)b)->endpoint;

	return x < y ? -1 : x > y;
}

static void free_said(void *node)
{
	struct said *said = node;

	if (said->dead_window)
		event_free(said->dead_window);
	free(said);
}

/* NULL without memory: then a line more or less is written. */
static struct said *said_of(struct reports *r, const struct slot *slot)
{
	struct said key = {.endpoint = slot->settings->number}, *said;
	void *found = tfind(&key, &r->said, compare);

	if (found)
		return *(struct said **)found;
	said = calloc(1, sizeof(*said));
	if (!said)
		return NULL;
	said->endpoint = slot->settings->number;
	endpoint_address(slot->settings, said->address);
	if (!tsearch(said, &r->said, compare)) {
		free(said);
		return NULL;
	}
	return said;
}

struct reports *reports_new(struct event_base *base, struct clock *clock)
{
	struct reports *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->base = base;
	r->clock = clock;
	return r;
}

void reports_free(struct reports *r)
{
	if (!r)
		return;
	tdestroy(r->said, free_said);
	if (r->early)
		event_free(r->early);
	free(r);
}

void reports_forget(struct reports *r, const struct slot *slot)
{
	struct said key = {.endpoint = slot->settings->number}, *said;
	void *found = tfind(&key, &r->said, compare);

	if (!found)
		return;
	said = *(struct said **)found;
	tdelete(said, &r->said, compare);
	free_said(said);
}

/* "1 delivery waits", "398 deliveries wait" */
static const char *waiting(uint64_t n)
{
	return n == 1 ? "delivery waits" : "deliveries wait";
}

static void say_failing(struct reports *r, struct said *said, const struct slot *slot,
	int64_t next_due_ms, int64_t now_ms)
{
	struct log_fields fields = {.endpoint = said->address,
		.tenant = slot->settings->tenant,
		.attempt = &slot->last};
	char peer[PEER_TEXT_SIZE], from[PEER_TEXT_SIZE + 8] = "", next[UNITS_TEXT_SIZE + 32] = "";

	(void)r;
	peer_format(&slot->last.peer, peer);
	if (slot->last.http_status && peer[0])
		snprintf(from, sizeof(from), " from %s", peer);
	if (next_due_ms != INT64_MAX) {
		char span[UNITS_TEXT_SIZE];

		units_describe_span(next_due_ms - now_ms, span);
		snprintf(next, sizeof(next), ", next attempt in %s", span);
	}
	log_line(LOG_LEVEL_NOTICE, LOG_FAILING, &fields, "%s is failing: %s%s; %llu %s%s",
		said->address, slot->message ? slot->message : "no answer", from,
		(unsigned long long)slot->deliveries[DELIVERY_PENDING],
		waiting(slot->deliveries[DELIVERY_PENDING]), next);
	said->failing_ms = now_ms;
}

static void say_working(
	struct said *said, const struct slot *slot, const struct slot *before, int64_t now_ms)
{
	struct log_fields fields = {.endpoint = said->address,
		.tenant = slot->settings->tenant,
		.attempt = &slot->last};
	unsigned long long n = slot->deliveries[DELIVERY_PENDING];
	char span[UNITS_TEXT_SIZE], rest[ENDPOINT_ADDRESS_SIZE + 96] = "";

	units_describe_span(now_ms - before->health_since_ms, span);
	if (n)
		snprintf(rest, sizeof(rest), "; %llu %s for %s time (hookctl replay -e %s)", n,
			waiting(n), n == 1 ? "its" : "their", said->address);
	log_line(LOG_LEVEL_NOTICE, LOG_WORKING, &fields,
		"%s works again after %s and %u failed attempts%s", said->address, span,
		before->failures, rest);
	said->failing_ms = 0;
}

void reports_health(
	struct reports *r, const struct slot *slot, const struct slot *before, int64_t next_due_ms)
{
	int64_t now_ms = clock_queue_ms(r->clock);
	struct said *said;

	if (slot->health != HEALTH_FAILING && before->health != HEALTH_FAILING)
		return;
	said = said_of(r, slot);
	if (!said)
		return;
	if (slot->health == HEALTH_OK)
		say_working(said, slot, before, now_ms);
	else if (slot->last.number == before->last.number &&
		slot->last.started_ms == before->last.started_ms)
		return; /* no attempt */
	else if (before->health != HEALTH_FAILING || now_ms - said->failing_ms >= STILL_FAILING_MS)
		say_failing(r, said, slot, next_due_ms, now_ms);
}

/* The minute is over: what was not told one by one is told as a number. */
static void on_dead_window(evutil_socket_t fd, short what, void *user)
{
	struct said *said = user;
	struct log_fields fields = {.endpoint = said->address};

	(void)fd;
	(void)what;
	if (said->dead_untold)
		log_line(LOG_LEVEL_WARNING, LOG_DEAD, &fields,
			"%u more dead letters of %s in the last minute", said->dead_untold,
			said->address);
	said->dead_lines = said->dead_untold = 0;
}

static bool may_tell(struct reports *r, struct said *said)
{
	struct timeval minute = {WINDOW_S, 0};

	if (!said->dead_window)
		said->dead_window = evtimer_new(r->base, on_dead_window, said);
	if (said->dead_lines == 0 && said->dead_window)
		loop_add(said->dead_window, &minute);
	if (said->dead_lines < DEAD_LINES_MAX) {
		said->dead_lines++;
		return true;
	}
	said->dead_untold++;
	return false;
}

void reports_dead(struct reports *r, const struct slot *slot, const struct delivery *d,
	const char *type, const char *message, size_t message_len)
{
	struct said *said = said_of(r, slot);
	char id[EVENT_ID_TEXT_SIZE], age[UNITS_TEXT_SIZE];
	struct log_fields fields = {.event = &d->event,
		.tenant = slot->settings->tenant,
		.type = type[0] ? type : NULL,
		.attempt = d->last.number ? &d->last : NULL};

	if (!said || !may_tell(r, said))
		return;
	fields.endpoint = said->address;
	event_id_format(&d->event, id);
	units_describe_span(d->since_ms - d->aged_from_ms, age);
	if (d->reason == DEAD_DAMAGED)
		log_line(LOG_LEVEL_WARNING, LOG_DEAD, &fields,
			"dead letter %s/%s: the event is damaged on disk", id,
			slot->settings->name);
	else if (message_len == 0)
		log_line(LOG_LEVEL_WARNING, LOG_DEAD, &fields,
			"dead letter %s/%s (%s): too old to be sent, after %u attempts in %s", id,
			slot->settings->name, type, d->attempts, age);
	else
		log_line(LOG_LEVEL_WARNING, LOG_DEAD, &fields,
			"dead letter %s/%s (%s): %s%u attempts in %s, last: %.*s", id,
			slot->settings->name, type,
			d->reason == DEAD_TOO_OLD ? "too old after " : "", d->attempts, age,
			(int)message_len, message);
}

static void say_early(struct reports *r)
{
	struct timeval minute = {WINDOW_S, 0};

	log_line(LOG_LEVEL_NOTICE, LOG_STORE, NULL,
		"%u delivered events were forgotten before their time: new events come first, above 80 %% of the store's budget and when the disk has no more room",
		r->n_early);
	r->n_early = 0;
	if (r->early)
		loop_add(r->early, &minute);
}

static void on_early_window(evutil_socket_t fd, short what, void *user)
{
	struct reports *r = user;

	(void)fd;
	(void)what;
	if (r->n_early)
		say_early(r);
}

void reports_early(struct reports *r, unsigned n_events)
{
	r->n_early += n_events;
	if (!r->early)
		r->early = evtimer_new(r->base, on_early_window, r);
	if (!r->early || !event_pending(r->early, EV_TIMEOUT, NULL))
		say_early(r);
}
