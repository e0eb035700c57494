/*
 * The store's threads, taking turns on one: what pthread_create() starts here is a coroutine that
 * runs until it waits for a condition, or sleeps as in a slow disk.
 *
 * Mutexes are the real ones; nobody ever waits for one, because turns change only where a thread
 * has let go of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define THREADS_MAX 4

bool threads_can_run(int thread);
void threads_run(int thread); /* until it waits */
bool threads_are_idle(void); /* none is in the middle of something */
int64_t threads_next_us(void); /* when one wakes up by itself; INT64_MAX */

/* For the thread that runs: time passes. */
void threads_sleep(int64_t us);
