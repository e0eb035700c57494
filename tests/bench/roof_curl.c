/*
 * The roof over what goes out: libcurl's multi on libevent, as hookd's senders use it, N requests
 * in flight to one receiver, connections reused, and nothing else.
 *
 *     roof_curl URL N SECONDS BYTES [PAUSE_MS]
 *
 * With a pause between requests the machine goes to rest.
 *
 * Prints "REQUESTS_A_SECOND CPU_US P50_US P99_US": CPU, user and system, of this process a request.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <curl/curl.h>
#include <event2/event.h>

static struct event_base *base;
static struct event *timer;
static long pause_ms;
static CURLM *multi;
static struct curl_slist *headers;
static char *payload;
static long payload_len;
static double end_s;
static size_t n_done, n_times, times_size;
static double *times;

static void give_up(const char *what)
{
	fprintf(stderr, "roof_curl: %s\n", what);
	exit(1);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
	(void)bytes;
	(void)user;
	return size * n;
}

static void start(CURL *curl, const char *url)
{
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, payload);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, payload_len);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 15000L);
	if (curl_multi_add_handle(multi, curl) != CURLM_OK)
		give_up("a request does not start");
}

static void on_pause_over(evutil_socket_t fd, short events, void *url)
{
	(void)fd;
	(void)events;
	start(curl_easy_init(), url);
}

/* The same handle at once, or a new one later. */
static void start_next(CURL *curl, char *url)
{
	struct timeval pause = {.tv_sec = pause_ms / 1000, .tv_usec = pause_ms % 1000 * 1000};

	if (pause_ms == 0) {
		start(curl, url);
		return;
	}
	curl_easy_cleanup(curl);
	event_base_once(base, -1, EV_TIMEOUT, on_pause_over, url, &pause);
}

static void note_time(double s)
{
	if (n_times == times_size) {
		times_size = times_size ? 2 * times_size : 65536;
		times = realloc(times, times_size * sizeof(*times));
		if (!times)
			give_up("out of memory");
	}
	times[n_times++] = s;
}

static void collect(char *url)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi, &left))) {
		CURL *curl = message->easy_handle;
		CURLcode result = message->data.result;
		double took;
		long status;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME, &took);
		if (result != CURLE_OK || status / 100 != 2)
			give_up(result == CURLE_OK ? "not a 2xx" : curl_easy_strerror(result));
		n_done++;
		note_time(took);
		curl_multi_remove_handle(multi, curl);
		if (now_s() < end_s)
			start_next(curl, url);
		else
			curl_easy_cleanup(curl);
	}
}

static void act(curl_socket_t fd, int what, void *url)
{
	int running;

	curl_multi_socket_action(multi, fd, what, &running);
	collect(url);
	if (running == 0 && now_s() >= end_s)
		event_base_loopbreak(base);
}

static void on_socket(evutil_socket_t fd, short events, void *url)
{
	act(fd,
		(events & EV_READ ? CURL_CSELECT_IN : 0) |
			(events & EV_WRITE ? CURL_CSELECT_OUT : 0),
		url);
}

static void on_timer(evutil_socket_t fd, short events, void *url)
{
	(void)fd;
	(void)events;
	act(CURL_SOCKET_TIMEOUT, 0, url);
}

static int watch_socket(CURL *curl, curl_socket_t fd, int what, void *url, void *watched)
{
	struct event *event = watched;

	(void)curl;
	if (event)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(base, fd,
			(short)((what & CURL_POLL_IN ? EV_READ : 0) |
				(what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST),
			on_socket, url);
		if (!event || event_add(event, NULL) != 0)
			give_up("no event");
	}
	curl_multi_assign(multi, fd, event);
	return 0;
}

static int set_timer(CURLM *of, long ms, void *url)
{
	struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)of;
	(void)url;
	if (ms < 0)
		event_del(timer);
	else
		event_add(timer, &wait);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double cpu_s(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		(double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	double began, cpu;
	char *url;

	if (argc < 5)
		give_up("usage: roof_curl URL N SECONDS BYTES [PAUSE_MS]");
	url = argv[1];
	payload_len = atol(argv[4]);
	pause_ms = argc > 5 ? atol(argv[5]) : 0;
	payload = malloc((size_t)payload_len + 1);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	base = event_base_new();
	multi = curl_multi_init();
	if (!payload || !base || !multi)
		give_up("out of memory");
	memset(payload, 'x', (size_t)payload_len);
	timer = event_new(base, -1, 0, on_timer, url);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, url);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 1000L);
	began = now_s();
	cpu = cpu_s();
	end_s = began + atof(argv[3]);
	for (int i = 0; i < atoi(argv[2]); i++)
		start(curl_easy_init(), url);
	event_base_dispatch(base);
	qsort(times, n_times, sizeof(*times), compare);
	printf("%.0f %.2f %.1f %.1f\n", (double)n_done / (now_s() - began),
		(cpu_s() - cpu) / (double)n_done * 1e6, times[n_times / 2] * 1e6,
		times[n_times * 99 / 100] * 1e6);
	return 0;
}
