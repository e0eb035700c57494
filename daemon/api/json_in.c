#include "json_in.h"

#include <string.h>

bool is_named(const char *names, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = names; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
		if (strcspn(at, " ") == len && memcmp(at, name, len) == 0)
			return true;
	}
	return false;
}

int json_check_members(const json_t *object, const char *names, struct problem *problem)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)object, name, value) {
		if (!is_named(names, name))
			return problem_set(problem, PROBLEM_INVALID, name,
				"unknown member; expected %s%s", names[0] ? "some of " : "none",
				names);
	}
	return 0;
}

int json_get_text(const json_t *object, const char *name, size_t max_len, const char **value,
	struct problem *problem)
{
	const json_t *member = json_object_get(object, name);

	if (!member || json_is_null(member))
		return 0;
	if (!json_is_string(member) || json_string_length(member) > max_len)
		return problem_set(problem, PROBLEM_INVALID, name,
			"expected a string of at most %zu bytes", max_len);
	*value = json_string_value(member);
	return 0;
}

int json_get_integer(const json_t *object, const char *name, int64_t min, int64_t max,
	int64_t *value, struct problem *problem)
{
	const json_t *member = json_object_get(object, name);

	if (!member || json_is_null(member))
		return 0;
	if (!json_is_integer(member) || json_integer_value(member) < min ||
		json_integer_value(member) > max)
		return problem_set(problem, PROBLEM_INVALID, name,
			"expected a whole number from %lld to %lld", (long long)min,
			(long long)max);
	*value = json_integer_value(member);
	return 0;
}

int json_get_bool(const json_t *object, const char *name, bool *value, struct problem *problem)
{
	const json_t *member = json_object_get(object, name);

	if (!member || json_is_null(member))
		return 0;
	if (!json_is_boolean(member))
		return problem_set(problem, PROBLEM_INVALID, name, "expected true or false");
	*value = json_is_true(member);
	return 0;
}
