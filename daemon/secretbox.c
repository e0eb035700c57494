#include "secretbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "out_of_memory.h"

#define BOX_VERSION 1
#define NONCE_LEN 12
#define TAG_LEN 16
#define AAD_LEN (1 + SECRETBOX_KEY_ID_LEN + 4)
#define HEADER_LEN (1 + SECRETBOX_KEY_ID_LEN)

/* A short hash keyed with the master key, so that it tells nothing to who does not have that. */
static void hash_labelled(const struct secretbox *box, const char *label, const void *bytes,
	size_t len, uint8_t hash[static 32])
{
	uint8_t text[256];
	size_t label_len = strlen(label);

	assert(label_len + len <= sizeof(text));
	memcpy(text, label, label_len);
	if (len)
		memcpy(text + label_len, bytes, len);
	if (!HMAC(EVP_sha256(), box->key, sizeof(box->key), text, label_len + len, hash, NULL))
		out_of_memory("a keyed hash"); /* nothing else makes it fail */
	OPENSSL_cleanse(text, sizeof(text));
}

static void derive_key_id(struct secretbox *box)
{
	uint8_t hash[32];

	hash_labelled(box, "hookd master key id", NULL, 0, hash);
	memcpy(box->key_id, hash, sizeof(box->key_id));
}

/* Raw bytes, or hexadecimal digits with perhaps a line end. */
static bool parse_key(const uint8_t *text, size_t len, uint8_t key[static SECRETBOX_KEY_LEN])
{
	if (len == SECRETBOX_KEY_LEN) {
		memcpy(key, text, len);
		return true;
	}
	if (len == 2 * SECRETBOX_KEY_LEN + 1 && text[len - 1] == '\n')
		len--;
	if (len != 2 * SECRETBOX_KEY_LEN)
		return false;
	for (size_t i = 0; i < SECRETBOX_KEY_LEN; i++) {
		int high = OPENSSL_hexchar2int(text[2 * i]),
		    low = OPENSSL_hexchar2int(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int read_key(int fd, const char *path, struct secretbox *box, struct problem *problem)
{
	uint8_t text[128];
	ssize_t n = read(fd, text, sizeof(text));
	bool ok = n > 0 && parse_key(text, (size_t)n, box->key);

	OPENSSL_cleanse(text, sizeof(text));
	if (ok)
		return 0;
	problem_set(problem, PROBLEM_INVALID, NULL,
		"%s is not a master key: expected 64 hexadecimal digits or 32 raw bytes", path);
	return -EIO;
}

static int fail_with_errno(struct problem *problem, const char *what, const char *path)
{
	problem_set(
		problem, PROBLEM_INVALID, NULL, "cannot %s %s: %s", what, path, strerror(errno));
	return -EIO;
}

/* Makes the key file under another name first: after a power cut it is whole or absent. */
static int make_key(
	const char *directory, const char *path, struct secretbox *box, struct problem *problem)
{
	char fresh[4096], text[2 * SECRETBOX_KEY_LEN + 2];
	int fd, directory_fd, r = 0;

	if (RAND_bytes(box->key, sizeof(box->key)) != 1) {
		problem_set(problem, PROBLEM_INVALID, NULL, "no random numbers for a master key");
		return -EIO;
	}
	for (size_t i = 0; i < sizeof(box->key); i++)
		snprintf(text + 2 * i, 4, "%02x\n", box->key[i]);
	snprintf(fresh, sizeof(fresh), "%s/master.key.new", directory);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail_with_errno(problem, "create", fresh);
	if (write(fd, text, sizeof(text) - 1) != (ssize_t)sizeof(text) - 1 || fsync(fd) < 0)
		r = fail_with_errno(problem, "write", fresh);
	OPENSSL_cleanse(text, sizeof(text));
	close(fd);
	if (r == 0 && rename(fresh, path) < 0)
		r = fail_with_errno(problem, "rename", fresh);
	if (r < 0)
		return r;
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0 || fsync(directory_fd) < 0)
		r = fail_with_errno(problem, "sync", directory);
	if (directory_fd >= 0)
		close(directory_fd);
	return r;
}

int secretbox_open_key(
	struct secretbox *box, const char *data_directory, bool may_make, struct problem *problem)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	char path[4096];
	int fd = -1, r;

	if (credentials) {
		snprintf(path, sizeof(path), "%s/hookd-master-key", credentials);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return fail_with_errno(problem, "open", path);
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/master.key", data_directory);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return fail_with_errno(problem, "open", path);
	}
	if (fd < 0 && !may_make) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"there is no master key, neither the credential hookd-master-key nor %s: "
			"put the one there that the data file was made with",
			path);
		r = -EIO;
	} else if (fd < 0) {
		r = make_key(data_directory, path, box, problem);
	} else {
		r = read_key(fd, path, box, problem);
		close(fd);
	}
	if (r == 0)
		derive_key_id(box);
	return r;
}

