/*
 * Secrets at rest: the master keys, and sealing with AES-256-GCM.
 *
 * A sealed box is bound to what it belongs to: the endpoint's number is authenticated with it, so
 * that boxes cannot be swapped between records. It names the master key that seals it, so that the
 * key can be changed while hookd runs: new boxes are sealed with the current key, and those of the
 * previous one are opened, too, for as long as that one is there. The layout is in doc/format.md.
 *
 * Each key is a credential of systemd or, without one, a file in the data directory. Files are
 * made and removed here such that after a power cut at any moment every key that a box may need is
 * there.
 *
 * Owned by the main thread, which alone seals and opens. The keys are kept where no core shows them
 * and, if the machine lets us, no swap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "problem.h"

#define SECRETBOX_KEY_LEN 32
#define SECRETBOX_KEY_ID_LEN 8
#define SECRETBOX_KEY_ID_SIZE (2 * SECRETBOX_KEY_ID_LEN + 1)
#define SECRETBOX_OVERHEAD (1 + SECRETBOX_KEY_ID_LEN + 12 + 16)
#define SECRETBOX_FINGERPRINT_SIZE 9

struct master_key {
	uint8_t bytes[SECRETBOX_KEY_LEN];
	uint8_t id[SECRETBOX_KEY_ID_LEN]; /* tells keys apart, tells nothing about the key */
	bool is_credential;
};

struct secretbox {
	struct master_key current, previous;
	bool has_previous;
};

/* One without keys; NULL without memory. NULL to free is fine. */
struct secretbox *secretbox_new(void);
void secretbox_free(struct secretbox *box);

/*
 * Reads the master keys: the current one from the credential "hookd-master-key" if there is one,
 * else from master.key in the data directory, made there if may_make (mode 0600, synced); the
 * previous one, if there is any, from "hookd-master-key-previous" or master.key.previous. All hold
 * 64 hexadecimal digits or 32 raw bytes. A file that others may read is not accepted. Returns 0, or
 * -EIO with the reason in problem.
 */
int secretbox_open_keys(
	struct secretbox *box, const char *data_directory, bool may_make, struct problem *problem);

/*
 * Begins a change of the key in the data directory: the current one becomes the previous one, a new
 * one is made, and both are on disk when this returns. There must be no previous key. Returns 0, or
 * -EIO with the reason, and then the keys in use are those of before.
 */
int secretbox_change_key(
	struct secretbox *box, const char *data_directory, struct problem *problem);

/*
 * Nothing needs the previous key any more: its file is removed, and that synced. A credential stays
 * until somebody takes it away. Returns 0, or -EIO with the reason, and then the key stays.
 */
int secretbox_drop_previous(
	struct secretbox *box, const char *data_directory, struct problem *problem);

/* Whether the id is that of a key that is there. */
bool secretbox_has_key(const struct secretbox *box, const uint8_t id[static SECRETBOX_KEY_ID_LEN]);

/* 16 hexadecimal digits. */
void secretbox_key_id_format(
	const uint8_t id[static SECRETBOX_KEY_ID_LEN], char text[static SECRETBOX_KEY_ID_SIZE]);

/* Writes len + SECRETBOX_OVERHEAD bytes, sealed with the current key. Returns 0, or -EIO when
 * OpenSSL has no memory or randomness. */
int secretbox_seal(const struct secretbox *box, uint32_t owner, const void *plain, size_t len,
	uint8_t *sealed);

/* The id of the key that a box says it is sealed with; NULL if it is too short for one. */
const uint8_t *secretbox_key_id_of(const uint8_t *sealed, size_t len);

/* Writes len - SECRETBOX_OVERHEAD bytes. Returns 0; -ENOKEY: sealed with a key that is not there;
 * -EBADMSG: changed since, or sealed for another owner; or -ENOMEM. */
int secretbox_unseal(const struct secretbox *box, uint32_t owner, const uint8_t *sealed, size_t len,
	void *plain);

/* Eight hexadecimal digits by which people recognise a secret. Salted with the current key, with
 * which they change. */
void secretbox_fingerprint(const struct secretbox *box, const void *secret, size_t len,
	char text[static SECRETBOX_FINGERPRINT_SIZE]);
