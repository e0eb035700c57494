/*
 * In the place of hookd-sender: speaks frames by hand, and after its READY does what its manner
 * says. The manner is in a file beside it, "manner"; the first sender that starts takes it away, so
 * that those after it behave: they answer every request with 200.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../daemon/attempt_frame.h"
#include "../../daemon/channel.h"

#define CHANNEL_FD 3
#define FRAME_SIZE (CHANNEL_FRAME_MAX + 16)

static uint8_t input[FRAME_SIZE];

/* ---- Frames ---- */

static void send_all(const void *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(CHANNEL_FD, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			exit(0); /* hookd has had enough */
		bytes = (const uint8_t *)bytes + (n > 0 ? n : 0);
		len -= n > 0 ? (size_t)n : 0;
	}
}

static void send_head(uint32_t len, uint8_t type)
{
	uint8_t head[5] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
		(uint8_t)len, type};

	send_all(head, sizeof(head));
}

static void send_frame(uint8_t type, const void *body, size_t len)
{
	send_head((uint32_t)len, type);
	send_all(body, len);
}

static void receive_all(void *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = recv(CHANNEL_FD, bytes, len, 0);

		if (n == 0 || (n < 0 && errno != EINTR))
			exit(0);
		bytes = (uint8_t *)bytes + (n > 0 ? n : 0);
		len -= n > 0 ? (size_t)n : 0;
	}
}

static uint8_t receive_frame(size_t *len)
{
	uint8_t head[5];

	receive_all(head, sizeof(head));
	*len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	receive_all(input, *len);
	return head[4];
}

/* Returns the slot of the request that was received. */
static uint64_t read_request(size_t len)
{
	struct network networks[CONFIG_LIST_MAX];
	struct sender_request request;

	if (!frame_get_request(
		    &(struct byte_reader){input, input + len, false}, &request, networks))
		abort();
	return request.slot;
}

/* Waits for a request; returns its slot. */
static uint64_t receive_request(void)
{
	uint8_t type;
	size_t len;

	do {
		type = receive_frame(&len);
		if (type == FRAME_STOP)
			exit(0);
	} while (type != FRAME_REQUEST);
	return read_request(len);
}

static size_t put_outcome(uint8_t *bytes, uint64_t slot)
{
	struct byte_writer w = {.at = bytes, .size = OUTCOME_FRAME_SIZE};
	struct sender_outcome outcome = {
		.slot = slot, .result = RESULT_OK, .http_status = 200, .message_len = 6};

	memcpy(outcome.message, "200 OK", 6);
	frame_put_outcome(&w, &outcome);
	return w.used;
}

static void send_outcome(uint64_t slot)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE];

	send_frame(FRAME_OUTCOME, bytes, put_outcome(bytes, slot));
}

static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* ---- Manners ---- */

typedef void manner(void);

static void say_garbage(void)
{
	uint8_t bytes[4096];
	unsigned seed = 1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_r(&seed);
	send_all(bytes, sizeof(bytes));
}

static void announce_too_much(void)
{
	send_head(CHANNEL_FRAME_MAX + 1, FRAME_OUTCOME);
}

static void announce_4_gib(void)
{
	send_head(UINT32_MAX, FRAME_OUTCOME);
}

static void use_an_unknown_type(void)
{
	send_frame(99, "", 0);
}

static void speak_like_hookd(void)
{
	send_frame(FRAME_REQUEST, "", 0);
}

static void be_ready_twice(void)
{
	send_frame(FRAME_READY, "", 0);
}

static void be_ready_with_words(void)
{
	send_frame(FRAME_READY, "now", 3);
}

static void be_unfit_after_all(void)
{
	send_frame(FRAME_UNFIT, "\0\5sorry", 7);
}

static void answer_nothing_asked(void)
{
	send_outcome(0x100000000);
}

static void answer_an_impossible_slot(void)
{
	receive_request();
	send_outcome(UINT64_MAX);
}

static void answer_an_older_slot(void)
{
	send_outcome(receive_request() - 0x100000000);
}

static void answer_a_later_slot(void)
{
	send_outcome(receive_request() + 0x100000000);
}

/* Requests are spread over senders: the neighbour's is most likely another's. */
static void answer_for_others(void)
{
	uint64_t slot = receive_request();

	for (uint64_t other = 0; other < 64; other++) {
		if ((uint32_t)slot != other)
			send_outcome(0x100000000 | other);
	}
}

static void answer_twice(void)
{
	uint64_t slot = receive_request();

	send_outcome(slot);
	send_outcome(slot);
}

static void stop_within_an_outcome(void)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE];
	size_t len = put_outcome(bytes, receive_request());

	send_head((uint32_t)len, FRAME_OUTCOME);
	send_all(bytes, len / 2);
	exit(0);
}

static void cut_an_outcome_short(void)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE];

	send_frame(FRAME_OUTCOME, bytes, put_outcome(bytes, receive_request()) - 1);
}

