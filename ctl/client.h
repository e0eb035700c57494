/*
 * Calls to hookd. Which socket is used is decided at the first call: the strongest of admin.sock,
 * manage.sock and submit.sock that may be opened, so that one login shell can do all that it may;
 * for submitting the weakest, so that a submit does what the application's would.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "ctl.h"

struct call {
	const char *method, *target;
	const json_t *json; /* the body; borrowed */
	const struct buffer *bytes; /* or this one, of content_type */
	const char *content_type, *idempotency_key;
	bool is_keyed; /* every event in it has an idempotency key: sent twice is sent once */
	unsigned timeout_s; /* 0: the usual */
	const char *tolerated; /* problem codes, separated by spaces, that the caller deals with */

	/* What an answer has to be for a success: an object of JSON unless said otherwise, and 204
	 * for a DELETE. */
	bool wants_bytes; /* of any kind */
	const char *wants; /* members that it has, with a value, separated by spaces */
	size_t n_items; /* so many "items", each with an "id" */
};

struct answer {
	int status; /* 0: none came */
	const char *code; /* of a tolerated problem, in json; NULL: the call succeeded */
	json_t *json; /* NULL when the answer is not JSON */
	char *bytes;
	size_t len;
};

/*
 * One call. A connection that broke (lib/http.h says what is sent twice), an answer that did not
 * come in time and one that is not hookd's count as the problem "unknown": perhaps it was carried
 * out. Returns 0 after success or a tolerated problem, else an exit status. answer is to be cleared
 * in any case.
 */
int call_hookd(struct ctl *ctl, const struct call *call, struct answer *answer);
void answer_clear(struct answer *answer);

/* Complains about a problem that was tolerated. Returns the exit status. */
int fail_with_answer(const struct ctl *ctl, const struct answer *answer);

/* The usual calls: JSON there, JSON back. json is the caller's to free; body and json may be NULL.
 */
int get_json(struct ctl *ctl, const char *target, json_t **json);
int send_json(
	struct ctl *ctl, const char *method, const char *target, const json_t *body, json_t **json);

void disconnect(struct ctl *ctl);
