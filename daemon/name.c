#include "name.h"

#include <string.h>

const char name_rule[] = "1 to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit";
const char type_rule[] = "1 to 128 of A-Z a-z 0-9 _ - . : /";
const char pattern_rule[] = "a type, a prefix and \".*\", or \"*\"";

static bool is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_made_of(const char *text, size_t len, const char *others)
{
	for (size_t i = 0; i < len; i++) {
		if (!is_alphanumeric(text[i]) && (text[i] == '\0' || !strchr(others, text[i])))
			return false;
	}
	return true;
}

bool name_is_valid(const char *text, size_t len)
{
	return len >= 1 && len <= NAME_MAX_LEN && is_alphanumeric(text[0]) &&
		is_made_of(text, len, "_.-");
}

bool type_is_valid(const char *text, size_t len)
{
	return len >= 1 && len <= TYPE_MAX_LEN && is_made_of(text, len, "_-.:/");
}

bool pattern_is_valid(const char *text, size_t len)
{
	if (len == 1 && text[0] == '*')
		return true;
	if (len > 2 && memcmp(text + len - 2, ".*", 2) == 0)
		len -= 2;
	return type_is_valid(text, len);
}

bool pattern_matches(const char *pattern, const char *type)
{
	size_t len = strlen(pattern);

	if (strcmp(pattern, "*") == 0)
		return true;
	if (len > 2 && memcmp(pattern + len - 2, ".*", 2) == 0)
		return strncmp(pattern, type, len - 1) == 0 && type[len - 1] != '\0';
	return strcmp(pattern, type) == 0;
}
