/*
 * The receivers: what each endpoint's server does with a request at the moment.
 */
#pragma once

#include <stdint.h>

#include "../../daemon/attempt_frame.h"

#define RECEIVERS_MAX 64

/* Everybody answers well, from now on until the next mood. */
void receivers_calm(void);
/* One changes its mood. */
void receiver_change(unsigned receiver);

/* What it does with a request: how long it takes, and the outcome as a sender would report it. */
struct reaction {
	int64_t after_us;
	struct sender_outcome outcome;
	int64_t retry_after_wall_s; /* the date that Retry-After names; 0: none, or seconds */
};
struct reaction receiver_react(unsigned receiver, uint32_t timeout_ms);
