/*
 * Preloaded into hookd: writes down everything that it does to its data directory, everything that
 * makes it durable, and every byte of an answer, in the order of power_log.h.
 *
 *     HOOKD_POWER_LOG    the log, appended to
 *     HOOKD_POWER_ROOT   the directory that holds the data directory, which is called "data"
 *     HOOKD_POWER_FLAGS  flags that mdb_env_open() gets besides its own: shows what a careless
 *                        engine would lose
 *     HOOKD_POWER_KILL   die as if killed, once so many records were written, when what is recorded
 *                        is also done
 *     HOOKD_POWER_NO_FALLOCATE  a file system that cannot preallocate
 *     HOOKD_POWER_NO_FSYNC      whoever writes files forgets fsync(2), of them, not of directories:
 *                        shows what that would lose
 *
 * Only what hookd and LMDB import is caught; that nothing was missed is proved by the replay, which
 * compares its last image with the real directory. msync(2) and sync_file_range(2) are not
 * recorded: the first is not used for data (MDB_WRITEMAP is not), the second promises nothing. What
 * LMDB does to its table of readers, a shared map, is not seen and needs not last.
 *
 * Faults of the disk are not this recorder's business: a call that should not fail and does ends
 * the process. All functions may run on any thread; the descriptors' notes are written by whoever
 * opened them.
 */
#include "power_log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lmdb.h>

#define DESCRIPTORS_MAX 65536
#define PARTS_MAX 64

static struct {
	int log;
	char root[PATH_MAX];
	size_t root_len;
	unsigned flags;
	bool no_fallocate, no_fsync;
	uint64_t kill_at;
	atomic_uint_fast64_t n_records;
	struct {
		uint64_t inode; /* 0: not of the data directory */
		bool syncs; /* O_DSYNC or O_SYNC */
		bool is_directory;
	} files[DESCRIPTORS_MAX];
	pthread_rwlock_t changing; /* held by each change, and by death alone */
} recorder = {.log = -1, .changing = PTHREAD_RWLOCK_INITIALIZER};

static void record(enum power_kind kind, uint64_t inode, uint64_t offset, const struct iovec *body,
	int n_parts)
{
	struct power_record r = {
		.kind = kind, .thread = (uint32_t)gettid(), .inode = inode, .offset = offset};
	struct iovec parts[PARTS_MAX + 1] = {{&r, sizeof(r)}};
	size_t total = sizeof(r);

	if (recorder.log < 0)
		return;
	if (n_parts > PARTS_MAX)
		abort();
	for (int i = 0; i < n_parts; i++) {
		parts[i + 1] = body[i];
		total += body[i].iov_len;
	}
	r.length = (uint32_t)(total - sizeof(r));
	if (syscall(SYS_writev, recorder.log, parts, n_parts + 1) != (ssize_t)total)
		abort();
	atomic_fetch_add(&recorder.n_records, 1);
}

/* Around a change and its record, which are one: a death in between would be in the log, and not on
 * the disk. */
static void begin_change(void)
{
	pthread_rwlock_rdlock(&recorder.changing);
}

static long end_change(long result)
{
	pthread_rwlock_unlock(&recorder.changing);
	if (recorder.kill_at && atomic_load(&recorder.n_records) >= recorder.kill_at) {
		pthread_rwlock_wrlock(&recorder.changing);
		syscall(SYS_kill, getpid(), SIGKILL);
	}
	return result;
}

static void record_event(enum power_kind kind, uint64_t inode, uint64_t offset)
{
	record(kind, inode, offset, NULL, 0);
}

static void record_path(enum power_kind kind, uint64_t inode, const char *path)
{
	struct iovec body = {(void *)path, strlen(path)};

	record(kind, inode, 0, &body, 1);
}

