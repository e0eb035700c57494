#include "kernel.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../daemon/host_files.h"
#include "check.h"
#include "dice.h"
#include "loop.h"
#include "worker.h"

#define FIRST_FD 100000 /* far from those of the real kernel */
#define FDS_MAX 512
#define FIRST_PID 100000000 /* were one to reach the real kernel, there is no such process */
#define CHILDREN_MAX 256
#define PASSED_MAX 64

/* One direction of a socket pair. */
struct pipe {
	uint8_t *bytes;
	size_t used, size, capacity;
	struct {
		size_t at; /* travels with this byte */
		int fd;
	} passed[PASSED_MAX];
	unsigned n_passed;
	bool closed; /* nobody writes any more, or nobody reads */
};

struct socket_pair {
	struct pipe to[2]; /* what end i reads */
	unsigned references[2];
};

struct file {
	enum { FREE, COUNTER, TIMER, SOCKET } kind;
	uint64_t counter;
	int64_t expires_ms; /* by the boot clock; INT64_MAX: not set */
	struct socket_pair *pair;
	int end;
};

struct child {
	pid_t pid; /* 0: none */
	bool dead;
};

static struct {
	int64_t mono_us, suspended_us, wall_offset_ms;
	struct file files[FDS_MAX];
	int n_files; /* none is open from there on */
	struct child children[CHILDREN_MAX];
	pid_t next_pid;
	struct host_files *host_files; /* that hookd watches; NULL: it does not */
	int channel_fd; /* of the child that is about to be spawned */
} k;

/* ---- Time ---- */

int64_t kernel_mono_us(void)
{
	return k.mono_us;
}

int64_t kernel_boot_ms(void)
{
	return (k.mono_us + k.suspended_us) / 1000;
}

int64_t kernel_wall_ms(void)
{
	return kernel_boot_ms() + k.wall_offset_ms;
}

void kernel_advance(int64_t to_mono_us)
{
	check(to_mono_us >= k.mono_us, "time goes back in the simulation itself");
	k.mono_us = to_mono_us;
}

void kernel_sleep(int64_t ms)
{
	k.suspended_us += ms * 1000;
}

void kernel_step_wall(int64_t by_ms)
{
	k.wall_offset_ms += by_ms;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
	int64_t us = k.mono_us;

	if (id != CLOCK_MONOTONIC)
		us += k.suspended_us;
	if (id == CLOCK_REALTIME)
		us += k.wall_offset_ms * 1000;
	*now = (struct timespec){us / 1000000, us % 1000000 * 1000};
	return 0;
}

ssize_t __wrap_getrandom(void *bytes, size_t n, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t n, unsigned flags)
{
	(void)flags;
	dice_fill(bytes, n);
	return (ssize_t)n;
}

/* ---- Descriptors ---- */

static struct file *file_of(int fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + FDS_MAX && k.files[fd - FIRST_FD].kind
		? &k.files[fd - FIRST_FD]
		: NULL;
}

static struct file *open_file(int kind, int *fd)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (k.files[i].kind != FREE)
			continue;
		k.files[i] = (struct file){.kind = kind, .expires_ms = INT64_MAX};
		*fd = FIRST_FD + i;
		if (i >= k.n_files)
			k.n_files = i + 1;
		return &k.files[i];
	}
	check(false, "hookd has %d descriptors open", FDS_MAX);
	return NULL;
}

bool kernel_is_readable(int fd)
{
	const struct file *f = file_of(fd);

	if (!f)
		return false;
	switch (f->kind) {
	case COUNTER:
		return f->counter > 0;
	case TIMER:
		return f->expires_ms <= kernel_boot_ms();
	case SOCKET:
		return f->pair->to[f->end].used > 0 || f->pair->to[f->end].closed;
	case FREE:
		break;
	}
	return false;
}

static size_t room_in(const struct pipe *pipe)
{
	return pipe->used < pipe->capacity ? pipe->capacity - pipe->used : 0;
}

bool kernel_is_writable(int fd)
{
	const struct file *f = file_of(fd);
	const struct pipe *pipe = f && f->kind == SOCKET ? &f->pair->to[!f->end] : NULL;

	return pipe && (pipe->closed || room_in(pipe) > 0);
}

int __wrap_eventfd(unsigned initial, int flags);
int __wrap_eventfd(unsigned initial, int flags)
{
	int fd;

	(void)flags;
	open_file(COUNTER, &fd)->counter = initial;
	return fd;
}

int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags)
{
	int fd;

	(void)flags;
	check(clock == CLOCK_BOOTTIME, "a timer of another clock than CLOCK_BOOTTIME");
	open_file(TIMER, &fd);
	return fd;
}

int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *before);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
	struct file *f = file_of(fd);
	int64_t ms = when->it_value.tv_sec * 1000 + when->it_value.tv_nsec / 1000000;

	(void)before;
	check(f && flags == TFD_TIMER_ABSTIME, "a timer that is not there, or not absolute");
	f->expires_ms = ms ? ms : INT64_MAX;
	return 0;
}

