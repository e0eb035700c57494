#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <curl/curl.h>

/* hookd's own answers end far below this; what is longer does not come from hookd. */
#define ANSWER_MAX ((size_t)256 << 20)

struct http_client {
	CURL *curl;
	struct sockaddr_un address;
	unsigned timeout_ms;
	int connect_error; /* negative errno of the last connect, 0: none failed */
	char problem[256];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/*
 * Connects blocking: on a Unix socket whose backlog is full a blocking connect waits for its turn,
 * where curl's own non-blocking one would fail at once.
 */
static int connect_socket(struct http_client *client)
{
	struct timeval limit = {client->timeout_ms / 1000, (client->timeout_ms % 1000) * 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		connect(fd, (struct sockaddr *)&client->address, sizeof(client->address)) < 0 ||
		fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		int error = errno == EAGAIN || errno == EINPROGRESS ? ETIMEDOUT : errno;

		close(fd);
		return -error;
	}
	return fd;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_client *client = user;
	int fd = connect_socket(client);

	(void)purpose;
	(void)address;
	client->connect_error = fd < 0 ? fd : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_socket_options(void *user, curl_socket_t fd, curlsocktype purpose)
{
	(void)user;
	(void)fd;
	(void)purpose;
	return CURL_SOCKOPT_ALREADY_CONNECTED;
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
	struct curl_slist *headers, struct http_answer *answer)
{
	CURL *curl = client->curl;
	char url[4096];
	CURLcode failed = CURLE_OK;

	if (snprintf(url, sizeof(url), "http://hookd%s", request->target) >= (int)sizeof(url))
		return false;
	curl_easy_reset(curl);
#define SET(option, value) (failed = failed ? failed : curl_easy_setopt(curl, option, value))
	SET(CURLOPT_URL, url);
	SET(CURLOPT_UNIX_SOCKET_PATH, client->address.sun_path);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, client);
	SET(CURLOPT_SOCKOPTFUNCTION, on_socket_options);
	SET(CURLOPT_PROTOCOLS_STR, "http");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)client->timeout_ms);
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

static int explain_failure(struct http_client *client, CURLcode code)
{
	long sent = 0;

	curl_easy_getinfo(client->curl, CURLINFO_REQUEST_SIZE, &sent);
	if (sent == 0 && client->connect_error) {
		snprintf(client->problem, sizeof(client->problem), "%s: %s",
			client->address.sun_path, strerror(-client->connect_error));
		return client->connect_error;
	}
	if (!client->problem[0])
		snprintf(client->problem, sizeof(client->problem), "%s", curl_easy_strerror(code));
	if (sent == 0 && code == CURLE_OUT_OF_MEMORY)
		return -ENOMEM;
	return sent == 0 && code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : HTTP_BROKEN;
}

int http_exchange(struct http_client *client, const struct http_request *request,
	unsigned timeout_ms, struct http_answer *answer)
{
	struct curl_slist *headers = make_headers(request);
	const char *type = NULL;
	long status = 0;
	CURLcode code;

	*answer = (struct http_answer){0};
	client->problem[0] = '\0';
	client->connect_error = 0;
	client->timeout_ms = timeout_ms;
	if (!headers || !prepare(client, request, headers, answer)) {
		curl_slist_free_all(headers);
		snprintf(client->problem, sizeof(client->problem), "out of memory");
		return -ENOMEM;
	}
	code = curl_easy_perform(client->curl);
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

void http_answer_clear(struct http_answer *answer)
{
	free(answer->content_type);
	free(answer->body);
	*answer = (struct http_answer){0};
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
