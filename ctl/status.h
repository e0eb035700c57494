/* What other commands want to know of hookd as a whole. */
#pragma once

#include <jansson.h>

#include "ctl.h"

/* The part about sending: "state", "since", "reason". sending is the caller's to free. Returns 0 or
 * an exit status. */
int get_sending(struct ctl *ctl, json_t **sending);
