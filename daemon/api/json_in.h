/*
 * Reading the members of a JSON object that a user sent, with errors that name the member and what
 * was expected. Internal to api.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "../problem.h"

/* Is the name one of names, a list separated by spaces? */
bool is_named(const char *names, const char *name);

/* Every member has to be in names, a list separated by spaces. */
int json_check_members(const json_t *object, const char *names, struct problem *problem);

/* Each returns 0 and leaves *value alone when the member is missing or null. */
int json_get_text(const json_t *object, const char *name, size_t max_len, const char **value,
	struct problem *problem);
int json_get_integer(const json_t *object, const char *name, int64_t min, int64_t max,
	int64_t *value, struct problem *problem);
int json_get_bool(const json_t *object, const char *name, bool *value, struct problem *problem);
