#include "transfer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "../../lib/http_status.h"
#include "../../lib/text.h"
#include "../loop.h"
#include "../out_of_memory.h"
#include "memory.h"
#include "own_addresses.h"

#define HEADER_BYTES_MAX 65536
/* Of a body, 16 KiB are read at most: what is left of them when the last piece comes is its size.
 */
#define READ_PIECE 4096
#define RESPONSE_BYTES_MAX (16384 - READ_PIECE)
#define IDLE_CONNECTION_S 30L
#define CONNECTION_LIFE_S 300L
#define POOL_MAX 256

struct transfers {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	char user_agent[sizeof("User-Agent: ") + 64];
	X509_STORE *authorities; /* NULL: they could not be read */
	struct socket_watch **watches; /* by descriptor; NULL: not watched */
	size_t n_watches;
	struct transfer_state *pool; /* without a transfer */
	size_t n_pool;
};

/* A handle of curl's and what goes with it. It serves one transfer after the other. */
struct transfer_state {
	struct transfers *transfers;
	struct transfer_state *next; /* in the pool */
	CURL *curl;
	struct transfer *transfer; /* NULL: in the pool */
	/* Lists whose members need no memory of their own. */
	struct curl_slist headers[REQUEST_HEADERS_MAX + 3], connect_to;
	char pin[PEER_TEXT_SIZE + 2];

	/* Of this transfer: */
	const char *refusal;
	unsigned n_begun; /* requests, each on a connection whose peer was checked */
	bool connected; /* a request has begun, and no other connection is being made since */
	bool headers_complete;
	size_t header_bytes, response_bytes;
	int socket_error;
	char error[CURL_ERROR_SIZE];
};

/*
 * A socket on the loop. Between two requests curl does not look at a connection; it is left on the
 * loop nevertheless, as most go on soon, until it is closed or something comes that nobody asked
 * for.
 */
struct socket_watch {
	struct transfers *transfers;
	struct event *event;
	short wanted;
	bool idle;
};

/* ---- curl on the loop ---- */

static void collect_finished(struct transfers *t);

