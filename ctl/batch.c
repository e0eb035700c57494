/*
 * A file of envelopes goes to hookd in requests of up to 1000 lines. hookd stores all of a request
 * or nothing of it, so every complaint here names the lines that it is about, as they are numbered
 * in the file. A request that was wrong does not stop the others; trouble of hookd's own does. One
 * that is more than hookd takes at once is sent in halves.
 */
#include "batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/json_span.h"
#include "client.h"
#include "fields.h"
#include "input.h"
#include "say.h"

#define LINES_A_REQUEST 1000
#define BYTES_A_REQUEST ((size_t)8000000) /* hookd takes 8 MiB unless it is told otherwise */
#define LINE_MAX_BYTES ((size_t)64 << 20) /* hookd takes less, but says itself how much */
#define BUSY_TRIES 30 /* a second apart */

struct line {
	size_t number; /* in the file */
	size_t start; /* in the body */
	bool has_key;
};

/* The request that is being put together. */
struct batch {
	struct ctl *ctl;
	struct buffer body;
	struct line lines[LINES_A_REQUEST];
	size_t n;
	size_t bytes_max; /* of a request, as far as it is known */

	/* Over all requests. */
	size_t n_requests, n_stored, n_known, n_unmatched;
	bool failed; /* some request */
};

/* A request: lines that follow each other. */
struct part {
	struct batch *batch;
	const struct line *lines;
	size_t n;
	struct buffer body; /* within the batch's */
	bool all_have_keys;
};

static struct part take_part(struct batch *b, size_t first, size_t n)
{
	size_t start = b->lines[first].start;
	size_t end = first + n < b->n ? b->lines[first + n].start : b->body.len;
	struct part part = {.batch = b,
		.lines = b->lines + first,
		.n = n,
		.body = {.at = b->body.at + start, .len = end - start},
		.all_have_keys = true};

	for (size_t i = 0; i < n; i++)
		part.all_have_keys &= part.lines[i].has_key;
	return part;
}

/* Such a line may be submitted again. */
static bool has_key(const char *line, size_t len)
{
	struct json_span_member member;
	struct json_span_walk walk;
	bool found = false;
	struct span body;
	int r;

	if (!json_span_walk_begin(&walk, (struct span){line, len}, NULL))
		return false;
	while ((r = json_span_walk_next(&walk, &member)) > 0) {
		if (member.name.len == strlen("idempotency_key") &&
			memcmp(member.name.at, "idempotency_key", member.name.len) == 0)
			found = json_span_is_string(member.value, &body);
	}
	return r == 0 && found;
}

/* "line 12", "lines 1 to 1000" */
static const char *words_lines(const struct part *part, char text[static 64])
{
	size_t first = part->lines[0].number, last = part->lines[part->n - 1].number;

	if (part->n == 1)
		snprintf(text, 64, "line %zu", first);
	else
		snprintf(text, 64, "lines %zu to %zu", first, last);
	return text;
}

static void take_receipts(struct batch *b, const json_t *items)
{
	const json_t *receipt;
	size_t i;

	json_array_foreach (items, i, receipt) {
		bool known = field_is_true(receipt, "duplicate");

		if (b->ctl->json)
			print_json(b->ctl, receipt);
		else
			print_line("%s", field_text(receipt, "id"));
		b->n_stored++;
		b->n_known += known;
		b->n_unmatched += !known && field_number(receipt, "deliveries") == 0;
	}
}

/* hookd counts the request's lines; people count the file's. */
static void renumber(const struct part *part, const struct answer *answer)
{
	long long line = field_number(answer->json, "line");

	if (line >= 1 && line <= (long long)part->n)
		json_object_set_new(answer->json, "line",
			json_integer((json_int_t)part->lines[line - 1].number));
}

static bool is_own_fault(const char *code)
{
	return strcmp(code, "malformed") == 0 || strcmp(code, "invalid") == 0 ||
		strcmp(code, "too_large") == 0 || strcmp(code, "key_reused") == 0;
}

/* The request was refused, or its fate is unknown. Returns 0: go on; or an exit status. */
static int explain(const struct part *part, const struct answer *answer)
{
	char lines[64];

	part->batch->failed = true;
	renumber(part, answer);
	fail_with_answer(part->batch->ctl, answer);
	words_lines(part, lines);
	if (is_own_fault(answer->code)) {
		note("%s: not stored", lines);
		return 0;
	}
	if (strcmp(answer->code, "unknown") == 0)
		note("%s: perhaps stored%s; nothing behind was submitted", lines,
			part->all_have_keys
				? ""
				: " (without keys in all of them it was not tried again)");
	else
		note("%s: not stored; nothing behind was submitted", lines);
	return EXIT_FAILED;
}

