/*
 * hookd-sender: makes the attempts. Started by hookd with one descriptor, number 3, the channel;
 * has the network, and neither the queue nor a secret that signs. When hookd goes, it goes.
 *
 * With its configuration it reads what it needs of the machine, then it confines itself, and only
 * then is it ready for requests.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <curl/curl.h>
#include <event2/event.h>

#include "../attempt_frame.h"
#include "../channel.h"
#include "../out_of_memory.h"
#include "attempt.h"
#include "confine.h"
#include "memory.h"

#define CHANNEL_FD 3

struct sender {
	struct event_base *base;
	struct channel *channel;
	struct attempts *attempts; /* NULL until the configuration has come */
	struct sender_config config;
	bool stopping;
};

static void stop_when_done(struct sender *s)
{
	if (s->stopping && (!s->attempts || attempts_under_way(s->attempts) == 0) &&
		channel_is_idle(s->channel))
		event_base_loopexit(s->base, NULL);
}

static void on_outcome(void *user, const struct sender_outcome *outcome)
{
	struct sender *s = user;
	struct byte_writer body;
	struct frame *frame = frame_new(FRAME_OUTCOME, frame_outcome_size(outcome), &body);

	if (!frame)
		out_of_memory(
			"an outcome"); /* hookd makes the attempt again, with another sender */
	frame_put_outcome(&body, outcome);
	channel_send(s->channel, frame, &body, -1);
}

/* Says how it went, in one frame, and before it looks at a request that may have come with the
 * configuration: one that kills it shall not look as if it had never begun. */
static bool tell(struct sender *s, const char *problem)
{
	struct byte_writer body;
	struct frame *frame = frame_new(problem ? FRAME_UNFIT : FRAME_READY, UNFIT_SIZE, &body);

	if (!frame)
		return false;
	if (problem)
		frame_put_unfit(&body, problem);
	channel_send(s->channel, frame, &body, -1);
	channel_flush(s->channel);
	return true;
}

static bool configure(struct sender *s, struct byte_reader *body)
{
	struct attempts_options options = {
		.base = s->base, .config = &s->config, .done = on_outcome, .user = s};
	struct confine_options walls;
	char problem[CONFINE_PROBLEM_SIZE];

	int r;

	if (s->attempts || !frame_get_config(body, &s->config))
		return false;
	r = attempts_new(&s->attempts, &options);
	walls = (struct confine_options){s->config.landlock_optional, s->config.max_in_flight};
	if (r < 0)
		snprintf(problem, sizeof(problem), "starting: %s", strerror(-r));
	else if (confine(&walls, problem) == 0)
		return tell(s, NULL);
	s->stopping = true;
	return tell(s, problem);
}

static bool take_request(struct sender *s, struct byte_reader *body)
{
	struct network networks[CONFIG_LIST_MAX];
	struct sender_request request;

	if (!s->attempts || s->stopping || !frame_get_request(body, &request, networks))
		return false;
	attempts_begin(
		s->attempts, &request, request.body_in_file ? channel_take_fd(s->channel) : -1);
	return true;
}

static bool on_frame(void *user, enum frame_type type, struct byte_reader *body)
{
	struct sender *s = user;

	switch (type) {
	case FRAME_CONFIG:
		return configure(s, body);
	case FRAME_REQUEST:
		return take_request(s, body);
	case FRAME_STOP:
		s->stopping = true;
		return true;
	case FRAME_READY:
	case FRAME_OUTCOME:
	case FRAME_UNFIT:
		break;
	}
	return false;
}

static void on_closed(void *user, const char *why)
{
	struct sender *s = user;

	(void)why;
	event_base_loopbreak(s->base);
}

/* Under memory pressure a sender is what the kernel should take, not the queue. */
static void volunteer_for_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "500", 3) < 0)
		fprintf(stderr, "hookd-sender: cannot set oom_score_adj\n");
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct channel_callbacks callbacks = {
		.frame = on_frame, .closed = on_closed, .takes_files = true};
	struct sender s = {0};

	(void)argv;
	if (argc > 1 || fcntl(CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr, "hookd-sender is started by hookd, not by hand\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	/* A Ctrl-C at the terminal is meant for hookd, which lets attempts end; the channel says
	 * when. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC);
	volunteer_for_oom();
	if (!memory_watch())
		return 1;
	s.base = event_base_new();
	if (!s.base || event_base_priority_init(s.base, 2) < 0 ||
		channel_new(&s.channel, s.base, CHANNEL_FD, &callbacks, &s) < 0)
		return 1;
	while (event_base_loop(s.base, EVLOOP_ONCE) == 0 && !event_base_got_break(s.base) &&
		!event_base_got_exit(s.base))
		stop_when_done(&s);
	if (s.attempts)
		attempts_free(s.attempts);
	channel_free(s.channel);
	event_base_free(s.base);
	curl_global_cleanup();
	return 0;
}
