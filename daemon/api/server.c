/*
 * Connections and requests: libmicrohttpd on the main loop.
 *
 * Connections are accepted here, not by the library, so that they can be counted by user and so
 * that a lack of descriptors makes clients wait instead of making hookd spin. The library's time
 * limit counts inactivity only; the absolute deadlines are ours. It is also lenient about framing:
 * what it shows of the head is checked here before a body is believed, so that no body is ever
 * taken for shorter than it was meant.
 */
#include "api.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "../log.h"
#include "../loop.h"
#include "head.h"
#include "json_memory.h"
#include "request.h"
#include "users.h"

#define CONNECTION_MEMORY BODY_SMALL /* so that a small body is no more than a connection takes */
#define IDLE_S 300 /* a connection may wait so long for its next request */
#define ACCEPT_AT_ONCE 64
#define ACCEPT_PAUSE_S 1
#define REFUSED_MAX 16 /* connections of a user beyond the limit that still get an answer */
#define SMALL_BODY_MAX 1048576
#define DISCARD_MAX ((uint64_t)16 << 20) /* of the body of a request that is refused */
#define LAST_RUNS 8 /* in which the last answers leave, as far as clients read them */
#define FRUITLESS_RUNS_MAX 100
#define STUCK_MS 10

struct connection {
	struct api *api;
	int fd;
	enum role role;
	uint32_t uid, pid;
	bool refused; /* beyond the user's limit: is told so, and closed */
	struct event *deadline;
	struct request *request; /* NULL between two of them */
	struct connection *next, **at;
};

struct listener {
	struct api *api;
	int fd;
	enum role role;
	struct event *readable;
	struct listener *next;
};

struct api {
	struct api_options options;
	struct MHD_Daemon *mhd;
	struct event *mhd_readable, *run, *accept_again;
	struct listener *listeners;
	struct connection *connections;
	unsigned n_connections;
	struct users users;
	struct body_room body_room;
	unsigned n_requests;
	int64_t troubles[N_TROUBLES];
	struct connection *adding; /* while the library takes a connection over */
	bool stopping, resting; /* resting: not accepting for a while */
	bool shows_all; /* of a head: the library */
	unsigned fruitless_runs; /* of the library, in a row */
	void (*idle)(void *user);
	void *idle_user;
};

static void run_soon(struct api *api)
{
	event_active(api->run, EV_TIMEOUT, 0);
}

const struct api_options *api_options(const struct request *rq)
{
	return &rq->api->options;
}

int64_t *api_troubles(const struct request *rq)
{
	return rq->api->troubles;
}

enum role request_role(const struct request *rq)
{
	return rq->connection->role;
}

uint32_t request_uid(const struct request *rq)
{
	return rq->connection->uid;
}

uint32_t request_pid(const struct request *rq)
{
	return rq->connection->pid;
}

const char *request_header(const struct request *rq, const char *name)
{
	return MHD_lookup_connection_value(rq->mhd, MHD_HEADER_KIND, name);
}

/* ---- Deadlines ---- */

static void set_deadline(struct connection *c, int64_t seconds)
{
	struct timeval limit = {seconds, 0};

	loop_add(c->deadline, &limit);
}

/* Head, body or the pause between requests took too long; the library notices that the socket
 * ended. */
static void on_deadline(evutil_socket_t fd, short what, void *user)
{
	struct connection *c = user;

	(void)fd;
	(void)what;
	shutdown(c->fd, SHUT_RDWR);
	run_soon(c->api);
}

/* ---- Answers ---- */

static void tell_when_idle(struct api *api)
{
	if (api->stopping && api->idle && api->n_requests == 0) {
		void (*idle)(void *user) = api->idle;

		api->idle = NULL;
		idle(api->idle_user);
	}
}

