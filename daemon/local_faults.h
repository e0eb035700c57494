/*
 * Why attempts cannot be made just now, through no fault of a receiver. The journal hears when a
 * fault begins and when attempts can be made again, not of each attempt in between.
 *
 * Main thread.
 */
#pragma once

#include <stdint.h>

#include "attempt_frame.h"

struct local_faults {
	int64_t met_ms[N_LOCAL_FAULTS]; /* queue time, the last time; 0: not */
};

/* An attempt met it. */
void local_faults_met(struct local_faults *faults, enum local_fault fault, int64_t now_ms);
/* A delivery that had met one was attempted. */
void local_faults_over(struct local_faults *faults, int64_t now_ms);
/* One that is on, or NO_LOCAL_FAULT. */
enum local_fault local_faults_current(const struct local_faults *faults, int64_t now_ms);
