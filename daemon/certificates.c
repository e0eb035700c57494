#include "certificates.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "endpoint.h"

struct file {
	char name[ENDPOINT_CA_NAME_MAX + 1];
	char *pem;
	size_t len;
};

struct certificates {
	const char *directory;
	void *files; /* tsearch tree */
};

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void free_file(void *file)
{
	free(((struct file *)file)->pem);
	free(file);
}

struct certificates *certificates_new(const char *directory)
{
	struct certificates *c = calloc(1, sizeof(*c));

	if (c)
		c->directory = directory;
	return c;
}

void certificates_forget(struct certificates *c)
{
	tdestroy(c->files, free_file);
	c->files = NULL;
}

void certificates_free(struct certificates *c)
{
	if (!c)
		return;
	certificates_forget(c);
	free(c);
}

/* As libcurl will read it: all of it is PEM, with a certificate in it. */
static bool has_certificate(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	STACK_OF(X509_INFO) *all = bio ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
	bool found = false;

	for (int i = 0; i < sk_X509_INFO_num(all); i++)
		found = found || sk_X509_INFO_value(all, i)->x509;
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	BIO_free(bio);
	ERR_clear_error();
	return found;
}

static bool read_file(const struct certificates *c, struct file *file)
{
	char path[4096];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", c->directory, file->name);
	stream = fopen(path, "re");
	if (!stream)
		return false;
	file->pem = malloc(CERTIFICATES_FILE_MAX);
	if (file->pem)
		file->len = fread(file->pem, 1, CERTIFICATES_FILE_MAX, stream);
	fclose(stream);
	return file->len > 0 && file->len < CERTIFICATES_FILE_MAX &&
		has_certificate(file->pem, file->len);
}

const char *certificates_find(struct certificates *c, const char *name, size_t *len)
{
	struct file *file = calloc(1, sizeof(*file));
	void *found;

	if (!file)
		return NULL;
	snprintf(file->name, sizeof(file->name), "%s", name);
	found = tfind(file, &c->files, compare);
	if (found) {
		free(file);
		file = *(struct file **)found;
	} else if (!read_file(c, file) || !tsearch(file, &c->files, compare)) {
		free_file(file);
		return NULL;
	}
	*len = file->len;
	return file->pem;
}
