/*
 * The service manager and the journal: everything of libsystemd that hookd uses.
 *
 * Without systemd all of it does nothing and says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;

/* One line or several to the service manager: "READY=1", "STATUS=...". */
void service_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often the watchdog wants to hear from us; 0: there is none. */
uint64_t service_watchdog_us(void);

/* A listening socket that was handed in. The name is that of FileDescriptorName=. */
struct service_socket {
	int fd;
	char name[32];
	bool is_unix;
};

/* Returns how many were handed in (up to max), or a negative errno. Afterwards children do not see
 * them. */
int service_sockets(struct service_socket *sockets, size_t max);

/* Is standard error connected to the journal, so that lines belong there with their fields? */
bool service_has_journal(void);
void service_journal(const struct iovec *fields, int n);
