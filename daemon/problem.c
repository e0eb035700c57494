#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name, *title;
	int http_status;
} problem_codes[N_PROBLEM_CODES] = {
	[PROBLEM_NONE] = {"none", "No problem", 200},
	[PROBLEM_MALFORMED] = {"malformed", "Request not understood", 400},
	[PROBLEM_INVALID] = {"invalid", "Invalid value", 400},
	[PROBLEM_FORBIDDEN] = {"forbidden", "Not allowed on this socket", 403},
	[PROBLEM_NOT_FOUND] = {"not_found", "Not found", 404},
	[PROBLEM_METHOD] = {"method", "Method not allowed", 405},
	[PROBLEM_EXISTS] = {"exists", "Exists already", 409},
	[PROBLEM_LENGTH] = {"length", "Length required", 411},
	[PROBLEM_TOO_LARGE] = {"too_large", "Too large", 413},
	[PROBLEM_MEDIA_TYPE] = {"media_type", "Unsupported media type", 415},
	[PROBLEM_KEY_REUSED] = {"key_reused", "Idempotency key reused", 422},
	[PROBLEM_TOO_MANY] = {"too_many", "Too many connections", 429},
	[PROBLEM_BUSY] = {"busy", "Busy", 503},
	[PROBLEM_STOPPING] = {"stopping", "Stopping", 503},
	[PROBLEM_UNKNOWN] = {"unknown", "Perhaps stored", 503},
	[PROBLEM_FULL] = {"full", "Full", 507},
};

int problem_set(
	struct problem *problem, enum problem_code code, const char *field, const char *format, ...)
{
	va_list arguments;

	problem->code = code;
	problem->line = 0;
	snprintf(problem->field, sizeof(problem->field), "%s", field ? field : "");
	va_start(arguments, format);
	vsnprintf(problem->detail, sizeof(problem->detail), format, arguments);
	va_end(arguments);
	return (int)code;
}

const char *problem_name(enum problem_code code)
{
	return problem_codes[code].name;
}

const char *problem_title(enum problem_code code)
{
	return problem_codes[code].title;
}

int problem_http_status(enum problem_code code)
{
	return problem_codes[code].http_status;
}
