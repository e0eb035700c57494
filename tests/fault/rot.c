/*
 * Bit rot on purpose: looks rows of a data file up by table, and flips bits of them where they lie.
 *
 *     rot FILE keys TABLE                          each row's key in hexadecimal, in order
 *     rot FILE flip TABLE ROW key|value BYTE MASK  of that row, counted from 0; BYTE from the end
 * if negative
 *
 * TABLE "-" is LMDB's own, of the tables' names, whose values say where each table begins.
 * LMDB is asked only where the row is; the byte is changed in the file behind its back, as a disk
 * would. hookd has to be stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lmdb.h>

#define TABLES_MAX 64

static void give_up(const char *what, int error)
{
	fprintf(stderr, "rot: %s: %s\n", what, error ? mdb_strerror(error) : "there is none");
	exit(1);
}

static void check(const char *what, int error)
{
	if (error)
		give_up(what, error);
}

/* Where the kernel has mapped the file. */
static const uint8_t *find_map(const char *path)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[4352], *resolved = realpath(path, NULL);
	unsigned long from = 0;

	while (maps && resolved && fgets(line, sizeof(line), maps)) {
		line[strcspn(line, "\n")] = '\0';
		if (strlen(line) > strlen(resolved) &&
			strcmp(line + strlen(line) - strlen(resolved), resolved) == 0) {
			from = strtoul(line, NULL, 16);
			break;
		}
	}
	if (maps)
		fclose(maps);
	free(resolved);
	if (!from)
		give_up("the map of the file", 0);
	return (const uint8_t *)from;
}

static void flip(const char *path, const uint8_t *place, const uint8_t *map, unsigned mask)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	uint8_t byte = (uint8_t)(*place ^ mask);

	if (fd < 0 || pwrite(fd, &byte, 1, place - map) != 1)
		give_up(path, errno);
	close(fd);
}

int main(int argc, char **argv)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;
	bool flipped = false;
	long row = 0;
	int r;

	if (argc != 4 && argc != 8) {
		fprintf(stderr,
			"rot FILE keys TABLE | rot FILE flip TABLE ROW key|value BYTE MASK\n");
		return 2;
	}
	check("create", mdb_env_create(&env));
	check("tables", mdb_env_set_maxdbs(env, TABLES_MAX));
	check(argv[1], mdb_env_open(env, argv[1], MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600));
	check("begin", mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	check(argv[3], mdb_dbi_open(txn, strcmp(argv[3], "-") == 0 ? NULL : argv[3], 0, &table));
	check("cursor", mdb_cursor_open(txn, table, &cursor));
	while ((r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		if (argc == 4) {
			for (size_t i = 0; i < key.mv_size; i++)
				printf("%02x", ((const uint8_t *)key.mv_data)[i]);
			putchar('\n');
		} else if (row++ == strtol(argv[4], NULL, 10)) {
			const MDB_val *part = strcmp(argv[5], "key") == 0 ? &key : &value;
			long byte = strtol(argv[6], NULL, 10);

			if (byte < 0)
				byte += (long)part->mv_size;
			if (byte < 0 || byte >= (long)part->mv_size)
				give_up("such a byte", 0);
			flip(argv[1], (const uint8_t *)part->mv_data + byte, find_map(argv[1]),
				(unsigned)strtoul(argv[7], NULL, 0));
			flipped = true;
			break;
		}
	}
	if (r != 0 && r != MDB_NOTFOUND)
		give_up("read", r);
	if (argc == 8 && !flipped)
		give_up("such a row", 0);
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return 0;
}
