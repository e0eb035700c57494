#include "endpoint_record.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "../bytes.h"
#include "record.h"

#define RECORD_VERSION 1
/* 64 types of 130 bytes, headers, networks and the rest stay below this. */
#define BLOB_MAX 49152
#define SECRETS_MAX (ENDPOINT_HEADERS_BYTES_MAX + 1024)

static void put_text(struct byte_writer *w, const char *text)
{
	put_string(w, text, strlen(text));
}

/* NULL and "" are told apart by a byte in front. */
static void put_optional(struct byte_writer *w, const char *text)
{
	put_u8(w, text != NULL);
	if (text)
		put_text(w, text);
}

static void put_double(struct byte_writer *w, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put_u64(w, bits);
}

static double get_double(struct byte_reader *r)
{
	uint64_t bits = get_u64(r);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static size_t write_secrets(const struct endpoint *e, uint8_t *plain, size_t size)
{
	struct byte_writer w = {.at = plain, .size = size};

	put_u8(&w, (uint8_t)e->n_secrets);
	for (unsigned i = 0; i < e->n_secrets; i++) {
		put_string(&w, (const char *)e->secrets[i].key.bytes, e->secrets[i].key.len);
		put_i64(&w, e->secrets[i].created_ms);
		put_i64(&w, e->secrets[i].expires_ms);
	}
	put_u8(&w, (uint8_t)e->n_headers);
	for (unsigned i = 0; i < e->n_headers; i++)
		put_text(&w, e->headers[i].value);
	return w.overflow ? 0 : w.used;
}

static void write_settings(struct byte_writer *w, const struct endpoint *e)
{
	put_u8(w, RECORD_VERSION);
	put_u32(w, e->revision);
	put_text(w, e->tenant);
	put_text(w, e->name);
	put_text(w, e->url);
	put_text(w, e->description);
	put_u8(w, (uint8_t)e->n_types);
	for (unsigned i = 0; i < e->n_types; i++)
		put_text(w, e->types[i]);
	put_u8(w, (uint8_t)e->n_headers);
	for (unsigned i = 0; i < e->n_headers; i++)
		put_text(w, e->headers[i].name);
	put_u8(w, e->retry_waits_s != NULL);
	put_u8(w, (uint8_t)e->n_retry_waits);
	assert(e->retry_waits_s || e->n_retry_waits == 0);
	for (unsigned i = 0; i < e->n_retry_waits; i++)
		put_u32(w, e->retry_waits_s[i]);
	put_i64(w, e->max_age_s);
	put_u32(w, e->timeout_s);
	put_u32(w, e->max_in_flight);
	put_u32(w, e->burst);
	put_double(w, e->rate_per_s);
	put_u8(w, e->allow_http);
	put_u8(w, (uint8_t)e->allow_private.n);
	for (size_t i = 0; i < e->allow_private.n; i++) {
		put_u8(w, e->allow_private.list[i].family);
		put_u8(w, e->allow_private.list[i].bits);
		put_bytes(w, e->allow_private.list[i].bytes, 16);
	}
	put_optional(w, e->ca);
	put_u8(w, (uint8_t)e->paused);
	put_i64(w, e->state_since_ms);
	put_optional(w, e->reason);
	put_i64(w, e->created_ms);
	put_i64(w, e->updated_ms);
}

uint8_t *endpoint_record_write(const struct endpoint *e, const struct secretbox *box, size_t *len)
{
	uint8_t plain[SECRETS_MAX], *blob = malloc(BLOB_MAX);
	struct byte_writer w = {.at = blob, .size = BLOB_MAX};
	size_t plain_len = write_secrets(e, plain, sizeof(plain));
	int r = -ENOMEM;

	if (blob && plain_len) {
		write_settings(&w, e);
		put_u32(&w, (uint32_t)(plain_len + SECRETBOX_OVERHEAD));
		if (!w.overflow && plain_len + SECRETBOX_OVERHEAD <= w.size - w.used)
			r = secretbox_seal(box, e->number, plain, plain_len, blob + w.used);
	}
	OPENSSL_cleanse(plain, sizeof(plain));
	if (r < 0) {
		free(blob);
		return NULL;
	}
	*len = w.used + plain_len + SECRETBOX_OVERHEAD;
	return blob;
}

/* Everything that a draft points to while it is read. */
struct reading {
	struct byte_reader r;
	char strings[BLOB_MAX];
	size_t used;
	const char *types[ENDPOINT_TYPES_MAX];
	struct endpoint_header headers[ENDPOINT_HEADERS_MAX];
	uint32_t waits[256];
	struct network networks[ENDPOINT_NETWORKS_MAX];
	struct endpoint_secret secrets[ENDPOINT_SECRETS_MAX];
	char reason[ENDPOINT_REASON_MAX + 1];
	uint8_t plain[SECRETS_MAX];
};

static const char *get_text(struct reading *in, struct byte_reader *r)
{
	size_t len;
	const char *text = get_string(r, &len);
	char *copy = in->strings + in->used;

	if (len + 1 > sizeof(in->strings) - in->used || memchr(text, '\0', len)) {
		r->bad = true;
		return "";
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	in->used += len + 1;
	return copy;
}

static const char *get_optional(struct reading *in)
{
	return get_u8(&in->r) ? get_text(in, &in->r) : NULL;
}

static unsigned get_count(struct byte_reader *r, unsigned max)
{
	unsigned n = get_u8(r);

	if (n > max) {
		r->bad = true;
		n = 0;
	}
	return n;
}

/* Its bounds are what guard relies on. */
static struct network get_network(struct byte_reader *r)
{
	struct network network = {0};
	const uint8_t *bytes;

	network.family = get_u8(r);
	network.bits = get_u8(r);
	bytes = get_bytes(r, sizeof(network.bytes));
	if (bytes &&
		((network.family == 4 && network.bits <= 32) ||
			(network.family == 6 && network.bits <= 128)))
		memcpy(network.bytes, bytes, sizeof(network.bytes));
	else
		r->bad = true;
	return network;
}

static void read_settings(struct reading *in, struct endpoint *draft)
{
	struct byte_reader *r = &in->r;
	bool has_waits;

	if (get_u8(r) != RECORD_VERSION)
		r->bad = true;
	draft->revision = get_u32(r);
	draft->tenant = get_text(in, r);
	draft->name = get_text(in, r);
	draft->url = get_text(in, r);
	draft->description = get_text(in, r);
	draft->n_types = get_count(r, ENDPOINT_TYPES_MAX);
	draft->types = in->types;
	for (unsigned i = 0; i < draft->n_types; i++)
		in->types[i] = get_text(in, r);
	draft->n_headers = get_count(r, ENDPOINT_HEADERS_MAX);
	draft->headers = in->headers;
	for (unsigned i = 0; i < draft->n_headers; i++)
		in->headers[i].name = get_text(in, r);
	has_waits = get_u8(r);
	draft->n_retry_waits = get_count(r, has_waits ? 255 : 0);
	draft->retry_waits_s = has_waits ? in->waits : NULL;
	for (unsigned i = 0; i < draft->n_retry_waits; i++)
		in->waits[i] = get_u32(r);
	draft->max_age_s = get_i64(r);
	draft->timeout_s = get_u32(r);
	draft->max_in_flight = get_u32(r);
	draft->burst = get_u32(r);
	draft->rate_per_s = get_double(r);
	draft->allow_http = get_u8(r);
	draft->allow_private = (struct networks){in->networks, get_count(r, ENDPOINT_NETWORKS_MAX)};
	for (size_t i = 0; i < draft->allow_private.n; i++)
		in->networks[i] = get_network(r);
	draft->ca = get_optional(in);
	draft->paused = get_count(r, PAUSED_BY_HOOKD);
	draft->state_since_ms = get_i64(r);
	draft->reason = get_optional(in);
	draft->created_ms = get_i64(r);
	draft->updated_ms = get_i64(r);
}

static void read_secrets(struct reading *in, struct byte_reader *r, struct endpoint *draft)
{
	draft->n_secrets = get_count(r, ENDPOINT_SECRETS_MAX);
	draft->secrets = in->secrets;
	for (unsigned i = 0; i < draft->n_secrets; i++) {
		size_t len;
		const char *key = get_string(r, &len);

		if (len > WEBHOOK_KEY_MAX) {
			r->bad = true;
			return;
		}
		memcpy(in->secrets[i].key.bytes, key, len);
		in->secrets[i].key.len = len;
		in->secrets[i].created_ms = get_i64(r);
		in->secrets[i].expires_ms = get_i64(r);
	}
	if (get_u8(r) != draft->n_headers)
		r->bad = true;
	for (unsigned i = 0; i < draft->n_headers; i++)
		in->headers[i].value = get_text(in, r);
}

/* What is sealed; -EBADMSG when there cannot be a box there. */
static int find_box(struct reading *in, struct bytes *sealed)
{
	sealed->len = get_u32(&in->r);
	sealed->at = get_bytes(&in->r, sealed->len);
	if (!sealed->at || !reader_is_done(&in->r) || sealed->len < SECRETBOX_OVERHEAD ||
		sealed->len > sizeof(in->plain) + SECRETBOX_OVERHEAD)
		return -EBADMSG;
	return 0;
}

static int open_secrets(struct reading *in, struct bytes sealed, const struct secretbox *box,
	struct endpoint *draft)
{
	struct byte_reader plain = {in->plain, in->plain + sealed.len - SECRETBOX_OVERHEAD, false};

	switch (secretbox_unseal(box, draft->number, sealed.at, sealed.len, in->plain)) {
	case 0:
		break;
	case -ENOKEY:
		return RECORD_NO_KEY;
	case -EBADMSG:
		return RECORD_LOCKED;
	default:
		return -ENOMEM;
	}
	read_secrets(in, &plain, draft);
	if (!reader_is_done(&plain))
		return -EBADMSG;
	return memcmp(secretbox_key_id_of(sealed.at, sealed.len), box->current.id,
		       SECRETBOX_KEY_ID_LEN) == 0
		? 0
		: RECORD_OLD_KEY;
}

/* Without its secret nothing may be sent; without its headers nothing should be. */
static void lock(struct reading *in, struct endpoint *draft)
{
	size_t size = sizeof(in->reason), used;

	snprintf(in->reason, size, "its secret cannot be opened: rotate-secret, %sresume",
		draft->n_headers ? "set its headers again, " : "");
	for (unsigned i = 0; i < draft->n_headers; i++) {
		used = strlen(in->reason);
		snprintf(in->reason + used, size - used, "%s%s",
			i ? ", " : " (lost: ", in->headers[i].name);
	}
	used = strlen(in->reason);
	if (draft->n_headers)
		snprintf(in->reason + used, size - used, ")");
	draft->n_headers = 0;
	draft->n_secrets = 0;
	draft->paused = PAUSED_BY_HOOKD;
	draft->reason = in->reason;
}

int endpoint_record_read(uint32_t number, bool removed, const uint8_t *blob, size_t len,
	const struct secretbox *box, struct endpoint **endpoint,
	uint8_t key_id[static SECRETBOX_KEY_ID_LEN])
{
	struct reading *in = calloc(1, sizeof(*in));
	struct endpoint draft = {.number = number, .removed = removed};
	struct bytes sealed;
	int r;

	if (!in)
		return -ENOMEM;
	in->r = (struct byte_reader){blob, blob + len, false};
	read_settings(in, &draft);
	r = find_box(in, &sealed);
	if (r == 0) {
		memcpy(key_id, secretbox_key_id_of(sealed.at, sealed.len), SECRETBOX_KEY_ID_LEN);
		r = open_secrets(in, sealed, box, &draft);
	}
	if (r == RECORD_LOCKED || r == RECORD_NO_KEY)
		lock(in, &draft);
	if (r >= 0) {
		*endpoint = endpoint_new(&draft);
		r = *endpoint ? r : -ENOMEM;
	}
	OPENSSL_cleanse(in, sizeof(*in));
	free(in);
	return r;
}
