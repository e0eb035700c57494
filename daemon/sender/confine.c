#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

__attribute__((format(printf, 2, 3))) static int refuse(char *problem, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, CONFINE_PROBLEM_SIZE, format, arguments);
	va_end(arguments);
	return -1;
}

/* ---- Privileges ---- */

static int drop_privileges(char *problem)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3], none[COUNT(sets)] = {0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refuse(problem, "no_new_privs: %s", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return refuse(problem, "not dumpable: %s", strerror(errno));
	if (syscall(SYS_capget, &head, sets) < 0)
		return refuse(problem, "capabilities: %s", strerror(errno));
	/* Asked first, because hookd.service allows nobody to change them. */
	if (memcmp(sets, none, sizeof(sets)) != 0 && syscall(SYS_capset, &head, none) < 0)
		return refuse(problem, "giving up capabilities: %s", strerror(errno));
	return 0;
}

/* ---- Limits ---- */

/* An attempt with everything at its largest: payload and certificates in its frame, the TLS
 * connection with libcurl's buffers, 300 KiB of headers. And what a sender has anyway. */
#define ATTEMPT_MEMORY ((rlim_t)1 << 20)
#define OWN_MEMORY ((rlim_t)256 << 20)

static int limit(int resource, const char *name, rlim_t most, char *problem)
{
	struct rlimit wanted = {most, most}, there;

	if (getrlimit((__rlimit_resource_t)resource, &there) == 0 && there.rlim_max < most)
		wanted = (struct rlimit){there.rlim_max, there.rlim_max};
	if (setrlimit((__rlimit_resource_t)resource, &wanted) < 0)
		return refuse(problem, "%s: %s", name, strerror(errno));
	return 0;
}

static int set_limits(const struct confine_options *options, char *problem)
{
	if (limit(RLIMIT_CORE, "RLIMIT_CORE", 0, problem) < 0)
		return -1;
#ifndef HOOKD_INSTRUMENTED
	if (limit(RLIMIT_NPROC, "RLIMIT_NPROC", 0, problem) < 0 ||
		limit(RLIMIT_FSIZE, "RLIMIT_FSIZE", 0, problem) < 0 ||
		limit(RLIMIT_DATA, "RLIMIT_DATA",
			OWN_MEMORY + options->max_in_flight * ATTEMPT_MEMORY, problem) < 0)
		return -1;
#else
	(void)options; /* sanitizers map terabytes */
#endif
	return 0;
}

/* ---- Landlock ---- */

/* Younger than the kernel headers of Debian 12. */
#define ACCESS_FS_TRUNCATE (1ULL << 14)
#define ACCESS_FS_IOCTL_DEV (1ULL << 15)
#define ACCESS_NET_BIND_TCP (1ULL << 0)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

#define ACCESS_FS_FIRST (2 * LANDLOCK_ACCESS_FS_MAKE_SYM - 1)

struct ruleset {
	uint64_t fs, net, scoped; /* what is denied */
};

/* What each version of Landlock knows more than the one before. */
static const struct {
	int abi;
	size_t size; /* of the ruleset that it takes */
	struct ruleset denies;
} landlock_versions[] = {
	{1, offsetof(struct ruleset, net), {.fs = ACCESS_FS_FIRST}},
	{2, offsetof(struct ruleset, net), {.fs = LANDLOCK_ACCESS_FS_REFER}},
	{3, offsetof(struct ruleset, net), {.fs = ACCESS_FS_TRUNCATE}},
	{4, offsetof(struct ruleset, scoped), {.net = ACCESS_NET_BIND_TCP}},
	{5, offsetof(struct ruleset, scoped), {.fs = ACCESS_FS_IOCTL_DEV}},
	{6, sizeof(struct ruleset), {.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL}},
};

#ifdef HOOKD_INSTRUMENTED
/* In a build for tests sanitizers read programs and /proc, and coverage counts are written. */
static void make_exceptions(int ruleset)
{
	static const struct {
		const char *path;
		uint64_t access;
	} exceptions[] = {
		{"/proc", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR},
		{"/usr", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR},
		{HOOKD_INSTRUMENTED,
			LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
				LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
				ACCESS_FS_TRUNCATE},
	};

	for (size_t i = 0; i < COUNT(exceptions); i++) {
		struct landlock_path_beneath_attr beneath = {
			exceptions[i].access, open(exceptions[i].path, O_PATH | O_CLOEXEC)};

		syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
		close(beneath.parent_fd);
	}
}
#endif

static int shut_files(bool optional, char *problem)
{
	int abi =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset ruleset = {0};
	size_t size = 0;
	int fd, r;

	if (abi < 0 && optional)
		return 0;
	if (abi < 0)
		return refuse(problem, "Landlock: %s (hookd.conf(5), [senders] landlock)",
			strerror(errno));
	for (size_t i = 0; i < COUNT(landlock_versions) && landlock_versions[i].abi <= abi; i++) {
		ruleset.fs |= landlock_versions[i].denies.fs;
		ruleset.net |= landlock_versions[i].denies.net;
		ruleset.scoped |= landlock_versions[i].denies.scoped;
		size = landlock_versions[i].size;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
	if (fd < 0)
		return refuse(problem, "Landlock: making a ruleset: %s", strerror(errno));
#ifdef HOOKD_INSTRUMENTED
	make_exceptions(fd);
#endif
	r = (int)syscall(SYS_landlock_restrict_self, fd, 0);
	if (r < 0)
		refuse(problem, "Landlock: entering the ruleset: %s", strerror(errno));
	close(fd);
	return r;
}

/* ---- seccomp ---- */

static const int allowed_calls[] = {
	/* the loop */
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(eventfd2),
	SCMP_SYS(pipe2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	/* descriptors that are there */
	SCMP_SYS(_llseek),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	/* sockets; bind for the one that asks for our own addresses */
	SCMP_SYS(bind),
	SCMP_SYS(connect),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockname),
	SCMP_SYS(recv),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(send),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(shutdown),
	/* memory; what is mapped anew is never a program, see below */
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(futex_time64),
	SCMP_SYS(madvise),
	SCMP_SYS(mremap),
	SCMP_SYS(munmap),
	/* time, chance, itself */
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(getrandom),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(time),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(sched_yield),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
#ifdef HOOKD_INSTRUMENTED
	/* sanitizers look for leaks from a process of their own, and coverage counts are written */
	SCMP_SYS(access),
	SCMP_SYS(clone),
	SCMP_SYS(clone3),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(getdents),
	SCMP_SYS(getdents64),
	SCMP_SYS(getppid),
	SCMP_SYS(getrusage),
	SCMP_SYS(ioctl),
	SCMP_SYS(newfstatat),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(prctl),
	SCMP_SYS(prlimit64),
	SCMP_SYS(ptrace),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(uname),
	SCMP_SYS(unlink),
	SCMP_SYS(wait4),
#endif
};

/* No library here calls these, whatever happens: somebody else does. */
static const int fatal_calls[] = {
	/* programs and processes */
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
#ifndef HOOKD_INSTRUMENTED
	SCMP_SYS(clone),
	SCMP_SYS(clone3),
	SCMP_SYS(ptrace),
#endif
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_send_signal),
	SCMP_SYS(process_madvise),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	/* the file system */
	SCMP_SYS(chroot),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fsopen),
	SCMP_SYS(mount),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount),
	SCMP_SYS(name_to_handle_at),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(open_tree),
	SCMP_SYS(pivot_root),
	SCMP_SYS(umount2),
	/* the kernel */
	SCMP_SYS(add_key),
	SCMP_SYS(bpf),
	SCMP_SYS(delete_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(init_module),
	SCMP_SYS(io_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(ioperm),
	SCMP_SYS(iopl),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(personality),
	SCMP_SYS(reboot),
	SCMP_SYS(request_key),
	SCMP_SYS(seccomp),
	SCMP_SYS(userfaultfd),
};

/* Calls that are allowed with certain arguments, up to three. */
struct allowed_form {
	int call;
	struct scmp_arg_cmp arguments[3];
	unsigned n;
};

#define IS(n, value) SCMP_CMP64(n, SCMP_CMP_EQ, (scmp_datum_t)(value))
#define HAS(n, mask, value) \
	SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value))