static void act(struct transfers *t, curl_socket_t fd, int what)
{
	int running;

	memory_clear();
	/* What fails of a transfer comes as a message. Without memory for its own affairs curl
	 * forgets sockets. */
	if (curl_multi_socket_action(t->multi, fd, what, &running) == CURLM_OUT_OF_MEMORY)
		out_of_memory("a transfer");
	collect_finished(t);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	act(user, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout_changed(CURLM *multi, long ms, void *user)
{
	struct transfers *t = user;
	struct timeval wait = {ms / 1000, ms % 1000 * 1000};

	(void)multi;
	if (ms < 0)
		event_del(t->timer);
	else
		loop_add(t->timer, &wait);
	return 0;
}

static void unwatch(struct transfers *t, curl_socket_t fd)
{
	struct socket_watch *watch = (size_t)fd < t->n_watches ? t->watches[fd] : NULL;

	if (!watch)
		return;
	event_free(watch->event);
	free(watch);
	t->watches[fd] = NULL;
}

static void on_socket(evutil_socket_t fd, short what, void *user)
{
	struct socket_watch *watch = user;

	if (watch->idle)
		unwatch(watch->transfers, fd);
	else
		act(watch->transfers, fd,
			(what & EV_READ ? CURL_CSELECT_IN : 0) |
				(what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void make_room_for_watch(struct transfers *t, curl_socket_t fd)
{
	size_t size = t->n_watches ? t->n_watches : 256;
	struct socket_watch **grown;

	if ((size_t)fd < t->n_watches)
		return;
	while (size <= (size_t)fd)
		size *= 2;
	grown = realloc(t->watches, size * sizeof(struct socket_watch *));
	if (!grown)
		out_of_memory("a connection");
	memset(grown + t->n_watches, 0, (size - t->n_watches) * sizeof(struct socket_watch *));
	t->watches = grown;
	t->n_watches = size;
}

/* Without memory the sender ends. Told of it, curl would end all transfers, without a word to their
 * receivers. */
static void watch_for(struct transfers *t, curl_socket_t fd, short wanted)
{
	struct socket_watch *watch;

	make_room_for_watch(t, fd);
	watch = t->watches[fd];
	if (watch && watch->wanted == wanted) {
		watch->idle = false;
		return;
	}
	unwatch(t, fd);
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		out_of_memory("a connection");
	*watch = (struct socket_watch){.transfers = t, .wanted = wanted};
	watch->event = event_new(t->base, fd, wanted, on_socket, watch);
	if (!watch->event)
		out_of_memory("a connection");
	loop_add(watch->event, NULL);
	t->watches[fd] = watch;
}

/* Only one whose end on_close_socket() will be told of: curl closes a socket that is not connected
 * yet, which it waits for to be writable, without a word. */
static void leave_idle(struct transfers *t, curl_socket_t fd)
{
	struct socket_watch *watch = (size_t)fd < t->n_watches ? t->watches[fd] : NULL;

	if (watch && watch->wanted == (EV_READ | EV_PERSIST))
		watch->idle = true;
	else
		unwatch(t, fd);
}

static int on_socket_changed(CURL *curl, curl_socket_t fd, int what, void *user, void *socket_user)
{
	struct transfers *t = user;
	short wanted = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
		(what & CURL_POLL_OUT ? EV_WRITE : 0));

	(void)curl;
	(void)socket_user;
	if (what == CURL_POLL_REMOVE) {
		leave_idle(t, fd);
		return 0;
	}
	watch_for(t, fd, wanted);
	return 0;
}

static int on_close_socket(void *user, curl_socket_t fd)
{
	unwatch(user, fd);
	return close(fd);
}

/* ---- Where it goes ---- */

static bool read_sockaddr(const struct sockaddr *address, struct peer *peer)
{
	memset(peer, 0, sizeof(*peer));
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

		peer->family = 4;
		memcpy(peer->bytes, &in->sin_addr, 4);
		peer->port = ntohs(in->sin_port);
		return true;
	}
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;

		peer->family = 6;
		memcpy(peer->bytes, &in->sin6_addr, 16);
		peer->port = ntohs(in->sin6_port);
		return true;
	}
	return false;
}

static bool same_address(const struct peer *a, const struct peer *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

/* Only to the address that was chosen, and only if it still may be used. */
static bool may_use(struct transfer *transfer, const struct peer *peer)
{
	struct transfer_state *s = transfer->state;

	s->refusal = same_address(peer, &transfer->peer) ? transfer->refuses(transfer, peer)
							 : "not the address that was checked";
	return s->refusal == NULL;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer_state *s = user;
	struct peer peer;
	int fd;

	(void)purpose;
	if (!read_sockaddr(&address->addr, &peer) || !may_use(s->transfer, &peer))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0) {
		s->socket_error = errno;
		return CURL_SOCKET_BAD;
	}
	unwatch(s->transfers, fd); /* what had this number before is closed */
	s->connected = false;
	return fd;
}

static int on_before_request(
	void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
	struct transfer_state *s = user;
	struct peer peer = {.port = (uint16_t)peer_port};

	(void)local_ip;
	(void)local_port;
	if (!peer_ip[0]) { /* it was reset meanwhile, and nobody is there to be checked */
		s->socket_error = ECONNRESET;
		return CURL_PREREQFUNC_ABORT;
	}
	if (inet_pton(AF_INET, peer_ip, peer.bytes) == 1)
		peer.family = 4;
	else if (inet_pton(AF_INET6, peer_ip, peer.bytes) == 1)
		peer.family = 6;
	if (!may_use(s->transfer, &peer))
		return CURL_PREREQFUNC_ABORT;
	s->n_begun++;
	s->connected = true;
	return CURL_PREREQFUNC_OK;
}

/* ---- What comes back ---- */

static void note_retry_after(struct transfer *transfer, const char *line, size_t len)
{
	static const char name[] = "retry-after:";
	size_t name_len = sizeof(name) - 1;

	if (len < name_len || strncasecmp(line, name, name_len) != 0)
		return;
	line += name_len;
	len -= name_len;
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (len >= sizeof(transfer->retry_after))
		return;
	text_clean_bytes(line, len, transfer->retry_after);
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
	struct transfer_state *s = user;
	struct transfer *transfer = s->transfer;
	size_t len = size * n;
	long status = 0;

	s->header_bytes += len;
	if (s->header_bytes > HEADER_BYTES_MAX)
		return 0;
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
		transfer->retry_after[0] = '\0'; /* of an interim answer */
	note_retry_after(transfer, line, len);
	if (line[0] == '\r' || line[0] == '\n') {
		curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
		s->headers_complete = status >= 200;
	}
	return len;
}

/* Keeps the start, lets the rest of a moderate answer pass so that the connection can be used
 * again, and cuts a longer one off. */
static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
	struct transfer_state *s = user;
	struct transfer *transfer = s->transfer;
	size_t len = size * n, room = sizeof(transfer->response) - transfer->response_len;

	if (room > len)
		room = len;
	memcpy(transfer->response + transfer->response_len, bytes, room);
	transfer->response_len += room;
	s->response_bytes += len;
	return s->response_bytes > RESPONSE_BYTES_MAX ? 0 : len;
}

/* ---- What it means ---- */

__attribute__((format(printf, 2, 3))) static void say(
	struct transfer *transfer, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(transfer->message, sizeof(transfer->message), format, arguments);
	va_end(arguments);
	text_clean(transfer->message);
}

static void judge_answer(struct transfer *transfer)
{
	long status = 0;

	curl_easy_getinfo(transfer->state->curl, CURLINFO_RESPONSE_CODE, &status);
	transfer->http_status = (uint16_t)status;
	transfer->result = status / 100 == 2 ? RESULT_OK : RESULT_STATUS;
	say(transfer, "%ld %s", status, http_status_name((int)status));
	if (!http_status_name((int)status)[0])
		say(transfer, "%ld", status);
}

static void judge_connect(struct transfer *transfer)
{
	char peer[PEER_TEXT_SIZE];
	long error = 0;

	peer_format(&transfer->peer, peer);
	curl_easy_getinfo(transfer->state->curl, CURLINFO_OS_ERRNO, &error);
	if (transfer->state->socket_error)
		error = transfer->state->socket_error;
	transfer->result = RESULT_CONNECT;
	transfer->another_may_answer = true;
	switch (error) {
	case EMFILE:
	case ENFILE:
		transfer->fault = FAULT_DESCRIPTORS;
		break;
	case ENOBUFS:
	case ENOMEM:
		transfer->fault = FAULT_MEMORY;
		break;
	case EADDRNOTAVAIL:
		if (transfer->peer.family == 4 || has_way_to(&transfer->peer))
			transfer->fault = FAULT_PORTS;
		else
			say(transfer, "no connection to %s: this machine has no IPv6 address",
				peer);
		break;
	case ECONNREFUSED:
		say(transfer, "connection refused by %s", peer);
		break;
	case 0:
		say(transfer, "no connection to %s", peer);
		break;
	default:
		say(transfer, "no connection to %s: %s", peer, strerror((int)error));
		break;
	}
}

static void judge_timeout(struct transfer *transfer)
{
	char peer[PEER_TEXT_SIZE];
	long connections = 0;

	peer_format(&transfer->peer, peer);
	if (transfer->state->connected) {
		transfer->result = RESULT_TIMEOUT; /* the attempt says within what time */
		say(transfer, "timeout");
		return;
	}
	/* The time at which the connection was there is told only when TLS is done, too. */
	curl_easy_getinfo(transfer->state->curl, CURLINFO_NUM_CONNECTS, &connections);
	transfer->result = connections > 0 ? RESULT_TLS : RESULT_CONNECT;
	transfer->another_may_answer = true;
	say(transfer,
		connections > 0 ? "TLS: no handshake with %s in time"
				: "no connection to %s in time",
		peer);
}

/* The connection broke under way. OpenSSL's own errors say "SSL routines": an alert that comes
 * after the handshake, as TLS 1.3 refuses a client, or a record that was damaged. Of what libcurl
 * says, only its first complaint is kept; that it cannot tell the peer of a connection that was
 * reset at once is none that helps. */
static void judge_broken(struct transfer *transfer, CURLcode code)
{
	const char *error = transfer->state->error;

	if (!error[0] || strstr(error, "getpeername"))
		error = curl_easy_strerror(code);
	if (strstr(error, "SSL routines")) {
		transfer->result = RESULT_TLS;
		say(transfer, "TLS: %s", error);
	} else {
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "%s", error);
	}
}

