/* hookctl backup: a hot copy of the data file. */
#include "client.h"
#include "commands.h"
#include "fields.h"
#include "options.h"
#include "say.h"
#include "words.h"

#define BACKUP_TIMEOUT_S (24 * 3600) /* a large store on a slow disk */

static int run_backup(struct ctl *ctl, char **arguments)
{
	static const struct option_rule rules[] = {{0}};
	struct call call = {.method = "POST",
		.target = "/v1/backup",
		.timeout_s = BACKUP_TIMEOUT_S,
		.wants = "file bytes"};
	struct texts operands = {0};
	struct answer answer = {0};
	char size[WORDS_SIZE];
	int r = options_parse(ctl, arguments, rules, &operands, 0, 0);

	if (r == 0)
		r = call_hookd(ctl, &call, &answer);
	if (r == 0 && ctl->json) {
		print_json(ctl, answer.json);
	} else if (r == 0) {
		print_line("%s", field_text(answer.json, "file"));
		words_size(field_number(answer.json, "bytes"), size);
		if (ctl->is_terminal)
			note("%s; the master key (master.key, or a credential) is not in it: keep that, too",
				size);
	}
	answer_clear(&answer);
	texts_free(&operands);
	return r;
}

const struct command command_backup = {.name = "backup",
	.usage = "",
	.summary = "a copy of the data file, while hookd runs",
	.about =
		"Makes a copy of the data file while hookd runs and prints its path, which is in hookd's\n"
		"data directory. A hookd that is started on a copy begins with all sending paused.",
	.needs = SOCKET_ADMIN,
	.run = run_backup};