/* The response is there; the library takes it when it calls again. */
void answer_with(struct request *rq, unsigned status, struct MHD_Response *response,
	const char *content_type)
{
	struct api *api = rq->api;

	/* Without memory for an answer the connection is closed: "perhaps stored", as for any
	 * broken one. */
	if (response && content_type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	if (response && (api->stopping || rq->connection->refused || rq->close))
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	body_free(&rq->body, &api->body_room);
	rq->response = response;
	rq->status = status;
	rq->state = REQUEST_ANSWERED;
	set_deadline(rq->connection, api->options.config->intake.request_timeout);
	api->options.metrics->api_requests[rq->connection->role][status]++;
	if (rq->suspended) {
		rq->suspended = false;
		MHD_resume_connection(rq->mhd);
		run_soon(api);
	}
}

/* ---- The head ---- */

static enum MHD_Result on_field(
	void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	head_add(user, name, value);
	return MHD_YES;
}

static int check_body_head(struct request *rq, const struct head *head, struct problem *problem)
{
	const struct config *c = rq->api->options.config;

	if (rq->route->body == BODY_INTAKE) {
		rq->body.limit = (size_t)(c->intake.max_batch > c->intake.max_payload
				? c->intake.max_batch
				: c->intake.max_payload);
		rq->body.no_secret = true; /* payloads are none to hookd, and may be large */
	} else {
		rq->body.limit = SMALL_BODY_MAX;
	}
	switch (rq->route->body) {
	case BODY_NONE:
		if (head_has_body(head))
			return problem_set(
				problem, PROBLEM_MALFORMED, NULL, "this request has no body");
		break;
	case BODY_JSON:
	case BODY_INTAKE:
		if (!head->n_lengths && !head->n_codings)
			return problem_set(problem, PROBLEM_LENGTH, NULL,
				"the length of the body has to be stated: Content-Length, or Transfer-Encoding: chunked");
		break;
	case BODY_OPTIONAL_JSON:
		break;
	}
	if (head->length > rq->body.limit)
		return problem_set(problem, PROBLEM_TOO_LARGE, NULL,
			"the body has %llu bytes; at most %zu are taken%s",
			(unsigned long long)head->length, rq->body.limit,
			rq->route->body == BODY_INTAKE ? " ([intake] max_batch)" : "");
	if (head->length == 0)
		return 0;
	return body_reserve(&rq->body, &rq->api->body_room, (size_t)head->length, problem);
}

/* What is decided after the stop began is refused, however early it began to come. */
static int check_stopping(const struct api *api, struct problem *problem)
{
	if (!api->stopping)
		return 0;
	return problem_set(problem, PROBLEM_STOPPING, NULL, "hookd is stopping: try again");
}

static int check(
	struct request *rq, const struct head *head, const char *method, struct problem *problem)
{
	int r;

	if (rq->connection->refused)
		return problem_set(problem, PROBLEM_TOO_MANY, NULL,
			"uid %u has more than %lld connections ([intake] max_connections_per_user)",
			rq->connection->uid,
			(long long)rq->api->options.config->intake.max_connections_per_user);
	if (!rq->target)
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	r = check_stopping(rq->api, problem);
	if (r == 0)
		r = head_check(head, problem);
	if (r == 0)
		r = request_parse_target(rq, problem);
	if (r == 0)
		r = request_route(rq, method, problem);
	return r ? r : check_body_head(rq, head, problem);
}

/*
 * The head is there. A request that is refused by its head alone is answered when its body has come
 * and was thrown away: many clients write all of it before they read, and would only see a broken
 * connection. Returns false when it is answered at once: the framing cannot be trusted, the body is
 * huge, or the client waits for our word.
 */
static bool begin(struct request *rq, const char *method, const char *version)
{
	const union MHD_ConnectionInfo *size =
		MHD_get_connection_info(rq->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	struct problem unused;
	struct head head;

	head_begin(&head, version);
	MHD_get_connection_values(rq->mhd, MHD_HEADER_KIND, on_field, &head);
	head_end(&head, method + size->header_size); /* it begins with the method */
	head.hides &= !rq->api->shows_all;
	rq->close = head_check(&head, &unused) != 0;
	if (check(rq, &head, method, &rq->refusal) == 0)
		return true;
	return head_has_body(&head) && !rq->close && head.length <= DISCARD_MAX &&
		!request_header(rq, MHD_HTTP_HEADER_EXPECT);
}

/* ---- The body ---- */

static void take_body(struct request *rq, const char *bytes, size_t len)
{
	struct body_room *room = &rq->api->body_room;

	if (!rq->refusal.code && body_add(&rq->body, room, bytes, len, &rq->refusal))
		body_free(&rq->body, room);
}

static bool is_json_type(const char *type)
{
	size_t len = strcspn(type ? type : "", "; \t");

	return !type || (len == 16 && strncasecmp(type, "application/json", 16) == 0) ||
		(len == 28 && strncasecmp(type, "application/merge-patch+json", 28) == 0);
}

static int parse_body(struct request *rq, struct problem *problem)
{
	enum body_rule rule = rq->route->body;
	json_error_t error;

	if (rule == BODY_NONE || rule == BODY_INTAKE ||
		(rule == BODY_OPTIONAL_JSON && rq->body.len == 0))
		return 0;
	if (!is_json_type(request_header(rq, "Content-Type")))
		return problem_set(problem, PROBLEM_MEDIA_TYPE, "Content-Type",
			"expected application/json (curl --json)");
	rq->json = json_loadb(
		rq->body.bytes ? rq->body.bytes : "", rq->body.len, JSON_REJECT_DUPLICATES, &error);
	if (!rq->json && json_memory_was_out())
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	if (!rq->json)
		return problem_set(problem, PROBLEM_MALFORMED, NULL,
			"the body is not JSON: %s, at byte %d", error.text, error.position);
	if (!json_is_object(rq->json))
		return problem_set(problem, PROBLEM_MALFORMED, NULL, "expected a JSON object");
	return 0;
}

/* Head and body are there. */
static void work(struct request *rq)
{
	struct problem *problem = &rq->refusal;

	rq->state = REQUEST_WORKING;
	/* What stands in a trailer is not needed; but where it ends cannot be checked as for a
	 * head. */
	rq->close |= MHD_get_connection_values(rq->mhd, MHD_FOOTER_KIND, NULL, NULL) > 0;
	event_del(rq->connection->deadline);
	if (problem->code || check_stopping(rq->api, problem) || parse_body(rq, problem))
		answer_problem(rq, problem);
	else
		rq->route->handle(rq);
	if (rq->state == REQUEST_WORKING) {
		rq->suspended = true;
		MHD_suspend_connection(rq->mhd);
	}
}

/* ---- What the library calls ---- */

static enum MHD_Result queue(struct request *rq)
{
	enum MHD_Result r =
		rq->response ? MHD_queue_response(rq->mhd, rq->status, rq->response) : MHD_NO;

	if (rq->response)
		MHD_destroy_response(rq->response);
	rq->response = NULL;
	return r;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *bytes, size_t *n_bytes, void **context)
{
	struct request *rq = *context;

	(void)user;
	(void)url;
	if (!rq)
		return MHD_NO;
	rq->api->fruitless_runs = 0;
	rq->mhd = mhd;
	switch (rq->state) {
	case REQUEST_NEW:
		rq->state = REQUEST_READING;
		if (begin(rq, method, version))
			return MHD_YES;
		answer_problem(rq, &rq->refusal);
		return queue(rq);
	case REQUEST_READING:
		if (*n_bytes) {
			take_body(rq, bytes, *n_bytes);
			*n_bytes = 0;
			return MHD_YES;
		}
		work(rq);
		return rq->state == REQUEST_ANSWERED ? queue(rq) : MHD_YES;
	case REQUEST_WORKING:
		return MHD_YES;
	case REQUEST_ANSWERED:
		return queue(rq);
	}
	return MHD_NO;
}

static struct connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* The request line has come. */
static void *on_request_line(void *user, const char *uri, struct MHD_Connection *mhd)
{
	struct api *api = user;
	struct connection *c = connection_of(mhd);
	struct request *rq = calloc(1, sizeof(*rq));

	if (!rq || !c) {
		free(rq);
		return NULL;
	}
	api->fruitless_runs = 0;
	rq->api = api;
	rq->connection = c;
	rq->target = strdup(uri);
	c->request = rq;
	api->n_requests++;
	set_deadline(c, api->options.config->intake.request_timeout);
	return rq;
}

static void on_request_completed(
	void *user, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode how)
{
	struct api *api = user;
	struct request *rq = *context;

	(void)mhd;
	(void)how;
	if (!rq)
		return;
	*context = NULL;
	api->fruitless_runs = 0;
	rq->connection->request = NULL;
	set_deadline(rq->connection, IDLE_S);
	if (rq->response)
		MHD_destroy_response(rq->response);
	json_decref(rq->json);
	body_free(&rq->body, &api->body_room);
	free(rq->target);
	free(rq);
	api->n_requests--;
	tell_when_idle(api);
}

static void listen_again(struct api *api);

static void free_connection(struct connection *c)
{
	struct api *api = c->api;

	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	api->n_connections--;
	users_leave(&api->users, c->uid);
	event_free(c->deadline);
	free(c);
	if (api->resting)
		listen_again(api);
}

static void on_connection(void *user, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode what)
{
	struct api *api = user;

	(void)mhd;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = api->adding;
		api->adding = NULL;
	} else if (*context) {
		free_connection(*context);
		*context = NULL;
	}
}

/* Targets are decoded by request.c, which is strict about it. */
static size_t leave_encoded(void *user, struct MHD_Connection *mhd, char *text)
{
	(void)user;
	(void)mhd;
	return strlen(text);
}

/*
 * Without a time limit of its own, the library asks for time only when it has more to do at once.
 * It gets that in the loop's next turn, so that all others have theirs before; and after a moment
 * only when nothing came of the last run. There are connections with which it can never go on, as
 * with a chunk's extension that does not end: it would ask again and again until their deadline.
 */
static void on_run(evutil_socket_t fd, short what, void *user)
{
	struct api *api = user;
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	struct timeval again = {0, 0};

	(void)fd;
	(void)what;
	api->fruitless_runs++;
	MHD_run(api->mhd);
	if (MHD_get_timeout(api->mhd, &timeout_ms) != MHD_YES || timeout_ms != 0)
		return;
	if (api->fruitless_runs > FRUITLESS_RUNS_MAX)
		again.tv_usec = STUCK_MS * 1000;
	loop_add(api->run, &again);
}

/* ---- Accepting ---- */

static void rest(struct api *api)
{
	struct timeval pause = {ACCEPT_PAUSE_S, 0};

	api->resting = true;
	for (struct listener *l = api->listeners; l; l = l->next)
		event_del(l->readable);
	loop_add(api->accept_again, &pause);
}

static void listen_again(struct api *api)
{
	if (api->stopping)
		return;
	api->resting = false;
	event_del(api->accept_again);
	for (struct listener *l = api->listeners; l; l = l->next)
		loop_add(l->readable, NULL);
}

static void on_accept_again(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	listen_again(user);
}

/* Returns NULL without memory, or when the user has so many that there is not even an answer. */
static struct connection *new_connection(struct listener *l, int fd)
{
	struct api *api = l->api;
	const struct config *config = api->options.config;
	struct ucred peer = {.uid = UINT32_MAX};
	socklen_t len = sizeof(peer);
	struct connection *c = calloc(1, sizeof(*c));
	unsigned before, max = (unsigned)config->intake.max_connections_per_user;

	if (!c)
		return NULL;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len); /* fails for TCP: nobody's */
	before = users_connections(&api->users, peer.uid);
	c->deadline = evtimer_new(api->options.base, on_deadline, c);
	if (!c->deadline || before >= max + REFUSED_MAX || !users_enter(&api->users, peer.uid)) {
		if (c->deadline)
			event_free(c->deadline);
		free(c);
		return NULL;
	}
	c->api = api;
	c->fd = fd;
	c->role = l->role;
	c->uid = peer.uid;
	c->pid = (uint32_t)peer.pid;
	c->refused = before >= max;
	c->next = api->connections;
	c->at = &api->connections;
	if (c->next)
		c->next->at = &c->next;
	api->connections = c;
	api->n_connections++;
	set_deadline(c, config->intake.request_timeout);
	return c;
}