static void judge(struct transfer *transfer, CURLcode code)
{
	struct transfer_state *s = transfer->state;

	transfer->fault = NO_LOCAL_FAULT;
	if (s->headers_complete) {
		judge_answer(transfer); /* even if the rest was cut off */
		return;
	}
	if (s->refusal) {
		transfer->result = RESULT_ADDRESS;
		say(transfer, "refused by the address rules: %s", s->refusal);
		return;
	}
	/* Of two that fail at once, both count: at worst an attempt more is made. */
	if (code != CURLE_OK && memory_was_out()) {
		transfer->fault = FAULT_MEMORY;
		return;
	}
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_ABORTED_BY_CALLBACK: /* by on_before_request() */
		judge_connect(transfer);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		judge_timeout(transfer);
		break;
	case CURLE_OUT_OF_MEMORY: /* which it is not: so libcurl says that a line is too long */
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "the answer's headers are too long");
		break;
	case CURLE_FAILED_INIT:
		transfer->fault = FAULT_MEMORY;
		break;
	case CURLE_SSL_CACERT_BADFILE: /* an endpoint's own never: hookd has read them */
		transfer->fault = FAULT_AUTHORITIES;
		break;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_USE_SSL_FAILED:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_SHUTDOWN_FAILED:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CLIENTCERT:
		transfer->result = RESULT_TLS;
		say(transfer, "TLS: %s", s->error[0] ? s->error : curl_easy_strerror(code));
		break;
	case CURLE_OK: /* libcurl is content with any end of a connection that began to answer */
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "the connection was closed in the middle of the answer's headers");
		break;
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		judge_broken(transfer, code);
		break;
	case CURLE_GOT_NOTHING:
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "the connection was closed without an answer");
		break;
	case CURLE_WRITE_ERROR:
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "more than 64 KiB of headers");
		break;
	default:
		transfer->result = RESULT_PROTOCOL;
		say(transfer, "%s", s->error[0] ? s->error : curl_easy_strerror(code));
		break;
	}
	if (transfer->fault)
		transfer->result = RESULT_NONE;
}

