/* hookctl rekey: another master key. */
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "options.h"
#include "say.h"

#define REKEY_TIMEOUT_S 3600 /* hundreds of thousands of endpoints on a slow disk */

/* A key in the data directory is forgotten in the end; a credential is the administrator's to keep.
 * Returns 0: go on; or an exit status. */
static int ask_first(struct ctl *ctl)
{
	json_t *status = NULL;
	const json_t *key;
	int r = get_json(ctl, "/v1/status", &status);

	key = field(status, "master_key");
	if (r == 0 && field_is(key, "source", "file")) {
		if (!can_ask())
			r = refuse_unasked("rekey");
		else if (!ask("change the master key? backups made so far cannot be read without "
			      "the present one (%s), which hookd forgets",
				 field_text(key, "id"))) {
			note("nothing was done");
			r = EXIT_FAILED;
		}
	}
	json_decref(status);
	return r;
}

static void print_done(const struct ctl *ctl, const json_t *done)
{
	long long n = field_number(done, "resealed");

	if (ctl->json) {
		print_json(ctl, done);
		return;
	}
	print_line("the master key is %s now; the secrets of %lld %s sealed anew",
		field_text(done, "id"), n, plural(n, "endpoint were", "endpoints were"));
	if (field_is(done, "source", "credential"))
		note("the credential hookd-master-key-previous may be taken away");
	else
		note("keep a copy of master.key, and with backups made before one of the key before");
}

static int run_rekey(struct ctl *ctl, char **arguments)
{
	bool yes = false;
	const struct option_rule rules[] = {
		{'y', "yes", OPTION_FLAG, &yes, NULL, "do not ask"},
		{0},
	};
	struct call call = {.method = "POST",
		.target = "/v1/rekey",
		.timeout_s = REKEY_TIMEOUT_S,
		.wants = "id resealed"};
	struct texts operands = {0};
	struct answer answer = {0};
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	if (r == 0 && !yes)
		r = ask_first(ctl);
	if (r == 0)
		r = call_hookd(ctl, &call, &answer);
	if (r == 0)
		print_done(ctl, answer.json);
	answer_clear(&answer);
	texts_free(&operands);
	return r;
}

const struct command command_rekey = {.name = "rekey",
	.usage = "[-y]",
	.summary = "another master key, while hookd runs",
	.about =
		"Makes a new master key, seals the secrets of all endpoints with it, and forgets the old\n"
		"one. Backups made before need that, so it asks first. A key that comes as a credential is\n"
		"changed by handing both in, which hookd(8) describes; rekey then waits until it is done.",
	.needs = SOCKET_ADMIN,
	.run = run_rekey};
