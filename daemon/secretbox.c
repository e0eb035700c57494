#include "secretbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

#define PATH_SIZE 4096
#define KEY_TEXT_LEN (2 * SECRETBOX_KEY_LEN + 1)
#define LOCKED_MEMORY 32768 /* a power of two; OpenSSL takes its random seeds from it, too */

/* Where a key may be. */
struct key_place {
	const char *credential, *file;
};

static const struct key_place current_place = {"hookd-master-key", "master.key"};
static const struct key_place previous_place = {"hookd-master-key-previous", "master.key.previous"};

/* ---- Keys ---- */

/* OpenSSL sets parts of itself up when they are first used, and crashes when it has no memory for
 * that. */
static void openssl_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	free(memory);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
	void *made;

	if (!size) {
		openssl_free(old, file, line);
		return NULL;
	}
	made = realloc(old, size);
	if (!made)
		out_of_memory("OpenSSL");
	return made;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
	return openssl_realloc(NULL, size, file, line);
}

struct secretbox *secretbox_new(void)
{
	/* It does not take them once it has allocated something, as where keys are opened again. */
	(void)CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
	/* OpenSSL's memory for keys: locked if the machine lets us, never in a core, guarded. */
	if (!CRYPTO_secure_malloc_initialized())
		CRYPTO_secure_malloc_init(LOCKED_MEMORY, 32);
	return OPENSSL_secure_zalloc(sizeof(struct secretbox));
}

void secretbox_free(struct secretbox *box)
{
	OPENSSL_secure_clear_free(box, sizeof(*box));
}

/* A short hash keyed with the master key, so that it tells nothing to who does not have that. */
static void hash_labelled(const struct master_key *key, const char *label, const void *bytes,
	size_t len, uint8_t hash[static 32])
{
	uint8_t text[256];
	size_t label_len = strlen(label);

	assert(label_len + len <= sizeof(text));
	memcpy(text, label, label_len);
	if (len)
		memcpy(text + label_len, bytes, len);
	if (!HMAC(EVP_sha256(), key->bytes, sizeof(key->bytes), text, label_len + len, hash, NULL))
		out_of_memory("a keyed hash"); /* nothing else makes it fail */
	OPENSSL_cleanse(text, sizeof(text));
}

static void derive_key_id(struct master_key *key)
{
	uint8_t hash[32];

	hash_labelled(key, "hookd master key id", NULL, 0, hash);
	memcpy(key->id, hash, sizeof(key->id));
}

void secretbox_key_id_format(
	const uint8_t id[static SECRETBOX_KEY_ID_LEN], char text[static SECRETBOX_KEY_ID_SIZE])
{
	for (int i = 0; i < SECRETBOX_KEY_ID_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static bool is_key(const struct master_key *key, const uint8_t id[static SECRETBOX_KEY_ID_LEN])
{
	return memcmp(key->id, id, SECRETBOX_KEY_ID_LEN) == 0;
}

/* NULL: it is not there. */
static const struct master_key *find_key(
	const struct secretbox *box, const uint8_t id[static SECRETBOX_KEY_ID_LEN])
{
	if (is_key(&box->current, id))
		return &box->current;
	return box->has_previous && is_key(&box->previous, id) ? &box->previous : NULL;
}

bool secretbox_has_key(const struct secretbox *box, const uint8_t id[static SECRETBOX_KEY_ID_LEN])
{
	return find_key(box, id) != NULL;
}

/* ---- Reading keys ---- */

/* Raw bytes, or hexadecimal digits with perhaps a line end. */
static bool parse_key(const uint8_t *text, size_t len, uint8_t key[static SECRETBOX_KEY_LEN])
{
	if (len == SECRETBOX_KEY_LEN) {
		memcpy(key, text, len);
		return true;
	}
	if (len == KEY_TEXT_LEN && text[len - 1] == '\n')
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

static int fail_with_errno(struct problem *problem, const char *what, const char *path)
{
	problem_set(
		problem, PROBLEM_INVALID, NULL, "cannot %s %s: %s", what, path, strerror(errno));
	return -EIO;
}

/* A key that others can read is none, and one that others can write may be theirs. What systemd
 * hands in is systemd's to guard: there an access control list looks like rights of a group. */
static int check_file(int fd, const char *path, bool is_credential, struct problem *problem)
{
	struct stat file;

	if (fstat(fd, &file) < 0)
		return fail_with_errno(problem, "look at", path);
	if (!S_ISREG(file.st_mode)) {
		problem_set(problem, PROBLEM_INVALID, NULL, "%s is not a file", path);
		return -EIO;
	}
	if (is_credential)
		return 0;
	if (file.st_mode & 077) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s has mode %04o, so that others can get at the master key: chmod 600, and think about hookctl rekey",
			path, file.st_mode & 07777);
		return -EIO;
	}
	return 0;
}

static int read_key(int fd, const char *path, struct master_key *key, struct problem *problem)
{
	uint8_t text[128];
	ssize_t n = read(fd, text, sizeof(text));
	int r = 0;

	if (n < 0) {
		r = fail_with_errno(problem, "read", path);
	} else if (!parse_key(text, (size_t)n, key->bytes)) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is not a master key: expected 64 hexadecimal digits or 32 raw bytes",
			path);
		r = -EIO;
	}
	OPENSSL_cleanse(text, sizeof(text));
	return r;
}

