/*
 * Whether memory was out: libcurl and OpenSSL tell that in the words that they have for a
 * receiver's faults, too. The sender process has one thread.
 */
#pragma once

#include <stdbool.h>

/* Before either library is used. Returns false when they cannot be. */
bool memory_watch(void);

/* Has one of them been refused memory since memory_clear()? */
bool memory_was_out(void);
void memory_clear(void);
