#include "disk.h"

#include <stdlib.h>

#include "../model/model_engine.h"
#include "check.h"
#include "dice.h"
#include "mutants.h"
#include "oracle.h"
#include "threads.h"

struct disk_troubles disk_troubles;

static struct engine *model;
static struct engine_found kept;
static bool dead, wants_crash;

bool disk_wants_crash(void)
{
	return wants_crash;
}

void disk_detach(bool is_dead)
{
	dead = is_dead;
	wants_crash = false;
}

int64_t disk_lag_ms(void)
{
	return kept.lag_ms;
}

int64_t disk_queue_ms(void)
{
	return kept.queue_ms;
}

/* ---- Engine ---- */

static int disk_open(struct engine **engine, const struct engine_options *options,
	struct engine_found *found, struct problem *problem)
{
	int r = 0;

	if (!model)
		r = engine_model.open(&model, options, &kept, problem);
	*engine = model;
	*found = kept;
	return r;
}

static void disk_close(struct engine *engine, int64_t now_ms)
{
	(void)engine;
	if (now_ms && !dead)
		kept.queue_ms = now_ms;
}

static const char *disk_broken(const struct engine *engine)
{
	(void)engine;
	return "the simulation breaks it";
}

/* The middle of a commit: time passes, and hookd may be killed. */
static void pause_commit(void)
{
	threads_sleep(dice_spread(1, disk_troubles.slowest_us));
	if (dead || !disk_troubles.crashes_next || !dice_once_in(2))
		return;
	disk_troubles.crashes_next = false;
	wants_crash = true;
	while (!dead)
		threads_sleep(1);
}

static enum engine_result disk_commit(struct engine *engine, struct batch *batch)
{
	const struct verb_op *verb = NULL;
	size_t verb_at = 0, verb_changed = 0;
	enum engine_result result;

	for (const struct op *op = batch->ops; op; op = op->next)
		verb = op->kind == OP_VERB ? (const struct verb_op *)op : verb;
	if (verb) {
		verb_at = verb->at;
		verb_changed = verb->n_changed;
	}
	pause_commit();
	if (dead)
		return ENGINE_BROKEN;
	if (disk_troubles.breaks_next == BEFORE_COMMIT) {
		disk_troubles.breaks_next = NOTHING;
		cover("a commit fails before it took effect");
		return ENGINE_BROKEN;
	}
	if (disk_troubles.full)
		batch->limits.budget_bytes = 0;
	result = engine_model.commit(engine, batch);
	kept = model_engine_found(engine);
	oracle_committed(batch, engine, disk_troubles.full,
		batch->housekeeping.oldest_delivered > 0, verb_at, verb_changed);
	pause_commit();
	if (dead)
		return ENGINE_BROKEN;
	if (disk_troubles.breaks_next == AFTER_COMMIT) {
		disk_troubles.breaks_next = NOTHING;
		cover("a commit fails after it took effect");
		return ENGINE_BROKEN;
	}
	return result;
}

static enum engine_result disk_claim(struct engine *engine, struct claim *claim)
{
	enum engine_result result;

	if (dead)
		return ENGINE_BROKEN;
	if (disk_troubles.breaks_next == CLAIM) {
		disk_troubles.breaks_next = NOTHING;
		cover("a claim fails");
		return ENGINE_BROKEN;
	}
	mutants_before_claim(claim);
	result = engine_model.claim(engine, claim);
	mutants_after_claim(engine, claim);
	oracle_claimed(claim);
	for (struct claimed *c = claim->list; c; c = c->next) {
		if (!dice_once_in(disk_troubles.damages_once_in))
			continue;
		oracle_damaged(&c->delivery);
		free(c->event);
		c->event = NULL;
	}
	return result;
}

static enum engine_result disk_stats(
	struct engine *engine, const struct store_limits *limits, struct engine_stats *stats)
{
	enum engine_result result = engine_model.stats(engine, limits, stats);

	if (disk_troubles.pressed)
		stats->history_in_the_way = true;
	return dead ? ENGINE_BROKEN : result;
}

static enum engine_result disk_set_lag(struct engine *engine, int64_t stop_ms, int64_t lag_ms)
{
	enum engine_result result = engine_model.set_lag(engine, stop_ms, lag_ms);

	kept.stop_ms = stop_ms;
	kept.lag_ms = lag_ms;
	return result;
}

static enum engine_result disk_each_endpoint(struct engine *engine,
	void (*found)(void *user, uint32_t number, bool removed, const uint8_t *blob, size_t len,
		const struct touched *state),
	void *user)
{
	return engine_model.each_endpoint(engine, found, user);
}

static enum engine_result disk_list_deliveries(
	struct engine *engine, const struct delivery_query *query, struct delivery_page *page)
{
	threads_sleep(dice_spread(1, 1000));
	return dead ? ENGINE_BROKEN : engine_model.list_deliveries(engine, query, page);
}

const struct engine_verbs disk_engine = {
	.open = disk_open,
	.close = disk_close,
	.broken = disk_broken,
	.each_endpoint = disk_each_endpoint,
	.set_lag = disk_set_lag,
	.commit = disk_commit,
	.claim = disk_claim,
	.list_deliveries = disk_list_deliveries,
	.stats = disk_stats,
};

/* ---- Life ---- */

void disk_new(void)
{
	kept = (struct engine_found){0};
	disk_troubles = (struct disk_troubles){.slowest_us = 1000};
	disk_detach(false);
}

void disk_free(void)
{
	if (model)
		engine_model.close(model, 0);
	model = NULL;
}