/* ---- Life of a transfer ---- */

static CURLcode on_tls_context(CURL *curl, void *context, void *user)
{
	const struct transfers *t = user;

	(void)curl;
	SSL_CTX_set1_cert_store(context, t->authorities);
	return CURLE_OK;
}

#define SET(option, value) (failed = failed ? failed : curl_easy_setopt(curl, option, value))

/* What is the same for every transfer. */
static bool set_rules(struct transfer_state *s)
{
	CURLcode failed = CURLE_OK;
	CURL *curl = s->curl;

	SET(CURLOPT_PRIVATE, s);
	SET(CURLOPT_ERRORBUFFER, s->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	/* Where to, and nowhere else. */
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, s);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	SET(CURLOPT_CLOSESOCKETDATA, s->transfers); /* the connection outlives this transfer */
	SET(CURLOPT_PREREQFUNCTION, on_before_request);
	SET(CURLOPT_PREREQDATA, s);
	/* What. */
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	/* How long. */
	SET(CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
	SET(CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S);
	/* What comes back. */
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, s);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, s);
	SET(CURLOPT_BUFFERSIZE, (long)READ_PIECE);
	/* TLS. CAPATH has to go: with it libcurl reads all certificates anew for every handshake.
	 */
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_SSL_CTX_DATA, s->transfers);
	return failed == CURLE_OK;
}

/* What is this one's own. All of it is set anew each time, but the CA, which only a handle made as
 * new can have. */
static bool set_request(struct transfer_state *s, const struct transfer *transfer)
{
	struct curl_blob ca = {(void *)transfer->ca.at, transfer->ca.len, CURL_BLOB_COPY};
	CURLcode failed = CURLE_OK;
	CURL *curl = s->curl;

	SET(CURLOPT_URL, transfer->url);
	SET(CURLOPT_PROTOCOLS_STR, transfer->https ? "https" : "http");
	SET(CURLOPT_CONNECT_TO, &s->connect_to);
	SET(CURLOPT_FRESH_CONNECT, 0L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_len);
	SET(CURLOPT_POSTFIELDS, transfer->body_len ? transfer->body : "");
	SET(CURLOPT_HTTPHEADER, s->headers);
	SET(CURLOPT_TIMEOUT_MS, (long)transfer->timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)transfer->connect_timeout_ms);
	if (transfer->ca.len)
		SET(CURLOPT_CAINFO_BLOB, &ca);
	SET(CURLOPT_SSL_CTX_FUNCTION, transfer->ca.len ? NULL : on_tls_context);
	return failed == CURLE_OK;
}
#undef SET

