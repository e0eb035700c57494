/*
 * The threads of the store: the writer, the reader, and those of a backup.
 *
 * They are marked, because a fatal signal in one of them means that the data file is damaged or cut
 * short, which starting hookd again would not mend. Signals that are sent to hookd go to the main
 * thread alone.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* Returns 0 or a negative errno. The thread's function begins with store_thread_begin(). */
int store_thread_start(pthread_t *thread, void *(*run)(void *user), void *user);
void store_thread_begin(const char *name); /* up to 15 characters */

/* Is the calling thread at work on the data file, whose map may show damage or nothing at all? For
 * the handler of fatal signals. The store's own threads always are; the main thread while it opens
 * and closes the store. */
bool store_thread_is_current(void);
void store_thread_set(bool at_work);
