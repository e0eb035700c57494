#include "gone.h"

#include <stdlib.h>

#include "log.h"

struct pause_edit {
	struct endpoint_edit edit;
	struct clock *clock;
	uint32_t revision;
};

/* Pauses only if the settings are still those that were answered 410. */
static int apply_gone(struct endpoint_edit *edit, struct endpoint *draft, struct problem *problem)
{
	struct pause_edit *pause = (struct pause_edit *)edit;

	if (draft->paused || draft->revision != pause->revision + 1)
		return problem_set(problem, PROBLEM_EXISTS, NULL, "paused or changed meanwhile");
	draft->paused = PAUSED_BY_HOOKD;
	draft->state_since_ms = clock_queue_ms(pause->clock);
	draft->reason = "the receiver answered 410 Gone";
	return 0;
}

static void on_gone_paused(
	struct endpoint_edit *edit, struct slot *slot, const struct problem *problem)
{
	char address[ENDPOINT_ADDRESS_SIZE];

	if (problem->code == PROBLEM_NONE) {
		struct log_fields fields = {
			.endpoint = address, .tenant = slot->settings->tenant, .action = "pause"};

		endpoint_address(slot->settings, address);
		log_line(LOG_LEVEL_WARNING, LOG_PAUSED, &fields,
			"%s paused: the receiver answered 410 Gone; %llu deliveries are kept (hookctl resume %s)",
			address, (unsigned long long)slot->deliveries[DELIVERY_PENDING], address);
	}
	free(edit);
}

void gone_pause(struct store *store, struct clock *clock, uint32_t endpoint, uint32_t revision)
{
	struct pause_edit *pause = calloc(1, sizeof(*pause));

	if (!pause)
		return; /* the next 410 pauses it */
	pause->edit = (struct endpoint_edit){
		.number = endpoint, .apply = apply_gone, .done = on_gone_paused};
	pause->clock = clock;
	pause->revision = revision;
	store_edit(store, &pause->edit);
}
