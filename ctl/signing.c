/*
 * hookctl sign and verify: signatures of webhooks, offline, for whoever builds a receiver. The body
 * comes from standard input, byte for byte.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "ids.h"
#include "input.h"
#include "options.h"
#include "say.h"
#include "words.h"

#define TOLERANCE_S 300
#define TIMESTAMP_MAX 99999999999 /* the year 5138 */

/* The body takes standard input, so the secret cannot. */
static int get_secret(const struct ctl *ctl, const char *file, char secret[HOOKD_SECRET_SIZE])
{
	if (!file)
		return misused(ctl, "expected --secret-file FILE");
	if (strcmp(file, "-") == 0)
		return misused(ctl, "standard input is the body: put the secret into a file");
	return read_secret(file, secret);
}

/* ---- sign ---- */

static int sign(const char *secret, const char *id, int64_t timestamp)
{
	char signature[HOOKD_SIGNATURE_SIZE];
	struct buffer body = {0};
	int r = read_input(NULL, "the body", &body);

	if (r == 0 &&
		hookd_sign(secret, id, timestamp, body.at ? body.at : "", body.len, signature,
			sizeof(signature)) < 0)
		r = fail("the signature could not be made: out of memory");
	if (r == 0) {
		print_line("webhook-id: %s", id);
		print_line("webhook-timestamp: %lld", (long long)timestamp);
		print_line("webhook-signature: %s", signature);
	}
	buffer_free(&body);
	return r;
}

static int run_sign(struct ctl *ctl, char **arguments)
{
	const char *file = NULL, *id = NULL, *timestamp = NULL;
	const struct option_rule rules[] = {
		{0, "secret-file", OPTION_TEXT, &file, "FILE", "the secret, whsec_..."},
		{0, "id", OPTION_TEXT, &id, "ID", "webhook-id (a fresh one)"},
		{0, "timestamp", OPTION_TEXT, &timestamp, "N",
			"webhook-timestamp, seconds since 1970 (now)"},
		{0},
	};
	char secret[HOOKD_SECRET_SIZE], fresh[EVENT_ID_TEXT_SIZE];
	struct event_id fresh_id;
	struct texts operands = {0};
	int64_t seconds = time(NULL);
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	texts_free(&operands);
	if (r == 0 && timestamp)
		r = parse_number(ctl, "--timestamp", timestamp, 0, TIMESTAMP_MAX, &seconds);
	if (r == 0 && id && (!*id || strpbrk(id, ". \t\r\n")))
		r = misused(ctl, "--id: expected an id without dots and spaces");
	if (r == 0)
		r = get_secret(ctl, file, secret);
	if (r == 0 && !id) {
		r = make_id("an id", &fresh_id);
		if (r == 0)
			event_id_format(&fresh_id, fresh);
		id = fresh;
	}
	if (r == 0)
		r = sign(secret, id, seconds);
	explicit_bzero(secret, sizeof(secret));
	return r;
}

const struct command command_sign = {.name = "sign",
	.usage = "--secret-file FILE [--id ID] [--timestamp N] < BODY",
	.summary = "the headers that hookd would send with a body",
	.about =
		"Signs the body on standard input, byte for byte, and prints the three headers of Standard\n"
		"Webhooks. Works offline.",
	.needs = SOCKET_SUBMIT,
	.has_no_json = true,
	.run = run_sign};

/* ---- verify ---- */

struct question {
	struct ctl *ctl;
	const char *secret_file, *tolerance;
	struct hookd_webhook_headers headers;
	int64_t tolerance_s;
};

static void print_off(const struct question *q, const char *when)
{
	char span[UNITS_TEXT_SIZE], tolerance[UNITS_TEXT_SIZE];
	int64_t signed_ms;

	assert(q->headers.timestamp);
	signed_ms = strtoll(q->headers.timestamp, NULL, 10) * 1000;
	units_describe_span(llabs(q->ctl->now_ms - signed_ms), span);
	units_format_duration(q->tolerance_s, tolerance);
	print_line("not verified: the signature fits, but was made %s %s; --tolerance is %s", span,
		when, tolerance);
}

static int print_verdict(const struct question *q, int verdict)
{
	switch (verdict) {
	case HOOKD_VERIFIED:
		print_line("verified");
		return EXIT_DONE;
	case HOOKD_BAD_SIGNATURE:
		print_line("not verified: no signature fits this secret, id, timestamp and body "
			   "(every byte of the body counts)");
		return EXIT_FAILED;
	case HOOKD_TOO_OLD:
		print_off(q, "ago");
		return EXIT_FAILED;
	case HOOKD_TOO_NEW:
		print_off(q, "in the future");
		return EXIT_FAILED;
	case HOOKD_MALFORMED_HEADERS:
		print_line("not verified: expected an id without dots, and a timestamp in seconds");
		return EXIT_FAILED;
	default:
		return fail("cannot verify: %s", strerror(-verdict));
	}
}

static int verify(const struct question *q, const char *secret)
{
	struct buffer body = {0};
	int r = read_input(NULL, "the body", &body);

	if (r == 0)
		r = print_verdict(q,
			hookd_verify(&secret, 1, &q->headers, body.at ? body.at : "", body.len,
				q->ctl->now_ms / 1000, q->tolerance_s));
	buffer_free(&body);
	return r;
}

static int run_verify(struct ctl *ctl, char **arguments)
{
	struct question q = {.ctl = ctl, .tolerance_s = TOLERANCE_S};
	const struct option_rule rules[] = {
		{0, "secret-file", OPTION_TEXT, &q.secret_file, "FILE", "the secret, whsec_..."},
		{0, "id", OPTION_TEXT, &q.headers.id, "ID", "webhook-id"},
		{0, "timestamp", OPTION_TEXT, &q.headers.timestamp, "N", "webhook-timestamp"},
		{0, "signature", OPTION_TEXT, &q.headers.signature, "TEXT",
			"webhook-signature, one or more with spaces between"},
		{0, "tolerance", OPTION_TEXT, &q.tolerance, "SPAN",
			"how far off the timestamp may be (5m)"},
		{0},
	};
	char secret[HOOKD_SECRET_SIZE];
	struct texts operands = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	texts_free(&operands);
	if (r == 0 && (!q.headers.id || !q.headers.timestamp || !q.headers.signature))
		r = misused(ctl, "expected --id, --timestamp and --signature as they came");
	if (r == 0 && q.tolerance)
		r = parse_duration(ctl, "--tolerance", q.tolerance, &q.tolerance_s);
	if (r == 0)
		r = get_secret(ctl, q.secret_file, secret);
	if (r == 0)
		r = verify(&q, secret);
	explicit_bzero(secret, sizeof(secret));
	return r;
}

const struct command command_verify = {.name = "verify",
	.usage =
		"--secret-file FILE --id ID --timestamp N --signature TEXT [--tolerance SPAN] < BODY",
	.summary = "whether a webhook is genuine",
	.about =
		"Says whether the body on standard input was signed with the secret. Exit status 0 if it is\n"
		"verified, 1 if not. Works offline.",
	.needs = SOCKET_SUBMIT,
	.has_no_json = true,
	.run = run_verify};
