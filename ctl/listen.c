/*
 * hookctl listen: a receiver to try hookd out with. With --subscribe it registers itself as
 * endpoint hookctl-listen of the default tenant while it runs. One that a killed run left is taken
 * over, with a new secret, and with what it is owed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "commands.h"
#include "fields.h"
#include "filter.h"
#include "input.h"
#include "options.h"
#include "receiver.h"
#include "say.h"

#define PORT_DEFAULT 8900
#define NAME "hookctl-listen"
#define ROUTE "/v1/endpoints/" NAME

struct listening {
	struct ctl *ctl;
	const char *pattern, *secret_file, *status, *fail_first, *delay;
	char secret[HOOKD_SECRET_SIZE];
	const char *secrets[1];
	struct receiver_options options;
	uint16_t port;
	bool subscribed;
};

/* ---- The endpoint ---- */

static json_t *make_endpoint(const struct listening *l)
{
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", l->port);
	return json_pack("{s:s, s:[s], s:b, s:[s], s:s}", "url", url, "types", l->pattern,
		"allow_http", 1, "allow_private", "127.0.0.0/8", "description",
		"hookctl listen, while it runs");
}

/* Changes the one that is there already, so that it is as if it had been made now. */
static int take_over(struct listening *l, json_t *endpoint)
{
	json_t *secret = json_pack("{s:s, s:i}", "secret", l->secret, "overlap_s", 0);
	int r = send_json(l->ctl, "PATCH", ROUTE "?tenant=", endpoint, NULL);

	if (r == 0)
		r = send_json(l->ctl, "POST", ROUTE "/rotate-secret?tenant=", secret, NULL);
	if (r == 0)
		r = send_json(l->ctl, "POST", ROUTE "/resume?tenant=", NULL, NULL);
	if (r == 0)
		note("took over endpoint " NAME ", which an earlier run had left");
	json_decref(secret);
	return r;
}

static int subscribe(struct listening *l)
{
	json_t *endpoint = make_endpoint(l), *fresh = json_copy(endpoint);
	struct call call = {
		.method = "POST", .target = "/v1/endpoints", .json = fresh, .tolerated = "exists"};
	struct answer answer;
	int r;

	json_object_set_new(fresh, "name", json_string(NAME));
	json_object_set_new(fresh, "secret", json_string(l->secret));
	r = call_hookd(l->ctl, &call, &answer);
	if (r == 0 && answer.code)
		r = take_over(l, endpoint);
	l->subscribed = r == 0;
	answer_clear(&answer);
	json_decref(fresh);
	json_decref(endpoint);
	return r;
}

static int unsubscribe(struct listening *l)
{
	struct call call = {
		.method = "DELETE", .target = ROUTE "?tenant=", .tolerated = "not_found"};
	struct answer answer;
	int r;

	if (!l->subscribed)
		return 0;
	r = call_hookd(l->ctl, &call, &answer);
	answer_clear(&answer);
	if (r)
		note("endpoint " NAME " is left behind: hookctl endpoint remove " NAME);
	return r;
}

/* ---- Life ---- */

static void tell_address(const struct listening *l)
{
	print_line("listening on http://127.0.0.1:%u/%s", l->port,
		l->subscribed ? " as endpoint " NAME : "");
	if (l->options.n_secrets == 0)
		note("signature not checked (no --secret-file)");
}

/* The threads inherit the mask: the signals wait until they are asked for. */
static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN); /* the endpoint is to be removed, whoever stops reading */
}

static int serve(struct listening *l)
{
	struct receiver *receiver = NULL;
	sigset_t signals;
	int r, number, left;

	block_signals(&signals);
	r = receiver_new(&receiver, &l->port);
	if (r == 0 && l->pattern)
		r = subscribe(l);
	if (r == 0) {
		tell_address(l);
		r = receiver_start(receiver, &l->options);
	}
	if (r == 0)
		sigwait(&signals, &number);
	left = unsubscribe(l);
	receiver_free(receiver);
	return r ? r : left;
}

/* ---- Options ---- */

static int parse_answers(struct listening *l)
{
	int64_t status = 200;
	int r = 0;

	if (l->status)
		r = parse_number(l->ctl, "--status", l->status, 200, 599, &status);
	if (r == 0 && l->fail_first)
		r = parse_number(
			l->ctl, "--fail-first", l->fail_first, 0, INT32_MAX, &l->options.n_failing);
	if (r == 0 && l->delay)
		r = parse_duration(l->ctl, "--delay", l->delay, &l->options.delay_s);
	l->options.status = (unsigned)status;
	return r;
}

/* From a file; else a subscriber has a fresh one, which nobody else needs to know. */
static int choose_secret(struct listening *l)
{
	int r = 0;

	if (l->secret_file)
		r = read_secret(l->secret_file, l->secret);
	else if (l->pattern && hookd_secret_generate(l->secret, sizeof(l->secret)) < 0)
		r = fail("no random numbers for a secret");
	l->secrets[0] = l->secret;
	l->options.secrets = l->secrets;
	l->options.n_secrets = l->secret[0] != '\0';
	return r;
}

static int run_listen(struct ctl *ctl, char **arguments)
{
	struct listening l = {.ctl = ctl, .port = PORT_DEFAULT};
	const struct option_rule rules[] = {
		{0, "subscribe", OPTION_TEXT, &l.pattern, "PATTERN",
			"be endpoint " NAME " for these types while it runs"},
		{0, "secret-file", OPTION_TEXT, &l.secret_file, "FILE",
			"verify with the secret in FILE"},
		{0, "status", OPTION_TEXT, &l.status, "N", "answer so (200)"},
		{0, "fail-first", OPTION_TEXT, &l.fail_first, "N",
			"answer the first N requests with 503"},
		{0, "delay", OPTION_TEXT, &l.delay, "SPAN", "wait before each answer"},
		{0, "stall", OPTION_FLAG, &l.options.stall, NULL, "never answer"},
		{0},
	};
	struct texts operands = {0};
	int64_t port = PORT_DEFAULT;
	int r = options_parse(ctl, arguments, rules, &operands, 0, 1);

	if (r == 0 && operands.n)
		r = parse_number(ctl, "PORT", operands.at[0], 0, 65535, &port);
	l.port = (uint16_t)port;
	if (r == 0)
		r = parse_answers(&l);
	if (r == 0)
		r = choose_secret(&l);
	if (r == 0) {
		setvbuf(stdout, NULL, _IOLBF, 0); /* somebody watches, also through a pipe */
		r = serve(&l);
	}
	explicit_bzero(l.secret, sizeof(l.secret));
	texts_free(&operands);
	return r;
}

const struct command command_listen = {.name = "listen",
	.usage = "[PORT] [--subscribe PATTERN] [--secret-file FILE] [answers]",
	.summary = "a receiver to try things out with",
	.about =
		"Receives webhooks at http://127.0.0.1:PORT/ (8900; 0 for any free port), verifies them,\n"
		"and prints a line for each. --subscribe makes it an endpoint of hookd while it runs,\n"
		"which needs admin.sock because the address is a private one. Ctrl-C ends it and removes\n"
		"the endpoint; what that is owed then dies.",
	.needs = SOCKET_ADMIN,
	.has_no_json = true,
	.run = run_listen};
