/*
 * JSON text cut into extents, without copying and without allocating (RFC 8259).
 *
 * hookd promises to deliver the "data" of an envelope byte for byte: 1.10 stays 1.10, key order and
 * escapes stay. A parser that builds values cannot keep that; this one validates the text and tells
 * where each member begins and ends. Everything else that is JSON is read by jansson.
 *
 * Pure. Stricter or laxer than jansson in these places only: numbers may have any size; strings may
 * hold \u0000 and lone surrogate escapes (the grammar allows both); nesting ends at
 * JSON_SPAN_DEPTH_MAX.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct span {
	const char *at;
	size_t len;
};

#define JSON_SPAN_DEPTH_MAX 512

struct json_span_error {
	size_t offset; /* from the start of the text */
	const char *expected; /* in words, constant: "a value", "',' or '}'" */
};

/*
 * Validates that text holds exactly one JSON value, white space around it allowed. value (may be
 * NULL) gets its extent without the white space. Returns 0, or -EINVAL and fills error.
 */
int json_span_value(struct span text, struct span *value, struct json_span_error *error);

/* The same for a text that is to become the value of a member: it may have one level less. */
int json_span_member_value(struct span text, struct span *value, struct json_span_error *error);

/* One member of an object. name is the text between the quotes, escapes and all. */
struct json_span_member {
	struct span name, value;
};

/*
 * A walk over the members of an object, which validates the text on its way: once all members were
 * given, the text is what json_span_value() accepts.
 */
struct json_span_walk {
	struct span text;
	const char *at;
	struct json_span_error *error;
	bool is_first;
};

/* False: the text does not begin as an object does. error (may be NULL) has to live as long as the
 * walk. */
bool json_span_walk_begin(
	struct json_span_walk *walk, struct span text, struct json_span_error *error);
/* Returns 1 for a member; 0 when there are no more, and nothing else; -EINVAL and fills error,
 * which ends the walk. */
int json_span_walk_next(struct json_span_walk *walk, struct json_span_member *member);

/*
 * Writes the characters of an accepted string, escapes resolved, and NUL, into text. body is what
 * stands between the quotes. Returns the length, -ENOSPC, or -EINVAL for what C strings and UTF-8
 * cannot hold: \u0000 and lone surrogates.
 */
int json_span_unescape(struct span body, char *text, size_t size);

/* Is it a string? body gets what stands between the quotes. */
bool json_span_is_string(struct span value, struct span *body);
bool json_span_is_null(struct span value);
