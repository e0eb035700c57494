/*
 * A receiver for the benchmark, fast enough not to be what is measured: answers every POST with
 * 204, and GET with how many there were.
 *
 *     receiver THREADS
 *
 * Prints its port, and runs until its standard input ends.
 */
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <microhttpd.h>

static atomic_ulong n_posts;

static enum MHD_Result answer(void *user, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *body, size_t *body_len, void **request)
{
	struct MHD_Response *response;
	enum MHD_Result result;
	char text[32] = "";
	unsigned status = MHD_HTTP_OK;

	(void)user;
	(void)url;
	(void)version;
	(void)body;
	if (!*request) {
		*request = &n_posts; /* any mark: the headers were seen */
		return MHD_YES;
	}
	if (*body_len) {
		*body_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, "POST") == 0) {
		n_posts++;
		status = MHD_HTTP_NO_CONTENT;
	} else {
		snprintf(text, sizeof(text), "%lu\n", n_posts);
	}
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	unsigned n_threads = argc == 2 ? (unsigned)atoi(argv[1]) : 1;
	const union MHD_DaemonInfo *info;
	struct MHD_Daemon *daemon;
	char byte;

	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL,
		MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_THREAD_POOL_SIZE, n_threads,
		MHD_OPTION_CONNECTION_LIMIT, 4000u, MHD_OPTION_END);
	if (!daemon) {
		fprintf(stderr, "receiver: cannot listen\n");
		return 1;
	}
	info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
	printf("%u\n", info ? info->port : 0);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0) {
	}
	MHD_stop_daemon(daemon);
	return 0;
}
