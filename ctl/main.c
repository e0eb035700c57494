/* hookctl: finds the command, and ends with its exit status. */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "../lib/text.h"
#include "buffer.h"
#include "client.h"
#include "commands.h"
#include "help.h"
#include "options.h"
#include "say.h"

#define SOCKETS_DEFAULT "/run/hookd"

static const struct command *const looking[] = {
	&command_status, &command_list, &command_show, &command_backlog, NULL};

static const struct command *const deciding[] = {&command_replay, &command_hold, &command_release,
	&command_cancel, &command_purge, &command_pause, &command_resume, NULL};

static const struct command *const endpoints[] = {&command_endpoint_add, &command_endpoint_set,
	&command_endpoint_list, &command_endpoint_show, &command_endpoint_remove,
	&command_endpoint_test, &command_endpoint_rotate_secret, NULL};

static const struct command *const trying[] = {
	&command_submit, &command_listen, &command_sign, &command_verify, NULL};

static const struct command *const keeping[] = {&command_backup, &command_rekey, NULL};

const struct command_group command_groups[] = {
	{"Looking", looking},
	{"Deciding about deliveries", deciding},
	{"Endpoints", endpoints},
	{"Submitting and trying things out", trying},
	{"Keeping", keeping},
	{NULL, NULL},
};

/* ---- Finding the command ---- */

/* Does the command's name consist of the next arguments? Returns how many, or 0. */
static unsigned count_words(const struct command *command, char **arguments)
{
	const char *space = strchr(command->name, ' ');
	size_t len = space ? (size_t)(space - command->name) : strlen(command->name);

	if (strlen(arguments[0]) != len || strncmp(command->name, arguments[0], len) != 0)
		return 0;
	if (!space)
		return 1;
	return arguments[1] && strcmp(space + 1, arguments[1]) == 0 ? 2 : 0;
}

static const struct command *find_command(char ***arguments)
{
	for (const struct command_group *group = command_groups; group->heading; group++) {
		for (const struct command *const *c = group->commands; *c; c++) {
			unsigned n = count_words(*c, *arguments);

			if (n) {
				*arguments += n;
				return *c;
			}
		}
	}
	return NULL;
}

/* How many single letters differ: insertions, deletions and changes. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t len = strlen(b);

	if (len >= sizeof(row) / sizeof(row[0]))
		return UINT32_MAX;
	for (unsigned j = 0; j <= len; j++)
		row[j] = j;
	for (; *a; a++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 1; j <= len; j++) {
			unsigned best = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[len];
}

/* "endpoint test" is meant by "test", too. */
static unsigned distance_to_command(const char *words, const struct command *command)
{
	const char *space = strchr(command->name, ' ');
	unsigned d = distance(words, command->name);

	return space && strcmp(space + 1, words) == 0 ? 1 : d;
}

static const char *nearest_command(const char *words)
{
	const char *nearest = NULL;
	unsigned least = 3; /* further away is another word */

	for (const struct command_group *group = command_groups; group->heading; group++) {
		for (const struct command *const *c = group->commands; *c; c++) {
			unsigned d = distance_to_command(words, *c);

			if (d < least) {
				least = d;
				nearest = (*c)->name;
			}
		}
	}
	return nearest;
}

static bool asks_for_help(const char *argument)
{
	return argument && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0);
}

static int explain_unknown(char **arguments)
{
	char words[80];
	const char *nearest;
	bool is_family;

	if (!*arguments) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	is_family = strcmp(arguments[0], "endpoint") == 0;
	if (is_family && asks_for_help(arguments[1])) {
		print_family(stdout, arguments[0]);
		return EXIT_DONE;
	}
	if (is_family && !arguments[1]) {
		print_family(stderr, arguments[0]);
		return EXIT_USAGE;
	}
	snprintf(words, sizeof(words), "%.30s%s%.30s", arguments[0], is_family ? " " : "",
		is_family ? arguments[1] : "");
	nearest = nearest_command(words);
	fail("there is no command \"%s\"%s%s%s (hookctl %s--help)", words,
		nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "",
		is_family ? "endpoint " : "");
	return EXIT_USAGE;
}

/* "hookctl help list" is "hookctl list --help". */
static int help(struct ctl *ctl, char **arguments)
{
	static char option[] = "--help";

	if (!*arguments) {
		print_overview(stdout);
		return EXIT_DONE;
	}
	ctl->command = find_command(&arguments);
	return ctl->command ? ctl->command->run(ctl, (char *[]){option, NULL})
			    : explain_unknown((char *[]){arguments[0], option, NULL});
}

/* ---- Beginning and end ---- */

/* All of it goes into JSON sooner or later. */
static int check_arguments(char **arguments)
{
	for (unsigned i = 1; arguments[i]; i++) {
		const uint8_t *p = (const uint8_t *)arguments[i];
		size_t left = strlen(arguments[i]), len;

		for (; left > 0; p += len, left -= len) {
			len = text_utf8_sequence(p, left);
			if (len == 0) {
				fail("argument %u is not UTF-8", i);
				return EXIT_USAGE;
			}
		}
	}
	return 0;
}

/* What is printed must not end in a socket that took the place of a closed standard output. */
static void open_standard_files(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* OpenSSL crashes where it has no memory to set itself up, and in the midst of that it would wait
 * for itself at an orderly exit. */
static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
	void *grown;

	(void)file;
	(void)line;
	if (!size) {
		free(old);
		return NULL;
	}
	grown = realloc(old, size);
	if (!grown) {
		fputs("hookctl: out of memory\n", stderr);
		_exit(EXIT_FAILED);
	}
	return grown;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
	return openssl_realloc(NULL, size, file, line);
}

static void openssl_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	free(memory);
}

static void prepare(struct ctl *ctl)
{
	const char *sockets = getenv("HOOKD_SOCKETS"), *no_colour = getenv("NO_COLOR");
	const char *terminal = getenv("TERM");
	struct winsize size;
	struct timespec now;

	open_standard_files();
	setlocale(LC_CTYPE, ""); /* the width of characters; numbers stay as they are */
	tzset();
	json_set_alloc_funcs(must_malloc, free);
	(void)CRYPTO_set_mem_functions(
		openssl_malloc, openssl_realloc, openssl_free); /* nothing was allocated yet */
	clock_gettime(CLOCK_REALTIME, &now);
	ctl->now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	ctl->sockets = sockets && *sockets ? sockets : SOCKETS_DEFAULT;
	ctl->is_terminal = isatty(STDOUT_FILENO);
	if (ctl->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		ctl->width = size.ws_col;
	ctl->has_colour = ctl->is_terminal && !(no_colour && *no_colour) && terminal &&
		strcmp(terminal, "dumb") != 0;
}

static int run(struct ctl *ctl, char **arguments)
{
	int r = check_arguments(arguments);

	arguments++;
	if (r == 0)
		r = options_before_command(ctl, &arguments);
	if (r)
		return r;
	if (*arguments && strcmp(*arguments, "help") == 0)
		return help(ctl, arguments + 1);
	ctl->command = *arguments ? find_command(&arguments) : NULL;
	if (!ctl->command)
		return explain_unknown(arguments);
	return ctl->command->run(ctl, arguments);
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.arguments = argv + 1};
	int r;

	if (argc < 1)
		return EXIT_USAGE;
	prepare(&ctl);
	r = run(&ctl, argv);
	disconnect(&ctl);
	return end_output(r);
}
