/*
 * The store as the daemon sees it: requests go in on the main thread, answers come back on its
 * loop.
 *
 * Behind it work three kinds of thread, all started here. The writer is the only one that changes
 * anything: it takes whatever waits, makes one batch of it, has the engine commit that, and
 * reports; then, on the state just committed, it claims what is due. The reader answers queries one
 * after another. A backup runs in a thread of its own. Requests are handed over and back as
 * messages; between threads nothing else is shared.
 *
 * A request is a struct that its owner embeds, keeps alive until its done function is called, and
 * may free there. All functions and callbacks: main thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../clock.h"
#include "../problem.h"
#include "../secretbox.h"
#include "engine.h"
#include "registry.h"

struct event_base;
struct store;

/* What may change while hookd runs. */
struct store_settings {
	struct store_limits limits;
	int64_t keep_delivered_ms, keep_dead_ms;
};

/* What happened, told to who is interested; user is that of store_options. */
struct store_callbacks {
	/* An endpoint's deliveries changed. before: as the slot was; the slot is up to date. */
	void (*touched)(void *user, struct slot *slot, const struct slot *before,
		const struct touched *touched);
	/* A removed endpoint to which nothing refers any more is about to go. */
	void (*forgetting)(void *user, struct slot *slot);
	/* Settings changed (or an endpoint appeared: before is NULL). Called before done of the
	 * edit. */
	void (*edited)(void *user, struct slot *slot, const struct endpoint *before);
	/* What store_claim() asked for. list is the receiver's, to be given back with
	 * store_unclaim(), or ended by an outcome. */
	void (*claimed)(void *user, uint32_t endpoint, struct claimed *list, int64_t next_due_ms);
	/* A batch was committed. */
	void (*committed)(void *user, unsigned n_requests, int64_t commit_us);
	/* store_open() mends what is damaged: a line for the administrator, or NULL, now and then.
	 */
	void (*mending)(void *user, const char *line);
	/* Delivered events were forgotten before their time to make room. */
	void (*early)(void *user, unsigned n_events);
	/* The store is lost: nothing that was not answered is known to be stored. hookd has to
	 * stop. */
	void (*broken)(void *user, const char *why);
};

struct store_options {
	const char *directory;
	const struct engine_verbs *engine;
	struct store_settings settings;
	struct clock *clock; /* started by store_open() */
	const struct clock_source *clock_source;
	const struct secretbox *box; /* seals and opens; its keys may change */
	struct event_base *base;
	const struct store_callbacks *callbacks;
	void *user;
};

/* Opens the engine and reads the endpoints. Returns 0, or with the reason -EIO or -EBADMSG: what is
 * on disk is damaged. */
int store_open(struct store **store, const struct store_options *options, struct problem *problem);

/* Starts the threads; from then on requests are worked on. Returns 0 or a negative errno. */
int store_start(struct store *store);

/* Finishes what was handed in, answers it, and ends the threads. What is handed in from then on is
 * answered at once: ENGINE_BROKEN. */
void store_finish(struct store *store);

/* Closes the engine and frees all; finishes before if that was not done. NULL is fine. */
void store_close(struct store *store);

void store_set_settings(struct store *store, const struct store_settings *settings);

struct registry *store_registry(struct store *store);
const struct sending *store_sending(const struct store *store);

/* Ids for new events, growing over restarts. */
struct event_id store_next_id(struct store *store, int64_t now_ms);

/* ---- Changes ---- */

/* False: too much waits already, nothing was taken. */
bool store_submit(struct store *store, struct submit_op *op);
void store_outcome(struct store *store, struct outcome_op *op);
void store_verb(struct store *store, struct verb_op *op);
void store_set_sending(struct store *store, struct sending_op *op);

/*
 * A change to an endpoint. apply gets a draft of the settings as they are when its turn comes, and
 * changes it or returns a problem code; changes to one endpoint never overlap. For a new endpoint
 * the draft is empty but for its number, which is used up when apply returns 0.
 */
struct endpoint_edit {
	uint32_t number; /* of one that creates: set when it is used up */
	bool creates;
	bool reseals; /* nothing changes but the seal of its secrets; removed ones, too. No apply */
	int (*apply)(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem);
	/* problem.code PROBLEM_NONE: done. PROBLEM_UNKNOWN: the store broke. */
	void (*done)(struct endpoint_edit *edit, struct slot *slot, const struct problem *problem);
	struct endpoint_edit *next; /* store's */
};

void store_edit(struct store *store, struct endpoint_edit *edit);

/* The id of the master key that the store is marked with. Before it is marked with another one no
 * record may need this one any more. */
const uint8_t *store_key_id(const struct store *store);
void store_set_key(struct store *store, struct key_op *op);

/* The box has a new current key: every record that there is needs the previous one, until it is
 * sealed anew (slot->old_key). */
void store_key_changed(struct store *store);

/* How many endpoints of this name (NULL: of any) are being created, and not yet in the registry. */
size_t store_creating(const struct store *store, const char *tenant, const char *name);

/* ---- What is due ---- */

/* Asks for up to max_n deliveries of the endpoint that are due; the answer is callbacks.claimed. */
void store_claim(
	struct store *store, uint32_t endpoint, int64_t until_ms, unsigned max_n, size_t max_bytes);

/* Gives a claimed delivery back unattempted; frees it. */
void store_unclaim(struct store *store, struct claimed *claimed);

/* ---- Reading ---- */

enum query_kind {
	QUERY_DELIVERIES,
	QUERY_EVENTS,
	QUERY_EVENT,
	QUERY_HISTORY,
	QUERY_AGES,
	QUERY_STATS
};

struct store_query {
	enum query_kind kind;
	/* In: what query and page below belong to the kind. Strings and arrays stay the owner's. */
	struct delivery_query deliveries;
	struct event_query events;
	struct age_query ages;
	struct delivery_ref ref; /* QUERY_HISTORY; QUERY_EVENT uses ref.event */
	bool with_payload;
	/* Out: */
	enum engine_result result;
	union {
		struct delivery_page delivery_page;
		struct event_page event_page;
		struct event_row event_row;
		struct history history;
		struct age_page age_page;
		struct engine_stats stats;
	} answer; /* the owner's to clear */
	void (*done)(struct store_query *query);
	struct store_query *next; /* store's */
};

void store_ask(struct store *store, struct store_query *query);

/* One at a time: false while another is being made. The copy appears at path. */
struct store_backup {
	char path[4096];
	int64_t bytes;
	struct problem problem;
	void (*done)(struct store_backup *backup);
};

bool store_backup(struct store *store, struct store_backup *backup);
bool store_is_backing_up(const struct store *store);

/* ---- Is it alive? ---- */

/* Has the writer moved since the last call, or been at work on one batch, and at what is read right
 * behind it, for less than five minutes? Prods it. */
bool store_is_alive(struct store *store);

/* Numbers of the last batch, for status and metrics. */
struct store_numbers {
	int64_t used_bytes, disk_free_bytes, commit_us;
};

struct store_numbers store_numbers(const struct store *store);
