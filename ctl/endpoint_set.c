/*
 * hookctl endpoint add and set: an endpoint's settings from options.
 *
 * Each option writes one member of the request. An empty value writes null, which brings hookd's
 * default back (RFC 7396). Secrets come from files, never from the command line, which every user
 * of the machine can read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/retry_schedule.h"
#include "../lib/units.h"
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "filter.h"
#include "input.h"
#include "options.h"
#include "say.h"
#include "secret_words.h"
#include "words.h"

/* hookd's own limits, in the words of options. */
#define TIMEOUT_MAX_S 60
#define MAX_AGE_MAX_S ((int64_t)3650 * 86400)

struct settings {
	struct ctl *ctl;
	json_t *body;
	struct texts types, headers, networks;
	const char *url, *retry, *max_age, *timeout, *in_flight, *rate, *burst, *description;
	const char *allow_http, *ca, *secret_file;
};

/* clang-format off */
#define SETTINGS_RULES(s) \
	{0, "types", OPTION_LIST, &(s)->types, "PATTERNS", \
		"which types it takes: 'order.*,user.created' (all)"}, \
	{0, "header", OPTION_LIST, &(s)->headers, "'N: V'", \
		"send this header, too; V = @FILE reads the value from FILE"}, \
	{0, "retry", OPTION_TEXT, &(s)->retry, "SCHEDULE", \
		"waits: 5s,30s,2m; \"exponential 5s 4 12h 12\"; none"}, \
	{0, "max-age", OPTION_TEXT, &(s)->max_age, "SPAN", \
		"what is older is not sent at all; none: everything is"}, \
	{0, "timeout", OPTION_TEXT, &(s)->timeout, "SPAN", \
		"for one attempt, 1s to 60s"}, \
	{0, "in-flight", OPTION_TEXT, &(s)->in_flight, "N", \
		"attempts at the same time, 1 to 256"}, \
	{0, "rate", OPTION_TEXT, &(s)->rate, "N", \
		"attempts a second, 0.01 to 10000; none: no limit"}, \
	{0, "burst", OPTION_TEXT, &(s)->burst, "N", \
		"so many at once within the rate, 1 to 1000"}, \
	{0, "description", OPTION_TEXT, &(s)->description, "TEXT", \
		"for people"}, \
	{0, "allow-http", OPTION_MAYBE, &(s)->allow_http, "yes|no", \
		"http:// without TLS (admin.sock only)"}, \
	{0, "allow-private", OPTION_LIST, &(s)->networks, "NETWORKS", \
		"private addresses: 10.1.0.0/16,fd00::/8 (admin.sock only)"}, \
	{0, "ca", OPTION_TEXT, &(s)->ca, "FILE", \
		"trust this file in /etc/hookd/ca (admin.sock only)"}
/* clang-format on */

/* ---- Members ---- */

static void set(struct settings *s, const char *member, json_t *value)
{
	json_object_set_new(s->body, member, value);
}

/* An empty value brings the default back; for what may be without a limit, "none" is one. */
static bool is_default(const char *text)
{
	return text[0] == '\0';
}

static bool is_none(const char *text)
{
	return strcmp(text, "none") == 0;
}

/* Adds what stands between commas, without the spaces around it. */
static void append_parts(json_t *list, const char *text)
{
	for (;; text++) {
		size_t len;

		text += strspn(text, " ");
		len = strcspn(text, ",");
		while (len && text[len - 1] == ' ')
			len--;
		if (len)
			json_array_append_new(list, json_stringn(text, len));
		text += strcspn(text, ",");
		if (!*text)
			break;
	}
}

/* Texts with commas, given once or more, as one list. */
static void set_list(struct settings *s, const char *member, const struct texts *texts)
{
	json_t *list = json_array();

	for (size_t i = 0; i < texts->n; i++)
		append_parts(list, texts->at[i]);
	if (json_array_size(list)) {
		set(s, member, list);
		return;
	}
	json_decref(list);
	set(s, member, json_null());
}

static int set_duration(
	struct settings *s, const char *member, const char *option, const char *text, int64_t max_s)
{
	int64_t seconds;
	int r;

	if (is_default(text)) {
		set(s, member, json_null());
		return 0;
	}
	r = parse_duration_between(s->ctl, option, text, 1, max_s, &seconds);
	if (r == 0)
		set(s, member, json_integer(seconds));
	return r;
}

static int set_max_age(struct settings *s)
{
	if (!is_none(s->max_age))
		return set_duration(s, "max_age_s", "--max-age", s->max_age, MAX_AGE_MAX_S);
	set(s, "max_age_s", json_integer(0));
	return 0;
}

