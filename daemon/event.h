/*
 * An event as it is stored: what a producer handed over, and what hookd noted about it. Immutable.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../lib/event_id.h"

#define EVENT_KEY_MAX 255
#define EVENT_CONTENT_TYPE_MAX 255
#define EVENT_DIGEST_LEN 32

struct event {
	struct event_id id;
	int64_t accepted_ms;
	int64_t timestamp_wall_ms; /* when it happened, by the producer's clock */
	int64_t deliver_at_wall_ms; /* 0: at once */
	uint32_t uid; /* of the process that submitted it */
	uint32_t n_deliveries; /* to how many endpoints it was owed */
	uint32_t payload_len;
	const char *tenant, *type, *content_type;
	const char *key; /* idempotency key; NULL for none */
};

/* A stored event in one block of memory: free() it. payload has event.payload_len bytes, or is NULL
 * when only the event was asked for. */
struct stored_event {
	struct event event;
	const uint8_t *payload;
};