#define SOCKET_TYPE 0xf /* beside flags */

#define SOCKET(family, type, protocol) \
	{ \
		SCMP_SYS(socket), {IS(0, family), HAS(1, SOCKET_TYPE, type), IS(2, protocol)}, 3 \
	}
#define OPTION(level, name) \
	{ \
		SCMP_SYS(setsockopt), {IS(1, level), IS(2, name)}, 2 \
	}

static const struct allowed_form allowed_forms[] = {
	SOCKET(AF_INET, SOCK_STREAM, 0),
	SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(AF_INET6, SOCK_STREAM, 0),
	SOCKET(AF_INET6, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(AF_INET, SOCK_DGRAM, 0),
	SOCKET(AF_INET, SOCK_DGRAM, IPPROTO_UDP),
	SOCKET(AF_INET6, SOCK_DGRAM, 0),
	SOCKET(AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
	/* getifaddrs(3); protocol 0 is NETLINK_ROUTE, which without privileges can be read only */
	SOCKET(AF_NETLINK, SOCK_RAW, 0),
	OPTION(IPPROTO_TCP, TCP_NODELAY),
	OPTION(SOL_SOCKET, SO_KEEPALIVE),
	{SCMP_SYS(getsockopt), {IS(1, SOL_SOCKET), IS(2, SO_ERROR)}, 2},
	{SCMP_SYS(mmap), {HAS(2, PROT_EXEC, 0)}, 1},
	{SCMP_SYS(mprotect), {HAS(2, PROT_EXEC, 0)}, 1},
#ifndef HOOKD_INSTRUMENTED
	/* not F_SETOWN, by which others can be sent signals */
	{SCMP_SYS(fcntl), {IS(1, F_GETFD)}, 1},
	{SCMP_SYS(fcntl), {IS(1, F_SETFD)}, 1},
	{SCMP_SYS(fcntl), {IS(1, F_GETFL)}, 1},
	{SCMP_SYS(fcntl), {IS(1, F_SETFL)}, 1},
	{SCMP_SYS(ioctl), {IS(1, FIONBIO)}, 1},
	{SCMP_SYS(ioctl), {IS(1, FIONREAD)}, 1},
#endif
};

static int fill_filter(scmp_filter_ctx filter)
{
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	for (size_t i = 0; r == 0 && i < COUNT(allowed_calls); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < COUNT(fatal_calls); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_KILL_PROCESS, fatal_calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < COUNT(allowed_forms); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_forms[i].call,
			allowed_forms[i].n, allowed_forms[i].arguments);
	if (r == 0) /* abort(3) */
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, IS(0, getpid()));
	return r;
}

static int filter_calls(char *problem)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? fill_filter(filter) : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? refuse(problem, "seccomp: %s", strerror(-r)) : 0;
}

/* ---- All of it ---- */

/* What hookd writes on is not for a sender to write on. */
static int leave_terminal(char *problem)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return refuse(problem, "/dev/null: %s", strerror(errno));
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
#ifndef HOOKD_INSTRUMENTED /* where sanitizers complain */
	dup2(fd, STDERR_FILENO);
#endif
	close(fd);
	return 0;
}

int confine(const struct confine_options *options, char problem[static CONFINE_PROBLEM_SIZE])
{
	if (leave_terminal(problem) < 0 || drop_privileges(problem) < 0 ||
		set_limits(options, problem) < 0 ||
		shut_files(options->landlock_optional, problem) < 0)
		return -1;
	return filter_calls(problem); /* the last, because it ends the means of the others */
}
