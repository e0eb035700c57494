/* hookctl endpoint test, rotate-secret and remove. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client.h"
#include "commands.h"
#include "delivery_words.h"
#include "fields.h"
#include "filter.h"
#include "input.h"
#include "options.h"
#include "say.h"
#include "secret_words.h"
#include "words.h"

#define TEST_TIMEOUT_S 180 /* an attempt may last a minute, and wait for a sender before */
#define LABEL 10
#define OVERLAP_MAX_S (30 * 86400) /* hookd's own limit */

/* ---- test ---- */

static bool is_ok(const json_t *attempt)
{
	long long status = field_number(attempt, "http_status");

	return status >= 200 && status <= 299;
}

/* Was TLS spoken, as far as can be told? */
static const char *tls_words(const json_t *endpoint, const json_t *attempt)
{
	if (strncasecmp(field_text(endpoint, "url"), "https://", 8) != 0)
		return "no TLS (plain http)";
	if (field_is(attempt, "result", "tls"))
		return "TLS failed";
	if (field_is(attempt, "result", "connect"))
		return "no connection";
	if (!field_number(attempt, "http_status"))
		return "https";
	return "TLS";
}

static void print_attempt(const struct ctl *ctl, const json_t *endpoint, const json_t *attempt)
{
	const char *address = field_text(attempt, "address"),
		   *response = field_text(attempt, "response");
	char name[WORDS_ADDRESS_SIZE];

	words_address(endpoint, "name", name);
	print_label(LABEL, "endpoint");
	print_line("%s  %s", name, field_text(endpoint, "url"));
	print_label(LABEL, "address");
	if (address[0])
		print_line("%s, %s", address, tls_words(endpoint, attempt));
	else
		print_line("none was reached");
	print_coloured(ctl, is_ok(attempt) ? PLAIN : RED, "%-*s%s after %lld ms", LABEL, "answer",
		field_text(attempt, "message"), field_number(attempt, "duration_ms"));
	if (response[0]) {
		print_label(LABEL, "body");
		print_line("%s", response);
	}
}

static int test(struct ctl *ctl, const char *name)
{
	struct endpoint_name parsed;
	struct buffer target = {0};
	struct call call = {.method = "POST", .timeout_s = TEST_TIMEOUT_S};
	struct answer answer = {0};
	json_t *endpoint = NULL;
	int r = parse_endpoint_name(ctl, name, &parsed);

	if (r == 0)
		r = get_endpoint(ctl, &parsed, &endpoint);
	if (r == 0) {
		endpoint_target(&parsed, "test", &target);
		call.target = target.at;
		r = call_hookd(ctl, &call, &answer);
	}
	if (r == 0 && ctl->json)
		print_json(ctl, answer.json);
	else if (r == 0)
		print_attempt(ctl, endpoint, answer.json);
	if (r == 0 && !is_ok(answer.json))
		r = EXIT_FAILED;
	answer_clear(&answer);
	json_decref(endpoint);
	buffer_free(&target);
	return r;
}

static int run_test(struct ctl *ctl, char **arguments)
{
	static const struct option_rule rules[] = {{0}};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 1, 1);

	if (r == 0)
		r = test(ctl, operands.at[0]);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_test = {.name = "endpoint test",
	.usage = "NAME",
	.summary = "send it a test event, now",
	.about =
		"Sends an event of type hookd.test, signed and under the same address rules as any other,\n"
		"once, now, outside the queue, even if the endpoint is paused. Prints what came back.\n"
		"Exit status 1 unless that was a 2xx.",
	.needs = SOCKET_MANAGE,
	.run = run_test};

/* ---- rotate-secret ---- */

struct rotation {
	struct ctl *ctl;
	const char *overlap, *secret_file;
};

static int make_rotation(const struct rotation *rotation, json_t *body)
{
	char secret[HOOKD_SECRET_SIZE];
	int64_t overlap_s;
	int r = 0;

	if (rotation->overlap) {
		r = parse_duration_between(rotation->ctl, "--overlap", rotation->overlap, 0,
			OVERLAP_MAX_S, &overlap_s);
		if (r == 0)
			json_object_set_new(body, "overlap_s", json_integer(overlap_s));
	}
	if (r == 0 && rotation->secret_file) {
		r = read_secret(rotation->secret_file, secret);
		if (r == 0)
			json_object_set_new(body, "secret", json_string(secret));
		explicit_bzero(secret, sizeof(secret));
	}
	return r;
}

/* Until when the one before is used, too. */
static void tell_overlap(const struct ctl *ctl, const json_t *endpoint)
{
	int64_t latest_ms = 0;
	const json_t *secret;
	char time[WORDS_SIZE];
	size_t i;

	json_array_foreach (field(endpoint, "secrets"), i, secret) {
		int64_t expires_ms = field_time(secret, "expires_at");

		latest_ms = expires_ms > latest_ms ? expires_ms : latest_ms;
	}
	words_time(ctl, latest_ms, time);
	if (latest_ms)
		note("Until %s hookd signs with the old secret, too.", time);
	else
		note("The old secret is no longer used.");
}

