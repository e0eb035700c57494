#include "worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../daemon/attempt_frame.h"
#include "../../daemon/channel.h"
#include "check.h"
#include "dice.h"
#include "kernel.h"
#include "loop.h"
#include "oracle.h"
#include "receivers.h"

#define LEAVE_MS 10

struct worker {
	struct worker *next;
	pid_t pid;
	struct channel *channel;
	struct event *timer; /* until it is ready; later, until it has left */
	bool ready, unfit, stopping, hangs;
	unsigned n_attempts;
	struct job *attempts;
	uint32_t max_in_flight;
};

struct job {
	struct job *next;
	struct worker *worker;
	struct event *timer;
	struct reaction reaction;
	uint64_t name; /* hookd's, request.slot */
	struct oracle_arrival arrival;
	bool kills;
};

struct worker_troubles worker_troubles;

static struct worker *workers;

/* ---- Dying ---- */

static void free_job(struct job *job)
{
	event_free(job->timer);
	free(job);
}

static void end(struct worker *worker, const char *why)
{
	struct worker **at = &workers;

	trace("sender %d %s, with %u attempts", (int)worker->pid, why, worker->n_attempts);
	while (*at != worker)
		at = &(*at)->next;
	*at = worker->next;
	while (worker->attempts) {
		struct job *job = worker->attempts;

		worker->attempts = job->next;
		oracle_cut_off(&job->arrival);
		free_job(job);
	}
	channel_free(worker->channel);
	event_free(worker->timer);
	kernel_exited(worker->pid);
	free(worker);
}

void worker_kill(pid_t pid)
{
	for (struct worker *worker = workers; worker; worker = worker->next) {
		if (worker->pid == pid) {
			end(worker, "is killed");
			return;
		}
	}
}

static struct worker *choose(void)
{
	struct worker *chosen = NULL;
	uint32_t n = 0;

	for (struct worker *worker = workers; worker; worker = worker->next) {
		if (dice(++n) == 0)
			chosen = worker;
	}
	return chosen;
}

bool worker_kill_any(void)
{
	struct worker *worker = choose();

	if (worker)
		end(worker, "dies");
	return worker != NULL;
}

bool worker_hang_any(void)
{
	struct worker *worker = choose();

	if (!worker)
		return false;
	trace("sender %d hangs, with %u attempts", (int)worker->pid, worker->n_attempts);
	worker->hangs = true;
	return true;
}

/* ---- Attempts ---- */

static void report(struct worker *worker, const struct sender_outcome *outcome)
{
	struct byte_writer body;
	struct frame *frame = frame_new(FRAME_OUTCOME, OUTCOME_FRAME_SIZE, &body);

	assert(frame);
	frame_put_outcome(&body, outcome);
	channel_send(worker->channel, frame, &body, -1);
}

static void on_reaction(evutil_socket_t fd, short what, void *user)
{
	struct job *job = user;
	struct worker *worker = job->worker;
	struct job **at = &worker->attempts;

	(void)fd;
	(void)what;
	if (worker->hangs || worker->unfit)
		return;
	if (!worker->ready) { /* which its answers have to follow */
		event_add(job->timer, &(struct timeval){0, LEAVE_MS * 1000});
		return;
	}
	if (job->kills) {
		end(worker, "is killed by its attempt");
		return;
	}
	oracle_reacted(&job->arrival, &job->reaction);
	job->reaction.outcome.slot = job->name;
	report(worker, &job->reaction.outcome);
	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	worker->n_attempts--;
	free_job(job);
}

static struct reaction meet_fault(void)
{
	struct reaction reaction = {.after_us = dice_spread(0, 1000000)};

	reaction.outcome.fault = 1 + dice(N_LOCAL_FAULTS - 1);
	return reaction;
}

/* What travels as a file is looked at in memory all the same. */
static void *read_file(struct worker *worker, size_t len)
{
	int fd = channel_take_fd(worker->channel);
	void *bytes = malloc(len);

	check(fd >= 0, "a request comes without its body");
	assert(bytes);
	check(pread(fd, bytes, len, 0) == (ssize_t)len, "a body is too short");
	close(fd);
	return bytes;
}

