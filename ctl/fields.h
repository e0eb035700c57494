/* Members of the API's objects. What is missing or of another kind reads as nothing, so that a
 * hookd of another version cannot confuse more than a column. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const char *field_text(const json_t *object, const char *name); /* "" for none */
long long field_number(const json_t *object, const char *name); /* 0 for none */
int64_t field_time(const json_t *object, const char *name); /* in ms; 0 for none */
bool field_is(const json_t *object, const char *name, const char *text);
bool field_is_true(const json_t *object, const char *name);
json_t *field(const json_t *object, const char *name); /* borrowed; NULL for none */
