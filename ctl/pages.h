/* A list of the API, page by page. A page may be short or empty while more follow. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctl.h"

#define PAGE_MAX 1000

struct pages {
	struct ctl *ctl;
	const char *target; /* path and filters, borrowed */
	bool has_limit; /* the route knows "limit" */
	bool ended; /* no page follows */
	json_t *page; /* the last one that came */
};

/* Gets the next page, of at most limit items. items is borrowed until the next call. Returns 0 or
 * an exit status; after the end *items is NULL. */
int pages_next(struct pages *pages, size_t limit, json_t **items);
void pages_clear(struct pages *pages);
