/*
 * What jansson does not say: that memory was out.
 *
 * Its functions take NULL for a value that could not be made, and leave it out. An answer with a
 * hole in it is worse than none: a receipt would be missing for an event that is stored. A body
 * that could not be parsed for lack of memory is not malformed. So every allocation that fails is
 * noted, and asked for before anything is believed. Main thread; jansson has no place for a
 * context.
 *
 * And what jansson does not do: requests bring secrets and answers take them away, so what has held
 * JSON is overwritten before it is freed. libmicrohttpd's own buffers are not.
 */
#pragma once

#include <stdbool.h>

/* To be called once, before jansson is used. */
void json_memory_watch(void);
/* Has an allocation failed since the last call? */
bool json_memory_was_out(void);

/* free(3) for what may have held a secret. */
void free_wiped(void *memory);
