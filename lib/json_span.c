#include "json_span.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <openssl/crypto.h>

#include "text.h"

static const char too_deep[] = "at most 512 levels of nesting";
static const char too_deep_within[] = "at most 511 levels of nesting";
_Static_assert(JSON_SPAN_DEPTH_MAX == 512, "the words say so");

/* What has been opened and not yet closed, a bit each: set for an object, clear for an array. */
struct nesting {
	uint8_t is_object[JSON_SPAN_DEPTH_MAX / 8];
	size_t depth;
};

/* What is scanned. Each scan_...() begins at a place in it and returns the place behind what it has
 * scanned, or NULL, and has told why. */
struct scanner {
	const char *start, *end;
	struct json_span_error *error;
};

static const char *fail(struct scanner *s, const char *at, const char *expected)
{
	if (s->error) {
		s->error->offset = (size_t)(at - s->start);
		s->error->expected = expected;
	}
	return NULL;
}

static const char *skip_space(const struct scanner *s, const char *at)
{
	while (at < s->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at;
}

static bool is(const struct scanner *s, const char *at, char c)
{
	return at < s->end && *at == c;
}

static bool is_digit(const struct scanner *s, const char *at)
{
	return at < s->end && *at >= '0' && *at <= '9';
}

static bool is_hex_digit(const struct scanner *s, const char *at)
{
	return is_digit(s, at) ||
		(at < s->end && ((*at >= 'a' && *at <= 'f') || (*at >= 'A' && *at <= 'F')));
}

static const char *scan_digits(struct scanner *s, const char *at, const char *expected)
{
	if (!is_digit(s, at))
		return fail(s, at, expected);
	while (is_digit(s, at))
		at++;
	return at;
}

static const char *scan_escape(struct scanner *s, const char *at)
{
	if (at == s->end || !*at || !strchr("\"\\/bfnrtu", *at))
		return fail(s, at, "one of \" \\ / b f n r t u after the backslash");
	if (*at++ != 'u')
		return at;
	for (int i = 0; i < 4; i++, at++) {
		if (!is_hex_digit(s, at))
			return fail(s, at, "four hexadecimal digits");
	}
	return at;
}

/* Does it stand for itself in a string? */
static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* From behind the opening quote to behind the closing one. */
static const char *scan_string(struct scanner *s, const char *at)
{
	const char *end = s->end;

	while (at < end) {
		uint8_t c = (uint8_t)*at;

		if (is_plain(c)) {
			at++;
		} else if (c == '"') {
			return at + 1;
		} else if (c == '\\') {
			at = scan_escape(s, at + 1);
			if (!at)
				return NULL;
		} else if (c < 0x20) {
			return fail(s, at, "control characters in strings written as escapes");
		} else {
			size_t len = text_utf8_sequence((const uint8_t *)at, (size_t)(end - at));

			if (len == 0)
				return fail(s, at, "UTF-8");
			at += len;
		}
	}
	return fail(s, at, "the string's closing quote");
}

static const char *scan_number(struct scanner *s, const char *at)
{
	if (is(s, at, '-'))
		at++;
	if (is(s, at, '0'))
		at++;
	else
		at = scan_digits(s, at, "a digit");
	if (at && is(s, at, '.'))
		at = scan_digits(s, at + 1, "a digit after the decimal point");
	if (at && (is(s, at, 'e') || is(s, at, 'E'))) {
		at++;
		if (is(s, at, '+') || is(s, at, '-'))
			at++;
		at = scan_digits(s, at, "a digit of the exponent");
	}
	return at;
}

static const char *scan_word(struct scanner *s, const char *at, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - at) < len || memcmp(at, word, len) != 0)
		return fail(s, at, "a value");
	return at + len;
}

static const char *scan_scalar(struct scanner *s, const char *at)
{
	switch (*at) {
	case '"':
		return scan_string(s, at + 1);
	case 't':
		return scan_word(s, at, "true");
	case 'f':
		return scan_word(s, at, "false");
	case 'n':
		return scan_word(s, at, "null");
	case '-':
	case '0' ... '9':
		return scan_number(s, at);
	default:
		return fail(s, at, "a value");
	}
}

