/*
 * hookctl list: deliveries, or events, newest first.
 *
 * Rows are printed page by page, so that a list of millions needs no more memory than one of a
 * page.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "delivery_words.h"
#include "fields.h"
#include "filter.h"
#include "options.h"
#include "pages.h"
#include "say.h"
#include "table.h"
#include "words.h"

#define ROWS_ON_TERMINAL 50
#define COUNT_PAGES 2 /* what "at least 1000 more" says need not be waited for */
#define DEFAULT_STATES "pending,held,dead"

/* What a list is of. */
struct kind {
	const char *path;
	const struct column *columns;
	unsigned n_columns;
	void (*add_row)(const struct ctl *ctl, struct table *table, const json_t *item);
};

struct listing {
	struct ctl *ctl;
	const struct kind *kind;
	struct filter filter;
	const char *most; /* as given: a number or "all" */
	bool oldest, ids, events;
	bool cuts; /* unasked, at what a terminal holds */
	size_t n_wanted; /* SIZE_MAX: all */
	size_t n_shown;
};

/* ---- Rows ---- */

static const struct column delivery_columns[] = {{"EVENT"}, {"TYPE"}, {"ENDPOINT"}, {"STATE"},
	{"SINCE"}, {"TRIES"}, {"NEXT"}, {"LAST ANSWER", .cut = true}};

static void add_delivery(const struct ctl *ctl, struct table *table, const json_t *d)
{
	const json_t *last = field(d, "last_attempt");
	char address[WORDS_ADDRESS_SIZE], since[WORDS_SIZE], next[WORDS_SIZE];

	words_address(d, "endpoint", address);
	words_since(ctl, field_time(d, "since"), since);
	words_next(ctl, d, next);
	table_add(table, "%s", field_text(d, "event"));
	table_add(table, "%s", field_text(d, "type"));
	table_add(table, "%s", address);
	table_add_coloured(table, state_colour(d), field_text(d, "state"));
	table_add(table, "%s", since);
	table_add(table, "%lld/%lld", field_number(d, "attempts"), field_number(d, "attempts_max"));
	table_add(table, "%s", next);
	table_add(table, "%s", json_is_object(last) ? field_text(last, "message") : "-");
}

static const struct column event_columns[] = {{"EVENT"}, {"TYPE"}, {"TENANT"}, {"ACCEPTED"},
	{"BYTES", .right = true}, {"PENDING", .right = true}, {"HELD", .right = true},
	{"DELIVERED", .right = true}, {"DEAD", .right = true}, {"KEY"}};

static void add_event(const struct ctl *ctl, struct table *table, const json_t *event)
{
	const json_t *states = field(event, "states");
	const char *tenant = field_text(event, "tenant"),
		   *key = field_text(event, "idempotency_key");
	char accepted[WORDS_SIZE];

	words_time(ctl, field_time(event, "accepted_at"), accepted);
	table_add(table, "%s", field_text(event, "id"));
	table_add(table, "%s", field_text(event, "type"));
	table_add(table, "%s", tenant[0] ? tenant : "-");
	table_add(table, "%s", accepted);
	table_add(table, "%lld", field_number(event, "payload_bytes"));
	table_add(table, "%lld", field_number(states, "pending"));
	table_add(table, "%lld", field_number(states, "held"));
	table_add(table, "%lld", field_number(states, "delivered"));
	table_add(table, "%lld", field_number(states, "dead"));
	table_add(table, "%s", key[0] ? key : "-");
}

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct kind deliveries = {
	"/v1/deliveries", delivery_columns, N_OF(delivery_columns), add_delivery};
static const struct kind events = {"/v1/events", event_columns, N_OF(event_columns), add_event};

static void print_page(struct listing *l, struct table *table, const json_t *items)
{
	const json_t *item;
	size_t i;

	json_array_foreach (items, i, item) {
		if (l->ids)
			print_line("%s", field_text(item, "id"));
		else if (l->ctl->json)
			print_json(l->ctl, item);
		else
			l->kind->add_row(l->ctl, table, item);
	}
	table_print(table);
	l->n_shown += json_array_size(items);
}

/* ---- How many more ---- */

/* An argument as a shell takes it. */
static void append_quoted(struct buffer *b, const char *argument)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789_./:=,@%+-";

	if (*argument && strspn(argument, plain) == strlen(argument)) {
		buffer_append_text(b, argument);
		return;
	}
	buffer_append_text(b, "'");
	for (; *argument; argument++) {
		if (*argument == '\'')
			buffer_append_text(b, "'\\''");
		else
			buffer_append(b, argument, 1);
	}
	buffer_append_text(b, "'");
}

/* The same command without a limit: "hookctl --utc list -e acme/billing -n all". */
static void append_command(struct buffer *b, char **arguments)
{
	buffer_append_text(b, "hookctl");
	for (; *arguments; arguments++) {
		if (strcmp(*arguments, "--") == 0) /* nothing but options would stand behind it */
			continue;
		buffer_append_text(b, " ");
		append_quoted(b, *arguments);
	}
	buffer_append_text(b, " -n all");
}

/* Counts what follows, in a page or two. */
static int count_rest(struct pages *pages, size_t *n)
{
	json_t *items;
	int r = 0;

	*n = 0;
	for (unsigned i = 0; r == 0 && i < COUNT_PAGES && !pages->ended; i++) {
		r = pages_next(pages, PAGE_MAX, &items);
		if (r == 0)
			*n += json_array_size(items);
	}
	return r;
}

