#include "power_disk.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define PAGE 4096

/* What was done to a file, or to the names in a directory, and is not durable yet. */
struct change {
	uint64_t at; /* which record of the log it was */
	enum power_kind kind;
	uint32_t thread;
	uint64_t offset; /* of a file's bytes, or its size */
	const uint8_t *bytes;
	size_t len;
	char name[NAME_MAX + 1], new_name[NAME_MAX + 1]; /* of a directory's */
	struct node *node;
};

struct name {
	char name[NAME_MAX + 1];
	struct node *node;
};

struct node {
	struct node *next; /* of all there ever were */
	uint64_t inode;
	bool is_directory,
		is_shared_map; /* LMDB's table of readers, which is written through a map */
	/* Durable: */
	uint8_t *bytes;
	size_t size, capacity; /* behind size all is zero */
	struct name *names;
	size_t n_names;
	/* Not yet: */
	struct change *changes;
	size_t n_changes, changes_capacity;
};

/* A flush that a thread has begun. */
struct flush {
	uint32_t thread;
	uint64_t inode, at;
};

struct disk {
	struct disk_faults faults;
	struct node *nodes, *root;
	uint64_t at;
	struct flush flushes[64];
	size_t n_flushes;
	uint8_t *room; /* in which files of images are put together */
	size_t room_size;
};

uint64_t disk_mix(uint64_t seed, uint64_t value)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15 + value + 0x632be59bd9b4e019;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* ---- Nodes and names ---- */

static void *grow(void *array, size_t n, size_t *capacity, size_t size)
{
	if (n < *capacity)
		return array;
	*capacity = *capacity ? 2 * *capacity : 16;
	array = realloc(array, *capacity * size);
	if (!array)
		err(2, "memory");
	return array;
}

static struct node *add_node(struct disk *disk, uint64_t inode, bool is_directory)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		err(2, "memory");
	node->next = disk->nodes;
	node->inode = inode;
	node->is_directory = is_directory;
	disk->nodes = node;
	return node;
}

/* The latest that has the inode: before, it may have been another's. */
static struct node *node_of(struct disk *disk, uint64_t inode)
{
	struct node *node = disk->nodes;

	while (node && node->inode != inode)
		node = node->next;
	if (!node)
		errx(2, "the log speaks of inode %llu, which nobody made",
			(unsigned long long)inode);
	return node;
}

static struct change *add_change(
	struct disk *disk, struct node *node, const struct power_record *record)
{
	struct change *change;

	node->changes = grow(
		node->changes, node->n_changes, &node->changes_capacity, sizeof(*node->changes));
	change = &node->changes[node->n_changes++];
	*change = (struct change){.at = disk->at,
		.kind = record->kind,
		.thread = record->thread,
		.offset = record->offset};
	return change;
}

static struct name *find_name(struct name *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i].name, name) == 0)
			return &names[i];
	}
	return NULL;
}

static void drop_name(struct name *names, size_t *n, const char *name)
{
	struct name *found = find_name(names, *n, name);

	if (found)
		*found = names[--*n];
}

/* names has room for one more. */
static void put_name(struct name *names, size_t *n, const char *name, struct node *node)
{
	struct name *found = find_name(names, *n, name);

	if (!found) {
		found = &names[(*n)++];
		snprintf(found->name, sizeof(found->name), "%s", name);
	}
	found->node = node;
}

static void change_names(struct name *names, size_t *n, const struct change *change)
{
	switch (change->kind) {
	case POWER_CREATE:
	case POWER_MAKE_DIRECTORY:
		put_name(names, n, change->name, change->node);
		break;
	case POWER_RENAME:
		drop_name(names, n, change->name);
		put_name(names, n, change->new_name, change->node);
		break;
	case POWER_LINK:
		put_name(names, n, change->new_name, change->node);
		break;
	case POWER_UNLINK:
		drop_name(names, n, change->name);
		break;
	default:
		errx(2, "a directory with bytes");
	}
}

/* The names as processes see them: the durable ones and all changes. n has to be let go by free().
 */
