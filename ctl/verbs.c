/*
 * hookctl replay, hold, release, cancel, purge: what people do to deliveries.
 *
 * The API works in slices; a command goes through all of them. What is named by ids goes in
 * requests of at most 1000 of them. Where it asks, a dry run finds out first how many deliveries
 * are meant.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "commands.h"
#include "fields.h"
#include "filter.h"
#include "ids.h"
#include "input.h"
#include "options.h"
#include "say.h"

#define IDS_A_CALL 1000
#define ID_LINE_MAX 256 /* longer than any id */
#define DRY_SLICE 10000
#define SLICE_TIMEOUT_S 300

static const struct verb {
	const char *name, *past;
	const char *states; /* that it takes when none are named */
	bool asks, names_more; /* names_more: takes others, too, if they are named */
} verbs[] = {
	{"replay", "replayed", "pending and dead", .names_more = true},
	{"hold", "held", "pending"},
	{"release", "released", "held"},
	{"cancel", "cancelled", "pending and held", .asks = true},
	{"purge", "purged", "delivered and dead", .asks = true, .names_more = true},
};

struct job {
	struct ctl *ctl;
	const struct verb *verb;
	struct filter filter;
	struct texts ids; /* owned */
	bool all, dry_run, yes;
};

struct tally {
	long long matched, changed;
	json_t *not_found; /* an array */
};

/* ---- Calls ---- */

static int call_slice(struct job *j, const json_t *body, struct tally *tally, json_t **next)
{
	char target[64];
	struct call call = {.method = "POST",
		.target = target,
		.json = body,
		.timeout_s = SLICE_TIMEOUT_S,
		.wants = "matched changed"};
	struct answer answer;
	int r;

	snprintf(target, sizeof(target), "/v1/deliveries/%s", j->verb->name);
	r = call_hookd(j->ctl, &call, &answer);
	if (r == 0) {
		tally->matched += field_number(answer.json, "matched");
		tally->changed += field_number(answer.json, "changed");
		json_array_extend(tally->not_found, field(answer.json, "not_found"));
		*next = json_incref(field(answer.json, "next"));
	}
	answer_clear(&answer);
	return r;
}

/* How far a long one is, for whoever waits. */
static void tell_progress(const struct job *j, const struct tally *tally, bool dry_run, bool ended)
{
	if (dry_run || j->ctl->json || !isatty(STDERR_FILENO))
		return;
	if (ended)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "\r%lld %s so far ...", tally->changed, j->verb->past);
}

static int apply_to_ids(struct job *j, bool dry_run, struct tally *tally)
{
	int r = 0;

	for (size_t first = 0; r == 0 && first < j->ids.n; first += IDS_A_CALL) {
		json_t *body = json_object(), *ids = json_array(), *next = NULL;

		for (size_t i = first; i < j->ids.n && i < first + IDS_A_CALL; i++)
			json_array_append_new(ids, json_string(j->ids.at[i]));
		filter_to_json(&j->filter, body);
		json_object_set_new(body, "ids", ids);
		json_object_set_new(body, "dry_run", json_boolean(dry_run));
		r = call_slice(j, body, tally, &next);
		json_decref(next);
		json_decref(body);
		if (j->ids.n > IDS_A_CALL)
			tell_progress(j, tally, dry_run, false);
	}
	if (j->ids.n > IDS_A_CALL)
		tell_progress(j, tally, dry_run, true);
	return r;
}

static int apply_to_filter(struct job *j, bool dry_run, struct tally *tally)
{
	json_t *body = json_object();
	bool ended = false, sliced = false;
	int r = 0;

	filter_to_json(&j->filter, body);
	json_object_set_new(body, "all", json_boolean(j->all));
	json_object_set_new(body, "dry_run", json_boolean(dry_run));
	if (dry_run)
		json_object_set_new(body, "limit", json_integer(DRY_SLICE));
	while (r == 0 && !ended) {
		json_t *next = NULL;

		r = call_slice(j, body, tally, &next);
		ended = !json_is_string(next);
		if (!ended) {
			sliced = true;
			tell_progress(j, tally, dry_run, false);
			json_object_set(body, "cursor", next);
		}
		json_decref(next);
	}
	if (sliced)
		tell_progress(j, tally, dry_run, true);
	json_decref(body);
	return r;
}

static int apply(struct job *j, bool dry_run, struct tally *tally)
{
	*tally = (struct tally){.not_found = json_array()};
	return j->ids.n ? apply_to_ids(j, dry_run, tally) : apply_to_filter(j, dry_run, tally);
}

/* ---- Telling ---- */

/* Ids lead to deliveries in any state, filters only to those that the verb takes. */
static void tell_left(const struct job *j, const struct tally *tally)
{
	long long left = tally->matched - tally->changed;
	bool is_replay = strcmp(j->verb->name, "replay") == 0;
	struct buffer why = {0};

	if (left <= 0)
		return;
	if (!j->ids.n && j->dry_run)
		buffer_append_text(&why, "of a removed endpoint");
	else if (!j->ids.n)
		buffer_append_format(
			&why, "%schanged meanwhile", is_replay ? "of a removed endpoint, or " : "");
	else if (j->filter.state)
		buffer_append_format(&why, "not %s%s", j->filter.state,
			is_replay ? ", or of a removed endpoint" : "");
	else
		buffer_append_format(&why, "%s takes what is %s%s%s", j->verb->name,
			j->verb->states,
			j->verb->names_more ? "; the rest if --state names it" : "",
			is_replay ? ", and nothing of a removed endpoint" : "");
	note("%lld left as %s: %s", left, plural(left, "it is", "they are"), why.at);
	buffer_free(&why);
}

