/*
 * The store's reader thread: answers queries one after another, each from a short view of what was
 * last committed, and makes backups in a thread of their own. Internal to store.
 */
#pragma once

#include "mailbox.h"
#include "store.h"

struct reader;

struct reader_options {
	const struct engine_verbs *verbs;
	struct engine *engine;
	struct store_settings settings;
	struct mailbox *mailbox;
	void (*broken)(void *user); /* a query found that the store cannot be trusted; main loop */
	void *user;
};

int reader_new(struct reader **reader, const struct reader_options *options);
int reader_start(struct reader *reader);
void reader_stop(struct reader *reader); /* what waits is answered; a backup is cut off */
void reader_free(struct reader *reader); /* NULL is fine */

void reader_set_settings(struct reader *reader, const struct store_settings *settings);
void reader_ask(struct reader *reader, struct store_query *query);
bool reader_backup(struct reader *reader, struct store_backup *backup);
bool reader_is_backing_up(const struct reader *reader);
