#include "senders.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "channel.h"
#include "clock.h"
#include "host_files.h"
#include "log.h"
#include "loop.h"
#include "out_of_memory.h"

#define CHANNEL_FD 3
#define DELAY_MS_MAX 60000
#define END_MS_MAX 1000
#define YOUNG_MS 1000
#define SUSPECTS_AT_FIRST 8
/* A tick is a second in which the loop has run: hookd's own standstill is not held against senders.
 * Ticks pass only while there is something to wait for. */
#define START_TICKS 60 /* to begin to work */
#define GRACE_TICKS 10 /* beyond the time limit of an attempt, which the sender keeps itself */
#define PROBLEM_SIZE 512

struct sender {
	struct sender *next;
	struct senders *senders;
	struct channel *channel; /* NULL once it is closed */
	pid_t pid;
	unsigned place; /* 0 to count - 1, of the current generation */
	bool ready, unfit, leaving, for_suspects, reaped;
	uint64_t deadline; /* in ticks: to be ready, and to leave */
	int64_t started_us;
	unsigned n_jobs;
	struct sending_job *jobs;
};

struct senders {
	struct senders_options options;
	struct sender_config config;
	struct sender *all;
	struct sender **places; /* the current generation; NULL: none there now */
	struct sender *suspects; /* theirs; NULL: there are none */
	unsigned suspects_window;
	struct event *child, *respawn, *tick;
	uint64_t ticks;
	int64_t delay_ms; /* before the next start, after one that did not begin to work */
	char problem[PROBLEM_SIZE]; /* why the last one did not begin to work; "" */
	struct host_files *files; /* that the current generation has read */
	uint64_t restarts;
	unsigned in_flight;

	struct sending_job **slots; /* by index */
	uint32_t *generations;
	uint32_t n_slots, first_free;
	uint32_t *next_free;
};

/* ---- Slots: the names by which senders know attempts ---- */

#define NO_SLOT UINT32_MAX

static bool grow_slots(struct senders *s)
{
	uint32_t size = s->n_slots ? 2 * s->n_slots : 256;
	struct sending_job **slots = realloc(s->slots, size * sizeof(*slots));
	uint32_t *generations, *next_free;

	if (slots)
		s->slots = slots;
	generations = realloc(s->generations, size * sizeof(*generations));
	if (generations)
		s->generations = generations;
	next_free = realloc(s->next_free, size * sizeof(*next_free));
	if (next_free)
		s->next_free = next_free;
	if (!slots || !generations || !next_free)
		return false;
	for (uint32_t i = s->n_slots; i < size; i++) {
		slots[i] = NULL;
		generations[i] = 0;
		next_free[i] = i + 1 < size ? i + 1 : NO_SLOT;
	}
	s->first_free = s->n_slots;
	s->n_slots = size;
	return true;
}

static bool take_slot(struct senders *s, struct sending_job *job)
{
	if (s->first_free == NO_SLOT && !grow_slots(s))
		return false;
	job->index = s->first_free;
	s->first_free = s->next_free[job->index];
	s->slots[job->index] = job;
	s->generations[job->index]++;
	return true;
}

static void give_slot(struct senders *s, uint32_t index)
{
	s->slots[index] = NULL;
	s->next_free[index] = s->first_free;
	s->first_free = index;
}

static uint64_t slot_name(const struct senders *s, uint32_t index)
{
	return (uint64_t)s->generations[index] << 32 | index;
}

/* ---- Jobs ---- */

static void attach(struct sender *sender, struct sending_job *job)
{
	job->sender = sender;
	job->next = sender->jobs;
	job->at = &sender->jobs;
	if (job->next)
		job->next->at = &job->next;
	sender->jobs = job;
	sender->n_jobs++;
	sender->senders->in_flight++;
}

static void detach(struct sending_job *job)
{
	struct sender *sender = job->sender;

	assert(job->at);
	*job->at = job->next;
	if (job->next)
		job->next->at = job->at;
	job->at = NULL;
	sender->n_jobs--;
	sender->senders->in_flight--;
	give_slot(sender->senders, job->index);
}

