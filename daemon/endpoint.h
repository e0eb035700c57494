/*
 * An endpoint's settings: an immutable snapshot. A change makes a new one.
 *
 * Owned by references, which the main thread alone counts; requests to the store carry one along.
 * What a user did not set is 0 or NULL and stands for the configuration's default at the time of
 * use.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/webhook.h"
#include "guard.h"

#define ENDPOINT_NONE (-1) /* of max_age_s and rate_per_s: none, whatever the default is */
#define ENDPOINT_TYPES_MAX 64
#define ENDPOINT_HEADERS_MAX 20
#define ENDPOINT_HEADERS_BYTES_MAX 8192
#define ENDPOINT_SECRETS_MAX 4
#define ENDPOINT_NETWORKS_MAX 64
#define ENDPOINT_DESCRIPTION_MAX 256
#define ENDPOINT_REASON_MAX 256
#define ENDPOINT_CA_NAME_MAX 64
#define ENDPOINT_MAX_AGE_MAX_S 315360000

enum pause_origin { NOT_PAUSED, PAUSED_BY_REQUEST, PAUSED_BY_HOOKD };

struct endpoint_header {
	const char *name, *value; /* the value is a secret */
};

struct endpoint_secret {
	struct webhook_key key;
	int64_t created_ms;
	int64_t expires_ms; /* 0: the current one, does not expire */
};

struct endpoint {
	unsigned references;
	uint32_t number; /* never reused */
	uint32_t revision; /* counts the changes */
	bool removed; /* its name may be taken by another; kept while deliveries refer to it */

	const char *tenant, *name, *url, *description;
	const char *const *types;
	unsigned n_types;
	const struct endpoint_header *headers;
	unsigned n_headers;

	const uint32_t *retry_waits_s; /* NULL: default */
	unsigned n_retry_waits;
	int64_t max_age_s; /* 0: default; ENDPOINT_NONE: any age */
	uint32_t timeout_s; /* 0: default */
	uint32_t max_in_flight; /* 0: default */
	uint32_t burst; /* 0: default */
	double rate_per_s; /* 0: default; ENDPOINT_NONE: no limit */

	bool allow_http;
	struct networks allow_private;
	const char *ca; /* file name in the directory of CAs; NULL: the system's */

	enum pause_origin paused;
	int64_t state_since_ms;
	const char *reason; /* of the pause; NULL */

	struct endpoint_secret
		*secrets; /* newest first; in a draft, room for ENDPOINT_SECRETS_MAX */
	unsigned n_secrets;
	int64_t created_ms, updated_ms;
};

/* A copy in one block of memory, with one reference; draft's pointers are borrowed. NULL without
 * memory. */
struct endpoint *endpoint_new(const struct endpoint *draft);
struct endpoint *endpoint_ref(struct endpoint *endpoint);
void endpoint_unref(
	struct endpoint *endpoint); /* wipes the secrets with the last one; NULL is fine */

/* Does it subscribe to the type? */
bool endpoint_takes(const struct endpoint *endpoint, const char *type);

/* "acme/billing", or "billing" in the default tenant. */
#define ENDPOINT_ADDRESS_SIZE 132
void endpoint_address(const struct endpoint *endpoint, char text[static ENDPOINT_ADDRESS_SIZE]);

/* Drops secrets whose overlap has ended. */
void endpoint_expire_secrets(struct endpoint *draft, int64_t now_ms);

/* Adds a new current secret; those before it expire at overlap_end_ms, or go at once if that is
 * past. */
void endpoint_rotate_secret(struct endpoint *draft, const struct webhook_key *key, int64_t now_ms,
	int64_t overlap_end_ms);