static void tell_not_found(const struct tally *tally)
{
	const json_t *id;
	size_t i;

	json_array_foreach (tally->not_found, i, id)
		note("not found: %s", json_string_value(id) ? json_string_value(id) : "");
}

static void tell(const struct job *j, const struct tally *tally)
{
	if (j->ctl->json) {
		json_t *answer = json_pack("{s:I, s:I, s:O, s:n}", "matched",
			(json_int_t)tally->matched, "changed", (json_int_t)tally->changed,
			"not_found", tally->not_found, "next");

		print_json(j->ctl, answer);
		json_decref(answer);
		return;
	}
	if (j->dry_run)
		print_line("%lld would be %s", tally->changed, j->verb->past);
	else
		print_line("%lld %s", tally->changed, j->verb->past);
	tell_left(j, tally);
	tell_not_found(tally);
}

static int tell_nothing(const struct job *j)
{
	struct tally nothing = {.not_found = json_array()};

	tell(j, &nothing);
	json_decref(nothing.not_found);
	return 0;
}

/* ---- Asking ---- */

static bool must_ask(const struct job *j)
{
	bool delivered = strcmp(j->verb->name, "replay") == 0 && j->filter.state &&
		strstr(j->filter.state, "delivered");

	return (j->verb->asks || delivered) && !j->yes && !j->dry_run;
}

/* Asks whether so many are meant. Returns 0: go on; or an exit status. *n: how many there are. */
static int ask_first(struct job *j, long long *n)
{
	struct tally tally;
	int r;

	filter_fix_until(&j->filter); /* what comes while somebody thinks is not meant */
	r = apply(j, true, &tally);
	*n = tally.changed;
	json_decref(tally.not_found);
	if (r || *n == 0)
		return r;
	if (ask("%s %lld %s%s?", j->verb->name, *n, plural(*n, "delivery", "deliveries"),
		    strcmp(j->verb->name, "purge") == 0 ? " for good" : ""))
		return 0;
	note("nothing was done");
	return EXIT_FAILED;
}

static int perform(struct job *j)
{
	struct tally tally;
	long long n = 1;
	int r;

	if (must_ask(j)) {
		if (!can_ask())
			return refuse_unasked(j->verb->name);
		r = ask_first(j, &n);
		if (r)
			return r;
	}
	r = apply(j, j->dry_run, &tally);
	if (r && tally.changed && !j->dry_run) {
		note("before that, %lld were %s", tally.changed, j->verb->past);
		r = EXIT_FAILED; /* in part */
	} else if (r == 0) {
		tell(j, &tally);
	}
	if (r == 0 && json_array_size(tally.not_found))
		r = EXIT_FAILED;
	json_decref(tally.not_found);
	return r;
}

/* ---- Which ---- */