void secretbox_clear(struct secretbox *box)
{
	OPENSSL_cleanse(box, sizeof(*box));
}

/* version, key id, owner */
static void make_aad(const uint8_t *header, uint32_t owner, uint8_t aad[static AAD_LEN])
{
	memcpy(aad, header, HEADER_LEN);
	for (int i = 0; i < 4; i++)
		aad[HEADER_LEN + i] = (uint8_t)(owner >> (24 - 8 * i));
}

int secretbox_seal(
	const struct secretbox *box, uint32_t owner, const void *plain, size_t len, uint8_t *sealed)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	uint8_t *nonce = sealed + HEADER_LEN, *cipher = nonce + NONCE_LEN, *tag = cipher + len;
	uint8_t aad[AAD_LEN];
	int n;
	bool ok;

	sealed[0] = BOX_VERSION;
	memcpy(sealed + 1, box->key_id, SECRETBOX_KEY_ID_LEN);
	make_aad(sealed, owner, aad);
	ok = context && RAND_bytes(nonce, NONCE_LEN) == 1 &&
		EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, box->key, nonce) &&
		EVP_EncryptUpdate(context, NULL, &n, aad, sizeof(aad)) &&
		EVP_EncryptUpdate(context, cipher, &n, plain, (int)len) &&
		EVP_EncryptFinal_ex(context, cipher + len, &n) &&
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag);
	EVP_CIPHER_CTX_free(context);
	return ok ? 0 : -EIO;
}

int secretbox_unseal(
	const struct secretbox *box, uint32_t owner, const uint8_t *sealed, size_t len, void *plain)
{
	EVP_CIPHER_CTX *context;
	uint8_t aad[AAD_LEN];
	size_t plain_len;
	int n;
	bool ready, fits;

	if (len < SECRETBOX_OVERHEAD || sealed[0] != BOX_VERSION ||
		memcmp(sealed + 1, box->key_id, SECRETBOX_KEY_ID_LEN) != 0)
		return -EBADMSG;
	plain_len = len - SECRETBOX_OVERHEAD;
	make_aad(sealed, owner, aad);
	context = EVP_CIPHER_CTX_new();
	ready = context &&
		EVP_DecryptInit_ex(
			context, EVP_aes_256_gcm(), NULL, box->key, sealed + HEADER_LEN) &&
		EVP_DecryptUpdate(context, NULL, &n, aad, sizeof(aad)) &&
		EVP_DecryptUpdate(
			context, plain, &n, sealed + HEADER_LEN + NONCE_LEN, (int)plain_len) &&
		EVP_CIPHER_CTX_ctrl(
			context, EVP_CTRL_GCM_SET_TAG, TAG_LEN, (void *)(sealed + len - TAG_LEN));
	fits = ready && EVP_DecryptFinal_ex(context, (unsigned char *)plain + plain_len, &n);
	EVP_CIPHER_CTX_free(context);
	if (!fits)
		OPENSSL_cleanse(plain, plain_len);
	/* All before the tag is compared fails for lack of memory only. */
	return fits ? 0 : ready ? -EBADMSG : -ENOMEM;
}

void secretbox_fingerprint(const struct secretbox *box, const void *secret, size_t len,
	char text[static SECRETBOX_FINGERPRINT_SIZE])
{
	uint8_t hash[32];

	hash_labelled(box, "hookd secret fingerprint", secret, len, hash);
	for (int i = 0; i < 4; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}
