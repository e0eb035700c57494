/*
 * Changes the data file of a hookd that is stopped, as somebody would who has the file and this
 * program's source, but not the master key: with every checksum right.
 *
 *     edit_data FILE flip NUMBER BIT       a bit of the sealed box of an endpoint
 *     edit_data FILE cut NUMBER BYTES      so many from the end of the box
 *     edit_data FILE swap NUMBER NUMBER    the boxes of two endpoints
 *     edit_data FILE schema SCHEMA 0       what the file says its schema is
 *     edit_data FILE show NUMBER 0         the ids of the master keys: the file's, and the box's
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/secretbox.h"
#include "../../daemon/store/lmdb_engine.h"

#define RECORD_SIZE 65536

/* An endpoint's record, taken apart: what is in front of the box and of its length, and the box. */
struct opened {
	uint32_t number;
	uint8_t head[RECORD_SIZE], box[RECORD_SIZE];
	size_t head_len, box_len;
};

static void give_up(const char *what)
{
	fprintf(stderr, "edit_data: %s\n", what);
	exit(1);
}

/* The settings end with the length of the box and the box: the one place where the length fits and
 * a box of version 1 begins. */
static void take_apart(struct txn *t, uint32_t number, struct opened *o)
{
	struct row_key key = key_of_number(number);
	struct bytes value, blob;

	if (!row_get(t, T_ENDPOINT, &key, &value) ||
		record_get_blob((struct bytes){key.at, key.len}, value, &blob) < 0)
		give_up("there is no such endpoint");
	for (size_t at = 0; at + 5 <= blob.len; at++) {
		const uint8_t *p = (const uint8_t *)blob.at + at;
		size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];

		if (len != blob.len - at - 4 || len < SECRETBOX_OVERHEAD || p[4] != 1)
			continue;
		*o = (struct opened){.number = number, .head_len = at, .box_len = len};
		memcpy(o->head, blob.at, at);
		memcpy(o->box, p + 4, len);
		return;
	}
	give_up("there is no box");
}

static void put_back(struct txn *t, const struct opened *o)
{
	static uint8_t blob[2 * RECORD_SIZE], record[2 * RECORD_SIZE];
	struct row_key key = key_of_number(o->number);
	size_t len;

	memcpy(blob, o->head, o->head_len);
	for (int i = 0; i < 4; i++)
		blob[o->head_len + (size_t)i] = (uint8_t)(o->box_len >> (24 - 8 * i));
	memcpy(blob + o->head_len + 4, o->box, o->box_len);
	len = record_put_blob((struct bytes){key.at, key.len},
		(struct bytes){blob, o->head_len + 4 + o->box_len}, record, sizeof(record));
	row_put(t, T_ENDPOINT, &key, record, len);
}

static void swap(struct txn *t, struct opened *a, uint32_t with)
{
	static struct opened b, changed;

	take_apart(t, with, &b);
	changed = *a;
	memcpy(changed.box, b.box, b.box_len);
	changed.box_len = b.box_len;
	memcpy(b.box, a->box, a->box_len);
	b.box_len = a->box_len;
	put_back(t, &changed);
	put_back(t, &b);
}

static void show(const struct engine *file, const struct opened *o)
{
	char marked[SECRETBOX_KEY_ID_SIZE], sealed[SECRETBOX_KEY_ID_SIZE];

	secretbox_key_id_format(file->meta.key_id, marked);
	secretbox_key_id_format(o->box + 1, sealed);
	printf("%s %s %zu\n", marked, sealed, o->box_len);
}

static void edit(struct engine *file, struct txn *t, const char *what, uint32_t a, uint32_t b)
{
	static struct opened o;

	if (strcmp(what, "schema") == 0) {
		file->meta.schema = a;
		lmdb_put_meta(file, t);
		return;
	}
	take_apart(t, a, &o);
	if (strcmp(what, "show") == 0) {
		show(file, &o);
	} else if (strcmp(what, "swap") == 0) {
		swap(t, &o, b);
	} else if (strcmp(what, "flip") == 0 && b / 8 < o.box_len) {
		o.box[b / 8] ^= (uint8_t)(1 << b % 8);
		put_back(t, &o);
	} else if (strcmp(what, "cut") == 0 && b <= o.box_len) {
		o.box_len -= b;
		put_back(t, &o);
	} else {
		give_up("that cannot be done");
	}
}

int main(int argc, char **argv)
{
	struct engine file = {0};
	struct store_limits limits = {0};
	struct problem problem;
	struct txn t;

	if (argc != 5)
		give_up("usage: edit_data FILE flip|cut|swap|schema|show NUMBER NUMBER");
	if (lmdb_open_file(&file, argv[1], false, &limits, &problem) < 0)
		give_up(problem.detail);
	if (lmdb_begin(&file, &t, true) != ENGINE_OK)
		give_up(file.broken);
	edit(&file, &t, argv[2], (uint32_t)strtoul(argv[3], NULL, 10),
		(uint32_t)strtoul(argv[4], NULL, 10));
	if (t.error || mdb_txn_commit(t.mdb) != 0)
		give_up("cannot write");
	mdb_env_close(file.env);
	return 0;
}
