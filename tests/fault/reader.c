/*
 * Somebody who reads an old state of a data file and does not stop: opens it as any program with
 * LMDB can, begins a transaction, says so, and holds it until its standard input ends.
 *
 *     reader FILE
 */
#include <stdio.h>

#include <lmdb.h>

int main(int argc, char **argv)
{
	MDB_env *env;
	MDB_txn *txn;
	int r = argc == 2 ? mdb_env_create(&env) : MDB_INVALID;

	if (r == 0)
		r = mdb_env_open(env, argv[1], MDB_NOSUBDIR | MDB_RDONLY, 0600);
	if (r == 0)
		r = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (r) {
		fprintf(stderr, "reader: %s\n", mdb_strerror(r));
		return 1;
	}
	puts("reading");
	fflush(stdout);
	while (getchar() != EOF)
		;
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return 0;
}
