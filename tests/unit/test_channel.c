/*
 * Two ends of a channel in one event loop: hookd's and a sender's. The loop runs until a test has
 * what it waits for, or until it would never get it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "../../daemon/channel.h"
#include "helpers.h"

#define BIG (512 * 1024)

/* ---- Ends ---- */

#define KEPT_MAX 32

struct received {
	enum frame_type type;
	uint8_t *bytes;
	size_t len;
};

struct end {
	struct channel *channel;
	unsigned n_frames;
	struct received frames[KEPT_MAX]; /* the first ones; of others the number is enough */
	unsigned n_closed;
	char why[64];
	/* What its callbacks shall do. */
	unsigned wanted_frames; /* then the loop ends; or when it is closed */
	bool refuses, frees_in_frame, frees_in_closed, takes_fd, counts;
	int fds[8];
	unsigned n_fds;
	struct end *answers; /* sends each frame back through this end */
};

static struct event_base *base;
static struct end left, right;
static int raw_fd = -1; /* the right end, when it is only a descriptor */

static void send_bytes(struct end *end, enum frame_type type, const void *bytes, size_t len, int fd)
{
	struct byte_writer body;
	struct frame *frame = frame_new(type, len, &body);

	assert_non_null(frame);
	put_bytes(&body, bytes, len);
	channel_send(end->channel, frame, &body, fd);
}

static void free_end(struct end *end)
{
	channel_free(end->channel);
	end->channel = NULL;
}

/* With counts each frame has to hold its own number. */
static void check_number(const struct end *end, const struct byte_reader *body)
{
	struct byte_reader r = *body;

	assert_int_equal(get_u32(&r), end->n_frames);
	assert_true(reader_is_done(&r));
}

static void keep(struct received *frame, enum frame_type type, const struct byte_reader *body)
{
	frame->type = type;
	frame->len = (size_t)(body->end - body->at);
	frame->bytes = malloc(frame->len + 1);
	memcpy(frame->bytes, body->at, frame->len);
}

static bool on_frame(void *user, enum frame_type type, struct byte_reader *body)
{
	struct end *end = user;

	if (end->counts)
		check_number(end, body);
	else if (end->n_frames < KEPT_MAX)
		keep(&end->frames[end->n_frames], type, body);
	if (end->takes_fd)
		end->fds[end->n_fds++] = channel_take_fd(end->channel);
	if (end->answers)
		send_bytes(end->answers, type, body->at, (size_t)(body->end - body->at), -1);
	if (++end->n_frames == end->wanted_frames)
		event_base_loopbreak(base);
	if (end->frees_in_frame)
		free_end(end);
	return !end->refuses;
}

static void on_closed(void *user, const char *why)
{
	struct end *end = user;

	end->n_closed++;
	snprintf(end->why, sizeof(end->why), "%s", why);
	event_base_loopbreak(base);
	if (end->frees_in_closed)
		free_end(end);
}

/* hookd's and a sender's */
static const struct channel_callbacks callbacks = {on_frame, on_closed, false},
				      callbacks_with_files = {on_frame, on_closed, true};

static void open_end(struct end *end, int fd, const struct channel_callbacks *of)
{
	assert_int_equal(channel_new(&end->channel, base, fd, of, end), 0);
}

static void make_pair(int fds[2])
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static int setup(void **state)
{
	(void)state;
	left = right = (struct end){.channel = NULL};
	base = event_base_new();
	return base ? 0 : -1;
}

static int setup_two(void **state)
{
	int fds[2];

	if (setup(state) < 0)
		return -1;
	make_pair(fds);
	open_end(&left, fds[0], &callbacks);
	open_end(&right, fds[1], &callbacks_with_files);
	return 0;
}

/* Only the left end is a channel; the test itself writes and reads the other. */
static int setup_raw(void **state)
{
	int fds[2];

	if (setup(state) < 0)
		return -1;
	make_pair(fds);
	open_end(&left, fds[0], &callbacks);
	raw_fd = fds[1];
	return 0;
}

