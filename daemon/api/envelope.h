/*
 * What producers write: envelopes (a JSON object with type, data and a few more), and batches of
 * them, one a line.
 *
 * Pure, without copying payloads: the data of an envelope is an extent of the text it came in.
 * Every refusal names the member and what was expected.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../../lib/json_span.h"
#include "../event.h"
#include "../name.h"
#include "../problem.h"

/* An event as it came, before it is made ready for the store. */
struct arriving {
	char type[TYPE_MAX_LEN + 1], tenant[NAME_MAX_LEN + 1], key[EVENT_KEY_MAX + 1];
	bool has_key, has_timestamp;
	int64_t timestamp_wall_ms, deliver_at_wall_ms;
	struct span payload; /* the body, or the data of an envelope */
	const char *content_type;
	bool envelope;
};

/* All of these return 0 or the problem's code. wall_ms: now. */

int envelope_read(
	struct arriving *arriving, struct span text, int64_t wall_ms, struct problem *problem);

/* One member but data, by its name, from wherever it came: the query has them, too. */
int envelope_take_member(struct arriving *arriving, const char *name, const char *text, size_t len,
	int64_t wall_ms, struct problem *problem);
int envelope_take_key(
	struct arriving *arriving, const char *text, size_t len, struct problem *problem);

/* The next line of a batch that is not empty, without its line end; its number counts from 1 and
 * is to start with 0. rest goes on behind it. Returns false when there is none. */
bool envelope_next_line(struct span *rest, struct span *line, unsigned *number);
