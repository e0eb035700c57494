/*
 * The log of a daemon's doings with its disk, as power_recorder.c writes and power_replay.c reads
 * it.
 *
 * It is one file, to which every process appends whole records with single write calls, so that its
 * order is the order of what happened. Two rules make cuts through it mean something. What may
 * change the disk is logged before it is done: an image cut in front of a record cannot contain it.
 * What promises something is logged after it was kept, if it is the disk that promises (a flush),
 * and before it is said, if it is hookd (an answer). So every image cut behind an answer has to
 * hold what the answer says.
 *
 * Files are named by their inode, which is theirs until it is given to a new file.
 */
#pragma once

#include <stdint.h>

enum power_kind {
	POWER_START = 1, /* a process begins; inode: of the directory under which all is recorded */
	POWER_CREATE, /* a file, made; body: its path below that directory */
	POWER_MAKE_DIRECTORY, /* body: its path */
	POWER_WRITE, /* offset; body: the bytes */
	POWER_WRITTEN, /* this thread's last write is on disk: the descriptor was O_DSYNC */
	POWER_TRUNCATE, /* offset: the new size */
	POWER_ALLOCATE, /* offset: the size that the file has now at least */
	POWER_RENAME, /* body: old path, NUL, new path */
	POWER_LINK, /* the same: the old path stays */
	POWER_UNLINK, /* body: the path */
	POWER_SYNC_BEGIN, /* of a file, or of a directory's entries */
	POWER_SYNC_END, /* what this thread began: what was there at its beginning is on disk */
	POWER_ANSWER, /* body: bytes that leave through a Unix socket */
	POWER_MARK, /* body: a line of whoever makes the load, see power_facts.h */
};

struct power_record {
	uint32_t length; /* of the body, which follows */
	uint32_t kind;
	uint32_t thread;
	uint32_t unused;
	uint64_t inode;
	uint64_t offset;
} __attribute__((packed)); /* they follow each other without gaps */