static int setup_raw_with_files(void **state)
{
	int fds[2];

	if (setup(state) < 0)
		return -1;
	make_pair(fds);
	open_end(&left, fds[0], &callbacks_with_files);
	raw_fd = fds[1];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KEPT_MAX; i++) {
		free(left.frames[i].bytes);
		free(right.frames[i].bytes);
	}
	free_end(&left);
	free_end(&right);
	if (raw_fd >= 0)
		close(raw_fd);
	raw_fd = -1;
	event_base_free(base);
	return 0;
}

/* A test that waits in vain fails instead of hanging; nothing else depends on this time. */
static void run_until_broken(void)
{
	const struct timeval limit = {30, 0};

	event_base_loopexit(base, &limit);
	event_base_dispatch(base);
}

static void run_until_frames(struct end *end, unsigned n)
{
	end->wanted_frames = n;
	while (end->n_frames < n && !end->n_closed)
		run_until_broken();
	assert_int_equal(end->n_frames, n);
}

static void run_until_closed(struct end *end)
{
	if (!end->n_closed)
		run_until_broken();
	assert_int_equal(end->n_closed, 1);
}

/* Everything that can happen without waiting. */
static void run_what_is_ready(void)
{
	for (int i = 0; i < 100; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* ---- Frames ---- */

static void assert_frame(
	const struct received *frame, enum frame_type type, const void *bytes, size_t len)
{
	assert_int_equal(frame->type, type);
	assert_int_equal(frame->len, len);
	assert_memory_equal(frame->bytes, bytes, len);
}

static void test_frame_arrives_with_its_type_and_content(void **state)
{
	(void)state;
	send_bytes(&left, FRAME_REQUEST, "hello", 5, -1);
	run_until_frames(&right, 1);
	assert_frame(&right.frames[0], FRAME_REQUEST, "hello", 5);
}

static void test_empty_frame_arrives(void **state)
{
	(void)state;
	send_bytes(&left, FRAME_STOP, "", 0, -1);
	run_until_frames(&right, 1);
	assert_frame(&right.frames[0], FRAME_STOP, "", 0);
}

static void test_many_frames_arrive_in_their_order(void **state)
{
	(void)state;
	right.counts = true;
	for (uint32_t i = 0; i < 100000; i++) {
		uint8_t bytes[4];
		struct byte_writer w = {.at = bytes, .size = sizeof(bytes)};

		put_u32(&w, i);
		send_bytes(&left, FRAME_REQUEST, bytes, sizeof(bytes), -1);
	}
	run_until_frames(&right, 100000);
	assert_true(channel_is_idle(left.channel));
}

static void test_big_frame_arrives_whole(void **state)
{
	uint8_t *bytes = malloc(BIG);

	(void)state;
	random_bytes(bytes, BIG);
	send_bytes(&left, FRAME_REQUEST, bytes, BIG, -1);
	send_bytes(&left, FRAME_STOP, "after", 5, -1);
	run_until_frames(&right, 2);
	assert_frame(&right.frames[0], FRAME_REQUEST, bytes, BIG);
	assert_frame(&right.frames[1], FRAME_STOP, "after", 5);
	free(bytes);
}

static void test_many_big_frames_arrive_through_a_full_socket(void **state)
{
	uint8_t *bytes = malloc(BIG);

	(void)state;
	random_bytes(bytes, BIG);
	for (unsigned i = 0; i < 20; i++) {
		bytes[0] = (uint8_t)i;
		send_bytes(&left, FRAME_REQUEST, bytes, BIG, -1);
	}
	assert_false(channel_is_idle(left.channel));
	run_until_frames(&right, 20);
	for (unsigned i = 0; i < 20; i++) {
		bytes[0] = (uint8_t)i;
		assert_frame(&right.frames[i], FRAME_REQUEST, bytes, BIG);
	}
	free(bytes);
}

static void test_frames_go_both_ways_at_once(void **state)
{
	(void)state;
	right.answers = &right;
	for (unsigned i = 0; i < 1000; i++)
		send_bytes(&left, FRAME_REQUEST, "ping", 4, -1);
	run_until_frames(&left, 1000);
	assert_int_equal(right.n_frames, 1000);
}

static void test_nothing_is_sent_before_the_loop_turns(void **state)
{
	char byte;

	(void)state;
	send_bytes(&left, FRAME_REQUEST, "a", 1, -1);
	assert_int_equal(recv(raw_fd, &byte, 1, MSG_PEEK), -1);
	assert_int_equal(errno, EAGAIN);
	assert_false(channel_is_idle(left.channel));
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_true(channel_is_idle(left.channel));
}

static void test_frame_on_the_wire_is_length_type_and_content(void **state)
{
	char bytes[16];

	(void)state;
	send_bytes(&left, FRAME_OUTCOME, "hello", 5, -1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(read(raw_fd, bytes, sizeof(bytes)), 10);
	assert_memory_equal(bytes, "\0\0\0\5\x11hello", 10);
}

static void test_frame_may_arrive_byte_by_byte(void **state)
{
	static const char bytes[] = "\0\0\0\5\x02hello\0\0\0\0\x03";

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		assert_int_equal(left.n_frames, i >= 10 ? 1 : 0);
		assert_int_equal(write(raw_fd, bytes + i, 1), 1);
		run_what_is_ready();
	}
	assert_int_equal(left.n_frames, 2);
	assert_frame(&left.frames[0], FRAME_REQUEST, "hello", 5);
	assert_frame(&left.frames[1], FRAME_STOP, "", 0);
}

static void test_frame_that_overflowed_is_not_sent(void **state)
{
	struct byte_writer body;
	struct frame *frame = frame_new(FRAME_REQUEST, 2, &body);

	(void)state;
	put_bytes(&body, "too long", 8);
	channel_send(left.channel, frame, &body, -1);
	assert_true(channel_is_idle(left.channel));
}

static void test_frame_that_is_not_sent_can_be_freed(void **state)
{
	struct byte_writer body;

	(void)state;
	frame_free(frame_new(FRAME_REQUEST, 100, &body));
	frame_free(NULL);
}

/* ---- What ends a channel ---- */

static void test_frame_of_the_longest_length_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(write(raw_fd, "\x00\x08\x00\x00\x02", 5), 5); /* 512 KiB */
	run_what_is_ready();
	assert_int_equal(left.n_closed, 0);
}

static void test_frame_that_is_too_long_ends_the_channel(void **state)
{
	(void)state;
	assert_int_equal(write(raw_fd, "\x00\x08\x00\x01\x02", 5), 5);
	run_until_closed(&left);
	assert_string_equal(left.why, "a frame is too long");
	assert_int_equal(left.n_frames, 0);
}

static void test_length_of_4_gib_ends_the_channel(void **state)
{
	(void)state;
	assert_int_equal(write(raw_fd, "\xff\xff\xff\xff\x02", 5), 5);
	run_until_closed(&left);
	assert_string_equal(left.why, "a frame is too long");
}

static void test_frame_that_is_not_understood_ends_the_channel(void **state)
{
	(void)state;
	left.refuses = true;
	assert_int_equal(write(raw_fd, "\0\0\0\0\x63\0\0\0\0\x63", 10), 10);
	run_until_closed(&left);
	assert_string_equal(left.why, "a frame was not understood");
	assert_int_equal(left.n_frames, 1); /* the next one is not even shown */
}

static void test_end_of_the_other_side_ends_the_channel(void **state)
{
	(void)state;
	free_end(&right);
	run_until_closed(&left);
	assert_string_equal(left.why, "it is gone");
}

static void test_what_was_sent_before_the_end_still_arrives(void **state)
{
	(void)state;
	send_bytes(&left, FRAME_OUTCOME, "last words", 10, -1);
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	free_end(&left);
	run_until_closed(&right);
	assert_int_equal(right.n_frames, 1);
	assert_frame(&right.frames[0], FRAME_OUTCOME, "last words", 10);
}

static void test_channel_ends_once_and_sends_nothing_more(void **state)
{
	(void)state;
	close(raw_fd);
	raw_fd = -1;
	send_bytes(&left, FRAME_REQUEST, "a", 1, -1);
	run_until_closed(&left);
	send_bytes(&left, FRAME_REQUEST, "b", 1, -1);
	run_what_is_ready();
	assert_int_equal(left.n_closed, 1);
}

/* ---- Freeing inside of callbacks ---- */

static void test_channel_may_be_freed_by_its_frame(void **state)
{
	(void)state;
	left.frees_in_frame = true;
	assert_int_equal(write(raw_fd, "\0\0\0\0\x02\0\0\0\0\x02", 10), 10);
	run_what_is_ready();
	assert_null(left.channel);
	assert_int_equal(left.n_frames, 1);
	assert_int_equal(left.n_closed, 0);
}

static void test_channel_may_be_freed_by_a_frame_it_refuses(void **state)
{
	(void)state;
	left.frees_in_frame = true;
	left.refuses = true;
	assert_int_equal(write(raw_fd, "\0\0\0\0\x02", 5), 5);
	run_what_is_ready();
	assert_null(left.channel);
	assert_int_equal(left.n_closed, 0);
}

static void test_channel_may_be_freed_by_its_end(void **state)
{
	(void)state;
	left.frees_in_closed = true;
	assert_int_equal(write(raw_fd, "\xff\xff\xff\xff\x02", 5), 5);
	run_until_closed(&left);
	assert_null(left.channel);
}

static void test_channel_may_be_freed_when_the_other_side_goes(void **state)
{
	(void)state;
	left.frees_in_closed = true;
	send_bytes(&left, FRAME_REQUEST, "unsent", 6, -1);
	close(raw_fd);
	raw_fd = -1;
	run_until_closed(&left);
	assert_null(left.channel);
}

static void test_channel_with_unsent_frames_can_be_freed(void **state)
{
	uint8_t *bytes = calloc(1, BIG);

	(void)state;
	for (int i = 0; i < 4; i++)
		send_bytes(&left, FRAME_REQUEST, bytes, BIG, channel_seal("x", 1));
	event_base_loop(base, EVLOOP_NONBLOCK); /* the first of them in part */
	assert_false(channel_is_idle(left.channel));
	free_end(&left);
	free(bytes);
}

static void test_no_channel_can_be_freed(void **state)
{
	(void)state;
	channel_free(NULL);
}

/* ---- Descriptors ---- */

static void assert_file_holds(int fd, const char *text)
{
	char bytes[64];

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
	close(fd);
}

static void test_memory_file_travels_along(void **state)
{
	(void)state;
	right.takes_fd = true;
	send_bytes(&left, FRAME_REQUEST, "see file", 8, channel_seal("payload", 7));
	run_until_frames(&right, 1);
	assert_file_holds(right.fds[0], "payload");
}

static void test_memory_file_is_closed_behind_the_sending(void **state)
{
	int fd = channel_seal("payload", 7);

	(void)state;
	send_bytes(&left, FRAME_REQUEST, "see file", 8, fd);
	run_what_is_ready();
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

static void test_files_arrive_in_their_order_among_big_frames(void **state)
{
	uint8_t *bytes = calloc(1, BIG);

	(void)state;
	right.takes_fd = true;
	for (int i = 0; i < 5; i++) {
		char text[8];

		snprintf(text, sizeof(text), "file %d", i);
		send_bytes(&left, FRAME_REQUEST, bytes, BIG, channel_seal(text, strlen(text)));
	}
	run_until_frames(&right, 5);
	for (int i = 0; i < 5; i++) {
		char text[8];

		snprintf(text, sizeof(text), "file %d", i);
		assert_file_holds(right.fds[i], text);
	}
	free(bytes);
}

static void test_frame_without_a_file_has_none(void **state)
{
	(void)state;
	right.takes_fd = true;
	send_bytes(&left, FRAME_REQUEST, "no file", 7, -1);
	run_until_frames(&right, 1);
	assert_int_equal(right.fds[0], -1);
}

static unsigned count_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_file_that_nobody_takes_goes_with_the_channel(void **state)
{
	unsigned before = count_descriptors();

	(void)state;
	send_bytes(&left, FRAME_REQUEST, "see file", 8, channel_seal("payload", 7));
	run_until_frames(&right, 1);
	assert_int_equal(count_descriptors(), before + 1);
	free_end(&right);
	free_end(&left);
	assert_int_equal(count_descriptors(), before - 2);
}

/* Sends n descriptors with one byte. */
static void send_descriptors(int n)
{
	struct iovec part = {(void *)"\0", 1};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(64 * sizeof(int))];
	} control = {.room = {0}};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int))};
	int fds[64];

	for (int i = 0; i < n; i++)
		fds[i] = raw_fd;
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
	memcpy(CMSG_DATA(&control.head), fds, (size_t)n * sizeof(int));
	assert_int_equal(sendmsg(raw_fd, &message, MSG_DONTWAIT), 1);
}

