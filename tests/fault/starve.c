/*
 * Memory that runs out on request. Preloaded into a process, it counts the process's allocations
 * and lets one of them fail, or all from there on, as the file that STARVE names says. Whoever maps
 * the file too can watch the count and set the failure while the process runs. With STARVE_TRACE in
 * the environment it says on standard error who asked for what did not come.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct plan {
	atomic_uint_fast64_t count; /* allocations so far */
	atomic_uint_fast64_t fail_at; /* the one that fails; 0: none */
	atomic_uint_fast64_t for_good; /* and all that follow */
	atomic_uint_fast64_t failed; /* how many did */
};

#define TRACE_DEPTH 24

static struct plan *plan;
static bool trace;
static _Thread_local bool tracing; /* which allocates the first time */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

__attribute__((constructor)) static void map_plan(void)
{
	const char *path = getenv("STARVE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		plan = map;
	trace = getenv("STARVE_TRACE") != NULL;
}

static void say_who(void)
{
	void *callers[TRACE_DEPTH];

	tracing = true;
	backtrace_symbols_fd(callers, backtrace(callers, TRACE_DEPTH), STDERR_FILENO);
	tracing = false;
}

static bool fails(void)
{
	uint64_t n, at;

	if (!plan || tracing)
		return false;
	n = atomic_fetch_add(&plan->count, 1) + 1;
	at = atomic_load(&plan->fail_at);
	if (at == 0 || n < at || (n > at && !atomic_load(&plan->for_good)))
		return false;
	if (atomic_fetch_add(&plan->failed, 1) == 0 && trace)
		say_who();
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
	void *made = fails() ? NULL : __libc_memalign(alignment, size);

	if (!made)
		return ENOMEM;
	*result = made;
	return 0;
}
