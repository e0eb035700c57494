/*
 * A receiver of webhooks on 127.0.0.1, to try things out: it verifies, answers as it is told, and
 * prints a line a request.
 *
 * Each connection has a thread of libmicrohttpd's own, so that an answer that is delayed keeps
 * nobody waiting. They share the options, which do not change, and a counter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct receiver;

struct receiver_options {
	const char *const *secrets; /* none: nothing is verified */
	size_t n_secrets;
	unsigned status; /* of answers */
	int64_t n_failing; /* so many requests are answered 503 first */
	int64_t delay_s;
	bool stall; /* no answer at all */
};

/* Listens at *port, 0 for any; *port tells which. Nothing is answered before receiver_start().
 * Returns 0 or EXIT_FAILED. */
int receiver_new(struct receiver **receiver, uint16_t *port);

/* options are borrowed until receiver_free(). Returns 0 or EXIT_FAILED. */
int receiver_start(struct receiver *receiver, const struct receiver_options *options);

void receiver_free(struct receiver *receiver);