static void test_more_descriptors_at_once_than_anybody_sends_end_the_channel(void **state)
{
	(void)state;
	send_descriptors(64);
	run_until_closed(&left);
	assert_string_equal(left.why, "too many descriptors");
}

static void test_more_descriptors_than_are_taken_end_the_channel(void **state)
{
	(void)state;
	for (int i = 0; i < 300 && !left.n_closed; i++) {
		send_descriptors(1);
		run_what_is_ready();
	}
	assert_int_equal(left.n_closed, 1);
}

static void test_descriptor_that_nobody_asked_for_ends_the_channel_and_is_closed(void **state)
{
	unsigned before = count_descriptors();

	(void)state;
	send_descriptors(1);
	run_until_closed(&left);
	assert_string_equal(left.why, "a descriptor came along");
	assert_int_equal(count_descriptors(), before);
}

/* While there is one, no number for a descriptor is free. It is another process, so that valgrind,
 * which keeps limits of its own for what it runs, does not answer instead of the kernel. */
struct limiter {
	pid_t pid;
	int done[2], end[2]; /* pipes: the limit is in force; it is to be taken back */
};

static void limit_parent(const struct limiter *l)
{
	struct rlimit before, none;
	char byte = 0;
	bool ok = prlimit(getppid(), RLIMIT_NOFILE, NULL, &before) == 0;

	none = before;
	none.rlim_cur = 0;
	ok = ok && prlimit(getppid(), RLIMIT_NOFILE, &none, NULL) == 0 &&
		write(l->done[1], &byte, 1) == 1 && read(l->end[0], &byte, 1) == 1 &&
		prlimit(getppid(), RLIMIT_NOFILE, &before, NULL) == 0;
	_exit(!ok);
}

