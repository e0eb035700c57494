#include "host_files.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "log.h"
#include "loop.h"

#define N_FILES 3
#define LINKS_MAX 40 /* as the kernel follows */
#define IN_DIRECTORY \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | \
		IN_ONLYDIR)
#define IN_FILE (IN_MODIFY | IN_ATTRIB)

static const struct timeval quiet = {1, 0};

/* All 0: it is not there. */
struct stamp {
	uint64_t device, inode;
	int64_t size, changed_s, changed_ns;
};

struct host_files {
	host_files_changed_fn *changed;
	void *user;
	char ca_file[PATH_MAX];
	struct stamp marked[N_FILES], seen[N_FILES]; /* as senders read them; at the last look */
	int fd;
	struct event *noticed, *look;
	bool complained;
};

static const char *path_of(const struct host_files *files, unsigned i)
{
	static const char *const paths[N_FILES] = {"/etc/resolv.conf", "/etc/hosts"};

	return paths[i] ? paths[i] : files->ca_file;
}

static void take_stamps(const struct host_files *files, struct stamp *stamps)
{
	memset(stamps, 0, N_FILES * sizeof(*stamps));
	for (unsigned i = 0; i < N_FILES; i++) {
		struct stat status;

		if (stat(path_of(files, i), &status) < 0)
			continue;
		stamps[i].device = status.st_dev;
		stamps[i].inode = status.st_ino;
		stamps[i].size = status.st_size;
		stamps[i].changed_s = status.st_ctim.tv_sec;
		stamps[i].changed_ns = status.st_ctim.tv_nsec;
	}
}

/* ---- What is watched ---- */

static void complain(struct host_files *files, const char *what)
{
	if (!files->complained)
		log_line(LOG_LEVEL_WARNING, LOG_SENDER, NULL,
			"cannot watch %s: %s; reload hookd when resolv.conf, hosts or ca_file change",
			what, strerror(errno));
	files->complained = true;
}

static void watch(struct host_files *files, const char *path, uint32_t what)
{
	if (files->fd >= 0 && inotify_add_watch(files->fd, path, what) < 0 && errno != ENOENT &&
		errno != ENOTDIR && errno != EACCES)
		complain(files, path);
}

/* If what is at path is a link, puts where it leads to into path, with rest behind it. */
static bool follow(char path[PATH_MAX], size_t directory_len, const char *rest)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	int n;

	if (len < 0)
		return false;
	target[len] = 0;
	n = snprintf(joined, sizeof(joined), "%.*s%s%s", target[0] == '/' ? 0 : (int)directory_len,
		path, target, rest);
	if (n < 0 || (size_t)n >= sizeof(joined))
		return false;
	memcpy(path, joined, (size_t)n + 1);
	return true;
}

/* Every directory in which a name on the way is looked up, up to the first that is not there. */
static void watch_way(struct host_files *files, const char *to)
{
	unsigned n_links = 0;
	char path[PATH_MAX];
	size_t at = 0; /* path[at] is a slash: behind it is the next name */

	snprintf(path, sizeof(path), "%s", to);
	while (path[at] == '/') {
		size_t end = at + 1 + strcspn(path + at + 1, "/");
		char next = path[at + 1], rest[PATH_MAX];

		path[at + 1] = 0;
		watch(files, path, IN_DIRECTORY);
		path[at + 1] = next;
		memcpy(rest, path + end, strlen(path + end) + 1);
		path[end] = 0;
		if (follow(path, at + 1, rest)) {
			if (++n_links > LINKS_MAX)
				return;
			if (path[0] == '/')
				at = 0;
			continue;
		}
		memcpy(path + end, rest, strlen(rest) + 1);
		at = end;
	}
	watch(files, to, IN_FILE);
}

static void watch_all(struct host_files *files)
{
	for (unsigned i = 0; i < N_FILES; i++)
		watch_way(files, path_of(files, i));
}

/* ---- What is noticed ---- */

static void on_look(evutil_socket_t fd, short what, void *user)
{
	struct host_files *files = user;
	struct stamp now[N_FILES];
	bool settled;

	(void)fd;
	(void)what;
	watch_all(files); /* the ways may be other ones */
	take_stamps(files, now);
	settled = memcmp(now, files->seen, sizeof(now)) == 0;
	memcpy(files->seen, now, sizeof(now));
	if (!settled) {
		loop_add(files->look, &quiet);
		return;
	}
	for (unsigned i = 0; i < N_FILES; i++) {
		if (memcmp(&now[i], &files->marked[i], sizeof(now[i])) != 0) {
			files->changed(path_of(files, i), files->user);
			return;
		}
	}
}

static void on_noticed(evutil_socket_t fd, short what, void *user)
{
	struct host_files *files = user;
	char notices[4096];

	(void)what;
	while (read(fd, notices, sizeof(notices)) > 0) {
	}
	if (!event_pending(files->look, EV_TIMEOUT, NULL))
		loop_add(files->look, &quiet);
}

void host_files_mark(struct host_files *files, const char *ca_file)
{
	snprintf(files->ca_file, sizeof(files->ca_file), "%s", ca_file);
	watch_all(files); /* before the look, so that nothing happens between them */
	take_stamps(files, files->marked);
	memcpy(files->seen, files->marked, sizeof(files->seen));
}

/* ---- Life ---- */

int host_files_new(struct host_files **files, struct event_base *base,
	host_files_changed_fn *changed, void *user)
{
	struct host_files *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->changed = changed;
	f->user = user;
	f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->fd < 0)
		complain(f, "files");
	f->noticed = event_new(base, f->fd, f->fd >= 0 ? EV_READ | EV_PERSIST : 0, on_noticed, f);
	f->look = evtimer_new(base, on_look, f);
	if (!f->noticed || !f->look || (f->fd >= 0 && event_add(f->noticed, NULL) < 0)) {
		host_files_free(f);
		return -ENOMEM;
	}
	*files = f;
	return 0;
}

void host_files_free(struct host_files *files)
{
	if (!files)
		return;
	if (files->noticed)
		event_free(files->noticed);
	if (files->look)
		event_free(files->look);
	if (files->fd >= 0)
		close(files->fd);
	free(files);
}
