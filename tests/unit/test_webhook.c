#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/hookd.h"
#include "../../lib/webhook.h"

/* The check value of Standard Webhooks 1.0.0. */
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define OTHER_SECRET "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
#define ID "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIME 1614265330
#define BODY "{\"test\": 2432232314}"
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

/* ---- Secrets ---- */

static int parse(const char *secret)
{
	struct webhook_key key;

	return webhook_key_parse(secret, &key);
}

/* The secret text of a key with so many bytes. */
static const char *secret_of(size_t len)
{
	static char secret[HOOKD_SECRET_SIZE];
	struct webhook_key key = {.len = len};

	for (size_t i = 0; i < len; i++)
		key.bytes[i] = (uint8_t)(0xf0 + i);
	assert_int_equal(webhook_key_format(&key, secret, sizeof(secret)), 0);
	return secret;
}

static void test_key_is_the_decoded_bytes(void **state)
{
	static const uint8_t bytes[] = {0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f,
		0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6, 0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0};
	struct webhook_key key;

	(void)state;
	assert_int_equal(webhook_key_parse(SECRET, &key), 0);
	assert_int_equal(key.len, sizeof(bytes));
	assert_memory_equal(key.bytes, bytes, sizeof(bytes));
}

static void test_secret_of_every_allowed_length_reads_back_the_same(void **state)
{
	(void)state;
	for (size_t len = WEBHOOK_KEY_MIN; len <= WEBHOOK_KEY_MAX; len++) {
		const char *secret = secret_of(len);
		struct webhook_key key;

		assert_int_equal(webhook_key_parse(secret, &key), 0);
		assert_int_equal(key.len, len);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(key.bytes[i], (uint8_t)(0xf0 + i));
	}
}

static void test_secret_shorter_than_24_bytes_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(secret_of(23)), -EINVAL);
	assert_int_equal(parse(secret_of(1)), -EINVAL);
	assert_int_equal(parse("whsec_"), -EINVAL);
}

/* "whsec_" and n times the base64 of "AAA". */
static const char *secret_of_triples(size_t n)
{
	static char secret[1000];

	strcpy(secret, "whsec_");
	for (size_t i = 0; i < n; i++)
		strcat(secret, "QUFB");
	return secret;
}

static void test_secret_longer_than_64_bytes_is_refused(void **state)
{
	char secret[200];

	(void)state;
	snprintf(secret, sizeof(secret), "%sQUE=", secret_of_triples(21)); /* 65 bytes */
	assert_int_equal(parse(secret), -EINVAL);
	assert_int_equal(parse(secret_of_triples(22)), -EINVAL); /* 66 */
	snprintf(secret, sizeof(secret), "%sQQ==", secret_of_triples(22)); /* 67 */
	assert_int_equal(parse(secret), -EINVAL);
	assert_int_equal(parse(secret_of_triples(200)), -EINVAL);
}

static void test_secret_without_its_prefix_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(""), -EINVAL);
	assert_int_equal(parse(&SECRET[6]), -EINVAL);
	assert_int_equal(parse("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), -EINVAL);
	assert_int_equal(parse("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), -EINVAL);
}

static void test_secret_without_its_padding_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="), 0);
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), -EINVAL);
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), -EINVAL);
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==="), -EINVAL);
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA===="), -EINVAL);
}

static void test_padding_in_the_middle_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("whsec_MfKQ9r8GKYqr=wjUPD8ILPZIo2LaLaSw"), -EINVAL);
	assert_int_equal(parse("whsec_MfKQ9r8GKYq=TwjUPD8ILPZIo2LaLaSw"), -EINVAL);
}

/* The last character has bits that no byte holds: other texts would be the same key. */
static void test_stray_bits_before_the_padding_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=="), -EINVAL);
	assert_int_equal(parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="), -EINVAL);
}