static bool in_object(const struct nesting *n)
{
	return n->is_object[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1;
}

static bool push(struct nesting *n, bool object)
{
	uint8_t bit = (uint8_t)(1 << n->depth % 8);

	if (n->depth == JSON_SPAN_DEPTH_MAX)
		return false;
	if (object)
		n->is_object[n->depth / 8] |= bit;
	else
		n->is_object[n->depth / 8] &= (uint8_t)~bit;
	n->depth++;
	return true;
}

/* To behind the colon; white space before the name is skipped. name: between the quotes. */
static const char *scan_member_name(struct scanner *s, const char *at, struct span *name)
{
	const char *first;

	at = skip_space(s, at);
	if (!is(s, at, '"'))
		return fail(s, at, "a member name in quotes");
	first = at + 1;
	at = scan_string(s, first);
	if (!at)
		return NULL;
	*name = (struct span){first, (size_t)(at - 1 - first)};
	at = skip_space(s, at);
	return is(s, at, ':') ? at + 1 : fail(s, at, "':' after the member name");
}

/* Behind a value inside a container: a comma leads to the next value, a bracket closes. Sets *more.
 */
static const char *scan_behind_value(
	struct scanner *s, const char *at, struct nesting *n, size_t outermost, bool *more)
{
	struct span name;

	*more = false;
	while (n->depth > outermost) {
		bool object = in_object(n);

		at = skip_space(s, at);
		if (is(s, at, ',')) {
			*more = true;
			return object ? scan_member_name(s, at + 1, &name) : at + 1;
		}
		if (!is(s, at, object ? '}' : ']'))
			return fail(s, at, object ? "',' or '}'" : "',' or ']'");
		at++;
		n->depth--;
	}
	return at;
}

/* One value with everything in it, inside of so many containers. */
static const char *scan_value(struct scanner *s, const char *at, size_t outermost)
{
	struct nesting n = {.depth = outermost};
	struct span name;
	bool more = true;

	while (at && more) {
		at = skip_space(s, at);
		if (at == s->end)
			return fail(s, at, "a value");
		if (*at == '{' || *at == '[') {
			bool object = *at == '{';

			if (!push(&n, object))
				return fail(s, at, too_deep);
			at = skip_space(s, at + 1);
			if (!is(s, at, object ? '}' : ']')) {
				if (object)
					at = scan_member_name(s, at, &name);
				continue;
			}
			at++;
			n.depth--;
		} else {
			at = scan_scalar(s, at);
		}
		if (at)
			at = scan_behind_value(s, at, &n, outermost, &more);
	}
	return at;
}

static const char *scan_end(struct scanner *s, const char *at)
{
	at = skip_space(s, at);
	return at == s->end ? at : fail(s, at, "nothing behind the value");
}

/* The whole text is a value inside of so many containers. */
static int read_value(
	struct span text, size_t outermost, struct span *value, struct json_span_error *error)
{
	struct scanner s = {text.at, text.at + text.len, error};
	const char *first = skip_space(&s, text.at), *at = scan_value(&s, first, outermost);

	if (!at)
		return -EINVAL;
	if (value)
		*value = (struct span){first, (size_t)(at - first)};
	return scan_end(&s, at) ? 0 : -EINVAL;
}

int json_span_value(struct span text, struct span *value, struct json_span_error *error)
{
	return read_value(text, 0, value, error);
}

int json_span_member_value(struct span text, struct span *value, struct json_span_error *error)
{
	int r = read_value(text, 1, value, error);

	if (r < 0 && error && error->expected == too_deep)
		error->expected = too_deep_within;
	return r;
}

bool json_span_walk_begin(
	struct json_span_walk *walk, struct span text, struct json_span_error *error)
{
	struct scanner s = {text.at, text.at + text.len, error};
	const char *at = skip_space(&s, text.at);

	if (!is(&s, at, '{'))
		return false;
	*walk = (struct json_span_walk){text, at + 1, error, true};
	return true;
}

int json_span_walk_next(struct json_span_walk *walk, struct json_span_member *member)
{
	struct scanner s = {walk->text.at, walk->text.at + walk->text.len, walk->error};
	const char *at = skip_space(&s, walk->at), *first;

	if (is(&s, at, '}'))
		return scan_end(&s, at + 1) ? 0 : -EINVAL;
	if (!walk->is_first)
		at = is(&s, at, ',') ? at + 1 : fail(&s, at, "',' or '}'");
	if (at)
		at = scan_member_name(&s, at, &member->name);
	if (!at)
		return -EINVAL;
	first = skip_space(&s, at);
	at = scan_value(&s, first, 1);
	if (!at)
		return -EINVAL;
	member->value = (struct span){first, (size_t)(at - first)};
	walk->at = at;
	walk->is_first = false;
	return 1;
}

static unsigned read_hex4(const char *at)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 4 | (unsigned)OPENSSL_hexchar2int((unsigned char)at[i]);
	return value;
}

static size_t put_utf8(unsigned code, char out[4])
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

/* The character of the escape at *at (behind the backslash), which is moved behind it. 0: none
 * such. */
static unsigned unescape_one(const char **at, const char *end)
{
	static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
	const char *found = strchr(letters, **at);
	unsigned code, low;

	if (**at != 'u') {
		char c = *(*at)++;

		return (unsigned)(found ? meant[found - letters] : c);
	}
	code = read_hex4(*at + 1);
	*at += 5;
	if (code < 0xd800 || code > 0xdfff)
		return code;
	if (code > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return 0;
	low = read_hex4(*at + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return 0;
	*at += 6;
	return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

int json_span_unescape(struct span body, char *text, size_t size)
{
	const char *at = body.at, *end = body.at + body.len;
	size_t used = 0;

	while (at < end) {
		char piece[4] = {*at};
		size_t len = 1;

		if (*at++ == '\\') {
			unsigned code = unescape_one(&at, end);

			if (code == 0)
				return -EINVAL;
			len = put_utf8(code, piece);
		}
		if (used + len >= size)
			return -ENOSPC;
		memcpy(text + used, piece, len);
		used += len;
	}
	if (size == 0)
		return -ENOSPC;
	text[used] = '\0';
	return (int)used;
}

bool json_span_is_string(struct span value, struct span *body)
{
	if (value.len < 2 || value.at[0] != '"')
		return false;
	*body = (struct span){value.at + 1, value.len - 2};
	return true;
}

bool json_span_is_null(struct span value)
{
	return value.len == 4 && memcmp(value.at, "null", 4) == 0;
}
