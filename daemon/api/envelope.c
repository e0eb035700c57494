#include "envelope.h"

#include <stdio.h>
#include <string.h>

#include "../../lib/text.h"
#include "../../lib/timestamp.h"

#define AHEAD_MAX_MS (366 * (int64_t)86400 * 1000)

static int check_key(const char *key, size_t len, struct problem *problem)
{
	if (text_is_visible(key, len, EVENT_KEY_MAX, '!'))
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "idempotency_key",
		"expected 1 to 255 visible ASCII characters without spaces");
}

static int take_type(struct arriving *a, const char *text, size_t len, struct problem *problem)
{
	if (!type_is_valid(text, len))
		return problem_set(problem, PROBLEM_INVALID, "type", "expected %s", type_rule);
	memcpy(a->type, text, len);
	a->type[len] = '\0';
	return 0;
}

static int take_tenant(struct arriving *a, const char *text, size_t len, struct problem *problem)
{
	if (len && !name_is_valid(text, len))
		return problem_set(problem, PROBLEM_INVALID, "tenant",
			"expected %s; or \"\" for the default tenant", name_rule);
	memcpy(a->tenant, text, len);
	a->tenant[len] = '\0';
	return 0;
}

int envelope_take_key(struct arriving *a, const char *text, size_t len, struct problem *problem)
{
	int r = check_key(text, len, problem);

	if (r)
		return r;
	memcpy(a->key, text, len);
	a->key[len] = '\0';
	a->has_key = true;
	return 0;
}

static int take_timestamp(struct arriving *a, const char *text, size_t len, struct problem *problem)
{
	a->has_timestamp = true;
	if (timestamp_parse(text, len, &a->timestamp_wall_ms) == 0)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "timestamp",
		"expected a time such as 2026-11-22T01:58:12Z (RFC 3339)");
}

static int take_deliver_at(
	struct arriving *a, const char *text, size_t len, int64_t wall_ms, struct problem *problem)
{
	if (timestamp_parse(text, len, &a->deliver_at_wall_ms) < 0)
		return problem_set(problem, PROBLEM_INVALID, "deliver_at",
			"expected a time such as 2026-11-22T01:58:12Z (RFC 3339)");
	if (a->deliver_at_wall_ms > wall_ms + AHEAD_MAX_MS)
		return problem_set(problem, PROBLEM_INVALID, "deliver_at",
			"expected a time at most 366 days ahead");
	return 0;
}

/* One member of an envelope but data: its text goes where it belongs. */
int envelope_take_member(struct arriving *a, const char *name, const char *text, size_t len,
	int64_t wall_ms, struct problem *problem)
{
	if (strcmp(name, "type") == 0)
		return take_type(a, text, len, problem);
	if (strcmp(name, "tenant") == 0)
		return take_tenant(a, text, len, problem);
	if (strcmp(name, "idempotency_key") == 0)
		return envelope_take_key(a, text, len, problem);
	if (strcmp(name, "timestamp") == 0)
		return take_timestamp(a, text, len, problem);
	return take_deliver_at(a, text, len, wall_ms, problem);
}

static const char *const member_names[] = {
	"type", "data", "tenant", "idempotency_key", "timestamp", "deliver_at"};
#define N_MEMBERS (sizeof(member_names) / sizeof(member_names[0]))
#define MEMBER_DATA 1

/* Which member it is, or -1. */
static int find_member(struct span name)
{
	char text[32];

	if (json_span_unescape(name, text, sizeof(text)) < 0)
		return -1;
	for (size_t i = 0; i < N_MEMBERS; i++) {
		if (strcmp(member_names[i], text) == 0)
			return (int)i;
	}
	return -1;
}

static int read_member(struct arriving *a, const struct json_span_member *member,
	bool seen[N_MEMBERS], int64_t wall_ms, struct problem *problem)
{
	int which = find_member(member->name);
	char text[EVENT_KEY_MAX + 2];
	struct span body;
	int len;

	if (which < 0) {
		snprintf(text, sizeof(text), "%.*s",
			(int)(member->name.len < 64 ? member->name.len : 64), member->name.at);
		return problem_set(problem, PROBLEM_INVALID, text,
			"unknown member \"%s\"; an envelope has type, data, timestamp, tenant, idempotency_key, deliver_at",
			text);
	}
	if (seen[which])
		return problem_set(problem, PROBLEM_MALFORMED, member_names[which],
			"the member is given twice");
	seen[which] = true;
	if (which == MEMBER_DATA) {
		a->payload = member->value;
		return 0;
	}
	if (json_span_is_null(member->value))
		return 0;
	if (!json_span_is_string(member->value, &body))
		return problem_set(
			problem, PROBLEM_INVALID, member_names[which], "expected a string");
	len = json_span_unescape(body, text, sizeof(text));
	if (len < 0) /* too long for any of them, or no text at all */
		text[0] = '\x01', text[1] = '\0', len = 1;
	return envelope_take_member(a, member_names[which], text, (size_t)len, wall_ms, problem);
}

static int malformed(const struct json_span_error *error, struct span text, struct problem *problem)
{
	bool two_values = error->offset < text.len && text.at[error->offset] == '{' &&
		strcmp(error->expected, "nothing behind the value") == 0;

	return problem_set(problem, PROBLEM_MALFORMED, NULL, "not JSON: expected %s at byte %zu%s",
		error->expected, error->offset,
		two_values ? "; one event a line (curl needs --data-binary to keep the line ends)"
			   : "");
}

int envelope_read(struct arriving *a, struct span text, int64_t wall_ms, struct problem *problem)
{
	struct json_span_error error;
	struct json_span_member member;
	struct json_span_walk walk;
	bool seen[N_MEMBERS] = {false};
	int refused = 0, r;

	memset(a, 0, sizeof(*a));
	a->envelope = true;
	a->content_type = "application/json";
	if (!json_span_walk_begin(&walk, text, &error)) {
		if (json_span_value(text, NULL, &error) < 0)
			return malformed(&error, text, problem);
		return problem_set(problem, PROBLEM_INVALID, NULL,
			"expected an object with \"type\" and \"data\" (to send other JSON as it is, give ?type=)");
	}
	/* Who sends what is not JSON is told that before anything else. */
	while ((r = json_span_walk_next(&walk, &member)) > 0) {
		if (!refused)
			refused = read_member(a, &member, seen, wall_ms, problem);
	}
	if (r < 0)
		return malformed(&error, text, problem);
	if (refused)
		return refused;
	if (!a->type[0])
		return problem_set(
			problem, PROBLEM_INVALID, "type", "missing; expected %s", type_rule);
	if (!seen[MEMBER_DATA])
		return problem_set(
			problem, PROBLEM_INVALID, "data", "missing; expected any JSON value");
	return 0;
}

bool envelope_next_line(struct span *rest, struct span *line, unsigned *number)
{
	while (rest->len) {
		const char *stop = memchr(rest->at, '\n', rest->len);

		*line = (struct span){rest->at, stop ? (size_t)(stop - rest->at) : rest->len};
		rest->at += line->len + (stop != NULL);
		rest->len -= line->len + (stop != NULL);
		++*number;
		if (line->len && line->at[line->len - 1] == '\r')
			line->len--;
		if (line->len)
			return true;
	}
	return false;
}
