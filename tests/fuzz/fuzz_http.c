/*
 * A client's bytes, as they come, through the real server (libmicrohttpd and server.c) to routes of
 * the target's own. Whatever they are, hookd goes on; and when a handler is given a body, it is the
 * body that the first request says it has: not a byte fewer, not a byte more.
 *
 * The first byte of the input says in how many pieces the others come, and whether the handler
 * answers at once, or later, as one that waits for the store.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../daemon/api/api.h"
#include "../../daemon/api/request.h"
#include "../../daemon/log.h"
#include "fuzz.h"

#define REQUESTS_MAX 64
#define TURNS 8 /* of the loop, in which everything comes to rest */

static struct event_base *base;
static struct metrics metrics;
static struct config config = {.intake = {.max_payload = 2048,
				       .max_batch = 4096,
				       .max_connections = 64,
				       .max_connections_per_user = 32,
				       .request_timeout = 60}};
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len;

/* ---- Routes ---- */

static bool is_late;
static struct request *waiting[REQUESTS_MAX];
static size_t n_waiting;
static int client;
static bool answered;
static char *first_body;
static size_t first_len;

/* Has the client been sent nothing yet? Then this is its first request. */
static bool is_first(void)
{
	int n = 0;

	return !first_body && !answered && ioctl(client, FIONREAD, &n) == 0 && n == 0;
}

static void handle(struct request *rq)
{
	if (is_first()) {
		first_len = rq->body.len;
		first_body = malloc(rq->body.len + 1);
		if (rq->body.len)
			memcpy(first_body, rq->body.bytes, rq->body.len);
	}
	if (is_late && n_waiting < REQUESTS_MAX)
		waiting[n_waiting++] = rq;
	else
		answer_nothing(rq);
}

const struct route routes[] = {
	{"POST", "/v1/events", ROLE_SUBMIT, BODY_INTAKE, "type tenant", handle},
	{"POST", "/v1/pause", ROLE_SUBMIT, BODY_OPTIONAL_JSON, "", handle},
	{"PATCH", "/v1/endpoints/{}", ROLE_SUBMIT, BODY_JSON, "", handle},
	{"GET", "/v1/endpoints/{}", ROLE_SUBMIT, BODY_NONE, "tenant", handle},
};
const size_t n_routes = sizeof(routes) / sizeof(routes[0]);

void log_line(
	int level, enum log_kind kind, const struct log_fields *fields, const char *format, ...)
{
	(void)level;
	(void)kind;
	(void)fields;
	(void)format;
}

/* ---- What the first request says it has ---- */

struct framed {
	bool known; /* is the head so regular that there is no doubt? */
	const uint8_t *at;
	size_t len;
	bool chunked;
};

/* The next line with its CRLF, which must be the only control characters in it. */
static bool next_line(const uint8_t **at, const uint8_t *end, const uint8_t **line, size_t *len)
{
	const uint8_t *stop = memmem(*at, (size_t)(end - *at), "\r\n", 2);

	if (!stop)
		return false;
	*line = *at;
	*len = (size_t)(stop - *at);
	*at = stop + 2;
	for (size_t i = 0; i < *len; i++) {
		if (iscntrl((*line)[i]))
			return false;
	}
	return true;
}

static bool is_field(const uint8_t *line, size_t len, const char *name)
{
	return len > strlen(name) && strncasecmp((const char *)line, name, strlen(name)) == 0 &&
		line[strlen(name)] == ':';
}

static struct framed announced_body(const uint8_t *at, const uint8_t *end)
{
	struct framed body = {.known = true};
	const uint8_t *line;
	size_t len;

	if (!next_line(&at, end, &line, &len) || len == 0)
		return (struct framed){0};
	for (;;) {
		if (!next_line(&at, end, &line, &len))
			return (struct framed){0};
		if (len == 0)
			break;
		if (is_field(line, len, "content-length"))
			body.len =
				strtoull((const char *)line + strlen("content-length:"), NULL, 10);
		body.chunked |= is_field(line, len, "transfer-encoding");
	}
	body.at = at;
	return body;
}

/* RFC 9112 section 7.1; a lone LF may end a line (section 2.2). False: it ends too early, or is not
 * coded so. */
static bool decode_chunks(const uint8_t *at, const uint8_t *end, uint8_t *decoded, size_t *n)
{
	*n = 0;
	for (;;) {
		char digits[17] = "";
		size_t used = 0, size;

		while (at < end && used < 16 && isxdigit(*at))
			digits[used++] = (char)*at++;
		size = strtoull(digits, NULL, 16);
		at = memchr(at, '\n', (size_t)(end - at)); /* behind extensions */
		if (!used || !at)
			return false;
		at++;
		if (size == 0)
			return true;
		if ((size_t)(end - at) <= size)
			return false;
		memcpy(decoded + *n, at, size);
		*n += size;
		at += size;
		if (*at == '\r')
			at++;
		if (at == end || *at++ != '\n')
			return false;
	}
}

static void check_first_body(const uint8_t *sent, size_t size)
{
	struct framed body = announced_body(sent, sent + size);
	uint8_t *decoded;
	size_t n;

	if (!body.known)
		return;
	if (!body.chunked) {
		promise(first_len == body.len);
		promise((size_t)(sent + size - body.at) >= body.len);
		promise(memcmp(first_body, body.at, body.len) == 0);
		return;
	}
	decoded = malloc(size + 1);
	if (decode_chunks(body.at, sent + size, decoded, &n)) {
		promise(first_len == n);
		promise(memcmp(first_body, decoded, n) == 0);
	}
	free(decoded);
}

/* ---- The connection ---- */

static void start_server(void)
{
	struct api_options options = {.config = &config, .metrics = &metrics};
	struct api *api;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	base = event_base_new();
	options.base = base;
	promise(base && fd >= 0 && api_new(&api, &options) == 0);
	/* An abstract address that the kernel chooses. */
	promise(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
	address_len = sizeof(address);
	promise(getsockname(fd, (struct sockaddr *)&address, &address_len) == 0);
	promise(listen(fd, 64) == 0 && api_listen(api, fd, ROLE_ADMIN) == 0);
}

static void turn(void)
{
	for (int i = 0; i < TURNS; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void answer_waiting(void)
{
	while (n_waiting) {
		answer_nothing(waiting[--n_waiting]);
		turn();
	}
}

static bool drain(void)
{
	char answer[4096];
	bool any = false;

	while (recv(client, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		any = true;
	return any;
}

static void converse(const uint8_t *bytes, size_t size, size_t pieces)
{
	size_t step = size / pieces + 1;

	client = socket(AF_UNIX, SOCK_STREAM, 0);
	promise(client >= 0 && connect(client, (struct sockaddr *)&address, address_len) == 0);
	for (size_t at = 0; at < size; at += step) {
		size_t len = size - at < step ? size - at : step;

		/* It may be closed already. */
		if (send(client, bytes + at, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		turn();
		answer_waiting();
		answered |= drain();
	}
	close(client);
	turn();
	answer_waiting();
	turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (!base)
		start_server();
	is_late = data[0] & 1;
	answered = false;
	converse(data + 1, size - 1, (size_t)(data[0] >> 1) % 8 + 1);
	if (first_body)
		check_first_body(data + 1, size - 1);
	free(first_body);
	first_body = NULL;
	return 0;
}
