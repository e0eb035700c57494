/*
 * A sender that somebody has taken over: built from the same sources as hookd-sender, with this in
 * front of attempts_begin(). The path of a request's URL names what it tries once it is confined,
 * the query says at what; how it went is the outcome's message. Nothing of this is in what is
 * installed.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/sender/attempt.h"

#define PATH_MAX_LEN 512
#define CHANNEL_FD 3
#define PROGRAM "/usr/bin/touch"

static char found_at_start[ATTEMPT_MESSAGE_MAX]; /* descriptors, before the first line of main() */

__attribute__((constructor)) static void look_around(void)
{
	size_t used = 0;

	for (int fd = 0; fd < 65536; fd++) {
		char link[64], target[128];
		ssize_t len;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		used += (size_t)snprintf(
			found_at_start + used, sizeof(found_at_start) - used, "%d=%s ", fd, target);
		if (used >= sizeof(found_at_start))
			used = sizeof(found_at_start) - 1;
	}
}

/* ---- Attacks: each returns whether it got through; if not, errno says what stopped it ---- */

typedef bool attack(const char *at);

static bool got(long result)
{
	return result >= 0;
}

/* "PID,ADDRESS" */
static pid_t target_of(const char *at, unsigned long *address)
{
	char *end;
	pid_t pid = (pid_t)strtol(at, &end, 10);

	*address = *end ? strtoul(end + 1, NULL, 16) : 0;
	return pid;
}

static bool read_file(const char *at)
{
	int fd = open(at, O_RDONLY);
	char byte;

	return fd >= 0 && read(fd, &byte, 1) == 1;
}

static bool list_directory(const char *at)
{
	DIR *directory = opendir(at);
	bool listed = directory && readdir(directory);

	if (directory)
		closedir(directory);
	return listed;
}

static bool write_file(const char *at)
{
	int fd = open(at, O_WRONLY | O_CREAT, 0600);

	return fd >= 0 && write(fd, "x", 1) == 1;
}

static bool truncate_file(const char *at)
{
	return truncate(at, 0) == 0;
}

static bool remove_file(const char *at)
{
	return unlink(at) == 0;
}

static bool rename_file(const char *at)
{
	char to[PATH_MAX_LEN];

	snprintf(to, sizeof(to), "%s.renamed", at);
	return rename(at, to) == 0;
}

static bool make_directory(const char *at)
{
	return mkdir(at, 0700) == 0;
}

static bool change_mode(const char *at)
{
	return chmod(at, 0666) == 0;
}

static bool look_at_file(const char *at)
{
	struct stat status;

	return stat(at, &status) == 0;
}

static bool read_link(const char *at)
{
	char to[PATH_MAX_LEN];

	return got(readlink(at, to, sizeof(to)));
}

static bool watch_file(const char *at)
{
	(void)at;
	return got(syscall(SYS_inotify_init1, 0));
}

static bool load_library(const char *at)
{
	errno = EACCES; /* dlopen(3) keeps the error to itself */
	return dlopen(at, RTLD_NOW) != NULL;
}

/* The program makes a file. The channel stays open until it has, for hookd ends a sender without.
 */
static bool execute(const char *at)
{
	fcntl(CHANNEL_FD, F_SETFD, 0);
	execl(PROGRAM, PROGRAM, at, NULL);
	return false;
}

static bool execute_memory(const char *at)
{
	int from = open(PROGRAM, O_RDONLY), fd = memfd_create("program", 0);
	char bytes[65536];
	ssize_t n;

	while (from >= 0 && (n = read(from, bytes, sizeof(bytes))) > 0 &&
		write(fd, bytes, (size_t)n) == n)
		;
	fcntl(CHANNEL_FD, F_SETFD, 0);
	syscall(SYS_execveat, fd, "", ((const char *[]){PROGRAM, at, NULL}), NULL, AT_EMPTY_PATH);
	return false;
}

static bool end_child(pid_t pid)
{
	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool make_process(const char *at)
{
	(void)at;
	return end_child(fork());
}

static bool make_process_directly(const char *at)
{
	(void)at;
	return end_child((pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static void *idle(void *user)
{
	return user;
}

static bool make_thread(const char *at)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, idle, NULL);

	(void)at;
	errno = error;
	return error == 0 && pthread_join(thread, NULL) == 0;
}

static bool send_signal(const char *at)
{
	return kill(atoi(at), SIGCONT) == 0;
}

static bool send_signal_to_thread(const char *at)
{
	return syscall(SYS_tgkill, atoi(at), atoi(at), SIGCONT) == 0;
}

static bool queue_signal(const char *at)
{
	return sigqueue(atoi(at), SIGCONT, (union sigval){0}) == 0;
}

static bool have_signals_sent(const char *at)
{
	int ends[2];

	return pipe2(ends, 0) == 0 && fcntl(ends[0], F_SETOWN, atoi(at)) == 0;
}

static bool open_process(const char *at)
{
	return got(syscall(SYS_pidfd_open, atoi(at), 0));
}

static bool debug(const char *at)
{
	if (ptrace(PTRACE_SEIZE, atoi(at), NULL, NULL) < 0)
		return false;
	ptrace(PTRACE_INTERRUPT, atoi(at), NULL, NULL);
	waitpid(atoi(at), NULL, __WALL);
	ptrace(PTRACE_DETACH, atoi(at), NULL, NULL);
	return true;
}

static bool read_memory(const char *at)
{
	unsigned long address;
	pid_t pid = target_of(at, &address);
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)address, 1};

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == 1;
}

