#include "http.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <curl/curl.h>

/* hookd's own answers end far below this; what is longer does not come from hookd. */
#define ANSWER_MAX ((size_t)256 << 20)
#define CONNECT_PAUSE_MS 20

struct http_client {
	CURL *curl;
	struct sockaddr_un address;
	int socket_error; /* errno of socket(2); 0: it did not fail */
	char problem[256];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Has some of the request been taken by a socket? A closed one takes nothing: EPIPE. */
static bool has_left(const struct http_client *client)
{
	long sent = 0;

	curl_easy_getinfo(client->curl, CURLINFO_REQUEST_SIZE, &sent);
	return sent > 0;
}

/*
 * As curl would, but close-on-exec, and not for a repeat: when a kept connection ends before the
 * first byte of an answer, curl takes it for one that had ended before, and sends the request once
 * more, a POST as well. But hookd may have died of it, or after it. A connection that really had
 * ended is noticed earlier: curl looks at it before it takes it, and nothing can be written to it.
 */
static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_client *client = user;
	int fd;

	(void)purpose;
	if (has_left(client))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	client->socket_error = fd < 0 ? errno : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
	struct http_answer *answer = user;
	size_t len = size * n;
	char *grown;

	if (len > ANSWER_MAX - answer->body_len)
		return 0;
	grown = realloc(answer->body, answer->body_len + len + 1);
	if (!grown)
		return 0;
	memcpy(grown + answer->body_len, bytes, len);
	answer->body = grown;
	answer->body_len += len;
	grown[answer->body_len] = '\0';
	return len;
}

int http_client_new(struct http_client **client, const char *path)
{
	struct http_client *c;

	pthread_once(&curl_once, start_curl);
	if (strlen(path) >= sizeof(c->address.sun_path))
		return -ENAMETOOLONG;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->address.sun_family = AF_UNIX;
	memcpy(c->address.sun_path, path, strlen(path) + 1);
	c->curl = curl_easy_init();
	if (!c->curl) {
		free(c);
		return -ENOMEM;
	}
	*client = c;
	return 0;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->curl);
	free(client);
}

const char *http_client_path(const struct http_client *client)
{
	return client->address.sun_path;
}

const char *http_client_problem(const struct http_client *client)
{
	return client->problem;
}

/* Adds "name: value"; a NULL value removes a header of curl's own. Frees the list when memory is
 * out. */
static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
	size_t size = strlen(name) + (value ? strlen(value) : 0) + 3;
	char *line = malloc(size);
	struct curl_slist *grown = NULL;

	if (line) {
		snprintf(line, size, value ? "%s: %s" : "%s:", name, value);
		grown = curl_slist_append(*list, line);
	}
	free(line);
	if (!grown) {
		curl_slist_free_all(*list);
		*list = NULL;
		return false;
	}
	*list = grown;
	return true;
}

static struct curl_slist *make_headers(const struct http_request *request)
{
	struct curl_slist *list = NULL;

	if (!add_header(&list, "Expect", NULL) ||
		!add_header(&list, "Content-Type", request->content_type))
		return NULL;
	if (request->idempotency_key &&
		!add_header(&list, "Idempotency-Key", request->idempotency_key))
		return NULL;
	return list;
}

/* All options are strings, numbers and pointers that cannot fail but for memory: one check at the
 * end. */
static bool prepare(struct http_client *client, const struct http_request *request,
	struct curl_slist *headers, unsigned timeout_ms, struct http_answer *answer)
{
	CURL *curl = client->curl;
	CURLcode failed = CURLE_OK;
	char *url;

	if (asprintf(&url, "http://hookd%s", request->target) < 0)
		return false;
	curl_easy_reset(curl);
#define SET(option, value) (failed = failed ? failed : curl_easy_setopt(curl, option, value))
	SET(CURLOPT_URL, url);
	free(url);
	SET(CURLOPT_UNIX_SOCKET_PATH, client->address.sun_path);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, client);
	SET(CURLOPT_MAXCONNECTS, 1L); /* a second one would serve for a repeat, too */
	SET(CURLOPT_PATH_AS_IS, 1L); /* a name of ".." must not lead to another route */
	SET(CURLOPT_PROTOCOLS_STR, "http");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, answer);
	SET(CURLOPT_ERRORBUFFER, client->problem);
	if (request->body) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS, request->body);
	}
	SET(CURLOPT_CUSTOMREQUEST, request->method);
#undef SET
	return failed == CURLE_OK;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Why there is no connection: an errno; 0: there is or was one. */
static int connect_error(const struct http_client *client, CURLcode code)
{
	long error = 0;

	if (code != CURLE_COULDNT_CONNECT || has_left(client))
		return 0;
	if (client->socket_error)
		return client->socket_error;
	curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &error);
	return error ? (int)error : EAGAIN;
}

