/*
 * The half of the oracle that follows attempts: requests as they go out and arrive, and what is
 * made of their outcomes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/webhook.h"
#include "check.h"
#include "expected.h"
#include "kernel.h"
#include "limits.h"
#include "oracle.h"
#include "queue_time.h"

#define ONE_DEATH_US 1000000
#define EARLY_MAX_MS 600000

/* ---- Requests ---- */

static const char *header(const struct sender_request *request, const char *wanted)
{
	size_t len = strlen(wanted);

	for (unsigned i = 0; i < request->n_headers; i++) {
		if (strncmp(request->headers[i].at, wanted, len) == 0)
			return request->headers[i].at + len;
	}
	check(false, "a request has no header %s", wanted);
	return NULL;
}

static size_t header_len(const struct sender_request *request, const char *wanted)
{
	const char *value = header(request, wanted);

	for (unsigned i = 0; i < request->n_headers; i++) {
		const struct text_span *h = &request->headers[i];

		if (value > h->at && value <= h->at + h->len)
			return (size_t)(h->at + h->len - value);
	}
	return 0;
}

static bool is_test(const struct sender_request *request)
{
	return strncmp(header(request, "webhook-event: "), "hookd.test", 10) == 0;
}

static struct event_id id_of(const struct sender_request *request)
{
	struct event_id id;

	check(event_id_parse(header(request, "webhook-id: "), EVENT_ID_TEXT_LEN, &id) == 0,
		"a request has a bad webhook-id");
	return id;
}

/* Address, time limit, time stamp and signatures as they are in force now. */
static void check_request(const struct sender_request *request, uint32_t endpoint)
{
	const struct endpoint *e = limits_of(endpoint);
	char id[EVENT_ID_TEXT_SIZE], stamp[24], signature[WEBHOOK_SIGNATURE_LEN];
	const char *signatures = header(request, "webhook-signature: ");
	const char *end = signatures + header_len(request, "webhook-signature: ");
	struct event_id event = id_of(request);
	unsigned n = 0;

	check(request->url.len == strlen(e->url) &&
			memcmp(request->url.at, e->url, request->url.len) == 0,
		"a request for endpoint %u goes to another address", endpoint);
	check(request->timeout_ms == limits_policy_of(endpoint).timeout_s * 1000,
		"a request for endpoint %u has %u ms", endpoint, request->timeout_ms);
	event_id_format(&event, id);
	snprintf(stamp, sizeof(stamp), "%lld", (long long)kernel_wall_ms() / 1000);
	check(strncmp(header(request, "webhook-timestamp: "), stamp, strlen(stamp)) == 0,
		"a request is stamped %.12s, at %s", header(request, "webhook-timestamp: "), stamp);
	for (unsigned i = 0; i < e->n_secrets; i++) {
		if (e->secrets[i].expires_ms && e->secrets[i].expires_ms <= queue_ms())
			continue;
		n++;
		check(webhook_sign(&e->secrets[i].key, id, stamp, request->body.at,
			      request->body.len, signature) == 0,
			"cannot sign");
		check((size_t)(end - signatures) >= sizeof(signature) &&
				memcmp(signatures, signature, sizeof(signature)) == 0,
			"a request for endpoint %u is not signed with its secrets", endpoint);
		signatures += sizeof(signature) + 1;
	}
	check(n > 0 && signatures == end + 1,
		"a request for endpoint %u is signed %u times too few or many", endpoint, n);
	if (n > 1)
		cover("a request is signed with two secrets");
}