__attribute__((constructor)) static void begin(void)
{
	const char *log = getenv("HOOKD_POWER_LOG"), *root = getenv("HOOKD_POWER_ROOT");
	const char *flags = getenv("HOOKD_POWER_FLAGS"), *kill_at = getenv("HOOKD_POWER_KILL");
	struct stat status;

	if (!log || !root)
		return;
	if (!realpath(root, recorder.root) || stat(root, &status) < 0)
		abort();
	recorder.root_len = strlen(recorder.root);
	recorder.flags = flags ? (unsigned)strtoul(flags, NULL, 0) : 0;
	recorder.kill_at = kill_at ? strtoull(kill_at, NULL, 0) : 0;
	recorder.no_fallocate = getenv("HOOKD_POWER_NO_FALLOCATE") != NULL;
	recorder.no_fsync = getenv("HOOKD_POWER_NO_FSYNC") != NULL;
	recorder.log = (int)syscall(
		SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (recorder.log < 0)
		abort();
	unsetenv("LD_PRELOAD"); /* the senders have no part in this */
	record_event(POWER_START, status.st_ino, 0);
}

/* ---- Which files ---- */

/* The part of an absolute path behind the root: "data" and what is below. NULL: not recorded. */
static const char *below_root(const char *path)
{
	const char *name = path + recorder.root_len + 1;

	if (recorder.log < 0 || strncmp(path, recorder.root, recorder.root_len) != 0 ||
		path[recorder.root_len] != '/')
		return NULL;
	return strncmp(name, "data", 4) == 0 && (name[4] == '/' || name[4] == '\0') ? name : NULL;
}

static bool is_file(int fd)
{
	return fd >= 0 && fd < DESCRIPTORS_MAX && recorder.files[fd].inode;
}

static void note_opened(int fd, int flags, bool is_new)
{
	char link[64], path[PATH_MAX];
	const char *name;
	struct stat status;
	ssize_t len;

	if (fd < 0 || recorder.log < 0)
		return;
	if (fd >= DESCRIPTORS_MAX)
		abort();
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0 || fstat(fd, &status) < 0)
		abort();
	path[len] = '\0';
	name = below_root(path);
	if (!name && strcmp(path, recorder.root) != 0)
		return;
	recorder.files[fd].inode = status.st_ino;
	recorder.files[fd].syncs = (flags & O_DSYNC) != 0; /* a part of O_SYNC */
	recorder.files[fd].is_directory = S_ISDIR(status.st_mode);
	if (is_new)
		record_path(POWER_CREATE, status.st_ino, name);
	else if (flags & O_TRUNC)
		record_event(POWER_TRUNCATE, status.st_ino, 0);
}

