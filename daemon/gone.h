/*
 * An endpoint that answered 410 Gone is paused by hookd, and the log says so.
 *
 * Main thread.
 */
#pragma once

#include <stdint.h>

#include "clock.h"
#include "store/store.h"

/* revision: of the settings that the request was made from. If they have changed since, the answer
 * was about something else, and nothing is done. */
void gone_pause(struct store *store, struct clock *clock, uint32_t endpoint, uint32_t revision);
