#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/units.h"
#include "help.h"
#include "say.h"

#define GLOBAL_RULES_MAX 5

/* What stands before a command belongs to no command yet. */
static int misused_option(const struct ctl *ctl, const char *problem, const char *option)
{
	if (ctl->command)
		return misused(ctl, "%s %s", problem, option);
	fail("%s %s (hookctl --help)", problem, option);
	return EXIT_USAGE;
}

static const struct option_rule *find_name(
	const struct option_rule *rules, const char *name, size_t len)
{
	for (; rules->letter || rules->name; rules++) {
		if (rules->name && strlen(rules->name) == len &&
			strncmp(rules->name, name, len) == 0)
			return rules;
	}
	return NULL;
}

static const struct option_rule *find_letter(const struct option_rule *rules, char letter)
{
	for (; rules->letter || rules->name; rules++) {
		if (rules->letter == letter)
			return rules;
	}
	return NULL;
}

static void take_value(const struct option_rule *rule, char *value)
{
	switch (rule->kind) {
	case OPTION_FLAG:
		*(bool *)rule->target = true;
		break;
	case OPTION_TEXT:
	case OPTION_MAYBE:
		*(const char **)rule->target = value;
		break;
	case OPTION_LIST:
		texts_append(rule->target, value);
		break;
	}
}

static bool needs_value(const struct option_rule *rule)
{
	return rule->kind == OPTION_TEXT || rule->kind == OPTION_LIST;
}

/* "--name", "--name=value", or "--name" "value" */
static int take_long(struct ctl *ctl, const struct option_rule *rules[2], char ***at)
{
	static char yes[] = "yes";
	char *option = **at, *value = strchr(option, '=');
	size_t len = value ? (size_t)(value - option - 2) : strlen(option + 2);
	const struct option_rule *rule = find_name(rules[0], option + 2, len);

	if (!rule)
		rule = find_name(rules[1], option + 2, len);
	if (!rule)
		return misused_option(ctl, "unknown option", option);
	if (value && rule->kind == OPTION_FLAG)
		return misused_option(ctl, "no value belongs to", option);
	if (value)
		value++;
	else if (rule->kind == OPTION_MAYBE)
		value = yes;
	else if (needs_value(rule) && !(value = *++*at))
		return misused_option(ctl, "a value is missing behind", option);
	take_value(rule, value);
	++*at;
	return 0;
}

/* "-y", "-n5", or "-n" "5" */
static int take_short(struct ctl *ctl, const struct option_rule *rules[2], char ***at)
{
	char *letters = **at + 1;

	while (*letters) {
		const struct option_rule *rule = find_letter(rules[0], *letters);
		char option[3] = {'-', *letters++, '\0'};

		if (!rule)
			rule = find_letter(rules[1], option[1]);
		if (!rule)
			return misused_option(ctl, "unknown option", option);
		if (!needs_value(rule)) {
			take_value(rule, NULL);
			continue;
		}
		if (!*letters && !(letters = *++*at))
			return misused_option(ctl, "a value is missing behind", option);
		take_value(rule, letters);
		break;
	}
	++*at;
	return 0;
}

static int take_option(struct ctl *ctl, const struct option_rule *rules[2], char ***at)
{
	return (**at)[1] == '-' ? take_long(ctl, rules, at) : take_short(ctl, rules, at);
}

static bool is_option(const char *argument)
{
	return argument[0] == '-' && argument[1] != '\0';
}

/* Those that every command has. */
struct global_options {
	bool help, version;
	struct option_rule rules[GLOBAL_RULES_MAX + 1];
};

static void global_options_init(struct ctl *ctl, struct global_options *global)
{
	struct option_rule rules[GLOBAL_RULES_MAX + 1] = {
		{0, "sockets", OPTION_TEXT, &ctl->sockets, "DIR",
			"where hookd's sockets are ($HOOKD_SOCKETS, else /run/hookd)"},
		{0, "json", OPTION_FLAG, &ctl->json, NULL, "print the API's objects, one a line"},
		{0, "utc", OPTION_FLAG, &ctl->utc, NULL, "times in UTC, not local time"},
		{0, "version", OPTION_FLAG, &global->version, NULL, NULL},
		{'h', "help", OPTION_FLAG, &global->help, NULL, NULL},
	};

	global->help = global->version = false;
	memcpy(global->rules, rules, sizeof(rules));
}

