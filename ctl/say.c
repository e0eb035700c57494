#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../lib/text.h"
#include "buffer.h"

void trim_end(char *text)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == ' ')
		text[--len] = '\0';
}

__attribute__((format(printf, 1, 0))) static char *format_clean(
	const char *format, va_list arguments)
{
	char *text = NULL;

	if (vasprintf(&text, format, arguments) < 0)
		return must_copy("(out of memory)");
	text_clean(text);
	trim_end(text);
	return text;
}

void print_line(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	text = format_clean(format, arguments);
	va_end(arguments);
	puts(text);
	free(text);
}

void print_label(int width, const char *label)
{
	int padding = width - (int)strlen(label);

	printf("%s%*s", label, padding > 2 ? padding : 2, "");
}

int end_output(int r)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return r;
	fail("cannot write the output: %s", strerror(errno));
	return r ? r : EXIT_FAILED;
}

void print_json(const struct ctl *ctl, const json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

	if (!text)
		return;
	/* JSON escapes what is below space; of the rest a terminal obeys DEL and the C1 controls.
	 */
	if (ctl->is_terminal)
		text_clean(text);
	puts(text);
	free(text);
}

__attribute__((format(printf, 3, 0))) static void complain(
	const char *prefix, const char *suffix, const char *format, va_list arguments)
{
	char *text = format_clean(format, arguments);

	fflush(stdout);
	fprintf(stderr, "%s%s%s\n", prefix, text, suffix);
	free(text);
}

void note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain("", "", format, arguments);
	va_end(arguments);
}

int fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain("hookctl: ", "", format, arguments);
	va_end(arguments);
	return EXIT_FAILED;
}

int misused(const struct ctl *ctl, const char *format, ...)
{
	char prefix[64], suffix[64];
	va_list arguments;

	snprintf(prefix, sizeof(prefix), "hookctl %s: ", ctl->command->name);
	snprintf(suffix, sizeof(suffix), " (hookctl %s --help)", ctl->command->name);
	va_start(arguments, format);
	complain(prefix, suffix, format, arguments);
	va_end(arguments);
	return EXIT_USAGE;
}

/* ---- Colours ---- */

static const char *const colours[] = {[PLAIN] = "", [RED] = "\033[31m", [YELLOW] = "\033[33m"};

const char *colour_on(const struct ctl *ctl, enum colour colour)
{
	return ctl->has_colour ? colours[colour] : "";
}

const char *colour_off(const struct ctl *ctl, enum colour colour)
{
	return ctl->has_colour && colour != PLAIN ? "\033[0m" : "";
}

void print_coloured(const struct ctl *ctl, enum colour colour, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	text = format_clean(format, arguments);
	va_end(arguments);
	printf("%s%s%s\n", colour_on(ctl, colour), text, colour_off(ctl, colour));
	free(text);
}

/* ---- Questions ---- */

/* Where answers come from. NULL: from nowhere. */
static FILE *open_answers(void)
{
	if (!isatty(STDERR_FILENO))
		return NULL;
	return isatty(STDIN_FILENO) ? fdopen(dup(STDIN_FILENO), "r") : fopen("/dev/tty", "re");
}

bool can_ask(void)
{
	FILE *answers = open_answers();

	if (answers)
		fclose(answers);
	return answers != NULL;
}

bool ask(const char *format, ...)
{
	FILE *answers = open_answers();
	char answer[16] = "", *text;
	va_list arguments;

	if (!answers)
		return false;
	va_start(arguments, format);
	text = format_clean(format, arguments);
	va_end(arguments);
	fflush(stdout);
	fprintf(stderr, "%s [y/N] ", text);
	free(text);
	if (!fgets(answer, sizeof(answer), answers))
		fputs("\n", stderr);
	fclose(answers);
	answer[strcspn(answer, "\r\n")] = '\0';
	return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

int refuse_unasked(const char *what)
{
	fail("%s asks first, and there is no terminal to ask at: nothing was done (-y answers yes)",
		what);
	return EXIT_USAGE;
}

const char *plural(long long n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}
