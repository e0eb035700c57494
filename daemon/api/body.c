#include "body.h"

#include <stdlib.h>
#include <string.h>

#include "json_memory.h"

#define ROOM ((size_t)96 << 20)

static void free_bytes(struct body *body)
{
	if (body->no_secret)
		free(body->bytes);
	else
		free_wiped(body->bytes);
}

/* realloc(3), but no secret is left where the body was. */
static char *resize(struct body *body, size_t size)
{
	char *bytes;

	if (body->no_secret)
		return realloc(body->bytes, size);
	bytes = malloc(size);
	if (!bytes)
		return NULL;
	if (body->len)
		memcpy(bytes, body->bytes, body->len);
	free_bytes(body);
	return bytes;
}

int body_reserve(struct body *body, struct body_room *room, size_t len, struct problem *problem)
{
	size_t others = room->reserved - body->size, size = len + 1;
	char *bytes;

	if (size > BODY_SMALL && others + size > ROOM)
		return problem_set(problem, PROBLEM_BUSY, NULL,
			"the bodies of other requests that are under way have %zu of the %zu MiB there are for them: try again",
			others >> 20, ROOM >> 20);
	bytes = resize(body, size);
	if (!bytes)
		return problem_set(problem, PROBLEM_BUSY, NULL, "out of memory: try again");
	room->reserved = others + size;
	body->bytes = bytes;
	body->size = size;
	return 0;
}

/* Only for a chunked body: how long it will be was not known at its head. */
static int grow(struct body *body, struct body_room *room, size_t len, struct problem *problem)
{
	if (len > body->limit)
		return problem_set(problem, PROBLEM_TOO_LARGE, NULL,
			"the body has more than %zu bytes", body->limit);
	return body_reserve(body, room, len < body->limit / 2 ? 2 * len : body->limit, problem);
}

int body_add(struct body *body, struct body_room *room, const char *bytes, size_t len,
	struct problem *problem)
{
	int r = 0;

	if (body->len + len + 1 > body->size)
		r = grow(body, room, body->len + len, problem);
	if (r)
		return r;
	memcpy(body->bytes + body->len, bytes, len);
	body->len += len;
	body->bytes[body->len] = '\0';
	return 0;
}

void body_free(struct body *body, struct body_room *room)
{
	room->reserved -= body->size;
	free_bytes(body);
	*body = (struct body){0};
}
