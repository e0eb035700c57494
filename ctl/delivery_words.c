#include "delivery_words.h"

#include <stdio.h>
#include <string.h>

#include "fields.h"

enum colour state_colour(const json_t *d)
{
	if (field_is(d, "state", "dead"))
		return RED;
	return field_is(d, "state", "held") ? YELLOW : PLAIN;
}

/* Why a pending delivery is not going, but for its time. */
static const struct {
	const char *waiting_for, *next, *sentence;
} reasons[] = {
	{"rate", "rate", "waits for its endpoint's rate limit"},
	{"turn", "its turn", "waits for its turn"},
	{"resume", "paused", "paused"},
	{"answer", "under way", "an attempt is under way"},
};

static int find_reason(const json_t *d)
{
	const char *waiting_for = field_text(d, "waiting_for");

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (strcmp(reasons[i].waiting_for, waiting_for) == 0)
			return (int)i;
	}
	return -1;
}

void words_next(const struct ctl *ctl, const json_t *d, char text[static WORDS_SIZE])
{
	int64_t next_ms = field_time(d, "next_attempt_at");
	int reason = find_reason(d);

	if (next_ms)
		words_until(ctl, next_ms, text);
	else
		snprintf(text, WORDS_SIZE, "%s", reason >= 0 ? reasons[reason].next : "-");
}

static const struct {
	const char *reason, *sentence;
} deaths[] = {
	{"exhausted", "every try failed"},
	{"too_old", "too old to be tried again"},
	{"cancelled", "cancelled"},
	{"endpoint_removed", "its endpoint was removed"},
	{"damaged", "the event is damaged on disk"},
};

static const char *death_of(const json_t *d)
{
	const char *reason = field_text(d, "dead_reason");

	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
		if (strcmp(deaths[i].reason, reason) == 0)
			return deaths[i].sentence;
	}
	return reason;
}

static void words_pending(const struct ctl *ctl, const json_t *d, int64_t base_ms,
	char text[static WORDS_STANDING_SIZE])
{
	int64_t next_ms = field_time(d, "next_attempt_at");
	char clock[WORDS_SIZE], until[WORDS_SIZE];
	int reason = find_reason(d);

	if (next_ms) {
		words_clock(ctl, next_ms, base_ms, clock);
		words_until(ctl, next_ms, until);
		snprintf(text, WORDS_STANDING_SIZE, "next at %s (%s)", clock, until);
	} else {
		snprintf(text, WORDS_STANDING_SIZE, "%s",
			reason >= 0 ? reasons[reason].sentence : "next at once");
	}
}

void words_standing(const struct ctl *ctl, const json_t *d, int64_t base_ms,
	char text[static WORDS_STANDING_SIZE])
{
	const char *state = field_text(d, "state");
	char since[WORDS_SIZE], tries[WORDS_SIZE], rest[WORDS_STANDING_SIZE];

	words_clock(ctl, field_time(d, "since"), base_ms, since);
	snprintf(tries, sizeof(tries), "%lld of %lld tries", field_number(d, "attempts"),
		field_number(d, "attempts_max"));
	if (strcmp(state, "delivered") == 0) {
		snprintf(text, WORDS_STANDING_SIZE, "delivered at %s", since);
	} else if (strcmp(state, "dead") == 0) {
		snprintf(text, WORDS_STANDING_SIZE, "dead since %s, %s: %s", since, tries,
			death_of(d));
	} else if (strcmp(state, "held") == 0) {
		snprintf(text, WORDS_STANDING_SIZE, "held since %s, %s", since, tries);
	} else {
		words_pending(ctl, d, base_ms, rest);
		snprintf(text, WORDS_STANDING_SIZE, "%s, %s, %.128s", state, tries, rest);
	}
}

void words_result(const json_t *attempt, char text[static WORDS_SIZE])
{
	long long status = field_number(attempt, "http_status");

	if (status)
		snprintf(text, WORDS_SIZE, "%lld", status);
	else
		snprintf(text, WORDS_SIZE, "%s", field_text(attempt, "result"));
}
