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

/* A reason of the API's: in the column NEXT, and in a sentence. */
struct reason {
	const char *name, *next, *sentence;
};

/* Why a pending delivery is not going, but for its time. */
static const struct reason waits[] = {
	{"rate", "rate", "waits for its endpoint's rate limit"},
	{"turn", "its turn", "waits for its turn"},
	{"resume", "paused", "paused"},
	{"answer", "under way", "an attempt is under way"},
	{0},
};

static const struct reason deaths[] = {
	{"exhausted", "no try left", "every try failed"},
	{"too_old", "too old", "too old to be sent"},
	{"cancelled", "cancelled", "cancelled"},
	{"endpoint_removed", "endpoint removed", "its endpoint was removed"},
	{"damaged", "event damaged", "the event is damaged on disk"},
	{0},
};

/* The reason of that name; one without words if there is none. */
static const struct reason *find_reason(const struct reason *reason, const char *name)
{
	while (reason->name && strcmp(reason->name, name) != 0)
		reason++;
	return reason;
}

static const struct reason *find_wait(const json_t *d)
{
	return find_reason(waits, field_text(d, "waiting_for"));
}

static const struct reason *find_death(const json_t *d)
{
	return find_reason(deaths, field_text(d, "dead_reason"));
}

void words_next(const struct ctl *ctl, const json_t *d, char text[static WORDS_SIZE])
{
	bool dead = field_is(d, "state", "dead");
	const struct reason *reason = dead ? find_death(d) : find_wait(d);
	int64_t next_ms = field_time(d, "next_attempt_at");

	if (next_ms)
		words_until(ctl, next_ms, text);
	else
		snprintf(text, WORDS_SIZE, "%s", reason->name ? reason->next : "-");
}

static void words_pending(const struct ctl *ctl, const json_t *d, int64_t base_ms,
	char text[static WORDS_STANDING_SIZE])
{
	int64_t next_ms = field_time(d, "next_attempt_at");
	char clock[WORDS_SIZE], until[WORDS_SIZE];
	const struct reason *wait = find_wait(d);

	if (next_ms) {
		words_clock(ctl, next_ms, base_ms, clock);
		words_until(ctl, next_ms, until);
		snprintf(text, WORDS_STANDING_SIZE, "next at %s (%s)", clock, until);
	} else {
		snprintf(text, WORDS_STANDING_SIZE, "%s",
			wait->name ? wait->sentence : "next at once");
	}
}

void words_standing(const struct ctl *ctl, const json_t *d, int64_t base_ms,
	char text[static WORDS_STANDING_SIZE])
{
	const char *state = field_text(d, "state");
	const struct reason *death = find_death(d);
	char since[WORDS_SIZE], tries[WORDS_SIZE], rest[WORDS_STANDING_SIZE];

	words_clock(ctl, field_time(d, "since"), base_ms, since);
	snprintf(tries, sizeof(tries), "%lld of %lld tries", field_number(d, "attempts"),
		field_number(d, "attempts_max"));
	if (strcmp(state, "delivered") == 0) {
		snprintf(text, WORDS_STANDING_SIZE, "delivered at %s", since);
	} else if (strcmp(state, "dead") == 0) {
		snprintf(text, WORDS_STANDING_SIZE, "dead since %s, %s: %s", since, tries,
			death->name ? death->sentence : field_text(d, "dead_reason"));
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
