/*
 * JSON extents against jansson: both take the same texts, but for the differences that json_span.h
 * names, and what the walk gives lies inside of its object and is JSON again.
 */
#include <string.h>

#include <jansson.h>

#include "../../lib/json_span.h"
#include "fuzz.h"

#define LEVELS_MAX 20 /* walking is done once for each level, so deep texts would take long */

/* Numbers beyond a double, and strings that C and UTF-8 cannot hold. */
static bool is_documented(const json_error_t *error)
{
	enum json_error_code code = json_error_code(error);

	return code == json_error_numeric_overflow || code == json_error_null_character ||
		code == json_error_null_byte_in_key || strstr(error->text, "invalid Unicode");
}

static json_t *load(struct span text)
{
	static const size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL;
	struct json_span_error error = {0};
	bool taken = json_span_value(text, NULL, &error) == 0;
	json_error_t theirs;
	json_t *json = json_loadb(text.at, text.len, flags, &theirs);

	promise(taken || error.expected);
	promise(taken || error.offset <= text.len);
	if (taken)
		promise(json || is_documented(&theirs));
	else /* jansson takes a NUL behind the value for the end */
		promise(!json || strstr(error.expected, "levels of nesting") ||
			memchr(text.at, '\0', text.len));
	return json;
}

static bool lies_inside(struct span inner, const char *from, const char *end)
{
	return inner.at >= from && inner.at + inner.len <= end;
}

/* Has jansson found this member, too? */
static void check_name(json_t *object, struct span name)
{
	char text[4096];
	int len = json_span_unescape(name, text, sizeof(text));

	if (len < 0 || !object)
		return;
	promise((size_t)len <= name.len);
	promise(strlen(text) == (size_t)len);
	promise(json_object_get(object, text));
}

static void check_string(struct span value)
{
	struct span body;
	char *text;
	int len;

	if (!json_span_is_string(value, &body))
		return;
	text = malloc(body.len + 1); /* escapes are never shorter than what they mean */
	len = json_span_unescape(body, text, body.len + 1);
	promise(len < 0 || strlen(text) == (size_t)len);
	free(text);
}

/* An object that is nested in others of the text is a text of its own here. */
static void walk_members(struct span object, json_t *json, int levels)
{
	const char *from = object.at + 1, *end = object.at + object.len;
	struct json_span_walk walk;
	struct json_span_member member;
	size_t n = 0;
	int r;

	if (!json_span_walk_begin(&walk, object, NULL))
		return;
	for (; (r = json_span_walk_next(&walk, &member)) > 0; n++) {
		struct span extent;

		promise(lies_inside(member.name, from, end));
		promise(lies_inside(member.value, member.name.at + member.name.len, end));
		promise(json_span_value(member.value, &extent, NULL) == 0);
		promise(extent.at == member.value.at && extent.len == member.value.len);
		from = member.value.at + member.value.len;
		check_name(json, member.name);
		check_string(member.value);
		if (levels < LEVELS_MAX)
			walk_members(member.value, NULL, levels + 1);
	}
	promise(r == 0);
	promise(!json || n >= json_object_size(json)); /* names may be doubled */
}

/* A walk through any text finds the error that json_span_value() finds, or none. */
static void compare_errors(struct span text)
{
	struct json_span_error error = {0}, expected = {0};
	struct json_span_member member;
	struct json_span_walk walk;
	int r = 1;

	if (!json_span_walk_begin(&walk, text, &error))
		return;
	while (r > 0)
		r = json_span_walk_next(&walk, &member);
	promise(r == json_span_value(text, NULL, &expected));
	promise(r == 0 ||
		(error.offset == expected.offset &&
			strcmp(error.expected, expected.expected) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = {(const char *)data, size}, value;
	json_t *json = load(text);

	if (json_span_value(text, &value, NULL) == 0) {
		promise(lies_inside(value, text.at, text.at + text.len));
		promise(value.len > 0);
		check_string(value);
		walk_members(value, json, 0);
	}
	compare_errors(text);
	json_decref(json);
	return 0;
}
