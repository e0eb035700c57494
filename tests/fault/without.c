/*
 * Runs a program on a kernel that lacks a system call: without CALL ERROR PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int call;

	if (argc < 4 || !filter)
		return 2;
	call = seccomp_syscall_resolve_name(argv[1]);
	if (seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)atoi(argv[2])), call, 0) < 0 ||
		seccomp_load(filter) < 0) {
		perror(argv[1]);
		return 2;
	}
	execv(argv[3], argv + 3);
	perror(argv[3]);
	return 2;
}
