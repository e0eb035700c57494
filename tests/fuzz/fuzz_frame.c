/*
 * Frames from a process that was taken over: what is understood of one can be written, and that is
 * understood the same. The first byte says which kind it is.
 */
#include <string.h>

#include "../../daemon/attempt_frame.h"
#include "fuzz.h"

#define FRAME_MAX (1 << 20)

static struct byte_reader reader_of(const uint8_t *bytes, size_t len)
{
	return (struct byte_reader){bytes, bytes + len, false};
}

/* Reads a frame and writes what it says to copy; returns the length, 0 when it was refused. */
typedef size_t rewrite(const uint8_t *bytes, size_t len, uint8_t *copy, size_t size);

static size_t rewrite_config(const uint8_t *bytes, size_t len, uint8_t *copy, size_t size)
{
	struct byte_reader r = reader_of(bytes, len);
	struct byte_writer w = {.at = copy, .size = size};
	struct sender_config config;

	if (!frame_get_config(&r, &config))
		return 0;
	frame_put_config(&w, &config);
	promise(!w.overflow && w.used <= CONFIG_FRAME_SIZE);
	return w.used;
}

static size_t rewrite_request(const uint8_t *bytes, size_t len, uint8_t *copy, size_t size)
{
	struct byte_reader r = reader_of(bytes, len);
	struct byte_writer w = {.at = copy, .size = size};
	struct network networks[CONFIG_LIST_MAX];
	struct sender_request request;

	if (!frame_get_request(&r, &request, networks))
		return 0;
	frame_put_request(&w, &request);
	promise(!w.overflow && w.used <= frame_request_size(&request));
	return w.used;
}

static size_t rewrite_outcome(const uint8_t *bytes, size_t len, uint8_t *copy, size_t size)
{
	struct byte_reader r = reader_of(bytes, len);
	struct byte_writer w = {.at = copy, .size = size};
	struct sender_outcome outcome;

	if (!frame_get_outcome(&r, &outcome))
		return 0;
	promise(outcome.message_len <= ATTEMPT_MESSAGE_MAX);
	promise(outcome.response_len <= ATTEMPT_RESPONSE_MAX);
	promise(!memchr(outcome.message, '\x1b', outcome.message_len));
	frame_put_outcome(&w, &outcome);
	promise(!w.overflow && w.used <= OUTCOME_FRAME_SIZE);
	return w.used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static rewrite *const kinds[] = {rewrite_config, rewrite_request, rewrite_outcome};
	static uint8_t first[FRAME_MAX], second[FRAME_MAX];
	rewrite *kind;
	size_t len;

	if (size < 1)
		return 0;
	kind = kinds[data[0] % 3];
	len = kind(data + 1, size - 1, first, sizeof(first));
	if (len == 0)
		return 0;
	promise(kind(first, len, second, sizeof(second)) == len);
	promise(memcmp(first, second, len) == 0);
	return 0;
}
