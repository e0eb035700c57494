/*
 * One HTTP exchange after another with hookd, over its Unix socket. A socket that is missing,
 * forbidden or not served is told apart; one whose backlog is full is waited for.
 *
 * What is sent twice is decided here and nowhere else: a request of which some has left, and whose
 * connection broke before the answer, is sent once more if twice is the same as once, which means
 * a GET, or keys in all of its events. Whatever else may have been carried out is HTTP_BROKEN.
 *
 * Internal to libhookd and hookctl. A client serves one thread at a time and keeps its connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct http_client;

struct http_request {
	const char *method; /* "GET", "POST" ... */
	const char *target; /* path and query, already encoded */
	const char *content_type; /* of the body; NULL without one */
	const char *idempotency_key; /* header; NULL for none */
	const void *body;
	size_t body_len;
	bool is_keyed; /* every event in it has an idempotency key */
};

/* Freed by http_answer_clear(); {0} is an empty one. */
struct http_answer {
	int status;
	char *content_type; /* never NULL after success */
	char *body; /* body_len bytes and a NUL behind them */
	size_t body_len;
};

enum http_outcome {
	HTTP_DONE = 0,
	HTTP_BROKEN /* failed after bytes had been sent: the request was perhaps carried out. Also
		     * when it was sent twice, and the second one was refused or found nobody: that
		     * says nothing about the first. */
};

/* path: of the socket. Returns 0, -ENOMEM or -ENAMETOOLONG. */
int http_client_new(struct http_client **client, const char *path);
void http_client_free(struct http_client *client);

const char *http_client_path(const struct http_client *client);

/* What went wrong at the last exchange, in words; "" when nothing did. */
const char *http_client_problem(const struct http_client *client);

/*
 * timeout_ms: for all of it, the second time included; after a time-out there is none. Returns enum
 * http_outcome, or a negative errno: nothing was sent. connect(2) gives -ENOENT, -ECONNREFUSED,
 * -EACCES; -ETIMEDOUT when hookd did not accept within the time.
 */
int http_exchange(struct http_client *client, const struct http_request *request,
	unsigned timeout_ms, struct http_answer *answer);
void http_answer_clear(struct http_answer *answer);

/* Percent-encodes one query value into a new string; NULL without memory. */
char *http_encode(const char *text);
