/*
 * The command line as tables: what options a command has, where their values go, and the words of
 * its help, which is made from the same rows.
 *
 * Options and operands may be mixed; "--" ends the options, "-" is an operand. hookctl's own
 * options
 * (--sockets, --json, --utc, --help) are taken in any place.
 */
#pragma once

#include <stdint.h>

#include "buffer.h"
#include "ctl.h"

enum option_kind {
	OPTION_FLAG, /* target: bool */
	OPTION_TEXT, /* target: const char *, NULL until it is given; the last one counts */
	OPTION_MAYBE, /* the same; "--name" alone stands for "--name=yes" */
	OPTION_LIST /* target: struct texts, borrowing; may be given more than once */
};

struct option_rule {
	char letter; /* 0: none */
	const char *name; /* NULL: none. The row without letter and name ends a table */
	enum option_kind kind;
	void *target;
	const char *value; /* what the help calls it; NULL for flags */
	const char *help; /* NULL: as it is named */
};

/* Takes what stands before the command. Moves *arguments on to it. Returns 0 or EXIT_USAGE. */
int options_before_command(struct ctl *ctl, char ***arguments);

/*
 * Takes a command's arguments; operands borrows what is no option, between min and max of them.
 * Prints the help and ends the program if that is asked for. Returns 0 or EXIT_USAGE.
 */
int options_parse(struct ctl *ctl, char **arguments, const struct option_rule *rules,
	struct texts *operands, size_t min, size_t max);

/* Is word, of len bytes, one of words, which are separated by spaces? */
bool is_listed(const char *words, const char *word, size_t len);

/* Values of options. name: for the complaint. They return 0 or EXIT_USAGE. */
int parse_number(const struct ctl *ctl, const char *name, const char *text, int64_t min,
	int64_t max, int64_t *number);
int parse_duration(const struct ctl *ctl, const char *name, const char *text, int64_t *seconds);
int parse_duration_between(const struct ctl *ctl, const char *name, const char *text, int64_t min_s,
	int64_t max_s, int64_t *seconds);
