#include "helpers.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint32_t random_below(uint32_t n)
{
	static uint64_t seed = 88172645463325252u; /* xorshift64 */

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 11) % n);
}

void random_bytes(void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = (uint8_t)random_below(256);
}

int make_directory(void **state)
{
	char *path = strdup("/tmp/hookd-test-XXXXXX");

	*state = path;
	return path && mkdtemp(path) ? 0 : -1;
}

int remove_directory(void **state)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
	free(*state);
	return system(command) == 0 ? 0 : -1;
}

void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

struct peer peer_at(const char *address)
{
	struct peer peer = {.port = 443};

	if (inet_pton(AF_INET, address, peer.bytes) == 1)
		peer.family = 4;
	else if (inet_pton(AF_INET6, address, peer.bytes) == 1)
		peer.family = 6;
	else
		fail_msg("\"%s\" is no address", address);
	return peer;
}

struct endpoint plain_endpoint(uint32_t number, const char *tenant, const char *name)
{
	static const char *const all_types[] = {"*"};

	return (struct endpoint){.number = number,
		.tenant = tenant,
		.name = name,
		.url = "https://hooks.example.com/in",
		.description = "",
		.types = all_types,
		.n_types = 1};
}
