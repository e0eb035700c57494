#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../lib/http.h"
#include "ctl.h"

__attribute__((noreturn)) static void end_without_memory(void)
{
	fputs("hookctl: out of memory\n", stderr);
	exit(EXIT_FAILED);
}

void *must_realloc(void *old, size_t size)
{
	void *grown = realloc(old, size ? size : 1);

	if (!grown)
		end_without_memory();
	return grown;
}

void *must_malloc(size_t size)
{
	return must_realloc(NULL, size);
}

char *must_copy(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(must_malloc(size), text, size);
}

static void make_room(struct buffer *b, size_t len)
{
	if (len < b->size - b->len)
		return;
	b->size = 2 * b->size + len + 256;
	b->at = must_realloc(b->at, b->size);
}

void buffer_append(struct buffer *b, const void *bytes, size_t len)
{
	make_room(b, len);
	memcpy(b->at + b->len, bytes, len);
	b->len += len;
	b->at[b->len] = '\0';
}

void buffer_append_text(struct buffer *b, const char *text)
{
	buffer_append(b, text, strlen(text));
}

void buffer_append_format(struct buffer *b, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int len;

	va_start(arguments, format);
	len = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len < 0)
		end_without_memory();
	buffer_append(b, text, (size_t)len);
	free(text);
}

void buffer_append_member(struct buffer *b, const char *name, const char *value)
{
	json_t *string = json_string(value); /* arguments are UTF-8: main.c sees to it */
	char *dumped = json_dumps(string, JSON_ENCODE_ANY);

	buffer_append_text(b, b->len && b->at[b->len - 1] == '{' ? "\"" : ",\"");
	buffer_append_text(b, name);
	buffer_append_text(b, "\":");
	buffer_append_text(b, dumped);
	free(dumped);
	json_decref(string);
}

void buffer_append_segment(struct buffer *b, const char *segment)
{
	char *encoded = http_encode(segment);

	if (!encoded)
		end_without_memory();
	buffer_append_text(b, encoded);
	free(encoded);
}

void buffer_append_query(struct buffer *b, const char *name, const char *value)
{
	buffer_append_text(b, b->len && strchr(b->at, '?') ? "&" : "?");
	buffer_append_text(b, name);
	buffer_append_text(b, "=");
	buffer_append_segment(b, value);
}

void buffer_free(struct buffer *b)
{
	free(b->at);
	*b = (struct buffer){0};
}

void texts_append(struct texts *texts, char *text)
{
	if (texts->n == texts->size) {
		texts->size = 2 * texts->size + 16;
		texts->at = must_realloc(texts->at, texts->size * sizeof(*texts->at));
	}
	texts->at[texts->n++] = text;
}

void texts_free(struct texts *texts)
{
	free(texts->at);
	*texts = (struct texts){0};
}

void texts_free_all(struct texts *texts)
{
	for (size_t i = 0; i < texts->n; i++)
		free(texts->at[i]);
	texts_free(texts);
}
