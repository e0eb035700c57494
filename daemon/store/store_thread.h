/*
 * The threads of the store: the writer, the reader, and those of a backup.
 *
 * They are marked, because a fatal signal in one of them means that the data file is damaged or cut
 * short, which starting hookd again would not mend. LMDB believes what its pages say of themselves,
 * and may have written anywhere in memory by then: once damage was seen, a fatal signal means it in
 * any thread. Signals that are sent to hookd go to the main thread alone.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* Returns 0 or a negative errno. The thread's function begins with store_thread_begin(). */
int store_thread_start(pthread_t *thread, void *(*run)(void *user), void *user);
void store_thread_begin(const char *name); /* up to 15 characters */

/* Does a fatal signal in the calling thread mean a damaged data file? For its handler. It does
 * where a thread is at work on the file, as the store's own always are, and the main thread while
 * it opens and closes the store; and everywhere once damage was seen. */
bool store_thread_is_suspect(void);
void store_thread_set(bool at_work);
void store_thread_saw_damage(void);
