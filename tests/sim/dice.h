/*
 * The simulation's only source of chance. Everything that is left open (when, how long, in which
 * order, what goes wrong) is thrown here, so that one seed decides about a whole history.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void dice_seed(uint64_t seed);

uint64_t dice_bits(void);
/* From 0 to below - 1; below at least 1. */
uint32_t dice(uint32_t below);
/* From low to high, both included. */
int64_t dice_between(int64_t low, int64_t high);
/* The same, but small ones as often as large ones: each power of two is as likely as the next. */
int64_t dice_spread(int64_t low, int64_t high);
/* True once in so many times; 0: never. */
bool dice_once_in(uint32_t times);
void dice_fill(void *bytes, size_t n);