/* "50 shown, newest first; 626 more: hookctl list -n all" */
static int tell_rest(const struct listing *l, struct pages *pages)
{
	struct buffer b = {0};
	size_t n;
	int r = count_rest(pages, &n);

	if (r || (pages->ended && n == 0))
		return r;
	buffer_append_format(
		&b, "%zu shown, %s first; ", l->n_shown, l->oldest ? "oldest" : "newest");
	if (pages->ended)
		buffer_append_format(&b, "%zu more: ", n);
	else if (n)
		buffer_append_format(&b, "at least %zu more: ", n);
	else
		buffer_append_text(&b, "perhaps more: ");
	append_command(&b, l->ctl->arguments);
	note("%s", b.at);
	buffer_free(&b);
	return 0;
}

static void tell_empty(const struct listing *l)
{
	if (l->events)
		note("no event %s", l->filter.n_values ? "fits" : "is stored");
	else if (l->filter.n_values == 1) /* the states that are always asked for */
		note("nothing is %s",
			strcmp(l->filter.state, DEFAULT_STATES) == 0 ? "pending, held or dead"
								     : l->filter.state);
	else
		note("no delivery fits%s",
			strcmp(l->filter.state, DEFAULT_STATES) == 0
				? " (delivered ones are listed with -s delivered)"
				: "");
}

/* ---- The list ---- */

static int show(struct listing *l, struct pages *pages)
{
	struct table table;
	int r = 0;

	table_init(&table, l->ctl, l->kind->columns, l->kind->n_columns, true);
	while (r == 0 && l->n_shown < l->n_wanted && !ferror(stdout)) {
		json_t *items;

		r = pages_next(pages, l->n_wanted - l->n_shown, &items);
		if (!items)
			break;
		if (r == 0)
			print_page(l, &table, items);
	}
	table_free(&table);
	return r;
}

static int list(struct listing *l)
{
	struct buffer target = {0};
	struct pages pages = {.ctl = l->ctl, .has_limit = true};
	int r;

	buffer_append_text(&target, l->kind->path);
	filter_to_target(&l->filter, &target);
	if (l->oldest)
		buffer_append_query(&target, "order", "oldest");
	pages.target = target.at;
	r = show(l, &pages);
	if (r == 0 && l->n_shown == 0 && l->ctl->is_terminal)
		tell_empty(l);
	else if (r == 0 && !pages.ended && l->cuts && isatty(STDERR_FILENO))
		r = tell_rest(l, &pages);
	pages_clear(&pages);
	buffer_free(&target);
	return r;
}

/* Which filters an event has. */
static int check_event_filter(const struct ctl *ctl, const struct filter *f)
{
	if (f->state || f->endpoint || f->http_status || f->error)
		return misused(ctl,
			"--events lists events; --state, --endpoint, --http-status and --error are about deliveries");
	return 0;
}

static int parse_most(struct listing *l)
{
	int64_t number;
	int r;

	l->cuts = !l->most && l->ctl->is_terminal && !l->ids && !l->ctl->json;
	if (!l->most)
		l->n_wanted = l->cuts ? ROWS_ON_TERMINAL : SIZE_MAX;
	else if (strcmp(l->most, "all") == 0)
		l->n_wanted = SIZE_MAX;
	else {
		r = parse_number(l->ctl, "-n", l->most, 1, INT32_MAX, &number);
		if (r)
			return r;
		l->n_wanted = (size_t)number;
	}
	return 0;
}

static int run_list(struct ctl *ctl, char **arguments)
{
	struct listing l = {.ctl = ctl, .kind = &deliveries};
	const struct option_rule rules[] = {
		FILTER_RULES(&l.filter),
		{'n', NULL, OPTION_TEXT, &l.most, "N|all",
			"so many rows (50 on a terminal, else all)"},
		{0, "oldest", OPTION_FLAG, &l.oldest, NULL, "the oldest first"},
		{0, "ids", OPTION_FLAG, &l.ids, NULL,
			"ids alone, one a line: hookctl list --ids | hookctl hold -"},
		{0, "events", OPTION_FLAG, &l.events, NULL, "events with counts, not deliveries"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	texts_free(&operands);
	if (r == 0 && l.ids && ctl->json)
		r = misused(ctl, "--ids and --json exclude each other");
	if (r == 0)
		r = parse_most(&l);
	if (r == 0 && l.events)
		r = check_event_filter(ctl, &l.filter);
	if (l.events)
		l.kind = &events;
	else if (!l.filter.state)
		l.filter.state = DEFAULT_STATES;
	if (r == 0)
		r = filter_resolve(ctl, &l.filter);
	return r ? r : list(&l);
}

const struct command command_list = {.name = "list",
	.usage = "[FILTERS] [-n N|all] [--oldest] [--ids] [--events]",
	.summary = "deliveries that are pending, held or dead; events",
	.about =
		"Lists deliveries, newest first: pending, held and dead ones, and delivered ones with\n"
		"-s delivered. On a terminal it ends after 50 rows and says how many more there are;\n"
		"in a pipe it gives all.",
	.needs = SOCKET_MANAGE,
	.run = run_list};
