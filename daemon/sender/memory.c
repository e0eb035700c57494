#include "memory.h"

#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/crypto.h>

static bool was_out;

static void *note(void *made)
{
	if (!made)
		was_out = true;
	return made;
}

static void *watched_malloc(size_t size)
{
	return note(malloc(size));
}

static void *watched_calloc(size_t n, size_t size)
{
	return note(calloc(n, size));
}

static void *watched_realloc(void *old, size_t size)
{
	return note(realloc(old, size));
}

static char *watched_strdup(const char *text)
{
	return note(strdup(text));
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return watched_malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return watched_realloc(old, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	free(memory);
}

bool memory_watch(void)
{
	return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1 &&
		curl_global_init_mem(CURL_GLOBAL_DEFAULT, watched_malloc, free, watched_realloc,
			watched_strdup, watched_calloc) == CURLE_OK;
}

bool memory_was_out(void)
{
	return was_out;
}

void memory_clear(void)
{
	was_out = false;
}