/* Nothing of one customer is left for the next. */
static bool forget_request(struct transfer_state *s)
{
	return curl_easy_setopt(s->curl, CURLOPT_URL, NULL) == CURLE_OK &&
		curl_easy_setopt(s->curl, CURLOPT_CONNECT_TO, NULL) == CURLE_OK &&
		curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, NULL) == CURLE_OK &&
		curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, NULL) == CURLE_OK;
}

static void add_header(struct transfer_state *s, unsigned *n, const char *line)
{
	if (*n)
		s->headers[*n - 1].next = &s->headers[*n];
	s->headers[(*n)++] = (struct curl_slist){(char *)line, NULL};
}

static void make_lists(struct transfer_state *s, const struct transfer *transfer)
{
	unsigned n = 0;

	add_header(s, &n, "Expect:");
	add_header(s, &n, "Accept:");
	add_header(s, &n, s->transfers->user_agent);
	for (unsigned i = 0; i < transfer->n_headers; i++)
		add_header(s, &n, transfer->headers[i]);
	memcpy(s->pin, "::", 2);
	peer_format(&transfer->peer, s->pin + 2);
	s->connect_to = (struct curl_slist){s->pin, NULL};
}

static void free_state(struct transfer_state *s)
{
	curl_easy_cleanup(s->curl);
	free(s);
}

static struct transfer_state *new_state(struct transfers *t)
{
	struct transfer_state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->transfers = t;
	s->curl = curl_easy_init();
	if (s->curl && set_rules(s))
		return s;
	free_state(s);
	return NULL;
}

static struct transfer_state *take_state(struct transfers *t)
{
	struct transfer_state *s = t->pool;

	if (!s)
		return new_state(t);
	t->pool = s->next;
	t->n_pool--;
	return s;
}

/* Nothing but a success at the first try, with the common authorities. */
static bool was_plain(const struct transfer *transfer, CURLcode code)
{
	return code == CURLE_OK && transfer->result == RESULT_OK && transfer->state->n_begun == 1 &&
		!transfer->ca.len;
}

/* After most transfers the handle can go on as it is. Any other is made as new: in what curl
 * remembers of it, retries or a challenge, one customer's trouble might become another's. */
static void release(struct transfer *transfer, CURLcode code)
{
	struct transfer_state *s = transfer->state;
	struct transfers *t = s->transfers;
	bool plain = was_plain(transfer, code), fit;

	curl_multi_remove_handle(t->multi, s->curl);
	transfer->state = NULL;
	s->transfer = NULL;
	if (plain) {
		fit = forget_request(s);
	} else {
		curl_easy_reset(s->curl);
		fit = set_rules(s);
	}
	if (!fit || t->n_pool == POOL_MAX) {
		free_state(s);
		return;
	}
	s->next = t->pool;
	t->pool = s;
	t->n_pool++;
}

/* Did the request meet the end of a connection that was kept from an earlier one? If that is met
 * while reading, curl sends again by itself, though no more than five times; then a clean end is a
 * failure to send for it, and a reset one to receive. */
static bool met_end_of_kept(const struct transfer_state *s, CURLcode code)
{
	long connections = 0;

	if ((code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR) || !s->connected ||
		s->header_bytes > 0 || memory_was_out())
		return false;
	curl_easy_getinfo(s->curl, CURLINFO_NUM_CONNECTS, &connections);
	return connections == 0;
}

