#include "users.h"

#include <search.h>
#include <stdlib.h>

struct user {
	uint32_t uid;
	unsigned connections;
};

static int compare(const void *a, const void *b)
{
	uint32_t x = ((const struct user *)a)->uid, y = ((const struct user *)b)->uid;

	return x < y ? -1 : x > y;
}

static struct user *find(const struct users *users, uint32_t uid)
{
	struct user key = {.uid = uid};
	void *found = tfind(&key, &users->tree, compare);

	return found ? *(struct user **)found : NULL;
}

unsigned users_connections(const struct users *users, uint32_t uid)
{
	const struct user *user = find(users, uid);

	return user ? user->connections : 0;
}

bool users_enter(struct users *users, uint32_t uid)
{
	struct user *user = find(users, uid);

	if (user) {
		user->connections++;
		return true;
	}
	user = malloc(sizeof(*user));
	if (!user)
		return false;
	*user = (struct user){uid, 1};
	if (tsearch(user, &users->tree, compare))
		return true;
	free(user);
	return false;
}

void users_leave(struct users *users, uint32_t uid)
{
	struct user *user = find(users, uid);

	if (!user || --user->connections > 0)
		return;
	tdelete(user, &users->tree, compare);
	free(user);
}

void users_free(struct users *users)
{
	tdestroy(users->tree, free);
	users->tree = NULL;
}
