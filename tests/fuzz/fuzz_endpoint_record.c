/*
 * Settings of endpoints that somebody forged into a data file, sealed secrets and all: the worst
 * that one who has the key could write. What is understood can be written, and is understood the
 * same; what is understood keeps to the bounds on which everything else relies. The input: two
 * bytes that say how long the settings are, the settings, then the secrets before they are sealed.
 */
#include <string.h>

#include "../../daemon/store/endpoint_record.h"
#include "fuzz.h"

#define NUMBER 7

static const struct secretbox box = {.current = {.bytes = {1, 2, 3}, .id = {4, 5, 6}}};

static void check_endpoint(const struct endpoint *e)
{
	promise(e->n_types <= ENDPOINT_TYPES_MAX);
	promise(e->n_headers <= ENDPOINT_HEADERS_MAX);
	promise(e->n_secrets <= ENDPOINT_SECRETS_MAX);
	for (unsigned i = 0; i < e->n_secrets; i++)
		promise(e->secrets[i].key.len <= WEBHOOK_KEY_MAX);
	promise(e->paused == NOT_PAUSED || e->paused == PAUSED_BY_REQUEST ||
		e->paused == PAUSED_BY_HOOKD);
	for (size_t i = 0; i < e->allow_private.n; i++) {
		const struct network *network = &e->allow_private.list[i];

		promise(network->family == 4 || network->family == 6);
		promise(network->bits <= (network->family == 4 ? 32 : 128));
	}
}

static struct endpoint *read_back(const uint8_t *blob, size_t len)
{
	struct endpoint *endpoint = NULL;
	uint8_t key_id[SECRETBOX_KEY_ID_LEN];

	if (endpoint_record_read(NUMBER, false, blob, len, &box, &endpoint, key_id) != 0) {
		endpoint_unref(endpoint); /* there is one, if only its box does not open */
		return NULL;
	}
	promise(memcmp(key_id, box.current.id, sizeof(key_id)) == 0);
	return endpoint;
}

static void check_rewriting(const struct endpoint *e, size_t sealed_len)
{
	size_t first_len, second_len;
	uint8_t *first = endpoint_record_write(e, &box, &first_len), *second;
	struct endpoint *again;

	promise(first);
	again = read_back(first, first_len);
	promise(again);
	second = endpoint_record_write(again, &box, &second_len);
	promise(second);
	for (unsigned i = 0; i < e->n_secrets; i++)
		promise(memcmp(&e->secrets[i].key, &again->secrets[i].key,
				sizeof(e->secrets[i].key)) == 0);
	for (unsigned i = 0; i < e->n_headers; i++)
		promise(strcmp(e->headers[i].value, again->headers[i].value) == 0);
	promise(first_len == second_len);
	/* The seal is another each time: its nonce is random. */
	promise(memcmp(first, second, first_len - sealed_len) == 0);
	endpoint_unref(again);
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t settings_len, plain_len, sealed_len;
	struct endpoint *endpoint;
	uint8_t *blob;

	if (size < 2)
		return 0;
	settings_len = (size_t)data[0] << 8 | data[1];
	if (settings_len > size - 2)
		settings_len = size - 2;
	plain_len = size - 2 - settings_len;
	sealed_len = plain_len + SECRETBOX_OVERHEAD;
	blob = malloc(settings_len + 4 + sealed_len);
	memcpy(blob, data + 2, settings_len);
	for (size_t i = 0; i < 4; i++)
		blob[settings_len + i] = (uint8_t)(sealed_len >> (24 - 8 * i));
	promise(secretbox_seal(&box, NUMBER, data + 2 + settings_len, plain_len,
			blob + settings_len + 4) == 0);
	endpoint = read_back(blob, settings_len + 4 + sealed_len);
	free(blob);
	if (endpoint) {
		check_endpoint(endpoint);
		check_rewriting(endpoint, sealed_len);
		endpoint_unref(endpoint);
	}
	return 0;
}
