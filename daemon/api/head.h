/*
 * The head of a request, as far as it says where the body ends (RFC 9112 section 6).
 *
 * Pure. Header fields are put in as the HTTP library shows them, then the whole is judged without
 * leniency: what two readers could read differently is refused, so that no body is ever taken for
 * shorter than it was meant.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../problem.h"

struct head {
	unsigned n_lengths, n_codings, n_hosts;
	bool chunked, bad_name, bad_value, bad_length;
	bool old; /* HTTP/1.0, which knows no Host */
	uint64_t length;
};

/* value may be NULL: there was none. */
void head_add(struct head *head, const char *name, const char *value);

/* Returns 0 or the problem's code. */
int head_check(const struct head *head, struct problem *problem);

/* Does the head announce a body? */
bool head_has_body(const struct head *head);
