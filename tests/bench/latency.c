/*
 * How long an event takes from its submit to its receiver: both ends in one program, with one
 * clock.
 *
 *     latency SOCKET EVENTS_A_SECOND SECONDS GOOD BAD
 *
 * It listens on three ports of 127.0.0.1 and prints them: one that answers 204 at once; one that
 * answers after ten seconds; and one that is dead, where a connection is never made. When a line
 * comes on its standard input it submits events of 1 KiB, at that rate whatever becomes of them:
 * type good0 to good(GOOD-1) in turn, and one in ten of type bad0 to bad(BAD-1). Who subscribes
 * them to which port decides what is tried.
 *
 * Prints one line of JSON: events that were submitted, requests that came to the first port, and
 * the microseconds between the sending of the one and the coming of the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
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

#define PRODUCERS 32
#define PAYLOAD 1024
#define SLOW_NS 10000000000
#define GRACE_NS 3000000000 /* for what is under way at the end */

enum role { LISTENER, SLOW_LISTENER, PRODUCER, RECEIVER, SLOW_RECEIVER };

struct peer {
	enum role role;
	int fd;
	bool waits; /* a producer for its answer */
	size_t len;
	char bytes[8192];
	int64_t answer_ns; /* when a slow receiver answers; 0: it has nothing to */
	struct peer *next; /* slow receivers */
};

static int poll_fd;
static struct peer producers[PRODUCERS], *slow;
static uint32_t *took_us;
static size_t n_sent, n_good, n_bad, n_received, n_skipped, took_size;

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "latency: %s: %s\n", what, why);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void watch(struct peer *peer)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0)
		give_up("epoll", strerror(errno));
}

static int listen_on(struct sockaddr_in *address, int backlog)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*address = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(*address)) != 0 ||
		listen(fd, backlog) != 0 || getsockname(fd, (struct sockaddr *)address, &len) != 0)
		give_up("listen", strerror(errno));
	return fd;
}

static unsigned add_listener(enum role role)
{
	static struct peer listeners[2];
	struct peer *peer = &listeners[role == SLOW_LISTENER];
	struct sockaddr_in address;

	peer->role = role;
	peer->fd = listen_on(&address, 4096);
	watch(peer);
	return ntohs(address.sin_port);
}

/* Its queue is full of connections that nobody takes: what comes now is dropped, like by a
 * firewall. */
static unsigned add_dead_port(void)
{
	struct sockaddr_in address;
	int listener = listen_on(&address, 0);

	if (listener < 0)
		give_up("listen", strerror(errno));
	for (int i = 0; i < 8; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		struct pollfd made = {.fd = fd, .events = POLLOUT};

		connect(fd, (struct sockaddr *)&address, sizeof(address));
		if (poll(&made, 1, 200) == 0)
			return ntohs(address.sin_port);
	}
	give_up("dead port", "its queue does not get full");
	return 0;
}

/* ---- Producers ---- */

