/* hookctl endpoint list and show. */
#include <stdio.h>
#include <string.h>

#include "../lib/retry_schedule.h"
#include "client.h"
#include "commands.h"
#include "delivery_words.h"
#include "fields.h"
#include "filter.h"
#include "options.h"
#include "pages.h"
#include "say.h"
#include "table.h"
#include "words.h"

#define LABEL 11

/* ---- The list ---- */

static const struct column columns[] = {{"ENDPOINT"}, {"STATE"}, {"TYPES"},
	{"PENDING", .right = true}, {"DEAD", .right = true}, {"LAST ANSWER"}, {"URL"}};

/* "paused 1h 31m", "failing 1h 14m", "ok", "untried" */
static enum colour words_state(const struct ctl *ctl, const json_t *e, char text[static WORDS_SIZE])
{
	const json_t *health = field(e, "health");
	const char *word = field_text(health, "state");
	char since[WORDS_SIZE];

	if (field_is(e, "state", "paused")) {
		words_since(ctl, field_time(e, "state_since"), since);
		snprintf(text, WORDS_SIZE, "paused %.40s", since);
		return YELLOW;
	}
	if (strcmp(word, "failing") == 0) {
		words_since(ctl, field_time(health, "since"), since);
		snprintf(text, WORDS_SIZE, "failing %.40s", since);
		return RED;
	}
	snprintf(text, WORDS_SIZE, "%s", word);
	return PLAIN;
}

/* "204, 2s ago"; "410, by hookd" when that answer paused it */
static void words_last_answer(const struct ctl *ctl, const json_t *e, char text[static WORDS_SIZE])
{
	const json_t *last = field(field(e, "health"), "last_attempt");
	char result[WORDS_SIZE], since[WORDS_SIZE];

	if (!json_is_object(last)) {
		snprintf(text, WORDS_SIZE, "-");
		return;
	}
	words_result(last, result);
	words_since(ctl, attempt_ended(last), since);
	if (field_is(e, "paused_by", "hookd"))
		snprintf(text, WORDS_SIZE, "%.24s, by hookd", result);
	else
		snprintf(text, WORDS_SIZE, "%.24s, %.24s ago", result, since);
}

static void join(const json_t *list, struct buffer *b)
{
	const json_t *item;
	size_t i;

	buffer_append_text(b, "");
	json_array_foreach (list, i, item) {
		buffer_append_text(b, i ? "," : "");
		buffer_append_text(b, json_string_value(item) ? json_string_value(item) : "?");
	}
}

static void add_endpoint(const struct ctl *ctl, struct table *table, const json_t *e)
{
	const json_t *queue = field(e, "queue");
	char address[WORDS_ADDRESS_SIZE], state[WORDS_SIZE], answer[WORDS_SIZE];
	struct buffer types = {0};
	enum colour colour = words_state(ctl, e, state);

	words_address(e, "name", address);
	words_last_answer(ctl, e, answer);
	join(field(e, "types"), &types);
	table_add(table, "%s", address);
	table_add_coloured(table, colour, state);
	table_add(table, "%s", types.at);
	table_add(table, "%lld", field_number(queue, "pending"));
	table_add(table, "%lld", field_number(queue, "dead"));
	table_add(table, "%s", answer);
	table_add(table, "%s", field_text(e, "url"));
	buffer_free(&types);
}

/* Ordered by name: all of them are fetched first, of each the cells are kept. */
static int list_endpoints(struct ctl *ctl, const char *target)
{
	struct pages pages = {.ctl = ctl, .target = target, .has_limit = true};
	struct table table;
	json_t *items, *item;
	size_t i;
	int r;

	table_init(&table, ctl, columns, sizeof(columns) / sizeof(columns[0]), true);
	while ((r = pages_next(&pages, PAGE_MAX, &items)) == 0 && items) {
		json_array_foreach (items, i, item) {
			if (ctl->json)
				print_json(ctl, item);
			else
				add_endpoint(ctl, &table, item);
		}
	}
	if (r == 0 && !ctl->json && !table.n_cells && ctl->is_terminal)
		note("no endpoint%s",
			strchr(target, '&') || strchr(target, '=')
				? " fits"
				: "s yet: hookctl endpoint add NAME URL");
	table_sort(&table);
	table_print(&table);
	table_free(&table);
	pages_clear(&pages);
	return r;
}

/* words: the first and the second, and a third or NULL. */
static int check_word(const struct ctl *ctl, const char *option, const char *text,
	const char *const words[3], const char *expected)
{
	for (unsigned i = 0; text && i < 3 && words[i]; i++) {
		if (strcmp(words[i], text) == 0)
			return 0;
	}
	return text ? misused(ctl, "%s: expected %s, not \"%s\"", option, expected, text) : 0;
}

