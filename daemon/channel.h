/*
 * The narrow way between hookd and a sender: a socket pair with length-prefixed frames,
 * doc/format.md.
 *
 * Frames that are sent within one turn of the loop leave together. Payloads above 64 KiB do not
 * travel in a frame: a sealed memory file goes along with it. What arrives is only bytes here; who
 * reads a frame treats it as made by an enemy.
 *
 * Used by both processes, each on its main loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#define CHANNEL_VERSION 2
#define CHANNEL_FRAME_MAX (512 * 1024)
#define CHANNEL_INLINE_MAX 65536

enum frame_type {
	/* To the sender */
	FRAME_CONFIG = 1, /* first of all, once */
	FRAME_REQUEST, /* make an attempt */
	FRAME_STOP, /* finish what is under way, then exit */
	/* To hookd */
	FRAME_READY = 16, /* the configuration is in force, the sender confined */
	FRAME_OUTCOME, /* of an attempt */
	FRAME_UNFIT /* the sender cannot work, for this reason, and exits */
};

struct event_base;
struct channel;

struct channel_callbacks {
	/* A frame's content. Returns false when it is not understood, which ends the channel. */
	bool (*frame)(void *user, enum frame_type type, struct byte_reader *body);
	/* The other side is gone, or sent nonsense; called once, the channel may be freed in it. */
	void (*closed)(void *user, const char *why);
	/* May files come along with frames? Those that come nevertheless end the channel. */
	bool takes_files;
};

/* Takes the descriptor over. Returns 0 or -ENOMEM (the descriptor is closed). */
int channel_new(struct channel **channel, struct event_base *base, int fd,
	const struct channel_callbacks *callbacks, void *user);
void channel_free(struct channel *channel); /* NULL is fine */

/* A frame being written: room for size bytes; channel_send() sends what was put there. NULL without
 * memory. */
struct frame;
struct frame *frame_new(enum frame_type type, size_t size, struct byte_writer *body);
void frame_free(struct frame *frame);

/* Takes the frame over, and the descriptor that travels with it (-1: none). */
void channel_send(
	struct channel *channel, struct frame *frame, const struct byte_writer *body, int fd);

/* Frames leave later in the turn of the loop in which they are sent. This sees to it that they
 * leave now, as far as there is room. */
void channel_flush(struct channel *channel);

/* The descriptor that came with the frame being read; the caller's to close. -1: there is none, or
 * there was no room for it among this process's descriptors. */
int channel_take_fd(struct channel *channel);

/* Is everything sent? */
bool channel_is_idle(const struct channel *channel);

/* A sealed memory file with these bytes. Returns a descriptor or a negative errno. */
int channel_seal(const void *bytes, size_t len);
