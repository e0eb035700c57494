/*
 * hookd's queue process without its sockets: the parts that main.c puts together, started, killed,
 * stopped and started again in the same order as there.
 *
 * What the store tells and what dispatch does is passed on to the oracle on the way (watch.c is the
 * other half of this).
 */
#pragma once

#include <stdbool.h>

#include "../../daemon/clock.h"
#include "../../daemon/config.h"
#include "../../daemon/dispatch.h"
#include "../../daemon/secretbox.h"
#include "../../daemon/store/store.h"

enum hookd_state { HOOKD_DOWN, HOOKD_UP, HOOKD_STOPPING };

struct hookd {
	enum hookd_state state;
	struct config config;
	struct config next_config; /* what hookd.conf says, for the next start or reload */
	struct clock clock;
	struct metrics metrics;
	struct secretbox box;
	struct reports *reports;
	struct dispatch *dispatch;
	struct store *store;
	int64_t stops_at_us; /* when patience ends; INT64_MAX */
	bool idle, broken;
	bool answers; /* producers and administrators hear what hookd says */
};
extern struct hookd hookd;

void hookd_start(void);
void hookd_kill(void); /* from one moment to the next */
void hookd_begin_stop(void);
/* Goes on with a stop that has begun: down, once it is idle or out of patience. */
void hookd_go_on_stopping(void);
void hookd_reload(void);