static int run_list(struct ctl *ctl, char **arguments)
{
	static const char *const healths[3] = {"ok", "failing", "untried"};
	static const char *const states[3] = {"active", "paused"};
	const char *tenant = NULL, *health = NULL, *state = NULL;
	const struct option_rule rules[] = {
		{0, "tenant", OPTION_TEXT, &tenant, "TENANT", "of this tenant"},
		{0, "health", OPTION_TEXT, &health, "HEALTH", "ok, failing or untried"},
		{0, "state", OPTION_TEXT, &state, "STATE", "active or paused"},
		{0},
	};
	struct texts operands = {0};
	struct buffer target = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	if (r == 0)
		r = check_word(ctl, "--health", health, healths, "ok, failing or untried");
	if (r == 0)
		r = check_word(ctl, "--state", state, states, "active or paused");
	buffer_append_text(&target, "/v1/endpoints");
	if (tenant)
		buffer_append_query(&target, "tenant", tenant);
	if (health)
		buffer_append_query(&target, "health", health);
	if (state)
		buffer_append_query(&target, "state", state);
	if (r == 0)
		r = list_endpoints(ctl, target.at);
	buffer_free(&target);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_list = {.name = "endpoint list",
	.usage = "[--tenant T] [--health HEALTH] [--state STATE]",
	.summary = "endpoints, how they do, and what they are owed",
	.about =
		"Lists endpoints by name: their state, the types they take, what they are owed, and what\n"
		"they answered last.",
	.needs = SOCKET_MANAGE,
	.run = run_list};

/* ---- One endpoint ---- */

static void print_state(const struct ctl *ctl, const json_t *e)
{
	const char *reason = field_text(e, "reason"), *by = field_text(e, "paused_by");
	long long failures = field_number(field(e, "health"), "failures");
	char address[WORDS_ADDRESS_SIZE], state[WORDS_SIZE];
	enum colour colour = words_state(ctl, e, state);

	words_address(e, "name", address);
	print_label(LABEL, "endpoint");
	printf("%s  %s%s%s", address, colour_on(ctl, colour), state, colour_off(ctl, colour));
	if (by[0])
		print_line(" by %s%s%s", by, reason[0] ? ": " : "", reason);
	else if (failures)
		print_line(", %lld %s in a row", failures, plural(failures, "failure", "failures"));
	else
		print_line("%s", "");
	if (field_text(e, "description")[0]) {
		print_label(LABEL, "");
		print_line("%s", field_text(e, "description"));
	}
}

static void print_queue(const struct ctl *ctl, const json_t *e)
{
	const json_t *queue = field(e, "queue");
	int64_t oldest_ms = field_time(queue, "oldest_pending_at");
	char since[WORDS_SIZE] = "";

	if (oldest_ms)
		words_since(ctl, oldest_ms, since);
	print_label(LABEL, "queue");
	print_line("%lld pending%s%s%s, %lld held, %lld dead", field_number(queue, "pending"),
		oldest_ms ? " (oldest " : "", since, oldest_ms ? ")" : "",
		field_number(queue, "held"), field_number(queue, "dead"));
}

static void print_last(const struct ctl *ctl, const json_t *e)
{
	const json_t *last = field(field(e, "health"), "last_attempt");
	const char *message = field_text(last, "message"), *address = field_text(last, "address");
	bool names_address = address[0] && strstr(message, address);
	char since[WORDS_SIZE];

	print_label(LABEL, "last");
	if (!json_is_object(last)) {
		print_line("no attempt yet (hookctl endpoint test tries it out)");
		return;
	}
	words_since(ctl, attempt_ended(last), since);
	print_line("%s%s%s, %s ago, after %lld ms", message,
		address[0] && !names_address ? " from " : "", names_address ? "" : address, since,
		field_number(last, "duration_ms"));
}

/* "5s 30s 2m (4 tries in 2m 35s)" */
static void print_retry(const json_t *e)
{
	const json_t *list = field(e, "retry_schedule_s"), *wait;
	char text[1024], span[UNITS_TEXT_SIZE];
	uint32_t waits_s[RETRY_WAITS_MAX];
	int64_t sum_s = 0;
	unsigned n = 0;
	size_t i;

	json_array_foreach (list, i, wait) {
		if (n < RETRY_WAITS_MAX)
			waits_s[n++] = (uint32_t)json_integer_value(wait);
		sum_s += json_integer_value(wait);
	}
	retry_schedule_format(waits_s, n, text, sizeof(text));
	units_describe_span(sum_s * 1000, span);
	print_label(LABEL, "retry");
	if (n)
		print_line("%s (%u tries in %s)", text, n + 1, span);
	else
		print_line("none: one try");
}

static void print_limits(const json_t *e)
{
	const json_t *rate = field(e, "rate_per_s");
	long long max_age_s = field_number(e, "max_age_s");
	char age[UNITS_TEXT_SIZE] = "no max age", rates[WORDS_SIZE] = "no rate limit";

	if (max_age_s) {
		char span[UNITS_TEXT_SIZE];

		units_format_duration(max_age_s, span);
		snprintf(age, sizeof(age), "max age %.36s", span);
	}
	if (json_number_value(rate) > 0)
		snprintf(rates, sizeof(rates), "%g/s in bursts of %lld", json_number_value(rate),
			field_number(e, "burst"));
	print_label(LABEL, "limits");
	print_line("timeout %llds, %lld in flight, %s, %s", field_number(e, "timeout_s"),
		field_number(e, "max_in_flight"), rates, age);
}

static void print_headers(const json_t *e)
{
	struct buffer names = {0};
	const char *name;
	json_t *value;

	json_object_foreach (field(e, "headers"), name, value) {
		buffer_append_text(&names, names.len ? ", " : "");
		buffer_append_text(&names, name);
	}
	if (names.len) {
		print_label(LABEL, "headers");
		print_line("%s (values are secrets and are not shown)", names.at);
	}
	buffer_free(&names);
}

static void print_allowed(const json_t *e)
{
	struct buffer words = {0}, networks = {0};

	join(field(e, "allow_private"), &networks);
	if (field_is_true(e, "allow_http"))
		buffer_append_text(&words, "plain http");
	if (networks.len)
		buffer_append_format(
			&words, "%sprivate networks %s", words.len ? ", " : "", networks.at);
	if (field_text(e, "ca")[0])
		buffer_append_format(
			&words, "%sca file %s", words.len ? ", " : "", field_text(e, "ca"));
	if (words.len) {
		print_label(LABEL, "allowed");
		print_line("%s", words.at);
	}
	buffer_free(&words);
	buffer_free(&networks);
}

static void print_secrets(const struct ctl *ctl, const json_t *e)
{
	const json_t *secret;
	size_t i;

	json_array_foreach (field(e, "secrets"), i, secret) {
		int64_t expires_ms = field_time(secret, "expires_at");
		char created[WORDS_SIZE], expires[WORDS_SIZE];

		words_time(ctl, field_time(secret, "created_at"), created);
		words_time(ctl, expires_ms, expires);
		print_label(LABEL, i ? "" : "secrets");
		print_line("fingerprint %s, of %s%s%s", field_text(secret, "fingerprint"), created,
			expires_ms ? ", signs until " : "", expires_ms ? expires : "");
	}
}

static void print_endpoint(const struct ctl *ctl, const json_t *e)
{
	char created[WORDS_SIZE], updated[WORDS_SIZE];
	struct buffer types = {0};

	words_time(ctl, field_time(e, "created_at"), created);
	words_time(ctl, field_time(e, "updated_at"), updated);
	join(field(e, "types"), &types);
	print_state(ctl, e);
	print_label(LABEL, "url");
	print_line("%s", field_text(e, "url"));
	print_label(LABEL, "types");
	print_line("%s", types.at);
	print_queue(ctl, e);
	print_last(ctl, e);
	print_retry(e);
	print_limits(e);
	print_headers(e);
	print_allowed(e);
	print_secrets(ctl, e);
	print_label(LABEL, "created");
	print_line("%s, changed %s", created, updated);
	buffer_free(&types);
}

static int run_show(struct ctl *ctl, char **arguments)
{
	static const struct option_rule rules[] = {{0}};
	struct endpoint_name endpoint;
	struct texts operands = {0};
	json_t *answer = NULL;
	int r = options_parse(ctl, arguments, rules, &operands, 1, 1);

	if (r == 0)
		r = parse_endpoint_name(ctl, operands.at[0], &endpoint);
	if (r == 0)
		r = get_endpoint(ctl, &endpoint, &answer);
	if (r == 0 && ctl->json)
		print_json(ctl, answer);
	else if (r == 0)
		print_endpoint(ctl, answer);
	json_decref(answer);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_show = {.name = "endpoint show",
	.usage = "NAME",
	.summary = "all settings of an endpoint",
	.about = "Shows an endpoint: how it does, what it is owed, and every setting.",
	.needs = SOCKET_MANAGE,
	.run = run_show};
