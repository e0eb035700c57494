#include "data_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int data_lock(const char *directory, struct problem *problem)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (fd >= 0 && errno == EWOULDBLOCK)
		problem_set(problem, PROBLEM_INVALID, NULL,
			"another hookd uses the data directory %s", directory);
	else
		problem_set(problem, PROBLEM_INVALID, NULL, "cannot lock %s: %s", path,
			strerror(errno));
	if (fd >= 0)
		close(fd);
	return -EIO;
}
