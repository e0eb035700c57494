/*
 * Changing the store: one batch, one LMDB transaction.
 *
 * LMDB 0.9 cannot undo a part of a transaction, so each request is checked by reads before its
 * first write; what goes wrong after that ends the whole batch. All rows of a delivery follow from
 * its state in commit_rewrite(), and only there; the rows of T_ENDED follow in commit_mark_ended()
 * and commit_unmark_ended().
 *
 * lmdb_commit.c goes through the batch and keeps the counts of its endpoints; lmdb_delivery.c
 * writes the rows of a delivery; lmdb_outcome.c, lmdb_submit.c and lmdb_sweep.c know the kinds of
 * change. Internal to the LMDB engine; the writer's thread.
 */
#pragma once

#include "lmdb_engine.h"

/* An endpoint that the batch has met: read once, written once. */
struct met {
	uint32_t endpoint;
	bool exists, removed, changed;
	uint64_t promised_bytes; /* while a request is checked: what its events so far would add */
	struct touched touched;
};

struct commit {
	struct engine *engine;
	struct batch *batch;
	struct txn t;
	struct met *met;
	size_t n_met, met_size;
	uint32_t *slots; /* hash: index into met + 1, 0 is free */
	size_t n_slots; /* a power of two */
	size_t pages_left;
	char refusal[256];
	bool meta_changed;
	struct met nobody; /* handed out when memory is out: the batch is lost, what is written here
			      too */
};

/* Never NULL; pointers live until the next call. Without memory the batch is in error. */
struct met *commit_meet(struct commit *c, uint32_t endpoint);

/* ---- A delivery and its event (lmdb_delivery.c) ---- */

bool commit_is_owed(enum delivery_state state);
/* From what it was to what it is: before NULL for a new delivery, after NULL for one that goes. */
void commit_rewrite(struct commit *c, const struct delivery *before, const struct delivery *after);
/* A delivery that is pending may be claimed, from its time on: because it is due at another time
 * now, or because it was claimed and is not any more. */
void commit_note_due(struct commit *c, const struct delivery *d);
/* To be called before a delivery that is delivered or dead changes: its event may have ended. */
void commit_unmark_ended(struct commit *c, const struct event_id *id);
/* To be called after a delivery became delivered or dead, or went: its event may have ended now. */
void commit_mark_ended(struct commit *c, const struct event_id *id);
/* The row that an event which has ended has in T_ENDED; false: it has not. */
bool commit_ended_key(struct commit *c, const struct event_id *id, struct row_key *key);

/* ---- The transaction ---- */

/* Begins; ends with what was counted written and everything on disk, and frees. */
enum engine_result commit_begin(struct commit *c, struct engine *engine, struct batch *batch);
enum engine_result commit_end(struct commit *c);

/* ---- The kinds of change ---- */

void commit_outcome(struct commit *c, struct outcome_op *op);
void commit_submit(struct commit *c, struct submit_op *op);
void commit_delete_key(struct commit *c, const struct row_key *key, int64_t expires_ms);
void commit_verb(struct commit *c, struct verb_op *op);
/* How many of its deliveries a batch works on. */
size_t commit_verb_slice(const struct verb_op *op);
void commit_house(struct commit *c);