void oracle_sent(const struct senders *senders, uint32_t endpoint,
	const struct sender_request *request, bool suspect)
{
	struct event_id id = id_of(request);
	const struct expected_event *e = expected_find_event(&id);
	struct expected *d = expected_find(&id, endpoint);
	struct limits_policy policy;

	check(limits_of(endpoint), "a request goes to endpoint %u, which is not there", endpoint);
	check_request(request, endpoint);
	if (is_test(request)) {
		cover("an endpoint is tried out");
		return;
	}
	check(d && d->claimed && !d->answered_for, "%s is sent, though it is not claimed",
		expected_name_of(&id, endpoint));
	check(!d->sent, "%s is sent twice at the same time", expected_name(d));
	check(!d->damaged, "%s is damaged, and sent", expected_name(d));
	trace("%s is sent%s, %lld ms after it was due", expected_name(d),
		suspect ? " as a suspect" : "", (long long)(queue_ms() - d->claimed_due_ms));
	check(d->verb_batch <= d->claimed_batch || d->verb_batch > expectations.reported,
		"%s is sent as it was before a verb that is done", expected_name(d));
	check(d->claimed_due_ms <= queue_ms(), "%s is sent %lld ms early", expected_name(d),
		(long long)(d->claimed_due_ms - queue_ms()));
	check(d->claimed_verbs || d->made || e->deliver_at_wall_ms <= kernel_wall_ms(),
		"%s is sent before its deliver_at", expected_name(d));
	policy = limits_policy_of(endpoint);
	check(policy.max_age_s == 0 ||
			queue_ms() - d->claimed_aged_from_ms <= policy.max_age_s * 1000,
		"%s is too old, and sent", expected_name(d));
	check(suspect == expected_is_suspect(d), "%s is %s suspect", expected_name(d),
		suspect ? "no" : "a");
	if (suspect)
		cover("a suspect is sent");
	if (e->deliver_at_wall_ms)
		cover("an event with a deliver_at is sent");
	if (request->body_in_file)
		cover("a payload travels as a file");
	d->sent = true;
	d->sent_revision = limits_of(endpoint)->revision;
	d->sends++;
	limits_sent(senders, endpoint, suspect, expected_n_suspects(0));
}

void oracle_not_sent(uint32_t endpoint, const struct sender_request *request)
{
	struct event_id id = id_of(request);
	struct expected *d = expected_find(&id, endpoint);

	if (is_test(request))
		return;
	check(d && d->claimed && !d->sent, "%s cannot be sent, and was not to be",
		expected_name_of(&id, endpoint));
	d->unsendable = true;
	cover("no sender takes a delivery");
}

/* ---- What follows an attempt: the table of hookd(8), with room for the jitter ---- */

struct verdict {
	bool may_retry, may_die;
	enum dead_reason reason;
	int64_t due_low_ms, due_high_ms, not_before_ms;
};

static int64_t asked_wait_s(const struct expected *d)
{
	const struct sender_outcome *out = &d->reaction.outcome;
	int64_t wait_s;

	if (!out->retry_after[0])
		return -1;
	wait_s = d->reaction.retry_after_wall_s
		? d->reaction.retry_after_wall_s - kernel_wall_ms() / 1000
		: strtoll(out->retry_after, NULL, 10);
	return wait_s > 0 ? wait_s : 0;
}

static struct verdict judge(const struct expected *d, uint16_t status)
{
	struct limits_policy p = limits_policy_of(d->endpoint);
	struct verdict v = {.may_retry = true};
	int64_t asked_s = d->reacted ? asked_wait_s(d) : -1, now = queue_ms(), wait_ms, asked_ms;
	bool gone = status == 410;

	if (asked_s > p.retry_after_max_s) {
		asked_s = p.retry_after_max_s;
		cover("Retry-After beyond the cap");
	}
	if (asked_s >= 0 && (status == 429 || status == 503)) {
		v.not_before_ms = now + asked_s * 1000;
		cover("Retry-After stops an endpoint");
	}
	if (d->attempts >= p.n_waits && !gone) {
		v = (struct verdict){.may_die = true,
			.reason = DEAD_EXHAUSTED,
			.not_before_ms = v.not_before_ms};
		return v;
	}
	wait_ms = p.n_waits == 0
		? 0
		: (int64_t)p.waits_s[d->attempts < p.n_waits ? d->attempts : p.n_waits - 1] * 1000;
	asked_ms = asked_s > 0 ? asked_s * 1000 : 0;
	v.due_low_ms = now + (wait_ms * 4 / 5 > asked_ms ? wait_ms * 4 / 5 : asked_ms);
	v.due_high_ms = now + (wait_ms * 6 / 5 > asked_ms ? wait_ms * 6 / 5 : asked_ms);
	if (p.max_age_s) {
		int64_t last_ms = d->aged_from_ms + p.max_age_s * 1000;

		v.reason = DEAD_TOO_OLD;
		v.may_retry = v.due_low_ms <= last_ms;
		v.may_die = v.due_high_ms > last_ms;
	}
	return v;
}

static int64_t local_wait_ms(unsigned faults)
{
	int64_t wait_ms = 1000;

	while (faults-- && wait_ms < 60000)
		wait_ms *= 2;
	return wait_ms < 60000 ? wait_ms : 60000;
}

