/*
 * hookctl submit: one event, or with --batch a file of them.
 *
 * JSON goes into an envelope as it is, byte for byte. Every single event has an idempotency key,
 * its own or a fresh one, so that a request whose fate is unknown can safely be made again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/json_span.h"
#include "../lib/text.h"
#include "../lib/timestamp.h"
#include "batch.h"
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "ids.h"
#include "input.h"
#include "options.h"
#include "say.h"
#include "words.h"

#define KEY_MAX 255
#define CONTENT_TYPE_MAX 255

struct submission {
	struct ctl *ctl;
	const char *type, *file, *tenant, *key, *at, *content_type;
	char fresh_key[27], deliver_at[TIMESTAMP_TEXT_SIZE];
	bool batch, has_own_key;
};

/* ---- What was given ---- */

/* A key that grows with time, as libhookd makes them: such keys are cheap to store. */
static int make_key(struct submission *s)
{
	struct event_id id;
	int r = make_id("an idempotency key", &id);

	if (r == 0)
		event_id_format_bare(&id, s->fresh_key);
	s->key = s->fresh_key;
	return r;
}

static int prepare(struct submission *s)
{
	int64_t at_ms;
	int r = 0;

	s->has_own_key = s->key != NULL;
	if (s->key && !text_is_visible(s->key, strlen(s->key), KEY_MAX, '!'))
		return misused(s->ctl, "--key: expected 1 to 255 visible ASCII characters");
	if (s->content_type &&
		!text_is_visible(s->content_type, strlen(s->content_type), CONTENT_TYPE_MAX, ' '))
		return misused(s->ctl, "--content-type: expected a media type such as text/plain");
	if (s->at) {
		r = parse_moment(s->ctl, "--at", s->at, 1, &at_ms);
		if (r == 0)
			timestamp_format(at_ms, s->deliver_at);
	}
	return r == 0 && !s->key ? make_key(s) : r;
}

/* ---- The request ---- */

static size_t line_of(const struct buffer *data, size_t offset)
{
	size_t line = 1;

	for (size_t i = 0; i < offset && i < data->len; i++)
		line += data->at[i] == '\n';
	return line;
}

static int check_json(const struct submission *s, const struct buffer *data, struct span *value)
{
	const char *name = s->file && strcmp(s->file, "-") != 0 ? s->file : "standard input";
	struct json_span_error error;

	if (json_span_member_value(
		    (struct span){data->len ? data->at : "", data->len}, value, &error) == 0)
		return 0;
	if (data->len == 0)
		return fail(
			"%s: empty; expected JSON (--content-type sends other bytes as they are)",
			name);
	return fail("%s: not JSON: expected %s at byte %zu, in line %zu (--content-type sends "
		    "other bytes as they are)",
		name, error.expected, error.offset, line_of(data, error.offset));
}

static void make_envelope(const struct submission *s, struct span data, struct buffer *body)
{
	buffer_append_text(body, "{");
	buffer_append_member(body, "type", s->type);
	buffer_append_member(body, "idempotency_key", s->key);
	if (s->tenant)
		buffer_append_member(body, "tenant", s->tenant);
	if (s->at)
		buffer_append_member(body, "deliver_at", s->deliver_at);
	buffer_append_text(body, ",\"data\":");
	buffer_append(body, data.at, data.len);
	buffer_append_text(body, "}");
}

static void make_raw_target(const struct submission *s, struct buffer *target)
{
	buffer_append_text(target, "/v1/events");
	buffer_append_query(target, "type", s->type);
	if (s->tenant)
		buffer_append_query(target, "tenant", s->tenant);
	if (s->at)
		buffer_append_query(target, "deliver_at", s->deliver_at);
}

/* ---- The call ---- */