static void begin_limit(struct limiter *l)
{
	char byte;

	assert_int_equal(pipe(l->done) | pipe(l->end), 0);
	l->pid = fork();
	assert_true(l->pid >= 0);
	if (l->pid == 0)
		limit_parent(l);
	assert_int_equal(read(l->done[0], &byte, 1), 1);
}

static void end_limit(struct limiter *l)
{
	int status;

	assert_int_equal(write(l->end[1], "", 1), 1);
	assert_int_equal(waitpid(l->pid, &status, 0), l->pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++) {
		close(l->done[i]);
		close(l->end[i]);
	}
}

/* The second file arrives together with the end of the first frame. */
static void test_file_that_finds_no_free_number_is_missing_and_the_next_is_not_taken_for_it(
	void **state)
{
	static uint8_t bytes[BIG];
	struct limiter limiter;

	(void)state;
	right.takes_fd = true;
	send_bytes(&left, FRAME_REQUEST, bytes, BIG, channel_seal("first file", 10));
	send_bytes(&left, FRAME_REQUEST, "second", 6, channel_seal("second file", 11));
	begin_limit(&limiter);
	event_base_loop(base, EVLOOP_ONCE);
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(right.n_frames, 0);
	end_limit(&limiter);
	run_until_frames(&right, 2);
	assert_int_equal(right.fds[0], -1);
	assert_file_holds(right.fds[1], "second file");
}

