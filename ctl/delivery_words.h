/* Deliveries and attempts in words, as tables and stories have them. */
#pragma once

#include <jansson.h>

#include "say.h"
#include "words.h"

enum colour state_colour(const json_t *delivery);

/* When it goes next: "in 1h 28m", "paused", "under way"; of a dead one why it does not:
 * "cancelled"; else "-". */
void words_next(const struct ctl *ctl, const json_t *delivery, char text[static WORDS_SIZE]);

/* "pending, 6 of 12 tries, next at 04:41:02 (in 1h 28m)". base_ms: the day that needs no date. */
#define WORDS_STANDING_SIZE 256
void words_standing(const struct ctl *ctl, const json_t *delivery, int64_t base_ms,
	char text[static WORDS_STANDING_SIZE]);

/* "204", or without an answer "timeout": an attempt in one word. */
void words_result(const json_t *attempt, char text[static WORDS_SIZE]);