static bool is_missing(const char *path, int flags)
{
	return (flags & O_CREAT) && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

static mode_t mode_of(int flags, va_list arguments)
{
	return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;
	bool is_new;
	int fd;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	begin_change();
	is_new = is_missing(path, flags);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	note_opened(fd, flags, is_new);
	return (int)end_change(fd);
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return open(path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of open() where the compiler does not see the flags. */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags)
{
	return open(path, flags);
}

int close(int fd)
{
	if (is_file(fd))
		recorder.files[fd].inode = 0;
	return (int)syscall(SYS_close, fd);
}

/* ---- What changes files ---- */

static size_t length_of(const struct iovec *parts, int n)
{
	size_t total = 0;

	for (int i = 0; i < n; i++)
		total += parts[i].iov_len;
	return total;
}

/* One write to a file; the calls below differ in how they name it. Death may come while a write
 * that is to be on disk at its end is in the page cache alone. */
static ssize_t write_parts(int fd, const struct iovec *parts, int n, off_t offset)
{
	ssize_t written;

	begin_change();
	record(POWER_WRITE, recorder.files[fd].inode, (uint64_t)offset, parts, n);
	written = syscall(SYS_pwritev, fd, parts, n, offset, 0);
	if (written != (ssize_t)length_of(parts, n))
		abort();
	end_change(0);
	if (recorder.files[fd].syncs) {
		begin_change();
		record_event(POWER_WRITTEN, recorder.files[fd].inode, 0);
		end_change(0);
	}
	return written;
}

static ssize_t append_parts(int fd, const struct iovec *parts, int n)
{
	return write_parts(fd, parts, n,
		lseek(fd, (off_t)length_of(parts, n), SEEK_CUR) - (off_t)length_of(parts, n));
}

static void record_answer(int fd, const struct iovec *parts, int n)
{
	int domain;
	socklen_t len = sizeof(domain);

	if (recorder.log >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
		domain == AF_UNIX)
		record(POWER_ANSWER, 0, 0, parts, n);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	struct iovec body = {(void *)bytes, len};

	if (is_file(fd))
		return write_parts(fd, &body, 1, offset);
	return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
	return pwrite(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	if (is_file(fd))
		return append_parts(fd, parts, n);
	record_answer(fd, parts, n);
	return syscall(SYS_writev, fd, parts, n);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	struct iovec body = {(void *)bytes, len};

	if (is_file(fd))
		return append_parts(fd, &body, 1);
	record_answer(fd, &body, 1);
	return syscall(SYS_write, fd, bytes, len);
}

int ftruncate(int fd, off_t size)
{
	begin_change();
	if (is_file(fd))
		record_event(POWER_TRUNCATE, recorder.files[fd].inode, (uint64_t)size);
	return (int)end_change(syscall(SYS_ftruncate, fd, size));
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	if (is_file(fd) && recorder.no_fallocate) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (mode != 0)
		abort();
	begin_change();
	if (is_file(fd))
		record_event(POWER_ALLOCATE, recorder.files[fd].inode, (uint64_t)(offset + len));
	return (int)end_change(syscall(SYS_fallocate, fd, mode, offset, len));
}

static void record_paths(enum power_kind kind, const char *old_path, const char *new_path)
{
	const char *old_name = below_root(old_path), *new_name = below_root(new_path);

	if (old_name && new_name) {
		struct iovec body[2] = {{(void *)old_name, strlen(old_name) + 1},
			{(void *)new_name, strlen(new_name)}};

		record(kind, 0, 0, body, 2);
	}
}

int rename(const char *old_path, const char *new_path)
{
	begin_change();
	record_paths(POWER_RENAME, old_path, new_path);
	return (int)end_change(syscall(SYS_rename, old_path, new_path));
}

int link(const char *old_path, const char *new_path)
{
	begin_change();
	record_paths(POWER_LINK, old_path, new_path);
	return (int)end_change(syscall(SYS_link, old_path, new_path));
}

int unlink(const char *path)
{
	const char *name = below_root(path);

	begin_change();
	if (name && access(path, F_OK) == 0)
		record_path(POWER_UNLINK, 0, name);
	return (int)end_change(syscall(SYS_unlink, path));
}

int mkdir(const char *path, mode_t mode)
{
	const char *name = below_root(path);
	struct stat status;
	int r;

	begin_change();
	r = (int)syscall(SYS_mkdir, path, mode);
	if (name && r == 0 && stat(path, &status) == 0)
		record_path(POWER_MAKE_DIRECTORY, status.st_ino, name);
	return (int)end_change(r);
}

/* ---- What makes it last ---- */

static int flush(int fd, long number)
{
	uint64_t inode = is_file(fd) ? recorder.files[fd].inode : 0;
	int r;

	if (inode)
		record_event(POWER_SYNC_BEGIN, inode, 0);
	r = (int)syscall(number, fd);
	begin_change();
	if (inode && r == 0)
		record_event(POWER_SYNC_END, inode, 0);
	return (int)end_change(r);
}

int fsync(int fd)
{
	if (recorder.no_fsync && is_file(fd) && !recorder.files[fd].is_directory)
		return 0;
	return flush(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return flush(fd, SYS_fdatasync);
}

/* ---- What is told ---- */

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	struct iovec body = {(void *)bytes, len};

	record_answer(fd, &body, 1);
	return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	record_answer(fd, message->msg_iov, (int)message->msg_iovlen);
	return syscall(SYS_sendmsg, fd, message, flags);
}

/* ---- A careless engine ---- */

int mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode)
{
	static __typeof__(&mdb_env_open) real;

	if (!real)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "mdb_env_open");
	return real(env, path, flags | recorder.flags, mode);
}