static bool read_memory_file(const char *at)
{
	unsigned long address;
	char path[64], byte;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)target_of(at, &address));
	fd = open(path, O_RDONLY);
	return fd >= 0 && pread(fd, &byte, 1, (off_t)address) == 1;
}

static bool limit_process(const char *at)
{
	struct rlimit limit;

	return prlimit(atoi(at), RLIMIT_NOFILE, NULL, &limit) == 0 &&
		prlimit(atoi(at), RLIMIT_NOFILE, &limit, NULL) == 0;
}

static bool slow_process(const char *at)
{
	return setpriority(PRIO_PROCESS, (id_t)atoi(at), 1) == 0;
}

static bool move_process(const char *at)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 &&
		sched_setaffinity(atoi(at), sizeof(set), &set) == 0;
}

static bool connect_to(struct sockaddr_un *address, size_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd >= 0 && connect(fd, (struct sockaddr *)address, (socklen_t)len) == 0;
}

static bool connect_to_path(const char *at)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strncpy(address.sun_path, at, sizeof(address.sun_path) - 1);
	return connect_to(&address, sizeof(address));
}

static bool connect_to_abstract(const char *at)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strncpy(address.sun_path + 1, at, sizeof(address.sun_path) - 2);
	return connect_to(&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(at));
}

static bool reach_beside(const char *at)
{
	int ends[2];

	(void)at;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0;
}

static bool open_packets(const char *at)
{
	(void)at;
	return got(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
}

static bool open_raw(const char *at)
{
	(void)at;
	return got(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static bool open_firewall(const char *at)
{
	(void)at;
	return got(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
}

static bool open_kernel_events(const char *at)
{
	(void)at;
	return got(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT));
}

static bool open_other_stream(const char *at)
{
	(void)at;
	return got(socket(AF_INET, SOCK_STREAM, 262)); /* MPTCP */
}

/* An address that is there already: nothing changes, but who may ask so may ask for more. */
static bool change_network(const char *at)
{
	struct {
		struct nlmsghdr head;
		char family[16]; /* of a link: unspecified, index 0, no change */
		char answer[256];
	} message = {.head = {.nlmsg_len = 32,
			     .nlmsg_type = 16 /* RTM_NEWLINK */,
			     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct nlmsgerr *error;

	(void)at;
	message.family[4] = 1; /* the loopback interface */
	if (send(fd, &message, 32, 0) != 32 || recv(fd, &message, sizeof(message), 0) < 0)
		return false;
	error = (struct nlmsgerr *)(void *)message.family;
	errno = -error->error;
	return error->error == 0;
}

static bool listen_at_port(const char *at)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)at;
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
}

static bool filter_packets(const char *at)
{
	struct {
		unsigned short code;
		unsigned char jt, jf;
		unsigned k;
	} all = {6, 0, 0, 0xffff};
	struct {
		unsigned short len;
		void *filter;
	} program = {1, &all};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)at;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

static bool be_dumpable(const char *at)
{
	(void)at;
	return prctl(PR_SET_DUMPABLE, 1) == 0;
}

static bool dump_core(const char *at)
{
	struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};

	(void)at;
	return setrlimit(RLIMIT_CORE, &most) == 0;
}

static bool map_program(const char *at)
{
	(void)at;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0) != MAP_FAILED;
}

static bool make_program(const char *at)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)at;
	return mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

static bool change_program(const char *at)
{
	uintptr_t page = (uintptr_t)look_around & ~(uintptr_t)4095;

	(void)at;
	return mprotect((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
}

static bool share_program(const char *at)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700);
	void *page = shmat(id, NULL, SHM_EXEC);

	(void)at;
	shmctl(id, IPC_RMID, NULL);
	return page != (void *)-1;
}

static bool execute_all_data(const char *at)
{
	(void)at;
	return got(personality(READ_IMPLIES_EXEC));
}

static bool take_memory(const char *at)
{
	size_t len = (size_t)strtoul(at, NULL, 10) << 20;

	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0) != MAP_FAILED;
}

static bool leave_namespace(const char *at)
{
	(void)at;
	return unshare(CLONE_NEWNS) == 0;
}

static bool become_root_of_own_world(const char *at)
{
	(void)at;
	return unshare(CLONE_NEWUSER) == 0;
}

static bool mount_something(const char *at)
{
	return mount("none", at, "tmpfs", 0, NULL) == 0;
}

static bool change_root(const char *at)
{
	return chroot(at) == 0;
}

static bool use_rings(const char *at)
{
	char parameters[120] = {0};

	(void)at;
	return got(syscall(SYS_io_uring_setup, 1, parameters));
}