static int add_argument(struct job *j, const char *text)
{
	char event[EVENT_PART_SIZE];
	const char *endpoint;
	int r = parse_id(j->ctl, text, event, &endpoint);

	if (r == 0)
		texts_append(&j->ids, must_copy(text));
	return r;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int add_line(struct job *j, struct buffer *line, size_t number)
{
	char event[EVENT_PART_SIZE], *text = line->at;
	const char *endpoint;

	while (line->len && is_blank(line->at[line->len - 1]))
		line->at[--line->len] = '\0';
	text += strspn(text, " \t");
	if (line->len == 0)
		return 0;
	if (text + strlen(text) == line->at + line->len && split_id(text, event, &endpoint)) {
		texts_append(&j->ids, must_copy(text));
		return 0;
	}
	fail("standard input, line %zu: \"%.80s\" is not an id: nothing was done "
	     "(hookctl list --ids prints ids)",
		number, text);
	return EXIT_USAGE;
}

/* One id a line. All are read before anything is done, so that a bad one spoils nothing. */
static int read_ids(struct job *j)
{
	struct buffer line = {0};
	size_t number = 0;
	int r = 0, got;

	while (r == 0 && (got = read_line(stdin, ID_LINE_MAX, &line)) != 0) {
		number++;
		if (got < 0 && got != -E2BIG)
			r = fail("standard input: %s", strerror(-got));
		if (r == 0)
			r = add_line(j, &line, number);
	}
	buffer_free(&line);
	return r;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Is it the event's own id, or of one of its deliveries? */
static bool is_of(const char *id, const char *event)
{
	size_t len = strlen(event);

	return strncmp(id, event, len) == 0 && (id[len] == '\0' || id[len] == '/');
}

/* Each of them once, or it would be counted, and replayed, twice: an event means all of its
 * deliveries. The oldest event is then the first. */
static void sort_ids(struct texts *ids)
{
	size_t n = 0;

	if (ids->n)
		qsort(ids->at, ids->n, sizeof(*ids->at), compare_ids);
	for (size_t i = 0; i < ids->n; i++) {
		if (n && is_of(ids->at[i], ids->at[n - 1]))
			free(ids->at[i]);
		else
			ids->at[n++] = ids->at[i];
	}
	ids->n = n;
}

static int collect_ids(struct job *j, const struct texts *operands, bool *from_input)
{
	int r = 0;

	*from_input = false;
	for (size_t i = 0; r == 0 && i < operands->n; i++) {
		if (strcmp(operands->at[i], "-") != 0) {
			r = add_argument(j, operands->at[i]);
		} else if (!*from_input) {
			*from_input = true;
			r = read_ids(j);
		}
	}
	sort_ids(&j->ids);
	return r;
}

/* Exactly one way to say which. */
static int check_which(const struct job *j, bool has_ids)
{
	const struct filter *f = &j->filter;
	bool narrows = f->endpoint || f->type || f->tenant || f->since || f->until ||
		f->http_status || f->error;

	if (has_ids && (narrows || j->all))
		return misused(
			j->ctl, "ids go with --state alone, not with other filters or --all");
	if (j->all && !filter_is_empty(f))
		return misused(j->ctl, "--all goes with no filter");
	if (!has_ids && !j->all && filter_is_empty(f))
		return misused(
			j->ctl, "say which: ids, - (ids on standard input), filters, or --all");
	return 0;
}

static int run_job(struct job *j, const struct texts *operands)
{
	bool from_input;
	int r = filter_resolve(j->ctl, &j->filter);

	if (r == 0)
		r = check_which(j, operands->n > 0);
	if (r == 0)
		r = collect_ids(j, operands, &from_input);
	if (r)
		return r;
	if (operands->n && !j->ids.n) {
		if (!j->ctl->json)
			note("no ids came from standard input");
		return tell_nothing(j);
	}
	return perform(j);
}

static const struct verb *find_verb(const char *name)
{
	const struct verb *verb = verbs;

	while (strcmp(verb->name, name) != 0)
		verb++;
	return verb;
}

static int run_verb(struct ctl *ctl, char **arguments)
{
	struct job j = {.ctl = ctl, .verb = find_verb(ctl->command->name)};
	const struct option_rule rules[] = {
		FILTER_RULES(&j.filter),
		{0, "all", OPTION_FLAG, &j.all, NULL, "all that it takes, without a filter"},
		{0, "dry-run", OPTION_FLAG, &j.dry_run, NULL, "only say how many it would be"},
		{'y', "yes", OPTION_FLAG, &j.yes, NULL, "do not ask"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, SIZE_MAX);

	if (r == 0)
		r = run_job(&j, &operands);
	texts_free_all(&j.ids);
	texts_free(&operands);
	return r;
}

#define WHICH "ID... | - | FILTERS | --all  [--dry-run] [-y]"
#define WHICH_ABOUT \
	"\n\nAn ID is an event's (then all of its deliveries are meant) or EVENT/ENDPOINT; - reads ids\n" \
	"from standard input, one a line: hookctl list --ids -e acme/billing | hookctl "

const struct command command_replay = {.name = "replay",
	.usage = WHICH,
	.summary = "start deliveries over, now",
	.about =
		"Makes deliveries due now, with their retry schedule from the start; the history stays.\n"
		"Takes what is pending or dead. Delivered and held ones are replayed only if --state\n"
		"names them; it asks before it sends delivered ones again." WHICH_ABOUT "replay -",
	.needs = SOCKET_MANAGE,
	.run = run_verb};

const struct command command_hold = {.name = "hold",
	.usage = WHICH,
	.summary = "keep pending deliveries back",
	.about =
		"Keeps pending deliveries back until they are released. Held ones do not age, unless\n"
		"their endpoint has a max age. An attempt under way is not cut off; if it succeeds, its\n"
		"delivery is delivered." WHICH_ABOUT "hold -",
	.needs = SOCKET_MANAGE,
	.run = run_verb};

const struct command command_release = {.name = "release",
	.usage = WHICH,
	.summary = "let held deliveries go on",
	.about = "Makes held deliveries pending again, at the time they had." WHICH_ABOUT
		 "release -",
	.needs = SOCKET_MANAGE,
	.run = run_verb};

const struct command command_cancel = {.name = "cancel",
	.usage = WHICH,
	.summary = "give pending and held deliveries up: they become dead letters",
	.about =
		"Gives deliveries up, now: pending and held ones become dead letters, which replay\n"
		"brings back. Asks first." WHICH_ABOUT "cancel -",
	.needs = SOCKET_MANAGE,
	.run = run_verb};

const struct command command_purge = {.name = "purge",
	.usage = WHICH,
	.summary = "forget deliveries for good",
	.about =
		"Forgets delivered and dead deliveries for good; pending and held ones only if --state\n"
		"names them. An event goes with its last delivery. Asks first." WHICH_ABOUT
		"purge -",
	.needs = SOCKET_ADMIN,
	.run = run_verb};
