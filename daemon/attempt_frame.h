/*
 * What the frames between hookd and its senders say: the configuration, requests and outcomes.
 * Written by one process, read by the other; the reading functions trust nothing. doc/format.md has
 * the layouts.
 *
 * Pure.
 */
#pragma once

#include "bytes.h"
#include "config.h"
#include "delivery.h"
#include "guard.h"

/* ---- hookd to the sender ---- */

struct sender_config {
	char user_agent[64];
	char ca_file[256];
	char dns_servers[256]; /* "": those of resolv.conf */
	uint32_t connect_timeout_ms, max_in_flight;
	bool landlock_optional;
	struct config_networks allowed, denied;
	struct config_ports ports;
};

#define CONFIG_FRAME_SIZE (16 * 1024)
void frame_put_config(struct byte_writer *w, const struct sender_config *config);
bool frame_get_config(struct byte_reader *r, struct sender_config *config);

#define REQUEST_HEADERS_MAX 32

struct text_span {
	const char *at;
	size_t len;
};

struct sender_request {
	uint64_t slot; /* hookd's name for the attempt */
	uint32_t timeout_ms;
	bool allow_http;
	bool body_in_file; /* a memory file travels along */
	struct networks allow_private;
	struct text_span url;
	struct text_span headers[REQUEST_HEADERS_MAX]; /* "Name: value" */
	unsigned n_headers;
	struct text_span ca; /* PEM; empty: the system's */
	struct text_span body; /* at is NULL when it is in the file */
};

size_t frame_request_size(const struct sender_request *request);
void frame_put_request(struct byte_writer *w, const struct sender_request *request);
/* networks: room for the request's own. Pointers lead into the frame. */
bool frame_get_request(struct byte_reader *r, struct sender_request *request,
	struct network networks[static CONFIG_LIST_MAX]);

/* ---- The sender to hookd ---- */

/* Why an attempt could not be made, through no fault of the receiver. */
enum local_fault {
	NO_LOCAL_FAULT,
	FAULT_DESCRIPTORS,
	FAULT_MEMORY,
	FAULT_RESOLVER,
	FAULT_PORTS,
	FAULT_AUTHORITIES,
	FAULT_SENDER,
	N_LOCAL_FAULTS
};
const char *local_fault_text(enum local_fault fault);

struct sender_outcome {
	uint64_t slot;
	enum local_fault fault;
	enum attempt_result result; /* unless there is a fault */
	uint16_t http_status;
	uint32_t duration_us;
	struct peer peer;
	char retry_after[64]; /* as it was sent; "" */
	uint16_t message_len, response_len;
	char message[ATTEMPT_MESSAGE_MAX]; /* printable UTF-8, cleaned by frame_get_outcome() */
	char response[ATTEMPT_RESPONSE_MAX];
};

#define UNFIT_SIZE 256

/* Why a sender cannot work, in words. */
void frame_put_unfit(struct byte_writer *w, const char *reason);
/* reason is printable then. */
bool frame_get_unfit(struct byte_reader *r, char reason[static UNFIT_SIZE]);

#define OUTCOME_FRAME_SIZE 1536 /* at most */
size_t frame_outcome_size(const struct sender_outcome *outcome);
void frame_put_outcome(struct byte_writer *w, const struct sender_outcome *outcome);
bool frame_get_outcome(struct byte_reader *r, struct sender_outcome *outcome);