static bool use_keys(const char *at)
{
	(void)at;
	return got(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
}

static bool measure_kernel(const char *at)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attributes)};

	(void)at;
	return got(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

static bool stop_kernel_at_faults(const char *at)
{
	(void)at;
	return got(syscall(SYS_userfaultfd, 0));
}

static bool load_into_kernel(const char *at)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)at;
	return got(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)));
}

static bool compare_processes(const char *at)
{
	return got(syscall(SYS_kcmp, getpid(), atoi(at), 0 /* KCMP_FILE */, 0, 0));
}

#ifdef __x86_64__
/* The filter has to know each way into the kernel. */
static bool call_as_32_bit(const char *at)
{
	long result;

	(void)at;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) /* getpid */ : "memory");
	errno = (int)-result;
	return result > 0;
}

static bool call_as_x32(const char *at)
{
	(void)at;
	return got(syscall(0x40000000 | SYS_getpid));
}
#endif

static bool shout(const char *at)
{
	return write(STDERR_FILENO, at, strlen(at)) > 0 && write(STDERR_FILENO, "\n", 1) > 0;
}

#define ATTACK(function) \
	{ \
#function, function \
	}

static const struct {
	const char *name;
	attack *run;
} attacks[] = {
	ATTACK(read_file),
	ATTACK(list_directory),
	ATTACK(write_file),
	ATTACK(truncate_file),
	ATTACK(remove_file),
	ATTACK(rename_file),
	ATTACK(make_directory),
	ATTACK(change_mode),
	ATTACK(look_at_file),
	ATTACK(read_link),
	ATTACK(watch_file),
	ATTACK(load_library),
	ATTACK(execute),
	ATTACK(execute_memory),
	ATTACK(make_process),
	ATTACK(make_process_directly),
	ATTACK(make_thread),
	ATTACK(send_signal),
	ATTACK(send_signal_to_thread),
	ATTACK(queue_signal),
	ATTACK(have_signals_sent),
	ATTACK(open_process),
	ATTACK(debug),
	ATTACK(read_memory),
	ATTACK(read_memory_file),
	ATTACK(limit_process),
	ATTACK(slow_process),
	ATTACK(move_process),
	ATTACK(connect_to_path),
	ATTACK(connect_to_abstract),
	ATTACK(reach_beside),
	ATTACK(open_packets),
	ATTACK(open_raw),
	ATTACK(open_firewall),
	ATTACK(open_kernel_events),
	ATTACK(open_other_stream),
	ATTACK(change_network),
	ATTACK(listen_at_port),
	ATTACK(filter_packets),
	ATTACK(be_dumpable),
	ATTACK(dump_core),
	ATTACK(map_program),
	ATTACK(make_program),
	ATTACK(change_program),
	ATTACK(share_program),
	ATTACK(execute_all_data),
	ATTACK(take_memory),
	ATTACK(leave_namespace),
	ATTACK(become_root_of_own_world),
	ATTACK(mount_something),
	ATTACK(change_root),
	ATTACK(use_rings),
	ATTACK(use_keys),
	ATTACK(measure_kernel),
	ATTACK(stop_kernel_at_faults),
	ATTACK(load_into_kernel),
	ATTACK(compare_processes),
#ifdef __x86_64__
	ATTACK(call_as_32_bit),
	ATTACK(call_as_x32),
#endif
	ATTACK(shout),
};

/* ---- In the place of an attempt ---- */

static struct attempts_options options;

int __real_attempts_new(struct attempts **attempts, const struct attempts_options *given);
int __wrap_attempts_new(struct attempts **attempts, const struct attempts_options *given);
void __wrap_attempts_begin(
	struct attempts *attempts, const struct sender_request *request, int body_fd);

int __wrap_attempts_new(struct attempts **attempts, const struct attempts_options *given)
{
	options = *given;
	return __real_attempts_new(attempts, given);
}

static void run(const char *name, const char *at, char message[static ATTEMPT_MESSAGE_MAX])
{
	if (strcmp(name, "inherited") == 0) {
		memcpy(message, found_at_start, ATTEMPT_MESSAGE_MAX);
		return;
	}
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		bool through;

		if (strcmp(attacks[i].name, name) != 0)
			continue;
		errno = 0;
		through = attacks[i].run(at);
		snprintf(message, ATTEMPT_MESSAGE_MAX, "%s",
			through ? "got through" : strerror(errno));
		return;
	}
	snprintf(message, ATTEMPT_MESSAGE_MAX, "no such attack");
}

/* The URL is http://HOST/NAME?AT. */
void __wrap_attempts_begin(
	struct attempts *attempts, const struct sender_request *request, int body_fd)
{
	struct sender_outcome outcome = {.slot = request->slot, .result = RESULT_PROTOCOL};
	char url[PATH_MAX_LEN], *name, *at;

	(void)attempts;
	(void)body_fd;
	snprintf(url, sizeof(url), "%.*s", (int)request->url.len, request->url.at);
	name = strchr(strstr(url, "//") + 2, '/') + 1;
	at = strchr(name, '?');
	if (at)
		*at++ = '\0';
	run(name, at ? at : "", outcome.message);
	outcome.message_len = (uint16_t)strlen(outcome.message);
	options.done(options.user, &outcome);
}