static bool is_busy(const struct answer *answer)
{
	return answer->code &&
		(strcmp(answer->code, "busy") == 0 || strcmp(answer->code, "too_many") == 0);
}

/* Not a payload, which is a field of one line, but all together: bytes, or deliveries to make. */
static bool is_too_much(const struct part *part, const struct answer *answer)
{
	return answer->code && strcmp(answer->code, "too_large") == 0 && part->n > 1 &&
		!field_text(answer->json, "field")[0];
}

/* One request; it waits while hookd is busy. */
static int call(const struct part *part, struct answer *answer)
{
	struct call call = {.method = "POST",
		.target = "/v1/events",
		.bytes = &part->body,
		.content_type = "application/x-ndjson",
		.is_keyed = part->all_have_keys,
		.wants = "items",
		.n_items = part->n,
		.tolerated =
			"malformed invalid too_large key_reused busy too_many stopping full unknown"};
	struct ctl *ctl = part->batch->ctl;
	int r = call_hookd(ctl, &call, answer);

	for (int i = 0; r == 0 && is_busy(answer) && i < BUSY_TRIES; i++) {
		answer_clear(answer);
		sleep(1);
		r = call_hookd(ctl, &call, answer);
	}
	return r;
}

static int send_lines(struct batch *b, size_t first, size_t n)
{
	struct part part = take_part(b, first, n);
	bool too_much = false;
	struct answer answer;
	char lines[64];
	int r = call(&part, &answer);

	b->n_requests++;
	if (r)
		note("%s and all behind: not submitted", words_lines(&part, lines));
	else if (is_too_much(&part, &answer))
		too_much = true;
	else if (answer.code)
		r = explain(&part, &answer);
	else
		take_receipts(b, field(answer.json, "items"));
	answer_clear(&answer);
	if (too_much) {
		b->bytes_max = part.body.len / 2; /* of those that follow */
		r = send_lines(b, first, n / 2);
		if (r == 0)
			r = send_lines(b, first + n / 2, n - n / 2);
	}
	return r;
}

static int flush(struct batch *b)
{
	int r = b->n ? send_lines(b, 0, b->n) : 0;

	b->body.len = 0;
	b->n = 0;
	return r;
}

static int add_line(struct batch *b, const char *line, size_t len, size_t number)
{
	int r = 0;

	if (b->n == LINES_A_REQUEST || (b->n && b->body.len + len + 1 > b->bytes_max))
		r = flush(b);
	if (r)
		return r;
	b->lines[b->n++] = (struct line){
		.number = number, .start = b->body.len, .has_key = has_key(line, len)};
	buffer_append(&b->body, line, len);
	buffer_append_text(&b->body, "\n");
	return 0;
}

static int submit_lines(struct batch *b, FILE *file, const char *name)
{
	struct buffer line = {0};
	size_t number = 0;
	int r = 0, got;

	while ((got = read_line(file, LINE_MAX_BYTES, &line)) > 0) {
		number++;
		r = line.len ? add_line(b, line.at, line.len, number) : 0;
		if (r)
			break;
	}
	buffer_free(&line);
	if (got == -E2BIG)
		r = fail("%s: line %zu is longer than 64 MiB; it and all behind: not submitted",
			name, number + 1);
	else if (got < 0)
		r = fail("%s: %s", name, strerror(-got));
	return r;
}

static void tell(const struct batch *b)
{
	if (b->n_stored)
		note("%zu %s submitted", b->n_stored,
			plural((long long)b->n_stored, "event", "events"));
	else if (!b->n_requests)
		note("no lines, nothing submitted");
	if (b->n_known)
		note("%zu of them had known keys: they are the events that were submitted then",
			b->n_known);
	if (b->n_unmatched)
		note("%zu of them are of types that no endpoint takes", b->n_unmatched);
}

int submit_batch(struct ctl *ctl, const char *path)
{
	bool from_input = !path || strcmp(path, "-") == 0;
	FILE *file = from_input ? stdin : fopen(path, "re");
	struct batch *b;
	int r, last;

	if (!file)
		return fail("%s: %s", path, strerror(errno));
	if (from_input && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
		note("reading envelopes from the terminal, one a line; Ctrl-D ends it");
	b = must_malloc(sizeof(*b));
	memset(b, 0, sizeof(*b));
	b->ctl = ctl;
	b->bytes_max = BYTES_A_REQUEST;
	r = submit_lines(b, file, from_input ? "standard input" : path);
	last = r == 0 || b->n ? flush(b) : 0;
	r = r ? r : last;
	tell(b);
	if (b->failed || (r && b->n_stored))
		r = EXIT_FAILED;
	buffer_free(&b->body);
	free(b);
	if (!from_input)
		fclose(file);
	return r;
}