/* The attempt was made: by the verb it began before it is judged as it was claimed. */
static void check_attempt(struct expected *d, const struct outcome *outcome)
{
	const struct sender_outcome *truth = &d->reaction.outcome;
	struct verdict v;

	/* What its sender had to say may have got lost when it died. */
	if (outcome->attempt.result == RESULT_PROTOCOL && expected_is_suspect(d))
		d->reacted = false;
	if (!d->reacted) {
		check(outcome->attempt.result == RESULT_PROTOCOL && d->deaths >= DEATHS_TO_SUSPECT,
			"%s has an outcome that nobody reported", expected_name(d));
		cover("a delivery is blamed for the death of senders");
	} else {
		check(!truth->fault && outcome->attempt.result == truth->result &&
				outcome->attempt.http_status == truth->http_status,
			"%s: the outcome is another than was reported", expected_name(d));
	}
	if (outcome->attempt.result == RESULT_OK) {
		check(outcome->kind == OUTCOME_DELIVERED, "%s went well, and is not delivered",
			expected_name(d));
		d->accepted = true;
		return;
	}
	check(outcome->kind != OUTCOME_DELIVERED, "%s failed, and is delivered", expected_name(d));
	if (outcome->attempt.http_status == 410)
		limits_gone(d->endpoint, d->sent_revision);
	if (d->verbs != d->claimed_verbs)
		return; /* only the history will know of it */
	v = judge(d, outcome->attempt.http_status);
	check(outcome->kind == OUTCOME_DEAD ? v.may_die && outcome->reason == v.reason
					    : v.may_retry,
		"%s %s after %u attempts (reason %d)", expected_name(d),
		outcome->kind == OUTCOME_DEAD ? "is given up" : "is not given up", d->attempts + 1,
		(int)outcome->reason);
	if (outcome->kind == OUTCOME_DEAD) {
		if (v.reason == DEAD_EXHAUSTED)
			cover("a schedule is used up");
		else
			cover("a retry would come too late");
		return;
	}
	check(outcome->due_ms >= v.due_low_ms && outcome->due_ms <= v.due_high_ms,
		"%s comes again in %lld ms, but has to between %lld and %lld", expected_name(d),
		(long long)(outcome->due_ms - queue_ms()), (long long)(v.due_low_ms - queue_ms()),
		(long long)(v.due_high_ms - queue_ms()));
	cover("a retry");
}

/* Is the sender gone that a suspect had to itself? Whether hookd had heard from it that it can work
 * is not known here. */
static bool may_be_unbegun(const struct expected *d)
{
	return d->sent && expected_is_suspect(d) && (!d->arrived || d->cut_off);
}

/* Nothing was sent, or no receiver had to do with it. */
static void check_unmade(
	const struct expected *d, const struct expected_event *e, const struct outcome *outcome)
{
	struct limits_policy p;

	switch (outcome->kind) {
	case OUTCOME_LOCAL:
		check(d->unsendable || (d->reacted && d->reaction.outcome.fault) ||
				may_be_unbegun(d),
			"%s is put off without a reason", expected_name(d));
		check(outcome->due_ms == queue_ms() + local_wait_ms(d->local_faults) ||
				d->verbs != d->claimed_verbs,
			"%s is put off by %lld ms after %u faults", expected_name(d),
			(long long)(outcome->due_ms - queue_ms()), d->local_faults);
		cover("an attempt that cannot be made costs nothing");
		break;
	case OUTCOME_EARLY:
		check(!d->sent && e->deliver_at_wall_ms > kernel_wall_ms(),
			"%s is called early, and is not", expected_name(d));
		check(outcome->due_ms > queue_ms() &&
				outcome->due_ms - queue_ms() <=
					e->deliver_at_wall_ms - kernel_wall_ms() &&
				outcome->due_ms - queue_ms() <= EARLY_MAX_MS,
			"%s is looked at again in %lld ms", expected_name(d),
			(long long)(outcome->due_ms - queue_ms()));
		cover("deliver_at is checked again when the wall clock was set");
		break;
	case OUTCOME_TOO_OLD:
		p = limits_policy_of(d->endpoint);
		check(!d->sent && p.max_age_s &&
				queue_ms() - d->claimed_aged_from_ms > p.max_age_s * 1000,
			"%s is called too old, and is not", expected_name(d));
		cover("what is too old is not sent");
		break;
	case OUTCOME_DAMAGED:
		check(!d->sent && d->damaged, "%s is called damaged, and is not", expected_name(d));
		cover("a damaged event is not sent");
		break;
	case OUTCOME_DELIVERED:
	case OUTCOME_RETRY:
	case OUTCOME_DEAD:
		break;
	}
}

