#include "help.h"

#include <string.h>

#include "options.h"

#define INDENT 34

static void print_row(FILE *out, const char *left, const char *right)
{
	int len = (int)strlen(left);

	if (!right[0])
		fprintf(out, "  %s\n", left);
	else if (len > INDENT - 4)
		fprintf(out, "  %s\n%*s%s\n", left, INDENT, "", right);
	else
		fprintf(out, "  %-*s%s\n", INDENT - 2, left, right);
}

void print_overview(FILE *out)
{
	fputs("Usage: hookctl [--sockets DIR] [--json] [--utc] COMMAND\n\n"
	      "hookctl looks after hookd, which delivers webhooks. hookctl COMMAND --help says more.\n",
		out);
	for (const struct command_group *group = command_groups; group->heading; group++) {
		fprintf(out, "\n%s\n", group->heading);
		for (const struct command *const *c = group->commands; *c; c++)
			print_row(out, (*c)->name, (*c)->summary);
	}
	fputs("\nOptions of every command\n", out);
	print_row(out, "--sockets DIR",
		"where hookd's sockets are ($HOOKD_SOCKETS, else /run/hookd)");
	print_row(out, "--json", "print the API's objects, one a line");
	print_row(out, "--utc", "times in UTC, not local time");
	print_row(out, "--help, --version", "");
	fputs("\nExit status: 0 done, 1 failed or in part, 2 usage, 3 hookd is not reachable.\n"
	      "The manual is hookctl(1).\n",
		out);
}

void print_family(FILE *out, const char *word)
{
	size_t len = strlen(word);

	fprintf(out, "Usage: hookctl %s COMMAND\n\n", word);
	for (const struct command_group *group = command_groups; group->heading; group++) {
		for (const struct command *const *c = group->commands; *c; c++) {
			if (strncmp((*c)->name, word, len) == 0 && (*c)->name[len] == ' ')
				print_row(out, (*c)->name, (*c)->summary);
		}
	}
}

static void print_rule(const struct option_rule *rule)
{
	char left[80], letter[8] = "", value[32] = "";

	if (rule->letter)
		snprintf(letter, sizeof(letter), "-%c%s", rule->letter, rule->name ? ", " : "");
	if (rule->value && rule->kind == OPTION_MAYBE)
		snprintf(value, sizeof(value), "[=%s]", rule->value);
	else if (rule->value)
		snprintf(value, sizeof(value), " %s", rule->value);
	snprintf(left, sizeof(left), "%s%s%s%s", letter, rule->name ? "--" : "",
		rule->name ? rule->name : "", value);
	print_row(stdout, left, rule->help ? rule->help : "");
}

void print_command_help(const struct command *command, const struct option_rule *rules)
{
	printf("Usage: hookctl %s %s\n\n%s\n", command->name, command->usage, command->about);
	if (rules->letter || rules->name)
		puts("\nOptions");
	for (; rules->letter || rules->name; rules++)
		print_rule(rules);
}
