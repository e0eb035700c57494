/*
 * Certificates of authorities that single endpoints name ("ca"): files in a directory beside
 * hookd.conf, read when they are first needed and kept until they are forgotten.
 *
 * Main thread.
 */
#pragma once

#include <stddef.h>

#define CERTIFICATES_FILE_MAX 65536

struct certificates;

struct certificates *certificates_new(const char *directory); /* borrowed for good */
void certificates_free(struct certificates *certificates); /* NULL is fine */

/* The content of a file, until the next certificates_forget(). NULL: it is missing, too large,
 * or not what certificates are in: PEM. */
const char *certificates_find(struct certificates *certificates, const char *name, size_t *len);

/* Files may have changed. */
void certificates_forget(struct certificates *certificates);