static int set_number(
	struct settings *s, const char *member, const char *option, const char *text, int64_t max)
{
	int64_t number;
	int r;

	if (is_default(text)) {
		set(s, member, json_null());
		return 0;
	}
	r = parse_number(s->ctl, option, text, 1, max, &number);
	if (r == 0)
		set(s, member, json_integer(number));
	return r;
}

static int set_rate(struct settings *s)
{
	char *end;
	double rate;

	if (is_default(s->rate) || is_none(s->rate)) {
		set(s, "rate_per_s", is_none(s->rate) ? json_integer(0) : json_null());
		return 0;
	}
	rate = strtod(s->rate, &end);
	if (*end || strspn(s->rate, "0123456789.") != strlen(s->rate) || rate < 0.01 ||
		rate > 10000)
		return misused(s->ctl,
			"--rate: expected attempts per second from 0.01 to 10000, or none, not \"%s\"",
			s->rate);
	set(s, "rate_per_s", json_real(rate));
	return 0;
}

static int set_retry(struct settings *s)
{
	struct retry_schedule schedule;
	const char *expected;
	json_t *list;

	if (!s->retry[0]) {
		set(s, "retry_schedule_s", json_null());
		return 0;
	}
	if (retry_schedule_parse(s->retry, &schedule, &expected) < 0)
		return misused(s->ctl, "--retry: expected %s, not \"%s\"", expected, s->retry);
	list = json_array();
	for (unsigned i = 0; i < schedule.n; i++)
		json_array_append_new(list, json_integer(schedule.waits_s[i]));
	set(s, "retry_schedule_s", list);
	return 0;
}

static int set_allow_http(struct settings *s)
{
	if (strcmp(s->allow_http, "yes") == 0)
		set(s, "allow_http", json_true());
	else if (strcmp(s->allow_http, "no") == 0 || !s->allow_http[0])
		set(s, "allow_http", json_false());
	else
		return misused(
			s->ctl, "--allow-http: expected yes or no, not \"%s\"", s->allow_http);
	return 0;
}

static void set_text(struct settings *s, const char *member, const char *text)
{
	set(s, member, text[0] ? json_string(text) : json_null());
}

/* ---- Headers ---- */

static bool is_header_value(const struct buffer *b)
{
	for (size_t i = 0; i < b->len; i++) {
		if ((b->at[i] < 0x20 || b->at[i] > 0x7e) && b->at[i] != '\t')
			return false;
	}
	return b->len > 0;
}

static int set_header_from_file(json_t *headers, const char *name, const char *path)
{
	struct buffer value = {0};
	int r = read_line_file(path, "the header's value", &value);

	if (r == 0 && !is_header_value(&value))
		r = fail("%s: expected one line of visible ASCII, the value of %s", path, name);
	if (r == 0)
		json_object_set_new(headers, name, json_stringn(value.at, value.len));
	if (value.at)
		explicit_bzero(value.at, value.size);
	buffer_free(&value);
	return r;
}

/* "N: V"; without a value N is no longer sent. */
static int set_header(struct settings *s, json_t *headers, const char *text)
{
	const char *colon = strchr(text, ':'), *value;
	char name[160];

	if (!colon || colon == text || (size_t)(colon - text) >= sizeof(name))
		return misused(s->ctl,
			"--header: expected 'NAME: VALUE', 'NAME: @FILE', or 'NAME:' to take it away");
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
	value = colon + 1 + strspn(colon + 1, " \t");
	if (value[0] == '@')
		return set_header_from_file(headers, name, value + 1);
	json_object_set_new(headers, name, value[0] ? json_string(value) : json_null());
	return 0;
}

static int set_headers(struct settings *s)
{
	json_t *headers;
	int r = 0;

	if (s->headers.n == 1 && !s->headers.at[0][0]) {
		set(s, "headers", json_null());
		return 0;
	}
	headers = json_object();
	for (size_t i = 0; r == 0 && i < s->headers.n; i++)
		r = set_header(s, headers, s->headers.at[i]);
	set(s, "headers", headers);
	return r;
}

/* ---- All of them ---- */

static int set_numbers(struct settings *s)
{
	int r = 0;

	if (s->max_age)
		r = set_max_age(s);
	if (r == 0 && s->timeout)
		r = set_duration(s, "timeout_s", "--timeout", s->timeout, TIMEOUT_MAX_S);
	if (r == 0 && s->in_flight)
		r = set_number(s, "max_in_flight", "--in-flight", s->in_flight, 256);
	if (r == 0 && s->burst)
		r = set_number(s, "burst", "--burst", s->burst, 1000);
	if (r == 0 && s->rate)
		r = set_rate(s);
	return r;
}

