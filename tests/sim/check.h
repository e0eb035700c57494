/*
 * What happened, in words, and what was expected. A check that fails ends the process; its parent
 * (main.c) then runs the seed again with the trace written out.
 *
 * Each kind of thing that the simulation does or checks is counted, so that a run can tell whether
 * it has tried everything.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void check_init(bool trace);
void check_seed(uint64_t seed);

#define FAILED_STATUS 10

/* Ends the process unless it holds. */
#define check(holds, ...) \
	do { \
		if (!(holds)) \
			check_failed(__VA_ARGS__); \
	} while (0)
void check_failed(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Something worth counting, known to the linker even where it is never reached. */
struct cover_point {
	const char *name;
	uint64_t times;
};

/* One more of these. */
#define cover(text) \
	do { \
		static struct cover_point point_ = {text, 0}; \
		static struct cover_point *const listed_ __attribute__((section("cover"), used)) = \
			&point_; \
		point_.times++; \
	} while (0)

/* All points there are; several may have the same name. */
struct cover_point *const *check_points(unsigned *n);

/* A line of the trace, if one is written. */
#define trace(...) \
	do { \
		if (check_traces()) \
			check_trace(__VA_ARGS__); \
	} while (0)
bool check_traces(void);
void check_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
