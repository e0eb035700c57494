#include "service.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

void service_notify(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	sd_notify(0, text); /* nobody to hear it is no fault of ours */
}

uint64_t service_watchdog_us(void)
{
	uint64_t interval_us;

	return sd_watchdog_enabled(0, &interval_us) > 0 ? interval_us : 0;
}

int service_sockets(struct service_socket *sockets, size_t max)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	if (n > 0 && (size_t)n > max) {
		for (int i = 0; i < n; i++)
			free(names[i]);
		free(names);
		return -E2BIG;
	}
	for (int i = 0; i < n; i++) {
		sockets[i].fd = SD_LISTEN_FDS_START + i;
		snprintf(sockets[i].name, sizeof(sockets[i].name), "%s", names[i]);
		sockets[i].is_unix = sd_is_socket_unix(sockets[i].fd, SOCK_STREAM, 1, NULL, 0) > 0;
		free(names[i]);
	}
	free(names);
	return n;
}

bool service_has_journal(void)
{
	const char *stream =
		getenv("JOURNAL_STREAM"); /* DEVICE:INODE of what standard error was connected to */
	unsigned long long device, inode;
	struct stat file;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
		fstat(STDERR_FILENO, &file) == 0 && file.st_dev == device && file.st_ino == inode;
}

void service_journal(const struct iovec *fields, int n)
{
	sd_journal_sendv(fields, n); /* a line that is lost cannot be reported either */
}