int64_t kernel_next_timer_us(void)
{
	int64_t first_ms = INT64_MAX;

	for (int i = 0; i < k.n_files; i++) {
		if (k.files[i].kind == TIMER && k.files[i].expires_ms < first_ms)
			first_ms = k.files[i].expires_ms;
	}
	return first_ms == INT64_MAX ? INT64_MAX : first_ms * 1000 - k.suspended_us;
}

ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n)
{
	struct file *f = file_of(fd);
	uint64_t value = 1;

	if (!f)
		return __real_read(fd, to, n);
	if (!kernel_is_readable(fd)) {
		errno = EAGAIN;
		return -1;
	}
	if (f->kind == COUNTER)
		value = f->counter;
	f->counter = 0;
	f->expires_ms = INT64_MAX;
	memcpy(to, &value, sizeof(value));
	return sizeof(value);
}

ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n)
{
	struct file *f = file_of(fd);
	uint64_t value;

	if (!f)
		return __real_write(fd, from, n);
	memcpy(&value, from, sizeof(value));
	f->counter += value;
	return sizeof(value);
}

/* ---- Sockets ---- */

static void clear_pipe(struct pipe *pipe)
{
	for (unsigned i = 0; i < pipe->n_passed; i++)
		close(pipe->passed[i].fd);
	free(pipe->bytes);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	struct file *f = file_of(fd);
	struct socket_pair *pair;

	if (!f)
		return __real_close(fd);
	if (f->kind == SOCKET) {
		pair = f->pair;
		if (--pair->references[f->end] == 0)
			pair->to[0].closed = pair->to[1].closed = true;
		if (!pair->references[0] && !pair->references[1]) {
			clear_pipe(&pair->to[0]);
			clear_pipe(&pair->to[1]);
			free(pair);
		}
	}
	f->kind = FREE;
	return 0;
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
	struct socket_pair *pair = calloc(1, sizeof(*pair));

	(void)domain, (void)type, (void)protocol;
	check(pair, "out of memory");
	for (int end = 0; end < 2; end++) {
		struct file *f = open_file(SOCKET, &ends[end]);

		f->pair = pair;
		f->end = end;
		pair->references[end] = 1;
		pair->to[end].capacity = (size_t)dice_spread(64, 1 << 18);
	}
	return 0;
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	(void)fd, (void)level, (void)option, (void)value, (void)len;
	return 0;
}

static void put(struct pipe *pipe, const void *bytes, size_t n)
{
	if (pipe->used + n > pipe->size) {
		pipe->size = pipe->used + n < 4096 ? 4096 : 2 * (pipe->used + n);
		pipe->bytes = realloc(pipe->bytes, pipe->size);
		check(pipe->bytes, "out of memory");
	}
	memcpy(pipe->bytes + pipe->used, bytes, n);
	pipe->used += n;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct file *f = file_of(fd);
	struct pipe *pipe = &f->pair->to[!f->end];
	size_t room = room_in(pipe), sent = 0;

	(void)flags;
	if (pipe->closed || room == 0) {
		errno = pipe->closed ? EPIPE : EAGAIN;
		return -1;
	}
	if (message->msg_control) {
		int passed;

		memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof(passed));
		check(pipe->n_passed < PASSED_MAX, "too many descriptors on their way");
		pipe->passed[pipe->n_passed].at = pipe->used;
		pipe->passed[pipe->n_passed++].fd = dup(passed);
	}
	for (size_t i = 0; i < message->msg_iovlen && sent < room; i++) {
		size_t n = message->msg_iov[i].iov_len;

		if (n > room - sent)
			n = room - sent;
		put(pipe, message->msg_iov[i].iov_base, n);
		sent += n;
	}
	return (ssize_t)sent;
}

/* A descriptor comes with its byte, and one call brings at most one. */
static size_t take_passed(struct pipe *pipe, struct msghdr *message, size_t n)
{
	struct cmsghdr *head = message->msg_control;
	int fd;

	message->msg_controllen = 0;
	if (pipe->n_passed && pipe->passed[0].at == 0) {
		fd = pipe->passed[0].fd;
		memmove(pipe->passed, pipe->passed + 1, --pipe->n_passed * sizeof(pipe->passed[0]));
		if (head) {
			message->msg_controllen = CMSG_SPACE(sizeof(int));
			head->cmsg_level = SOL_SOCKET;
			head->cmsg_type = SCM_RIGHTS;
			head->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(head), &fd, sizeof(int));
		} else {
			message->msg_flags |= MSG_CTRUNC;
			close(fd);
		}
	}
	if (pipe->n_passed && n > pipe->passed[0].at)
		n = pipe->passed[0].at;
	for (unsigned i = 0; i < pipe->n_passed; i++)
		pipe->passed[i].at -= n;
	return n;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct file *f = file_of(fd);
	struct pipe *pipe = &f->pair->to[f->end];
	size_t n = message->msg_iov[0].iov_len;

	(void)flags;
	message->msg_flags = 0;
	if (pipe->used == 0) {
		errno = EAGAIN;
		return pipe->closed ? 0 : -1;
	}
	if (n > pipe->used)
		n = pipe->used;
	n = take_passed(pipe, message, n);
	memcpy(message->msg_iov[0].iov_base, pipe->bytes, n);
	memmove(pipe->bytes, pipe->bytes + n, pipe->used - n);
	pipe->used -= n;
	return (ssize_t)n;
}

