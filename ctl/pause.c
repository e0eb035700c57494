/* hookctl pause and resume: endpoints, or all sending. */
#include <string.h>

#include "../lib/units.h"
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "filter.h"
#include "options.h"
#include "say.h"
#include "status.h"
#include "words.h"

/* What both take. */
struct switching {
	struct ctl *ctl;
	const char *verb; /* "pause", "resume": the last part of the route, too */
	const char *reason;
	bool all, yes;
};

/* hookd answers with what is paused or resumed now. */
static int call_switch(const struct switching *s, const char *target, struct answer *answer)
{
	json_t *body = s->reason ? json_pack("{s:s}", "reason", s->reason) : NULL;
	struct call call = {.method = "POST", .target = target, .json = body, .wants = "state"};
	int r = call_hookd(s->ctl, &call, answer);

	json_decref(body);
	return r;
}

/* Pausing is safe, but for what somebody said is worth nothing when it is old. */
static void tell_paused(const char *address, const json_t *endpoint)
{
	long long pending = field_number(field(endpoint, "queue"), "pending");
	long long max_age_s = field_number(endpoint, "max_age_s");
	char span[UNITS_TEXT_SIZE];

	if (max_age_s == 0) {
		print_line("%s paused; %lld pending, and nothing ages while it is paused", address,
			pending);
		return;
	}
	units_format_duration(max_age_s, span);
	print_line("%s paused; %lld pending, and what is older than %s when it goes on is not sent",
		address, pending, span);
}

static void tell_endpoint(const struct switching *s, const json_t *endpoint)
{
	long long pending = field_number(field(endpoint, "queue"), "pending");
	char address[WORDS_ADDRESS_SIZE];

	words_address(endpoint, "name", address);
	if (s->ctl->json)
		print_json(s->ctl, endpoint);
	else if (field_is(endpoint, "state", "paused"))
		tell_paused(address, endpoint);
	else
		print_line("%s resumed; %lld pending", address, pending);
}

/* ---- What is paused already ---- */

/* Pausing again would replace who paused it, since when and why: that takes a new reason. */
static bool may_change_nothing(const struct switching *s)
{
	return strcmp(s->verb, "pause") == 0 && !s->reason;
}

/* "acme/slow is paused already, for 2h: their move". what: an endpoint, or all sending. */
static void tell_paused_already(
	const struct switching *s, const char *name, const json_t *what, const char *since_member)
{
	const char *reason = field_text(what, "reason");
	char since[WORDS_SIZE];

	words_since(s->ctl, field_time(what, since_member), since);
	if (s->ctl->json)
		print_json(s->ctl, what);
	else
		print_line("%s is paused already, for %s%s%s", name, since, reason[0] ? ": " : "",
			reason);
}

static int leave_paused(
	const struct switching *s, const struct endpoint_name *name, bool *is_paused)
{
	json_t *endpoint = NULL;
	char address[WORDS_ADDRESS_SIZE];
	int r = get_endpoint(s->ctl, name, &endpoint);

	*is_paused = field_is(endpoint, "state", "paused");
	words_address(endpoint, "name", address);
	if (*is_paused)
		tell_paused_already(s, address, endpoint, "state_since");
	json_decref(endpoint);
	return r;
}

static int leave_sending_paused(const struct switching *s, bool *is_paused)
{
	json_t *sending = NULL;
	int r = get_sending(s->ctl, &sending);

	*is_paused = field_is(sending, "state", "paused");
	if (*is_paused)
		tell_paused_already(s, "all sending", sending, "since");
	json_decref(sending);
	return r;
}

/* ---- Endpoints ---- */

static int switch_endpoint(const struct switching *s, const char *name)
{
	struct endpoint_name endpoint;
	struct buffer target = {0};
	struct answer answer = {0};
	bool is_paused = false;
	int r = parse_endpoint_name(s->ctl, name, &endpoint);

	if (r == 0 && may_change_nothing(s))
		r = leave_paused(s, &endpoint, &is_paused);
	if (r == 0 && !is_paused) {
		endpoint_target(&endpoint, s->verb, &target);
		r = call_switch(s, target.at, &answer);
	}
	if (r == 0 && !is_paused)
		tell_endpoint(s, answer.json);
	answer_clear(&answer);
	buffer_free(&target);
	return r;
}

/* Endpoints that were resumed are sent nothing while all sending is paused. */
static void tell_sending(const struct switching *s)
{
	json_t *sending = NULL;

	if (get_sending(s->ctl, &sending) == 0 && field_is(sending, "state", "paused"))
		note("all sending is still paused (hookctl resume --all)");
	json_decref(sending);
}

/* One after the other; what fails does not stop the rest, unless hookd is not there. */
static int switch_endpoints(const struct switching *s, const struct texts *names)
{
	struct endpoint_name endpoint;
	bool some_done = false;
	int worst = 0;

	for (size_t i = 0; i < names->n; i++) {
		if (parse_endpoint_name(s->ctl, names->at[i], &endpoint))
			return EXIT_USAGE;
	}
	for (size_t i = 0; i < names->n && worst != EXIT_UNREACHABLE; i++) {
		int r = switch_endpoint(s, names->at[i]);

		some_done |= r == 0;
		worst = r ? r : worst;
	}
	if (worst != EXIT_UNREACHABLE && strcmp(s->verb, "resume") == 0)
		tell_sending(s);
	return worst && some_done ? EXIT_FAILED : worst;
}

/* ---- All sending ---- */

static int switch_sending(const struct switching *s)
{
	struct answer answer;
	char target[32];
	bool is_paused = false;
	int r;

	s->ctl->needs = SOCKET_ADMIN;
	r = may_change_nothing(s) ? leave_sending_paused(s, &is_paused) : 0;
	if (r || is_paused)
		return r;
	if (!s->yes && !can_ask())
		return refuse_unasked(
			strcmp(s->verb, "pause") == 0 ? "pause --all" : "resume --all");
	if (!s->yes && !ask("%s all sending?", s->verb)) {
		note("nothing was done");
		return EXIT_FAILED;
	}
	snprintf(target, sizeof(target), "/v1/%s", s->verb);
	r = call_switch(s, target, &answer);
	if (r == 0 && s->ctl->json)
		print_json(s->ctl, answer.json);
	else if (r == 0 && field_is(answer.json, "state", "paused"))
		print_line("all sending is paused, also over restarts; events are still accepted "
			   "(hookctl resume --all)");
	else if (r == 0)
		print_line("all sending goes on");
	answer_clear(&answer);
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
		{0, "reason", OPTION_TEXT, &s.reason, "TEXT",
			"why; status and endpoint show tell it"},
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
		"Stops sending to endpoints. Their deliveries stay pending and do not age, unless there is\n"
		"a max age; new events are accepted for them. An attempt under way is not cut off. --all\n"
		"pauses all sending, also over restarts of hookd, while events are still accepted; it asks\n"
		"first.",
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