static void test_characters_outside_of_base64_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("whsec_MfKQ9r8GKYqrTwjUPD8I-PZIo2LaLaSw"), -EINVAL);
	assert_int_equal(parse("whsec_MfKQ9r8GKYqrTwjUPD8I_PZIo2LaLaSw"), -EINVAL);
	assert_int_equal(parse("whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw"), -EINVAL);
	assert_int_equal(parse(SECRET "    "), -EINVAL);
	assert_int_equal(parse(SECRET "\n\n\n\n"), -EINVAL);
	assert_int_equal(parse("whsec_    MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), -EINVAL);
}

static void test_secret_without_room_is_not_written(void **state)
{
	struct webhook_key key;
	char secret[sizeof(SECRET)];

	(void)state;
	assert_int_equal(webhook_key_parse(SECRET, &key), 0);
	assert_int_equal(webhook_key_format(&key, secret, sizeof(secret) - 1), -ENOSPC);
	assert_int_equal(webhook_key_format(&key, secret, sizeof(secret)), 0);
	assert_string_equal(secret, SECRET);
}

static void test_generated_secrets_have_32_bytes_and_differ(void **state)
{
	char a[HOOKD_SECRET_SIZE], b[HOOKD_SECRET_SIZE];
	struct webhook_key key;

	(void)state;
	assert_int_equal(hookd_secret_generate(a, sizeof(a)), 0);
	assert_int_equal(hookd_secret_generate(b, sizeof(b)), 0);
	assert_int_equal(webhook_key_parse(a, &key), 0);
	assert_int_equal(key.len, 32);
	assert_string_not_equal(a, b);
	assert_int_equal(hookd_secret_generate(a, 50), -ENOSPC);
}

/* ---- Signing ---- */

static void test_signature_is_that_of_standard_webhooks(void **state)
{
	char signature[HOOKD_SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(
		hookd_sign(SECRET, ID, TIME, BODY, strlen(BODY), signature, sizeof(signature)), 0);
	assert_string_equal(signature, SIGNATURE);
}

/* Their example has a secret of 18 bytes, which is too short to be taken as text. */
static void test_signature_is_that_of_svix(void **state)
{
	static const char body[] = "{\"event_type\":\"ping\",\"data\":{\"success\":true}}";
	static const struct webhook_key key = {.len = 18,
		.bytes = {0xa6, 0x52, 0x77, 0x9e, 0x6c, 0x82, 0x0c, 0x60, 0x4a, 0x22, 0x76, 0xaf,
			0x74, 0xe2, 0xb5, 0xe6, 0x3b, 0x25}};
	char signature[WEBHOOK_SIGNATURE_LEN];

	(void)state;
	assert_int_equal(webhook_sign(&key, "msg_loFOjxBNrRLzqYUf", "1731705121", body,
				 strlen(body), signature),
		0);
	assert_memory_equal(
		signature, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=", sizeof(signature));
}

static void test_empty_body_can_be_signed(void **state)
{
	struct hookd_webhook_headers headers = {.id = ID, .timestamp = "1614265330"};
	const char *secrets[] = {SECRET};
	char signature[HOOKD_SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(hookd_sign(SECRET, ID, TIME, NULL, 0, signature, sizeof(signature)), 0);
	headers.signature = signature;
	assert_int_equal(hookd_verify(secrets, 1, &headers, NULL, 0, TIME, 300), HOOKD_VERIFIED);
}

/* "a.b" + "c" would sign the same bytes as "a" + "b.c". */
static void test_sign_refuses_an_id_with_a_dot(void **state)
{
	char signature[HOOKD_SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(
		hookd_sign(SECRET, "msg.1", TIME, "", 0, signature, sizeof(signature)), -EINVAL);
}

static void test_sign_refuses_a_negative_time(void **state)
{
	char signature[HOOKD_SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(hookd_sign(SECRET, ID, -1, "", 0, signature, sizeof(signature)), -EINVAL);
}

static void test_sign_refuses_what_is_no_secret(void **state)
{
	char signature[HOOKD_SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(
		hookd_sign("secret", ID, TIME, "", 0, signature, sizeof(signature)), -EINVAL);
}

static void test_sign_needs_room_for_the_signature(void **state)
{
	char signature[WEBHOOK_SIGNATURE_LEN + 1];

	(void)state;
	assert_int_equal(
		hookd_sign(SECRET, ID, TIME, "", 0, signature, sizeof(signature) - 1), -ENOSPC);
	assert_int_equal(hookd_sign(SECRET, ID, TIME, "", 0, signature, sizeof(signature)), 0);
}

/* ---- Verifying ---- */

static int verify_at(const char *signature, int64_t now)
{
	static const char *const secrets[] = {SECRET};
	const struct hookd_webhook_headers headers = {ID, "1614265330", signature};

	return hookd_verify(secrets, 1, &headers, BODY, strlen(BODY), now, 300);
}

static int verify(const char *signature)
{
	return verify_at(signature, TIME);
}

static void test_right_signature_is_verified(void **state)
{
	(void)state;
	assert_int_equal(verify(SIGNATURE), HOOKD_VERIFIED);
}

static void test_signature_may_be_any_of_several(void **state)
{
	(void)state;
	assert_int_equal(verify("v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= " SIGNATURE),
		HOOKD_VERIFIED);
	assert_int_equal(verify(SIGNATURE " v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
		HOOKD_VERIFIED);
	assert_int_equal(verify("  " SIGNATURE "  "), HOOKD_VERIFIED);
}

static void test_signatures_of_other_schemes_are_skipped(void **state)
{
	(void)state;
	assert_int_equal(
		verify("v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZ"
		       "dpXwVLPo3mNl8EM+m7TBAg== " SIGNATURE),
		HOOKD_VERIFIED);
	assert_int_equal(
		verify("v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), HOOKD_BAD_SIGNATURE);
}

static void test_any_other_signature_is_bad(void **state)
{
	(void)state;
	assert_int_equal(verify(""), HOOKD_BAD_SIGNATURE);
	assert_int_equal(verify("v1,"), HOOKD_BAD_SIGNATURE);
	assert_int_equal(verify(SIGNATURE "="), HOOKD_BAD_SIGNATURE);
	assert_int_equal(verify(SIGNATURE "," SIGNATURE), HOOKD_BAD_SIGNATURE);
	assert_int_equal(
		verify("V1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), HOOKD_BAD_SIGNATURE);
}

static void test_every_character_of_the_signature_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < strlen(SIGNATURE); i++) {
		char signature[] = SIGNATURE;

		signature[i] ^= 1;
		assert_int_equal(verify(signature), HOOKD_BAD_SIGNATURE);
	}
}

static void test_id_timestamp_and_body_are_all_signed(void **state)
{
	static const char *const secrets[] = {SECRET};
	static const struct hookd_webhook_headers other_id = {"msg_1", "1614265330", SIGNATURE},
						  other_time = {ID, "1614265331", SIGNATURE},
						  right = {ID, "1614265330", SIGNATURE};

	(void)state;
	assert_int_equal(hookd_verify(secrets, 1, &other_id, BODY, strlen(BODY), TIME, 300),
		HOOKD_BAD_SIGNATURE);
	assert_int_equal(hookd_verify(secrets, 1, &other_time, BODY, strlen(BODY), TIME, 300),
		HOOKD_BAD_SIGNATURE);
	assert_int_equal(hookd_verify(secrets, 1, &right, BODY, strlen(BODY) - 1, TIME, 300),
		HOOKD_BAD_SIGNATURE);
}

static void test_any_of_several_secrets_may_fit(void **state)
{
	static const char *const last[] = {OTHER_SECRET, SECRET},
				 *const first[] = {SECRET, OTHER_SECRET};
	static const struct hookd_webhook_headers headers = {ID, "1614265330", SIGNATURE};

	(void)state;
	assert_int_equal(
		hookd_verify(last, 2, &headers, BODY, strlen(BODY), TIME, 300), HOOKD_VERIFIED);
	assert_int_equal(
		hookd_verify(first, 2, &headers, BODY, strlen(BODY), TIME, 300), HOOKD_VERIFIED);
	assert_int_equal(hookd_verify(last, 1, &headers, BODY, strlen(BODY), TIME, 300),
		HOOKD_BAD_SIGNATURE);
}

static void test_without_secrets_nothing_is_verified(void **state)
{
	static const struct hookd_webhook_headers headers = {ID, "1614265330", SIGNATURE};

	(void)state;
	assert_int_equal(hookd_verify(NULL, 0, &headers, BODY, strlen(BODY), TIME, 300),
		HOOKD_BAD_SIGNATURE);
}

static void test_secret_that_is_none_is_an_error(void **state)
{
	static const char *const secrets[] = {SECRET, "nonsense"};
	static const struct hookd_webhook_headers headers = {ID, "1614265330", SIGNATURE};

	(void)state;
	assert_int_equal(
		hookd_verify(secrets, 2, &headers, BODY, strlen(BODY), TIME, 300), -EINVAL);
}

static void test_time_may_be_off_by_the_tolerance_both_ways(void **state)
{
	(void)state;
	assert_int_equal(verify_at(SIGNATURE, TIME + 300), HOOKD_VERIFIED);
	assert_int_equal(verify_at(SIGNATURE, TIME + 301), HOOKD_TOO_OLD);
	assert_int_equal(verify_at(SIGNATURE, TIME - 300), HOOKD_VERIFIED);
	assert_int_equal(verify_at(SIGNATURE, TIME - 301), HOOKD_TOO_NEW);
}

static int verify_within(int64_t now, int64_t tolerance_s)
{
	const struct hookd_webhook_headers headers = {ID, "1614265330", SIGNATURE};
	const char *const secret = SECRET;

	return hookd_verify(&secret, 1, &headers, BODY, strlen(BODY), now, tolerance_s);
}

static void test_any_time_and_any_tolerance_are_judged(void **state)
{
	(void)state;
	assert_int_equal(verify_within(TIME, INT64_MAX), HOOKD_VERIFIED);
	assert_int_equal(verify_within(0, INT64_MAX), HOOKD_VERIFIED);
	assert_int_equal(verify_within(INT64_MAX, INT64_MAX), HOOKD_VERIFIED);
	assert_int_equal(verify_within(INT64_MAX, INT64_MAX - TIME), HOOKD_VERIFIED);
	assert_int_equal(verify_within(INT64_MAX, INT64_MAX - TIME - 1), HOOKD_TOO_OLD);
	assert_int_equal(verify_within(INT64_MIN, INT64_MAX), HOOKD_TOO_NEW);
	assert_int_equal(verify_within(INT64_MAX, 0), HOOKD_TOO_OLD);
	assert_int_equal(verify_within(INT64_MIN, 0), HOOKD_TOO_NEW);
	/* Nothing is nearer than that. */
	assert_int_equal(verify_within(TIME, -1), HOOKD_TOO_OLD);
	assert_int_equal(verify_within(TIME, INT64_MIN), HOOKD_TOO_OLD);
	assert_int_equal(verify_within(INT64_MIN, INT64_MIN), HOOKD_TOO_NEW);
}

static void test_of_a_forged_request_the_time_is_not_told(void **state)
{
	(void)state;
	assert_int_equal(verify_at("v1,forged", TIME + 10000), HOOKD_BAD_SIGNATURE);
}

static void test_missing_header_is_malformed(void **state)
{
	static const char *const secrets[] = {SECRET};
	static const struct hookd_webhook_headers cases[] = {{NULL, "1614265330", SIGNATURE},
		{"", "1614265330", SIGNATURE}, {ID, NULL, SIGNATURE}, {ID, "1614265330", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(hookd_verify(secrets, 1, &cases[i], BODY, strlen(BODY), TIME, 300),
			HOOKD_MALFORMED_HEADERS);
}

static void test_timestamp_that_is_no_number_is_malformed(void **state)
{
	static const char *const secrets[] = {SECRET};
	static const char *const timestamps[] = {"", " 1614265330", "1614265330 ", "+1614265330",
		"-1614265330", "1614265330.0", "0x6037b7f2", "1e9", "2021-02-25T15:02:10Z",
		"9999999999999999", "99999999999999999999999999"};

	(void)state;
	for (size_t i = 0; i < sizeof(timestamps) / sizeof(timestamps[0]); i++) {
		const struct hookd_webhook_headers headers = {ID, timestamps[i], SIGNATURE};

		assert_int_equal(hookd_verify(secrets, 1, &headers, BODY, strlen(BODY), TIME, 300),
			HOOKD_MALFORMED_HEADERS);
	}
}

static void test_id_with_a_dot_is_malformed(void **state)
{
	static const char *const secrets[] = {SECRET};
	static const struct hookd_webhook_headers headers = {"msg.1", "1614265330", SIGNATURE};

	(void)state;
	assert_int_equal(hookd_verify(secrets, 1, &headers, BODY, strlen(BODY), TIME, 300),
		HOOKD_MALFORMED_HEADERS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_is_the_decoded_bytes),
		cmocka_unit_test(test_secret_of_every_allowed_length_reads_back_the_same),
		cmocka_unit_test(test_secret_shorter_than_24_bytes_is_refused),
		cmocka_unit_test(test_secret_longer_than_64_bytes_is_refused),
		cmocka_unit_test(test_secret_without_its_prefix_is_refused),
		cmocka_unit_test(test_secret_without_its_padding_is_refused),
		cmocka_unit_test(test_padding_in_the_middle_is_refused),
		cmocka_unit_test(test_stray_bits_before_the_padding_are_refused),
		cmocka_unit_test(test_characters_outside_of_base64_are_refused),
		cmocka_unit_test(test_secret_without_room_is_not_written),
		cmocka_unit_test(test_generated_secrets_have_32_bytes_and_differ),
		cmocka_unit_test(test_signature_is_that_of_standard_webhooks),
		cmocka_unit_test(test_signature_is_that_of_svix),
		cmocka_unit_test(test_empty_body_can_be_signed),
		cmocka_unit_test(test_sign_refuses_an_id_with_a_dot),
		cmocka_unit_test(test_sign_refuses_a_negative_time),
		cmocka_unit_test(test_sign_refuses_what_is_no_secret),
		cmocka_unit_test(test_sign_needs_room_for_the_signature),
		cmocka_unit_test(test_right_signature_is_verified),
		cmocka_unit_test(test_signature_may_be_any_of_several),
		cmocka_unit_test(test_signatures_of_other_schemes_are_skipped),
		cmocka_unit_test(test_any_other_signature_is_bad),
		cmocka_unit_test(test_every_character_of_the_signature_counts),
		cmocka_unit_test(test_id_timestamp_and_body_are_all_signed),
		cmocka_unit_test(test_any_of_several_secrets_may_fit),
		cmocka_unit_test(test_without_secrets_nothing_is_verified),
		cmocka_unit_test(test_secret_that_is_none_is_an_error),
		cmocka_unit_test(test_time_may_be_off_by_the_tolerance_both_ways),
		cmocka_unit_test(test_any_time_and_any_tolerance_are_judged),
		cmocka_unit_test(test_of_a_forged_request_the_time_is_not_told),
		cmocka_unit_test(test_missing_header_is_malformed),
		cmocka_unit_test(test_timestamp_that_is_no_number_is_malformed),
		cmocka_unit_test(test_id_with_a_dot_is_malformed),
	};

	return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
