/* Ids as people give them, an event or a delivery EVENT/ENDPOINT; and fresh ones. */
#pragma once

#include <stdbool.h>

#include "../lib/event_id.h"
#include "ctl.h"

#define EVENT_PART_SIZE 31

/* endpoint: in text, NULL for an event. False: it is no id. */
bool split_id(const char *text, char event[static EVENT_PART_SIZE], const char **endpoint);

/* The same of an argument: complains about what is no id. Returns 0 or EXIT_USAGE. */
int parse_id(const struct ctl *ctl, const char *text, char event[static EVENT_PART_SIZE],
	const char **endpoint);

/* One that grows with time, for an event or an idempotency key. what: for the complaint. Returns 0
 * or EXIT_FAILED. */
int make_id(const char *what, struct event_id *id);