static void send_plain(struct sender *sender, enum frame_type type)
{
	struct byte_writer body;
	struct frame *frame = frame_new(type, CONFIG_FRAME_SIZE, &body);

	if (!frame)
		out_of_memory("what a sender is to be told");
	if (type == FRAME_CONFIG)
		frame_put_config(&body, &sender->senders->config);
	channel_send(sender->channel, frame, &body, -1);
}

/* ---- When none can start ---- */

/* Said once, until one begins to work again. */
__attribute__((format(printf, 2, 3))) static void set_problem(
	struct senders *s, const char *format, ...)
{
	char problem[PROBLEM_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, sizeof(problem), format, arguments);
	va_end(arguments);
	if (strcmp(problem, s->problem) == 0)
		return;
	memcpy(s->problem, problem, sizeof(problem));
	log_line(LOG_LEVEL_ERROR, LOG_SENDER, NULL, "%s; trying again, deliveries wait at no cost",
		problem);
}

static void clear_problem(struct senders *s)
{
	if (s->problem[0])
		log_line(LOG_LEVEL_NOTICE, LOG_SENDER, NULL, "senders can start again");
	s->problem[0] = '\0';
}

const char *senders_problem(const struct senders *s)
{
	return s->problem;
}

/* ---- The end of a sender ---- */

static void arm_respawn(struct senders *s)
{
	struct timeval delay = {s->delay_ms / 1000, s->delay_ms % 1000 * 1000};

	loop_add(s->respawn, &delay);
}

/* A sender that cannot even begin is replaced more and more rarely. */
static void set_longer_delay(struct senders *s)
{
	s->delay_ms = s->delay_ms ? s->delay_ms * 2 : YOUNG_MS;
	if (s->delay_ms > DELAY_MS_MAX)
		s->delay_ms = DELAY_MS_MAX;
}

/* One that had worked is replaced at once, but one that died young after a moment: what kills
 * senders shall not kill many before it is suspected. */
static void set_delay(struct senders *s, const struct sender *sender)
{
	bool young = clock_monotonic_us() - sender->started_us < YOUNG_MS * (int64_t)1000;

	if (sender->ready)
		s->delay_ms = young ? YOUNG_MS : 0;
	else
		set_longer_delay(s);
}

static void drop_channel(struct sender *sender)
{
	channel_free(sender->channel);
	sender->channel = NULL;
}

/* The process is gone or as good as gone: its attempts are not, they will be made again. One that
 * never began to work has not died of them. */
static void bury(struct sender *sender, const char *why)
{
	struct senders *s = sender->senders;
	bool guilty = sender->for_suspects && sender->n_jobs == 1;

	if (!sender->channel)
		return;
	drop_channel(sender);
	if (sender->unfit) {
		set_longer_delay(s);
	} else if (!sender->leaving || sender->n_jobs) {
		s->restarts++;
		log_line(LOG_LEVEL_WARNING, LOG_SENDER, NULL,
			"sender %d ended (%s); its %u attempts in flight are made again",
			(int)sender->pid, why, sender->n_jobs);
		set_delay(s, sender);
	}
	if (s->suspects == sender) {
		s->suspects = NULL;
		if (sender->ready)
			s->suspects_window = 1;
	} else if (s->places[sender->place] == sender) {
		s->places[sender->place] = NULL;
		arm_respawn(s);
	}
	if (!sender->reaped)
		kill(sender->pid, SIGKILL);
	while (sender->jobs) {
		struct sending_job *job = sender->jobs;

		detach(job);
		if (sender->ready)
			s->options.callbacks->lost(s->options.user, job, guilty);
		else
			s->options.callbacks->unsent(s->options.user, job);
	}
}

static void on_closed(void *user, const char *why)
{
	bury(user, why);
}

