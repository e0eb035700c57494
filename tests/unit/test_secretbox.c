#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../daemon/secretbox.h"
#include "helpers.h"

#define OWNER 7
#define PLAIN "a signing secret"
#define SEALED_LEN (sizeof(PLAIN) + SECRETBOX_OVERHEAD)

#define HEX_KEY "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

/* ---- Keys in files ---- */

static char *in_directory(void **state, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
	return path;
}

static void write_key_file(void **state, const char *bytes, size_t len)
{
	char *path = in_directory(state, "master.key");

	write_file(path, bytes, len);
	assert_int_equal(chmod(path, 0600), 0);
}

static struct secretbox open_good(void **state)
{
	struct secretbox box = {.has_previous = false};
	struct problem problem;

	if (secretbox_open_keys(&box, *state, true, &problem) != 0)
		fail_msg("%s", problem.detail);
	return box;
}

static void assert_key_refused(void **state)
{
	struct secretbox box;
	struct problem problem;

	assert_int_equal(secretbox_open_keys(&box, *state, true, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "master.key"));
}

static void assert_is_counting_key(const struct secretbox *box)
{
	for (int i = 0; i < SECRETBOX_KEY_LEN; i++)
		assert_int_equal(box->current.bytes[i], i);
}

static void test_key_is_made_at_the_first_start_for_the_owner_alone(void **state)
{
	struct stat status;

	umask(0);
	open_good(state);
	assert_int_equal(stat(in_directory(state, "master.key"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(status.st_size, 2 * SECRETBOX_KEY_LEN + 1);
}

static void test_key_that_was_made_is_read_again(void **state)
{
	struct secretbox made = open_good(state), again = open_good(state);

	assert_memory_equal(&made, &again, sizeof(made));
}

static void test_no_half_made_key_is_left(void **state)
{
	open_good(state);
	assert_int_equal(access(in_directory(state, "master.key.new"), F_OK), -1);
}

static void test_half_made_key_of_a_crash_is_made_anew(void **state)
{
	write_file(in_directory(state, "master.key.new"), "0001", 4);
	open_good(state);
	assert_int_equal(access(in_directory(state, "master.key.new"), F_OK), -1);
}

static void test_keys_that_are_made_differ(void **state)
{
	struct secretbox first = open_good(state), second;

	assert_int_equal(unlink(in_directory(state, "master.key")), 0);
	second = open_good(state);
	assert_memory_not_equal(
		first.current.bytes, second.current.bytes, sizeof(first.current.bytes));
}

static void test_key_may_be_hexadecimal_digits(void **state)
{
	struct secretbox box;

	write_key_file(state, HEX_KEY, 64);
	box = open_good(state);
	assert_is_counting_key(&box);
	write_key_file(state, HEX_KEY "\n", 65);
	box = open_good(state);
	assert_is_counting_key(&box);
}

static void test_key_may_be_raw_bytes(void **state)
{
	struct secretbox box;
	char raw[SECRETBOX_KEY_LEN];

	for (int i = 0; i < SECRETBOX_KEY_LEN; i++)
		raw[i] = (char)i;
	write_key_file(state, raw, sizeof(raw));
	box = open_good(state);
	assert_is_counting_key(&box);
}

static void test_file_that_is_no_key_is_refused(void **state)
{
	static const char *const texts[] = {"", "\n", "short", HEX_KEY "\n\n", HEX_KEY "0",
		HEX_KEY HEX_KEY, HEX_KEY " ",
		"g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_key_file(state, texts[i], strlen(texts[i]));
		assert_key_refused(state);
	}
}

/* A key is never made over one that cannot be read. */
static void test_bad_key_file_is_left_alone(void **state)
{
	struct stat status;

	write_key_file(state, "short", 5);
	assert_key_refused(state);
	assert_int_equal(stat(in_directory(state, "master.key"), &status), 0);
	assert_int_equal(status.st_size, 5);
}

static void test_directory_that_is_none_is_refused(void **state)
{
	struct secretbox box;
	struct problem problem;

	assert_int_equal(
		secretbox_open_keys(&box, in_directory(state, "none"), true, &problem), -EIO);
}

/* ---- Credentials ---- */

static void test_credential_comes_before_the_data_directory(void **state)
{
	struct secretbox box;

	write_key_file(state, "not even looked at", 18);
	write_file(in_directory(state, "hookd-master-key"), HEX_KEY "\n", 65);
	setenv("CREDENTIALS_DIRECTORY", *state, 1);
	box = open_good(state);
	assert_is_counting_key(&box);
}

static void test_other_credentials_are_none_of_ours(void **state)
{
	struct secretbox box;

	write_key_file(state, HEX_KEY, 64);
	write_file(in_directory(state, "another"), "x", 1);
	setenv("CREDENTIALS_DIRECTORY", *state, 1);
	box = open_good(state);
	assert_is_counting_key(&box);
}

static void test_bad_credential_is_refused_and_no_key_made(void **state)
{
	struct secretbox box;
	struct problem problem;

	write_file(in_directory(state, "hookd-master-key"), "short", 5);
	setenv("CREDENTIALS_DIRECTORY", *state, 1);
	assert_int_equal(secretbox_open_keys(&box, *state, true, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "hookd-master-key"));
	assert_int_equal(access(in_directory(state, "master.key"), F_OK), -1);
}

/* ---- Sealing ---- */

static struct secretbox box_of(void **state, const char *hex_key)
{
	write_key_file(state, hex_key, 64);
	return open_good(state);
}

static struct secretbox a_box(void **state)
{
	return box_of(state, HEX_KEY);
}

static struct secretbox another_box(void **state)
{
	return box_of(state, "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
}

static void seal(const struct secretbox *box, uint8_t sealed[static SEALED_LEN])
{
	assert_int_equal(secretbox_seal(box, OWNER, PLAIN, sizeof(PLAIN), sealed), 0);
}

static int unseal(const struct secretbox *box, uint32_t owner, const uint8_t *sealed, size_t len)
{
	size_t plain_len = len > SECRETBOX_OVERHEAD ? len - SECRETBOX_OVERHEAD : 0;
	uint8_t *plain = malloc(plain_len ? plain_len : 1); /* no byte more than promised */
	int r = secretbox_unseal(box, owner, sealed, len, plain);

	if (r == 0)
		assert_memory_equal(plain, PLAIN, plain_len);
	free(plain);
	return r;
}

static void test_what_was_sealed_can_be_unsealed(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	assert_int_equal(unseal(&box, OWNER, sealed, sizeof(sealed)), 0);
}

static void test_sealed_box_does_not_show_what_is_in_it(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	assert_null(memmem(sealed, sizeof(sealed), PLAIN, 4));
}

static void test_no_two_seals_are_the_same(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t first[SEALED_LEN], second[SEALED_LEN];

	seal(&box, first);
	seal(&box, second);
	assert_memory_not_equal(first, second, sizeof(first));
}

static void test_nothing_can_be_sealed_too(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SECRETBOX_OVERHEAD];

	assert_int_equal(secretbox_seal(&box, OWNER, "", 0, sealed), 0);
	assert_int_equal(unseal(&box, OWNER, sealed, sizeof(sealed)), 0);
}

static void test_box_of_another_owner_is_refused(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	for (int bit = 0; bit < 32; bit++)
		assert_int_equal(
			unseal(&box, OWNER ^ (uint32_t)1 << bit, sealed, sizeof(sealed)), -EBADMSG);
}

static void test_every_flipped_bit_is_noticed(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	for (size_t i = 0; i < 8 * sizeof(sealed); i++) {
		sealed[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(unseal(&box, OWNER, sealed, sizeof(sealed)),
			i / 8 >= 1 && i / 8 <= SECRETBOX_KEY_ID_LEN ? -ENOKEY : -EBADMSG);
		sealed[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void test_every_truncation_is_noticed(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	for (size_t len = 0; len < sizeof(sealed); len++) {
		uint8_t *cut =
			malloc(len ? len : 1); /* so that the sanitizer sees a byte too many */

		memcpy(cut, sealed, len);
		assert_int_equal(unseal(&box, OWNER, cut, len), -EBADMSG);
		free(cut);
	}
}

static void test_box_of_another_key_is_refused(void **state)
{
	struct secretbox box = a_box(state), other = another_box(state);
	uint8_t sealed[SEALED_LEN];

	seal(&box, sealed);
	assert_int_equal(unseal(&other, OWNER, sealed, sizeof(sealed)), -ENOKEY);
	memcpy(other.current.id, box.current.id, SECRETBOX_KEY_ID_LEN); /* as a forger would */
	assert_int_equal(unseal(&other, OWNER, sealed, sizeof(sealed)), -EBADMSG);
}

static void test_what_fails_to_unseal_leaves_nothing_behind(void **state)
{
	static const uint8_t nothing[sizeof(PLAIN)];
	struct secretbox box = a_box(state);
	uint8_t sealed[SEALED_LEN], plain[sizeof(PLAIN)];

	seal(&box, sealed);
	sealed[SEALED_LEN - 1] ^= 1;
	assert_int_equal(secretbox_unseal(&box, OWNER, sealed, sizeof(sealed), plain), -EBADMSG);
	assert_memory_equal(plain, nothing, sizeof(plain));
}

static void test_key_id_tells_keys_apart(void **state)
{
	struct secretbox box = a_box(state), same = a_box(state), other = another_box(state);

	assert_memory_equal(box.current.id, same.current.id, SECRETBOX_KEY_ID_LEN);
	assert_memory_not_equal(box.current.id, other.current.id, SECRETBOX_KEY_ID_LEN);
	assert_memory_not_equal(box.current.id, box.current.bytes, SECRETBOX_KEY_ID_LEN);
}

/* ---- Changing the key ---- */

static bool is_there(void **state, const char *name)
{
	return access(in_directory(state, name), F_OK) == 0;
}

static struct secretbox changed_box(void **state)
{
	struct secretbox box = a_box(state);
	struct problem problem;

	if (secretbox_change_key(&box, *state, &problem) != 0)
		fail_msg("%s", problem.detail);
	return box;
}

static void test_changed_key_leaves_both_on_disk_for_the_owner_alone(void **state)
{
	struct secretbox before = a_box(state), box, again;
	struct stat status;

	umask(0);
	box = changed_box(state);
	assert_true(box.has_previous);
	assert_memory_equal(&box.previous, &before.current, sizeof(box.previous));
	assert_memory_not_equal(box.current.bytes, box.previous.bytes, SECRETBOX_KEY_LEN);
	assert_int_equal(stat(in_directory(state, "master.key.previous"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	again = open_good(state);
	assert_memory_equal(&again, &box, sizeof(box));
}

static void test_previous_key_opens_and_the_current_one_seals(void **state)
{
	struct secretbox before = a_box(state), box;
	uint8_t sealed[SEALED_LEN];

	seal(&before, sealed);
	box = changed_box(state);
	assert_int_equal(unseal(&box, OWNER, sealed, sizeof(sealed)), 0);
	seal(&box, sealed);
	assert_memory_equal(
		secretbox_key_id_of(sealed, sizeof(sealed)), box.current.id, SECRETBOX_KEY_ID_LEN);
	assert_int_equal(unseal(&before, OWNER, sealed, sizeof(sealed)), -ENOKEY);
}

static void test_dropped_key_is_gone_from_disk_and_memory(void **state)
{
	static const struct master_key nothing;
	struct secretbox before = a_box(state), box = changed_box(state), again;
	struct problem problem;

	assert_true(secretbox_has_key(&box, before.current.id));
	assert_int_equal(secretbox_drop_previous(&box, *state, &problem), 0);
	assert_false(is_there(state, "master.key.previous"));
	assert_memory_equal(&box.previous, &nothing, sizeof(nothing));
	assert_false(secretbox_has_key(&box, before.current.id));
	again = open_good(state);
	assert_memory_equal(&again, &box, sizeof(box));
}

/* A crash after the old key was saved and before the new one took its place. */
static void test_change_that_has_not_begun_is_undone_at_the_next_start(void **state)
{
	struct secretbox before = a_box(state), box;

	write_file(in_directory(state, "master.key.previous"), HEX_KEY, 64);
	assert_int_equal(chmod(in_directory(state, "master.key.previous"), 0600), 0);
	box = open_good(state);
	assert_false(box.has_previous);
	assert_memory_equal(&box.current, &before.current, sizeof(box.current));
	assert_false(is_there(state, "master.key.previous"));
}

static void test_change_that_fails_leaves_the_key_in_use(void **state)
{
	struct secretbox before = a_box(state), box = a_box(state), again;
	struct problem problem;

	/* A directory in the way of the file. */
	assert_int_equal(mkdir(in_directory(state, "master.key.previous"), 0700), 0);
	assert_int_equal(secretbox_change_key(&box, *state, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "master.key.previous"));
	assert_memory_equal(&box, &before, sizeof(box));
	assert_int_equal(rmdir(in_directory(state, "master.key.previous")), 0);
	again = open_good(state);
	assert_memory_equal(&again, &before, sizeof(before));
}

static void test_previous_key_may_be_a_credential_that_stays(void **state)
{
	struct secretbox box;
	struct problem problem;

	write_file(in_directory(state, "hookd-master-key-previous"), HEX_KEY, 64);
	setenv("CREDENTIALS_DIRECTORY", *state, 1);
	box = open_good(state);
	assert_true(box.has_previous && box.previous.is_credential);
	assert_false(box.current.is_credential);
	assert_int_equal(secretbox_drop_previous(&box, *state, &problem), 0);
	assert_false(box.has_previous);
	assert_true(is_there(state, "hookd-master-key-previous"));
}

static void test_bad_previous_key_is_refused(void **state)
{
	struct secretbox box = a_box(state);
	struct problem problem;

	write_file(in_directory(state, "master.key.previous"), "short", 5);
	assert_int_equal(chmod(in_directory(state, "master.key.previous"), 0600), 0);
	assert_int_equal(secretbox_open_keys(&box, *state, true, &problem), -EIO);
	assert_non_null(strstr(problem.detail, "master.key.previous"));
}

/* ---- Files that are not ours alone ---- */

static void test_key_that_others_may_touch_is_refused(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666};

	write_key_file(state, HEX_KEY, 64);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(in_directory(state, "master.key"), modes[i]), 0);
		assert_key_refused(state);
	}
	assert_int_equal(chmod(in_directory(state, "master.key"), 0400), 0);
	open_good(state);
}

static void test_key_behind_a_symbolic_link_is_refused(void **state)
{
	char target[128];

	write_key_file(state, HEX_KEY, 64);
	snprintf(target, sizeof(target), "%s", in_directory(state, "elsewhere"));
	assert_int_equal(rename(in_directory(state, "master.key"), target), 0);
	assert_int_equal(symlink(target, in_directory(state, "master.key")), 0);
	assert_key_refused(state);
	assert_int_equal(unlink(target), 0); /* one that leads nowhere: no key is made there */
	assert_key_refused(state);
	assert_int_equal(access(target, F_OK), -1);
}

static void test_key_that_is_no_file_is_refused(void **state)
{
	assert_int_equal(mkfifo(in_directory(state, "master.key"), 0600), 0);
	assert_key_refused(state); /* and does not wait for a writer */
	assert_int_equal(unlink(in_directory(state, "master.key")), 0);
	assert_int_equal(mkdir(in_directory(state, "master.key"), 0700), 0);
	assert_key_refused(state);
}

/* ---- Fingerprints ---- */

static void test_fingerprint_is_eight_hexadecimal_digits(void **state)
{
	struct secretbox box = a_box(state);
	char text[SECRETBOX_FINGERPRINT_SIZE];

	secretbox_fingerprint(&box, PLAIN, sizeof(PLAIN), text);
	assert_int_equal(strlen(text), 8);
	assert_int_equal(strspn(text, "0123456789abcdef"), 8);
}

static void test_fingerprint_tells_secrets_and_keys_apart(void **state)
{
	struct secretbox box = a_box(state), other = another_box(state);
	char text[SECRETBOX_FINGERPRINT_SIZE], same[SECRETBOX_FINGERPRINT_SIZE],
		another_secret[SECRETBOX_FINGERPRINT_SIZE], another_key[SECRETBOX_FINGERPRINT_SIZE];

	secretbox_fingerprint(&box, PLAIN, sizeof(PLAIN), text);
	secretbox_fingerprint(&box, PLAIN, sizeof(PLAIN), same);
	secretbox_fingerprint(&box, PLAIN, sizeof(PLAIN) - 1, another_secret);
	secretbox_fingerprint(&other, PLAIN, sizeof(PLAIN), another_key);
	assert_string_equal(text, same);
	assert_string_not_equal(text, another_secret);
	assert_string_not_equal(text, another_key);
}

static void test_longest_secret_has_a_fingerprint(void **state)
{
	struct secretbox box = a_box(state);
	uint8_t secret[64] = {1};
	char text[SECRETBOX_FINGERPRINT_SIZE];

	secretbox_fingerprint(&box, secret, sizeof(secret), text);
	assert_int_equal(strlen(text), 8);
}

static int setup(void **state)
{
	unsetenv("CREDENTIALS_DIRECTORY");
	return make_directory(state);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, setup, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIRECTORY(test_key_is_made_at_the_first_start_for_the_owner_alone),
		IN_DIRECTORY(test_key_that_was_made_is_read_again),
		IN_DIRECTORY(test_no_half_made_key_is_left),
		IN_DIRECTORY(test_half_made_key_of_a_crash_is_made_anew),
		IN_DIRECTORY(test_keys_that_are_made_differ),
		IN_DIRECTORY(test_key_may_be_hexadecimal_digits),
		IN_DIRECTORY(test_key_may_be_raw_bytes),
		IN_DIRECTORY(test_file_that_is_no_key_is_refused),
		IN_DIRECTORY(test_bad_key_file_is_left_alone),
		IN_DIRECTORY(test_directory_that_is_none_is_refused),
		IN_DIRECTORY(test_credential_comes_before_the_data_directory),
		IN_DIRECTORY(test_other_credentials_are_none_of_ours),
		IN_DIRECTORY(test_bad_credential_is_refused_and_no_key_made),
		IN_DIRECTORY(test_what_was_sealed_can_be_unsealed),
		IN_DIRECTORY(test_sealed_box_does_not_show_what_is_in_it),
		IN_DIRECTORY(test_no_two_seals_are_the_same),
		IN_DIRECTORY(test_nothing_can_be_sealed_too),
		IN_DIRECTORY(test_box_of_another_owner_is_refused),
		IN_DIRECTORY(test_every_flipped_bit_is_noticed),
		IN_DIRECTORY(test_every_truncation_is_noticed),
		IN_DIRECTORY(test_box_of_another_key_is_refused),
		IN_DIRECTORY(test_what_fails_to_unseal_leaves_nothing_behind),
		IN_DIRECTORY(test_key_id_tells_keys_apart),
		IN_DIRECTORY(test_changed_key_leaves_both_on_disk_for_the_owner_alone),
		IN_DIRECTORY(test_previous_key_opens_and_the_current_one_seals),
		IN_DIRECTORY(test_dropped_key_is_gone_from_disk_and_memory),
		IN_DIRECTORY(test_change_that_has_not_begun_is_undone_at_the_next_start),
		IN_DIRECTORY(test_change_that_fails_leaves_the_key_in_use),
		IN_DIRECTORY(test_previous_key_may_be_a_credential_that_stays),
		IN_DIRECTORY(test_bad_previous_key_is_refused),
		IN_DIRECTORY(test_key_that_others_may_touch_is_refused),
		IN_DIRECTORY(test_key_behind_a_symbolic_link_is_refused),
		IN_DIRECTORY(test_key_that_is_no_file_is_refused),
		IN_DIRECTORY(test_fingerprint_is_eight_hexadecimal_digits),
		IN_DIRECTORY(test_fingerprint_tells_secrets_and_keys_apart),
		IN_DIRECTORY(test_longest_secret_has_a_fingerprint),
	};

	return cmocka_run_group_tests_name("secretbox", tests, NULL, NULL);
}
