#include "render.h"

#include <stdio.h>
#include <string.h>

#include "../../lib/http_status.h"
#include "../../lib/text.h"
#include "../../lib/timestamp.h"
#include "../outgoing.h"

json_t *render_wall_time(int64_t wall_ms)
{
	char text[TIMESTAMP_TEXT_SIZE];

	timestamp_format(wall_ms, text);
	return json_string(text);
}

json_t *render_time(const struct api_options *o, int64_t queue_ms)
{
	return render_wall_time(clock_to_wall(o->clock, queue_ms));
}

json_t *render_time_or_null(const struct api_options *o, int64_t queue_ms)
{
	return queue_ms ? render_time(o, queue_ms) : json_null();
}

/* An empty string is null. */
static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

void delivery_address(
	const struct event_id *event, const char *endpoint, char text[static DELIVERY_ADDRESS_SIZE])
{
	event_id_format(event, text);
	snprintf(text + EVENT_ID_TEXT_LEN, DELIVERY_ADDRESS_SIZE - EVENT_ID_TEXT_LEN, "/%s",
		endpoint);
}

json_t *render_event(const struct api_options *o, const struct event_row *row)
{
	const struct event *e = &row->event->event;
	char id[EVENT_ID_TEXT_SIZE];

	event_id_format(&e->id, id);
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:s, s:I, s:I, s:{s:i, s:i, s:i, s:i}}",
		"id", id, "tenant", e->tenant, "type", e->type, "accepted_at",
		render_time(o, e->accepted_ms), "uid", (json_int_t)e->uid, "timestamp",
		render_wall_time(e->timestamp_wall_ms), "deliver_at",
		e->deliver_at_wall_ms ? render_wall_time(e->deliver_at_wall_ms) : json_null(),
		"idempotency_key", text_or_null(e->key), "content_type", e->content_type,
		"payload_bytes", (json_int_t)e->payload_len, "deliveries",
		(json_int_t)e->n_deliveries, "states", "pending",
		(int)row->states[DELIVERY_PENDING], "held", (int)row->states[DELIVERY_HELD],
		"delivered", (int)row->states[DELIVERY_DELIVERED], "dead",
		(int)row->states[DELIVERY_DEAD]);
}

/* message, response: NULL for null. */
static json_t *render_attempt_with(const struct api_options *o, const struct attempt *a,
	const char *message, const char *response)
{
	char peer[PEER_TEXT_SIZE];

	peer_format(&a->peer, peer);
	return json_pack("{s:I, s:o, s:I, s:s, s:o, s:s, s:o, s:o, s:o}", "number",
		(json_int_t)a->number, "started_at", render_time(o, a->started_ms), "duration_ms",
		(json_int_t)a->duration_ms, "result", attempt_result_name(a->result), "http_status",
		a->http_status ? json_integer(a->http_status) : json_null(), "message", message,
		"address", text_or_null(peer), "retry_after_s",
		a->retry_after_s >= 0 ? json_integer(a->retry_after_s) : json_null(), "response",
		response ? json_string(response) : json_null());
}

json_t *render_attempt(const struct api_options *o, const struct attempt_story *s)
{
	char message[ATTEMPT_MESSAGE_MAX + 1], response[ATTEMPT_RESPONSE_MAX + 1];

	text_clean_bytes(s->message, s->message_len, message);
	text_clean_bytes(s->response, s->response_len, response);
	return render_attempt_with(
		o, &s->attempt, message, s->attempt.http_status ? response : NULL);
}

json_t *render_last_attempt(
	const struct api_options *o, const struct attempt *last, const char *message)
{
	char words[64];

	if (last->number == 0)
		return json_null();
	snprintf(words, sizeof(words), "%u %s", last->http_status,
		http_status_name(last->http_status));
	if (!last->http_status)
		snprintf(words, sizeof(words), "%s", attempt_result_name(last->result));
	return render_attempt_with(o, last, message ? message : words, NULL);
}

static json_t *render_waiting(const struct api_options *o, const struct delivery *d,
	struct slot *slot, json_t **next_attempt_at)
{
	enum waiting_for waiting;
	int64_t next_ms;

	*next_attempt_at = json_null();
	if (d->state != DELIVERY_PENDING)
		return json_null();
	waiting = dispatch_explain(o->dispatch, slot, d, &next_ms);
	if (waiting == WAITING_TIME)
		*next_attempt_at = render_time(o, next_ms);
	return json_string(waiting_for_name(waiting));
}

json_t *render_delivery(const struct api_options *o, const struct delivery *d, const char *type,
	const struct attempt_story *story)
{
	struct slot *slot = registry_at(store_registry(o->store), d->endpoint);
	char address[DELIVERY_ADDRESS_SIZE], id[EVENT_ID_TEXT_SIZE];
	json_t *waiting, *next_attempt_at;
	struct effective effective;

	if (!slot) /* gone with its last delivery, a moment ago */
		return json_null();
	event_id_format(&d->event, id);
	delivery_address(&d->event, slot->settings->name, address);
	effective = endpoint_effective(slot->settings, o->config);
	waiting = render_waiting(o, d, slot, &next_attempt_at);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:i, s:i, s:o, s:o}", "id",
		address, "event", id, "tenant", slot->settings->tenant, "endpoint",
		slot->settings->name, "type", type, "state", delivery_state_name(d->state), "since",
		render_time(o, d->since_ms), "dead_reason",
		text_or_null(dead_reason_name(d->reason)), "waiting_for", waiting, "attempts",
		(int)d->attempts, "attempts_max", (int)effective.n_retry_waits + 1,
		"next_attempt_at", next_attempt_at, "last_attempt",
		story ? render_attempt(o, story) : render_last_attempt(o, &d->last, NULL));
}