static void on_child(evutil_socket_t fd, short what, void *user)
{
	struct senders *s = user;

	(void)fd;
	(void)what;
	for (struct sender **at = &s->all; *at;) {
		struct sender *sender = *at;
		int status;

		if (waitpid(sender->pid, &status, WNOHANG) != sender->pid) {
			at = &sender->next;
			continue;
		}
		sender->reaped = true; /* its number may be another's now */
		bury(sender, WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it exited");
		/* Burying runs callbacks; the list may have grown at its front meanwhile. */
		for (at = &s->all; *at != sender; at = &(*at)->next)
			;
		*at = sender->next;
		free(sender);
	}
}

static void let_ticks_pass(struct senders *s)
{
	static const struct timeval second = {1, 0};

	if (!event_pending(s->tick, EV_TIMEOUT, NULL) && event_add(s->tick, &second) < 0)
		out_of_memory("the clock of senders");
}

/* With nothing left to do it has to go: one that stays may be somebody else's by now. */
static void limit_leaving(struct sender *sender)
{
	if (sender->leaving && sender->ready && sender->n_jobs == 0)
		sender->deadline = sender->senders->ticks + GRACE_TICKS;
}

static void leave(struct sender *sender)
{
	if (sender->leaving || !sender->channel)
		return;
	sender->leaving = true;
	send_plain(sender, FRAME_STOP);
	limit_leaving(sender);
	let_ticks_pass(sender->senders);
}

/* The job that has just ended is not what kills senders. */
static void acquit(struct sender *sender)
{
	struct senders *s = sender->senders;

	if (s->suspects_window < s->config.max_in_flight)
		s->suspects_window *= 2;
	if (sender->n_jobs == 0) {
		s->suspects = NULL;
		leave(sender);
	}
}

static bool hangs(const struct sender *sender)
{
	uint64_t now = sender->senders->ticks;

	if ((!sender->ready || (sender->leaving && sender->n_jobs == 0)) && now > sender->deadline)
		return true;
	for (const struct sending_job *job = sender->jobs; job; job = job->next) {
		if (now > job->deadline)
			return true;
	}
	return false;
}

static void start_generation(struct senders *s);

static void on_file_changed(const char *path, void *user)
{
	log_line(LOG_LEVEL_NOTICE, LOG_SENDER, NULL, "%s has changed; new senders take over", path);
	start_generation(user);
}

/* Is there anything that a sender owes? */
static bool is_owed(const struct senders *s)
{
	for (const struct sender *sender = s->all; sender; sender = sender->next) {
		if (sender->channel && (!sender->ready || sender->jobs || sender->leaving))
			return true;
	}
	return false;
}

static void on_tick(evutil_socket_t fd, short what, void *user)
{
	struct senders *s = user;

	(void)fd;
	(void)what;
	s->ticks++;
	for (struct sender *sender = s->all; sender; sender = sender->next) {
		if (!sender->channel || !hangs(sender))
			continue;
		if (sender->leaving && sender->n_jobs == 0)
			log_line(LOG_LEVEL_WARNING, LOG_SENDER, NULL,
				"sender %d does not leave, and is ended", (int)sender->pid);
		bury(sender, "it did not answer in time"); /* new ones come in front */
	}
	if (is_owed(s))
		let_ticks_pass(s);
}

/* ---- What a sender says ---- */

static bool take_outcome(struct sender *sender, struct byte_reader *body)
{
	struct senders *s = sender->senders;
	struct sender_outcome outcome;
	struct sending_job *job;
	uint32_t index;

	if (!frame_get_outcome(body, &outcome))
		return false;
	index = (uint32_t)outcome.slot;
	if (index >= s->n_slots || slot_name(s, index) != outcome.slot)
		return false;
	job = s->slots[index];
	if (!job || job->sender != sender)
		return false;
	detach(job);
	limit_leaving(sender);
	if (sender == s->suspects)
		acquit(sender);
	s->options.callbacks->outcome(s->options.user, job, &outcome);
	return true;
}

static bool take_ready(struct sender *sender, const struct byte_reader *body)
{
	struct senders *s = sender->senders;

	if (!reader_is_done(body))
		return false;
	sender->ready = true;
	limit_leaving(sender);
	clear_problem(s);
	s->options.callbacks->room(s->options.user);
	return true;
}

static bool take_unfit(struct sender *sender, struct byte_reader *body)
{
	char reason[UNFIT_SIZE];

	if (!frame_get_unfit(body, reason))
		return false;
	sender->unfit = true;
	set_problem(sender->senders, "a sender cannot work: %s", reason);
	return true;
}

static bool on_frame(void *user, enum frame_type type, struct byte_reader *body)
{
	struct sender *sender = user;

	/* It says once, and first, whether it can work; after a refusal it says nothing. */
	switch (type) {
	case FRAME_READY:
		return !sender->ready && !sender->unfit && take_ready(sender, body);
	case FRAME_UNFIT:
		return !sender->ready && !sender->unfit && take_unfit(sender, body);
	case FRAME_OUTCOME:
		return sender->ready && take_outcome(sender, body);
	case FRAME_CONFIG:
	case FRAME_REQUEST:
	case FRAME_STOP:
		break;
	}
	return false;
}

static const struct channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};

