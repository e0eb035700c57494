/*
 * The body of a request, and the room that the bodies of all requests together have.
 *
 * A length that the head states is reserved there, so that a body which has begun to come finds its
 * place. The memory is touched only as the body comes, and a place whose body does not come is free
 * again at the request's deadline. A body is its request's, the room the API's. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "../problem.h"

#define BODY_SMALL 32768 /* always has room: large requests do not keep the small ones out */

struct body_room {
	size_t reserved;
};

struct body {
	char *bytes; /* NULL for none; a NUL stands behind */
	size_t len, size, limit;
	bool no_secret; /* it need not be overwritten before its memory is freed */
};

/* Both return 0 or the problem's code. */
int body_reserve(struct body *body, struct body_room *room, size_t len, struct problem *problem);
int body_add(struct body *body, struct body_room *room, const char *bytes, size_t len,
	struct problem *problem);

/* It is as new. */
void body_free(struct body *body, struct body_room *room);
