/*
 * What was wrong with a request, in the words that its sender will read (RFC 9457).
 *
 * Filled in where the mistake is known best, carried up unchanged, rendered by api/. The
 * configuration uses the same struct: field is then the key, line the line of the file.
 */
#pragma once

/* Each has one name and one HTTP status, see problem_codes in problem.c and doc/api.md. */
enum problem_code {
	PROBLEM_NONE,
	PROBLEM_MALFORMED,
	PROBLEM_INVALID,
	PROBLEM_FORBIDDEN,
	PROBLEM_NOT_FOUND,
	PROBLEM_METHOD,
	PROBLEM_EXISTS,
	PROBLEM_LENGTH,
	PROBLEM_TOO_LARGE,
	PROBLEM_MEDIA_TYPE,
	PROBLEM_KEY_REUSED,
	PROBLEM_TOO_MANY,
	PROBLEM_BUSY,
	PROBLEM_STOPPING,
	PROBLEM_UNKNOWN, /* the only one that leaves open whether something was stored */
	PROBLEM_FULL,
	N_PROBLEM_CODES
};

struct problem {
	enum problem_code code;
	char field[64]; /* "" when no single field is to blame */
	unsigned line; /* of NDJSON or of the configuration, from 1; 0 for none */
	char detail[384];
};

/* Fills problem in and returns code, for "return problem_set(...)". field may be NULL. */
int problem_set(struct problem *problem, enum problem_code code, const char *field,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

const char *problem_name(enum problem_code code); /* "key_reused" */
const char *problem_title(enum problem_code code); /* "Idempotency key reused" */
int problem_http_status(enum problem_code code);
