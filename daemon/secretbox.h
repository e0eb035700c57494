/*
 * Secrets at rest: the master key, and sealing with AES-256-GCM.
 *
 * A sealed box is bound to what it belongs to: the endpoint's number is authenticated with it, so
 * that boxes cannot be swapped between records. The layout is in doc/format.md.
 *
 * A secretbox is made once at start and constant afterwards: any thread may seal and open with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "problem.h"

#define SECRETBOX_KEY_LEN 32
#define SECRETBOX_KEY_ID_LEN 8
#define SECRETBOX_OVERHEAD (1 + SECRETBOX_KEY_ID_LEN + 12 + 16)
#define SECRETBOX_FINGERPRINT_SIZE 9

struct secretbox {
	uint8_t key[SECRETBOX_KEY_LEN];
	uint8_t key_id[SECRETBOX_KEY_ID_LEN]; /* tells keys apart, tells nothing about the key */
};

/*
 * Reads the master key: from the systemd credential "hookd-master-key" if there is one, else from
 * master.key in the data directory, made there if may_make (mode 0600, synced). Both hold 64
 * hexadecimal digits or 32 raw bytes. Returns 0, or -EIO with the reason in problem.
 */
int secretbox_open_key(
	struct secretbox *box, const char *data_directory, bool may_make, struct problem *problem);
void secretbox_clear(struct secretbox *box);

/* Writes len + SECRETBOX_OVERHEAD bytes. Returns 0, or -EIO when OpenSSL has no memory or
 * randomness. */
int secretbox_seal(const struct secretbox *box, uint32_t owner, const void *plain, size_t len,
	uint8_t *sealed);

/* Writes len - SECRETBOX_OVERHEAD bytes. Returns 0; -EBADMSG: not sealed with this key for this
 * owner; or -ENOMEM. */
int secretbox_unseal(const struct secretbox *box, uint32_t owner, const uint8_t *sealed, size_t len,
	void *plain);

/* Eight hexadecimal digits by which people recognise a secret. Salted with the master key. */
void secretbox_fingerprint(const struct secretbox *box, const void *secret, size_t len,
	char text[static SECRETBOX_FINGERPRINT_SIZE]);
