#include "expected.h"

#include <stdio.h>

struct expectations expectations;

struct expected_event *expected_find_event(const struct event_id *id)
{
	size_t low = 0, high = expectations.n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = event_id_compare(&expectations.events[middle].id, id);

		if (order == 0)
			return &expectations.events[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct expected *expected_find(const struct event_id *event, uint32_t endpoint)
{
	struct expected_event *e = expected_find_event(event);

	for (uint32_t i = 0; e && i < e->n; i++) {
		if (e->deliveries[i].endpoint == endpoint)
			return &e->deliveries[i];
	}
	return NULL;
}

const char *expected_name_of(const struct event_id *event, uint32_t endpoint)
{
	static char texts[4][EVENT_ID_TEXT_SIZE + 16];
	static unsigned next;
	char id[EVENT_ID_TEXT_SIZE];
	const struct expected_event *e = expected_find_event(event);

	next = (next + 1) % 4;
	event_id_format(event, id);
	if (e)
		snprintf(texts[next], sizeof(texts[0]), "%zu/%u", (size_t)(e - expectations.events),
			endpoint);
	else
		snprintf(texts[next], sizeof(texts[0]), "%s/%u", id, endpoint);
	return texts[next];
}

const char *expected_name(const struct expected *d)
{
	return expected_name_of(&d->event, d->endpoint);
}

const char *expected_state_name(enum delivery_state state)
{
	const char *text = delivery_state_name(state);

	return text ? text : "gone";
}

bool expected_is_owed(const struct expected *d)
{
	return d->state == DELIVERY_PENDING || d->state == DELIVERY_HELD;
}

bool expected_is_suspect(const struct expected *d)
{
	return d->deaths >= DEATHS_TO_SUSPECT;
}

unsigned expected_n_suspects(uint32_t endpoint)
{
	unsigned n = 0;

	for (size_t i = expectations.first_left; i < expectations.n; i++) {
		for (uint32_t j = 0; j < expectations.events[i].n; j++) {
			const struct expected *d = &expectations.events[i].deliveries[j];

			if (expectations.events[i].settled)
				break;
			n += d->claimed && expected_is_suspect(d) &&
				(endpoint == 0 || d->endpoint == endpoint);
		}
	}
	return n;
}

void expected_leave_sender(struct expected *d)
{
	d->sent = d->arrived = d->cut_off = d->reacted = false;
}

enum limits_effect expected_effect(const struct outcome *outcome)
{
	switch (outcome->kind) {
	case OUTCOME_DELIVERED:
		return DID_WELL;
	case OUTCOME_RETRY:
	case OUTCOME_DEAD:
		return outcome->attempt.http_status ? ANSWERED : SILENCE;
	case OUTCOME_LOCAL:
	case OUTCOME_EARLY:
	case OUTCOME_TOO_OLD:
	case OUTCOME_DAMAGED:
		break;
	}
	return NOT_MADE;
}

uint64_t expected_hash(uint64_t hash, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
	return hash;
}
