/* Whatever a receiver writes into Retry-After, it is none, or a wait of up to a year. */
#include <string.h>

#include "../../daemon/retry.h"
#include "fuzz.h"

#define NOW_MS ((int64_t)784111777000) /* the example of RFC 9110 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	int32_t seconds;

	memcpy(text, data, size);
	text[size] = '\0';
	seconds = retry_after_parse(text, NOW_MS);
	promise(seconds >= -1 && seconds <= 366 * 86400);
	free(text);
	return 0;
}
