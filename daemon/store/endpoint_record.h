/*
 * An endpoint's settings as the store keeps them: an opaque blob to the engines. Signing secrets
 * and the values of headers are sealed inside, bound to the endpoint's number. doc/format.md
 * specifies the layout.
 *
 * Pure, but for the random nonce of the seal.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../endpoint.h"
#include "../secretbox.h"

/* A blob that free() releases; NULL without memory or randomness. */
uint8_t *endpoint_record_write(
	const struct endpoint *endpoint, const struct secretbox *box, size_t *len);

/* How a record was read, beside 0: the current master key has opened it. */
enum endpoint_record_outcome {
	RECORD_OLD_KEY = 1, /* the previous master key has */
	RECORD_NO_KEY, /* its master key is not there */
	RECORD_LOCKED /* what is sealed was changed since, or sealed for another endpoint */
};

/*
 * The endpoint with one reference, and the id of the master key that its record names. Returns 0
 * or an outcome, -EBADMSG (damaged) or -ENOMEM. One that could not be opened (RECORD_NO_KEY,
 * RECORD_LOCKED) has no secret and no headers, and is paused by hookd with a reason that tells what
 * is to be done.
 */
int endpoint_record_read(uint32_t number, bool removed, const uint8_t *blob, size_t len,
	const struct secretbox *box, struct endpoint **endpoint,
	uint8_t key_id[static SECRETBOX_KEY_ID_LEN]);
