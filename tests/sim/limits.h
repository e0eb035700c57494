/*
 * What has to be true of every endpoint as a whole: its limits, its pauses, and that its turn
 * comes.
 *
 * Knows the settings that are in force on hookd's main thread. Part of the oracle (oracle.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../../daemon/config.h"
#include "../../daemon/delivery.h"
#include "../../daemon/endpoint.h"
#include "../../daemon/senders.h"

void limits_reset(void);

/* hookd has started: what it knew in memory alone is lost. */
void limits_started(const struct config *config);
void limits_stopped(void);
void limits_configured(const struct config *config);
void limits_pause_all(bool paused);
/* The settings are borrowed until the next time. */
void limits_edited(const struct endpoint *settings);
void limits_forgotten(uint32_t endpoint);

/* What is in force; NULL: there is no such endpoint. */
const struct endpoint *limits_of(uint32_t endpoint);
struct limits_policy {
	const uint32_t *waits_s;
	unsigned n_waits;
	int64_t max_age_s, retry_after_max_s;
	uint32_t timeout_s;
};
struct limits_policy limits_policy_of(uint32_t endpoint);

/* An attempt has begun. suspect: it may have waited for the suspects' sender, in flight already.
 * n_suspects: how many may do so now, and hold slots. */
void limits_sent(
	const struct senders *senders, uint32_t endpoint, bool suspect, unsigned n_suspects);

enum limits_effect { DID_WELL, ANSWERED, SILENCE, NOT_MADE };
/* status: 0 without an answer. not_before_ms: the whole endpoint waits until then; 0. */
void limits_ended(uint32_t endpoint, enum limits_effect effect, int64_t not_before_ms);
/* One did not begin, though its turn had come. */
void limits_put_off(uint32_t endpoint, int64_t not_before_ms);
/* How one ended, as it was committed: what hookd finds after a restart. */
void limits_stored(uint32_t endpoint, const struct attempt *attempt);
/* A request that was made from these settings was answered 410. */
void limits_gone(uint32_t endpoint, uint32_t revision);
/* Has the endpoint another URL than these settings had? */
bool limits_left_url(uint32_t endpoint, uint32_t revision);
/* A person's verb changed deliveries of it. */
void limits_stale(uint32_t endpoint);

/* At rest: something of the endpoint is due since then. Nothing may speak against sending it but
 * want of slots. */
void limits_waits(uint32_t endpoint, int64_t due_ms);
/* At rest, once, before those. */
void limits_rests(const struct senders *senders, unsigned n_suspects);

/* Is it paused, alone or with all others? */
bool limits_is_paused(uint32_t endpoint);
/* Until when the whole endpoint is left alone; it may be past. */
int64_t limits_not_before_ms(uint32_t endpoint);
