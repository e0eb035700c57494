/*
 * The store's writer thread: the only one that changes anything.
 *
 * It sleeps until something waits, takes as much of it as a batch may hold, has the engine commit
 * it, and posts a report; after the commit it claims what was asked for. No timer delays what
 * somebody waits for: an idle store commits a single event at once, a busy one commits what came in
 * meanwhile together. For the outcome of an attempt nobody waits; it is committed with the next
 * request that comes, with many others like it, or after ten milliseconds.
 * Beside the requests it keeps house: forgets what is old, and lets die what removed endpoints were
 * owed, in slices.
 *
 * The functions here are called from the main thread, and hand over. The claimed set (what the
 * caller has claimed and not yet ended) belongs to the thread. Internal to store.
 */
#pragma once

#include "../clock.h"
#include "mailbox.h"
#include "store.h"

struct writer;

/* One answer of claims, part of a report. */
struct claim_answer {
	struct claim_answer *next;
	uint32_t endpoint;
	struct claimed *list;
	int64_t next_due_ms;
};

/* What came of a round of the writer; opened on the main loop, freed by report_free(). */
struct report {
	struct letter letter;
	void *user;
	enum engine_result result;
	char why[256]; /* ENGINE_BROKEN */
	struct op *ops; /* in order; those of verbs only when finished */
	unsigned n_requests;
	struct batch batch; /* touched */
	struct claim_answer *claims;
	int64_t commit_us;
	int64_t used_bytes, disk_free_bytes;
	unsigned n_early;
};

void report_free(struct report *report);

struct writer_options {
	const struct engine_verbs *verbs;
	struct engine *engine;
	const struct clock *clock;
	struct store_settings settings;
	int64_t stop_ms, lag_ms;
	struct mailbox *mailbox;
	void (*on_report)(struct letter *letter);
	void *user;
};

/* Returns 0 or -ENOMEM. The thread starts with writer_start(). */
int writer_new(struct writer **writer, const struct writer_options *options);
int writer_start(struct writer *writer);
/* Works on what waits, then ends the thread. */
void writer_stop(struct writer *writer);
void writer_free(struct writer *writer); /* NULL is fine */

void writer_set_settings(struct writer *writer, const struct store_settings *settings);

/* Before the start: a removed endpoint that is still owed something. */
void writer_remove_later(struct writer *writer, uint32_t endpoint);

bool writer_submit(struct writer *writer, struct submit_op *op); /* false: too much waits */
void writer_change(struct writer *writer, struct op *op); /* outcomes, endpoints, sending, verbs */
/* After a report of a broken store, which is the thread's last: what it did not take any more, with
 * that result. */
struct op *writer_take_back(struct writer *writer);
void writer_claim(struct writer *writer, uint32_t endpoint, int64_t until_ms, unsigned max_n,
	size_t max_bytes);
void writer_unclaim(struct writer *writer, struct claimed *claimed);
bool writer_is_alive(struct writer *writer);
