/*
 * libevent, as far as hookd's queue process uses it, on simulated time; and who gets the next turn.
 *
 * The simulation is linked with this instead of libevent. All that can run (callbacks of
 * descriptors, timers and signals, and the store's threads, threads.h) waits in one place, and the
 * dice choose: so every order that is possible comes up with some seed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct event_base;

struct event_base *loop_base(void);
void loop_reset(void);

/* Runs one thing that can run. False: nothing can before time goes on. */
bool loop_turn(void);
/* When something can run again by itself; INT64_MAX: never. */
int64_t loop_next_us(void);

void loop_signal(int number);
