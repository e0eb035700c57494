/*
 * The request that goes out: an event for an endpoint, with its headers and signatures, ready for a
 * sender. Built at the moment of sending, from the settings as they are then.
 *
 * Pure, but for reading a certificate file the first time.
 */
#pragma once

#include <stdint.h>

#include "attempt_frame.h"
#include "certificates.h"
#include "config.h"
#include "endpoint.h"
#include "event.h"

/* An endpoint's settings as they are in force, defaults filled in. */
struct effective {
	const uint32_t *retry_waits_s;
	unsigned n_retry_waits;
	int64_t max_age_s; /* 0: none */
	uint32_t timeout_s, max_in_flight, burst;
	double rate_per_s; /* 0: none */
};
struct effective endpoint_effective(const struct endpoint *endpoint, const struct config *config);

#define OUTGOING_LINES 6

struct outgoing {
	struct sender_request request;
	char lines[OUTGOING_LINES][320]; /* hookd's own headers */
	char *own_headers; /* the endpoint's, in one block */
	size_t own_headers_size;
};

/* What a request is made of. Everything is borrowed as long as the request is. */
struct outgoing_parts {
	const struct endpoint *endpoint;
	const struct event *event;
	const void *payload;
	const struct config *config;
	struct certificates *certificates;
	int64_t queue_ms, wall_ms;
};

/* Returns 0, -ENOKEY when the endpoint has no secret to sign with, -ENOENT when its certificate
 * file cannot be read, or -ENOMEM. To be cleared in any case. */
int outgoing_build(struct outgoing *outgoing, const struct outgoing_parts *parts);
void outgoing_clear(struct outgoing *outgoing);