static void test_sealed_file_cannot_be_changed(void **state)
{
	int fd = channel_seal("payload", 7);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 100), -1);
	assert_ptr_equal(mmap(NULL, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_file_holds(fd, "payload");
}

static void test_big_file_is_sealed_whole(void **state)
{
	static uint8_t bytes[3 << 20];
	int fd;
	uint8_t *map;

	(void)state;
	random_bytes(bytes, sizeof(bytes));
	fd = channel_seal(bytes, sizeof(bytes));
	map = mmap(NULL, sizeof(bytes), PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_memory_equal(map, bytes, sizeof(bytes));
	munmap(map, sizeof(bytes));
	close(fd);
}

static void test_empty_file_is_sealed(void **state)
{
	struct stat status;
	int fd = channel_seal("", 0);

	(void)state;
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 0);
	close(fd);
}

#define TWO_ENDS(test) cmocka_unit_test_setup_teardown(test, setup_two, teardown)
#define ONE_END(test) cmocka_unit_test_setup_teardown(test, setup_raw, teardown)
#define ONE_END_WITH_FILES(test) \
	cmocka_unit_test_setup_teardown(test, setup_raw_with_files, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TWO_ENDS(test_frame_arrives_with_its_type_and_content),
		TWO_ENDS(test_empty_frame_arrives),
		TWO_ENDS(test_many_frames_arrive_in_their_order),
		TWO_ENDS(test_big_frame_arrives_whole),
		TWO_ENDS(test_many_big_frames_arrive_through_a_full_socket),
		TWO_ENDS(test_frames_go_both_ways_at_once),
		ONE_END(test_nothing_is_sent_before_the_loop_turns),
		ONE_END(test_frame_on_the_wire_is_length_type_and_content),
		ONE_END(test_frame_may_arrive_byte_by_byte),
		TWO_ENDS(test_frame_that_overflowed_is_not_sent),
		cmocka_unit_test(test_frame_that_is_not_sent_can_be_freed),
		ONE_END(test_frame_of_the_longest_length_is_waited_for),
		ONE_END(test_frame_that_is_too_long_ends_the_channel),
		ONE_END(test_length_of_4_gib_ends_the_channel),
		ONE_END(test_frame_that_is_not_understood_ends_the_channel),
		TWO_ENDS(test_end_of_the_other_side_ends_the_channel),
		TWO_ENDS(test_what_was_sent_before_the_end_still_arrives),
		ONE_END(test_channel_ends_once_and_sends_nothing_more),
		ONE_END(test_channel_may_be_freed_by_its_frame),
		ONE_END(test_channel_may_be_freed_by_a_frame_it_refuses),
		ONE_END(test_channel_may_be_freed_by_its_end),
		ONE_END(test_channel_may_be_freed_when_the_other_side_goes),
		ONE_END(test_channel_with_unsent_frames_can_be_freed),
		cmocka_unit_test(test_no_channel_can_be_freed),
		TWO_ENDS(test_memory_file_travels_along),
		ONE_END(test_memory_file_is_closed_behind_the_sending),
		TWO_ENDS(test_files_arrive_in_their_order_among_big_frames),
		TWO_ENDS(test_frame_without_a_file_has_none),
		TWO_ENDS(test_file_that_nobody_takes_goes_with_the_channel),
		ONE_END_WITH_FILES(
			test_more_descriptors_at_once_than_anybody_sends_end_the_channel),
		ONE_END_WITH_FILES(test_more_descriptors_than_are_taken_end_the_channel),
		ONE_END(test_descriptor_that_nobody_asked_for_ends_the_channel_and_is_closed),
		TWO_ENDS(
			test_file_that_finds_no_free_number_is_missing_and_the_next_is_not_taken_for_it),
		cmocka_unit_test(test_sealed_file_cannot_be_changed),
		cmocka_unit_test(test_big_file_is_sealed_whole),
		cmocka_unit_test(test_empty_file_is_sealed),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
