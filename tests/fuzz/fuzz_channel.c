/*
 * A channel whose other end was taken over, seen from both sides: as hookd, which takes outcomes
 * and no file, and as a sender, which takes requests and files. The input says what arrives, in
 * which pieces, and how many descriptors with each; the first byte chooses the side.
 *
 * Whatever comes: a frame is never longer than it may be, a file is handed out at most once for
 * each that came, nothing is shown after the end, and no descriptor is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "../../daemon/attempt_frame.h"
#include "../../daemon/channel.h"
#include "fuzz.h"

#define PIECES_MAX 64

struct side {
	struct channel *channel;
	bool is_sender, closed;
	unsigned files_sent, files_taken;
	bool frees_next; /* what a reader may do */
};

static void take_file(struct side *side)
{
	int fd = channel_take_fd(side->channel);

	if (fd < 0)
		return;
	side->files_taken++;
	promise(side->is_sender && side->files_taken <= side->files_sent);
	promise(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static bool read_at_sender(struct side *side, enum frame_type type, struct byte_reader *body)
{
	struct network networks[CONFIG_LIST_MAX];
	struct sender_config config;
	struct sender_request request;

	switch (type) {
	case FRAME_CONFIG:
		return frame_get_config(body, &config);
	case FRAME_REQUEST:
		if (!frame_get_request(body, &request, networks))
			return false;
		if (request.body_in_file)
			take_file(side);
		return true;
	case FRAME_STOP:
		return true;
	case FRAME_READY:
	case FRAME_OUTCOME:
	case FRAME_UNFIT:
		break;
	}
	return false;
}

static bool read_at_hookd(enum frame_type type, struct byte_reader *body)
{
	struct sender_outcome outcome;
	char reason[UNFIT_SIZE];

	switch (type) {
	case FRAME_READY:
		return reader_is_done(body);
	case FRAME_OUTCOME:
		return frame_get_outcome(body, &outcome);
	case FRAME_UNFIT:
		return frame_get_unfit(body, reason);
	case FRAME_CONFIG:
	case FRAME_REQUEST:
	case FRAME_STOP:
		break;
	}
	return false;
}

static void end(struct side *side)
{
	channel_free(side->channel);
	side->channel = NULL;
}

static bool on_frame(void *user, enum frame_type type, struct byte_reader *body)
{
	struct side *side = user;

	promise(!side->closed && side->channel);
	promise(body->end - body->at <= CHANNEL_FRAME_MAX);
	if (!(side->is_sender ? read_at_sender(side, type, body) : read_at_hookd(type, body)))
		return false;
	if (side->frees_next)
		end(side);
	return true;
}

static void on_closed(void *user, const char *why)
{
	struct side *side = user;

	promise(!side->closed && why);
	side->closed = true;
	if (side->frees_next)
		end(side);
}

/* One call of sendmsg(2), with n descriptors of some file. */
static void send_piece(struct side *side, int fd, const uint8_t *bytes, size_t len, unsigned n)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(32 * sizeof(int))];
	} control = {.room = {0}};
	struct iovec part = {(void *)bytes, len};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (n) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
		for (unsigned i = 0; i < n; i++)
			memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &(int){STDERR_FILENO},
				sizeof(int));
	}
	if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		side->files_sent += n;
}

/* The lowest number that is free: the same before and after, when nothing was left open. */
static int free_descriptor(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

/* Each piece has a byte in front: how many bytes it takes of what is left (63: all of it), and in
 * the two high bits whether none, one or several descriptors go along. */
static void feed(
	struct side *side, struct event_base *base, int fd, const uint8_t *data, size_t size)
{
	for (int i = 0; i < PIECES_MAX && size > 1 && side->channel && !side->closed; i++) {
		static const unsigned files[] = {0, 0, 1, 17};
		size_t len = *data & 0x3f, left = size - 1;

		if (len == 0 || len == 0x3f || len > left)
			len = left;
		send_piece(side, fd, data + 1, len, files[*data >> 6]);
		data += 1 + len;
		size = left - len;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct channel_callbacks of_hookd = {on_frame, on_closed, false},
					      of_sender = {on_frame, on_closed, true};
	static struct event_base *base;
	struct side side = {0};
	int fds[2], before;

	if (size < 2)
		return 0;
	if (!base)
		base = event_base_new();
	side.is_sender = *data & 1;
	side.frees_next = *data & 2;
	before = free_descriptor();
	promise(base && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	promise(channel_new(&side.channel, base, fds[0], side.is_sender ? &of_sender : &of_hookd,
			&side) == 0);
	feed(&side, base, fds[1], data + 1, size - 1);
	close(fds[1]);
	for (int i = 0; i < 8 && side.channel && !side.closed; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	promise(!side.channel || side.closed); /* the other side is gone, and that was noticed */
	end(&side);
	promise(free_descriptor() == before);
	return 0;
}
