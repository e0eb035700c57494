/*
 * Making a damaged data file anew from what is sound in it.
 *
 * What was given or happened is copied: endpoints, events, deliveries, attempts, keys. What follows
 * from it is made again: counts, and the indexes of what is due, what stands with an endpoint, the
 * dead, ended events and keys that expire. They carry no checksum, and a row of theirs that is gone
 * would leave a delivery owed for ever unseen. A delivery whose own record is damaged becomes a
 * dead letter. Without the endpoints' records and the first one there is nothing to be made anew.
 *
 * Runs at the start, on the main thread, before anything is served. Internal to the LMDB engine.
 */
#pragma once

#include "lmdb_engine.h"

/* Closes the engine's file, and leaves the new one in its place, to be opened, and the old one
 * beside it as DATA_FILE ".damaged". Returns 0, -EIO or -EBADMSG; then the old file is where it
 * was.
 */
int lmdb_rebuild(struct engine *engine, const char *path, const struct engine_options *options,
	struct problem *problem);