static void add_connection(struct listener *l, int fd)
{
	struct api *api = l->api;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct connection *c = new_connection(l, fd);

	if (!c) {
		close(fd);
		return;
	}
	/* On failure it closes the descriptor, and says that the connection ended if it had said it
	 * began. */
	api->adding = c;
	MHD_add_connection(api->mhd, fd, (struct sockaddr *)&address, sizeof(address.sun_family));
	if (api->adding)
		free_connection(c);
	api->adding = NULL;
}

static void on_acceptable(evutil_socket_t listening, short what, void *user)
{
	struct listener *l = user;
	struct api *api = l->api;

	(void)what;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int fd;

		if (api->n_connections >= (unsigned)api->options.config->intake.max_connections) {
			rest(api); /* the others wait in the backlog */
			break;
		}
		/* cppcheck-suppress nullPointer ; nobody wants the address */
		fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				errno == ENOMEM) {
				log_line(LOG_LEVEL_WARNING, LOG_TROUBLE, NULL,
					"cannot accept connections: %s; trying again in %d s",
					strerror(errno), ACCEPT_PAUSE_S);
				rest(api);
			}
			break;
		}
		add_connection(l, fd);
	}
	run_soon(api);
}

unsigned api_connections(const struct request *rq, enum role role)
{
	unsigned n = 0;

	for (const struct connection *c = rq->api->connections; c; c = c->next)
		n += c->role == role;
	return n;
}

