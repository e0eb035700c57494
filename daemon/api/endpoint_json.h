/*
 * Endpoints as users write them: the members of a POST or a PATCH become a draft. Internal to api.
 */
#pragma once

#include <jansson.h>

#include "../config.h"
#include "../endpoint.h"
#include "../problem.h"

/* The lists a draft may lead to while it is read. */
struct endpoint_room {
	const char *types[ENDPOINT_TYPES_MAX];
	struct endpoint_header headers[ENDPOINT_HEADERS_MAX];
	uint32_t waits[RETRY_WAITS_MAX];
	struct network networks[ENDPOINT_NETWORKS_MAX];
};

/*
 * Applies the members to the draft as RFC 7396 wants it: null brings the default back. is_admin:
 * members that open the inner network are allowed. Returns 0 or the problem's code. The draft then
 * borrows from json and room.
 */
int endpoint_json_apply(const json_t *json, bool is_admin, const struct config *config,
	struct endpoint *draft, struct endpoint_room *room, struct problem *problem);

/* "secret" of a request that makes one: given, or generated. */
int endpoint_json_secret(const json_t *json, struct webhook_key *key, struct problem *problem);
