/*
 * Tables whose columns are as wide as what stands in them. Rows wait until table_print(); what is
 * printed later keeps the widths, so that a list of any length is printed page by page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "say.h"

#define TABLE_COLUMNS_MAX 12

struct column {
	const char *title;
	bool right; /* for numbers */
	bool cut; /* of the last one: shorter where a terminal's row would be full */
	unsigned limit; /* a wider cell runs over and does not widen the column; 0: none */
};

struct table {
	const struct ctl *ctl;
	const struct column *columns;
	unsigned n_columns;
	bool has_title; /* titles are printed above the first rows */
	bool title_printed;
	unsigned widths[TABLE_COLUMNS_MAX];
	struct cell *cells; /* row by row */
	size_t n_cells, size;
};

void table_init(struct table *table, const struct ctl *ctl, const struct column *columns,
	unsigned n_columns, bool has_title);

/* The next cell, row by row from left to right; control characters are cleaned out. */
void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_add_coloured(struct table *table, enum colour colour, const char *text);

/* Orders the rows by their first cells. */
void table_sort(struct table *table);

/* Prints the rows that wait. The second one: n of them, without titles, behind an indent. */
void table_print(struct table *table);
void table_print_rows(struct table *table, size_t first, size_t n);

/* How wide text is on a terminal. */
unsigned text_width(const char *text);

void table_free(struct table *table);
