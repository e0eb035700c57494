#include "event_id.h"

#include <errno.h>
#include <string.h>

static const char prefix[] = "evt_";
static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

int event_id_compare(const struct event_id *a, const struct event_id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* 128 bits are 25 characters of five bits and a first one of three. */
void event_id_format_bare(const struct event_id *id, char text[static 27])
{
	uint32_t bits = 0;
	int n_bits = 2; /* two leading zero bits fill the first character */
	size_t at = 0;

	for (size_t i = 0; i < sizeof(id->bytes); i++) {
		bits = bits << 8 | id->bytes[i];
		n_bits += 8;
		while (n_bits >= 5) {
			n_bits -= 5;
			text[at++] = alphabet[bits >> n_bits & 31];
		}
	}
	text[at] = '\0';
}

void event_id_format(const struct event_id *id, char text[static EVENT_ID_TEXT_SIZE])
{
	memcpy(text, prefix, sizeof(prefix) - 1);
	event_id_format_bare(id, text + sizeof(prefix) - 1);
}

int event_id_parse(const char *text, size_t len, struct event_id *id)
{
	uint32_t bits = 0;
	int n_bits = -2;
	size_t at = 0;

	if (len != EVENT_ID_TEXT_LEN || memcmp(text, prefix, sizeof(prefix) - 1) != 0)
		return -EINVAL;
	for (size_t i = sizeof(prefix) - 1; i < len; i++) {
		const char *found = text[i] ? strchr(alphabet, text[i]) : NULL;

		if (!found)
			return -EINVAL;
		bits = bits << 5 | (uint32_t)(found - alphabet);
		n_bits += 5;
		if (n_bits == 3 && bits > 7) /* would be more than 128 bits */
			return -EINVAL;
		if (n_bits >= 8) {
			n_bits -= 8;
			id->bytes[at++] = (uint8_t)(bits >> n_bits);
		}
	}
	return 0;
}

static void put_ms(struct event_id *id, int64_t ms)
{
	for (int i = 0; i < 6; i++)
		id->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
}

int64_t event_id_ms(const struct event_id *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->bytes[i];
	return ms;
}

struct event_id event_id_first_of(int64_t ms)
{
	struct event_id id = {{0}};

	put_ms(&id, ms < 0 ? 0 : ms);
	return id;
}

struct event_id event_id_last_of(int64_t ms)
{
	struct event_id id;

	memset(&id, 0xff, sizeof(id));
	put_ms(&id, ms < 0 ? 0 : ms);
	return id;
}

struct event_id event_id_next(
	struct event_id_source *source, int64_t ms, const uint8_t random[static 10])
{
	struct event_id id = {{0}};

	put_ms(&id, ms);
	memcpy(id.bytes + 6, random, 10);
	/* Half of the space stays free, so that counting up within the millisecond never runs over.
	 */
	id.bytes[6] &= 0x7f;
	if (memcmp(id.bytes, source->last.bytes, 6) <= 0) {
		id = source->last;
		for (size_t i = sizeof(id.bytes); i-- > 0 && ++id.bytes[i] == 0;)
			;
	}
	source->last = id;
	return id;
}