static int sync_directory(const char *directory, struct problem *problem)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (fd < 0 || fsync(fd) < 0)
		r = fail_with_errno(problem, "sync", directory);
	if (fd >= 0)
		close(fd);
	return r;
}

/* Returns 0, -ENOENT (and says nothing), or -EIO. */
static int open_key(
	struct master_key *key, const char *path, bool is_credential, struct problem *problem)
{
	/* Not blocking, so that a pipe of that name does not hold the start up. */
	int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (is_credential ? 0 : O_NOFOLLOW);
	int fd = open(path, flags), r;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 && errno == ELOOP) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"%s is a symbolic link: put the key itself there, or hand it in as a credential",
			path);
		return -EIO;
	}
	if (fd < 0)
		return fail_with_errno(problem, "open", path);
	r = check_file(fd, path, is_credential, problem);
	if (r == 0)
		r = read_key(fd, path, key, problem);
	if (r == 0 && !is_credential && fsync(fd) < 0)
		r = fail_with_errno(problem, "sync", path);
	close(fd);
	if (r == 0) {
		key->is_credential = is_credential;
		derive_key_id(key);
	}
	return r;
}

/* Looks where it may be. Returns 0, -ENOENT or -EIO. */
static int find_and_open(struct master_key *key, const struct key_place *place,
	const char *directory, struct problem *problem)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_SIZE];
	int r = -ENOENT;

	if (credentials) {
		snprintf(path, sizeof(path), "%s/%s", credentials, place->credential);
		r = open_key(key, path, true, problem);
	}
	if (r != -ENOENT)
		return r;
	snprintf(path, sizeof(path), "%s/%s", directory, place->file);
	r = open_key(key, path, false, problem);
	/* It may be new: copied a moment ago by a person, or made by a hookd that was killed. What
	 * is sealed with it must not outlast it. */
	return r < 0 ? r : sync_directory(directory, problem);
}

/* ---- Writing keys ---- */

static int write_text(const char *path, const struct master_key *key, struct problem *problem)
{
	char text[KEY_TEXT_LEN + 1];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;

	if (fd < 0)
		return fail_with_errno(problem, "create", path);
	for (size_t i = 0; i < sizeof(key->bytes); i++)
		snprintf(text + 2 * i, 4, "%02x\n", key->bytes[i]);
	errno = EIO; /* what a short write means */
	if (write(fd, text, KEY_TEXT_LEN) != KEY_TEXT_LEN || fsync(fd) < 0)
		r = fail_with_errno(problem, "write", path);
	OPENSSL_cleanse(text, sizeof(text));
	close(fd);
	return r;
}

/* Under another name first: after a power cut the file is the old one or the new one. */
static int write_key(const struct master_key *key, const struct key_place *place,
	const char *directory, struct problem *problem)
{
	char path[PATH_SIZE], fresh[PATH_SIZE];
	int r;

	snprintf(path, sizeof(path), "%s/%s", directory, place->file);
	snprintf(fresh, sizeof(fresh), "%s/%s.new", directory, place->file);
	unlink(fresh); /* left by a crash */
	r = write_text(fresh, key, problem);
	if (r == 0 && rename(fresh, path) < 0)
		r = fail_with_errno(problem, "rename", fresh);
	if (r < 0) {
		unlink(fresh);
		return r;
	}
	return sync_directory(directory, problem);
}

static int make_key(struct master_key *key, struct problem *problem)
{
	if (RAND_bytes(key->bytes, sizeof(key->bytes)) != 1) {
		problem_set(problem, PROBLEM_INVALID, NULL, "no random numbers for a master key");
		return -EIO;
	}
	key->is_credential = false;
	derive_key_id(key);
	return 0;
}

static int remove_file(
	const struct key_place *place, const char *directory, struct problem *problem)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", directory, place->file);
	if (unlink(path) < 0 && errno != ENOENT)
		return fail_with_errno(problem, "remove", path);
	return sync_directory(directory, problem);
}

