/*
 * The head of a request, as far as it says where the body ends (RFC 9112 section 6).
 *
 * Pure. Header fields are put in as the HTTP library shows them, then the whole is judged without
 * leniency: what two readers could read differently is refused, so that no body is ever taken for
 * shorter than it was meant.
 *
 * Up to version 0.9.76 the library does not show all: a value ends for it at a NUL, a line with an
 * empty name ends the head, a folded line goes to the name of the field before. But its strings
 * stand where they came, each ended by zeros in place of the colon or the line's end, and so what
 * it shows has to fill the head. One thing escapes that: a line of nothing but a colon or a NUL
 * behind a lone LF looks like the end of a head with CRLF.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../problem.h"

struct head {
	const char *shown; /* where the last string ends */
	unsigned n_lengths, n_codings, n_hosts;
	bool chunked, bad_name, bad_value, bad_length;
	bool hides; /* something that was not shown */
	bool old; /* HTTP/1.0, which knows no Host */
	uint64_t length;
};

/* version: the last string of the request line. */
void head_begin(struct head *head, const char *version);

/* value may be NULL: there was none. */
void head_add(struct head *head, const char *name, const char *value);

/* end: the first byte behind the empty line. */
void head_end(struct head *head, const char *end);

/* Returns 0 or the problem's code. */
int head_check(const struct head *head, struct problem *problem);

/* Does the head announce a body? */
bool head_has_body(const struct head *head);
