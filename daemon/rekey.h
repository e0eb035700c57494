/*
 * Changing the master key while hookd does everything else.
 *
 * The secrets of all endpoints are sealed anew with the current key, some at a time; then the store
 * is marked with the current key, and the previous one is dropped. Until then both keys are there,
 * so that nothing is lost whenever hookd is killed. A change begins when a person asks for a new
 * key in the data directory, or at the start if there is a previous key: so one that was cut off
 * goes on, and so a key that comes as a credential is changed, by handing in both.
 *
 * No backup is made meanwhile: each is sealed with one key.
 *
 * Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "secretbox.h"
#include "store/store.h"

struct rekey;

struct rekey_options {
	struct event_base *base;
	struct secretbox *box;
	struct store *store;
	const char *data_directory;
};

/* NULL without memory. */
struct rekey *rekey_new(const struct rekey_options *options);
/* After store_finish(). Who waits is told that hookd stops. NULL is fine. */
void rekey_free(struct rekey *rekey);

/* The store works: goes on with a change, if there is a previous key. */
void rekey_start(struct rekey *rekey);

/* Makes a new key and begins to use it, unless a change is under way. Returns 0 or a problem code.
 */
int rekey_begin(struct rekey *rekey, struct problem *problem);

/* Waits for the end of the change that is under way. */
struct rekey_wait {
	void (*done)(struct rekey_wait *wait, const struct problem *problem);
	struct rekey_wait *next; /* rekey's */
};

void rekey_wait(struct rekey *rekey, struct rekey_wait *wait);

struct rekey_state {
	bool under_way;
	/* The previous key was a credential, and is not needed any more. */
	bool credential_is_spare;
	size_t n_sealed; /* by the change that is under way, or the last one */
};

struct rekey_state rekey_state(const struct rekey *rekey);
