/*
 * What the log says of endpoints: edges, not attempts. A line when an endpoint begins to fail,
 * every five minutes while it does, when it works again; dead letters up to ten a minute and
 * endpoint, then a count.
 *
 * Main thread.
 */
#pragma once

#include <stdint.h>

#include "clock.h"
#include "delivery.h"
#include "store/registry.h"

struct event_base;
struct reports;

struct reports *reports_new(struct event_base *base, struct clock *clock);
void reports_free(struct reports *reports); /* NULL is fine */

/* An endpoint's counts changed. next_due_ms: the next attempt that is known of; INT64_MAX. */
void reports_health(struct reports *reports, const struct slot *slot, const struct slot *before,
	int64_t next_due_ms);

/* A delivery became a dead letter. message: of its last attempt. */
void reports_dead(struct reports *reports, const struct slot *slot, const struct delivery *delivery,
	const char *type, const char *message, size_t message_len);

/* Delivered events were forgotten before their time. */
void reports_early(struct reports *reports, unsigned n_events);

void reports_forget(struct reports *reports, const struct slot *slot);
