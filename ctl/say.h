/*
 * Words for the person: results on standard output; notes, complaints and questions on standard
 * error. What came from elsewhere is cleaned here, so that nothing that a receiver or a producer
 * made can steer a terminal.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "ctl.h"

/* Takes the spaces at the end away. */
void trim_end(char *text);

/* A line on standard output. */
void print_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a line begins with: the label, and spaces up to width; two at the least. */
void print_label(int width, const char *label);

/* An API object as one line of JSON. */
void print_json(const struct ctl *ctl, const json_t *json);

/* A line on standard error, as it is. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "hookctl: ..." on standard error. Returns EXIT_FAILED, for "return fail(...)". */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "hookctl list: ... (hookctl list --help)". Returns EXIT_USAGE. */
int misused(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum colour { PLAIN, RED, YELLOW };

/* A line on standard output in a colour. */
void print_coloured(const struct ctl *ctl, enum colour colour, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What switches a colour on and off again; "" where there is none. */
const char *colour_on(const struct ctl *ctl, enum colour colour);
const char *colour_off(const struct ctl *ctl, enum colour colour);

/*
 * Questions are asked where somebody can read and answer them: standard error is a terminal, and
 * standard input is one too or /dev/tty can be opened (standard input may bring ids).
 */
bool can_ask(void);

/* Asks "... [y/N] ". False for every answer but y and yes, and where nobody can be asked. */
bool ask(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The usual refusal where a question could not be asked. Returns EXIT_USAGE. */
int refuse_unasked(const char *what);

/* The last thing a program does with its output: complains if not all of it could be written.
 * Returns the exit status, r unless that changes it. */
int end_output(int r);

/* one for 1, many for the rest. */
const char *plural(long long n, const char *one, const char *many);
