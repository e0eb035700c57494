#include "json_memory.h"

#include <malloc.h>
#include <stdlib.h>

#include <jansson.h>
#include <openssl/crypto.h>

static bool was_out;

static void *allocate(size_t size)
{
	void *made = malloc(size);

	if (!made)
		was_out = true;
	return made;
}

void free_wiped(void *memory)
{
	if (memory)
		OPENSSL_cleanse(memory, malloc_usable_size(memory));
	free(memory);
}

void json_memory_watch(void)
{
	json_set_alloc_funcs(allocate, free_wiped);
}

bool json_memory_was_out(void)
{
	bool result = was_out;

	was_out = false;
	return result;
}
