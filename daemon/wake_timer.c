#include "wake_timer.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>

struct wake_timer {
	int fd;
	struct event *readable;
	int64_t boot_ms; /* what it is set to */
	void (*wake)(void *user);
	void *user;
};

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct wake_timer *timer = user;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0)
		return;
	timer->boot_ms = WAKE_NEVER;
	timer->wake(timer->user);
}

struct wake_timer *wake_timer_new(struct event_base *base, void (*wake)(void *user), void *user)
{
	struct wake_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->boot_ms = WAKE_NEVER;
	timer->wake = wake;
	timer->user = user;
	timer->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->fd >= 0)
		timer->readable =
			event_new(base, timer->fd, EV_READ | EV_PERSIST, on_readable, timer);
	if (!timer->readable || event_add(timer->readable, NULL) < 0) {
		wake_timer_free(timer);
		return NULL;
	}
	return timer;
}

void wake_timer_set(struct wake_timer *timer, int64_t boot_ms)
{
	struct itimerspec when = {0}; /* disarms it */

	if (boot_ms == timer->boot_ms)
		return;
	timer->boot_ms = boot_ms;
	if (boot_ms != WAKE_NEVER) {
		if (boot_ms < 1)
			boot_ms = 1;
		when.it_value = (struct timespec){boot_ms / 1000, boot_ms % 1000 * 1000000};
	}
	timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void wake_timer_free(struct wake_timer *timer)
{
	if (!timer)
		return;
	if (timer->readable)
		event_free(timer->readable);
	if (timer->fd >= 0)
		close(timer->fd);
	free(timer);
}
