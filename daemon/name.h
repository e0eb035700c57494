/*
 * The syntax of names: tenants, endpoints, event types, and the patterns that select types.
 *
 * Pure. The rules, once for all faces: a name is 1-64 of A-Z a-z 0-9 _ . - and begins with a letter
 * or digit; a type is 1-128 of A-Z a-z 0-9 _ - . : /; a pattern is a type, a type and ".*", or "*".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define NAME_MAX_LEN 64
#define TYPE_MAX_LEN 128
#define PATTERN_MAX_LEN (TYPE_MAX_LEN + 2)

bool name_is_valid(const char *text, size_t len);
bool type_is_valid(const char *text, size_t len);
bool pattern_is_valid(const char *text, size_t len);

/* "*" matches all; "order.*" matches "order.paid" and "order.paid.eu", not "order". */
bool pattern_matches(const char *pattern, const char *type);

/* In words, for error messages. */
extern const char name_rule[], type_rule[], pattern_rule[];