/* ---- The start of a sender ---- */

/* The child gets standard streams and the channel, no other descriptor, and an empty environment.
 */
static int spawn(const char *path, int fd, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char *arguments[] = {(char *)"hookd-sender", NULL}, *environment[] = {NULL};
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	error = posix_spawn_file_actions_adddup2(&actions, fd, CHANNEL_FD);
	if (!error)
		error = posix_spawn_file_actions_addclosefrom_np(&actions, CHANNEL_FD + 1);
	if (!error)
		error = posix_spawnattr_setsigmask(&attributes, &none);
	if (!error)
		error = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!error)
		error = posix_spawnattr_setflags(
			&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!error)
		error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -error;
}

/* A pair of connected sockets, with room for a burst. */
static int make_pair(int ends[2])
{
	int room = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room,
		sizeof(room)); /* less room is slower, not wrong */
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return 0;
}

/* Returns the sender, or NULL; then another try is made later. */
static struct sender *start_sender(struct senders *s, bool for_suspects)
{
	struct sender *sender = calloc(1, sizeof(*sender));
	int ends[2], r = sender ? make_pair(ends) : -ENOMEM;

	if (r == 0) {
		r = channel_new(&sender->channel, s->options.base, ends[0], &callbacks, sender);
		if (r == 0)
			r = spawn(s->options.path, ends[1], &sender->pid);
		close(ends[1]);
		if (r < 0)
			channel_free(sender->channel);
	}
	if (r < 0) {
		set_problem(s, "cannot start %s: %s", s->options.path, strerror(-r));
		free(sender);
		set_longer_delay(s);
		return NULL;
	}
	sender->senders = s;
	sender->for_suspects = for_suspects;
	sender->deadline = s->ticks + START_TICKS;
	sender->started_us = clock_monotonic_us();
	sender->next = s->all;
	s->all = sender;
	let_ticks_pass(s);
	send_plain(sender, FRAME_CONFIG);
	return sender;
}

static void fill_places(struct senders *s)
{
	for (unsigned i = 0; i < s->options.count; i++) {
		if (s->places[i])
			continue;
		s->places[i] = start_sender(s, false);
		if (!s->places[i]) {
			arm_respawn(s);
			return;
		}
		s->places[i]->place = i;
	}
}

static void on_respawn(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	fill_places(user);
}

static void start_generation(struct senders *s)
{
	host_files_mark(s->files, s->config.ca_file);
	for (unsigned i = 0; i < s->options.count; i++) {
		if (s->places[i])
			leave(s->places[i]);
		s->places[i] = NULL;
	}
	if (s->suspects)
		leave(s->suspects);
	s->suspects = NULL;
	s->delay_ms = 0;
	fill_places(s);
}

void senders_configure(struct senders *s, const struct sender_config *config)
{
	s->config = *config;
	start_generation(s);
}

/* ---- Handing over ---- */

static unsigned room_of(const struct senders *s, const struct sender *sender)
{
	if (!sender || !sender->ready || sender->n_jobs >= s->config.max_in_flight)
		return 0;
	return s->config.max_in_flight - sender->n_jobs;
}

unsigned senders_free_slots(const struct senders *s)
{
	unsigned room = 0;

	for (unsigned i = 0; i < s->options.count; i++)
		room += room_of(s, s->places[i]);
	return room;
}