/* ---- Opening and changing ---- */

/* What a crash has left half made: a copy of a key that nobody would look for. */
static void remove_half_made(const char *directory)
{
	static const struct key_place *const places[] = {&current_place, &previous_place};
	char fresh[PATH_SIZE];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(fresh, sizeof(fresh), "%s/%s.new", directory, places[i]->file);
		unlink(fresh);
	}
}

static int open_current(
	struct secretbox *box, const char *directory, bool may_make, struct problem *problem)
{
	int r = find_and_open(&box->current, &current_place, directory, problem);

	if (r != -ENOENT)
		return r;
	if (!may_make) {
		problem_set(problem, PROBLEM_INVALID, NULL,
			"there is no master key, neither the credential %s nor %s/%s: "
			"put the one there that the data file was made with",
			current_place.credential, directory, current_place.file);
		return -EIO;
	}
	r = make_key(&box->current, problem);
	return r < 0 ? r : write_key(&box->current, &current_place, directory, problem);
}

int secretbox_open_keys(
	struct secretbox *box, const char *directory, bool may_make, struct problem *problem)
{
	int r;

	remove_half_made(directory);
	r = open_current(box, directory, may_make, problem);
	if (r < 0)
		return r;
	r = find_and_open(&box->previous, &previous_place, directory, problem);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	box->has_previous = true;
	/* A change that was cut off before it made the new key. */
	if (is_key(&box->current, box->previous.id))
		return secretbox_drop_previous(box, directory, problem);
	return 0;
}

/* The old key is on disk under its new name before the new one takes its place. If that fails half
 * way, both are there or the old one twice, and no box needs the new one. */
int secretbox_change_key(struct secretbox *box, const char *directory, struct problem *problem)
{
	struct secretbox *changed = secretbox_new();
	int r;

	assert(!box->has_previous);
	if (!changed) {
		problem_set(problem, PROBLEM_BUSY, NULL, "out of memory");
		return -EIO;
	}
	changed->previous = box->current;
	changed->has_previous = true;
	r = make_key(&changed->current, problem);
	if (r == 0)
		r = write_key(&changed->previous, &previous_place, directory, problem);
	if (r == 0)
		r = write_key(&changed->current, &current_place, directory, problem);
	if (r == 0)
		*box = *changed;
	secretbox_free(changed);
	return r;
}

int secretbox_drop_previous(struct secretbox *box, const char *directory, struct problem *problem)
{
	if (!box->previous.is_credential) {
		int r = remove_file(&previous_place, directory, problem);

		if (r < 0)
			return r;
	}
	OPENSSL_cleanse(&box->previous, sizeof(box->previous));
	box->has_previous = false;
	return 0;
}

/* ---- Sealing ---- */

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
	memcpy(sealed + 1, box->current.id, SECRETBOX_KEY_ID_LEN);
	make_aad(sealed, owner, aad);
	ok = context && RAND_bytes(nonce, NONCE_LEN) == 1 &&
		EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, box->current.bytes, nonce) &&
		EVP_EncryptUpdate(context, NULL, &n, aad, sizeof(aad)) &&
		EVP_EncryptUpdate(context, cipher, &n, plain, (int)len) &&
		EVP_EncryptFinal_ex(context, cipher + len, &n) &&
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag);
	EVP_CIPHER_CTX_free(context);
	return ok ? 0 : -EIO;
}

const uint8_t *secretbox_key_id_of(const uint8_t *sealed, size_t len)
{
	return len < SECRETBOX_OVERHEAD ? NULL : sealed + 1;
}

int secretbox_unseal(
	const struct secretbox *box, uint32_t owner, const uint8_t *sealed, size_t len, void *plain)
{
	const struct master_key *key;
	EVP_CIPHER_CTX *context;
	uint8_t aad[AAD_LEN];
	size_t plain_len;
	int n;
	bool ready, fits;

	if (len < SECRETBOX_OVERHEAD || sealed[0] != BOX_VERSION)
		return -EBADMSG;
	key = find_key(box, sealed + 1);
	if (!key)
		return -ENOKEY;
	plain_len = len - SECRETBOX_OVERHEAD;
	make_aad(sealed, owner, aad);
	context = EVP_CIPHER_CTX_new();
	ready = context &&
		EVP_DecryptInit_ex(
			context, EVP_aes_256_gcm(), NULL, key->bytes, sealed + HEADER_LEN) &&
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

	hash_labelled(&box->current, "hookd secret fingerprint", secret, len, hash);
	for (int i = 0; i < 4; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}