static void submit(struct peer *producer, const char *type)
{
	char data[PAYLOAD + 1], body[PAYLOAD + 128], request[sizeof(body) + 256];
	int len;

	memset(data, 'x', PAYLOAD);
	data[PAYLOAD] = 0;
	len = snprintf(body, sizeof(body),
		"{\"type\":\"%s\",\"data\":{\"sent\":\"%020lld\",\"pad\":\"%.*s\"}}", type,
		(long long)now_ns(), PAYLOAD - 46, data);
	len = snprintf(request, sizeof(request),
		"POST /v1/events HTTP/1.1\r\nHost: hookd\r\nContent-Type: application/json\r\n"
		"Content-Length: %d\r\n\r\n%s",
		len, body);
	if (send(producer->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		give_up("submit", strerror(errno));
	producer->waits = true;
	producer->len = 0;
	n_sent++;
}

static void submit_next(void)
{
	char type[32];

	for (size_t i = 0; i < PRODUCERS; i++) {
		if (producers[i].waits)
			continue;
		if (n_bad && n_sent % 10 == 9)
			snprintf(type, sizeof(type), "bad%zu", n_sent / 10 % n_bad);
		else
			snprintf(type, sizeof(type), "good%zu", n_sent % n_good);
		submit(&producers[i], type);
		return;
	}
	n_skipped++;
}

static void add_producers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (size_t i = 0; i < PRODUCERS; i++) {
		producers[i].role = PRODUCER;
		producers[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(producers[i].fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			give_up(path, strerror(errno));
		watch(&producers[i]);
	}
}

static void on_confirmed(struct peer *producer)
{
	if (!memmem(producer->bytes, producer->len, "\r\n\r\n", 4))
		return;
	if (memcmp(producer->bytes, "HTTP/1.1 202", 12) != 0)
		give_up("submit", producer->bytes);
	/* The body is in the same packet: a Unix socket keeps what was written at once together. */
	producer->waits = false;
}

/* ---- Receivers ---- */

static void note_time(int64_t ns)
{
	if (n_received == took_size) {
		took_size = took_size ? 2 * took_size : 65536;
		took_us = realloc(took_us, took_size * sizeof(*took_us));
		if (!took_us)
			give_up("times", "out of memory");
	}
	took_us[n_received++] = (uint32_t)(ns / 1000);
}

static void answer(struct peer *receiver)
{
	static const char text[] = "HTTP/1.1 204 No Content\r\n\r\n";

	receiver->answer_ns = 0;
	receiver->len = 0;
	if (send(receiver->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		shutdown(receiver->fd, SHUT_RDWR); /* its end is met when it is read */
}

static void on_request(struct peer *receiver, int64_t now)
{
	char *head = memmem(receiver->bytes, receiver->len, "\r\n\r\n", 4), *field, *sent;

	if (!head)
		return;
	receiver->bytes[receiver->len] = 0;
	field = strcasestr(receiver->bytes, "Content-Length: ");
	if (!field || field > head ||
		receiver->len <
			(size_t)(head + 4 - receiver->bytes) + strtoul(field + 16, NULL, 10))
		return;
	if (receiver->role == SLOW_RECEIVER) {
		if (!receiver->answer_ns)
			receiver->answer_ns = now + SLOW_NS;
		return;
	}
	sent = strstr(head, "\"sent\":\"");
	if (!sent)
		give_up("request", receiver->bytes);
	note_time(now - strtoll(sent + 8, NULL, 10));
	answer(receiver);
}

static void accept_all(struct peer *listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct peer *peer = calloc(1, sizeof(*peer));

		if (!peer)
			give_up("connection", "out of memory");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		peer->fd = fd;
		peer->role = listener->role == LISTENER ? RECEIVER : SLOW_RECEIVER;
		if (peer->role == SLOW_RECEIVER) {
			peer->next = slow;
			slow = peer;
		}
		watch(peer);
	}
}

static void forget(struct peer *peer)
{
	if (peer->role == PRODUCER)
		give_up("submit", "the connection was closed");
	close(peer->fd);
	if (peer->role == RECEIVER)
		free(peer);
	else
		peer->fd = -1; /* it stays in the list */
}

static void on_readable(struct peer *peer, int64_t now)
{
	ssize_t n = recv(peer->fd, peer->bytes + peer->len, sizeof(peer->bytes) - 1 - peer->len, 0);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			forget(peer);
		return;
	}
	peer->len += (size_t)n;
	if (peer->role == PRODUCER)
		on_confirmed(peer);
	else
		on_request(peer, now);
}

static void answer_slow(int64_t now)
{
	for (struct peer *peer = slow; peer; peer = peer->next) {
		if (peer->fd >= 0 && peer->answer_ns && peer->answer_ns <= now)
			answer(peer);
	}
}

/* ---- The command ---- */

static void serve(int timeout_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(poll_fd, events, 256, timeout_ms);
	int64_t now = now_ns();

	for (int i = 0; i < n; i++) {
		struct peer *peer = events[i].data.ptr;

		if (peer->role == LISTENER || peer->role == SLOW_LISTENER)
			accept_all(peer);
		else
			on_readable(peer, now);
	}
}

static void run(double rate, double seconds)
{
	int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9), now = start;
	size_t n_due = 0;

	for (; now < end + GRACE_NS; now = now_ns()) {
		while (now < end && (double)(now - start) / 1e9 * rate > (double)n_due) {
			submit_next();
			n_due++;
		}
		answer_slow(now);
		serve(rate > 500 || now >= end ? 1 : (int)(500 / rate));
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	unsigned good, late, dead;
	char line[16];

	if (argc != 6)
		give_up("usage", "latency SOCKET EVENTS_A_SECOND SECONDS GOOD BAD");
	n_good = strtoul(argv[4], NULL, 10);
	n_bad = strtoul(argv[5], NULL, 10);
	poll_fd = epoll_create1(0);
	good = add_listener(LISTENER);
	late = add_listener(SLOW_LISTENER);
	dead = add_dead_port();
	add_producers(argv[1]);
	printf("%u %u %u\n", good, late, dead);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		give_up("start", "nobody says that it may");
	run(atof(argv[2]), atof(argv[3]));
	if (n_received == 0)
		give_up("end", "no request came");
	qsort(took_us, n_received, sizeof(*took_us), compare);
	printf("{\"sent\": %zu, \"skipped\": %zu, \"received\": %zu, \"p50_us\": %u, \"p99_us\": %u, "
	       "\"most_us\": %u}\n",
		n_sent, n_skipped, n_received, took_us[n_received / 2],
		took_us[n_received * 99 / 100], took_us[n_received - 1]);
	return 0;
}