unsigned senders_in_flight(const struct senders *s)
{
	return s->in_flight;
}

unsigned senders_running(const struct senders *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->options.count; i++)
		n += s->places[i] != NULL;
	return n;
}

uint64_t senders_restarts(const struct senders *s)
{
	return s->restarts;
}

/* The endpoint's home while there is room, else the next one that has some. */
static struct sender *choose(const struct senders *s, uint32_t endpoint)
{
	for (unsigned i = 0; i < s->options.count; i++) {
		struct sender *sender = s->places[(endpoint + i) % s->options.count];

		if (room_of(s, sender))
			return sender;
	}
	return NULL;
}

bool senders_take_suspect(const struct senders *s)
{
	return !s->suspects ||
		(s->suspects->n_jobs < s->suspects_window &&
			s->suspects->n_jobs < s->config.max_in_flight);
}

static struct sender *choose_for_suspect(struct senders *s)
{
	if (!s->suspects)
		s->suspects = start_sender(s, true);
	return senders_take_suspect(s) ? s->suspects : NULL;
}

int senders_send(struct senders *s, struct sending_job *job, uint32_t endpoint,
	struct sender_request *request, bool suspect)
{
	struct sender *sender = suspect ? choose_for_suspect(s) : choose(s, endpoint);
	struct byte_writer body;
	struct frame *frame;
	int fd = -1;

	if (!sender)
		return -EAGAIN;
	request->body_in_file = request->body.len > CHANNEL_INLINE_MAX;
	if (request->body_in_file) {
		fd = channel_seal(request->body.at, request->body.len);
		if (fd < 0)
			return fd;
	}
	frame = frame_new(FRAME_REQUEST, frame_request_size(request), &body);
	if (!frame || !take_slot(s, job)) {
		frame_free(frame);
		if (fd >= 0)
			close(fd);
		return -ENOMEM;
	}
	attach(sender, job);
	let_ticks_pass(s);
	job->deadline = s->ticks + request->timeout_ms / 1000 + GRACE_TICKS;
	request->slot = slot_name(s, job->index);
	frame_put_request(&body, request);
	channel_send(sender->channel, frame, &body, fd);
	return 0;
}

/* ---- Life ---- */

int senders_new(struct senders **senders, const struct senders_options *options)
{
	struct senders *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s)
		return r;
	s->options = *options;
	s->first_free = NO_SLOT;
	s->places = calloc(options->count, sizeof(*s->places));
	s->child = evsignal_new(options->base, SIGCHLD, on_child, s);
	s->respawn = evtimer_new(options->base, on_respawn, s);
	s->tick = evtimer_new(options->base, on_tick, s);
	s->suspects_window = SUSPECTS_AT_FIRST;
	if (s->places && s->child && s->respawn && s->tick && event_add(s->child, NULL) == 0)
		r = host_files_new(&s->files, options->base, on_file_changed, s);
	if (r < 0) {
		senders_free(s);
		return r;
	}
	*senders = s;
	return 0;
}

/* A sender whose channel is closed ends by itself; one that does not is ended. */
static void see_off(struct sender *sender)
{
	struct pollfd process = {.fd = pidfd_open(sender->pid, 0), .events = POLLIN};

	if (process.fd >= 0)
		poll(&process, 1, END_MS_MAX);
	kill(sender->pid, SIGKILL);
	waitpid(sender->pid, NULL, 0);
	if (process.fd >= 0)
		close(process.fd);
}

void senders_free(struct senders *s)
{
	if (!s)
		return;
	for (struct sender *sender = s->all; sender; sender = sender->next) {
		while (sender->jobs)
			detach(sender->jobs);
		drop_channel(sender);
	}
	while (s->all) {
		struct sender *sender = s->all;

		s->all = sender->next;
		see_off(sender);
		free(sender);
	}
	if (s->child)
		event_free(s->child);
	if (s->respawn)
		event_free(s->respawn);
	if (s->tick)
		event_free(s->tick);
	host_files_free(s->files);
	free(s->places);
	free(s->slots);
	free(s->generations);
	free(s->next_free);
	free(s);
}
