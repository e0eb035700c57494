#include "reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "../out_of_memory.h"
#include "store_thread.h"

/* A query or a backup on its way back. */
struct answer {
	struct letter letter;
	struct store_query *query;
	struct store_backup *backup;
	struct reader *reader;
};

struct reader {
	struct reader_options options;
	pthread_t thread, backup_thread;
	bool running;

	pthread_mutex_t mutex; /* guards what follows, up to stopping */
	pthread_cond_t filled;
	struct store_query *first, **last;
	struct store_limits limits;
	bool stopping;

	struct store_backup *backup; /* being made; set and cleared by the main thread */
	bool backup_running; /* its thread has to be joined */
	atomic_bool backup_cancelled;
};

static void on_answer(struct letter *letter)
{
	struct answer *answer = (struct answer *)letter;
	const struct reader_options *options = &answer->reader->options;
	struct store_query *query = answer->query;
	bool broken = query->result == ENGINE_BROKEN;

	free(answer);
	query->done(query);
	if (broken)
		options->broken(options->user);
}

static void work_on(struct reader *r, struct store_query *q, const struct store_limits *limits)
{
	const struct engine_verbs *verbs = r->options.verbs;
	struct engine *engine = r->options.engine;

	switch (q->kind) {
	case QUERY_DELIVERIES:
		q->result =
			verbs->list_deliveries(engine, &q->deliveries, &q->answer.delivery_page);
		break;
	case QUERY_EVENTS:
		q->result = verbs->list_events(engine, &q->events, &q->answer.event_page);
		break;
	case QUERY_EVENT:
		q->result = verbs->get_event(
			engine, &q->ref.event, q->with_payload, &q->answer.event_row);
		break;
	case QUERY_HISTORY:
		q->result = verbs->get_history(engine, &q->ref, &q->answer.history);
		break;
	case QUERY_AGES:
		q->result = verbs->count_ages(engine, &q->ages, &q->answer.age_page);
		break;
	case QUERY_STATS:
		q->result = verbs->stats(engine, limits, &q->answer.stats);
		break;
	}
}

static void *run(void *user)
{
	struct reader *r = user;

	store_thread_begin("hookd-reader");
	while (true) {
		struct answer *answer = calloc(1, sizeof(*answer));
		struct store_limits limits;
		struct store_query *query;

		if (!answer)
			out_of_memory("an answer of the store");
		pthread_mutex_lock(&r->mutex);
		while (!r->first && !r->stopping)
			pthread_cond_wait(&r->filled, &r->mutex);
		query = r->first;
		if (query) {
			r->first = query->next;
			if (!r->first)
				r->last = &r->first;
		}
		limits = r->limits;
		pthread_mutex_unlock(&r->mutex);
		if (!query) {
			free(answer);
			return NULL;
		}
		work_on(r, query, &limits);
		*answer = (struct answer){.letter.open = on_answer, .query = query, .reader = r};
		mailbox_post(r->options.mailbox, &answer->letter);
	}
}

int reader_new(struct reader **reader, const struct reader_options *options)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->options = *options;
	r->limits = options->settings.limits;
	pthread_mutex_init(&r->mutex, NULL);
	pthread_cond_init(&r->filled, NULL);
	r->last = &r->first;
	*reader = r;
	return 0;
}

int reader_start(struct reader *r)
{
	int error = store_thread_start(&r->thread, run, r);

	r->running = error == 0;
	return error;
}

static void join_backup(struct reader *r)
{
	if (r->backup_running)
		pthread_join(r->backup_thread, NULL);
	r->backup_running = false;
}

void reader_stop(struct reader *r)
{
	if (!r->running)
		return;
	atomic_store(&r->backup_cancelled, true);
	join_backup(r);
	pthread_mutex_lock(&r->mutex);
	r->stopping = true;
	pthread_cond_signal(&r->filled);
	pthread_mutex_unlock(&r->mutex);
	pthread_join(r->thread, NULL);
	r->running = false;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	reader_stop(r);
	pthread_cond_destroy(&r->filled);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

void reader_set_settings(struct reader *r, const struct store_settings *settings)
{
	pthread_mutex_lock(&r->mutex);
	r->limits = settings->limits;
	pthread_mutex_unlock(&r->mutex);
}

void reader_ask(struct reader *r, struct store_query *query)
{
	query->next = NULL;
	pthread_mutex_lock(&r->mutex);
	*r->last = query;
	r->last = &query->next;
	pthread_cond_signal(&r->filled);
	pthread_mutex_unlock(&r->mutex);
}

static bool is_cancelled(void *user)
{
	return atomic_load(&((struct reader *)user)->backup_cancelled);
}

static void on_backup_made(struct letter *letter)
{
	struct answer *answer = (struct answer *)letter;
	struct reader *r = answer->reader;
	struct store_backup *backup = r->backup;

	free(answer);
	join_backup(r);
	r->backup = NULL;
	backup->done(backup);
}

static void *run_backup(void *user)
{
	struct answer *answer = user;
	struct reader *r = answer->reader;

	store_thread_begin("hookd-backup");
	r->options.verbs->backup(r->options.engine, r->backup->path, is_cancelled, r,
		&r->backup->bytes, &r->backup->problem);
	mailbox_post(r->options.mailbox, &answer->letter);
	return NULL;
}

bool reader_is_backing_up(const struct reader *r)
{
	return r->backup != NULL;
}

bool reader_backup(struct reader *r, struct store_backup *backup)
{
	struct answer *answer;

	if (r->backup)
		return false;
	answer = calloc(1, sizeof(*answer));
	if (!answer)
		return false;
	*answer = (struct answer){.letter.open = on_backup_made, .reader = r};
	backup->problem.code = PROBLEM_NONE;
	r->backup = backup;
	if (store_thread_start(&r->backup_thread, run_backup, answer) < 0) {
		r->backup = NULL;
		free(answer);
		return false;
	}
	r->backup_running = true;
	return true;
}
