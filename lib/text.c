#include "text.h"

#include <stdint.h>
#include <string.h>

size_t text_utf8_sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (left == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (left < len)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return len;
}

bool text_is_utf8(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;

	while (len > 0) {
		size_t n = text_utf8_sequence(p, len);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

bool text_is_visible(const char *text, size_t len, size_t len_max, char lowest)
{
	if (len < 1 || len > len_max || text[0] == ' ')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < lowest || text[i] > '~')
			return false;
	}
	return true;
}

/* C0, DEL, and the C1 controls that terminals obey in their UTF-8 form. */
static bool is_control(const uint8_t *p, size_t len)
{
	return (len == 1 && (p[0] < 0x20 || p[0] == 0x7f)) ||
		(len == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

void text_clean_bytes(const char *bytes, size_t len, char *text)
{
	const uint8_t *p = (const uint8_t *)bytes;

	while (len > 0) {
		size_t n = text_utf8_sequence(p, len);

		if (n == 1 && strchr("\t\r\n", *p) && *p) {
			*text++ = ' ';
		} else if (n == 0 || is_control(p, n)) {
			*text++ = '?';
			n = n ? n : 1;
		} else {
			memmove(text, p, n);
			text += n;
		}
		p += n;
		len -= n;
	}
	*text = '\0';
}

void text_clean(char *text)
{
	text_clean_bytes(text, strlen(text), text);
}
