/*
 * What has to be true of an image: what was promised up to the place in the log at which the power
 * went.
 *
 * It comes from two sources. The ledger, written by who made the load when all was over, tells what
 * every event is that hookd answered with an id. The log tells since when it is promised: from the
 * first time that the id leaves hookd, be it in an answer to the producer, a list, or a request on
 * its way to a receiver. Whatever was told to anybody has to last.
 *
 * Marks in the log are lines of words:
 *
 *     may EVENT ENDPOINT STATES
 *         something was begun that can bring the delivery into these states, too
 *         (pending|held|delivered|dead|gone)
 *     must EVENT ENDPOINT STATES
 *         it was confirmed: the delivery is in one of these, and stays
 *     retention
 *         from here on events that ended may be forgotten
 *     endpoint NAME REVISION
 *         confirmed: the endpoint is there, changed so often or more; 0: perhaps
 *     backup-begin
 *         what was promised before is in the backup to come
 *     backup FILE
 *         which was confirmed
 *     sending active|paused|any
 *         confirmed; or being changed
 *     damaged
 *         from here on the data file may have to be made anew, once
 *     mended
 *         confirmed: it was, and is sound
 *     keys 1|2
 *         confirmed: there is only one master key; or it is being changed
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../daemon/delivery.h"
#include "../../daemon/event.h"

#define FACTS_TARGETS_MAX 8
#define STATE_GONE STATE_BIT(0) /* beside the states of a delivery, of which none is 0 */

struct owed {
	char endpoint[65];
	unsigned allowed; /* states, as bits */
};

struct known_event {
	struct event_id id;
	char text[EVENT_ID_TEXT_SIZE];
	char key[64]; /* empty: none */
	uint8_t digest[EVENT_DIGEST_LEN];
	char type[32], content_type[64];
	const uint8_t *payload;
	size_t payload_len;
	struct owed owed[FACTS_TARGETS_MAX];
	size_t n_owed;
	bool promised, in_backup;
};

struct known_endpoint {
	char name[65];
	unsigned revision;
};

struct facts {
	struct known_event *events; /* sorted by id */
	size_t n_events, n_promised, n_dropped;
	struct known_endpoint endpoints[32];
	size_t n_endpoints;
	bool retention;
	bool *in_next_backup; /* by event */
	char backup[256]; /* path below the root; empty: none */
	enum { SENDING_ANY, SENDING_ACTIVE, SENDING_PAUSED } sending;
	bool damaged, one_key;
};

/* Reads FILE and the payloads in FILE.payloads. Exits when it cannot. */
struct facts *facts_read(const char *ledger);

/* What an answer tells, and what a mark says. */
void facts_answer(struct facts *facts, const uint8_t *bytes, size_t len);
void facts_mark(struct facts *facts, const uint8_t *line, size_t len);

/* May the event as a whole have been forgotten by now? */
bool facts_may_be_gone(const struct facts *facts, const struct known_event *event);