static int rotate(const struct rotation *rotation, const char *name)
{
	struct ctl *ctl = rotation->ctl;
	json_t *body = json_object(), *answer = NULL;
	struct endpoint_name parsed;
	struct buffer target = {0};
	char address[WORDS_ADDRESS_SIZE];
	int r = parse_endpoint_name(ctl, name, &parsed);

	if (r == 0)
		r = make_rotation(rotation, body);
	if (r == 0) {
		endpoint_target(&parsed, "rotate-secret", &target);
		r = send_json(ctl, "POST", target.at, body, &answer);
	}
	if (r == 0) {
		words_address(answer, "name", address);
		print_secret(
			ctl, answer, rotation->secret_file != NULL, address, "has a new secret");
		if (!ctl->json)
			tell_overlap(ctl, answer);
	}
	json_decref(answer);
	json_decref(body);
	buffer_free(&target);
	return r;
}

static int run_rotate(struct ctl *ctl, char **arguments)
{
	struct rotation rotation = {.ctl = ctl};
	const struct option_rule rules[] = {
		{0, "overlap", OPTION_TEXT, &rotation.overlap, "SPAN",
			"sign with the old one so long, too (24h); 0s for a leaked one"},
		{0, "secret-file", OPTION_TEXT, &rotation.secret_file, "FILE",
			"the new secret is in FILE (- = standard input)"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 1, 1);

	if (r == 0)
		r = rotate(&rotation, operands.at[0]);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_rotate_secret = {.name = "endpoint rotate-secret",
	.usage = "NAME [--overlap SPAN] [--secret-file FILE]",
	.summary = "sign with a new secret",
	.about =
		"Gives an endpoint a new secret and prints it, once. For the time of the overlap every\n"
		"request carries two signatures, so that the receiver can change over in peace.",
	.needs = SOCKET_MANAGE,
	.run = run_rotate};

/* ---- remove ---- */

/* What dies with it. Returns 0: go on; or an exit status. */
static int ask_removal(const char *address, const json_t *endpoint, long long n)
{
	long long pending = field_number(field(endpoint, "queue"), "pending");

	if (n == 0 ? ask("remove %s?", address)
		   : ask("remove %s? %lld %s (%lld pending, %lld held) %s", address, n,
			     plural(n, "delivery dies", "deliveries die"), pending, n - pending,
			     "and cannot be replayed"))
		return 0;
	note("nothing was done");
	return EXIT_FAILED;
}

static int remove_endpoint(struct ctl *ctl, const char *name, bool yes)
{
	struct endpoint_name parsed;
	struct buffer target = {0};
	json_t *endpoint = NULL, *queue;
	char address[WORDS_ADDRESS_SIZE];
	long long n = 0;
	int r = parse_endpoint_name(ctl, name, &parsed);

	if (r == 0 && !yes && !can_ask())
		r = refuse_unasked("endpoint remove");
	if (r == 0)
		r = get_endpoint(ctl, &parsed, &endpoint);
	if (r == 0) {
		queue = field(endpoint, "queue");
		n = field_number(queue, "pending") + field_number(queue, "held");
		words_address(endpoint, "name", address);
		r = yes ? 0 : ask_removal(address, endpoint, n);
	}
	if (r == 0) {
		endpoint_target(&parsed, NULL, &target);
		r = send_json(ctl, "DELETE", target.at, NULL, NULL);
	}
	if (r == 0 && !ctl->json && n == 0)
		print_line("%s removed; it was owed nothing", address);
	else if (r == 0 && !ctl->json)
		print_line("%s removed; %lld %s", address, n,
			plural(n, "delivery becomes a dead letter",
				"deliveries become dead letters"));
	json_decref(endpoint);
	buffer_free(&target);
	return r;
}

static int run_remove(struct ctl *ctl, char **arguments)
{
	bool yes = false;
	const struct option_rule rules[] = {
		{'y', "yes", OPTION_FLAG, &yes, NULL, "do not ask"},
		{0},
	};
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 1, 1);

	if (r == 0)
		r = remove_endpoint(ctl, operands.at[0], yes);
	texts_free(&operands);
	return r;
}

const struct command command_endpoint_remove = {.name = "endpoint remove",
	.usage = "NAME [-y]",
	.summary = "remove an endpoint; what it is owed dies",
	.about =
		"Removes an endpoint, at once. What it is owed becomes dead letters, which keep its name and\n"
		"cannot be replayed. It says how many those are and asks first. To stop sending for a\n"
		"while, pause it.",
	.needs = SOCKET_MANAGE,
	.run = run_remove};
