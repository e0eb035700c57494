/*
 * What hookd tells the administrator: one line per thing worth knowing, in plain words, with the
 * same fields everywhere. To the journal when systemd started us, else readable lines on standard
 * error.
 *
 * Main thread only. Secrets and payloads never come here; text made by receivers is cleaned before
 * it does (text.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "delivery.h"

/* Kinds of lines. Each has a MESSAGE_ID of its own, listed in hookd(8). */
enum log_kind {
	LOG_START,
	LOG_STOP,
	LOG_RELOAD,
	LOG_TROUBLE, /* of hookd itself */
	LOG_FAILING, /* an endpoint began to fail, or still does */
	LOG_WORKING, /* it works again */
	LOG_DEAD, /* a dead letter */
	LOG_PAUSED, /* an endpoint, by hookd itself */
	LOG_CHANGE, /* somebody changed something */
	LOG_ATTEMPT, /* single attempts, if wanted */
	LOG_SENDER, /* a sender died or was replaced */
	LOG_STORE, /* what the store had to do */
	N_LOG_KINDS
};

/* What a line is about; what is 0 or NULL is left out. */
struct log_fields {
	const struct event_id *event;
	const char *endpoint; /* as hookctl writes it */
	const char *tenant, *type, *action;
	const struct attempt *attempt;
	bool has_peer; /* uid and pid of who asked for it */
	uint32_t uid, pid;
};

#define LOG_LEVEL_ERROR 3
#define LOG_LEVEL_WARNING 4
#define LOG_LEVEL_NOTICE 5
#define LOG_LEVEL_INFO 6
#define LOG_LEVEL_DEBUG 7

/* Lines above this level are not written. */
void log_set_level(int level);

void log_line(int level, enum log_kind kind, const struct log_fields *fields, const char *format,
	...) __attribute__((format(printf, 4, 5)));
