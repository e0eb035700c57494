/*
 * Loaded into hookd with LD_PRELOAD: fails, cuts short or kills at the N-th call of one kind, and
 * counts all of them.
 *
 * Unlike a tracer it counts over all threads together, in the order in which they call, so that
 * "the seventh write" is one and the same place of the program in each run; it can cut a write
 * short and still do what is left of it; and it can kill right after a call as well as before.
 * Senders start with an empty environment and are not concerned.
 *
 *     FAULTY_BOOK=FILE           counts are kept in FILE: struct book below, mapped, so that they
 * outlive a kill FAULTY=CALL:N:HOW          at the N-th CALL, once; CALL:N+:HOW from the N-th on.
 * HOW is a number: errno; or short: half of what was asked; before, after: SIGKILL
 */
#undef _FILE_OFFSET_BITS /* or pread would be pread64, and there would be no pread */
#undef _FORTIFY_SOURCE /* or open would be there already */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum call {
	PREAD,
	PWRITE,
	WRITEV,
	WRITE,
	READ,
	FDATASYNC,
	FSYNC,
	FALLOCATE,
	FTRUNCATE,
	LSEEK,
	RENAME,
	UNLINK,
	MKDIR,
	OPEN,
	MMAP,
	FLOCK,
	FCNTL,
	SOCKET,
	BIND,
	LISTEN,
	ACCEPT,
	SENDMSG,
	RECV,
	RECVMSG,
	EPOLL_CREATE,
	EPOLL_CTL,
	EPOLL_WAIT,
	EVENTFD,
	INOTIFY_INIT,
	INOTIFY_ADD,
	PIPE,
	MEMFD_CREATE,
	SOCKETPAIR,
	THREAD,
	SPAWN,
	N_CALLS
};

static const char *const names[N_CALLS] = {"pread", "pwrite", "writev", "write", "read",
	"fdatasync", "fsync", "fallocate", "ftruncate", "lseek", "rename", "unlink", "mkdir",
	"open", "mmap", "flock", "fcntl", "socket", "bind", "listen", "accept", "sendmsg", "recv",
	"recvmsg", "epoll_create", "epoll_ctl", "epoll_wait", "eventfd", "inotify_init",
	"inotify_add", "pipe", "memfd_create", "socketpair", "thread", "spawn"};

/* What test_sweep.py reads. */
struct book {
	struct {
		char name[16];
		atomic_uint_fast64_t n; /* calls */
		uint64_t n_after; /* of these by the thread of the first fault, after it */
	} calls[N_CALLS];
	atomic_uint_fast64_t faults;
	double at[32]; /* when: CLOCK_MONOTONIC; the last one stands for all that follow */
	char thread[16]; /* of the first fault */
	char file[224];
};

static enum how { NOTHING, FAIL, SHORT, BEFORE, AFTER, ABORT, BUS } how;
static const char *const hows[] = {"", "", "short", "before", "after", "abort", "bus"};
static enum call target;
static uint64_t first_n;
static bool for_good;
static int error;
static _Thread_local bool is_hit; /* by the first fault */
static struct book unbooked, *book = &unbooked;

static void read_order(const char *order)
{
	char name[16], what[16], plus[2] = "";
	unsigned long n;

	if (sscanf(order, "%15[^:]:%lu%1[+]:%15s", name, &n, plus, what) != 4 &&
		sscanf(order, "%15[^:]:%lu:%15s", name, &n, what) != 3)
		abort();
	while (strcmp(names[target], name) != 0) {
		if (++target == N_CALLS)
			abort();
	}
	first_n = n;
	for_good = plus[0] == '+';
	error = atoi(what);
	how = error ? FAIL : SHORT;
	while (!error && strcmp(hows[how], what) != 0)
		how++;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULTY_BOOK"), *order = getenv("FAULTY");
	int fd = path ? (int)syscall(SYS_open, path, O_RDWR | O_CLOEXEC) : -1;

	if (fd >= 0) {
		book = (struct book *)syscall(
			SYS_mmap, NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		syscall(SYS_close, fd);
	}
	for (int i = 0; i < N_CALLS; i++)
		snprintf(book->calls[i].name, sizeof(book->calls[i].name), "%s", names[i]);
	if (order)
		read_order(order);
}

static void note_fault(int fd)
{
	uint64_t nth = atomic_fetch_add(&book->faults, 1);
	struct timespec now;
	char link[32];
	ssize_t n;

	clock_gettime(CLOCK_MONOTONIC, &now);
	book->at[nth < 31 ? nth : 31] = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	if (nth > 0)
		return;
	is_hit = true;
	syscall(SYS_prctl, 16 /* PR_GET_NAME */, book->thread);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlink, link, book->file, sizeof(book->file) - 1);
	book->file[n > 0 ? n : 0] = '\0';
}

