#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop.h"

#define HEAD_LEN 5 /* length of what follows the type, type */
#define WRITE_FRAMES 64
#define READ_SIZE 65536
#define FDS_MAX 256

struct frame {
	struct frame *next;
	size_t len, sent;
	size_t size; /* of bytes */
	int fd; /* travels with the first byte; -1 */
	uint8_t bytes[];
};

struct channel {
	int fd;
	const struct channel_callbacks *callbacks;
	void *user;
	struct event *readable, *writable, *flush;
	struct frame *first, **last;

	uint8_t *input;
	size_t used, size;
	int fds[FDS_MAX]; /* that arrived and were not taken yet, in order; -1: that got lost */
	size_t n_fds;
	bool closed;
	bool *freed; /* set when a callback frees the channel */
};

static void close_with(struct channel *c, const char *why)
{
	if (c->closed)
		return;
	c->closed = true;
	event_del(c->readable);
	event_del(c->writable);
	c->callbacks->closed(c->user, why);
}

/* ---- Sending ---- */

struct frame *frame_new(enum frame_type type, size_t size, struct byte_writer *body)
{
	struct frame *frame = malloc(sizeof(*frame) + HEAD_LEN + size);

	if (!frame)
		return NULL;
	*frame = (struct frame){.size = HEAD_LEN + size, .fd = -1};
	frame->bytes[4] = (uint8_t)type;
	*body = (struct byte_writer){.at = frame->bytes + HEAD_LEN, .size = size};
	return frame;
}

void frame_free(struct frame *frame)
{
	if (!frame)
		return;
	if (frame->fd >= 0)
		close(frame->fd);
	explicit_bzero(frame->bytes, frame->size); /* the values of headers are secrets */
	free(frame);
}

/* Collects frames for one call: as many as fit, but one with a descriptor begins a call of its own.
 */
static int gather(const struct channel *c, struct iovec *parts)
{
	int n = 0;

	for (struct frame *f = c->first; f && n < WRITE_FRAMES; f = f->next) {
		if (n > 0 && f->fd >= 0)
			break;
		parts[n++] = (struct iovec){f->bytes + f->sent, f->len - f->sent};
	}
	return n;
}

static void drop_sent(struct channel *c, size_t n)
{
	while (c->first) {
		struct frame *f = c->first;
		size_t left = f->len - f->sent;

		if (n > 0 && f->fd >= 0) { /* went along with the first byte */
			close(f->fd);
			f->fd = -1;
		}
		if (n < left) {
			f->sent += n;
			return;
		}
		n -= left;
		c->first = f->next;
		if (!c->first)
			c->last = &c->first;
		frame_free(f);
	}
}

void channel_flush(struct channel *c)
{
	while (c->first && !c->closed) {
		struct iovec parts[WRITE_FRAMES];
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)gather(c, parts)};
		union {
			struct cmsghdr head;
			char room[CMSG_SPACE(sizeof(int))];
		} control = {0};
		ssize_t n;

		if (c->first->fd >= 0) {
			message.msg_control = &control;
			message.msg_controllen = sizeof(control);
			control.head.cmsg_level = SOL_SOCKET;
			control.head.cmsg_type = SCM_RIGHTS;
			control.head.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&control.head), &c->first->fd, sizeof(int));
		}
		n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			loop_add(c->writable, NULL);
			return;
		}
		if (n < 0) {
			close_with(c, strerror(errno));
			return;
		}
		drop_sent(c, (size_t)n);
	}
}

static void on_flush(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	channel_flush(user);
}

void channel_send(struct channel *c, struct frame *frame, const struct byte_writer *body, int fd)
{
	frame->fd = fd;
	if (body->overflow || body->used > CHANNEL_FRAME_MAX || c->closed) {
		frame_free(frame);
		return;
	}
	for (int i = 0; i < 4; i++)
		frame->bytes[i] = (uint8_t)(body->used >> (24 - 8 * i));
	frame->len = HEAD_LEN + body->used;
	frame->next = NULL;
	*c->last = frame;
	c->last = &frame->next;
	event_active(c->flush, EV_TIMEOUT, 0); /* later in this turn of the loop */
}

bool channel_is_idle(const struct channel *c)
{
	return !c->first;
}

