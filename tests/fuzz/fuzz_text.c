/* Cleaned text is UTF-8 without control characters, not longer than before, and clean. */
#include <stdbool.h>
#include <string.h>

#include "../../lib/text.h"
#include "fuzz.h"

static void check_clean(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t left = strlen(text);

	while (left > 0) {
		size_t n = text_utf8_sequence(p, left);

		promise(n > 0);
		promise(n > 1 || (p[0] >= 0x20 && p[0] != 0x7f));
		promise(n != 2 || p[0] != 0xc2 || p[1] >= 0xa0);
		p += n;
		left -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *again;

	text_clean_bytes((const char *)data, size, text);
	promise(strlen(text) <= size);
	check_clean(text);
	again = strdup(text);
	text_clean(again);
	promise(strcmp(again, text) == 0);
	free(again);

	/* In place it comes to the same, up to the first NUL. */
	memcpy(text, data, size);
	text[size] = '\0';
	again = malloc(size + 1);
	text_clean_bytes(text, strlen(text), again);
	text_clean(text);
	promise(strcmp(text, again) == 0);
	free(again);
	free(text);
	return 0;
}
