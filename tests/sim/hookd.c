#include "hookd.h"

#include <stdio.h>
#include <string.h>

#include "../../daemon/metrics.h"
#include "../../daemon/reports.h"
#include "check.h"
#include "disk.h"
#include "kernel.h"
#include "limits.h"
#include "loop.h"
#include "oracle.h"
#include "queue_time.h"
#include "watch.h"

#define DRAIN_US 65000000
#define BREAK_US 2000000

struct hookd hookd;

/* ---- What the store tells ---- */

static void on_touched(
	void *user, struct slot *slot, const struct slot *before, const struct touched *touched)
{
	(void)user;
	dispatch_touched(hookd.dispatch, slot, before, touched);
}

static void on_forgetting(void *user, struct slot *slot)
{
	(void)user;
	limits_forgotten(slot->settings->number);
	dispatch_forgetting(hookd.dispatch, slot);
	cover("a removed endpoint is forgotten");
}

static void on_edited(void *user, struct slot *slot, const struct endpoint *before)
{
	(void)user;
	limits_edited(slot->settings);
	dispatch_edited(hookd.dispatch, slot, before);
}

static void on_claimed(void *user, uint32_t endpoint, struct claimed *list, int64_t next_due_ms)
{
	(void)user;
	dispatch_claimed(hookd.dispatch, endpoint, list, next_due_ms);
}

static void on_committed(void *user, unsigned n_requests, int64_t commit_us)
{
	(void)user, (void)n_requests, (void)commit_us;
	if (hookd.answers)
		oracle_reported();
}

static void on_early(void *user, unsigned n_events)
{
	(void)user;
	reports_early(hookd.reports, n_events);
}

static void on_idle(void *user)
{
	(void)user;
	hookd.idle = true;
}

static void begin_stop(int64_t patience_us)
{
	hookd.state = HOOKD_STOPPING;
	hookd.stops_at_us = kernel_mono_us() + patience_us;
	hookd.idle = false;
	dispatch_stop(hookd.dispatch, on_idle, NULL);
}

static void on_broken(void *user, const char *why)
{
	(void)user;
	trace("the store is broken: %s", why);
	hookd.broken = true;
	if (hookd.state == HOOKD_UP)
		begin_stop(BREAK_US);
}

static const struct store_callbacks callbacks = {.touched = on_touched,
	.forgetting = on_forgetting,
	.edited = on_edited,
	.claimed = on_claimed,
	.committed = on_committed,
	.early = on_early,
	.broken = on_broken};

/* ---- Life ---- */

static struct store_settings settings_of(const struct config *c)
{
	oracle_keep(c->retention.delivered * 1000, c->retention.dead * 1000);
	return (struct store_settings){.limits = {c->store.budget, c->store.min_free_disk},
		.keep_delivered_ms = c->retention.delivered * 1000,
		.keep_dead_ms = c->retention.dead * 1000};
}

void hookd_start(void)
{
	struct dispatch_options dispatch = {.base = loop_base(),
		.clock = &hookd.clock,
		.metrics = &hookd.metrics,
		.config = &hookd.config,
		.ca_directory = "/nowhere",
		.sender_path = "hookd-sender"};
	struct store_options options = {.directory = "/nowhere",
		.engine = &disk_engine,
		.settings = settings_of(&hookd.next_config),
		.clock = &hookd.clock,
		.clock_source = &clock_kernel,
		.box = &hookd.box,
		.base = loop_base(),
		.callbacks = &callbacks};
	struct problem problem;
	struct registry *registry;

	trace("hookd starts");
	hookd.config = hookd.next_config;
	metrics_init(&hookd.metrics);
	hookd.reports = dispatch.reports = reports_new(loop_base(), &hookd.clock);
	check(dispatch_new(&hookd.dispatch, &dispatch) == 0, "dispatch cannot be made");
	queue_time_start(disk_queue_ms());
	check(store_open(&hookd.store, &options, &problem) == 0, "the store cannot be opened: %s",
		problem.detail);
	check(clock_queue_ms(&hookd.clock) == queue_ms(), "queue time starts at another time");
	check(store_start(hookd.store) == 0, "the store cannot be started");
	registry = store_registry(hookd.store);
	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1))
		limits_edited(slot->settings);
	limits_pause_all(store_sending(hookd.store)->paused);
	limits_started(&hookd.config);
	hookd.state = HOOKD_UP;
	hookd.broken = false;
	hookd.answers = true;
	watch(true);
	dispatch_start(hookd.dispatch, hookd.store);
}

static void take_apart(void)
{
	disk_troubles.crashes_next = false;
	store_finish(hookd.store);
	dispatch_free(hookd.dispatch);
	store_close(hookd.store);
	reports_free(hookd.reports);
	watch(false);
	limits_stopped();
	oracle_crashed();
	hookd.state = HOOKD_DOWN;
	hookd.answers = false;
}

void hookd_kill(void)
{
	trace("hookd is killed");
	cover("hookd is killed");
	watch(false);
	hookd.answers = false;
	disk_detach(true);
	dispatch_stop(hookd.dispatch, NULL, NULL); /* only so that its memory is freed */
	take_apart();
	disk_detach(false);
}

void hookd_begin_stop(void)
{
	trace("hookd is told to stop");
	begin_stop(DRAIN_US);
}

void hookd_go_on_stopping(void)
{
	if (!hookd.idle && kernel_mono_us() < hookd.stops_at_us)
		return;
	trace("hookd stops, %s", hookd.idle ? "with nothing under way" : "out of patience");
	if (hookd.broken)
		cover("hookd stops because the store is broken");
	else
		cover("hookd stops in good order");
	take_apart();
}

void hookd_reload(void)
{
	struct store_settings settings = settings_of(&hookd.next_config);

	trace("hookd reads its configuration again");
	hookd.config = hookd.next_config;
	store_set_settings(hookd.store, &settings);
	limits_configured(&hookd.config);
	dispatch_reload(hookd.dispatch, &hookd.config);
}
