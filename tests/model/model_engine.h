/*
 * The store engine in its simplest form: arrays in memory, searched from end to end. It is the
 * oracle of the conformance suite, and what simulations run on. Nothing survives its close().
 */
#pragma once

#include "../../daemon/store/engine.h"

extern const struct engine_verbs engine_model;
