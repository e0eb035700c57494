/* What hookctl says about itself, made from the tables of commands and options. */
#pragma once

#include <stdio.h>

#include "ctl.h"

struct option_rule;

/* A group of commands under a heading; the group without one ends the list. */
struct command_group {
	const char *heading;
	const struct command *const *commands; /* up to NULL */
};

extern const struct command_group command_groups[]; /* in main.c */

/* All commands, a line each. */
void print_overview(FILE *out);

/* The commands that begin with a word, such as "endpoint". */
void print_family(FILE *out, const char *word);

void print_command_help(const struct command *command, const struct option_rule *rules);
