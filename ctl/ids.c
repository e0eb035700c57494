#include "ids.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "say.h"

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

int parse_id(const struct ctl *ctl, const char *text, char event[static EVENT_PART_SIZE],
	const char **endpoint)
{
	if (split_id(text, event, endpoint))
		return 0;
	return misused(ctl,
		"\"%.80s\" is not an id: expected evt_ and 26 characters, or EVENT/ENDPOINT", text);
}

int make_id(const char *what, struct event_id *id)
{
	struct event_id_source source = {0};
	struct timespec now;
	uint8_t random[10];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return fail("no random numbers from the kernel for %s", what);
	clock_gettime(CLOCK_REALTIME, &now);
	*id = event_id_next(&source, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, random);
	return 0;
}
