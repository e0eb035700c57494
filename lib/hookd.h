/*
 * libhookd: hand events to hookd, and sign or verify webhooks.
 *
 * Two independent parts. The client talks to a hookd on the same machine through its Unix socket; a
 * client is used by one thread at a time, any number of clients may exist. The webhook functions
 * are pure: no client, no socket, no global state.
 *
 * Functions that can fail return 0, or a negative errno value, or one of the positive enum values
 * named with the function. Strings are UTF-8 and end with NUL; pointers in arguments are borrowed
 * for the call.
 *
 * The library never prints, never exits and never changes signal handlers. The connection to hookd
 * is close-on-exec; two sockets that libcurl keeps in a client, connected to each other, are not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library at run time, such as "1.0.0". */
const char *hookd_version(void);

/* ---- Handing events over ------------------------------------------------------------------------
 */

/*
 * What became of a call. HOOKD_UNKNOWN means "perhaps stored", and so does HOOKD_UNEXPECTED: submit
 * again with the same idempotency key. Every other value but HOOKD_OK, and every negative errno,
 * means "not stored".
 * The names are the problem codes of the HTTP API (doc/api.md).
 *
 * When the connection breaks after some of a request has left, the library sends it once more, with
 * the same key, if there is time. A refusal of that second one that would pass (busy, stopping,
 * full), and a hookd that is not to be reached any more, say nothing about the first one: these are
 * HOOKD_UNKNOWN then.
 */
enum hookd_outcome {
	HOOKD_OK = 0,
	HOOKD_MALFORMED, /* 400: not understood: a bug, or a hookd of another version */
	HOOKD_INVALID, /* 400: a field of the event is wrong; hookd_client_problem() names it */
	HOOKD_FORBIDDEN, /* 403: this socket may not do that */
	HOOKD_NOT_FOUND, /* 404: no such event */
	HOOKD_TOO_LARGE, /* 413: payload or batch over hookd's limit */
	HOOKD_KEY_REUSED, /* 422: the key was used for another content */
	HOOKD_BUSY, /* 429, 503: overloaded just now; try again later */
	HOOKD_STOPPING, /* 503: hookd is shutting down; try again later */
	HOOKD_FULL, /* 507: budget, disk, or the endpoint's share of it used up */
	HOOKD_UNKNOWN, /* 503 "unknown", or the connection broke, also at the second try, or the
			* time was up, after sending began */
	HOOKD_UNEXPECTED /* an answer that this library does not know; treat it as HOOKD_UNKNOWN */
};

/* The name of an outcome as the API writes it: "ok", "invalid", "key_reused" ... Never NULL. */
const char *hookd_outcome_name(int outcome);

struct hookd_client;

/*
 * A client for the socket at path; NULL means submit.sock in $HOOKD_SOCKETS, else in /run/hookd.
 * Connects at the first call that needs it, and again when hookd was restarted.
 * Returns 0, -ENOMEM, or -ENAMETOOLONG (a socket path has at most 107 bytes).
 */
int hookd_client_new(struct hookd_client **client, const char *path);
void hookd_client_free(struct hookd_client *client); /* NULL is fine */

/* The longest that one call may take, from connecting to the whole answer; 10 000 ms at first. */
void hookd_client_set_timeout(struct hookd_client *client, unsigned milliseconds);

/* The last problem of this client in words, for a log; "" after a success. Valid until the next
 * call. */
const char *hookd_client_problem(const struct hookd_client *client);

struct hookd_event {
	const char *type; /* needed: 1-128 of A-Z a-z 0-9 _ - . : / */
	const char *tenant; /* NULL: the default tenant */
	const void *payload; /* needed */
	size_t payload_len;
	const char *content_type; /* NULL: the payload is JSON and becomes "data" of an envelope.
				   * Set: the payload is delivered as it is, labelled so;
				   * 1-255 visible ASCII characters and spaces. */
	const char *idempotency_key; /* 1-255 visible ASCII characters; NULL: the library makes one,
				      * so that its own repeat after a broken connection cannot
				      * store twice */
	int64_t timestamp_ms; /* when it happened, milliseconds since 1970; 0: now */
	int64_t deliver_at_ms; /* not to be delivered before; 0: at once; at most 366 days ahead */
};

