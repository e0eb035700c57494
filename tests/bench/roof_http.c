/*
 * The roof over what comes in: libmicrohttpd on a Unix socket, as hookd uses it (epoll, no thread
 * of its own), with a handler that does nothing but read the body and say 202.
 *
 *     roof_http SOCKET
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

static enum MHD_Result answer(void *user, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *body, size_t *body_len, void **request)
{
	static const char text[] = "{\"id\":\"evt_01M814VXJE1ZTVX0T0MA15PRA2\",\"deliveries\":1}\n";
	struct MHD_Response *response;
	enum MHD_Result result;

	(void)user;
	(void)url;
	(void)method;
	(void)version;
	(void)body;
	if (!*request) {
		*request = connection; /* any mark: the head was seen */
		return MHD_YES;
	}
	if (*body_len) {
		*body_len = 0;
		return MHD_YES;
	}
	response =
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
	result = MHD_queue_response(connection, MHD_HTTP_ACCEPTED, response);
	MHD_destroy_response(response);
	return result;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct MHD_Daemon *daemon;

	if (argc != 2) {
		fprintf(stderr, "usage: roof_http SOCKET\n");
		return 1;
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[1]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(fd, 1024) != 0) {
		fprintf(stderr, "roof_http: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_END);
	if (!daemon) {
		fprintf(stderr, "roof_http: libmicrohttpd does not start\n");
		return 1;
	}
	for (;;)
		MHD_run_wait(daemon, 1000);
}
