/*
 * Text that somebody else made: what it is made of, and what of it may go to a log, a terminal or
 * JSON.
 *
 * Pure. Nothing that a receiver sends reaches these unescaped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 sequence at p (RFC 3629: shortest form, no surrogates, up to U+10FFFF),
 * or 0 when there is none within the bytes that are left. */
size_t text_utf8_sequence(const uint8_t *p, size_t left);

/* Is it UTF-8, all of it? */
bool text_is_utf8(const char *text, size_t len);

/* Can it be the value of a header? 1 to len_max of the ASCII characters from lowest, which is '!',
 * or ' ' where spaces may be, to '~'. A space in front is not taken: on the way it would be lost.
 */
bool text_is_visible(const char *text, size_t len, size_t len_max, char lowest);

/* Replaces control characters and what is not UTF-8 by '?', in place. */
void text_clean(char *text);

/* The same from bytes into a new place that has room for len + 1; line ends and tabs become spaces.
 */
void text_clean_bytes(const char *bytes, size_t len, char *text);
