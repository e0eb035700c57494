/*
 * The files of the machine that senders read when they start, and never again: resolv.conf, hosts,
 * and the certificates of the authorities. When one of them changes, new senders have to take over.
 *
 * They are looked at by their metadata, every few seconds: they may be links, into directories that
 * are not there yet, and are replaced as often as they are written.
 */
#pragma once

#include <stdint.h>

#define HOST_FILES 3

struct host_files {
	struct {
		uint64_t device, inode;
		int64_t size, changed_s, changed_ns; /* all 0: it is not there */
	} stamps[HOST_FILES];
};

/* Takes a look. */
void host_files_look(struct host_files *files, const char *ca_file);

/* The path of one that was another at the earlier look; NULL: all are the same. */
const char *host_files_changed(
	const struct host_files *earlier, const struct host_files *now, const char *ca_file);
