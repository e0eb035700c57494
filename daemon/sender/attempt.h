/*
 * An attempt: resolve, check, send, tell what came of it. The sender's whole work, once for each
 * request that hookd hands over.
 */
#pragma once

#include "../attempt_frame.h"

struct event_base;
struct attempts;

struct attempts_options {
	struct event_base *base; /* own_addresses.h says what it has to be like */
	const struct sender_config *config; /* borrowed for good */
	void (*done)(void *user, const struct sender_outcome *outcome);
	void *user;
};

/* Returns 0 or a negative errno. */
int attempts_new(struct attempts **attempts, const struct attempts_options *options);
void attempts_free(struct attempts *attempts);

/* Begins an attempt; everything of the request is copied. body_fd: the memory file with the body,
 * taken over, or -1. done is called once for it, perhaps at once. */
void attempts_begin(struct attempts *attempts, const struct sender_request *request, int body_fd);

size_t attempts_under_way(const struct attempts *attempts);
