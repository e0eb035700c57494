#include "hosts.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct host {
	char *name;
	size_t number; /* of those in the file */
	struct peer address;
};

struct hosts {
	struct host *list; /* by name, then by number */
	size_t n, size;
};

static int compare_hosts(const void *a, const void *b)
{
	const struct host *first = a, *second = b;
	int order = strcasecmp(first->name, second->name);

	return order ? order : (first->number > second->number) - (first->number < second->number);
}

static bool add_host(struct hosts *hosts, const char *name, const struct peer *address)
{
	if (hosts->n == hosts->size) {
		size_t size = hosts->size ? 2 * hosts->size : 16;
		struct host *list = realloc(hosts->list, size * sizeof(*list));

		if (!list)
			return false;
		hosts->list = list;
		hosts->size = size;
	}
	hosts->list[hosts->n] = (struct host){strdup(name), hosts->n, *address};
	return hosts->list[hosts->n++].name != NULL;
}

static bool parse_address(const char *text, struct peer *address)
{
	*address = (struct peer){0};
	if (inet_pton(AF_INET, text, address->bytes) == 1)
		address->family = 4;
	else if (inet_pton(AF_INET6, text, address->bytes) == 1)
		address->family = 6;
	return address->family != 0;
}

/* "ADDRESS NAME...", anything from # on being a comment. Other lines say nothing. Returns false
 * without memory. */
static bool take_line(struct hosts *hosts, char *line)
{
	static const char blanks[] = " \t\r\n\v\f";
	struct peer address;
	char *rest, *word;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, blanks, &rest);
	if (!word || !parse_address(word, &address))
		return true;
	while ((word = strtok_r(NULL, blanks, &rest))) {
		if (!add_host(hosts, word, &address))
			return false;
	}
	return true;
}

struct hosts *hosts_read(const char *path)
{
	struct hosts *hosts = calloc(1, sizeof(*hosts));
	FILE *file = hosts ? fopen(path, "re") : NULL;
	char *line = NULL;
	size_t size = 0;
	bool ok = true;

	if (!file)
		return hosts;
	while (ok && getline(&line, &size, file) >= 0)
		ok = take_line(hosts, line);
	free(line);
	fclose(file);
	if (!ok) {
		hosts_free(hosts);
		return NULL;
	}
	if (hosts->n)
		qsort(hosts->list, hosts->n, sizeof(*hosts->list), compare_hosts);
	return hosts;
}

void hosts_free(struct hosts *hosts)
{
	if (!hosts)
		return;
	for (size_t i = 0; i < hosts->n; i++)
		free(hosts->list[i].name);
	free(hosts->list);
	free(hosts);
}

static bool is_localhost(const char *name)
{
	static const char word[] = "localhost";
	size_t len = strlen(name), word_len = sizeof(word) - 1;

	if (len < word_len || strcasecmp(name + len - word_len, word) != 0)
		return false;
	return len == word_len || name[len - word_len - 1] == '.';
}

static size_t find_localhost(struct peer *addresses, size_t max)
{
	static const struct peer loopback[] = {
		{.family = 4, .bytes = {127, 0, 0, 1}}, {.family = 6, .bytes = {[15] = 1}}};
	size_t n = 0;

	while (n < 2 && n < max) {
		addresses[n] = loopback[n];
		n++;
	}
	return n;
}

/* The first of the list whose name is not before this one. */
static size_t find_first(const struct hosts *hosts, const char *name)
{
	size_t from = 0, to = hosts->n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (strcasecmp(hosts->list[middle].name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

size_t hosts_find(const struct hosts *hosts, const char *name, struct peer *addresses, size_t max)
{
	size_t n = 0;

	for (size_t i = find_first(hosts, name);
		i < hosts->n && n < max && strcasecmp(hosts->list[i].name, name) == 0; i++)
		addresses[n++] = hosts->list[i].address;
	return n || !is_localhost(name) ? n : find_localhost(addresses, max);
}
