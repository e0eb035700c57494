#include "receiver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../lib/hookd.h"
#include "../lib/text.h"
#include "buffer.h"
#include "say.h"

#define BODY_MAX ((size_t)64 << 20)
#define TOLERANCE_S 300
#define BACKLOG 128
#define STATUS_FAILING 503

struct receiver {
	const struct receiver_options *options;
	struct MHD_Daemon *daemon;
	int listening; /* -1: the library's */
	int stop; /* an eventfd that becomes readable when all waiting ends */
	pthread_mutex_t mutex;
	int64_t n_requests; /* guarded by mutex */
};

/* A request on its way in. */
struct incoming {
	struct buffer body;
	bool too_large;
};

/* ---- Verifying ---- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static const char *verify(
	const struct receiver *r, struct MHD_Connection *connection, const struct buffer *body)
{
	struct hookd_webhook_headers headers = {.id = header(connection, "webhook-id"),
		.timestamp = header(connection, "webhook-timestamp"),
		.signature = header(connection, "webhook-signature")};
	int verdict;

	if (r->options->n_secrets == 0)
		return "signature not checked (no --secret-file)";
	verdict = hookd_verify(r->options->secrets, r->options->n_secrets, &headers,
		body->at ? body->at : "", body->len, time(NULL), TOLERANCE_S);
	switch (verdict) {
	case HOOKD_VERIFIED:
		return "signature verified";
	case HOOKD_BAD_SIGNATURE:
		return "signature WRONG";
	case HOOKD_TOO_OLD:
		return "signature TOO OLD";
	case HOOKD_TOO_NEW:
		return "signature FROM THE FUTURE";
	case HOOKD_MALFORMED_HEADERS:
		return "signature MISSING";
	default:
		return "signature not checked (out of memory)";
	}
}

/* ---- Answering ---- */

/* Waits; until the receiver stops or the sender gives up, at the most. -1: until then. Returns
 * whether it came to that. */
static bool wait_ms(
	const struct receiver *r, struct MHD_Connection *connection, int64_t milliseconds)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd fds[] = {{.fd = r->stop, .events = POLLIN},
		{.fd = info ? info->connect_fd : -1, .events = POLLRDHUP}};

	return poll(fds, 2, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds) != 0;
}

static unsigned choose_status(struct receiver *r, const struct incoming *in, const char *method)
{
	int64_t number;

	pthread_mutex_lock(&r->mutex);
	number = r->n_requests++;
	pthread_mutex_unlock(&r->mutex);
	if (strcmp(method, "POST") != 0)
		return MHD_HTTP_METHOD_NOT_ALLOWED;
	if (in->too_large)
		return MHD_HTTP_CONTENT_TOO_LARGE;
	return number < r->options->n_failing ? STATUS_FAILING : r->options->status;
}

/* "order.paid  evt_...  84 bytes  signature verified  answered 200". One call, one line. */
static void print_request(struct MHD_Connection *connection, const struct incoming *in,
	const char *verdict, const char *method, const char *answered)
{
	const char *type = header(connection, "webhook-event"),
		   *id = header(connection, "webhook-id");

	if (strcmp(method, "POST") != 0)
		print_line("%.16s  not a webhook  %s", method, answered);
	else
		print_line("%.160s  %.160s  %zu bytes  %s  %s", type ? type : "-", id ? id : "-",
			in->body.len, verdict, answered);
	if (ferror(stdout)) /* nobody watches any more: main takes the signal */
		kill(getpid(), SIGTERM);
}

static enum MHD_Result send_status(struct MHD_Connection *connection, unsigned status)
{
	static char text[] = "answered by hookctl listen\n";
	bool bodiless = status == MHD_HTTP_NO_CONTENT || status == MHD_HTTP_NOT_MODIFIED;
	struct MHD_Response *response = MHD_create_response_from_buffer(
		bodiless ? 0 : sizeof(text) - 1, text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain");
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result answer(struct receiver *r, struct MHD_Connection *connection,
	const struct incoming *in, const char *method)
{
	const struct receiver_options *o = r->options;
	const char *verdict = verify(r, connection, &in->body);
	unsigned status = choose_status(r, in, method);
	char answered[64];

	if (o->stall) {
		print_request(connection, in, verdict, method, "not answered");
		wait_ms(r, connection, -1);
		return MHD_NO;
	}
	if (o->delay_s && wait_ms(r, connection, o->delay_s * 1000)) {
		print_request(connection, in, verdict, method, "not answered");
		return MHD_NO;
	}
	if (o->delay_s)
		snprintf(answered, sizeof(answered), "answered %u after %llds", status,
			(long long)o->delay_s);
	else
		snprintf(answered, sizeof(answered), "answered %u", status);
	print_request(connection, in, verdict, method, answered);
	return send_status(connection, status);
}

/* ---- What the library calls ---- */

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *bytes, size_t *n_bytes, void **context)
{
	struct incoming *in = *context;

	(void)url;
	(void)version;
	if (!in) {
		in = must_malloc(sizeof(*in));
		*in = (struct incoming){.too_large = false};
		*context = in;
		return MHD_YES;
	}
	if (*n_bytes == 0)
		return answer(user, connection, in, method);
	if (in->body.len + *n_bytes > BODY_MAX)
		in->too_large = true;
	else
		buffer_append(&in->body, bytes, *n_bytes);
	*n_bytes = 0;
	return MHD_YES;
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
	enum MHD_RequestTerminationCode how)
{
	struct incoming *in = *context;

	(void)user;
	(void)connection;
	(void)how;
	if (!in)
		return;
	buffer_free(&in->body);
	free(in);
	*context = NULL;
}

/* Trouble with single connections is the sender's to tell. */
__attribute__((format(printf, 2, 0))) static void on_library_words(
	void *user, const char *format, va_list arguments)
{
	(void)user;
	(void)format;
	(void)arguments;
}

/* ---- Life ---- */

static int listen_at(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* or the bind says why not */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	*port = ntohs(address.sin_port);
	return fd;
}

int receiver_new(struct receiver **receiver, uint16_t *port)
{
	struct receiver *r;
	int fd = listen_at(port), stop = eventfd(0, EFD_CLOEXEC);

	if (fd < 0 || stop < 0) {
		if (stop >= 0)
			close(stop);
		return fd == -EADDRINUSE
			? fail("port %u is in use; give another one: hookctl listen PORT", *port)
			: fail("cannot listen at 127.0.0.1:%u: %s", *port,
				  strerror(fd < 0 ? -fd : errno));
	}
	r = must_malloc(sizeof(*r));
	*r = (struct receiver){.listening = fd, .stop = stop};
	pthread_mutex_init(&r->mutex, NULL);
	*receiver = r;
	return 0;
}

int receiver_start(struct receiver *r, const struct receiver_options *options)
{
	r->options = options;
	r->daemon =
		MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
				MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG,
			0, NULL, NULL, on_request, r, MHD_OPTION_EXTERNAL_LOGGER, on_library_words,
			NULL, MHD_OPTION_LISTEN_SOCKET, r->listening, MHD_OPTION_NOTIFY_COMPLETED,
			on_completed, NULL, MHD_OPTION_END);
	if (!r->daemon)
		return fail("the receiver could not be started: %s", strerror(errno));
	r->listening = -1;
	return 0;
}

void receiver_free(struct receiver *r)
{
	if (!r)
		return;
	if (eventfd_write(r->stop, 1) == 0 && r->daemon)
		MHD_stop_daemon(r->daemon);
	if (r->listening >= 0)
		close(r->listening);
	close(r->stop);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}