void oracle_outcome(const struct outcome *outcome)
{
	struct expected *d = expected_find(&outcome->event, outcome->endpoint);
	enum limits_effect effect = expected_effect(outcome);
	int64_t not_before_ms = 0;

	check(d && d->claimed, "%s has an outcome, but was not claimed",
		expected_name_of(&outcome->event, outcome->endpoint));
	check(!d->answered_for, "%s has two outcomes", expected_name(d));
	check(effect == NOT_MADE || d->sent, "%s has an outcome, but was not sent",
		expected_name(d));
	if (limits_of(d->endpoint) && effect == NOT_MADE)
		check_unmade(d, expected_find_event(&d->event), outcome);
	else if (limits_of(d->endpoint))
		check_attempt(d, outcome);
	if (outcome->kind == OUTCOME_LOCAL)
		not_before_ms = outcome->due_ms;
	else if (effect == ANSWERED && !limits_left_url(d->endpoint, d->sent_revision))
		not_before_ms = judge(d, outcome->attempt.http_status).not_before_ms;
	if (d->sent && limits_of(d->endpoint))
		limits_ended(d->endpoint, effect, not_before_ms);
	else if (limits_of(d->endpoint))
		limits_put_off(d->endpoint, not_before_ms);
	if (d->sent && effect == NOT_MADE)
		d->lost++;
	d->answered_for = true;
	d->answered_us = kernel_mono_us();
	d->answered_made = effect != NOT_MADE;
	d->unsendable = d->damaged = false;
	if (d->reacted)
		d->deaths = 0;
	expected_leave_sender(d);
}

void oracle_given_back(const struct delivery *delivery)
{
	struct expected *d = expected_find(&delivery->event, delivery->endpoint);

	check(d && d->claimed && !d->answered_for, "%s is given back, but was not claimed",
		expected_name_of(&delivery->event, delivery->endpoint));
	d->claimed = d->damaged = false;
	if (!d->sent)
		return;
	check(!d->arrived || d->cut_off || d->reacted,
		"%s is given back while its sender works on it", expected_name(d));
	trace("%s is lost with its sender", expected_name(d));
	cover("a sender dies with a delivery");
	d->lost++;
	if (d->deaths == 0 || kernel_mono_us() - d->death_us >= ONE_DEATH_US) {
		d->deaths++;
		d->death_us = kernel_mono_us();
	}
	expected_leave_sender(d);
	if (limits_of(d->endpoint))
		limits_ended(d->endpoint, NOT_MADE, 0);
}

/* ---- At receivers ---- */

struct oracle_arrival oracle_arrives(const struct sender_request *request)
{
	struct oracle_arrival arrival = {.event = id_of(request), .is_test = is_test(request)};
	const struct expected_event *e = expected_find_event(&arrival.event);
	struct expected *d;

	check(sscanf(request->url.at, "https://r%u.", &arrival.receiver) == 1 &&
			arrival.receiver < RECEIVERS_MAX,
		"a request goes to a strange address");
	if (arrival.is_test)
		return arrival;
	d = expected_find(&arrival.event, arrival.receiver);
	check(d && d->sent && !d->arrived, "%s arrives, but was not sent",
		expected_name_of(&arrival.event, arrival.receiver));
	check(request->body.len == e->payload_len &&
			expected_hash(1, request->body.at, request->body.len) == e->payload_hash,
		"%s arrives with another payload", expected_name(d));
	d->arrived = true;
	arrival.is_poison = e->is_poison;
	return arrival;
}

void oracle_reacted(const struct oracle_arrival *arrival, const struct reaction *reaction)
{
	struct expected *d = expected_find(&arrival->event, arrival->receiver);

	if (arrival->is_test)
		return;
	trace("%s: %.*s%s", expected_name(d), (int)reaction->outcome.message_len,
		reaction->outcome.message,
		reaction->outcome.fault ? "the sender lacks something" : "");
	d->reacted = true;
	d->reaction = *reaction;
}

void oracle_cut_off(const struct oracle_arrival *arrival)
{
	struct expected *d = expected_find(&arrival->event, arrival->receiver);

	if (!arrival->is_test)
		d->cut_off = true;
}
