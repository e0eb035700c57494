/*
 * What a sender gives up before its first request.
 *
 * Senders read what strangers write: DNS answers, certificates, headers. Should somebody take one
 * over, he finds himself in a process that can compute, speak to hookd through its channel, and
 * make TCP and UDP connections. There is no file, no program, no other process and no way to any,
 * because a sender needs none: resolv.conf, hosts and the certificates were read before, and are
 * read anew by the senders that follow when they change.
 *
 * Several walls stand one behind the other, each for what gets over the one before:
 * - no capabilities, and no way to gain a privilege;
 * - its memory is nobody else's: neither a core nor a debugger of the same user sees it;
 * - limits: no process, no file, not more memory than its attempts can need;
 * - Landlock without any exception: no file of any kind, no TCP port to listen at, no signal and no
 *   abstract socket beyond itself, as far as the kernel knows these;
 * - a seccomp filter that lists what the libraries call. Nothing that takes a path is on it. What a
 *   library may try and do without is refused; what only an intruder would call ends the process.
 *
 * A sender that cannot be confined does not work.
 */
#pragma once

#include <stdbool.h>

#define CONFINE_PROBLEM_SIZE 160

struct confine_options {
	bool landlock_optional; /* go on where the kernel has no Landlock */
	unsigned max_in_flight; /* decides about memory */
};

/* For a process with one thread. Returns 0, or -1 with the reason. */
int confine(const struct confine_options *options, char problem[static CONFINE_PROBLEM_SIZE]);
