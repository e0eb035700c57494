/* What is read as a time can be written, and read again. */
#include <string.h>

#include "../../lib/timestamp.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TIMESTAMP_TEXT_SIZE];
	int64_t ms, again;

	if (timestamp_parse((const char *)data, size, &ms) != 0)
		return 0;
	promise(ms >= 0);
	timestamp_format(ms, text);
	promise(timestamp_parse(text, strlen(text), &again) == 0);
	promise(again == ms);
	return 0;
}
