/*
 * A wall clock that tests can step, for LD_PRELOAD: CLOCK_REALTIME is off by as many seconds as the
 * file that WALL_CLOCK names says, read at each call. All other clocks, and timers, are the
 * kernel's: libfaketime would bend the absolute timers of CLOCK_BOOTTIME as well.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void)
{
	const char *path = getenv("WALL_CLOCK");
	char text[32] = "";
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int r = (int)syscall(SYS_clock_gettime, id, now);

	if (r == 0 && id == CLOCK_REALTIME)
		now->tv_sec += offset_s();
	return r;
}

int gettimeofday(struct timeval *now, void *zone)
{
	struct timespec fine;
	int r = clock_gettime(CLOCK_REALTIME, &fine);

	(void)zone;
	now->tv_sec = fine.tv_sec;
	now->tv_usec = fine.tv_nsec / 1000;
	return r;
}

time_t time(time_t *now)
{
	struct timespec fine;

	clock_gettime(CLOCK_REALTIME, &fine);
	if (now)
		*now = fine.tv_sec;
	return fine.tv_sec;
}
