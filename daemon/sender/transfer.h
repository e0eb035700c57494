/*
 * One HTTP request to one address: libcurl multi on the sender's loop. Nothing but this file knows
 * curl.
 *
 * A transfer goes to the address it is given and nowhere else, whatever the URL says: the
 * connection is pinned to it, the socket's address is checked when it is opened, and the peer's
 * once more before the request leaves, because a connection that is reused opens no socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../attempt_frame.h"

struct event_base;
struct transfers;

struct transfer {
	/* In: borrowed until done is called or the transfer is cancelled. */
	const char *url;
	const char *const *headers; /* "Name: value" */
	unsigned n_headers;
	const void *body;
	size_t body_len;
	struct text_span ca;
	bool https;
	struct peer peer;
	unsigned timeout_ms, connect_timeout_ms;
	/* Why not there? NULL: it may. Asked again for the very socket that is used. */
	const char *(*refuses)(struct transfer *transfer, const struct peer *peer);
	void (*done)(struct transfer *transfer);

	/* Out: */
	enum local_fault fault;
	enum attempt_result result;
	uint16_t http_status;
	bool another_may_answer; /* nothing was sent, as nobody was there: try the next address */
	char retry_after[64];
	char message[ATTEMPT_MESSAGE_MAX + 1];
	size_t response_len;
	char response[ATTEMPT_RESPONSE_MAX];

	struct transfer_state *state; /* of transfer.c */
};

struct transfer_options {
	const char *user_agent;
	const char *ca_file;
	unsigned max_in_flight;
};

/* Returns 0 or -ENOMEM. */
int transfers_new(struct transfers **transfers, struct event_base *base,
	const struct transfer_options *options);
void transfers_free(struct transfers *transfers); /* every transfer has ended before */

/* Could the file of authorities be read? Without them only transfers that have their own can be
 * made, or such as need none. */
bool transfers_have_authorities(const struct transfers *transfers);

/* done is never called from within. Returns 0 or -ENOMEM. */
int transfer_start(struct transfers *transfers, struct transfer *transfer);
void transfer_cancel(struct transfer *transfer); /* fine for one that is not under way */
