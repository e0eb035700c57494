/*
 * Names to addresses, on the sender's loop: c-ares with a bounded cache, and one question at a time
 * per name however many ask. What /etc/hosts knows is not asked for.
 *
 * Everything that is read from files is read at the start.
 *
 * Whether the addresses may be used is not judged here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../delivery.h"

#define RESOLVER_ADDRESSES_MAX 32

struct event_base;
struct resolver;

enum resolver_result {
	RESOLVED,
	NAME_UNKNOWN, /* there is no such name, or it has no address */
	NAME_FAILED, /* no answer about it, or only an error, while our servers answer */
	RESOLVER_DOWN /* our own servers do not answer: no fault of the name's owner */
};

/* An answer; the addresses' ports are 0. text says more where there is more to say. */
struct resolver_answer {
	enum resolver_result result;
	const char *text;
	struct peer addresses[RESOLVER_ADDRESSES_MAX];
	size_t n;
};

/* A question that waits. Embedded in what asks. */
struct resolver_query {
	void (*done)(struct resolver_query *query, const struct resolver_answer *answer);
	struct resolver_query *next, **at; /* the resolver's; at is NULL when it does not wait */
};

/* servers: "" for those of resolv.conf. Returns 0 or a negative errno. */
int resolver_new(struct resolver **resolver, struct event_base *base, const char *servers);
void resolver_free(struct resolver *resolver);

/* May call done at once. The answer lives until done returns. */
void resolver_ask(struct resolver *resolver, const char *host, struct resolver_query *query);
void resolver_cancel(struct resolver_query *query); /* fine for one that does not wait */

/* Whether a DNS server has answered since then, and lately, be it about other names: for whom the
 * question takes too long. That servers are asked often enough for this is the resolver's care
 * while a question waits. */
bool resolver_answers(const struct resolver *resolver, int64_t since_us);