/* On a connection of its own, if any of its time is left. */
static bool send_again(struct transfer_state *s)
{
	CURLM *multi = s->transfers->multi;
	curl_off_t spent_us = 0;
	long left_ms;

	curl_easy_getinfo(s->curl, CURLINFO_TOTAL_TIME_T, &spent_us);
	left_ms = (long)s->transfer->timeout_ms - (long)(spent_us / 1000);
	if (left_ms <= 0)
		return false;
	s->error[0] = '\0';
	curl_multi_remove_handle(multi, s->curl);
	if (curl_easy_setopt(s->curl, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK ||
		curl_easy_setopt(s->curl, CURLOPT_TIMEOUT_MS, left_ms) != CURLE_OK ||
		curl_multi_add_handle(multi, s->curl) != CURLM_OK)
		out_of_memory("a transfer");
	return true;
}

static void collect_finished(struct transfers *t)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(t->multi, &left))) {
		struct transfer_state *s = NULL;
		struct transfer *transfer;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&s);
		transfer = s->transfer;
		if (met_end_of_kept(s, code) && send_again(s))
			continue;
		judge(transfer, code);
		release(transfer, code);
		transfer->done(transfer);
	}
}

static void begin(struct transfer_state *s, struct transfer *transfer)
{
	transfer->state = s;
	s->transfer = transfer;
	s->refusal = NULL;
	s->n_begun = 0;
	s->connected = false;
	s->headers_complete = false;
	s->header_bytes = s->response_bytes = 0;
	s->socket_error = 0;
	s->error[0] = '\0';
	make_lists(s, transfer);
}

int transfer_start(struct transfers *t, struct transfer *transfer)
{
	struct transfer_state *s = take_state(t);

	transfer->fault = NO_LOCAL_FAULT;
	transfer->result = RESULT_NONE;
	transfer->http_status = 0;
	transfer->another_may_answer = false;
	transfer->retry_after[0] = transfer->message[0] = '\0';
	transfer->response_len = 0;
	if (!s) {
		transfer->state = NULL;
		return -ENOMEM;
	}
	begin(s, transfer);
	if (!set_request(s, transfer) || curl_multi_add_handle(t->multi, s->curl) != CURLM_OK) {
		release(transfer, CURLE_OUT_OF_MEMORY);
		return -ENOMEM;
	}
	return 0;
}

void transfer_cancel(struct transfer *transfer)
{
	if (transfer->state)
		release(transfer, CURLE_ABORTED_BY_CALLBACK);
}

/* ---- All of them ---- */

/* Read once: a confined process opens no file, and libcurl would read all of them anew for each
 * handshake. The flags are those that libcurl sets. NULL: they cannot be read. */
static X509_STORE *read_authorities(const char *path)
{
	X509_STORE *store = X509_STORE_new();

	if (store &&
		(!X509_STORE_set_flags(
			 store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) ||
			!X509_STORE_load_file(store, path))) {
		X509_STORE_free(store);
		store = NULL;
	}
	ERR_clear_error();
	return store;
}

bool transfers_have_authorities(const struct transfers *t)
{
	return t->authorities != NULL;
}

int transfers_new(struct transfers **transfers, struct event_base *base,
	const struct transfer_options *options)
{
	struct transfers *t = calloc(1, sizeof(*t));
	long connections = (long)options->max_in_flight;

	if (!t)
		return -ENOMEM;
	t->base = base;
	snprintf(t->user_agent, sizeof(t->user_agent), "User-Agent: %s", options->user_agent);
	t->authorities = read_authorities(options->ca_file);
	t->timer = evtimer_new(base, on_timer, t);
	t->multi = curl_multi_init();
	if (!t->timer || !t->multi) {
		transfers_free(t);
		return -ENOMEM;
	}
	curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, on_socket_changed);
	curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
	curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, on_timeout_changed);
	curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
	curl_multi_setopt(t->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, connections);
	/* A fuse only: how many are under way is hookd's decision. */
	curl_multi_setopt(t->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections + 64);
	*transfers = t;
	return 0;
}

void transfers_free(struct transfers *t)
{
	while (t->pool)
		free_state(take_state(t));
	if (t->multi)
		curl_multi_cleanup(t->multi); /* closes what was kept */
	for (size_t i = 0; i < t->n_watches; i++)
		unwatch(t, (curl_socket_t)i);
	free(t->watches);
	if (t->timer)
		event_free(t->timer);
	X509_STORE_free(t->authorities);
	free(t);
}
