#include "mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

struct mailbox {
	pthread_mutex_t mutex; /* guards first and last */
	struct letter *first, **last;
	int fd; /* an eventfd, readable while there are letters */
	struct event *readable;
};

static void open_all(struct mailbox *mailbox)
{
	struct letter *letter;

	pthread_mutex_lock(&mailbox->mutex);
	letter = mailbox->first;
	mailbox->first = NULL;
	mailbox->last = &mailbox->first;
	pthread_mutex_unlock(&mailbox->mutex);
	while (letter) {
		struct letter *next = letter->next; /* opening may free it */

		letter->open(letter);
		letter = next;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0)
		return; /* woken for nothing */
	open_all(user);
}

int mailbox_new(struct mailbox **result, struct event_base *base)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	int error;

	if (!mailbox)
		return -ENOMEM;
	pthread_mutex_init(&mailbox->mutex, NULL);
	mailbox->last = &mailbox->first;
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mailbox->fd < 0) {
		error = errno;
		free(mailbox);
		return -error;
	}
	mailbox->readable =
		event_new(base, mailbox->fd, EV_READ | EV_PERSIST, on_readable, mailbox);
	if (!mailbox->readable || event_add(mailbox->readable, NULL) < 0) {
		mailbox_free(mailbox);
		return -ENOMEM;
	}
	*result = mailbox;
	return 0;
}

void mailbox_free(struct mailbox *mailbox)
{
	if (!mailbox)
		return;
	open_all(mailbox);
	if (mailbox->readable)
		event_free(mailbox->readable);
	close(mailbox->fd);
	pthread_mutex_destroy(&mailbox->mutex);
	free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct letter *letter)
{
	uint64_t one = 1;
	int was_empty;

	letter->next = NULL;
	pthread_mutex_lock(&mailbox->mutex);
	was_empty = !mailbox->first;
	*mailbox->last = letter;
	mailbox->last = &letter->next;
	pthread_mutex_unlock(&mailbox->mutex);
	if (was_empty && write(mailbox->fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: its counter is full, so it is readable */
}
