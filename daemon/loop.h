/*
 * event_add(3) takes memory for some of its events. Whoever goes on without one waits for ever for
 * what it would have told: a signal, a deadline, room in a socket.
 */
#pragma once

#include <event2/event.h>

#include "out_of_memory.h"

/* Does not return without memory. */
static inline void loop_add(struct event *event, const struct timeval *after)
{
	if (event_add(event, after) < 0)
		out_of_memory("an event to wait for");
}
