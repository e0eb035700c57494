/*
 * Many endpoints in memory: what each takes beyond its settings, and how long it takes to find out
 * who subscribed to an event.
 *
 *     matching TENANTS ENDPOINTS_A_TENANT
 *
 * Prints "SETTINGS_BYTES INDEX_BYTES MATCH_US", all for one: bytes as malloc counts them.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../daemon/store/registry.h"

#define MATCHES 2000000

/* Of CPU: other processes on the machine are not what is measured. */
static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Also what is too large for the heap, and mapped by itself. */
static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* As a customer's: two types of a few, one secret. */
static struct endpoint *new_settings(uint32_t number, unsigned tenant, unsigned i)
{
	static const char *const kinds[] = {
		"order.*", "invoice.*", "user.created", "order.paid", "parcel.*"};
	const char *types[] = {kinds[i % 5], kinds[(i + 1) % 5]};
	char tenant_name[32], name[32], url[96];
	struct endpoint draft = {.number = number,
		.tenant = tenant_name,
		.name = name,
		.url = url,
		.description = "",
		.types = types,
		.n_types = 2};

	snprintf(tenant_name, sizeof(tenant_name), "tenant-%u", tenant);
	snprintf(name, sizeof(name), "endpoint-%u", i);
	snprintf(url, sizeof(url), "https://hooks.customer-%u.example.com/webhooks/%u", tenant, i);
	return endpoint_new(&draft);
}

int main(int argc, char **argv)
{
	unsigned tenants = argc == 3 ? (unsigned)atoi(argv[1]) : 10000;
	unsigned each = argc == 3 ? (unsigned)atoi(argv[2]) : 10, total = tenants * each;
	struct endpoint **settings = malloc(total * sizeof(*settings));
	struct registry *registry = registry_new();
	uint32_t *numbers = malloc(each * sizeof(*numbers));
	size_t before = in_use(), of_settings, of_index, found = 0;
	double start;
	char tenant[32];

	if (!settings || !registry || !numbers)
		return 1;
	for (unsigned i = 0; i < total; i++) {
		settings[i] = new_settings(i + 1, i % tenants, i / tenants);
		if (!settings[i])
			return 1;
	}
	of_settings = in_use() - before;
	for (unsigned i = 0; i < total; i++) {
		if (!registry_put(registry, settings[i]))
			return 1;
	}
	of_index = in_use() - before - of_settings;
	start = now_us();
	for (unsigned i = 0; i < MATCHES; i++) {
		snprintf(tenant, sizeof(tenant), "tenant-%u", i * 7919U % tenants);
		found += registry_targets(registry, tenant, "order.paid", numbers);
	}
	if (found == 0)
		return 1;
	printf("%.1f %.1f %.3f\n", (double)of_settings / total, (double)of_index / total,
		(now_us() - start) / MATCHES);
	registry_free(registry);
	free(settings);
	free(numbers);
	return 0;
}
