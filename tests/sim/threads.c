#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include "check.h"
#include "kernel.h"

#define STACK_SIZE (256 * 1024)

struct thread {
	bool started, ended;
	void *(*function)(void *);
	void *argument;
	ucontext_t context;
	uint8_t *stack; /* kept for the next one */
	const pthread_cond_t *waits_for; /* NULL: for the time alone */
	bool waiting;
	int64_t wake_us;
};

static struct thread threads[THREADS_MAX];
static struct thread *current;
static ucontext_t main_context;

#ifdef __SANITIZE_ADDRESS__
static const void *main_stack;
static size_t main_stack_size;

static void switch_begins(void **fake, const void *stack, size_t size)
{
	__sanitizer_start_switch_fiber(fake, stack, size);
}

static void switch_ended(void *fake, const void **from, size_t *size)
{
	__sanitizer_finish_switch_fiber(fake, from, size);
}
#else
static const void *main_stack;
static size_t main_stack_size;

static void switch_begins(void **fake, const void *stack, size_t size)
{
	(void)fake, (void)stack, (void)size;
}

static void switch_ended(void *fake, const void **from, size_t *size)
{
	(void)fake, (void)from, (void)size;
}
#endif

/* Back to whoever gave the turn; returns when there is another one. */
static void give_back(bool for_good)
{
	struct thread *t = current;
	void *fake = NULL;

	switch_begins(for_good ? NULL : &fake, main_stack, main_stack_size);
	swapcontext(&t->context, &main_context);
	switch_ended(fake, &main_stack, &main_stack_size);
}

static void begin(void)
{
	struct thread *t = current;

	switch_ended(NULL, &main_stack, &main_stack_size);
	t->function(t->argument);
	t->ended = true;
	give_back(true);
}

bool threads_can_run(int thread)
{
	const struct thread *t = &threads[thread];

	return t->started && !t->ended && (!t->waiting || t->wake_us <= kernel_mono_us());
}

static void resume(struct thread *t)
{
	void *fake = NULL;

	t->waiting = false;
	current = t;
	switch_begins(&fake, t->stack, STACK_SIZE);
	swapcontext(&main_context, &t->context);
	switch_ended(fake, NULL, NULL);
	current = NULL;
}

void threads_run(int thread)
{
	resume(&threads[thread]);
}

bool threads_are_idle(void)
{
	for (int i = 0; i < THREADS_MAX; i++) {
		const struct thread *t = &threads[i];

		if (t->started && !t->ended && !(t->waiting && t->waits_for))
			return false;
	}
	return true;
}

int64_t threads_next_us(void)
{
	int64_t next_us = INT64_MAX;

	for (int i = 0; i < THREADS_MAX; i++) {
		const struct thread *t = &threads[i];

		if (t->started && !t->ended && t->waiting && t->wake_us < next_us)
			next_us = t->wake_us;
	}
	return next_us;
}

void threads_sleep(int64_t us)
{
	current->waiting = true;
	current->waits_for = NULL;
	current->wake_us = kernel_mono_us() + us;
	give_back(false);
}

/* ---- POSIX threads ---- */

static void prepare(struct thread *t, void *(*function)(void *), void *argument)
{
	if (!t->stack)
		t->stack = malloc(STACK_SIZE);
	check(t->stack, "out of memory");
	t->started = true;
	t->ended = t->waiting = false;
	t->function = function;
	t->argument = argument;
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = t->stack;
	t->context.uc_stack.ss_size = STACK_SIZE;
	t->context.uc_link = NULL;
	makecontext(&t->context, begin, 0);
}

int __wrap_pthread_create(
	pthread_t *id, const pthread_attr_t *attributes, void *(*function)(void *), void *argument);
int __wrap_pthread_create(
	pthread_t *id, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
	(void)attributes;
	for (int i = 0; i < THREADS_MAX; i++) {
		if (threads[i].started)
			continue;
		prepare(&threads[i], function, argument);
		*id = (pthread_t)i;
		return 0;
	}
	check(false, "hookd starts more than %d threads", THREADS_MAX);
	return 0;
}

int __wrap_pthread_join(pthread_t id, void **value);
int __wrap_pthread_join(pthread_t id, void **value)
{
	struct thread *t = &threads[id];

	(void)value;
	check(!current, "one thread waits for the end of another");
	while (!t->ended) {
		check(!t->waiting || t->wake_us != INT64_MAX,
			"a thread that is waited for sleeps for ever");
		resume(t);
	}
	t->started = false;
	return 0;
}

int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
	current->waiting = true;
	current->waits_for = condition;
	current->wake_us = until ? until->tv_sec * 1000000 + until->tv_nsec / 1000 : INT64_MAX;
	pthread_mutex_unlock(mutex);
	give_back(false);
	pthread_mutex_lock(mutex);
	return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
	return __wrap_pthread_cond_timedwait(condition, mutex, NULL);
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition);
int __wrap_pthread_cond_signal(pthread_cond_t *condition)
{
	for (int i = 0; i < THREADS_MAX; i++) {
		struct thread *t = &threads[i];

		if (t->started && t->waiting && t->waits_for == condition)
			t->waiting = false;
	}
	return 0;
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *before);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
	(void)how, (void)set, (void)before;
	return 0;
}

int __wrap_pthread_setname_np(pthread_t id, const char *name);
int __wrap_pthread_setname_np(pthread_t id, const char *name)
{
	(void)id, (void)name;
	return 0;
}
