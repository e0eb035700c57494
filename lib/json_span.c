#include "json_span.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <openssl/crypto.h>

#include "text.h"

/* What has been opened and not yet closed, a bit each: set for an object, clear for an array. */
struct nesting {
	uint8_t is_object[JSON_SPAN_DEPTH_MAX / 8];
	size_t depth;
};

struct scanner {
	const char *start, *at, *end;
	struct json_span_error *error;
};

static int fail(struct scanner *s, const char *expected)
{
	if (s->error) {
		s->error->offset = (size_t)(s->at - s->start);
		s->error->expected = expected;
	}
	return -EINVAL;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scanner *s)
{
	while (s->at < s->end && is_space(*s->at))
		s->at++;
}

static bool take(struct scanner *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static bool is_digit(const struct scanner *s)
{
	return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static int scan_escape(struct scanner *s)
{
	if (s->at == s->end || !strchr("\"\\/bfnrtu", *s->at) || !*s->at)
		return fail(s, "one of \" \\ / b f n r t u after the backslash");
	if (*s->at++ != 'u')
		return 0;
	for (int i = 0; i < 4; i++, s->at++) {
		if (s->at == s->end || OPENSSL_hexchar2int((unsigned char)*s->at) < 0)
			return fail(s, "four hexadecimal digits");
	}
	return 0;
}

/* From behind the opening quote to behind the closing one. */
static int scan_string(struct scanner *s)
{
	while (s->at < s->end) {
		uint8_t c = (uint8_t)*s->at;

		if (c == '"') {
			s->at++;
			return 0;
		}
		if (c == '\\') {
			s->at++;
			if (scan_escape(s) < 0)
				return -EINVAL;
		} else if (c < 0x20) {
			return fail(s, "control characters in strings written as escapes");
		} else if (c < 0x80) {
			s->at++;
		} else {
			size_t len = text_utf8_sequence(
				(const uint8_t *)s->at, (size_t)(s->end - s->at));

			if (len == 0)
				return fail(s, "UTF-8");
			s->at += len;
		}
	}
	return fail(s, "the string's closing quote");
}

static int scan_number(struct scanner *s)
{
	take(s, '-');
	if (!is_digit(s))
		return fail(s, "a digit");
	if (!take(s, '0')) {
		while (is_digit(s))
			s->at++;
	}
	if (take(s, '.')) {
		if (!is_digit(s))
			return fail(s, "a digit after the decimal point");
		while (is_digit(s))
			s->at++;
	}
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		if (!is_digit(s))
			return fail(s, "a digit of the exponent");
		while (is_digit(s))
			s->at++;
	}
	return 0;
}

static int scan_word(struct scanner *s, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return fail(s, "a value");
	s->at += len;
	return 0;
}

static int scan_scalar(struct scanner *s)
{
	switch (*s->at) {
	case '"':
		s->at++;
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	case '-':
	case '0' ... '9':
		return scan_number(s);
	default:
		return fail(s, "a value");
	}
}

static bool in_object(const struct nesting *n)
{
	return n->is_object[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1;
}

static int push(struct scanner *s, struct nesting *n, bool object)
{
	uint8_t bit = (uint8_t)(1 << n->depth % 8);

	if (n->depth == JSON_SPAN_DEPTH_MAX)
		return fail(s, "less than 512 levels of nesting");
	if (object)
		n->is_object[n->depth / 8] |= bit;
	else
		n->is_object[n->depth / 8] &= (uint8_t)~bit;
	n->depth++;
	s->at++;
	return 0;
}

static int scan_member_name(struct scanner *s)
{
	skip_space(s);
	if (!take(s, '"'))
		return fail(s, "a member name in quotes");
	if (scan_string(s) < 0)
		return -EINVAL;
	skip_space(s);
	if (!take(s, ':'))
		return fail(s, "':' after the member name");
	return 0;
}

/* Behind a value inside a container: a comma leads to the next value, a bracket closes. Sets *more.
 */
static int scan_behind_value(struct scanner *s, struct nesting *n, bool *more)
{
	*more = false;
	while (n->depth > 0) {
		bool object = in_object(n);

		skip_space(s);
		if (take(s, ',')) {
			*more = true;
			return object ? scan_member_name(s) : 0;
		}
		if (!take(s, object ? '}' : ']'))
			return fail(s, object ? "',' or '}'" : "',' or ']'");
		n->depth--;
	}
	return 0;
}

/* One value with everything in it, white space before it skipped. */
static int scan_value(struct scanner *s)
{
	struct nesting n = {.depth = 0};
	bool more = true;

	while (more) {
		skip_space(s);
		if (s->at == s->end)
			return fail(s, "a value");
		if (*s->at == '{' || *s->at == '[') {
			bool object = *s->at == '{';

			if (push(s, &n, object) < 0)
				return -EINVAL;
			skip_space(s);
			if (take(s, object ? '}' : ']')) {
				n.depth--;
			} else {
				if (object && scan_member_name(s) < 0)
					return -EINVAL;
				continue;
			}
		} else if (scan_scalar(s) < 0) {
			return -EINVAL;
		}
		if (scan_behind_value(s, &n, &more) < 0)
			return -EINVAL;
	}
	return 0;
}

int json_span_value(struct span text, struct span *value, struct json_span_error *error)
{
	struct scanner s = {text.at, text.at, text.at + text.len, error};
	const char *first;

	skip_space(&s);
	first = s.at;
	if (scan_value(&s) < 0)
		return -EINVAL;
	if (value)
		*value = (struct span){first, (size_t)(s.at - first)};
	skip_space(&s);
	if (s.at != s.end)
		return fail(&s, "nothing behind the value");
	return 0;
}

bool json_span_is_object(struct span value)
{
	return value.len > 0 && value.at[0] == '{';
}

void json_span_walk_init(struct json_span_walk *walk, struct span object)
{
	walk->at = object.at + 1;
	walk->end = object.at + object.len;
}

bool json_span_walk_next(struct json_span_walk *walk, struct json_span_member *member)
{
	struct scanner s = {walk->at, walk->at, walk->end, NULL};
	const char *first;

	skip_space(&s);
	take(&s, ',');
	skip_space(&s);
	if (!take(&s, '"')) /* the closing brace */
		return false;
	first = s.at;
	if (scan_string(&s) < 0)
		return false;
	member->name = (struct span){first, (size_t)(s.at - 1 - first)};
	skip_space(&s);
	take(&s, ':');
	skip_space(&s);
	first = s.at;
	if (scan_value(&s) < 0)
		return false;
	member->value = (struct span){first, (size_t)(s.at - first)};
	walk->at = s.at;
	return true;
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
