/*
 * What each route does, by room: intake.c, events.c, deliveries.c, endpoints.c, control.c,
 * metrics_text.c. Internal to api; routes.c puts them together.
 */
#pragma once

#include "request.h"

void handle_submit(struct request *request);

void handle_event_list(struct request *request);
void handle_event_get(struct request *request);
void handle_event_payload(struct request *request);

void handle_delivery_list(struct request *request);
void handle_delivery_get(struct request *request);
void handle_replay(struct request *request);
void handle_hold(struct request *request);
void handle_release(struct request *request);
void handle_cancel(struct request *request);
void handle_purge(struct request *request);

void handle_endpoint_create(struct request *request);
void handle_endpoint_list(struct request *request);
void handle_endpoint_get(struct request *request);
void handle_endpoint_patch(struct request *request);
void handle_endpoint_delete(struct request *request);
void handle_endpoint_pause(struct request *request);
void handle_endpoint_resume(struct request *request);
void handle_endpoint_rotate_secret(struct request *request);
void handle_endpoint_test(struct request *request);

void handle_health(struct request *request);
void handle_status(struct request *request);
void handle_pause(struct request *request);
void handle_resume(struct request *request);
void handle_backup(struct request *request);
void handle_rekey(struct request *request);
void handle_backlog(struct request *request);

void handle_metrics(struct request *request);
