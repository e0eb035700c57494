/*
 * Producers for the benchmarks: connections that each send one request after another, and wait for
 * each answer. All are served by one thread, so that producers take as little as can be of what is
 * measured; hookd and its peers get the same producers, each in its own language.
 *
 *     load -p hookd|http|redis|beanstalkd -a ADDRESS [-c CONNECTIONS] [-s SECONDS | -n EVENTS]
 *          [-b EVENTS_A_REQUEST] [-z BYTES] [-k none|ordered|random] [-t TYPE] [-T TENANT]
 *          [-e N] [-d MS] [-r EVENTS_A_SECOND]
 *
 * ADDRESS is the path of a Unix socket, or a port of 127.0.0.1. http is one POST of the payload,
 * for a server that does nothing with it. Payloads are JSON of exactly so many bytes. With -e the
 * types are TYPE0 to TYPE(N-1) in turn, and with -T so are the tenants. With -d each connection
 * rests for so long between an answer and the next request; with -r as long as all of them together
 * need to keep below that rate.
 *
 * Prints one line of JSON: events that were confirmed, seconds, and how long a request took, in
 * microseconds (median, 99th percentile, most). Anything but a confirmation ends it with status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (256 * 1024)

enum keys { KEYS_NONE, KEYS_ORDERED, KEYS_RANDOM };

static struct {
	const struct protocol *protocol;
	const char *address, *type, *tenant;
	size_t connections, events_max, batch, bytes, types;
	double seconds, rate;
	enum keys keys;
	int64_t rest_ns;
} options = {.type = "bench.event", .connections = 1, .batch = 1, .bytes = 1024, .seconds = 3};

static char *payload;
static size_t n_started, n_confirmed; /* events */
static uint32_t *took_ns;
static size_t n_took, took_size;
static int64_t start_ns, end_ns;
static int poll_fd;
static uint64_t dice = 88172645463325252ULL;

struct buffer {
	char *bytes;
	size_t len, size;
};

struct connection {
	int fd;
	struct buffer request, answer;
	size_t sent, batch;
	int64_t start_ns; /* of the request */
	int64_t resume_ns; /* when it may send the next one; 0: it waits for an answer */
};

/* How a request is written, and how an answer is read: its length, 0 while it is not all there. */
struct protocol {
	const char *name;
	void (*request)(struct buffer *request, size_t batch);
	size_t (*confirmed)(const char *answer, size_t len);
};

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "load: %s: %s\n", what, why);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t roll(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice;
}

/* ---- Requests ---- */

static void append(struct buffer *buffer, const void *bytes, size_t len)
{
	if (buffer->len + len > buffer->size) {
		buffer->size = (buffer->len + len) * 2;
		buffer->bytes = realloc(buffer->bytes, buffer->size);
		if (!buffer->bytes)
			give_up("request", "out of memory");
	}
	memcpy(buffer->bytes + buffer->len, bytes, len);
	buffer->len += len;
}

#define APPEND(buffer, ...) \
	do { \
		char text[512]; \
\
		append(buffer, text, (size_t)snprintf(text, sizeof(text), __VA_ARGS__)); \
	} while (0)

/* Orders, as applications tell of them, until there are so many bytes. */
static char *new_payload(size_t bytes)
{
	char *text = malloc(bytes + 256);
	size_t len = 0;

	if (!text)
		give_up("payload", "out of memory");
	len += (size_t)sprintf(text, "{\"items\":[");
	for (unsigned i = 0; len + 160 < bytes; i++)
		len += (size_t)sprintf(text + len,
			"%s{\"id\":%u,\"name\":\"Caf\\u00e9 %u\",\"price\":%u.50,\"paid\":true,\"tags\":[]}",
			i ? "," : "", i * 7919, i, i % 100);
	len += (size_t)sprintf(text + len, "],\"note\":\"");
	for (; len + 2 < bytes; len++)
		text[len] = (char)('a' + len % 26);
	len += (size_t)sprintf(text + len, "\"}");
	if (len != bytes)
		give_up("payload", "at least 64 bytes are needed");
	return text;
}

static void append_envelope(struct buffer *buffer, size_t n)
{
	APPEND(buffer, "{\"type\":\"%s", options.type);
	if (options.types)
		APPEND(buffer, "%zu", n % options.types);
	APPEND(buffer, "\",");
	if (options.tenant && options.types)
		APPEND(buffer, "\"tenant\":\"%s%zu\",", options.tenant, n % options.types);
	else if (options.tenant)
		APPEND(buffer, "\"tenant\":\"%s\",", options.tenant);
	if (options.keys == KEYS_ORDERED)
		APPEND(buffer, "\"idempotency_key\":\"%016llx%08zx\",", (unsigned long long)end_ns,
			n);
	else if (options.keys == KEYS_RANDOM)
		APPEND(buffer, "\"idempotency_key\":\"%016llx%016llx\",",
			(unsigned long long)roll(), (unsigned long long)roll());
	APPEND(buffer, "\"data\":");
	append(buffer, payload, options.bytes);
	append(buffer, "}\n", 2);
}

