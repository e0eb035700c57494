/*
 * The objects of the API as JSON: what doc/api.md calls event, delivery, attempt and endpoint. All
 * functions return a new reference, or NULL without memory. Internal to api.
 */
#pragma once

#include <jansson.h>

#include "api.h"

json_t *render_time(const struct api_options *options, int64_t queue_ms);
/* null for 0 */
json_t *render_time_or_null(const struct api_options *options, int64_t queue_ms);
json_t *render_wall_time(int64_t wall_ms);

json_t *render_event(const struct api_options *options, const struct event_row *row);
json_t *render_attempt(const struct api_options *options, const struct attempt_story *story);
/* Without a story: what the delivery itself says of its last attempt. null for none. */
json_t *render_last_attempt(
	const struct api_options *options, const struct attempt *last, const char *message);
json_t *render_delivery(const struct api_options *options, const struct delivery *delivery,
	const char *type, const struct attempt_story *story);
json_t *render_endpoint(const struct api_options *options, struct slot *slot);

/* "evt_.../billing" */
#define DELIVERY_ADDRESS_SIZE (EVENT_ID_TEXT_SIZE + 66)
void delivery_address(const struct event_id *event, const char *endpoint,
	char text[static DELIVERY_ADDRESS_SIZE]);
