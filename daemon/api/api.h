/*
 * The HTTP API on Unix sockets: everything that producers, hookctl and Prometheus ask of hookd.
 * doc/api.md is the specification.
 *
 * HTTP is read by libmicrohttpd, whose epoll descriptor sits in the main loop. A request is parsed
 * and checked, handed to the store or to dispatch, and answered when they answer; in between it is
 * suspended. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../clock.h"
#include "../config.h"
#include "../dispatch.h"
#include "../metrics.h"
#include "../rekey.h"
#include "../secretbox.h"
#include "../store/store.h"

struct api;

/* What a socket may do; the first three each include those before. */
enum role { ROLE_SUBMIT, ROLE_MANAGE, ROLE_ADMIN, ROLE_METRICS };
#define N_ROLES 4
const char *role_name(enum role role);

struct api_options {
	struct event_base *base;
	struct clock *clock;
	struct metrics *metrics;
	const struct config *config; /* replaced through api_reload() */
	const struct secretbox *box;
	struct store *store;
	struct dispatch *dispatch;
	struct rekey *rekey;
	const char *data_directory;
	int64_t started_wall_ms;
};

/* Returns 0 or a negative errno. */
int api_new(struct api **api, const struct api_options *options);
/* After store_finish() and dispatch_free(), behind which nobody answers any more: lets the last
 * answers leave, and closes the connections of requests that have none. NULL is fine. */
void api_free(struct api *api);

/* Serves a listening socket; the descriptor is taken over. Returns 0 or a negative errno. */
int api_listen(struct api *api, int fd, enum role role);

void api_reload(struct api *api, const struct config *config);

/* No new connections; requests that come on old ones, or are still coming, are refused. idle is
 * called when the last answer is on its way, perhaps at once. */
void api_stop(struct api *api, void (*idle)(void *user), void *user);
