#include "loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <event2/event.h>

#include "dice.h"
#include "kernel.h"
#include "threads.h"

struct event {
	int fd;
	short what;
	event_callback_fn callback;
	void *user;
	bool waits; /* for its descriptor or signal */
	bool active;
	int64_t due_us; /* INT64_MAX: no timer */
	int64_t interval_us; /* of one that persists */
	size_t at; /* in the list of all */
};

static struct event **all;
static size_t n_all, all_size;

struct event_base *loop_base(void)
{
	static char base;

	return (struct event_base *)(void *)&base; /* nobody looks inside */
}

void loop_reset(void)
{
	free(all);
	all = NULL;
	n_all = all_size = 0;
}

/* ---- What libevent does ---- */

struct event *event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *user)
{
	struct event *event = calloc(1, sizeof(*event));

	(void)base;
	if (!event)
		return NULL;
	if (n_all == all_size) {
		all_size = all_size ? 2 * all_size : 64;
		all = realloc(all, all_size * sizeof(struct event *));
		assert(all);
	}
	*event = (struct event){.fd = fd,
		.what = what,
		.callback = callback,
		.user = user,
		.due_us = INT64_MAX,
		.at = n_all};
	all[n_all++] = event;
	return event;
}

int event_add(struct event *event, const struct timeval *after)
{
	if (event->what & (EV_READ | EV_WRITE | EV_SIGNAL))
		event->waits = true;
	if (after) {
		int64_t us = (int64_t)after->tv_sec * 1000000 + after->tv_usec;

		event->due_us = kernel_mono_us() + us;
		event->interval_us = event->what & EV_PERSIST ? us : 0;
	}
	return 0;
}

int event_del(struct event *event)
{
	event->waits = event->active = false;
	event->due_us = INT64_MAX;
	return 0;
}

void event_active(struct event *event, int what, short n_calls)
{
	(void)what, (void)n_calls;
	event->active = true;
}

int event_pending(const struct event *event, short what, struct timeval *when)
{
	(void)when;
	return (what & EV_TIMEOUT && event->due_us != INT64_MAX ? EV_TIMEOUT : 0) |
		(event->waits ? what & event->what : 0);
}

void event_free(struct event *event)
{
	all[event->at] = all[--n_all];
	all[event->at]->at = event->at;
	free(event);
}

/* ---- Turns ---- */

static bool is_ready(const struct event *event)
{
	return event->active || event->due_us <= kernel_mono_us() ||
		(event->waits && event->what & EV_READ && kernel_is_readable(event->fd)) ||
		(event->waits && event->what & EV_WRITE && kernel_is_writable(event->fd));
}

static void run(struct event *event)
{
	bool timed = event->due_us <= kernel_mono_us();

	event->active = false;
	if (!(event->what & EV_PERSIST))
		event_del(event);
	else if (timed)
		event->due_us = kernel_mono_us() + event->interval_us;
	event->callback(event->fd, timed ? EV_TIMEOUT : event->what, event->user);
}

bool loop_turn(void)
{
	struct event *chosen = NULL;
	int thread = -1;
	uint32_t n = 0;

	for (size_t i = 0; i < n_all; i++) {
		if (is_ready(all[i]) && dice(++n) == 0)
			chosen = all[i];
	}
	for (int i = 0; i < THREADS_MAX; i++) {
		if (threads_can_run(i) && dice(++n) == 0)
			thread = i;
	}
	if (thread >= 0)
		threads_run(thread);
	else if (chosen)
		run(chosen);
	return n > 0;
}

int64_t loop_next_us(void)
{
	int64_t next_us = kernel_next_timer_us(), threads_us = threads_next_us();

	if (threads_us < next_us)
		next_us = threads_us;
	for (size_t i = 0; i < n_all; i++) {
		if (all[i]->due_us < next_us)
			next_us = all[i]->due_us;
	}
	return next_us < kernel_mono_us() ? kernel_mono_us() : next_us;
}

void loop_signal(int number)
{
	for (size_t i = 0; i < n_all; i++) {
		if (all[i]->waits && all[i]->what & EV_SIGNAL && all[i]->fd == number)
			all[i]->active = true;
	}
}
