/* What comes from files and from standard input ("-"). */
#pragma once

#include <stdio.h>

#include "../lib/hookd.h"
#include "buffer.h"
#include "ctl.h"

/* Reads a whole file; path NULL or "-": standard input, what: its name for a person at a terminal,
 * who is told that it is read. Returns 0 or EXIT_FAILED. */
int read_input(const char *path, const char *what, struct buffer *buffer);

/* Reads the next line, without its end; it may have up to max bytes. Returns 1, 0 at the end, or a
 * negative errno, -E2BIG for a longer one. */
int read_line(FILE *file, size_t max, struct buffer *line);

/* A file with one line, such as a token: without the line's end. Returns 0 or EXIT_FAILED. */
int read_line_file(const char *path, const char *what, struct buffer *buffer);

/* Reads a secret, "whsec_...". Returns 0 or EXIT_FAILED. */
int read_secret(const char *path, char secret[static HOOKD_SECRET_SIZE]);
