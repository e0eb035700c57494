/*
 * The files of the machine that senders read when they start, and never again: resolv.conf, hosts,
 * and the certificates of the authorities. When one of them changes, new senders have to take over.
 *
 * They may be links, into directories that are not there yet, and are replaced as often as they are
 * written. So inotify(7) watches every directory on the way to each, and the file itself; what it
 * tells is only that something may have happened. Whether a file is another one is then seen from
 * its metadata, and told once these have been the same for a second: a file that is being written
 * shall be read when it is whole. Nothing is polled. Owned by the main thread.
 */
#pragma once

struct event_base;
struct host_files;

/* path: which of them has changed since host_files_mark(). */
typedef void host_files_changed_fn(const char *path, void *user);

/* Returns 0 or a negative errno. */
int host_files_new(struct host_files **files, struct event_base *base,
	host_files_changed_fn *changed, void *user);
void host_files_free(struct host_files *files); /* NULL is fine */

/* Senders read them now. What changes from here on will be told. */
void host_files_mark(struct host_files *files, const char *ca_file);