static void tell(const struct submission *s, const json_t *receipt)
{
	bool duplicate = field_is_true(receipt, "duplicate");

	if (s->ctl->json)
		print_json(s->ctl, receipt);
	else
		print_line("%s", field_text(receipt, "id"));
	if (duplicate && s->has_own_key)
		note("the key %s was known: this is the event that was submitted with it then",
			s->key);
	else if (!duplicate && field_number(receipt, "deliveries") == 0)
		note("no endpoint takes %s%s%s", s->type,
			s->tenant && *s->tenant ? " in tenant " : "", s->tenant ? s->tenant : "");
}

static int submit(const struct submission *s, const struct call *call)
{
	struct answer answer;
	int r = call_hookd(s->ctl, call, &answer);

	if (r == 0 && answer.code) {
		r = fail_with_answer(s->ctl, &answer);
		note("perhaps stored; to be sure, submit again with --key %s", s->key);
	} else if (r == 0) {
		tell(s, answer.json);
	}
	answer_clear(&answer);
	return r;
}

static int submit_one(struct submission *s)
{
	struct buffer data = {0}, body = {0}, target = {0};
	struct call call = {
		.method = "POST", .is_keyed = true, .wants = "id", .tolerated = "unknown"};
	struct span value;
	int r = prepare(s);

	if (r == 0)
		r = read_input(s->file, "the data", &data);
	if (r == 0 && s->content_type) {
		make_raw_target(s, &target);
		call.target = target.at;
		call.bytes = &data;
		call.content_type = s->content_type;
		call.idempotency_key = s->key;
		r = submit(s, &call);
	} else if (r == 0) {
		r = check_json(s, &data, &value);
		if (r == 0) {
			make_envelope(s, value, &body);
			call.target = "/v1/events";
			call.bytes = &body;
			call.content_type = "application/json";
			r = submit(s, &call);
		}
	}
	buffer_free(&data);
	buffer_free(&body);
	buffer_free(&target);
	return r;
}

/* ---- The command ---- */

static int run_operands(struct submission *s, const struct texts *operands)
{
	size_t n = operands->n;

	if (s->batch) {
		if (n > 1)
			return misused(
				s->ctl, "--batch takes one file: each line says its type itself");
		if (s->tenant || s->key || s->at || s->content_type)
			return misused(s->ctl,
				"--batch: tenant, idempotency_key and deliver_at are members of the lines");
		return submit_batch(s->ctl, n ? operands->at[0] : NULL);
	}
	if (n < 1)
		return misused(s->ctl, "expected TYPE [FILE]");
	s->type = operands->at[0];
	s->file = n > 1 ? operands->at[1] : NULL;
	return submit_one(s);
}

static int run_submit(struct ctl *ctl, char **arguments)
{
	struct submission s = {.ctl = ctl};
	const struct option_rule rules[] = {
		{0, "tenant", OPTION_TEXT, &s.tenant, "TENANT",
			"whose event it is (the default's)"},
		{0, "key", OPTION_TEXT, &s.key, "KEY",
			"idempotency key: twice the same is one event (a fresh one)"},
		{0, "at", OPTION_TEXT, &s.at, "TIME",
			"deliver then: 5m (from now on), \"2026-11-22 01:58\""},
		{0, "content-type", OPTION_TEXT, &s.content_type, "CT",
			"deliver the bytes as they are, labelled so"},
		{0, "batch", OPTION_FLAG, &s.batch, NULL,
			"every line is an envelope with type and data"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 2);

	if (r == 0)
		r = run_operands(&s, &operands);
	texts_free(&operands);
	return r;
}

const struct command command_submit = {.name = "submit",
	.usage = "TYPE [FILE|-] | --batch [FILE|-]",
	.summary = "hand events over",
	.about =
		"Hands an event over and prints its id; it is on disk then. The data is JSON from FILE or\n"
		"standard input, and receivers get {\"type\", \"timestamp\", \"data\"}. With --content-type it\n"
		"is any bytes, and receivers get just those. --batch takes a file of envelopes, one a\n"
		"line, and prints an id for each.",
	.needs = SOCKET_SUBMIT,
	.run = run_submit};
