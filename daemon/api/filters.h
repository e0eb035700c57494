/*
 * Filters, pages and cursors: what lists and bulk actions have in common. Internal to api.
 */
#pragma once

#include "request.h"

/* A filter's values as they came, by name; NULL for those that did not. From the query or from a
 * body. */
struct filter_values {
	const char *event, *tenant, *endpoint, *type, *state, *since, *until, *http_status, *error;
	const char *order, *limit, *cursor;
};

struct filter {
	struct delivery_query query;
	uint32_t *endpoints; /* what query.endpoints leads to; free() it */
	bool any; /* something narrows it down */
	bool names_states;
	uint32_t digest; /* of the values: a cursor fits only the query it came from */
};

struct filter_rules {
	unsigned default_states;
	size_t default_limit, max_limit;
};

/* Returns 0 or the problem's code. Values stay borrowed by the query. */
int filter_parse(struct request *request, const struct filter_values *values,
	const struct filter_rules *rules, struct filter *filter, struct problem *problem);
void filter_clear(struct filter *filter);

/* The cursor that goes on behind a page: an opaque text. */
json_t *cursor_render(const struct position *position, uint32_t digest, int64_t until_ms);
/* until_ms: as the first call fixed it. */
int cursor_parse(const char *text, uint32_t digest, struct position *position, int64_t *until_ms,
	struct problem *problem);
/* Sets the problem of a cursor that is none, and returns its code. */
int cursor_refuse(struct problem *problem);

/* A time in queue time; limits and order as every list has them. */
int parse_time(struct request *request, const char *field, const char *text, int64_t *queue_ms,
	struct problem *problem);
int parse_limit(
	const char *text, size_t by_default, size_t max, size_t *limit, struct problem *problem);
int parse_order(const char *text, bool *oldest_first, struct problem *problem);
int parse_tenant(const char *text, struct problem *problem);
int parse_pattern(const char *text, struct problem *problem);

/* A digest of the values that a cursor has to fit. */
uint32_t values_digest(const char *const *values, size_t n);