static struct name *current_names(const struct node *directory, size_t *n)
{
	struct name *names = calloc(directory->n_names + directory->n_changes + 1, sizeof(*names));

	if (!names)
		err(2, "memory");
	*n = directory->n_names;
	if (*n)
		memcpy(names, directory->names, *n * sizeof(*names));
	for (size_t i = 0; i < directory->n_changes; i++)
		change_names(names, n, &directory->changes[i]);
	return names;
}

static struct node *look_up(const struct node *directory, const char *name)
{
	size_t n;
	struct name *names = current_names(directory, &n), *found = find_name(names, n, name);
	struct node *node = found ? found->node : NULL;

	free(names);
	if (!node)
		errx(2, "the log speaks of %s, which nobody made", name);
	return node;
}

/* Goes down a path to the directory of its last part, which is copied to name. */
static struct node *walk(
	struct disk *disk, const uint8_t *path, size_t len, char name[static NAME_MAX + 1])
{
	struct node *directory = disk->root;
	const uint8_t *slash;

	while ((slash = memchr(path, '/', len))) {
		snprintf(name, NAME_MAX + 1, "%.*s", (int)(slash - path), (const char *)path);
		directory = look_up(directory, name);
		len -= (size_t)(slash + 1 - path);
		path = slash + 1;
	}
	snprintf(name, NAME_MAX + 1, "%.*s", (int)len, (const char *)path);
	return directory;
}

/* ---- Files ---- */

static void set_size(struct node *node, size_t size)
{
	if (size > node->capacity) {
		size_t capacity = size + size / 2;

		node->bytes = realloc(node->bytes, capacity);
		if (!node->bytes)
			err(2, "memory");
		memset(node->bytes + node->capacity, 0, capacity - node->capacity);
		node->capacity = capacity;
	}
	if (size < node->size)
		memset(node->bytes + size, 0, node->size - size);
	node->size = size;
}

static size_t size_after(size_t size, const struct change *change)
{
	size_t end = change->offset + (change->kind == POWER_WRITE ? change->len : 0);

	return change->kind == POWER_TRUNCATE || end > size ? end : size;
}

static void make_durable(struct node *node, const struct change *change)
{
	if (node->is_directory) {
		node->names = reallocarray(node->names, node->n_names + 1, sizeof(*node->names));
		if (!node->names)
			err(2, "memory");
		change_names(node->names, &node->n_names, change);
		return;
	}
	set_size(node, size_after(node->size, change));
	if (change->kind == POWER_WRITE && change->len)
		memcpy(node->bytes + change->offset, change->bytes, change->len);
}

static void flush_before(struct node *node, uint64_t at)
{
	size_t n = 0;

	while (n < node->n_changes && node->changes[n].at < at)
		make_durable(node, &node->changes[n++]);
	node->n_changes -= n;
	memmove(node->changes, node->changes + n, node->n_changes * sizeof(*node->changes));
}

static bool overlap(const struct change *a, const struct change *b)
{
	return a->kind == POWER_WRITE && a->offset < b->offset + b->len &&
		b->offset < a->offset + a->len;
}

/* The thread's last write is on disk, and with it what it was written over. */
static void flush_write(struct node *node, uint32_t thread)
{
	size_t last = node->n_changes, kept = 0;

	while (last > 0 && node->changes[last - 1].thread != thread)
		last--;
	assert(last > 0);
	struct change written = node->changes[last - 1];

	for (size_t i = 0; i < node->n_changes; i++) {
		if (i < last && overlap(&node->changes[i], &written))
			make_durable(node, &node->changes[i]);
		else
			node->changes[kept++] = node->changes[i];
	}
	node->n_changes = kept;
}

/* ---- The log ---- */

struct disk *disk_new(const struct disk_faults *faults)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		err(2, "memory");
	disk->faults = *faults;
	return disk;
}

void disk_free(struct disk *disk)
{
	while (disk->nodes) {
		struct node *node = disk->nodes;

		disk->nodes = node->next;
		free(node->bytes);
		free(node->names);
		free(node->changes);
		free(node);
	}
	free(disk->room);
	free(disk);
}

