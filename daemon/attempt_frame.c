#include "attempt_frame.h"

#include "../lib/text.h"
#include "channel.h"

static void put_text(struct byte_writer *w, const char *text)
{
	put_string(w, text, strlen(text));
}

static void get_text(struct byte_reader *r, char *text, size_t size)
{
	size_t len;
	const char *at = get_string(r, &len);

	if (len >= size || memchr(at, '\0', len)) {
		r->bad = true;
		len = 0;
	}
	memcpy(text, at, len);
	text[len] = '\0';
}

static void put_networks(struct byte_writer *w, const struct network *list, size_t n)
{
	put_u8(w, (uint8_t)n);
	for (size_t i = 0; i < n; i++) {
		put_u8(w, list[i].family);
		put_u8(w, list[i].bits);
		put_bytes(w, list[i].bytes, sizeof(list[i].bytes));
	}
}

static size_t get_networks(struct byte_reader *r, struct network list[static CONFIG_LIST_MAX])
{
	size_t n = get_u8(r);

	if (n > CONFIG_LIST_MAX) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const uint8_t *bytes;

		list[i].family = get_u8(r);
		list[i].bits = get_u8(r);
		bytes = get_bytes(r, sizeof(list[i].bytes));
		if (bytes)
			memcpy(list[i].bytes, bytes, sizeof(list[i].bytes));
		if ((list[i].family != 4 && list[i].family != 6) ||
			list[i].bits > (list[i].family == 4 ? 32 : 128))
			r->bad = true;
	}
	return r->bad ? 0 : n;
}

void frame_put_config(struct byte_writer *w, const struct sender_config *c)
{
	put_u16(w, CHANNEL_VERSION);
	put_text(w, c->user_agent);
	put_text(w, c->ca_file);
	put_text(w, c->dns_servers);
	put_u32(w, c->connect_timeout_ms);
	put_u32(w, c->max_in_flight);
	put_u8(w, c->landlock_optional);
	put_networks(w, c->allowed.list, c->allowed.n);
	put_networks(w, c->denied.list, c->denied.n);
	put_u8(w, (uint8_t)c->ports.n);
	for (size_t i = 0; i < c->ports.n; i++) {
		put_u16(w, c->ports.list[i].first);
		put_u16(w, c->ports.list[i].last);
	}
}

bool frame_get_config(struct byte_reader *r, struct sender_config *c)
{
	if (get_u16(r) != CHANNEL_VERSION)
		return false;
	get_text(r, c->user_agent, sizeof(c->user_agent));
	get_text(r, c->ca_file, sizeof(c->ca_file));
	get_text(r, c->dns_servers, sizeof(c->dns_servers));
	c->connect_timeout_ms = get_u32(r);
	c->max_in_flight = get_u32(r);
	c->landlock_optional = get_u8(r) & 1;
	c->allowed.n = get_networks(r, c->allowed.list);
	c->denied.n = get_networks(r, c->denied.list);
	c->ports.n = get_u8(r);
	if (c->ports.n > CONFIG_LIST_MAX)
		return false;
	for (size_t i = 0; i < c->ports.n; i++) {
		c->ports.list[i].first = get_u16(r);
		c->ports.list[i].last = get_u16(r);
	}
	return reader_is_done(r);
}

size_t frame_request_size(const struct sender_request *q)
{
	size_t size = 64 + q->allow_private.n * 18 + q->url.len + q->ca.len +
		(q->body_in_file ? 0 : q->body.len);

	for (unsigned i = 0; i < q->n_headers; i++)
		size += 2 + q->headers[i].len;
	return size;
}

void frame_put_request(struct byte_writer *w, const struct sender_request *q)
{
	put_u64(w, q->slot);
	put_u32(w, q->timeout_ms);
	put_u8(w, (uint8_t)(q->allow_http | q->body_in_file << 1));
	put_networks(w, q->allow_private.list, q->allow_private.n);
	put_string(w, q->url.at, q->url.len);
	put_u8(w, (uint8_t)q->n_headers);
	for (unsigned i = 0; i < q->n_headers; i++)
		put_string(w, q->headers[i].at, q->headers[i].len);
	put_u32(w, (uint32_t)q->ca.len);
	put_bytes(w, q->ca.at, q->ca.len);
	put_u32(w, (uint32_t)q->body.len);
	if (!q->body_in_file)
		put_bytes(w, q->body.at, q->body.len);
}

static struct text_span get_span(struct byte_reader *r)
{
	struct text_span span;

	span.at = get_string(r, &span.len);
	if (memchr(span.at, '\0', span.len))
		r->bad = true;
	return span;
}

static struct text_span get_long_span(struct byte_reader *r, size_t len)
{
	return (struct text_span){(const char *)get_bytes(r, len), len};
}

