/*
 * What people, programs and the world do to hookd: one throw of the dice, one action.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void actions_reset(void);
/* The machine and its configuration, before hookd starts for the first time. */
void actions_begin(void);
void actions_add_endpoints(void); /* the first ones */
bool actions_act(void); /* false: hookd was not there for it */

/* Everything works again, nothing is paused, nothing is refused. */
void actions_calm(void);

/* After so many turns of the loop hookd is to be killed; 0: it is not. */
unsigned actions_kill_in(void);
/* How long a stopped or killed hookd stays away. */
int64_t actions_downtime_us(void);
/* How long until the next action. */
int64_t actions_pause_us(void);

/* Questions that hookd has not answered. */
unsigned actions_open(void);
