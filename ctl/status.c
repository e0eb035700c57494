/*
 * hookctl status: hookd as a whole, in a dozen lines. It is the monitoring check, too: its exit
 * status is 1 if hookd itself has a problem. A customer's dead receiver is not one.
 */
#include "status.h"

#include <stdio.h>
#include <string.h>

#include "../lib/text.h"
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "options.h"
#include "say.h"
#include "table.h"
#include "words.h"

#define STATUS_TIMEOUT_S 10 /* less than monitoring waits for a check */
#define LABEL 14
#define RECENT_S 300.0 /* what the API's "_5m" counts cover */

int get_sending(struct ctl *ctl, json_t **sending)
{
	json_t *status = NULL;
	int r = get_json(ctl, "/v1/status", &status);

	*sending = json_incref(field(status, "sending"));
	json_decref(status);
	return r;
}

static void print_coloured_label(const struct ctl *ctl, enum colour colour, const char *label)
{
	fputs(colour_on(ctl, colour), stdout);
	print_label(LABEL, label);
	fputs(colour_off(ctl, colour), stdout);
}

/* How much of the last five minutes hookd has been there. */
static double recent_seconds(const struct ctl *ctl, const json_t *status)
{
	double up_s = (double)(ctl->now_ms - field_time(status, "started_at")) / 1000;

	return up_s < RECENT_S ? up_s : RECENT_S;
}

static void print_up(const struct ctl *ctl, const json_t *status)
{
	const json_t *senders = field(status, "senders");
	long long running = field_number(senders, "running"),
		  wanted = field_number(senders, "wanted"),
		  in_flight = field_number(field(status, "sending"), "in_flight");
	char since[WORDS_SIZE], version[64], of[32] = "";

	words_since(ctl, field_time(status, "started_at"), since);
	snprintf(version, sizeof(version), "hookd %.48s", field_text(status, "version"));
	text_clean(version);
	if (running < wanted)
		snprintf(of, sizeof(of), " of %lld", wanted);
	print_label(LABEL, version);
	print_line("up %s, %lld%s %s, %lld %s in flight", since, running, of,
		plural(of[0] ? wanted : running, "sender", "senders"), in_flight,
		plural(in_flight, "request", "requests"));
}

static void print_intake(const struct ctl *ctl, const json_t *status)
{
	const json_t *intake = field(status, "intake");
	long long total = field_number(intake, "accepted_total"),
		  duplicates = field_number(intake, "duplicates_total");
	char rate[WORDS_SIZE], word[64] = "accepting";

	words_rate((double)field_number(intake, "accepted_5m"), recent_seconds(ctl, status), rate);
	if (!field_is_true(intake, "accepting"))
		snprintf(word, sizeof(word), "refusing (%.32s)", field_text(intake, "code"));
	print_label(LABEL, "intake");
	print_line("%s, %s/s; %lld %s since start, %lld %s, %lld refused", word, rate, total,
		plural(total, "event", "events"), duplicates,
		plural(duplicates, "duplicate", "duplicates"),
		field_number(intake, "refused_total"));
}

static void print_sending(const struct ctl *ctl, const json_t *status)
{
	const json_t *sending = field(status, "sending");
	long long attempts = field_number(sending, "attempts_5m"),
		  late_s = field_number(sending, "late_s");
	const char *reason = field_text(sending, "reason");
	char rate[WORDS_SIZE], late[WORDS_SIZE] = "none", word[WORDS_SIZE] = "on", share[64] = "";

	words_rate((double)attempts, recent_seconds(ctl, status), rate);
	if (attempts)
		snprintf(share, sizeof(share), ", %.1f %% ok in 5 min",
			100.0 * (double)field_number(sending, "ok_5m") / (double)attempts);
	if (late_s)
		units_describe_span(late_s * 1000, late);
	if (field_is(sending, "state", "paused")) {
		words_since(ctl, field_time(sending, "since"), word);
		print_coloured_label(ctl, YELLOW, "sending");
		print_line("paused %s%s%s", word, reason[0] ? ": " : "", reason);
		return;
	}
	print_label(LABEL, "sending");
	print_line("%s, %s attempts/s%s, %s late", word, rate, share, late);
}

static void print_queue(const struct ctl *ctl, const json_t *status)
{
	const json_t *queue = field(status, "queue");
	int64_t oldest_ms = field_time(queue, "oldest_pending_at"),
		newest_ms = field_time(queue, "newest_dead_at");
	char oldest[WORDS_SIZE] = "", newest[WORDS_SIZE] = "", span[WORDS_SIZE];

	if (oldest_ms) {
		words_since(ctl, oldest_ms, span);
		snprintf(oldest, sizeof(oldest), " (oldest %.32s)", span);
	}
	if (newest_ms && field_number(queue, "dead")) {
		words_since(ctl, newest_ms, span);
		snprintf(newest, sizeof(newest), " (newest %.32s ago)", span);
	}
	print_label(LABEL, "queue");
	print_line("%lld pending%s, %lld held, %lld dead%s", field_number(queue, "pending"), oldest,
		field_number(queue, "held"), field_number(queue, "dead"), newest);
}