/* ---- Files ---- */

struct host_files {
	host_files_changed_fn *changed;
	void *user;
	struct event *look;
};

/* It is seen a little later, as one change, however many there are. */
void kernel_change_file(void)
{
	int64_t us = dice_spread(1000000, 10000000);

	if (k.host_files)
		event_add(k.host_files->look, &(struct timeval){us / 1000000, us % 1000000});
}

static void on_look(evutil_socket_t fd, short what, void *user)
{
	struct host_files *files = user;

	(void)fd;
	(void)what;
	files->changed("/etc/resolv.conf", files->user);
}

int __wrap_host_files_new(struct host_files **files, struct event_base *base,
	host_files_changed_fn *changed, void *user);
int __wrap_host_files_new(struct host_files **files, struct event_base *base,
	host_files_changed_fn *changed, void *user)
{
	*files = calloc(1, sizeof(**files));
	assert(*files);
	(*files)->changed = changed;
	(*files)->user = user;
	(*files)->look = event_new(base, -1, 0, on_look, *files);
	k.host_files = *files;
	return 0;
}

void __wrap_host_files_mark(struct host_files *files, const char *ca_file);
void __wrap_host_files_mark(struct host_files *files, const char *ca_file)
{
	(void)ca_file;
	event_del(files->look);
}

void __wrap_host_files_free(struct host_files *files);
void __wrap_host_files_free(struct host_files *files)
{
	if (!files)
		return;
	event_free(files->look);
	free(files);
	k.host_files = NULL;
}

/* ---- Processes ---- */

int __wrap_posix_spawn_file_actions_adddup2(
	posix_spawn_file_actions_t *actions, int fd, int new_fd);
int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int new_fd)
{
	(void)actions, (void)new_fd;
	k.channel_fd = fd;
	return 0;
}

int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]);
int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
	struct file *original = file_of(k.channel_fd), *copy;
	int fd;

	(void)path, (void)actions, (void)attributes, (void)arguments, (void)environment;
	if (worker_cannot_start())
		return EAGAIN;
	for (int i = 0; i < CHILDREN_MAX; i++) {
		if (k.children[i].pid)
			continue;
		copy = open_file(SOCKET, &fd);
		copy->pair = original->pair;
		copy->end = original->end;
		copy->pair->references[copy->end]++;
		*pid = k.children[i].pid = k.next_pid++;
		k.children[i].dead = false;
		worker_start(*pid, fd);
		return 0;
	}
	check(false, "hookd has %d children that it did not wait for", CHILDREN_MAX);
	return EAGAIN;
}

static struct child *child_of(pid_t pid)
{
	for (int i = 0; i < CHILDREN_MAX; i++) {
		if (k.children[i].pid == pid)
			return &k.children[i];
	}
	return NULL;
}

void kernel_exited(pid_t pid)
{
	child_of(pid)->dead = true;
	loop_signal(SIGCHLD);
}

int __wrap_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number)
{
	const struct child *child = child_of(pid);

	check(child, "hookd kills process %d, which is no child of its own", (int)pid);
	check(number == SIGKILL, "hookd sends signal %d", number);
	if (!child->dead)
		worker_kill(pid);
	return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	struct child *child = child_of(pid);

	(void)options;
	check(child, "hookd waits for process %d, which is no child of its own", (int)pid);
	if (!child->dead)
		return 0;
	child->pid = 0;
	if (status)
		*status = SIGKILL;
	return pid;
}

int __wrap_pidfd_open(pid_t pid, unsigned flags);
int __wrap_pidfd_open(pid_t pid, unsigned flags)
{
	(void)pid, (void)flags;
	errno = EMFILE; /* children are ended without waiting for them */
	return -1;
}

/* ---- Life ---- */

void kernel_boot(void)
{
	memset(&k, 0, sizeof(k));
	k.next_pid = FIRST_PID;
	k.mono_us = dice_spread(1000000, (int64_t)30 * 86400 * 1000000);
	k.suspended_us = dice_once_in(3) ? dice_spread(0, (int64_t)86400 * 1000000) : 0;
	k.wall_offset_ms = INT64_C(1800000000000) + dice_between(0, 86400000);
}

void kernel_halt(void)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (k.files[i].kind != FREE)
			close(FIRST_FD + i);
	}
}
