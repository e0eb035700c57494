/*
 * hookctl show: the story of an event: where it came from, to whom it is owed, and every attempt.
 *
 * Everything is fetched before anything is printed, because the columns of all attempts line up.
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/text.h"
#include "client.h"
#include "commands.h"
#include "delivery_words.h"
#include "fields.h"
#include "filter.h"
#include "ids.h"
#include "options.h"
#include "pages.h"
#include "say.h"
#include "table.h"
#include "words.h"

#define LABEL 10

struct story {
	struct ctl *ctl;
	json_t *event;
	json_t *deliveries; /* an array, each with its history */
};

/* ---- Fetching ---- */

static int get_event(struct ctl *ctl, const char *event, json_t **json)
{
	struct buffer target = {0};
	int r;

	buffer_append_text(&target, "/v1/events/");
	buffer_append_segment(&target, event);
	r = get_json(ctl, target.at, json);
	buffer_free(&target);
	return r;
}

static int add_delivery(struct story *s, const char *event, const char *endpoint)
{
	struct buffer target = {0};
	json_t *delivery = NULL;
	int r;

	buffer_append_text(&target, "/v1/deliveries/");
	buffer_append_segment(&target, event);
	buffer_append_text(&target, "/");
	buffer_append_segment(&target, endpoint);
	r = get_json(s->ctl, target.at, &delivery);
	buffer_free(&target);
	if (r == 0)
		json_array_append_new(s->deliveries, delivery);
	return r;
}

static int add_deliveries(struct story *s, const char *event)
{
	struct buffer target = {0};
	struct pages pages = {.ctl = s->ctl, .has_limit = true};
	json_t *items, *item;
	size_t i;
	int r;

	buffer_append_text(&target, "/v1/deliveries");
	buffer_append_query(&target, "event", event);
	pages.target = target.at;
	while ((r = pages_next(&pages, PAGE_MAX, &items)) == 0 && items) {
		json_array_foreach (items, i, item) {
			r = add_delivery(s, event, field_text(item, "endpoint"));
			if (r)
				break;
		}
		if (r)
			break;
	}
	pages_clear(&pages);
	buffer_free(&target);
	return r;
}

/* ---- Telling ---- */

static void words_user(const json_t *event, char text[static WORDS_SIZE])
{
	long long uid = field_number(event, "uid");
	const struct passwd *entry = getpwuid((uid_t)uid);

	if (uid == UINT32_MAX)
		snprintf(text, WORDS_SIZE, "an unknown user");
	else if (entry)
		snprintf(text, WORDS_SIZE, "uid %lld (%.32s)", uid, entry->pw_name);
	else
		snprintf(text, WORDS_SIZE, "uid %lld", uid);
}

/* The producer's own time of the event, if it is another one, and what it is put off to. */
static void print_times(const struct ctl *ctl, const json_t *event)
{
	int64_t accepted_ms = field_time(event, "accepted_at");
	int64_t timestamp_ms = field_time(event, "timestamp");
	int64_t deliver_at_ms = field_time(event, "deliver_at");
	char time[WORDS_SIZE], until[WORDS_SIZE];

	if (timestamp_ms && llabs(timestamp_ms - accepted_ms) >= 1000) {
		words_time(ctl, timestamp_ms, time);
		print_label(LABEL, "happened");
		print_line("%s, says the producer", time);
	}
	if (deliver_at_ms) {
		words_time(ctl, deliver_at_ms, time);
		words_until(ctl, deliver_at_ms, until);
		print_label(LABEL, "deliver");
		print_line("not before %s%s%s%s", time, deliver_at_ms > ctl->now_ms ? " (" : "",
			deliver_at_ms > ctl->now_ms ? until : "",
			deliver_at_ms > ctl->now_ms ? ")" : "");
	}
}

static void print_event(const struct ctl *ctl, const json_t *event)
{
	const char *tenant = field_text(event, "tenant"),
		   *key = field_text(event, "idempotency_key");
	int64_t accepted_ms = field_time(event, "accepted_at");
	char time[WORDS_SIZE], since[WORDS_SIZE], user[WORDS_SIZE], size[WORDS_SIZE];

	words_time(ctl, accepted_ms, time);
	words_since(ctl, accepted_ms, since);
	words_user(event, user);
	words_size(field_number(event, "payload_bytes"), size);
	print_label(LABEL, "event");
	print_line("%s  %s%s%s%s%s", field_text(event, "id"), field_text(event, "type"),
		tenant[0] ? "  tenant " : "", tenant, key[0] ? "  key " : "", key);
	print_label(LABEL, "accepted");
	print_line("%s, %s ago, from %s; %s, %s", time, since, user,
		field_text(event, "content_type"), size);
	print_times(ctl, event);
}