int channel_seal(const void *bytes, size_t len)
{
	int fd = memfd_create("hookd-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t written = 0;
	int error;

	if (fd < 0)
		return -errno;
	while (written < len) {
		ssize_t n = write(fd, (const uint8_t *)bytes + written, len - written);

		if (n < 0 && errno != EINTR) {
			error = errno;
			close(fd);
			return -error;
		}
		written += n > 0 ? (size_t)n : 0;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* ---- Receiving ---- */

int channel_take_fd(struct channel *c)
{
	int fd;

	if (c->n_fds == 0)
		return -1;
	fd = c->fds[0];
	memmove(c->fds, c->fds + 1, --c->n_fds * sizeof(c->fds[0]));
	return fd;
}

/*
 * Keeps the descriptors of a message. Returns false when there are more than anybody would send.
 *
 * One that found no number free in this process is lost. Its place is kept: without it the next one
 * would be taken for it, and a body would go to another body's receiver.
 */
static bool keep_fds(struct channel *c, struct msghdr *message)
{
	bool lost = message->msg_flags & MSG_CTRUNC, ok = true;
	size_t before = c->n_fds;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (c->n_fds == FDS_MAX) {
				close(fd);
				ok = false;
			} else {
				c->fds[c->n_fds++] = fd;
			}
		}
	}
	if (lost && (c->n_fds > before || c->n_fds == FDS_MAX))
		return false;
	if (lost)
		c->fds[c->n_fds++] = -1;
	return ok;
}

static bool make_room(struct channel *c)
{
	size_t size = c->size ? 2 * c->size : 2 * READ_SIZE;
	uint8_t *grown;

	if (c->size - c->used >= READ_SIZE)
		return true;
	grown = realloc(c->input, size);
	if (!grown)
		return false;
	c->input = grown;
	c->size = size;
	return true;
}

/* Hands the frames that are whole to their reader, until one of them ends the channel. */
static void read_frames(struct channel *c, const bool *freed)
{
	size_t at = 0;

	while (c->used - at >= HEAD_LEN) {
		struct byte_reader head = {c->input + at, c->input + at + HEAD_LEN, false}, body;
		uint32_t len = get_u32(&head);
		enum frame_type type = get_u8(&head);
		bool understood;

		if (len > CHANNEL_FRAME_MAX) {
			close_with(c, "a frame is too long");
			return;
		}
		if (c->used - at - HEAD_LEN < len)
			break;
		body = (struct byte_reader){
			c->input + at + HEAD_LEN, c->input + at + HEAD_LEN + len, false};
		understood = c->callbacks->frame(c->user, type, &body);
		if (*freed || c->closed)
			return;
		if (!understood) {
			close_with(c, "a frame was not understood");
			return;
		}
		at += HEAD_LEN + len;
	}
	memmove(c->input, c->input + at, c->used - at);
	c->used -= at;
}

/* Callbacks may free the channel: it says so through c->freed. */
static void read_input(struct channel *c)
{
	bool freed = false;

	/* Taken back below, unless c is gone. */
	/* cppcheck-suppress autoVariables */
	c->freed = &freed;
	read_frames(c, &freed);
	if (!freed)
		c->freed = NULL;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct channel *c = user;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(16 * sizeof(int))];
	} control;
	struct iovec part;
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n;

	(void)what;
	if (!c->callbacks->takes_files) { /* the kernel closes them */
		message.msg_control = NULL;
		message.msg_controllen = 0;
	}
	if (!make_room(c)) {
		close_with(c, "out of memory");
		return;
	}
	/* cppcheck-suppress unreadVariable ; message leads to it */
	part = (struct iovec){c->input + c->used, c->size - c->used};
	n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close_with(c, n == 0 ? "it is gone" : strerror(errno));
		return;
	}
	if (!c->callbacks->takes_files && message.msg_flags & MSG_CTRUNC) {
		close_with(c, "a descriptor came along");
		return;
	}
	if (!keep_fds(c, &message)) {
		close_with(c, "too many descriptors");
		return;
	}
	c->used += (size_t)n;
	read_input(c);
}

/* ---- Life ---- */

int channel_new(struct channel **channel, struct event_base *base, int fd,
	const struct channel_callbacks *callbacks, void *user)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->callbacks = callbacks;
	c->user = user;
	c->last = &c->first;
	c->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writable = event_new(base, fd, EV_WRITE, on_flush, c);
	c->flush = event_new(base, -1, 0, on_flush, c);
	if (!c->readable || !c->writable || !c->flush || event_add(c->readable, NULL) < 0) {
		channel_free(c);
		return -ENOMEM;
	}
	*channel = c;
	return 0;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	if (c->freed)
		*c->freed = true;
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	if (c->flush)
		event_free(c->flush);
	while (c->first) {
		struct frame *next = c->first->next;

		frame_free(c->first);
		c->first = next;
	}
	for (size_t i = 0; i < c->n_fds; i++) {
		if (c->fds[i] >= 0)
			close(c->fds[i]);
	}
	close(c->fd);
	free(c->input);
	free(c);
}
