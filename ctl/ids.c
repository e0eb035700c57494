#include "ids.h"

#include <string.h>

#include "../lib/event_id.h"

/* Names begin with a letter or digit, so that none is "..". */
static bool is_name(const char *text)
{
	static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					 "0123456789_.-";

	return text[0] && !strchr("_.-", text[0]) && strspn(text, characters) == strlen(text);
}

bool split_id(const char *text, char event[static EVENT_PART_SIZE], const char **endpoint)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct event_id id;

	if (event_id_parse(text, len, &id) < 0)
		return false;
	memcpy(event, text, len);
	event[len] = '\0';
	*endpoint = slash ? slash + 1 : NULL;
	return !slash || is_name(slash + 1);
}