static bool take_request(struct worker *worker, struct byte_reader *body)
{
	struct sender_request request;
	struct network networks[CONFIG_LIST_MAX];
	struct job *job = calloc(1, sizeof(*job));
	void *file = NULL;
	int64_t us;

	assert(job);
	check(frame_get_request(body, &request, networks), "a request is not understood");
	if (request.body_in_file) {
		file = read_file(worker, request.body.len);
		request.body.at = file;
	}
	job->arrival = oracle_arrives(&request);
	free(file);
	job->worker = worker;
	job->name = request.slot;
	job->next = worker->attempts;
	worker->attempts = job;
	worker->n_attempts++;
	check(worker->n_attempts <= worker->max_in_flight,
		"a sender gets %u attempts of at most %u", worker->n_attempts,
		worker->max_in_flight);
	job->kills = (job->arrival.is_poison && !worker_troubles.harmless) ||
		dice_once_in(worker_troubles.dies_once_in);
	if (dice_once_in(worker_troubles.lacks_once_in))
		job->reaction = meet_fault();
	else
		job->reaction = receiver_react(job->arrival.receiver, request.timeout_ms);
	job->timer = event_new(loop_base(), -1, 0, on_reaction, job);
	us = job->kills ? dice_spread(0, 100000) : job->reaction.after_us;
	event_add(job->timer, &(struct timeval){us / 1000000, us % 1000000});
	return true;
}

/* ---- Frames ---- */

static void set_timer(struct worker *worker, int64_t ms)
{
	event_add(worker->timer, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}

/* It cannot work, and says so before it goes. */
static void refuse(struct worker *worker)
{
	struct byte_writer body;
	struct frame *frame = frame_new(FRAME_UNFIT, UNFIT_SIZE + 2, &body);

	assert(frame);
	frame_put_unfit(&body, "the simulation does not let it");
	channel_send(worker->channel, frame, &body, -1);
	worker->unfit = true;
	set_timer(worker, LEAVE_MS);
	cover("a sender says that it cannot work");
}

/* Says that it can work, or that it cannot, or dies. */
static void begin(struct worker *worker)
{
	struct byte_writer body;

	if (!worker_troubles.dies_at_start) {
		worker->ready = true;
		channel_send(worker->channel, frame_new(FRAME_READY, 0, &body), &body, -1);
		if (worker->stopping)
			set_timer(worker, LEAVE_MS);
	} else if (dice(2)) {
		end(worker, "dies at its start");
	} else {
		refuse(worker);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct worker *worker = user;
	bool done = worker->stopping && worker->n_attempts == 0;

	(void)fd;
	(void)what;
	if (worker->hangs)
		return;
	if (!worker->ready && !worker->unfit)
		begin(worker);
	else if ((done || worker->unfit) && channel_is_idle(worker->channel))
		end(worker, "leaves");
	else if (worker->stopping || worker->unfit)
		set_timer(worker, LEAVE_MS);
}

static bool on_frame(void *user, enum frame_type type, struct byte_reader *body)
{
	struct worker *worker = user;
	struct sender_config config;

	if (worker->hangs)
		return true;
	switch (type) {
	case FRAME_CONFIG:
		check(frame_get_config(body, &config), "a configuration is not understood");
		worker->max_in_flight = config.max_in_flight;
		set_timer(worker, dice_spread(1, 3000));
		return true;
	case FRAME_REQUEST:
		return take_request(worker, body);
	case FRAME_STOP:
		worker->stopping = true;
		if (worker->ready)
			set_timer(worker, LEAVE_MS);
		return true;
	case FRAME_READY:
	case FRAME_OUTCOME:
	case FRAME_UNFIT:
		break;
	}
	check(false, "hookd sends a frame of type %d to a sender", (int)type);
	return false;
}

static void on_closed(void *user, const char *why)
{
	(void)why;
	end(user, "is left alone");
}

bool worker_cannot_start(void)
{
	return worker_troubles.cannot_start;
}

void worker_start(pid_t pid, int fd)
{
	static const struct channel_callbacks callbacks = {
		.frame = on_frame, .closed = on_closed, .takes_files = true};
	struct worker *worker = calloc(1, sizeof(*worker));

	assert(worker);
	worker->pid = pid;
	worker->timer = event_new(loop_base(), -1, 0, on_timer, worker);
	worker->next = workers;
	workers = worker;
	check(channel_new(&worker->channel, loop_base(), fd, &callbacks, worker) == 0,
		"out of memory");
	trace("sender %d starts", (int)pid);
}

void worker_reset(void)
{
	while (workers)
		end(workers, "ends with the simulation");
	worker_troubles = (struct worker_troubles){0};
}
