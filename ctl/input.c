#include "input.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../lib/webhook.h"
#include "say.h"

#define INPUT_MAX ((size_t)256 << 20) /* hookd takes less; an endless file has to end somewhere */

static bool is_standard_input(const char *path)
{
	return !path || strcmp(path, "-") == 0;
}

static int read_file(FILE *file, const char *name, struct buffer *buffer)
{
	char piece[65536];
	size_t len;

	while ((len = fread(piece, 1, sizeof(piece), file)) > 0) {
		if (buffer->len + len > INPUT_MAX)
			return fail("%s: more than 256 MiB", name);
		buffer_append(buffer, piece, len);
	}
	explicit_bzero(piece, sizeof(piece));
	return ferror(file) ? fail("%s: %s", name, strerror(errno)) : 0;
}

int read_input(const char *path, const char *what, struct buffer *buffer)
{
	FILE *file;
	int r;

	if (is_standard_input(path)) {
		if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
			note("reading %s from the terminal; Ctrl-D ends it", what);
		return read_file(stdin, "standard input", buffer);
	}
	file = fopen(path, "re");
	if (!file)
		return fail("%s: %s", path, strerror(errno));
	r = read_file(file, path, buffer);
	fclose(file);
	return r;
}

int read_line(FILE *file, size_t max, struct buffer *line)
{
	int c = EOF;

	line->len = 0;
	errno = 0;
	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		char byte = (char)c;

		if (line->len == max)
			return -E2BIG;
		buffer_append(line, &byte, 1);
	}
	if (c == EOF && ferror(file))
		return errno ? -errno : -EIO;
	if (c == EOF && line->len == 0)
		return 0;
	while (line->len && line->at[line->len - 1] == '\r')
		line->len--;
	buffer_append(line, "", 0); /* the NUL behind it */
	return 1;
}

int read_line_file(const char *path, const char *what, struct buffer *buffer)
{
	int r = read_input(path, what, buffer);

	while (r == 0 && buffer->len && strchr("\r\n", buffer->at[buffer->len - 1]))
		buffer->at[--buffer->len] = '\0';
	return r;
}

int read_secret(const char *path, char secret[static HOOKD_SECRET_SIZE])
{
	const char *name = is_standard_input(path) ? "standard input" : path;
	struct buffer buffer = {0};
	struct webhook_key key;
	int r = read_line_file(path, "the secret", &buffer);

	if (r == 0 &&
		(!buffer.len || buffer.len >= HOOKD_SECRET_SIZE ||
			strlen(buffer.at) != buffer.len || webhook_key_parse(buffer.at, &key) < 0))
		r = fail(
			"%s: not a secret: expected one line, \"whsec_\" and base64 of 24 to 64 bytes",
			name);
	assert(r != 0 || buffer.at);
	if (r == 0)
		memcpy(secret, buffer.at, buffer.len + 1);
	if (buffer.at)
		explicit_bzero(buffer.at, buffer.size);
	explicit_bzero(&key, sizeof(key));
	buffer_free(&buffer);
	return r;
}
