/*
 * The kernel that hookd runs on in a simulation: time, randomness, descriptors, processes.
 *
 * hookd itself is the real one, unchanged: the linker sends its calls here (--wrap, see
 * meson.build). Time stands still while something can happen, and moves on only through
 * kernel_advance(). Sockets hold little, take what they are given in parts, and pass descriptors.
 * A child process is a worker (worker.h).
 *
 * Like a kernel, this is global: one machine at a time, begun by kernel_boot().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

void kernel_boot(void);
void kernel_halt(void); /* closes what is left open */

/* ---- Time, in microseconds ---- */

int64_t kernel_mono_us(void);
int64_t kernel_boot_ms(void);
int64_t kernel_wall_ms(void);

void kernel_advance(int64_t to_mono_us);
void kernel_sleep(int64_t ms); /* suspends the machine: only the monotonic clock stands still */
void kernel_step_wall(int64_t by_ms);

/* When the next timer descriptor becomes readable, by the monotonic clock; INT64_MAX: none. */
int64_t kernel_next_timer_us(void);

/* ---- Descriptors ---- */

bool kernel_is_readable(int fd);
bool kernel_is_writable(int fd);

/* One of the host's files that senders read is written anew. */
void kernel_change_file(void);

/* ---- Processes ---- */

/* A child has died. */
void kernel_exited(pid_t pid);