static void request_hookd(struct buffer *request, size_t batch)
{
	static struct buffer body;

	body.len = 0;
	for (size_t i = 0; i < batch; i++)
		append_envelope(&body, n_started + i);
	APPEND(request,
		"POST /v1/events HTTP/1.1\r\nHost: hookd\r\nContent-Type: application/%s\r\n"
		"Content-Length: %zu\r\n\r\n",
		options.batch > 1 ? "x-ndjson" : "json", body.len);
	append(request, body.bytes, body.len);
}

static void request_http(struct buffer *request, size_t batch)
{
	(void)batch;
	APPEND(request,
		"POST / HTTP/1.1\r\nHost: hookd\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\n\r\n",
		options.bytes);
	append(request, payload, options.bytes);
}

static void request_redis(struct buffer *request, size_t batch)
{
	(void)batch;
	APPEND(request, "*3\r\n$5\r\nLPUSH\r\n$5\r\nbench\r\n$%zu\r\n", options.bytes);
	append(request, payload, options.bytes);
	append(request, "\r\n", 2);
}

static void request_beanstalkd(struct buffer *request, size_t batch)
{
	(void)batch;
	APPEND(request, "put 0 0 60 %zu\r\n", options.bytes);
	append(request, payload, options.bytes);
	append(request, "\r\n", 2);
}

/* ---- Answers ---- */

static size_t confirmed_http(const char *answer, size_t len)
{
	const char *end = memmem(answer, len, "\r\n\r\n", 4), *field;
	size_t body = 0;

	if (!end)
		return 0;
	field = memmem(answer, len, "Content-Length: ", 16);
	if (field && field < end)
		body = strtoul(field + 16, NULL, 10);
	if (len < (size_t)(end + 4 - answer) + body)
		return 0;
	if (memcmp(answer, "HTTP/1.1 2", 10) != 0)
		give_up("answer", answer);
	return (size_t)(end + 4 - answer) + body;
}

static size_t confirmed_line(const char *answer, size_t len, const char *start)
{
	const char *end = memmem(answer, len, "\r\n", 2);

	if (!end)
		return 0;
	if (strncmp(answer, start, strlen(start)) != 0)
		give_up("answer", answer);
	return (size_t)(end + 2 - answer);
}

static size_t confirmed_redis(const char *answer, size_t len)
{
	return confirmed_line(answer, len, ":");
}

static size_t confirmed_beanstalkd(const char *answer, size_t len)
{
	return confirmed_line(answer, len, "INSERTED ");
}

static const struct protocol protocols[] = {
	{"hookd", request_hookd, confirmed_http},
	{"http", request_http, confirmed_http},
	{"redis", request_redis, confirmed_redis},
	{"beanstalkd", request_beanstalkd, confirmed_beanstalkd},
};

/* ---- Connections ---- */

static int connect_to(const char *address)
{
	struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un unix_socket = {.sun_family = AF_UNIX};
	bool is_path = strchr(address, '/');
	int one = 1, fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	tcp.sin_port = htons((uint16_t)atoi(address));
	snprintf(unix_socket.sun_path, sizeof(unix_socket.sun_path), "%s", address);
	if (fd < 0 ||
		connect(fd, is_path ? (void *)&unix_socket : (void *)&tcp,
			is_path ? sizeof(unix_socket) : sizeof(tcp)) != 0)
		give_up(address, strerror(errno));
	if (!is_path)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		give_up(address, strerror(errno));
	return fd;
}

static void watch(struct connection *c, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (epoll_ctl(poll_fd, how, c->fd, &event) != 0)
		give_up("epoll", strerror(errno));
}

static void flush(struct connection *c)
{
	while (c->sent < c->request.len) {
		ssize_t n = send(
			c->fd, c->request.bytes + c->sent, c->request.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0)
			give_up("send", strerror(errno));
		c->sent += (size_t)n;
	}
}

/* Sends the next request, unless there have been enough. */
static bool send_next(struct connection *c, int64_t now)
{
	size_t batch = options.batch;

	if (options.events_max && options.events_max - n_started < batch)
		batch = options.events_max - n_started;
	if (batch == 0 || (!options.events_max && now >= end_ns))
		return false;
	c->request.len = c->answer.len = c->sent = 0;
	c->batch = batch;
	c->resume_ns = 0;
	options.protocol->request(&c->request, batch);
	n_started += batch;
	c->start_ns = now_ns();
	flush(c);
	return true;
}

