/* hookctl pause and resume: endpoints, or all sending. */
#include <string.h>

#include "client.h"
#include "commands.h"
#include "fields.h"
#include "filter.h"
#include "options.h"
#include "say.h"
#include "words.h"

/* What both take. */
struct switching {
	struct ctl *ctl;
	const char *verb; /* "pause", "resume": the last part of the route, too */
	const char *reason;
	bool all, yes;
};

static json_t *make_body(const struct switching *s)
{
	return s->reason ? json_pack("{s:s}", "reason", s->reason) : NULL;
}

static void tell_endpoint(const struct switching *s, const json_t *endpoint)
{
	long long pending = field_number(field(endpoint, "queue"), "pending");
	bool paused = field_is(endpoint, "state", "paused");
	char address[WORDS_ADDRESS_SIZE];

	words_address(endpoint, "name", address);
	if (s->ctl->json)
		print_json(s->ctl, endpoint);
	else if (paused)
		print_line("%s paused; %lld pending, and nothing ages while it is paused", address,
			pending);
	else
		print_line("%s resumed; %lld pending", address, pending);
}

static int switch_endpoint(const struct switching *s, const char *name)
{
	struct endpoint_name endpoint;
	struct buffer target = {0};
	json_t *body = make_body(s), *answer = NULL;
	int r = parse_endpoint_name(s->ctl, name, &endpoint);

	if (r == 0) {
		endpoint_target(&endpoint, s->verb, &target);
		r = send_json(s->ctl, "POST", target.at, body, &answer);
	}
	if (r == 0)
		tell_endpoint(s, answer);
	json_decref(answer);
	json_decref(body);
	buffer_free(&target);
	return r;
}

/* One after the other; what fails does not stop the rest, unless hookd is not there. */
static int switch_endpoints(const struct switching *s, const struct texts *names)
{
	struct endpoint_name endpoint;
	int worst = 0;

	for (size_t i = 0; i < names->n; i++) {
		if (parse_endpoint_name(s->ctl, names->at[i], &endpoint))
			return EXIT_USAGE;
	}
	for (size_t i = 0; i < names->n && worst != EXIT_UNREACHABLE; i++) {
		int r = switch_endpoint(s, names->at[i]);

		worst = r ? r : worst;
	}
	return worst;
}

static int switch_sending(const struct switching *s)
{
	char target[32];
	json_t *body, *answer = NULL;
	int r;

	if (!s->yes && !can_ask())
		return refuse_unasked(
			strcmp(s->verb, "pause") == 0 ? "pause --all" : "resume --all");
	if (!s->yes && !ask("%s all sending?", s->verb)) {
		note("nothing was done");
		return EXIT_FAILED;
	}
	snprintf(target, sizeof(target), "/v1/%s", s->verb);
	body = make_body(s);
	r = send_json(s->ctl, "POST", target, body, &answer);
	if (r == 0 && s->ctl->json)
		print_json(s->ctl, answer);
	else if (r == 0 && field_is(answer, "state", "paused"))
		print_line("all sending is paused, also over restarts; events are still accepted "
			   "(hookctl resume --all)");
	else if (r == 0)
		print_line("all sending goes on");
	json_decref(answer);
	json_decref(body);
	return r;
}

static int run_switch(struct switching *s, char **arguments, const struct option_rule *rules)
{
	struct texts names = {0};
	int r = options_parse(s->ctl, arguments, rules, &names, 0, SIZE_MAX);

	if (r == 0 && s->all && names.n)
		r = misused(s->ctl, "--all goes without endpoints");
	else if (r == 0 && !s->all && !names.n)
		r = misused(s->ctl, "expected endpoints, or --all for all sending");
	else if (r == 0)
		r = s->all ? switch_sending(s) : switch_endpoints(s, &names);
	texts_free(&names);
	return r;
}

static int run_pause(struct ctl *ctl, char **arguments)
{
	struct switching s = {.ctl = ctl, .verb = "pause"};
	const struct option_rule rules[] = {
		{0, "all", OPTION_FLAG, &s.all, NULL, "all sending, also over restarts"},
		{0, "reason", OPTION_TEXT, &s.reason, "TEXT", "why; status and lists show it"},
		{'y', "yes", OPTION_FLAG, &s.yes, NULL, "do not ask (--all)"},
		{0},
	};
	return run_switch(&s, arguments, rules);
}

static int run_resume(struct ctl *ctl, char **arguments)
{
	struct switching s = {.ctl = ctl, .verb = "resume"};
	const struct option_rule rules[] = {
		{0, "all", OPTION_FLAG, &s.all, NULL,
			"all sending; endpoints keep their own state"},
		{'y', "yes", OPTION_FLAG, &s.yes, NULL, "do not ask (--all)"},
		{0},
	};
	return run_switch(&s, arguments, rules);
}

const struct command command_pause = {.name = "pause",
	.usage = "ENDPOINT... | --all [-y]  [--reason TEXT]",
	.summary = "stop sending to endpoints, or to everybody",
	.about =
		"Stops sending to endpoints. Their deliveries stay pending and do not age; new events are\n"
		"accepted for them. An attempt under way is not cut off. --all pauses all sending, also\n"
		"over restarts of hookd, while events are still accepted; it asks first.",
	.needs = SOCKET_MANAGE,
	.run = run_pause};

const struct command command_resume = {.name = "resume",
	.usage = "ENDPOINT... | --all [-y]",
	.summary = "go on sending",
	.about =
		"Goes on sending to endpoints that were paused, by a person or by hookd. --all ends a\n"
		"pause of all sending; it asks first. Endpoints that are paused themselves stay so.",
	.needs = SOCKET_MANAGE,
	.run = run_resume};
