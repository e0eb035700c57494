/*
 * Envelopes, batches of them, and members from a query. What is taken is what jansson reads in the
 * same text; payloads lie inside of it and are JSON; what is refused is refused with a reason.
 */
#include <string.h>

#include <jansson.h>

#include "../../daemon/api/envelope.h"
#include "fuzz.h"

#define NOW_MS 1795000000000
#define AHEAD_MAX_MS (366 * (int64_t)86400 * 1000)

static void check_refusal(int r, const struct problem *problem)
{
	promise(r == (int)problem->code);
	promise(problem->code == PROBLEM_MALFORMED || problem->code == PROBLEM_INVALID);
	promise(problem->detail[0]);
	promise(strlen(problem->detail) < sizeof(problem->detail));
}

static void check_values(const struct arriving *a)
{
	size_t key_len = strlen(a->key);

	promise(!a->type[0] || type_is_valid(a->type, strlen(a->type)));
	promise(!a->tenant[0] || name_is_valid(a->tenant, strlen(a->tenant)));
	promise(a->has_key == (key_len > 0));
	for (size_t i = 0; i < key_len; i++)
		promise(a->key[i] > ' ' && a->key[i] <= '~');
	promise(a->deliver_at_wall_ms <= NOW_MS + AHEAD_MAX_MS);
}

static void check_member(const json_t *object, const char *name, const char *taken)
{
	const json_t *member = json_object_get(object, name);

	if (json_is_string(member))
		promise(strcmp(json_string_value(member), taken) == 0);
	else
		promise(!taken[0] && (!member || json_is_null(member)));
}

/* Numbers that a double cannot hold, and texts that C cannot, are jansson's limits, not ours. */
static void check_against_jansson(const struct arriving *a, struct span text)
{
	json_t *object = json_loadb(
		text.at, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);

	if (!object)
		return;
	promise(json_object_get(object, "data"));
	check_member(object, "type", a->type);
	check_member(object, "tenant", a->tenant);
	check_member(object, "idempotency_key", a->key);
	json_decref(object);
}

static void check_envelope(struct span text)
{
	struct problem problem = {.line = 0};
	struct arriving a;
	int r = envelope_read(&a, text, NOW_MS, &problem);

	if (r) {
		check_refusal(r, &problem);
		return;
	}
	promise(a.envelope && a.type[0]);
	check_values(&a);
	promise(a.payload.at >= text.at && a.payload.len > 0);
	promise(a.payload.at + a.payload.len <= text.at + text.len);
	promise(json_span_value(a.payload, NULL, &(struct json_span_error){0}) == 0);
	check_against_jansson(&a, text);
}

static void check_batch(struct span batch)
{
	struct span rest = batch, line;
	const char *behind = batch.at;
	unsigned number = 0, counted = 1;

	while (envelope_next_line(&rest, &line, &number)) {
		promise(line.len > 0 && !memchr(line.at, '\n', line.len));
		promise(line.at >= behind && line.at + line.len <= batch.at + batch.len);
		for (; behind < line.at; behind++)
			counted += *behind == '\n';
		promise(number == counted);
		behind = line.at + line.len;
		check_envelope(line);
	}
	promise(rest.len == 0);
	/* Nothing but line ends was left out. */
	for (; behind < batch.at + batch.len; behind++)
		promise(*behind == '\n' || *behind == '\r');
}

static void check_members(struct span text)
{
	static const char *const names[] = {
		"type", "tenant", "idempotency_key", "timestamp", "deliver_at"};
	struct arriving a = {.content_type = ""};
	struct problem problem = {.line = 0};
	struct span rest = text, line;
	unsigned number = 0;

	while (envelope_next_line(&rest, &line, &number)) {
		char *value = strndup(line.at, line.len);
		int r = envelope_take_member(
			&a, names[number % 5], value, strlen(value), NOW_MS, &problem);

		free(value);
		if (r) {
			check_refusal(r, &problem);
			return;
		}
	}
	check_values(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = {(const char *)data + 1, size - 1};

	if (size < 1)
		return 0;
	switch (data[0] % 3) {
	case 0:
		check_envelope(text);
		break;
	case 1:
		check_batch(text);
		break;
	default:
		check_members(text);
	}
	return 0;
}
