/*
 * A disk as it may look after the power went: a model of a file system, fed with the log of
 * power_recorder.c.
 *
 * It knows for each file and each directory what is durable, and what was done since. From these an
 * image is made: all that is durable, and of the rest whatever a seed says. It assumes no more than
 * POSIX promises:
 *
 * - Bytes, size and preallocation of a file are durable after fsync(2) or fdatasync(2) of it; a
 *   write through an O_DSYNC descriptor is when it returns. Before, each sector of 512 bytes holds
 *   what it held at any moment since the last flush, whatever its neighbours hold.
 * - Names are durable after fsync(2) of their directory, and of no other. Before, each single
 * change may have happened or not; a rename happens wholly or not at all. fsync(2) of a new file
 * alone does not keep its name.
 * - Without its own name in its parent, a directory is lost with all that is in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "power_log.h"

struct disk;

/* What is left out of the model on purpose, to see what the tests notice. */
struct disk_faults {
	uint64_t directories_sync_until; /* so many records; then fsync of them does nothing */
};

struct disk *disk_new(const struct disk_faults *faults);
void disk_free(struct disk *disk);

/* Goes on by one record. The body has to stay where it is as long as the disk is used. */
void disk_apply(struct disk *disk, const struct power_record *record, const uint8_t *body);

enum disk_choice {
	DISK_DROP, /* all that is not durable is lost */
	DISK_KEEP, /* nothing is */
	DISK_CUT, /* of everything the beginning was kept, in its order */
	DISK_PAGES, /* each page of 4096 bytes for itself, names in their order */
	DISK_SECTORS, /* each sector of 512 bytes, each name */
	N_DISK_CHOICES
};

/* Makes the image below an existing empty directory. Exits when it cannot. */
void disk_make_image(
	struct disk *disk, const char *directory, enum disk_choice choice, uint64_t seed);

/* A number that depends on both, and looks random. */
uint64_t disk_mix(uint64_t seed, uint64_t value);