/* Long answers run over, so that one of them does not push all addresses away. */
static const struct column attempt_columns[] = {
	{"", .right = true}, {""}, {"", .right = true}, {"", .limit = 24}, {""}, {""}};

static void add_attempts(
	const struct ctl *ctl, struct table *table, const json_t *delivery, int64_t base_ms)
{
	const json_t *attempt;
	size_t i;

	json_array_foreach (field(delivery, "history"), i, attempt) {
		char clock[WORDS_SIZE];

		words_clock(ctl, field_time(attempt, "started_at"), base_ms, clock);
		table_add(table, "%4lld", field_number(attempt, "number"));
		table_add(table, "%s", clock);
		table_add(table, "%lld ms", field_number(attempt, "duration_ms"));
		table_add(table, "%s", field_text(attempt, "message"));
		table_add(table, "%s", field_text(attempt, "address"));
		table_add(table, "%s", field_text(attempt, "response"));
	}
}

static unsigned widest_address(const json_t *deliveries)
{
	unsigned widest = 0;
	const json_t *d;
	size_t i;

	json_array_foreach (deliveries, i, d) {
		char address[WORDS_ADDRESS_SIZE];

		words_address(d, "endpoint", address);
		if (text_width(address) > widest)
			widest = text_width(address);
	}
	return widest;
}

static void print_deliveries(struct story *s)
{
	int64_t base_ms = field_time(s->event, "accepted_at");
	unsigned width = widest_address(s->deliveries);
	size_t i, first = 0;
	struct table table;
	const json_t *d;

	table_init(&table, s->ctl, attempt_columns, 6, false);
	json_array_foreach (s->deliveries, i, d)
		add_attempts(s->ctl, &table, d, base_ms);
	json_array_foreach (s->deliveries, i, d) {
		size_t n = json_array_size(field(d, "history"));
		char address[WORDS_ADDRESS_SIZE], standing[WORDS_STANDING_SIZE];

		words_address(d, "endpoint", address);
		words_standing(s->ctl, d, base_ms, standing);
		print_coloured(s->ctl, state_colour(d), "%-*s  %s", (int)width, address, standing);
		table_print_rows(&table, first, n);
		first += n;
	}
	table_free(&table);
}

static void print_story(struct story *s, bool event_too)
{
	const json_t *d;
	size_t i;

	if (!s->ctl->json) {
		print_event(s->ctl, s->event);
		print_deliveries(s);
		if (json_array_size(s->deliveries) == 0)
			note("no endpoint took it");
		return;
	}
	if (event_too)
		print_json(s->ctl, s->event);
	json_array_foreach (s->deliveries, i, d)
		print_json(s->ctl, d);
}

/* endpoint NULL: all of the event's. */
static int show_event(struct ctl *ctl, const char *event, const char *endpoint)
{
	struct story s = {.ctl = ctl, .deliveries = json_array()};
	int r = get_event(ctl, event, &s.event);

	if (r == 0)
		r = endpoint ? add_delivery(&s, event, endpoint) : add_deliveries(&s, event);
	if (r == 0)
		print_story(&s, !endpoint);
	json_decref(s.event);
	json_decref(s.deliveries);
	return r;
}

/* ---- The payload ---- */

/* Others' bytes: exact in a pipe; on a terminal without what would steer it. */
static void print_payload(const struct ctl *ctl, const char *bytes, size_t len)
{
	char piece[8];
	size_t n_strange = 0;

	if (!ctl->is_terminal) {
		fwrite(bytes, 1, len, stdout);
		return;
	}
	for (size_t at = 0; at < len;) {
		size_t n = text_utf8_sequence((const uint8_t *)bytes + at, len - at);
		bool plain = n == 1 && (bytes[at] == '\n' || bytes[at] == '\t');

		n = n ? n : 1;
		text_clean_bytes(bytes + at, n, piece);
		n_strange += !plain && memcmp(piece, bytes + at, n) != 0;
		fputs(plain ? (bytes[at] == '\n' ? "\n" : "\t") : piece, stdout);
		at += n;
	}
	if (len && bytes[len - 1] != '\n')
		putchar('\n');
	if (n_strange)
		note("what a terminal cannot show is shown as ?; in a pipe the bytes are exact");
}

