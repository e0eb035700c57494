/* hookctl backlog: what is pending, by age and endpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "commands.h"
#include "fields.h"
#include "options.h"
#include "pages.h"
#include "say.h"
#include "status.h"
#include "table.h"
#include "words.h"

/* The API's age classes, as they are titled. */
static const struct {
	const char *name, *title;
} ages[] = {{"1m", "<1m"}, {"5m", "<5m"}, {"30m", "<30m"}, {"2h", "<2h"}, {"8h", "<8h"},
	{"1d", "<1d"}, {"older", ">1d"}};

#define N_AGES (sizeof(ages) / sizeof(ages[0]))
#define N_COLUMNS (N_AGES + 3)

struct row {
	char address[WORDS_ADDRESS_SIZE];
	long long total, by_age[N_AGES];
	bool paused;
	int64_t next_ms; /* INT64_MAX: unknown */
};

struct backlog {
	bool sending_paused;
	struct row all;
	struct row *rows;
	size_t n, size;
};

/* A long backlog of one endpoint is counted over several pages. */
static struct row *find_row(struct backlog *b, const json_t *item)
{
	char address[WORDS_ADDRESS_SIZE];
	struct row *row;

	words_address(item, "endpoint", address);
	if (b->n && strcmp(b->rows[b->n - 1].address, address) == 0)
		return &b->rows[b->n - 1];
	if (b->n == b->size) {
		b->size = 2 * b->size + 64;
		b->rows = must_realloc(b->rows, b->size * sizeof(*b->rows));
	}
	row = &b->rows[b->n++];
	*row = (struct row){.paused = b->sending_paused || field_is(item, "state", "paused"),
		.next_ms = INT64_MAX};
	memcpy(row->address, address, sizeof(address));
	return row;
}

static void add_item(struct backlog *b, const json_t *item)
{
	struct row *row = find_row(b, item);
	int64_t next_ms = field_time(item, "next_attempt_at");

	row->total += field_number(item, "pending");
	b->all.total += field_number(item, "pending");
	for (size_t i = 0; i < N_AGES; i++) {
		long long n = field_number(field(item, "ages"), ages[i].name);

		row->by_age[i] += n;
		b->all.by_age[i] += n;
	}
	if (next_ms && next_ms < row->next_ms)
		row->next_ms = next_ms;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	return strcmp(x->address, y->address);
}

static void add_row(
	const struct ctl *ctl, struct table *table, const struct row *row, const char *next)
{
	char until[WORDS_SIZE];

	table_add(table, "%s", row->address);
	table_add(table, "%lld", row->total);
	for (size_t i = 0; i < N_AGES; i++)
		table_add(table, "%lld", row->by_age[i]);
	if (!next && row->paused) {
		table_add_coloured(table, YELLOW, "paused");
	} else if (!next && row->next_ms != INT64_MAX) {
		words_until(ctl, row->next_ms, until);
		table_add(table, "%s", until);
	} else {
		table_add(table, "%s", next ? next : "now");
	}
}

static void print_backlog(const struct ctl *ctl, struct backlog *b)
{
	struct column columns[N_COLUMNS] = {{""}, {"total", .right = true}};
	struct table table;

	for (size_t i = 0; i < N_AGES; i++)
		columns[2 + i] = (struct column){ages[i].title, .right = true};
	columns[N_COLUMNS - 1] = (struct column){"next try"};
	if (b->n)
		qsort(b->rows, b->n, sizeof(*b->rows), compare_rows);
	table_init(&table, ctl, columns, N_COLUMNS, true);
	snprintf(b->all.address, sizeof(b->all.address), "all");
	add_row(ctl, &table, &b->all, "");
	for (size_t i = 0; i < b->n; i++)
		add_row(ctl, &table, &b->rows[i], NULL);
	table_print(&table);
	table_free(&table);
}

static int fetch(struct ctl *ctl, const char *target, struct backlog *b)
{
	struct pages pages = {.ctl = ctl, .target = target};
	json_t *items, *item;
	size_t i;
	int r;

	while ((r = pages_next(&pages, 0, &items)) == 0 && items) {
		json_array_foreach (items, i, item) {
			if (ctl->json)
				print_json(ctl, item);
			else
				add_item(b, item);
		}
	}
	pages_clear(&pages);
	return r;
}

static int find_out_about_sending(struct ctl *ctl, struct backlog *b)
{
	json_t *sending = NULL;
	int r = get_sending(ctl, &sending);

	b->sending_paused = field_is(sending, "state", "paused");
	json_decref(sending);
	return r;
}

static int run_backlog(struct ctl *ctl, char **arguments)
{
	const char *tenant = NULL;
	const struct option_rule rules[] = {
		{0, "tenant", OPTION_TEXT, &tenant, "TENANT", "of this tenant"},
		{0},
	};
	struct texts operands = {0};
	struct buffer target = {0};
	struct backlog b = {.n = 0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	buffer_append_text(&target, "/v1/backlog");
	if (tenant)
		buffer_append_query(&target, "tenant", tenant);
	if (r == 0 && !ctl->json)
		r = find_out_about_sending(ctl, &b);
	if (r == 0)
		r = fetch(ctl, target.at, &b);
	if (r == 0 && !ctl->json)
		print_backlog(ctl, &b);
	if (r == 0 && b.sending_paused)
		note("all sending is paused (hookctl resume --all)");
	free(b.rows);
	buffer_free(&target);
	texts_free(&operands);
	return r;
}

const struct command command_backlog = {.name = "backlog",
	.usage = "[--tenant T]",
	.summary = "what is pending, by age and endpoint",
	.about =
		"Counts what is pending by age, for each endpoint: a column that grows to the right is a\n"
		"receiver that does not recover. <5m is what is 1 to 5 minutes old, and so on.",
	.needs = SOCKET_MANAGE,
	.run = run_backlog};
