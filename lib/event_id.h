/*
 * Event ids: 16 bytes whose order is the order of acceptance.
 *
 * 48 bits of milliseconds and 80 random bits; within one millisecond the random part counts up.
 * As text: "evt_" and 26 characters of Crockford's base32, sorting like the bytes. The time inside
 * serves the order only: where a time is meant, the event says it in accepted_at.
 *
 * libhookd makes its idempotency keys the same way, because keys that grow with time are many times
 * cheaper to store than random ones.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_id {
	uint8_t bytes[16];
};

#define EVENT_ID_TEXT_LEN 30
#define EVENT_ID_TEXT_SIZE (EVENT_ID_TEXT_LEN + 1)

int event_id_compare(const struct event_id *a, const struct event_id *b);
void event_id_format(const struct event_id *id, char text[static EVENT_ID_TEXT_SIZE]);

/* Takes what event_id_format() writes and nothing else. Returns 0 or -EINVAL. */
int event_id_parse(const char *text, size_t len, struct event_id *id);

/* The 26 characters alone, for names that are made like ids. */
void event_id_format_bare(const struct event_id *id, char text[static 27]);

/* The milliseconds at the front. */
int64_t event_id_ms(const struct event_id *id);

/* The smallest and the largest id of a millisecond: bounds for ranges. */
struct event_id event_id_first_of(int64_t ms);
struct event_id event_id_last_of(int64_t ms);

/* Makes ids that only ever grow, also when the clock goes back. */
struct event_id_source {
	struct event_id last;
};

/* random: ten fresh random bytes. */
struct event_id event_id_next(
	struct event_id_source *source, int64_t ms, const uint8_t random[static 10]);