/*
 * libcurl connects without waiting, and a Unix socket whose backlog is full then says EAGAIN at
 * once: hookd is busy accepting. It is tried again as long as there is time.
 */
static CURLcode perform(struct http_client *client, unsigned timeout_ms)
{
	int64_t deadline_ms = now_ms() + timeout_ms, left_ms = timeout_ms;
	CURLcode code = curl_easy_perform(client->curl);

	while (connect_error(client, code) == EAGAIN && left_ms > CONNECT_PAUSE_MS) {
		nanosleep(&(struct timespec){.tv_nsec = CONNECT_PAUSE_MS * 1000000}, NULL);
		left_ms = deadline_ms - now_ms();
		if (left_ms < 1)
			break;
		curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
		code = curl_easy_perform(client->curl);
	}
	return code;
}

static int explain_failure(struct http_client *client, CURLcode code)
{
	int error = connect_error(client, code);

	if (error) {
		error = error == EAGAIN ? ETIMEDOUT : error;
		snprintf(client->problem, sizeof(client->problem), "%s: %s",
			client->address.sun_path, strerror(error));
		return -error;
	}
	if (code == CURLE_COULDNT_CONNECT) /* refused by on_open_socket() */
		snprintf(client->problem, sizeof(client->problem),
			"the connection ended before an answer");
	else if (!client->problem[0])
		snprintf(client->problem, sizeof(client->problem), "%s", curl_easy_strerror(code));
	if (has_left(client))
		return HTTP_BROKEN;
	if (code == CURLE_OUT_OF_MEMORY)
		return -ENOMEM;
	return code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : HTTP_BROKEN;
}

static int exchange_once(struct http_client *client, const struct http_request *request,
	unsigned timeout_ms, struct http_answer *answer)
{
	struct curl_slist *headers = make_headers(request);
	const char *type = NULL;
	long status = 0;
	CURLcode code;

	*answer = (struct http_answer){0};
	client->problem[0] = '\0';
	if (!headers || !prepare(client, request, headers, timeout_ms, answer)) {
		curl_slist_free_all(headers);
		snprintf(client->problem, sizeof(client->problem), "out of memory");
		return -ENOMEM;
	}
	code = perform(client, timeout_ms);
	curl_slist_free_all(headers);
	if (code != CURLE_OK) {
		http_answer_clear(answer);
		return explain_failure(client, code);
	}
	curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(client->curl, CURLINFO_CONTENT_TYPE, &type);
	answer->status = (int)status;
	answer->content_type = strdup(type ? type : "");
	if (!answer->body)
		answer->body = calloc(1, 1);
	client->problem[0] = '\0';
	if (!answer->content_type || !answer->body) {
		http_answer_clear(answer);
		snprintf(client->problem, sizeof(client->problem), "out of memory");
		return HTTP_BROKEN;
	}
	return HTTP_DONE;
}

static bool is_get(const struct http_request *request)
{
	return strcmp(request->method, "GET") == 0;
}

/* Was the second one refused for a reason that the first one need not have met? */
static bool is_passing(int status)
{
	return status == 429 || status >= 500;
}

/* What became of the second one is not what became of the first. */
static int doubt(struct http_client *client, const char *second)
{
	snprintf(client->problem, sizeof(client->problem),
		"the connection ended before an answer; at the second try: %s", second);
	return HTTP_BROKEN;
}

static int exchange_again(struct http_client *client, const struct http_request *request,
	unsigned timeout_ms, struct http_answer *answer)
{
	int r = exchange_once(client, request, timeout_ms, answer);
	char status[32];

	if (r < 0)
		return doubt(client, strerror(-r));
	if (r != HTTP_DONE || is_get(request) || !is_passing(answer->status))
		return r;
	snprintf(status, sizeof(status), "HTTP status %d", answer->status);
	http_answer_clear(answer);
	return doubt(client, status);
}

int http_exchange(struct http_client *client, const struct http_request *request,
	unsigned timeout_ms, struct http_answer *answer)
{
	int64_t deadline_ms = now_ms() + timeout_ms, left_ms;
	int r = exchange_once(client, request, timeout_ms, answer);

	left_ms = deadline_ms - now_ms();
	if (r != HTTP_BROKEN || left_ms < 1 || !(is_get(request) || request->is_keyed))
		return r;
	return exchange_again(client, request, (unsigned)left_ms, answer);
}

void http_answer_clear(struct http_answer *answer)
{
	free(answer->content_type);
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

char *http_encode(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0), *copy;

	if (!escaped)
		return NULL;
	copy = strdup(escaped);
	curl_free(escaped);
	return copy;
}
