/*
 * Standard Webhooks 1.0.0, scheme v1, below the public functions: HMAC-SHA256 over
 * "id.timestamp.body" with the decoded bytes of a "whsec_" secret.
 *
 * Pure. The daemon decodes a secret once and signs with it many times.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WEBHOOK_KEY_MIN 24
#define WEBHOOK_KEY_MAX 64
#define WEBHOOK_MAC_LEN 32
#define WEBHOOK_SIGNATURE_LEN 47 /* "v1," and base64 of 32 bytes */

struct webhook_key {
	uint8_t bytes[WEBHOOK_KEY_MAX];
	size_t len;
};

/* Reads "whsec_" + standard base64 with padding of 24 to 64 bytes. Returns 0 or -EINVAL. */
int webhook_key_parse(const char *secret, struct webhook_key *key);

/* Writes the secret text of a key; size as HOOKD_SECRET_SIZE. Returns 0 or -ENOSPC. */
int webhook_key_format(const struct webhook_key *key, char *secret, size_t size);

/* Writes "v1,..." without NUL. timestamp is the decimal text that is sent. Returns 0 or -ENOMEM. */
int webhook_sign(const struct webhook_key *key, const char *id, const char *timestamp,
	const void *body, size_t len, char signature[static WEBHOOK_SIGNATURE_LEN]);
