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

/* The endpoint with one reference. Returns 0, -EBADMSG (damaged, or sealed with another key) or
 * -ENOMEM. */
int endpoint_record_read(uint32_t number, bool removed, const uint8_t *blob, size_t len,
	const struct secretbox *box, struct endpoint **endpoint);
