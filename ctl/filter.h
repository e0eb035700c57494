/*
 * The filters that lists and verbs share, and endpoints as people name them: TENANT/NAME, or NAME
 * in the default tenant.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "buffer.h"
#include "ctl.h"
#include "options.h"

#define ENDPOINT_NAME_SIZE 256

struct endpoint_name {
	char tenant[ENDPOINT_NAME_SIZE], name[ENDPOINT_NAME_SIZE];
};

/* Returns 0 or EXIT_USAGE. */
int parse_endpoint_name(const struct ctl *ctl, const char *text, struct endpoint_name *endpoint);

/* "/v1/endpoints/NAME/VERB?tenant=TENANT"; verb NULL: without. */
void endpoint_target(const struct endpoint_name *endpoint, const char *verb, struct buffer *target);

/* An endpoint as the API shows it. endpoint is the caller's to free. Returns 0 or an exit status.
 */
int get_endpoint(struct ctl *ctl, const struct endpoint_name *name, json_t **endpoint);

#define FILTER_VALUES_MAX 8

struct filter {
	const char *state, *endpoint, *type, *tenant, *since, *until, *http_status, *error;

	/* As the API takes them, by filter_resolve(). */
	struct endpoint_name room;
	char since_room[32], until_room[32];
	struct {
		const char *name, *value;
	} values[FILTER_VALUES_MAX];
	unsigned n_values;
};

/* clang-format off */
#define FILTER_RULES(f) \
	{'s', "state", OPTION_TEXT, &(f)->state, "STATE", \
		"some of pending,held,delivered,dead"}, \
	{'e', "endpoint", OPTION_TEXT, &(f)->endpoint, "ENDPOINT", \
		"TENANT/NAME; NAME alone is in the default tenant"}, \
	{'t', "type", OPTION_TEXT, &(f)->type, "PATTERN", \
		"a type, or a prefix and .* (order.*)"}, \
	{0, "tenant", OPTION_TEXT, &(f)->tenant, "TENANT", \
		"everything of this tenant (\"\": the default one)"}, \
	{0, "since", OPTION_TEXT, &(f)->since, "TIME", \
		"in its state since then: 2h (ago), 01:58, \"2026-11-22 01:58\""}, \
	{0, "until", OPTION_TEXT, &(f)->until, "TIME", \
		"in its state before then"}, \
	{0, "http-status", OPTION_TEXT, &(f)->http_status, "STATUS", \
		"of the last answer: 503, 5xx, none"}, \
	{0, "error", OPTION_TEXT, &(f)->error, "WORD", \
		"how the last attempt ended: dns, connect, tls, timeout ..."}
/* clang-format on */

/* Checks what was given. Returns 0 or EXIT_USAGE. */
int filter_resolve(const struct ctl *ctl, struct filter *filter);
/* Leaves out what comes into its state from now on, unless --until says something else. */
void filter_fix_until(struct filter *filter);
bool filter_is_empty(const struct filter *filter);

void filter_to_target(const struct filter *filter, struct buffer *target);
void filter_to_json(const struct filter *filter, json_t *body);