static int make_body(struct settings *s)
{
	int r = set_numbers(s);

	if (r == 0 && s->retry)
		r = set_retry(s);
	if (r == 0 && s->allow_http)
		r = set_allow_http(s);
	if (s->url)
		set(s, "url", json_string(s->url));
	if (s->types.n)
		set_list(s, "types", &s->types);
	if (s->networks.n)
		set_list(s, "allow_private", &s->networks);
	if (s->description)
		set_text(s, "description", s->description);
	if (s->ca)
		set_text(s, "ca", s->ca);
	if (r == 0 && s->headers.n)
		r = set_headers(s);
	return r;
}

static void clear(struct settings *s)
{
	json_decref(s->body);
	texts_free(&s->types);
	texts_free(&s->headers);
	texts_free(&s->networks);
}

/* ---- add ---- */

static int add_secret(struct settings *s)
{
	char secret[HOOKD_SECRET_SIZE];
	int r = read_secret(s->secret_file, secret);

	if (r == 0)
		set(s, "secret", json_string(secret));
	explicit_bzero(secret, sizeof(secret));
	return r;
}

static int add(struct settings *s, const char *name)
{
	struct endpoint_name endpoint;
	char address[WORDS_ADDRESS_SIZE];
	json_t *answer = NULL;
	int r = parse_endpoint_name(s->ctl, name, &endpoint);

	if (r == 0)
		r = make_body(s);
	if (r == 0 && s->secret_file)
		r = add_secret(s);
	if (r)
		return r;
	set(s, "name", json_string(endpoint.name));
	set(s, "tenant", json_string(endpoint.tenant));
	r = send_json(s->ctl, "POST", "/v1/endpoints", s->body, &answer);
	if (r == 0) {
		words_address(answer, "name", address);
		print_secret(s->ctl, answer, s->secret_file != NULL, address, "added");
	}
	json_decref(answer);
	return r;
}

static int run_add(struct ctl *ctl, char **arguments)
{
	struct settings s = {.ctl = ctl, .body = json_object()};
	const struct option_rule rules[] = {
		SETTINGS_RULES(&s),
		{0, "secret-file", OPTION_TEXT, &s.secret_file, "FILE",
			"sign with the secret in FILE (- = standard input)"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 2, 2);

	if (r == 0) {
		s.url = operands.at[1];
		r = add(&s, operands.at[0]);
	}
	clear(&s);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_add = {.name = "endpoint add",
	.usage = "NAME URL [SETTINGS] [--secret-file FILE]",
	.summary = "register a receiver",
	.about =
		"Registers a receiver; NAME is TENANT/NAME, or NAME in the default tenant. Prints the secret\n"
		"that signs its webhooks, once. From now on it gets the events of its tenant whose types\n"
		"it takes.",
	.needs = SOCKET_MANAGE,
	.run = run_add};

/* ---- set ---- */

static int change(struct settings *s, const char *name)
{
	struct endpoint_name endpoint;
	struct buffer target = {0};
	json_t *answer = NULL;
	int r = parse_endpoint_name(s->ctl, name, &endpoint);

	if (r == 0)
		r = make_body(s);
	if (r == 0 && json_object_size(s->body) == 0)
		r = misused(s->ctl, "say what to set");
	if (r == 0) {
		endpoint_target(&endpoint, NULL, &target);
		r = send_json(s->ctl, "PATCH", target.at, s->body, &answer);
	}
	if (r == 0 && s->ctl->json) {
		print_json(s->ctl, answer);
	} else if (r == 0) {
		char address[WORDS_ADDRESS_SIZE];

		words_address(answer, "name", address);
		print_line("%s changed", address);
	}
	json_decref(answer);
	buffer_free(&target);
	return r;
}

static int run_set(struct ctl *ctl, char **arguments)
{
	struct settings s = {.ctl = ctl, .body = json_object()};
	const struct option_rule rules[] = {
		{0, "url", OPTION_TEXT, &s.url, "URL", "send there from now on"},
		SETTINGS_RULES(&s),
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 1, 1);

	if (r == 0)
		r = change(&s, operands.at[0]);
	clear(&s);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_set = {.name = "endpoint set",
	.usage = "NAME [--url URL] [SETTINGS]",
	.summary = "change settings of an endpoint",
	.about =
		"Changes what is named and leaves the rest. An empty value (--timeout '') brings hookd's\n"
		"default back; 'NAME:' as a header takes that header away, '' all of them. What is owed\n"
		"already follows the new settings.",
	.needs = SOCKET_MANAGE,
	.run = run_set};