static void end_here(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
	while (true)
		pause();
}

/* What is to happen to this call? Does not come back where it is to be killed before. */
static enum how meet(enum call call, int fd)
{
	uint64_t n = atomic_fetch_add(&book->calls[call].n, 1) + 1;

	book->calls[call].n_after += is_hit;
	if (how == NOTHING || call != target || (for_good ? n < first_n : n != first_n))
		return NOTHING;
	note_fault(fd);
	if (how == BEFORE)
		end_here();
	if (how == ABORT)
		abort();
	if (how == BUS)
		raise(SIGBUS);
	return how;
}

/* The call as the kernel knows it, with its fault. */
#define CALL(type, call, fd, number, ...) \
	do { \
		enum how todo = meet(call, fd); \
		type result; \
		if (todo == FAIL) { \
			errno = error; \
			return (type)-1; \
		} \
		result = (type)syscall(number, __VA_ARGS__); \
		if (todo == AFTER) \
			end_here(); \
		return result; \
	} while (0)

/* The same, for calls that may do less than they are asked to. */
#define CALL_SOME(call, fd, len, number, ...) \
	do { \
		enum how todo = meet(call, fd); \
		ssize_t result; \
		if (todo == FAIL) { \
			errno = error; \
			return -1; \
		} \
		if (todo == SHORT && len > 1) \
			len /= 2; \
		result = syscall(number, __VA_ARGS__); \
		if (todo == AFTER) \
			end_here(); \
		return result; \
	} while (0)

/* ---- Files ---- */

ssize_t pread(int fd, void *bytes, size_t len, off_t at)
{
	CALL_SOME(PREAD, fd, len, SYS_pread64, fd, bytes, len, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	CALL_SOME(PWRITE, fd, len, SYS_pwrite64, fd, bytes, len, at);
}

/* With read and write hookd uses non-blocking descriptors only to wake its own loop: these can be
 * full or empty, and cannot fail otherwise. */
static bool cannot_fail(int fd)
{
	return syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (cannot_fail(fd))
		return syscall(SYS_write, fd, bytes, len);
	CALL_SOME(WRITE, fd, len, SYS_write, fd, bytes, len);
}

ssize_t read(int fd, void *bytes, size_t len)
{
	if (cannot_fail(fd))
		return syscall(SYS_read, fd, bytes, len);
	CALL_SOME(READ, fd, len, SYS_read, fd, bytes, len);
}

/* Half of the parts; of a single one, half of it. */
static int shorten(const struct iovec *parts, int n, struct iovec *half)
{
	if (n > 1)
		return n / 2;
	if (n == 1)
		half->iov_len = parts->iov_len > 1 ? parts->iov_len / 2 : parts->iov_len;
	return n;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	enum how todo = meet(WRITEV, fd);
	struct iovec one = n ? parts[0] : (struct iovec){0};
	ssize_t result;

	if (todo == FAIL) {
		errno = error;
		return -1;
	}
	if (todo == SHORT)
		n = shorten(parts, n, &one);
	result = syscall(SYS_writev, fd, n == 1 ? &one : parts, n);
	if (todo == AFTER)
		end_here();
	return result;
}

int fdatasync(int fd)
{
	CALL(int, FDATASYNC, fd, SYS_fdatasync, fd);
}

int fsync(int fd)
{
	CALL(int, FSYNC, fd, SYS_fsync, fd);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	CALL(int, FALLOCATE, fd, SYS_fallocate, fd, mode, at, len);
}

int ftruncate(int fd, off_t len)
{
	CALL(int, FTRUNCATE, fd, SYS_ftruncate, fd, len);
}

off_t lseek(int fd, off_t at, int whence)
{
	CALL(off_t, LSEEK, fd, SYS_lseek, fd, at, whence);
}

int rename(const char *from, const char *to)
{
	CALL(int, RENAME, -1, SYS_rename, from, to);
}

int unlink(const char *path)
{
	CALL(int, UNLINK, -1, SYS_unlink, path);
}

int mkdir(const char *path, mode_t mode)
{
	CALL(int, MKDIR, -1, SYS_mkdir, path, mode);
}

int open(const char *path, int flags, ...)
{
	va_list rest;
	mode_t mode;

	va_start(rest, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	CALL(int, OPEN, -1, SYS_open, path, flags, mode);
}

/* What open(2) is in a program that was built to check itself. */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t from)
{
	CALL(void *, MMAP, fd, SYS_mmap, at, len, protection, flags, fd, from);
}

int flock(int fd, int operation)
{
	CALL(int, FLOCK, fd, SYS_flock, fd, operation);
}

int fcntl(int fd, int command, ...)
{
	va_list rest;
	void *argument;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	CALL(int, FCNTL, fd, SYS_fcntl, fd, command, argument);
}

/* Distributions build libraries for 64-bit offsets under either name. */
ssize_t pread64(int, void *, size_t, off_t) __attribute__((alias("pread")));
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
off_t lseek64(int, off_t, int) __attribute__((alias("lseek")));
int open64(const char *, int, ...) __attribute__((alias("open")));
int __open64_2(const char *, int) __attribute__((alias("__open_2")));
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));
int fcntl64(int, int, ...) __attribute__((alias("fcntl")));

