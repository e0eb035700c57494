#include "webhook.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "hookd.h"

static const char secret_prefix[] = "whsec_";
#define SECRET_PREFIX_LEN (sizeof(secret_prefix) - 1)
#define BASE64_MAX (4 * ((WEBHOOK_KEY_MAX + 2) / 3))

/* Looked up once a process: a look-up costs as much as a signature. Constant afterwards. */
static EVP_MAC *hmac;
static pthread_once_t hmac_once = PTHREAD_ONCE_INIT;

static void fetch_hmac(void)
{
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

int webhook_key_parse(const char *secret, struct webhook_key *key)
{
	size_t len = strlen(secret), padding = 0;
	uint8_t decoded[BASE64_MAX];
	unsigned char again[BASE64_MAX + 1];
	int n;

	if (len <= SECRET_PREFIX_LEN || memcmp(secret, secret_prefix, SECRET_PREFIX_LEN) != 0)
		return -EINVAL;
	secret += SECRET_PREFIX_LEN;
	len -= SECRET_PREFIX_LEN;
	if (len % 4 != 0 || len > BASE64_MAX)
		return -EINVAL;
	while (padding < 2 && secret[len - 1 - padding] == '=')
		padding++;
	n = EVP_DecodeBlock(decoded, (const unsigned char *)secret, (int)len);
	if (n < 0)
		return -EINVAL;
	key->len = (size_t)n - padding;
	if (key->len < WEBHOOK_KEY_MIN || key->len > WEBHOOK_KEY_MAX) {
		OPENSSL_cleanse(decoded, sizeof(decoded));
		return -EINVAL;
	}
	memcpy(key->bytes, decoded, key->len);
	/* One key, one text: what OpenSSL tolerates (spaces, stray bits) does not survive the way
	 * back. */
	EVP_EncodeBlock(again, key->bytes, (int)key->len);
	n = memcmp(again, secret, len);
	OPENSSL_cleanse(decoded, sizeof(decoded));
	OPENSSL_cleanse(again, sizeof(again));
	return n == 0 ? 0 : -EINVAL;
}

int webhook_key_format(const struct webhook_key *key, char *secret, size_t size)
{
	size_t encoded = 4 * ((key->len + 2) / 3);

	if (size < SECRET_PREFIX_LEN + encoded + 1)
		return -ENOSPC;
	memcpy(secret, secret_prefix, SECRET_PREFIX_LEN);
	EVP_EncodeBlock((unsigned char *)secret + SECRET_PREFIX_LEN, key->bytes, (int)key->len);
	return 0;
}

int webhook_sign(const struct webhook_key *key, const char *id, const char *timestamp,
	const void *body, size_t len, char signature[static WEBHOOK_SIGNATURE_LEN])
{
	static const OSSL_PARAM sha256[] = {
		OSSL_PARAM_utf8_string("digest", (char *)"SHA256", sizeof("SHA256") - 1),
		OSSL_PARAM_END};
	unsigned char mac[WEBHOOK_MAC_LEN], text[4 * ((WEBHOOK_MAC_LEN + 2) / 3) + 1];
	EVP_MAC_CTX *context;
	size_t mac_len;
	bool ok;

	pthread_once(&hmac_once, fetch_hmac);
	context = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	if (!context)
		return -ENOMEM;
	ok = EVP_MAC_init(context, key->bytes, key->len, sha256) &&
		EVP_MAC_update(context, (const unsigned char *)id, strlen(id)) &&
		EVP_MAC_update(context, (const unsigned char *)".", 1) &&
		EVP_MAC_update(context, (const unsigned char *)timestamp, strlen(timestamp)) &&
		EVP_MAC_update(context, (const unsigned char *)".", 1) &&
		EVP_MAC_update(context, body, len) &&
		EVP_MAC_final(context, mac, &mac_len, sizeof(mac));
	EVP_MAC_CTX_free(context);
	if (!ok)
		return -ENOMEM;
	EVP_EncodeBlock(text, mac, sizeof(mac));
	memcpy(signature, "v1,", 3);
	memcpy(signature + 3, text, WEBHOOK_SIGNATURE_LEN - 3);
	return 0;
}

int hookd_secret_generate(char *secret, size_t size)
{
	struct webhook_key key = {.len = 32};
	int r;

	if (RAND_bytes(key.bytes, (int)key.len) != 1)
		return -EIO;
	r = webhook_key_format(&key, secret, size);
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

int hookd_sign(const char *secret, const char *id, int64_t time, const void *body, size_t len,
	char *signature, size_t size)
{
	struct webhook_key key;
	char timestamp[24];
	int r;

	if (time < 0 || strchr(id, '.'))
		return -EINVAL;
	if (size < WEBHOOK_SIGNATURE_LEN + 1)
		return -ENOSPC;
	r = webhook_key_parse(secret, &key);
	if (r < 0)
		return r;
	snprintf(timestamp, sizeof(timestamp), "%lld", (long long)time);
	r = webhook_sign(&key, id, timestamp, body, len, signature);
	signature[r < 0 ? 0 : WEBHOOK_SIGNATURE_LEN] = '\0';
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

/* Is the expected signature one of those in the header? Looks at all of them, whatever it finds. */
static bool is_listed(const char *header, const char expected[static WEBHOOK_SIGNATURE_LEN])
{
	bool found = false;

	while (*header) {
		size_t len = strcspn(header, " ");

		if (len == WEBHOOK_SIGNATURE_LEN)
			found |= CRYPTO_memcmp(header, expected, WEBHOOK_SIGNATURE_LEN) == 0;
		header += len;
		header += strspn(header, " ");
	}
	return found;
}

/* Decimal digits only, as the specification wants it. Returns -1 for anything else. */
static int64_t parse_seconds(const char *text)
{
	int64_t value = 0;

	if (!*text || strlen(text) > 15)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
	}
	return value;
}

/* a + b, or the end of the range beyond which it is. */
static int64_t add_up(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

int hookd_verify(const char *const *secrets, size_t n, const struct hookd_webhook_headers *headers,
	const void *body, size_t len, int64_t now, int64_t tolerance_s)
{
	bool verified = false;
	int64_t signed_at;

	if (!headers->id || !headers->timestamp || !headers->signature || !*headers->id)
		return HOOKD_MALFORMED_HEADERS;
	signed_at = parse_seconds(headers->timestamp);
	if (signed_at < 0 || strchr(headers->id, '.'))
		return HOOKD_MALFORMED_HEADERS;
	for (size_t i = 0; i < n; i++) {
		char expected[WEBHOOK_SIGNATURE_LEN];
		struct webhook_key key;
		int r = webhook_key_parse(secrets[i], &key);

		if (r == 0)
			r = webhook_sign(
				&key, headers->id, headers->timestamp, body, len, expected);
		OPENSSL_cleanse(&key, sizeof(key));
		if (r < 0)
			return r;
		verified |= is_listed(headers->signature, expected);
	}
	/* The time is judged last: of a forged request nothing is told but that it is forged. */
	if (!verified)
		return HOOKD_BAD_SIGNATURE;
	if (now > add_up(signed_at, tolerance_s))
		return HOOKD_TOO_OLD;
	if (signed_at > add_up(now, tolerance_s))
		return HOOKD_TOO_NEW;
	return HOOKD_VERIFIED;
}