static void lengthen_an_outcome(void)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE + 1] = {0};

	send_frame(FRAME_OUTCOME, bytes, put_outcome(bytes, receive_request()) + 1);
}

/* Retry-After is the first text: behind slot, fault, result, status, duration, peer. */
static void lie_about_a_length(void)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE];
	size_t len = put_outcome(bytes, receive_request());

	bytes[8 + 1 + 1 + 2 + 4 + 19] = bytes[8 + 1 + 1 + 2 + 4 + 20] = 0xff;
	send_frame(FRAME_OUTCOME, bytes, len);
}

static void contradict_itself(void)
{
	uint8_t bytes[OUTCOME_FRAME_SIZE];
	size_t len = put_outcome(bytes, receive_request());

	bytes[8] = 1; /* a fault, and an answer */
	send_frame(FRAME_OUTCOME, bytes, len);
}

static void send_descriptors(int n)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(253 * sizeof(int))];
	} control = {.room = {0}};
	struct iovec part = {(void *)"\0", 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int))};

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
	sendmsg(CHANNEL_FD, &message, MSG_NOSIGNAL); /* of descriptor 0, n times */
}

static void give_a_descriptor(void)
{
	send_descriptors(1);
}

static void give_many_descriptors(void)
{
	for (int i = 0; i < 100; i++)
		send_descriptors(253);
}

/* The channel is full of requests for all that hookd has to say. */
static void never_read(void)
{
	wait_for_the_end();
}

static void read_and_never_answer(void)
{
	for (;;)
		receive_request();
}

static void flood_without_reading(void)
{
	for (;;)
		send_frame(FRAME_READY, "", 0);
}

static void flood_with_outcomes(void)
{
	uint64_t slot = receive_request();

	for (;;)
		send_outcome(slot);
}

/* A length, and then a byte now and then: hookd may not grow, nor wait. */
static void dribble(void)
{
	send_head(CHANNEL_FRAME_MAX, FRAME_OUTCOME);
	for (;;) {
		send_all("x", 1);
		usleep(1000);
	}
}

static void leave_and_stay(void)
{
	receive_request();
	shutdown(CHANNEL_FD, SHUT_RDWR);
	wait_for_the_end();
}

static void fill_the_longest_frame(void)
{
	static uint8_t bytes[CHANNEL_FRAME_MAX];

	receive_request();
	send_frame(FRAME_OUTCOME, bytes, sizeof(bytes));
}

static void never_leave(void)
{
	size_t len;

	for (;;) {
		if (receive_frame(&len) == FRAME_REQUEST)
			send_outcome(read_request(len));
	}
}

static void behave(void)
{
	for (;;)
		send_outcome(receive_request());
}

#define MANNER(function) \
	{ \
#function, function \
	}

static const struct {
	const char *name;
	manner *run;
} manners[] = {
	MANNER(say_garbage),
	MANNER(announce_too_much),
	MANNER(announce_4_gib),
	MANNER(use_an_unknown_type),
	MANNER(speak_like_hookd),
	MANNER(be_ready_twice),
	MANNER(be_ready_with_words),
	MANNER(be_unfit_after_all),
	MANNER(answer_nothing_asked),
	MANNER(answer_an_impossible_slot),
	MANNER(answer_an_older_slot),
	MANNER(answer_a_later_slot),
	MANNER(answer_for_others),
	MANNER(answer_twice),
	MANNER(stop_within_an_outcome),
	MANNER(cut_an_outcome_short),
	MANNER(lengthen_an_outcome),
	MANNER(lie_about_a_length),
	MANNER(contradict_itself),
	MANNER(give_a_descriptor),
	MANNER(give_many_descriptors),
	MANNER(never_read),
	MANNER(read_and_never_answer),
	MANNER(flood_without_reading),
	MANNER(flood_with_outcomes),
	MANNER(dribble),
	MANNER(leave_and_stay),
	MANNER(fill_the_longest_frame),
	MANNER(never_leave),
};

/* Takes the manner from the file, which only one can. */
static manner *choose(void)
{
	char path[512], taken[600], name[64] = "";
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 32);
	FILE *file;

	path[len > 0 ? len : 0] = '\0';
	strcpy(strrchr(path, '/') + 1, "manner");
	snprintf(taken, sizeof(taken), "%s.%d", path, (int)getpid());
	if (rename(path, taken) < 0)
		return behave;
	file = fopen(taken, "r");
	if (!file || !fgets(name, sizeof(name), file))
		abort();
	fclose(file);
	for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++) {
		if (strcmp(manners[i].name, name) == 0)
			return manners[i].run;
	}
	abort();
}

int main(void)
{
	manner *run = choose();
	size_t len;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	receive_frame(&len); /* the configuration */
	send_frame(FRAME_READY, "", 0);
	run();
	wait_for_the_end();
}
