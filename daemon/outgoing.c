#include "outgoing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "../lib/webhook.h"

/* Every live secret's signature, separated by spaces, and a NUL. */
#define SIGNATURES_SIZE (ENDPOINT_SECRETS_MAX * (WEBHOOK_SIGNATURE_LEN + 1) + 1)

static double effective_limit(double own, double by_default)
{
	if (own == ENDPOINT_NONE)
		return 0;
	return own != 0 ? own : by_default;
}

struct effective endpoint_effective(const struct endpoint *e, const struct config *c)
{
	const struct retry_schedule *schedule = &c->delivery.retry_schedule;
	bool own_schedule = e->retry_waits_s != NULL;

	return (struct effective){
		.retry_waits_s = own_schedule ? e->retry_waits_s : schedule->waits_s,
		.n_retry_waits = own_schedule ? e->n_retry_waits : schedule->n,
		.max_age_s =
			(int64_t)effective_limit((double)e->max_age_s, (double)c->delivery.max_age),
		.timeout_s = e->timeout_s ? e->timeout_s : (uint32_t)c->delivery.timeout,
		.max_in_flight =
			e->max_in_flight ? e->max_in_flight : (uint32_t)c->delivery.max_in_flight,
		.burst = e->burst ? e->burst : 1,
		.rate_per_s = effective_limit(e->rate_per_s, c->delivery.rate)};
}

/* name: with colon and space. Whatever the store may hold, a line ends where its room does. */
static void add_line(struct outgoing *o, const char *name, const char *value)
{
	char *line = o->lines[o->request.n_headers];
	size_t name_len = strlen(name), value_len = strlen(value);

	if (value_len > sizeof(o->lines[0]) - 1 - name_len)
		value_len = sizeof(o->lines[0]) - 1 - name_len;
	memcpy(line, name, name_len);
	memcpy(line + name_len, value, value_len);
	line[name_len + value_len] = '\0';
	o->request.headers[o->request.n_headers++] = (struct text_span){line, name_len + value_len};
}

/* Nothing goes out unsigned: -ENOKEY when there is no secret. */
static int sign(const struct outgoing_parts *p, const char *id, const char *timestamp,
	char text[static SIGNATURES_SIZE])
{
	const struct endpoint *e = p->endpoint;
	size_t used = 0;

	for (unsigned i = 0; i < e->n_secrets; i++) {
		const struct endpoint_secret *secret = &e->secrets[i];
		int r;

		if (secret->expires_ms && secret->expires_ms <= p->queue_ms)
			continue;
		if (used)
			text[used++] = ' ';
		r = webhook_sign(&secret->key, id, timestamp, p->payload, p->event->payload_len,
			text + used);
		if (r < 0)
			return r;
		used += WEBHOOK_SIGNATURE_LEN;
	}
	text[used] = '\0';
	return used ? 0 : -ENOKEY;
}

static int add_own_headers(struct outgoing *o, const struct endpoint *e)
{
	size_t size = 0;
	char *to;

	if (!e->n_headers)
		return 0;
	for (unsigned i = 0; i < e->n_headers; i++)
		size += strlen(e->headers[i].name) + strlen(e->headers[i].value) + 3;
	to = o->own_headers = malloc(size);
	if (!to)
		return -ENOMEM;
	o->own_headers_size = size;
	for (unsigned i = 0; i < e->n_headers; i++) {
		const struct endpoint_header *h = &e->headers[i];
		/* "Name;" is how curl is told to send a header without a value. */
		int len = h->value[0] ? snprintf(to, size, "%s: %s", h->name, h->value)
				      : snprintf(to, size, "%s;", h->name);

		o->request.headers[o->request.n_headers++] = (struct text_span){to, (size_t)len};
		to += len + 1;
		size -= (size_t)len + 1;
	}
	return 0;
}

int outgoing_build(struct outgoing *o, const struct outgoing_parts *p)
{
	char signatures[SIGNATURES_SIZE], timestamp[24], id[EVENT_ID_TEXT_SIZE];
	const struct endpoint *e = p->endpoint;
	int r;

	o->own_headers = NULL;
	o->request = (struct sender_request){
		.timeout_ms = endpoint_effective(e, p->config).timeout_s * 1000,
		.allow_http = e->allow_http || p->config->network.allow_http,
		.allow_private = e->allow_private,
		.url = {e->url, strlen(e->url)},
		.body = {p->payload, p->event->payload_len}};
	event_id_format(&p->event->id, id);
	snprintf(timestamp, sizeof(timestamp), "%lld", (long long)(p->wall_ms / 1000));
	r = sign(p, id, timestamp, signatures);
	if (r < 0)
		return r;
	add_line(o, "Content-Type: ", p->event->content_type);
	add_line(o, "webhook-id: ", id);
	add_line(o, "webhook-timestamp: ", timestamp);
	add_line(o, "webhook-signature: ", signatures);
	add_line(o, "webhook-event: ", p->event->type);
	add_line(o, "Idempotency-Key: ", id);
	if (e->ca) {
		o->request.ca.at = certificates_find(p->certificates, e->ca, &o->request.ca.len);
		if (!o->request.ca.at)
			return -ENOENT;
	}
	return add_own_headers(o, e);
}

void outgoing_clear(struct outgoing *o)
{
	if (o->own_headers)
		OPENSSL_cleanse(o->own_headers, o->own_headers_size);
	free(o->own_headers);
	o->own_headers = NULL;
}
