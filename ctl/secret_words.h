/* The only place where hookctl prints a secret: when it was made just now. */
#pragma once

#include <jansson.h>

#include "ctl.h"

/* endpoint: the answer, with its "secret". was_given: it came from a file, and is not printed. */
void print_secret(const struct ctl *ctl, json_t *endpoint, bool was_given, const char *address,
	const char *done);
