#include "store_thread.h"

#include <signal.h>
#include <stdatomic.h>

static _Thread_local bool is_store_thread;
static atomic_bool saw_damage;

int store_thread_start(pthread_t *thread, void *(*run)(void *user), void *user)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, run, user);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

void store_thread_set(bool at_work)
{
	is_store_thread = at_work;
}

void store_thread_begin(const char *name)
{
	store_thread_set(true);
	pthread_setname_np(pthread_self(), name);
}

void store_thread_saw_damage(void)
{
	atomic_store(&saw_damage, true);
}

bool store_thread_is_suspect(void)
{
	return is_store_thread || atomic_load(&saw_damage);
}
