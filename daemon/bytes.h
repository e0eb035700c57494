/*
 * Integers and byte strings in records on disk and in frames between processes: big-endian,
 * explicit widths, and no way to run over an end.
 *
 * A writer that runs out of room and a reader that runs out of bytes only set their flag; the
 * caller checks once at the end. A failed reader yields zeros and empty strings.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct byte_writer {
	uint8_t *at;
	size_t used, size;
	bool overflow;
};

struct byte_reader {
	const uint8_t *at, *end;
	bool bad;
};

static inline void put_bytes(struct byte_writer *w, const void *bytes, size_t len)
{
	if (w->overflow || len > w->size - w->used) {
		w->overflow = true;
		return;
	}
	if (len)
		memcpy(w->at + w->used, bytes, len);
	w->used += len;
}

static inline void put_uint(struct byte_writer *w, uint64_t value, unsigned width)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
	put_bytes(w, bytes, width);
}

static inline void put_u8(struct byte_writer *w, uint8_t value)
{
	put_uint(w, value, 1);
}

static inline void put_u16(struct byte_writer *w, uint16_t value)
{
	put_uint(w, value, 2);
}

static inline void put_u32(struct byte_writer *w, uint32_t value)
{
	put_uint(w, value, 4);
}

static inline void put_u64(struct byte_writer *w, uint64_t value)
{
	put_uint(w, value, 8);
}

static inline void put_i64(struct byte_writer *w, int64_t value)
{
	put_uint(w, (uint64_t)value, 8);
}

/* A string of up to 65535 bytes with its length in front. */
static inline void put_string(struct byte_writer *w, const char *text, size_t len)
{
	if (len > UINT16_MAX) {
		w->overflow = true;
		return;
	}
	put_u16(w, (uint16_t)len);
	put_bytes(w, text, len);
}

/* len bytes, or NULL when there are fewer. */
static inline const uint8_t *get_bytes(struct byte_reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->bad || len > (size_t)(r->end - r->at)) {
		r->bad = true;
		return NULL;
	}
	r->at += len;
	return at;
}

static inline uint64_t get_uint(struct byte_reader *r, unsigned width)
{
	const uint8_t *at = get_bytes(r, width);
	uint64_t value = 0;

	for (unsigned i = 0; at && i < width; i++)
		value = value << 8 | at[i];
	return value;
}

static inline uint8_t get_u8(struct byte_reader *r)
{
	return (uint8_t)get_uint(r, 1);
}

static inline uint16_t get_u16(struct byte_reader *r)
{
	return (uint16_t)get_uint(r, 2);
}

static inline uint32_t get_u32(struct byte_reader *r)
{
	return (uint32_t)get_uint(r, 4);
}

static inline uint64_t get_u64(struct byte_reader *r)
{
	return get_uint(r, 8);
}

static inline int64_t get_i64(struct byte_reader *r)
{
	return (int64_t)get_uint(r, 8);
}

/* The string's bytes, without NUL, valid as long as the input; its length in *len. */
static inline const char *get_string(struct byte_reader *r, size_t *len)
{
	const char *at;

	*len = get_u16(r);
	at = (const char *)get_bytes(r, *len);
	if (!at)
		*len = 0;
	return at ? at : "";
}

static inline bool reader_is_done(const struct byte_reader *r)
{
	return !r->bad && r->at == r->end;
}
