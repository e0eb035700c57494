/*
 * The roof over what is stored: LMDB in its default, synced mode, one writer, commits of N events
 * of 1 KiB, ids in order.
 *
 *     roof_lmdb DIRECTORY three|hookd N SECONDS [PAUSE_MS]
 *
 * three: three rows an event (event, delivery, due). hookd: the rows of hookd's own, of the sizes
 * that doc/format.md tells: those, the index by state, the tally of the endpoint, and meta.
 * The file is laid out beforehand, as hookd's is. With a pause between commits the machine goes to
 * rest, as it does beside a hookd that has little to do. Prints "EVENTS_A_SECOND COMMIT_US": the
 * median.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lmdb.h>

#define FILE_SIZE (4ULL << 30)
#define COMMITS_MAX 1000000
#define PAYLOAD 1024

enum { EVENT, LIVE, DUE, STANDING, TALLY, META, N_TABLES };

static MDB_dbi tables[N_TABLES];
static MDB_txn *txn;
static bool all_rows;

static void check(int result, const char *what)
{
	if (result != 0) {
		fprintf(stderr, "roof_lmdb: %s: %s\n", what, mdb_strerror(result));
		exit(1);
	}
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void put(int table, const void *key, size_t key_len, size_t value_len)
{
	static const char bytes[PAYLOAD + 256];
	MDB_val k = {.mv_data = (void *)key, .mv_size = key_len};
	MDB_val v = {.mv_data = (void *)bytes, .mv_size = value_len};

	check(mdb_put(txn, tables[table], &k, &v, 0), "put");
}

/* Number and endpoint, big-endian, as ids and due times are: each above the one before. */
static void put_event(uint64_t n)
{
	struct {
		uint32_t endpoint;
		uint64_t due, id, low;
		uint32_t last;
	} __attribute__((packed)) key = {.endpoint = htobe32(1),
		.due = htobe64(n / 100),
		.id = htobe64(n),
		.last = htobe32(1)};

	put(EVENT, &key.id, 16, PAYLOAD + 80);
	put(LIVE, &key.id, 20, 51);
	put(DUE, &key, 28, 0);
	if (all_rows) {
		struct {
			uint32_t endpoint;
			uint8_t state;
			uint64_t id, low;
		} __attribute__((packed))
		standing = {.endpoint = key.endpoint, .state = 1, .id = key.id};

		put(STANDING, &standing, sizeof(standing), 0);
	}
}

static void open_environment(MDB_env **env, const char *directory)
{
	static const char *names[N_TABLES] = {"event", "live", "due", "standing", "tally", "meta"};
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/roof.mdb", directory);
	check(mdb_env_create(env), "create");
	check(mdb_env_set_mapsize(*env, FILE_SIZE), "mapsize");
	check(mdb_env_set_maxdbs(*env, N_TABLES), "maxdbs");
	check(mdb_env_open(*env, path, MDB_NOSUBDIR, 0600), path);
	check(mdb_env_get_fd(*env, &fd), "fd");
	if (fallocate(fd, 0, 0, FILE_SIZE) != 0)
		check(errno, "fallocate");
	check(mdb_txn_begin(*env, NULL, 0, &txn), "begin");
	for (int i = 0; i < N_TABLES; i++)
		check(mdb_dbi_open(txn, names[i], MDB_CREATE, &tables[i]), names[i]);
	check(mdb_txn_commit(txn), "commit");
	check(mdb_env_sync(*env, 1), "sync");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double took[COMMITS_MAX];
	uint64_t n = 0, batch, commits = 0;
	const uint32_t endpoint = htobe32(1);
	double start, end;
	MDB_env *env;

	if (argc < 5) {
		fprintf(stderr, "usage: roof_lmdb DIRECTORY three|hookd N SECONDS [PAUSE_MS]\n");
		return 1;
	}
	all_rows = strcmp(argv[2], "hookd") == 0;
	batch = strtoul(argv[3], NULL, 10);
	open_environment(&env, argv[1]);
	start = now_s();
	end = start + atof(argv[4]);
	while (now_s() < end && commits < COMMITS_MAX && n * 1600 < FILE_SIZE) {
		double began = now_s();

		check(mdb_txn_begin(env, NULL, 0, &txn), "begin");
		for (uint64_t i = 0; i < batch; i++)
			put_event(n++);
		if (all_rows) {
			put(TALLY, &endpoint, sizeof(endpoint), 120);
			put(META, "hookd", 5, 60);
		}
		check(mdb_txn_commit(txn), "commit");
		took[commits++] = now_s() - began;
		if (argc > 5)
			usleep((useconds_t)atoi(argv[5]) * 1000);
	}
	end = now_s();
	qsort(took, commits, sizeof(took[0]), compare);
	printf("%.0f %.1f\n", (double)n / (end - start), took[commits / 2] * 1e6);
	mdb_env_close(env);
	return 0;
}
