#include "table.h"

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "../lib/text.h"
#include "buffer.h"

#define TITLE_SIZE 32 /* more than any has */

struct cell {
	char *text;
	unsigned width;
	enum colour colour;
};

static wchar_t decode(const uint8_t *p, size_t len)
{
	static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	wchar_t code = p[0] & masks[len];

	for (size_t i = 1; i < len; i++)
		code = code << 6 | (p[i] & 0x3f);
	return code;
}

/* The next character of a text that has not ended: its width; *len: its bytes. */
static unsigned character_width(const char *text, size_t *len)
{
	const uint8_t *p = (const uint8_t *)text;
	int width;

	*len = text_utf8_sequence(p, strnlen(text, 4));
	if (*len == 0) {
		*len = 1;
		return 1;
	}
	width = wcwidth(decode(p, *len));
	return width < 0 ? 1 : (unsigned)width; /* a locale that does not know it */
}

unsigned text_width(const char *text)
{
	unsigned width = 0;
	size_t len;

	for (; *text; text += len)
		width += character_width(text, &len);
	return width;
}

/* Makes a text that is wider than room end in "...", where there is room for that. */
static void cut_text(char *text, unsigned room)
{
	static const char dots[] = "...";
	bool has_dots = room >= 2 * strlen(dots);
	size_t len;

	if (text_width(text) <= room)
		return;
	room -= has_dots ? (unsigned)strlen(dots) : 0;
	for (unsigned width; (width = character_width(text, &len)) <= room; text += len)
		room -= width;
	snprintf(text, sizeof(dots), "%s", has_dots ? dots : ""); /* more bytes than that go */
}

/* What is left for the last column in a terminal's row. UINT_MAX: it is not to be cut, or there is
 * no row that holds the others. */
static unsigned room_for_last(const struct table *t)
{
	unsigned last = t->n_columns - 1, used = 2 * last;

	for (unsigned i = 0; i < last; i++)
		used += t->widths[i];
	return t->columns[last].cut && used < t->ctl->width ? t->ctl->width - used : UINT_MAX;
}

void table_init(struct table *t, const struct ctl *ctl, const struct column *columns,
	unsigned n_columns, bool has_title)
{
	*t = (struct table){
		.ctl = ctl, .columns = columns, .n_columns = n_columns, .has_title = has_title};
	for (unsigned i = 0; i < n_columns; i++)
		t->widths[i] = has_title ? text_width(columns[i].title) : 0;
}

static struct cell *add_cell(struct table *t, char *text)
{
	unsigned at = (unsigned)(t->n_cells % t->n_columns), limit = t->columns[at].limit;
	struct cell *cell;

	if (t->n_cells == t->size) {
		t->size = 2 * t->size + 64;
		t->cells = must_realloc(t->cells, t->size * sizeof(*t->cells));
	}
	cell = &t->cells[t->n_cells++];
	*cell = (struct cell){.text = text, .width = text_width(text)};
	if (cell->width > t->widths[at] && (!limit || cell->width <= limit))
		t->widths[at] = cell->width;
	return cell;
}

void table_add(struct table *t, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = must_copy("?");
	va_end(arguments);
	text_clean(text);
	trim_end(text);
	add_cell(t, text);
}

void table_add_coloured(struct table *t, enum colour colour, const char *text)
{
	char *copy = must_copy(text);

	text_clean(copy);
	add_cell(t, copy)->colour = colour;
}

static void print_padded(const char *text, unsigned width, unsigned column_width, bool right,
	const char *on, const char *off)
{
	int padding = width < column_width ? (int)(column_width - width) : 0;

	printf("%*s%s%s%s%*s", right ? padding : 0, "", on, text, off, right ? 0 : padding, "");
}

/* Spaces at the end of a line are nobody's. */
static unsigned count_to_print(const struct cell *cells, unsigned n)
{
	while (n > 1 && !cells[n - 1].text[0])
		n--;
	return n;
}

static void print_row(const struct table *t, const struct cell *cells)
{
	unsigned n;

	cut_text(cells[t->n_columns - 1].text, room_for_last(t));
	n = count_to_print(cells, t->n_columns);
	for (unsigned i = 0; i < n; i++) {
		bool right = t->columns[i].right, last = i + 1 == n;

		print_padded(cells[i].text, cells[i].width, last && !right ? 0 : t->widths[i],
			right, colour_on(t->ctl, cells[i].colour),
			colour_off(t->ctl, cells[i].colour));
		fputs(last ? "\n" : "  ", stdout);
	}
}

static void print_titles(struct table *t)
{
	for (unsigned i = 0; i < t->n_columns; i++) {
		bool right = t->columns[i].right, last = i + 1 == t->n_columns;
		char title[TITLE_SIZE];

		snprintf(title, sizeof(title), "%s", t->columns[i].title);
		if (last && room_for_last(t) < TITLE_SIZE)
			title[room_for_last(t)] = '\0';
		trim_end(title);
		print_padded(
			title, text_width(title), last && !right ? 0 : t->widths[i], right, "", "");
		fputs(last ? "\n" : "  ", stdout);
	}
	t->title_printed = true;
}

void table_print_rows(struct table *t, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		print_row(t, &t->cells[i * t->n_columns]);
}

void table_print(struct table *t)
{
	size_t n_rows = t->n_cells / t->n_columns;

	if (n_rows && t->has_title && !t->title_printed)
		print_titles(t);
	table_print_rows(t, 0, n_rows);
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i].text);
	t->n_cells = 0;
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp(((const struct cell *)a)->text, ((const struct cell *)b)->text);
}

void table_sort(struct table *t)
{
	if (t->n_cells)
		qsort(t->cells, t->n_cells / t->n_columns, t->n_columns * sizeof(*t->cells),
			compare_rows);
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i].text);
	free(t->cells);
	*t = (struct table){0};
}
