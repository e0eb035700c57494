#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "kernel.h"

static bool tracing;
static uint64_t seed;
static int64_t began_us;

void check_init(bool trace)
{
	tracing = trace;
}

void check_seed(uint64_t number)
{
	seed = number;
	began_us = kernel_mono_us();
}

bool check_traces(void)
{
	return tracing;
}

__attribute__((format(printf, 2, 0))) static void write_line(
	const char *mark, const char *format, va_list arguments)
{
	int64_t ms = (kernel_mono_us() - began_us) / 1000;

	printf("%s%3d:%02d:%02d.%03d ", mark, (int)(ms / 3600000), (int)(ms / 60000 % 60),
		(int)(ms / 1000 % 60), (int)(ms % 1000));
	vprintf(format, arguments);
	putchar('\n');
}

void check_trace(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("  ", format, arguments);
	va_end(arguments);
}

void check_failed(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("! ", format, arguments);
	va_end(arguments);
	printf("seed %llu failed\n", (unsigned long long)seed);
	fflush(stdout);
	_exit(FAILED_STATUS);
}

extern struct cover_point *const __start_cover[], *const __stop_cover[]; /* made by the linker */

struct cover_point *const *check_points(unsigned *n)
{
	*n = (unsigned)(__stop_cover - __start_cover);
	return __start_cover;
}
