/*
 * Bytes that grow, lists of texts that grow, and memory that is always there: hookctl keeps nothing
 * that could be lost, so without memory it says so and ends.
 */
#pragma once

#include <stddef.h>

/* realloc(); ends the program when there is no memory. */
void *must_realloc(void *old, size_t size);
void *must_malloc(size_t size);
char *must_copy(const char *text);

/* {0} is an empty one. A NUL stands behind the bytes once something was appended. */
struct buffer {
	char *at;
	size_t len, size;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_format(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "name":"value" with JSON's escapes, behind a comma unless it is the first of its object. */
void buffer_append_member(struct buffer *buffer, const char *name, const char *value);
/* "?name=value" or "&name=value", percent-encoded. */
void buffer_append_query(struct buffer *buffer, const char *name, const char *value);
/* One segment of a path, percent-encoded. */
void buffer_append_segment(struct buffer *buffer, const char *segment);
void buffer_free(struct buffer *buffer);

/* {0} is an empty one. The texts are borrowed or owned, as its user decides. */
struct texts {
	char **at;
	size_t n, size;
};

void texts_append(struct texts *texts, char *text);
void texts_free(struct texts *texts); /* the list */
void texts_free_all(struct texts *texts); /* and the texts */
