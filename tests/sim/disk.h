/*
 * The store engine of the simulation: the model (tests/model), which outlives crashes of hookd,
 * takes its time over a commit, and is full, pressed or broken when the dice or actions.c say so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../../daemon/store/engine.h"

extern const struct engine_verbs disk_engine;

struct disk_troubles {
	bool full; /* new events are refused */
	bool pressed; /* above the mark where old events give way */
	int64_t slowest_us; /* commit */
	unsigned damages_once_in; /* claimed deliveries; 0: never */
	enum { NOTHING, BEFORE_COMMIT, AFTER_COMMIT, CLAIM } breaks_next;
	bool crashes_next; /* hookd is killed in the middle of the next commit */
};
extern struct disk_troubles disk_troubles;

void disk_new(void); /* empty */
void disk_free(void);

/* hookd is dead: nothing it still tries has an effect. */
void disk_detach(bool dead);
/* A commit with crashes_next has come to the point where hookd is to be killed. */
bool disk_wants_crash(void);

/* What retention leaves out because hookd was stopped for so long. */
int64_t disk_lag_ms(void);
/* The latest queue time that is stored; 0: none. */
int64_t disk_queue_ms(void);