bool frame_get_request(struct byte_reader *r, struct sender_request *q,
	struct network networks[static CONFIG_LIST_MAX])
{
	uint8_t flags;

	memset(q, 0, sizeof(*q));
	q->slot = get_u64(r);
	q->timeout_ms = get_u32(r);
	flags = get_u8(r);
	q->allow_http = flags & 1;
	q->body_in_file = flags >> 1 & 1;
	q->allow_private = (struct networks){networks, get_networks(r, networks)};
	q->url = get_span(r);
	q->n_headers = get_u8(r);
	if (q->n_headers > REQUEST_HEADERS_MAX)
		return false;
	for (unsigned i = 0; i < q->n_headers; i++)
		q->headers[i] = get_span(r);
	q->ca = get_long_span(r, get_u32(r));
	q->body.len = get_u32(r);
	if (!q->body_in_file)
		q->body = get_long_span(r, q->body.len);
	return reader_is_done(r);
}

static const char *const fault_texts[N_LOCAL_FAULTS] = {
	[NO_LOCAL_FAULT] = "none",
	[FAULT_DESCRIPTORS] = "no file descriptor left",
	[FAULT_MEMORY] = "no memory left",
	[FAULT_RESOLVER] = "no DNS server answers",
	[FAULT_PORTS] = "no local port left",
	[FAULT_AUTHORITIES] = "the certificates in [network] ca_file cannot be read",
	[FAULT_SENDER] = "no sender process can start",
};

const char *local_fault_text(enum local_fault fault)
{
	return fault_texts[fault];
}

void frame_put_unfit(struct byte_writer *w, const char *reason)
{
	put_text(w, reason);
}

bool frame_get_unfit(struct byte_reader *r, char reason[static UNFIT_SIZE])
{
	size_t len;
	const char *text = get_string(r, &len);

	if (len >= UNFIT_SIZE)
		return false;
	text_clean_bytes(text, len, reason);
	return reader_is_done(r);
}

size_t frame_outcome_size(const struct sender_outcome *o)
{
	return 64 + strlen(o->retry_after) + o->message_len + o->response_len;
}

void frame_put_outcome(struct byte_writer *w, const struct sender_outcome *o)
{
	put_u64(w, o->slot);
	put_u8(w, (uint8_t)o->fault);
	put_u8(w, (uint8_t)o->result);
	put_u16(w, o->http_status);
	put_u32(w, o->duration_us);
	put_u8(w, o->peer.family);
	put_bytes(w, o->peer.bytes, sizeof(o->peer.bytes));
	put_u16(w, o->peer.port);
	put_text(w, o->retry_after);
	put_string(w, o->message, o->message_len);
	put_string(w, o->response, o->response_len);
}

/* Does it say one thing? A status goes with an answer, an answer with no fault. */
static bool is_consistent(const struct sender_outcome *o)
{
	if (o->fault >= N_LOCAL_FAULTS ||
		(o->peer.family != 0 && o->peer.family != 4 && o->peer.family != 6))
		return false;
	if (o->fault)
		return o->result == RESULT_NONE && o->http_status == 0;
	if (o->result == RESULT_OK)
		return o->http_status / 100 == 2;
	if (o->result == RESULT_STATUS)
		return o->http_status >= 300 && o->http_status <= 999;
	return o->result > RESULT_NONE && o->result < N_ATTEMPT_RESULTS && o->http_status == 0;
}

bool frame_get_outcome(struct byte_reader *r, struct sender_outcome *o)
{
	char message[ATTEMPT_MESSAGE_MAX + 1];
	const uint8_t *bytes;
	const char *text;
	size_t len;

	memset(o, 0, sizeof(*o));
	o->slot = get_u64(r);
	o->fault = get_u8(r);
	o->result = get_u8(r);
	o->http_status = get_u16(r);
	o->duration_us = get_u32(r);
	o->peer.family = get_u8(r);
	bytes = get_bytes(r, sizeof(o->peer.bytes));
	if (bytes)
		memcpy(o->peer.bytes, bytes, sizeof(o->peer.bytes));
	o->peer.port = get_u16(r);
	get_text(r, o->retry_after, sizeof(o->retry_after));
	text = get_string(r, &len);
	if (len > ATTEMPT_MESSAGE_MAX)
		return false;
	text_clean_bytes(text, len, message);
	o->message_len = (uint16_t)strlen(message);
	memcpy(o->message, message, o->message_len);
	text = get_string(r, &len);
	if (len > ATTEMPT_RESPONSE_MAX)
		return false;
	memcpy(o->response, text, len);
	o->response_len = (uint16_t)len;
	return reader_is_done(r) && is_consistent(o);
}