#define HOOKD_ID_SIZE 31

struct hookd_receipt {
	char id[HOOKD_ID_SIZE]; /* "evt_" and 26 characters */
	uint32_t deliveries; /* to how many endpoints it is owed */
	bool duplicate; /* the key was known: id is that of the event stored then */
};

/*
 * Hands one event over. 0: it is on disk, and hookd owes the delivery. Negative errno: hookd was
 * not reached, nothing was sent: -ENOENT (no such socket), -ECONNREFUSED, -EACCES, -ETIMEDOUT
 * (hookd does not accept), -ENOMEM, -EINVAL (type or payload missing), -EIO (no random numbers for
 * a key). Positive: enum hookd_outcome. receipt may be NULL.
 */
int hookd_submit(struct hookd_client *client, const struct hookd_event *event,
	struct hookd_receipt *receipt);

/*
 * The same for 1 to 1000 events: all are stored or none. content_type must be NULL in all of them,
 * and a payload must not contain line breaks outside of strings' escapes (-EINVAL). receipts, if
 * not NULL, has room for n.
 */
int hookd_submit_batch(struct hookd_client *client, const struct hookd_event *events, size_t n,
	struct hookd_receipt *receipts);

struct hookd_event_info {
	uint32_t deliveries; /* to how many endpoints it was owed when it was stored */
	uint32_t pending, held, delivered, dead; /* now; what was purged is in none */
};

/* How the deliveries of an event stand. Returns as hookd_submit() does; HOOKD_NOT_FOUND when it is
 * gone. */
int hookd_event_get(struct hookd_client *client, const char *id, struct hookd_event_info *info);

/* ---- Signing and verifying: Standard Webhooks 1.0.0, "v1"
 * ---------------------------------------- */

#define HOOKD_SECRET_SIZE 128 /* room for any "whsec_..." text */
#define HOOKD_SIGNATURE_SIZE 64 /* room for "v1," and 44 characters */

/* A fresh secret, "whsec_" and base64 of 32 random bytes. Returns 0, -ENOSPC, or -EIO (no
 * randomness). */
int hookd_secret_generate(char *secret, size_t size);

/*
 * The value of webhook-signature for one secret. id and time (seconds since 1970) are the values of
 * webhook-id and webhook-timestamp. Returns 0, -EINVAL (not a secret of 24 to 64 bytes; an id with
 * a dot; a negative time), -ENOSPC or -ENOMEM.
 */
int hookd_sign(const char *secret, const char *id, int64_t time, const void *body, size_t len,
	char *signature, size_t size);

struct hookd_webhook_headers {
	const char *id; /* webhook-id */
	const char *timestamp; /* webhook-timestamp */
	const char *signature; /* webhook-signature: one or more, separated by spaces */
};

enum hookd_verdict {
	HOOKD_VERIFIED = 0,
	HOOKD_BAD_SIGNATURE, /* none of the signatures fits any of the secrets */
	HOOKD_TOO_OLD, /* signed longer than the tolerance ago: perhaps a replay by an attacker */
	HOOKD_TOO_NEW, /* signed in the future: a clock is wrong */
	HOOKD_MALFORMED_HEADERS /* a header is missing or not of its form */
};

/*
 * Is this request from the holder of one of the n secrets? Compares in constant time. now is the
 * time in seconds, tolerance_s how far webhook-timestamp may be from it both ways (300 is usual).
 * Returns enum hookd_verdict, -EINVAL (a secret is not one) or -ENOMEM.
 */
int hookd_verify(const char *const *secrets, size_t n, const struct hookd_webhook_headers *headers,
	const void *body, size_t len, int64_t now, int64_t tolerance_s);

#ifdef __cplusplus
}
#endif