static void change_name(struct disk *disk, const struct power_record *record, const uint8_t *body,
	struct node *node)
{
	char name[NAME_MAX + 1];
	size_t len = strnlen((const char *)body, record->length);
	struct node *directory = walk(disk, body, len, name);
	bool has_new_name = record->kind == POWER_RENAME || record->kind == POWER_LINK;
	struct change *change;

	if (has_new_name)
		node = look_up(directory, name);
	change = add_change(disk, directory, record);
	change->node = node;
	memcpy(change->name, name, sizeof(name));
	if (has_new_name &&
		walk(disk, body + len + 1, record->length - len - 1, change->new_name) != directory)
		errx(2, "a new name in another directory is not in the model");
	if (record->kind == POWER_CREATE)
		node->is_shared_map = strstr(name, "-lock") != NULL;
}

static void begin_flush(struct disk *disk, const struct power_record *record)
{
	assert(disk->n_flushes < sizeof(disk->flushes) / sizeof(disk->flushes[0]));
	disk->flushes[disk->n_flushes++] = (struct flush){record->thread, record->inode, disk->at};
}

static void end_flush(struct disk *disk, const struct power_record *record)
{
	struct node *node = node_of(disk, record->inode);
	size_t i = 0;

	while (i < disk->n_flushes &&
		(disk->flushes[i].thread != record->thread ||
			disk->flushes[i].inode != record->inode))
		i++;
	assert(i < disk->n_flushes);
	if (!node->is_directory || disk->at <= disk->faults.directories_sync_until)
		flush_before(node, disk->flushes[i].at);
	disk->flushes[i] = disk->flushes[--disk->n_flushes];
}

void disk_apply(struct disk *disk, const struct power_record *record, const uint8_t *body)
{
	struct change *change;

	disk->at++;
	switch ((enum power_kind)record->kind) {
	case POWER_START:
		if (!disk->root)
			disk->root = add_node(disk, record->inode, true);
		disk->n_flushes = 0; /* of a process that was killed */
		break;
	case POWER_CREATE:
		change_name(disk, record, body, add_node(disk, record->inode, false));
		break;
	case POWER_MAKE_DIRECTORY:
		change_name(disk, record, body, add_node(disk, record->inode, true));
		break;
	case POWER_RENAME:
	case POWER_LINK:
	case POWER_UNLINK:
		change_name(disk, record, body, NULL);
		break;
	case POWER_WRITE:
	case POWER_TRUNCATE:
	case POWER_ALLOCATE:
		change = add_change(disk, node_of(disk, record->inode), record);
		change->bytes = body;
		change->len = record->length;
		break;
	case POWER_WRITTEN:
		flush_write(node_of(disk, record->inode), record->thread);
		break;
	case POWER_SYNC_BEGIN:
		begin_flush(disk, record);
		break;
	case POWER_SYNC_END:
		end_flush(disk, record);
		break;
	case POWER_ANSWER:
	case POWER_MARK:
		break;
	}
}

/* ---- Images ---- */

/* Up to which of n changes something was kept: 0 for none of them. unit: what is decided for
 * itself. */
static size_t choose(enum disk_choice choice, uint64_t seed, uint64_t unit, size_t n)
{
	uint64_t random = disk_mix(seed, unit);

	switch (choice) {
	case DISK_DROP:
		return 0;
	case DISK_KEEP:
		return n;
	case DISK_CUT:
		return disk_mix(seed, 0) % (n + 1);
	case DISK_PAGES:
	case DISK_SECTORS:
	case N_DISK_CHOICES:
		break;
	}
	/* Old and new alike often, and sometimes what was there in between. */
	switch (random % 8) {
	case 0 ... 2:
		return 0;
	case 3 ... 5:
		return n;
	default:
		return random / 8 % (n + 1);
	}
}

struct image {
	struct disk *disk;
	enum disk_choice choice;
	uint64_t seed;
};

