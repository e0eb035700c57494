/*
 * hookd-sender as the simulation has it: a process that reads frames from a real channel, makes
 * attempts that take simulated time, and dies, hangs or lacks something now and then.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* What goes wrong with senders at the moment; changed by actions.c. */
struct worker_troubles {
	unsigned dies_once_in; /* attempts; 0: never */
	unsigned lacks_once_in; /* attempts that meet a local fault */
	bool cannot_start, dies_at_start;
	bool harmless; /* even poison kills nobody */
};
extern struct worker_troubles worker_troubles;

void worker_reset(void);

bool worker_cannot_start(void);
void worker_start(pid_t pid, int fd);
void worker_kill(pid_t pid);

/* One that lives dies or hangs. False: there is none. */
bool worker_kill_any(void);
bool worker_hang_any(void);