static void print_version(void)
{
	puts("hookctl " HOOKD_VERSION);
	exit(end_output(EXIT_DONE));
}

int options_before_command(struct ctl *ctl, char ***arguments)
{
	static const struct option_rule none[] = {{0}};
	struct global_options global;
	const struct option_rule *rules[2] = {none, global.rules};
	int r = 0;

	global_options_init(ctl, &global);
	while (r == 0 && **arguments && is_option(**arguments))
		r = take_option(ctl, rules, arguments);
	if (r == 0 && global.version)
		print_version();
	if (r == 0 && global.help) {
		print_overview(stdout);
		exit(end_output(EXIT_DONE));
	}
	return r;
}

static int check_operands(
	const struct ctl *ctl, const struct texts *operands, size_t min, size_t max)
{
	if (operands->n > max)
		return misused(ctl, "unexpected argument \"%s\"", operands->at[max]);
	if (operands->n < min)
		return misused(ctl, "expected %s", ctl->command->usage);
	return 0;
}

int options_parse(struct ctl *ctl, char **arguments, const struct option_rule *rules,
	struct texts *operands, size_t min, size_t max)
{
	struct global_options global;
	const struct option_rule *both[2] = {rules, global.rules};
	bool options_ended = false;

	global_options_init(ctl, &global);
	while (*arguments) {
		int r;

		if (options_ended || !is_option(*arguments)) {
			texts_append(operands, *arguments++);
			continue;
		}
		if (strcmp(*arguments, "--") == 0) {
			options_ended = true;
			arguments++;
			continue;
		}
		r = take_option(ctl, both, &arguments);
		if (r)
			return r;
	}
	if (global.version)
		print_version();
	if (global.help) {
		print_command_help(ctl->command, rules);
		exit(end_output(EXIT_DONE));
	}
	if (!*ctl->sockets)
		return misused(ctl, "--sockets: expected a directory");
	if (ctl->json && ctl->command->has_no_json)
		return misused(ctl, "--json has no meaning here");
	return check_operands(ctl, operands, min, max);
}

bool is_listed(const char *words, const char *word, size_t len)
{
	for (; *words; words += strcspn(words, " "), words += strspn(words, " ")) {
		if (strcspn(words, " ") == len && strncmp(words, word, len) == 0)
			return true;
	}
	return false;
}

int parse_number(const struct ctl *ctl, const char *name, const char *text, int64_t min,
	int64_t max, int64_t *number)
{
	char *end = NULL;

	errno = 0;
	*number = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;
	if (end && !*end && !errno && *number >= min && *number <= max)
		return 0;
	return misused(ctl, "%s: expected a whole number from %lld to %lld, not \"%s\"", name,
		(long long)min, (long long)max, text);
}

int parse_duration_between(const struct ctl *ctl, const char *name, const char *text, int64_t min_s,
	int64_t max_s, int64_t *seconds)
{
	char least[UNITS_TEXT_SIZE], most[UNITS_TEXT_SIZE];
	int r = units_parse_duration(text, seconds);

	if (r == 0 && *seconds >= min_s && *seconds <= max_s)
		return 0;
	if (r != 0 && r != -ERANGE)
		return misused(ctl, "%s: expected a duration such as 90s, 5m or 1h30m, not \"%s\"",
			name, text);
	units_format_duration(min_s, least);
	units_format_duration(max_s, most);
	return misused(ctl, "%s: expected %s to %s, not \"%s\"", name, least, most, text);
}

int parse_duration(const struct ctl *ctl, const char *name, const char *text, int64_t *seconds)
{
	return parse_duration_between(ctl, name, text, 0, UNITS_DURATION_MAX_S, seconds);
}
