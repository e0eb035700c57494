#include "fields.h"

#include <string.h>

#include "../lib/timestamp.h"

json_t *field(const json_t *object, const char *name)
{
	return json_object_get(object, name);
}

const char *field_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

long long field_number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

int64_t field_time(const json_t *object, const char *name)
{
	const char *text = field_text(object, name);
	int64_t ms;

	return timestamp_parse(text, strlen(text), &ms) == 0 ? ms : 0;
}

bool field_is(const json_t *object, const char *name, const char *text)
{
	return strcmp(field_text(object, name), text) == 0;
}

bool field_is_true(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}
