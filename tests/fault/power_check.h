/*
 * Opens an image of a disk as hookd would, and compares what is there with what was promised.
 *
 * The way in is that of main.c: the master key, then store_open(). Then every promised event is
 * read through the engine, its payload byte for byte, and its deliveries; every promised
 * idempotency key is submitted again, together with an event that is new; and the tables are
 * compared with each other, as hookd --check-data does, before and after that. A confirmed backup
 * is looked through in the same way.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "power_facts.h"

/* directory: holds "data", if that survived. The image is changed. Returns false and the first
 * thing that is wrong in words. May crash: call it in a process of its own. */
bool check_image(const struct facts *facts, const char *directory, char *text, size_t size);