int api_listen(struct api *api, int fd, enum role role)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l)
		l->readable =
			event_new(api->options.base, fd, EV_READ | EV_PERSIST, on_acceptable, l);
	if (!l || !l->readable || evutil_make_socket_nonblocking(fd) < 0 ||
		event_add(l->readable, NULL) < 0) {
		if (l && l->readable)
			event_free(l->readable);
		free(l);
		close(fd);
		return -ENOMEM;
	}
	l->api = api;
	l->fd = fd;
	l->role = role;
	l->next = api->listeners;
	api->listeners = l;
	return 0;
}

/* ---- Life ---- */

int api_new(struct api **result, const struct api_options *options)
{
	struct api *api = calloc(1, sizeof(*api));
	const union MHD_DaemonInfo *info;

	if (!api)
		return -ENOMEM;
	json_memory_watch();
	api->options = *options;
	api->shows_all = strverscmp(MHD_get_version(), "0.9.77") >= 0;
	/* The limit of connections is ours to keep; the library's is only a fuse. */
	api->mhd = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, api, MHD_OPTION_NOTIFY_CONNECTION, on_connection, api,
		MHD_OPTION_URI_LOG_CALLBACK, on_request_line, api, MHD_OPTION_NOTIFY_COMPLETED,
		on_request_completed, api, MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, api,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, 100000u, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
		MHD_OPTION_END);
	if (!api->mhd) {
		free(api);
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(api->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	api->run = evtimer_new(options->base, on_run, api);
	api->accept_again = evtimer_new(options->base, on_accept_again, api);
	if (info)
		api->mhd_readable =
			event_new(options->base, info->epoll_fd, EV_READ | EV_PERSIST, on_run, api);
	if (!api->run || !api->accept_again || !api->mhd_readable ||
		event_add(api->mhd_readable, NULL) < 0) {
		api_free(api);
		return -ENOMEM;
	}
	*result = api;
	return 0;
}

void api_reload(struct api *api, const struct config *config)
{
	api->options.config = config;
}

static void stop_listening(struct api *api)
{
	while (api->listeners) {
		struct listener *l = api->listeners;

		api->listeners = l->next;
		event_free(l->readable);
		close(l->fd);
		free(l);
	}
}

void api_stop(struct api *api, void (*idle)(void *user), void *user)
{
	api->stopping = true;
	api->idle = idle;
	api->idle_user = user;
	stop_listening(api);
	tell_when_idle(api);
}

/* Requests that nobody answered, and nobody will: their connections are closed, which says "perhaps
 * done". The library would abort. */
static void end_suspended(struct api *api)
{
	for (struct connection *c = api->connections; c; c = c->next) {
		struct request *rq = c->request;

		if (rq && rq->suspended) {
			rq->suspended = false;
			rq->state = REQUEST_ANSWERED;
			MHD_resume_connection(rq->mhd);
		}
	}
}

void api_free(struct api *api)
{
	if (!api)
		return;
	api->stopping = true;
	api->idle = NULL;
	stop_listening(api);
	end_suspended(api);
	for (int i = 0; i < LAST_RUNS && api->mhd; i++)
		MHD_run(api->mhd);
	if (api->mhd)
		MHD_stop_daemon(api->mhd);
	if (api->mhd_readable)
		event_free(api->mhd_readable);
	if (api->run)
		event_free(api->run);
	if (api->accept_again)
		event_free(api->accept_again);
	users_free(&api->users);
	free(api);
}
