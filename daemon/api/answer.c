/*
 * Answers: what handlers say, in the forms that HTTP takes it in. server.c sends them. Main thread.
 */
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/text.h"
#include "json_memory.h"
#include "request.h"

void answer_bytes(struct request *rq, const char *content_type, const void *bytes, size_t len)
{
	answer_with(rq, 200,
		MHD_create_response_from_buffer(len, (void *)bytes, MHD_RESPMEM_MUST_COPY),
		content_type);
}

/* Takes the text over. */
static struct MHD_Response *text_response(char *text, size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer_with_free_callback(len, text, free_wiped);

	if (!response)
		free_wiped(text);
	return response;
}

void answer_text(struct request *rq, unsigned status, const char *content_type, char *text)
{
	answer_with(rq, status, text ? text_response(text, strlen(text)) : NULL, content_type);
}

void answer_nothing(struct request *rq)
{
	answer_with(
		rq, 204, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), NULL);
}

/* JSON texts end with a newline, for people with curl. Returns NULL without memory. */
static struct MHD_Response *json_response(json_t *json)
{
	size_t len = json ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
	char *text = len ? malloc(len + 1) : NULL;

	if (text && json_dumpb(json, text, len, JSON_COMPACT) != len)
		len = 0;
	if (json_memory_was_out() || !text || !len) {
		free_wiped(text);
		return NULL;
	}
	text[len] = '\n';
	return text_response(text, len + 1);
}

void answer_json(struct request *rq, unsigned status, json_t *json)
{
	struct MHD_Response *response = json_response(json);

	json_decref(json);
	answer_with(rq, status, response, "application/json");
}

void answer_problem(struct request *rq, const struct problem *given)
{
	struct problem p = *given;
	char methods[REQUEST_METHODS_SIZE];
	struct MHD_Response *response;
	json_t *json;

	/* They may quote what was sent. */
	text_clean(p.detail);
	text_clean(p.field);
	json = json_pack("{s:s, s:i, s:s, s:s, s:o, s:o}", "title", problem_title(p.code), "status",
		problem_http_status(p.code), "detail", p.detail, "code", problem_name(p.code),
		"field", p.field[0] ? json_string(p.field) : json_null(), "line",
		p.line ? json_integer(p.line) : json_null());
	response = json_response(json);
	json_decref(json);
	if (response &&
		(p.code == PROBLEM_BUSY || p.code == PROBLEM_STOPPING ||
			p.code == PROBLEM_TOO_MANY))
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (response && p.code == PROBLEM_METHOD) {
		request_methods(rq, methods);
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, methods);
	}
	answer_with(
		rq, (unsigned)problem_http_status(p.code), response, "application/problem+json");
}