static void note_time(int64_t ns)
{
	if (n_took == took_size) {
		took_size = took_size ? 2 * took_size : 65536;
		took_ns = realloc(took_ns, took_size * sizeof(*took_ns));
		if (!took_ns)
			give_up("times", "out of memory");
	}
	took_ns[n_took++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* True when an answer is complete. */
static bool receive(struct connection *c)
{
	ssize_t n = recv(c->fd, c->answer.bytes + c->answer.len, ANSWER_MAX - c->answer.len, 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		give_up("answer", n < 0 ? strerror(errno) : "the connection was closed");
	c->answer.len += (size_t)n;
	c->answer.bytes[c->answer.len] = 0;
	if (!options.protocol->confirmed(c->answer.bytes, c->answer.len))
		return false;
	note_time(now_ns() - c->start_ns);
	n_confirmed += c->batch;
	return true;
}

/* When the next request may go. */
static int64_t next_ns(int64_t now)
{
	int64_t due_ns = start_ns;

	if (options.rate > 0)
		due_ns += (int64_t)((double)n_started / options.rate * 1e9);
	return due_ns > now + options.rest_ns ? due_ns : now + options.rest_ns;
}

/* Serves an event of a connection; false when that has nothing more to do. */
static bool serve(struct connection *c, uint32_t events)
{
	int64_t now;

	if (events & EPOLLOUT) {
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
		flush(c);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || !receive(c))
		return true;
	now = now_ns();
	if (next_ns(now) > now) {
		c->resume_ns = next_ns(now);
		return true;
	}
	return send_next(c, now);
}

static bool rests(void)
{
	return options.rest_ns || options.rate > 0;
}

static int until_next(struct connection *all)
{
	int64_t next = INT64_MAX, now = now_ns();

	if (!rests())
		return -1;
	for (size_t i = 0; i < options.connections; i++) {
		if (all[i].resume_ns && all[i].resume_ns < next)
			next = all[i].resume_ns;
	}
	if (next == INT64_MAX)
		return -1;
	return next < now ? 0 : (int)((next - now) / 1000000 + 1);
}

static void run(struct connection *all)
{
	struct epoll_event events[256];
	size_t n_working = 0;

	for (size_t i = 0; i < options.connections; i++)
		n_working += send_next(&all[i], now_ns());
	while (n_working) {
		int n = epoll_wait(poll_fd, events, 256, until_next(all));

		if (n < 0)
			give_up("epoll", strerror(errno));
		for (int i = 0; i < n; i++)
			n_working -= !serve(events[i].data.ptr, events[i].events);
		for (size_t i = 0; rests() && i < options.connections; i++) {
			if (all[i].resume_ns && all[i].resume_ns <= now_ns()) {
				all[i].resume_ns = 0;
				n_working -= !send_next(&all[i], now_ns());
			}
		}
	}
}

/* ---- The command ---- */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void set_protocol(const char *name)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		if (strcmp(protocols[i].name, name) == 0)
			options.protocol = &protocols[i];
	}
	if (!options.protocol)
		give_up("-p", "hookd, http, redis or beanstalkd was expected");
}

static void set_keys(const char *name)
{
	if (strcmp(name, "ordered") == 0)
		options.keys = KEYS_ORDERED;
	else if (strcmp(name, "random") == 0)
		options.keys = KEYS_RANDOM;
	else if (strcmp(name, "none") != 0)
		give_up("-k", "none, ordered or random was expected");
}

static void set_option(int option, char *value)
{
	switch (option) {
	case 'p':
		set_protocol(value);
		break;
	case 'a':
		options.address = value;
		break;
	case 'c':
		options.connections = strtoul(value, NULL, 10);
		break;
	case 's':
		options.seconds = atof(value);
		break;
	case 'n':
		options.events_max = strtoul(value, NULL, 10);
		break;
	case 'b':
		options.batch = strtoul(value, NULL, 10);
		break;
	case 'z':
		options.bytes = strtoul(value, NULL, 10);
		break;
	case 'k':
		set_keys(value);
		break;
	case 't':
		options.type = value;
		break;
	case 'T':
		options.tenant = value;
		break;
	case 'e':
		options.types = strtoul(value, NULL, 10);
		break;
	case 'r':
		options.rate = atof(value);
		break;
	case 'd':
		options.rest_ns = atoll(value) * 1000000;
		break;
	default:
		give_up("usage", "see the head of load.c");
	}
}

int main(int argc, char **argv)
{
	struct connection *all;
	int option;

	while ((option = getopt(argc, argv, "p:a:c:s:n:b:z:k:t:T:e:d:r:")) != -1)
		set_option(option, optarg);
	if (!options.protocol || !options.address || !options.connections || !options.batch)
		give_up("usage", "-p and -a are needed");
	payload = new_payload(options.bytes);
	poll_fd = epoll_create1(0);
	all = calloc(options.connections, sizeof(*all));
	if (!all || poll_fd < 0)
		give_up("start", strerror(errno));
	for (size_t i = 0; i < options.connections; i++) {
		all[i].fd = connect_to(options.address);
		all[i].answer.bytes = malloc(ANSWER_MAX + 1);
		if (!all[i].answer.bytes)
			give_up("start", "out of memory");
		watch(&all[i], EPOLL_CTL_ADD, EPOLLIN);
	}
	start_ns = now_ns();
	end_ns = start_ns + (int64_t)(options.seconds * 1e9);
	run(all);
	qsort(took_ns, n_took, sizeof(*took_ns), compare);
	printf("{\"events\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
	       "\"most_us\": %.1f}\n",
		n_confirmed, (double)(now_ns() - start_ns) / 1e9, took_ns[n_took / 2] / 1e3,
		took_ns[n_took * 99 / 100] / 1e3, took_ns[n_took - 1] / 1e3);
	return 0;
}