/* ---- Sockets, loop ---- */

int socket(int domain, int type, int protocol)
{
	CALL(int, SOCKET, -1, SYS_socket, domain, type, protocol);
}

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
	CALL(int, BIND, fd, SYS_bind, fd, address, len);
}

int listen(int fd, int backlog)
{
	CALL(int, LISTEN, fd, SYS_listen, fd, backlog);
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	CALL(int, ACCEPT, fd, SYS_accept4, fd, address, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	enum how todo = meet(SENDMSG, fd);
	struct iovec one = message->msg_iovlen ? message->msg_iov[0] : (struct iovec){0};
	struct msghdr some = *message;
	ssize_t result;

	if (todo == FAIL) {
		errno = error;
		return -1;
	}
	if (todo == SHORT)
		some.msg_iovlen = (size_t)shorten(message->msg_iov, (int)message->msg_iovlen, &one);
	if (some.msg_iovlen == 1)
		some.msg_iov = &one;
	result = syscall(SYS_sendmsg, fd, &some, flags);
	if (todo == AFTER)
		end_here();
	return result;
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	CALL_SOME(RECV, fd, len, SYS_recvfrom, fd, bytes, len, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	CALL(ssize_t, RECVMSG, fd, SYS_recvmsg, fd, message, flags);
}

int epoll_create1(int flags)
{
	CALL(int, EPOLL_CREATE, -1, SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	if (operation == EPOLL_CTL_DEL) /* takes no memory: cannot fail */
		return (int)syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
	CALL(int, EPOLL_CTL, fd, SYS_epoll_ctl, epoll_fd, operation, fd, event);
}

int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	CALL(int, EPOLL_WAIT, fd, SYS_epoll_wait, fd, events, n, timeout);
}

int eventfd(unsigned value, int flags)
{
	CALL(int, EVENTFD, -1, SYS_eventfd2, value, flags);
}

int inotify_init1(int flags)
{
	CALL(int, INOTIFY_INIT, -1, SYS_inotify_init1, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t what)
{
	CALL(int, INOTIFY_ADD, fd, SYS_inotify_add_watch, fd, path, what);
}

int pipe2(int ends[2], int flags)
{
	CALL(int, PIPE, -1, SYS_pipe2, ends, flags);
}

int memfd_create(const char *name, unsigned flags)
{
	CALL(int, MEMFD_CREATE, -1, SYS_memfd_create, name, flags);
}

int socketpair(int domain, int type, int protocol, int ends[2])
{
	CALL(int, SOCKETPAIR, -1, SYS_socketpair, domain, type, protocol, ends);
}

/* ---- Threads and processes: these return the error ---- */

int pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		dlsym(RTLD_NEXT, "pthread_create");
	enum how todo = meet(THREAD, -1);
	int result = todo == FAIL ? error : real(thread, attributes, run, user);

	if (todo == AFTER)
		end_here();
	return result;
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
	int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *,
		const posix_spawnattr_t *, char *const[], char *const[]) =
		dlsym(RTLD_NEXT, "posix_spawn");
	enum how todo = meet(SPAWN, -1);
	int result =
		todo == FAIL ? error : real(pid, path, actions, attributes, arguments, environment);

	if (todo == AFTER)
		end_here();
	return result;
}