/* ---- Endpoints ---- */

static json_t *render_types(const struct endpoint *e)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < e->n_types; i++)
		json_array_append_new(list, json_string(e->types[i]));
	return list;
}

static json_t *render_headers(const struct endpoint *e)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < e->n_headers; i++)
		json_object_set_new(object, e->headers[i].name, json_string("***"));
	return object;
}

static json_t *render_waits(const struct effective *effective)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < effective->n_retry_waits; i++)
		json_array_append_new(list, json_integer(effective->retry_waits_s[i]));
	return list;
}

static json_t *render_networks(const struct networks *networks)
{
	json_t *list = json_array();

	for (size_t i = 0; i < networks->n; i++) {
		char text[NETWORK_TEXT_SIZE];

		network_format(&networks->list[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *render_secrets(const struct api_options *o, const struct endpoint *e)
{
	int64_t now_ms = clock_queue_ms(o->clock);
	json_t *list = json_array();

	for (unsigned i = 0; i < e->n_secrets; i++) {
		const struct endpoint_secret *secret = &e->secrets[i];
		char fingerprint[SECRETBOX_FINGERPRINT_SIZE];

		if (secret->expires_ms && secret->expires_ms <= now_ms)
			continue;
		secretbox_fingerprint(o->box, secret->key.bytes, secret->key.len, fingerprint);
		json_array_append_new(list,
			json_pack("{s:s, s:o, s:o}", "fingerprint", fingerprint, "created_at",
				render_time(o, secret->created_ms), "expires_at",
				render_time_or_null(o, secret->expires_ms)));
	}
	return list;
}

static const char *const health_names[] = {
	[HEALTH_UNTRIED] = "untried", [HEALTH_OK] = "ok", [HEALTH_FAILING] = "failing"};

static json_t *render_health(const struct api_options *o, const struct slot *slot)
{
	return json_pack("{s:s, s:o, s:I, s:o}", "state", health_names[slot->health], "since",
		render_time(o,
			slot->health == HEALTH_UNTRIED ? slot->settings->created_ms
						       : slot->health_since_ms),
		"failures", (json_int_t)(slot->health == HEALTH_FAILING ? slot->failures : 0),
		"last_attempt",
		slot->health == HEALTH_UNTRIED
			? json_null()
			: render_last_attempt(o, &slot->last, slot->message));
}

static json_t *render_pause(const struct endpoint *e)
{
	switch (e->paused) {
	case NOT_PAUSED:
		break;
	case PAUSED_BY_REQUEST:
		return json_string("request");
	case PAUSED_BY_HOOKD:
		return json_string("hookd");
	}
	return json_null();
}

/* null: there is none by default. 0: there is none whatever the default is. */
static json_t *render_limit(double own, double value)
{
	if (value == 0 && own != ENDPOINT_NONE)
		return json_null();
	return value == (double)(json_int_t)value ? json_integer((json_int_t)value)
						  : json_real(value);
}

json_t *render_endpoint(const struct api_options *o, struct slot *slot)
{
	const struct endpoint *e = slot->settings;
	struct effective effective = endpoint_effective(e, o->config);
	json_t *settings, *state;

	settings = json_pack(
		"{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:i, s:i, s:o, s:i, s:b, s:o, s:o}",
		"name", e->name, "tenant", e->tenant, "url", e->url, "types", render_types(e),
		"description", e->description, "headers", render_headers(e), "retry_schedule_s",
		render_waits(&effective), "max_age_s",
		render_limit((double)e->max_age_s, (double)effective.max_age_s), "timeout_s",
		(int)effective.timeout_s, "max_in_flight", (int)effective.max_in_flight,
		"rate_per_s", render_limit(e->rate_per_s, effective.rate_per_s), "burst",
		(int)effective.burst, "allow_http", (int)e->allow_http, "allow_private",
		render_networks(&e->allow_private), "ca", e->ca ? json_string(e->ca) : json_null());
	state = json_pack("{s:s, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:o}, s:o, s:o, s:o}",
		"state", e->paused ? "paused" : "active", "state_since",
		render_time(o, e->state_since_ms), "paused_by", render_pause(e), "reason",
		e->reason ? json_string(e->reason) : json_null(), "health", render_health(o, slot),
		"queue", "pending", (json_int_t)slot->deliveries[DELIVERY_PENDING], "held",
		(json_int_t)slot->deliveries[DELIVERY_HELD], "dead",
		(json_int_t)slot->deliveries[DELIVERY_DEAD], "oldest_pending_at",
		render_time_or_null(o, slot->oldest_pending_ms), "secrets", render_secrets(o, e),
		"created_at", render_time(o, e->created_ms), "updated_at",
		render_time(o, e->updated_ms));
	if (!settings || !state || json_object_update(settings, state) < 0) {
		json_decref(settings);
		settings = NULL;
	}
	json_decref(state);
	return settings;
}
