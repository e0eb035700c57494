/*
 * The store engine in its simplest form: arrays in memory, searched from end to end. It is the
 * oracle of the conformance suite, and what the simulation runs on. Nothing survives its close().
 */
#pragma once

#include "../../daemon/store/engine.h"

extern const struct engine_verbs engine_model;

/* What an open() would find, had the engine been kept over a restart. */
struct engine_found model_engine_found(const struct engine *model);

/* Shows every delivery, in the order of events and endpoints, to who counts them himself. */
void model_engine_each_delivery(const struct engine *model,
	void (*found)(void *user, const struct delivery *delivery), void *user);
