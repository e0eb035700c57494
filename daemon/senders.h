/*
 * The sender processes: starting them, handing attempts to them, replacing them when they die.
 *
 * A generation of senders shares one configuration; a new one starts beside the old, which finishes
 * what it has and leaves. Each sender takes up to max_in_flight attempts; an endpoint goes to its
 * home sender while that has room, so that connections are used again. A sender that does not
 * answer in time is ended like one that died.
 *
 * Suspects, which may kill senders, share one that is theirs only: some at a time, twice as many
 * whenever one has ended well, and one after it died. Who was alone in it when it died has killed
 * it.
 *
 * Senders confine themselves (sender/confine.h), and so read files of the machine only at their
 * start: when one of those changes, a new generation takes over.
 *
 * Main thread. What a sender says is taken for an enemy's word: one that names an attempt it does
 * not have is ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "attempt_frame.h"

struct event_base;
struct senders;

/* An attempt in a sender's hands. Embedded by its owner. */
struct sending_job {
	struct sending_job *next, **at; /* among its sender's; at NULL: with none */
	struct sender *sender;
	uint32_t index; /* in the table of slots */
	uint64_t deadline; /* in ticks: its sender hangs */
};

struct senders_callbacks {
	/* An attempt has ended, one way or the other; the job is with no sender any more. */
	void (*outcome)(void *user, struct sending_job *job, const struct sender_outcome *outcome);
	/* Its sender died before it ended. guilty: it was the only suspect there. */
	void (*lost)(void *user, struct sending_job *job, bool guilty);
	/* Its sender, one for suspects, never began to work. */
	void (*unsent)(void *user, struct sending_job *job);
	/* There is room again. */
	void (*room)(void *user);
};

struct senders_options {
	struct event_base *base;
	const char *path; /* of hookd-sender */
	unsigned count;
	const struct senders_callbacks *callbacks;
	void *user;
};

/* Returns 0 or a negative errno. */
int senders_new(struct senders **senders, const struct senders_options *options);
void senders_free(struct senders *senders); /* ends them, within a second; NULL is fine */

/* Starts a generation with this configuration; the one before finishes and leaves. */
void senders_configure(struct senders *senders, const struct sender_config *config);

/* How many more attempts fit. */
unsigned senders_free_slots(const struct senders *senders);
unsigned senders_in_flight(const struct senders *senders);
unsigned senders_running(const struct senders *senders); /* of the current generation */
uint64_t senders_restarts(const struct senders *senders);
const char *senders_problem(const struct senders *senders); /* why they cannot start; "" */

/* May another suspect be sent? */
bool senders_take_suspect(const struct senders *senders);

/*
 * Hands an attempt over; request->slot is filled in. Returns 0, or -EAGAIN (no sender has room), or
 * -ENOMEM.
 */
int senders_send(struct senders *senders, struct sending_job *job, uint32_t endpoint,
	struct sender_request *request, bool suspect);
