/*
 * hookd.conf: its keys, their defaults, and reading it. hookd.conf(5) is the specification.
 *
 * A struct config is whole and valid or does not exist: a file with a mistake changes nothing. It
 * is owned by the main thread and replaced as a whole by a reload.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../lib/retry_schedule.h"
#include "guard.h"
#include "problem.h"

#define CONFIG_LIST_MAX 64

enum senders_landlock { LANDLOCK_REQUIRED, LANDLOCK_OPTIONAL };
enum log_attempts { LOG_ATTEMPTS_NONE, LOG_ATTEMPTS_FAILURES, LOG_ATTEMPTS_ALL };

struct config_networks {
	struct network list[CONFIG_LIST_MAX];
	size_t n;
};

struct config_ports {
	struct port_range list[CONFIG_LIST_MAX];
	size_t n;
};

/* Sizes in bytes, durations in seconds; 0 where "none" is allowed. */
struct config {
	struct {
		int64_t budget, min_free_disk;
	} store;
	struct {
		int64_t delivered, dead, idempotency_keys;
	} retention;
	struct {
		int64_t max_payload, max_batch, max_connections, max_connections_per_user,
			request_timeout, max_endpoints_per_tenant;
	} intake;
	struct { /* what an endpoint has that sets nothing itself */
		struct retry_schedule retry_schedule;
		int64_t max_age, timeout, connect_timeout, max_in_flight, retry_after_max,
			secret_overlap;
		double rate;
	} delivery;
	struct {
		bool allow_http;
		struct config_networks allow_private, deny;
		struct config_ports ports;
		char ca_file[256], dns_servers[256]; /* "" for automatic servers */
	} network;
	struct {
		int64_t count, max_in_flight; /* count 0: one a core */
		enum senders_landlock landlock;
	} senders;
	struct {
		int level; /* of syslog: 3 to 7 */
		enum log_attempts attempts;
	} log;
};

/* The defaults alone. */
void config_default(struct config *config);

/* Reads the file on top of the defaults; one that does not exist is empty. Returns 0, or -EINVAL
 * with the reason: problem->field is "section.key", problem->line the line. */
int config_read(struct config *config, const char *path, struct problem *problem);

/* Writes what is in force as a file that reads back to the same. */
void config_print(const struct config *config, FILE *file);
