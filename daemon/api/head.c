#include "head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 18 /* fits an int64_t */

/* RFC 9110 section 5.6.2 */
static const bool in_token[256] = {
	['a' ... 'z'] = true,
	['A' ... 'Z'] = true,
	['0' ... '9'] = true,
	['!'] = true,
	['#' ... '\''] = true,
	['*'] = true,
	['+'] = true,
	['-'] = true,
	['.'] = true,
	['^' ... '`'] = true,
	['|'] = true,
	['~'] = true,
};

static bool is_token(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++) {
		if (!in_token[(unsigned char)*text])
			return false;
	}
	return true;
}

static bool is_field_value(const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* Are these the zeros of so many ends of lines, each LF or CRLF? Nothing is read of what lies
 * elsewhere. */
static bool are_line_ends(const char *at, const char *end, unsigned lines)
{
	static const char zeros[4];
	uintptr_t n = (uintptr_t)end - (uintptr_t)at;

	return n >= lines && n <= 2 * lines && memcmp(at, zeros, n) == 0;
}

/* A value stands behind the zero of its colon, and blanks. */
static bool is_value_of(const char *name, const char *value)
{
	const char *at = name + strlen(name) + 1;

	while (at != value && (*at == ' ' || *at == '\t'))
		at++;
	return at == value;
}

void head_begin(struct head *head, const char *version)
{
	*head = (struct head){
		.shown = version + strlen(version), .old = strcmp(version, "HTTP/1.0") == 0};
}

void head_add(struct head *head, const char *name, const char *value)
{
	head->hides |= !are_line_ends(head->shown, name, 1);
	head->hides |= value && !is_value_of(name, value);
	head->shown = value ? value + strlen(value) : name + strlen(name);
	if (!value)
		value = "";
	head->bad_name |= !is_token(name);
	head->bad_value |= !is_field_value(value);
	if (strcasecmp(name, "Content-Length") == 0) {
		head->n_lengths++;
		head->bad_length |= !*value || strlen(value) > LENGTH_DIGITS_MAX ||
			strspn(value, "0123456789") != strlen(value);
		head->length = strtoull(value, NULL, 10);
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		head->n_codings++;
		head->chunked = strcasecmp(value, "chunked") == 0;
	} else if (strcasecmp(name, "Host") == 0) {
		head->n_hosts++;
	}
}

void head_end(struct head *head, const char *end)
{
	head->hides |= !are_line_ends(head->shown, end, 2);
}

int head_check(const struct head *head, struct problem *problem)
{
	if (head->hides || head->bad_name || head->bad_value)
		return problem_set(problem, PROBLEM_MALFORMED, NULL,
			"a header is not of the form \"name: value\" on one line");
	if (head->n_hosts != 1 && !head->old)
		return problem_set(problem, PROBLEM_MALFORMED, "Host", "expected once");
	if (head->n_lengths > 1 || head->bad_length)
		return problem_set(problem, PROBLEM_MALFORMED, "Content-Length",
			"expected one decimal number");
	if (head->n_codings > 1 || (head->n_codings && !head->chunked))
		return problem_set(problem, PROBLEM_MALFORMED, "Transfer-Encoding",
			"expected \"chunked\" or none");
	if (head->n_lengths && head->n_codings)
		return problem_set(problem, PROBLEM_MALFORMED, "Transfer-Encoding",
			"a length and a coding were given; expected one of them");
	return 0;
}

bool head_has_body(const struct head *head)
{
	return head->length || head->n_codings;
}
