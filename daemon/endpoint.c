#include "endpoint.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "name.h"

/* Cuts pieces off one block. Run once with at NULL to learn the size, then again to fill. */
struct arena {
	char *at;
	size_t used;
};

static void *arena_take(struct arena *a, const void *bytes, size_t len, size_t align)
{
	void *piece;

	a->used = (a->used + align - 1) / align * align;
	piece = a->at ? a->at + a->used : NULL;
	if (piece && len)
		memcpy(piece, bytes, len);
	a->used += len;
	return piece;
}

static const char *arena_string(struct arena *a, const char *text)
{
	return text ? arena_take(a, text, strlen(text) + 1, 1) : NULL;
}

/* Lays a copy of draft out in the arena. */
static struct endpoint *lay_out(struct arena *a, const struct endpoint *draft)
{
	struct endpoint copy = *draft, *placed;
	const char **types;
	struct endpoint_header *headers;

	placed = arena_take(a, draft, sizeof(*draft), alignof(struct endpoint));
	types = arena_take(a, draft->types, draft->n_types * sizeof(*types), alignof(char *));
	headers = arena_take(a, draft->headers, draft->n_headers * sizeof(*headers),
		alignof(struct endpoint_header));
	copy.secrets = arena_take(a, draft->secrets, draft->n_secrets * sizeof(*copy.secrets),
		alignof(struct endpoint_secret));
	copy.retry_waits_s = draft->retry_waits_s
		? arena_take(a, draft->retry_waits_s, draft->n_retry_waits * sizeof(uint32_t),
			  alignof(uint32_t))
		: NULL;
	copy.allow_private.list = arena_take(a, draft->allow_private.list,
		draft->allow_private.n * sizeof(struct network), alignof(struct network));
	copy.tenant = arena_string(a, draft->tenant);
	copy.name = arena_string(a, draft->name);
	copy.url = arena_string(a, draft->url);
	copy.description = arena_string(a, draft->description);
	copy.ca = arena_string(a, draft->ca);
	copy.reason = arena_string(a, draft->reason);
	for (unsigned i = 0; i < draft->n_types; i++) {
		const char *type = arena_string(a, draft->types[i]);

		if (types)
			types[i] = type;
	}
	for (unsigned i = 0; i < draft->n_headers; i++) {
		struct endpoint_header header = {arena_string(a, draft->headers[i].name),
			arena_string(a, draft->headers[i].value)};

		if (headers)
			headers[i] = header;
	}
	copy.types = types;
	copy.headers = headers;
	copy.references = 1;
	if (placed)
		*placed = copy;
	return placed;
}

struct endpoint *endpoint_new(const struct endpoint *draft)
{
	struct arena arena = {0};

	lay_out(&arena, draft);
	arena.at = malloc(arena.used);
	if (!arena.at)
		return NULL;
	arena.used = 0;
	return lay_out(&arena, draft);
}

struct endpoint *endpoint_ref(struct endpoint *endpoint)
{
	endpoint->references++;
	return endpoint;
}

void endpoint_unref(struct endpoint *endpoint)
{
	if (!endpoint || --endpoint->references > 0)
		return;
	for (unsigned i = 0; i < endpoint->n_headers; i++)
		OPENSSL_cleanse(
			(char *)endpoint->headers[i].value, strlen(endpoint->headers[i].value));
	OPENSSL_cleanse(endpoint->secrets, endpoint->n_secrets * sizeof(endpoint->secrets[0]));
	free(endpoint);
}

bool endpoint_takes(const struct endpoint *endpoint, const char *type)
{
	for (unsigned i = 0; i < endpoint->n_types; i++) {
		if (pattern_matches(endpoint->types[i], type))
			return true;
	}
	return false;
}

void endpoint_address(const struct endpoint *endpoint, char text[static ENDPOINT_ADDRESS_SIZE])
{
	snprintf(text, ENDPOINT_ADDRESS_SIZE, "%s%s%s", endpoint->tenant,
		endpoint->tenant[0] ? "/" : "", endpoint->name);
}

void endpoint_expire_secrets(struct endpoint *draft, int64_t now_ms)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < draft->n_secrets; i++) {
		if (draft->secrets[i].expires_ms == 0 || draft->secrets[i].expires_ms > now_ms)
			draft->secrets[kept++] = draft->secrets[i];
	}
	OPENSSL_cleanse(
		&draft->secrets[kept], (draft->n_secrets - kept) * sizeof(draft->secrets[0]));
	draft->n_secrets = kept;
}

void endpoint_rotate_secret(struct endpoint *draft, const struct webhook_key *key, int64_t now_ms,
	int64_t overlap_end_ms)
{
	for (unsigned i = 0; i < draft->n_secrets; i++) {
		struct endpoint_secret *old = &draft->secrets[i];

		if (old->expires_ms == 0 || old->expires_ms > overlap_end_ms)
			old->expires_ms = overlap_end_ms;
	}
	endpoint_expire_secrets(draft, now_ms);
	if (draft->n_secrets == ENDPOINT_SECRETS_MAX)
		draft->n_secrets--;
	memmove(&draft->secrets[1], &draft->secrets[0],
		draft->n_secrets * sizeof(draft->secrets[0]));
	draft->secrets[0].key = *key;
	draft->secrets[0].created_ms = now_ms;
	draft->secrets[0].expires_ms = 0;
	draft->n_secrets++;
}