/* One change, where it survived, sector by sector. */
static void add_survivors(
	const struct image *image, const struct node *node, size_t i, uint8_t *bytes, size_t size)
{
	const struct change *change = &node->changes[i];
	size_t unit = image->choice == DISK_PAGES ? PAGE : SECTOR;
	size_t at = change->offset, end = at + change->len;

	if (change->kind == POWER_ALLOCATE)
		return;
	if (change->kind == POWER_TRUNCATE || end > size)
		end = size;
	while (at < end) {
		size_t next = (at / SECTOR + 1) * SECTOR;

		if (next > end)
			next = end;
		if (i < choose(image->choice, image->seed, at / unit + 1, node->n_changes)) {
			if (change->kind == POWER_WRITE)
				memcpy(bytes + at, change->bytes + (at - change->offset),
					next - at);
			else
				memset(bytes + at, 0, next - at);
		}
		at = next;
	}
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
	static const uint8_t zeros[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		err(2, "%s", path);
	for (size_t at = 0; at < size;) {
		size_t len = size - at < sizeof(zeros) ? size - at : sizeof(zeros);

		if (memcmp(bytes + at, zeros, len) != 0 &&
			pwrite(fd, bytes + at, len, (off_t)at) != (ssize_t)len)
			err(2, "%s", path);
		at += len;
	}
	close(fd);
}

/* What a map leaves on disk may be anything. */
static void scribble(const struct image *image, uint8_t *bytes, size_t size)
{
	if (image->choice == DISK_DROP || image->choice == DISK_KEEP)
		return;
	for (size_t at = 0; at < size; at++)
		bytes[at] = (uint8_t)disk_mix(image->seed, at);
}

static uint8_t *room_for(struct disk *disk, size_t size)
{
	if (size >= disk->room_size) {
		disk->room_size = size + 1;
		disk->room = realloc(disk->room, disk->room_size);
		if (!disk->room)
			err(2, "memory");
	}
	return disk->room;
}

static void make_file(const struct image *image, const struct node *node, const char *path)
{
	size_t survived = choose(image->choice, image->seed, 0, node->n_changes);
	size_t size = node->size;
	size_t kept = node->size;
	uint8_t *bytes;

	for (size_t i = 0; i < survived; i++)
		size = size_after(size, &node->changes[i]);
	if (kept > size)
		kept = size;
	bytes = room_for(image->disk, size);
	if (kept)
		memcpy(bytes, node->bytes, kept);
	memset(bytes + kept, 0, size - kept);
	for (size_t i = 0; i < node->n_changes; i++)
		add_survivors(image, node, i, bytes, size);
	if (node->is_shared_map)
		scribble(image, bytes, size);
	write_file(path, bytes, size);
}

static struct name *surviving_names(
	const struct image *image, const struct node *directory, size_t *n)
{
	struct name *names = calloc(directory->n_names + directory->n_changes + 1, sizeof(*names));
	size_t cut = choose(image->choice == DISK_PAGES ? DISK_CUT : image->choice, image->seed, 0,
		directory->n_changes);

	if (!names)
		err(2, "memory");
	*n = directory->n_names;
	if (*n)
		memcpy(names, directory->names, *n * sizeof(*names));
	for (size_t i = 0; i < directory->n_changes; i++) {
		bool survived = image->choice == DISK_SECTORS
			? disk_mix(image->seed, directory->changes[i].at) % 2 == 0
			: i < cut;

		if (survived)
			change_names(names, n, &directory->changes[i]);
	}
	return names;
}

static void make_directory(
	const struct image *image, const struct node *directory, const char *path)
{
	size_t n;
	struct name *names = surviving_names(image, directory, &n);

	for (size_t i = 0; i < n; i++) {
		const struct node *node = names[i].node;
		struct image own = {image->disk, image->choice, disk_mix(image->seed, node->inode)};
		char child[PATH_MAX];

		snprintf(child, sizeof(child), "%s/%s", path, names[i].name);
		if (!node->is_directory)
			make_file(&own, node, child);
		else if (mkdir(child, 0700) < 0)
			err(2, "%s", child);
		else
			make_directory(&own, node, child);
	}
	free(names);
}

void disk_make_image(
	struct disk *disk, const char *directory, enum disk_choice choice, uint64_t seed)
{
	struct image image = {disk, choice, seed};

	if (disk->root)
		make_directory(&image, disk->root, directory);
}