static void print_store(const json_t *status)
{
	const json_t *store = field(status, "store");
	char share[WORDS_SIZE], disk[WORDS_SIZE];

	words_share(field_number(store, "used_bytes"), field_number(store, "budget_bytes"), share);
	words_size(field_number(store, "disk_free_bytes"), disk);
	print_label(LABEL, "store");
	print_line("%s budget, disk %s free, commit %.1f ms", share, disk,
		json_number_value(field(store, "commit_ms")));
}

static void print_endpoints(const json_t *status)
{
	const json_t *endpoints = field(status, "endpoints");

	print_label(LABEL, "endpoints");
	print_line("%lld, %lld failing, %lld paused", field_number(endpoints, "total"),
		field_number(endpoints, "failing"), field_number(endpoints, "paused"));
}

/* Only while there are two, or somebody has something to take away. */
static void print_master_key(const json_t *status)
{
	const json_t *key = field(status, "master_key");
	long long n = field_number(key, "sealed_with_previous");

	if (!field_text(key, "previous_id")[0] && !field_is_true(key, "previous_is_spare"))
		return;
	print_label(LABEL, "master key");
	if (field_is_true(key, "previous_is_spare"))
		print_line("%s; the credential hookd-master-key-previous may be taken away",
			field_text(key, "id"));
	else
		print_line("%s; %lld %s sealed with the previous one, %s", field_text(key, "id"), n,
			plural(n, "endpoint is still", "endpoints are still"),
			field_text(key, "previous_id"));
}

/* ---- The worst endpoints ---- */

/* "503 Service Unavailable, 41s ago"; "by hookd: receiver answered 410 Gone" */
static void add_why(const struct ctl *ctl, struct table *table, const json_t *e)
{
	const json_t *last = field(field(e, "health"), "last_attempt");
	const char *reason = field_text(e, "reason");
	char since[WORDS_SIZE];

	if (field_is(e, "state", "paused")) {
		table_add(table, "by %s%s%s", field_text(e, "paused_by"), reason[0] ? ": " : "",
			reason);
		return;
	}
	words_since(ctl, attempt_ended(last), since);
	table_add(table, "%s, %s ago", field_text(last, "message"), since);
}

static void print_worst(const struct ctl *ctl, const json_t *status)
{
	static const struct column columns[] = {{""}, {""}, {"", .right = true}, {""}};
	const json_t *worst = field(status, "worst"), *e;
	struct table table;
	size_t i;

	table_init(&table, ctl, columns, sizeof(columns) / sizeof(columns[0]), false);
	json_array_foreach (worst, i, e) {
		bool paused = field_is(e, "state", "paused");
		char address[WORDS_ADDRESS_SIZE], since[WORDS_SIZE];

		words_address(e, "name", address);
		words_since(ctl,
			paused ? field_time(e, "state_since")
			       : field_time(field(e, "health"), "since"),
			since);
		table_add(&table, "%s", address);
		table_add(&table, "%s", since);
		table_add(&table, "%lld pending", field_number(field(e, "queue"), "pending"));
		add_why(ctl, &table, e);
	}
	json_array_foreach (worst, i, e) {
		bool paused = field_is(e, "state", "paused");

		print_coloured_label(ctl, paused ? YELLOW : RED, paused ? "paused" : "failing");
		table_print_rows(&table, i, 1);
	}
	table_free(&table);
}

/* ---- The problems ---- */

static void print_problems(const struct ctl *ctl, const json_t *problems)
{
	const json_t *problem;
	size_t i;

	json_array_foreach (problems, i, problem) {
		char since[WORDS_SIZE];

		words_since(ctl, field_time(problem, "since"), since);
		print_coloured_label(ctl, RED, "problem");
		print_line("%s; since %s", field_text(problem, "message"), since);
	}
	if (json_array_size(problems) == 0)
		print_line("no problems");
}

static void print_status(const struct ctl *ctl, const json_t *status)
{
	print_up(ctl, status);
	print_intake(ctl, status);
	print_sending(ctl, status);
	print_queue(ctl, status);
	print_store(status);
	print_endpoints(status);
	print_master_key(status);
	print_worst(ctl, status);
	print_problems(ctl, field(status, "problems"));
}

static int run_status(struct ctl *ctl, char **arguments)
{
	static const struct option_rule rules[] = {{0}};
	struct call call = {.method = "GET",
		.target = "/v1/status",
		.timeout_s = STATUS_TIMEOUT_S,
		.wants = "version"};
	struct texts operands = {0};
	struct answer answer = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	if (r == 0)
		r = call_hookd(ctl, &call, &answer);
	if (r == 0 && ctl->json)
		print_json(ctl, answer.json);
	else if (r == 0)
		print_status(ctl, answer.json);
	if (r == 0 && json_array_size(field(answer.json, "problems")))
		r = EXIT_FAILED;
	answer_clear(&answer);
	texts_free(&operands);
	return r;
}

const struct command command_status = {.name = "status",
	.usage = "",
	.summary = "how hookd does; exit status 1 if it has a problem",
	.about =
		"Shows how hookd does: what comes in, what goes out, what waits, and the endpoints that\n"
		"fail or are paused. The last lines are hookd's own problems. Exit status 1 if there are\n"
		"any, so that it serves as a monitoring check.",
	.needs = SOCKET_MANAGE,
	.run = run_status};