static int show_payload(struct ctl *ctl, const char *event)
{
	struct buffer target = {0};
	struct call call = {.method = "GET", .wants_bytes = true};
	struct answer answer;
	int r;

	buffer_append_text(&target, "/v1/events/");
	buffer_append_segment(&target, event);
	buffer_append_text(&target, "/payload");
	call.target = target.at;
	r = call_hookd(ctl, &call, &answer);
	if (r == 0)
		print_payload(ctl, answer.bytes, answer.len);
	answer_clear(&answer);
	buffer_free(&target);
	return r;
}

/* ---- By key ---- */

/* Of the same key, events may follow each other: a key is forgotten in time. */
static int find_by_key(struct ctl *ctl, const char *key, const char *tenant, struct texts *ids)
{
	struct buffer target = {0};
	struct pages pages = {.ctl = ctl, .has_limit = true};
	json_t *items, *item;
	size_t i;
	int r;

	buffer_append_text(&target, "/v1/events");
	buffer_append_query(&target, "idempotency_key", key);
	buffer_append_query(&target, "tenant", tenant);
	pages.target = target.at;
	while ((r = pages_next(&pages, PAGE_MAX, &items)) == 0 && items) {
		json_array_foreach (items, i, item)
			texts_append(ids, must_copy(field_text(item, "id")));
	}
	pages_clear(&pages);
	buffer_free(&target);
	if (r == 0 && ids->n == 0)
		r = fail("no event of %s%s has the key %s",
			tenant[0] ? "tenant " : "the default tenant", tenant, key);
	return r;
}

static int show_key(struct ctl *ctl, const char *key, const char *tenant, bool payload)
{
	struct texts ids = {0};
	int r = find_by_key(ctl, key, tenant, &ids);

	if (r == 0 && payload && ids.n > 1)
		note("%zu events have this key; this is the payload of the newest, %s", ids.n,
			ids.at[0]);
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		if (payload) {
			r = show_payload(ctl, ids.at[i]);
			break;
		}
		if (i && !ctl->json)
			putchar('\n');
		r = show_event(ctl, ids.at[i], NULL);
	}
	texts_free_all(&ids);
	return r;
}

static int show_id(struct ctl *ctl, const char *text, bool payload)
{
	char event[EVENT_PART_SIZE];
	const char *endpoint;
	int r = parse_id(ctl, text, event, &endpoint);

	if (r)
		return r;
	return payload ? show_payload(ctl, event) : show_event(ctl, event, endpoint);
}

static int run_show(struct ctl *ctl, char **arguments)
{
	const char *key = NULL, *tenant = NULL;
	bool payload = false;
	const struct option_rule rules[] = {
		{0, "payload", OPTION_FLAG, &payload, NULL,
			"the bytes that receivers get, and nothing else"},
		{0, "key", OPTION_TEXT, &key, "KEY", "the event with this idempotency key"},
		{0, "tenant", OPTION_TEXT, &tenant, "TENANT",
			"whose key it is (the default tenant's)"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 1);

	if (r == 0 && (operands.n == 1) == (key != NULL))
		r = misused(ctl, "expected an id, or --key KEY");
	else if (r == 0 && tenant && !key)
		r = misused(ctl, "--tenant goes with --key; an id knows its tenant");
	else if (r == 0 && key)
		r = show_key(ctl, key, tenant ? tenant : "", payload);
	else if (r == 0)
		r = show_id(ctl, operands.at[0], payload);
	texts_free(&operands);
	return r;
}

const struct command command_show = {.name = "show",
	.usage = "EVENT | EVENT/ENDPOINT | --key KEY [--tenant T]  [--payload]",
	.summary = "an event, its deliveries, and every attempt",
	.about =
		"Tells the story of an event: when and from whom it came, how each delivery stands, and\n"
		"every attempt with its answer (of each delivery the latest 20).",
	.needs = SOCKET_MANAGE,
	.run = run_show};
