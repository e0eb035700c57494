/*
 * Letters from the store's threads to the main loop: posted from any thread, opened on the loop in
 * the order of posting.
 */
#pragma once

struct event_base;
struct mailbox;

struct letter {
	struct letter *next;
	void (*open)(struct letter *letter);
};

/* Returns 0 or a negative errno. */
int mailbox_new(struct mailbox **mailbox, struct event_base *base);
void mailbox_free(
	struct mailbox *mailbox); /* what was posted and not opened is opened first; NULL is fine */
void mailbox_post(struct mailbox *mailbox, struct letter *letter);
