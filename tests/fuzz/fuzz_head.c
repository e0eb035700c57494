/*
 * The framing checks: fields of a head, each "name: value" on a line of the input and left where
 * they stand, against a reader that follows RFC 9112 to the letter. A head that is taken says one
 * thing about its body, and says it in the one way in which every reader understands it.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "../../daemon/api/head.h"
#include "fuzz.h"

#define LINES_MAX 32

struct field {
	char *name, *value; /* value NULL: no colon */
};

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text)
{
	size_t len = 0;

	for (; text[len]; len++) {
		unsigned char c = (unsigned char)text[len];

		if (!(c < 0x80 && (isalnum(c) || strchr("!#$%&'*+-.^_`|~", c))))
			return false;
	}
	return len > 0;
}

/* RFC 9110 section 5.5, without the line ends that a line cannot hold. */
static bool is_value(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text != '\t' && iscntrl((unsigned char)*text))
			return false;
	}
	return true;
}

static unsigned count(const struct field *fields, size_t n, const char *name, const char **last)
{
	unsigned found = 0;

	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(fields[i].name, name) == 0) {
			found++;
			*last = fields[i].value ? fields[i].value : "";
		}
	}
	return found;
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

static void check_taken(const struct head *head, const struct field *fields, size_t n)
{
	const char *length = "", *coding = "", *host = "";
	unsigned n_lengths = count(fields, n, "content-length", &length),
		 n_codings = count(fields, n, "transfer-encoding", &coding);

	for (size_t i = 0; i < n; i++) {
		promise(is_token(fields[i].name));
		promise(!fields[i].value || is_value(fields[i].value));
	}
	promise(n_lengths + n_codings <= 1);
	promise(n_lengths == 0 || is_number(length));
	promise(n_lengths == 0 || strtoull(length, NULL, 10) == head->length);
	promise(n_codings == 0 || strcasecmp(coding, "chunked") == 0);
	promise(head->old || count(fields, n, "host", &host) == 1);
	promise(head_has_body(head) == (n_codings == 1 || (n_lengths && head->length > 0)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *version = size > 0 && data[0] == '0' ? "HTTP/1.0" : "HTTP/1.1";
	size_t n = 0, version_size = strlen(version) + 1;
	char *text = calloc(1, version_size + size + 2), *rest = text + version_size;
	struct problem problem = {.line = 0};
	struct field fields[LINES_MAX];
	struct head head;

	memcpy(text, version, version_size);
	memcpy(rest, data, size);
	head_begin(&head, text);
	while (rest && n < LINES_MAX) {
		struct field *field = &fields[n++];

		field->name = strsep(&rest, "\n");
		field->value = strchr(field->name, ':');
		if (field->value)
			*field->value++ = '\0';
		head_add(&head, field->name, field->value);
	}
	head_end(&head, text + version_size + size + 2);
	promise(head.hides ? rest || memchr(data, '\0', size) : !rest || !*rest);
	if (head_check(&head, &problem) == 0)
		check_taken(&head, fields, n);
	else
		promise(problem.code == PROBLEM_MALFORMED && problem.detail[0]);
	free(text);
	return 0;
}
