/*
 * What has to be true of every delivery, whatever hookd does.
 *
 * The oracle knows the table "What happens to a delivery" of doc/api.md and the rules of hookd(8),
 * and follows along at four places: what the engine commits and what is claimed from it
 * (disk.h), what dispatch hands to senders and to the store (watch.c), what arrives at
 * receivers (worker.h), and what hookd's main thread has come to know. At each of them it compares
 * what happened with what it expects, and fails the seed in words.
 *
 * It shares no code with delivery.c, retry.c and schedule.c. oracle.c follows what is stored,
 * attempts.c what is attempted; what concerns an endpoint as a whole (limits, turns) is in
 * limits.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../daemon/attempt_frame.h"
#include "../../daemon/dispatch.h"
#include "../../daemon/senders.h"
#include "../../daemon/store/engine.h"
#include "receivers.h"

void oracle_reset(void);

/* How long what has ended is kept. */
void oracle_keep(int64_t delivered_ms, int64_t dead_ms);

/* hookd is gone with all that it knew; for a reason that cuts attempts off. */
void oracle_crashed(void);

/* ---- At the engine ---- */

/* A batch was committed. verb_at and verb_changed: of its verb, before the batch. */
void oracle_committed(const struct batch *batch, const struct engine *engine, bool full,
	bool pressed, size_t verb_at, size_t verb_changed);
void oracle_claimed(const struct claim *claim);
/* The event of a claimed delivery is damaged on disk, as far as hookd can see. */
void oracle_damaged(const struct delivery *delivery);

/* ---- On hookd's main thread ---- */

/* A batch was reported. */
void oracle_reported(void);
/* Does hookd know what the engine knows, with nothing on its way? */
bool oracle_is_reported(void);

/* A request was handed to a sender, or could not be. */
void oracle_sent(const struct senders *senders, uint32_t endpoint,
	const struct sender_request *request, bool suspect);
void oracle_not_sent(uint32_t endpoint, const struct sender_request *request);
void oracle_outcome(const struct outcome *outcome);
void oracle_given_back(const struct delivery *delivery);

/* Answers to producers: an event is stored. */
void oracle_acknowledged(const struct event_id *event);

/* ---- At receivers ---- */

struct oracle_arrival {
	struct event_id event;
	unsigned receiver;
	bool is_test, is_poison;
};
struct oracle_arrival oracle_arrives(const struct sender_request *request);
void oracle_reacted(const struct oracle_arrival *arrival, const struct reaction *reaction);
/* The sender died over it. */
void oracle_cut_off(const struct oracle_arrival *arrival);

/* ---- At rest ---- */

/* Nothing can happen before time goes on. */
void oracle_rests(const struct senders *senders);
/* What people are told of a pending delivery, by chance. */
void oracle_asks_why(struct dispatch *dispatch, struct registry *registry);
/* Everything has come to its end. all_forgotten: retention has had its time, too. */
void oracle_ends(bool all_forgotten);

/* Is no delivery pending or under way? */
bool oracle_is_finished(void);
/* How many there are, by endpoint and state. False: as many as the last time. */
bool oracle_count(uint64_t counts[static RECEIVERS_MAX][N_DELIVERY_STATES]);

/* A delivery that is stored, or was lately, by chance. False: there is none. */
bool oracle_any(struct delivery_ref *ref);
/* The type of events whose attempts kill senders. */
#define POISON_TYPE "poison.pill"
