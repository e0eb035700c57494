/*
 * hookctl: what its commands share.
 *
 * A command is a row in a table: its words, its help, the socket it needs, and a function. A
 * function that returns "0 or an exit status" has told the person what went wrong before it
 * returns. What a command finds out goes to standard output; notes, questions and complaints go to
 * standard error. All that hookctl knows it has from the HTTP API; it never opens the data file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct http_client;

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* or done in part */
	EXIT_USAGE = 2,
	EXIT_UNREACHABLE = 3
};

/* What hookd offers, the weaker first; each may do what those before it may. */
enum hookd_socket { SOCKET_SUBMIT, SOCKET_MANAGE, SOCKET_ADMIN, N_SOCKETS };

struct ctl;

struct command {
	const char *name; /* one word or two */
	const char *usage; /* what follows the name */
	const char *summary; /* a line for the list of commands */
	const char *about; /* paragraphs for its own help, above the options */
	enum hookd_socket needs; /* the weakest socket that may do it */
	bool has_no_json;
	int (*run)(struct ctl *ctl, char **arguments); /* returns an exit status */
};

struct ctl {
	char **arguments; /* as they were given, without the program's name */
	const struct command *command;
	const char *sockets; /* the directory */
	bool json, utc;
	bool is_terminal, has_colour; /* standard output */
	unsigned width; /* of the terminal; 0: unknown, or none */
	int64_t now_ms; /* when the command began: all ages in its output refer to it */
	enum hookd_socket needs; /* if its options ask for more than the command */
	struct http_client *http; /* NULL before the first call */
	enum hookd_socket socket; /* which one http leads to */
};
