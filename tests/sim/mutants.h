/*
 * Bugs to be planted, one at a time, to show that the simulation finds their kind. Each changes
 * what one call between hookd's rooms does; none is ever built into hookd.
 */
#pragma once

#include <stdbool.h>

#include "../../daemon/store/engine.h"

bool mutants_choose(const char *name); /* false: there is none of this name */
void mutants_list(void);
void mutants_reset(void); /* before each seed */

/* What a claim passes over, and what it brings; from disk.c. */
void mutants_before_claim(struct claim *claim);
void mutants_after_claim(struct engine *engine, struct claim *claim);
