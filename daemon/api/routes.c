/* The API at a glance. Each route has a section in doc/api.md. */
#include "handlers.h"

#define FILTERS "event tenant endpoint type state since until http_status error order limit cursor"

const struct route routes[] = {
	{"POST", "/v1/events", ROLE_SUBMIT, BODY_INTAKE, "type tenant timestamp deliver_at",
		handle_submit},
	{"GET", "/v1/events", ROLE_MANAGE, BODY_NONE,
		"tenant type since until idempotency_key order limit cursor", handle_event_list},
	{"GET", "/v1/events/{}", ROLE_SUBMIT, BODY_NONE, "", handle_event_get},
	{"GET", "/v1/events/{}/payload", ROLE_MANAGE, BODY_NONE, "", handle_event_payload},
	{"GET", "/v1/health", ROLE_SUBMIT, BODY_NONE, "", handle_health},

	{"GET", "/v1/deliveries", ROLE_MANAGE, BODY_NONE, FILTERS, handle_delivery_list},
	{"POST", "/v1/deliveries/replay", ROLE_MANAGE, BODY_JSON, "", handle_replay},
	{"POST", "/v1/deliveries/hold", ROLE_MANAGE, BODY_JSON, "", handle_hold},
	{"POST", "/v1/deliveries/release", ROLE_MANAGE, BODY_JSON, "", handle_release},
	{"POST", "/v1/deliveries/cancel", ROLE_MANAGE, BODY_JSON, "", handle_cancel},
	{"POST", "/v1/deliveries/purge", ROLE_ADMIN, BODY_JSON, "", handle_purge},
	{"GET", "/v1/deliveries/{}/{}", ROLE_MANAGE, BODY_NONE, "", handle_delivery_get},
	{"GET", "/v1/backlog", ROLE_MANAGE, BODY_NONE, "tenant cursor", handle_backlog},

	{"POST", "/v1/endpoints", ROLE_MANAGE, BODY_JSON, "", handle_endpoint_create},
	{"GET", "/v1/endpoints", ROLE_MANAGE, BODY_NONE, "tenant state health order limit cursor",
		handle_endpoint_list},
	{"GET", "/v1/endpoints/{}", ROLE_MANAGE, BODY_NONE, "tenant", handle_endpoint_get},
	{"PATCH", "/v1/endpoints/{}", ROLE_MANAGE, BODY_JSON, "tenant", handle_endpoint_patch},
	{"DELETE", "/v1/endpoints/{}", ROLE_MANAGE, BODY_NONE, "tenant", handle_endpoint_delete},
	{"POST", "/v1/endpoints/{}/pause", ROLE_MANAGE, BODY_OPTIONAL_JSON, "tenant",
		handle_endpoint_pause},
	{"POST", "/v1/endpoints/{}/resume", ROLE_MANAGE, BODY_OPTIONAL_JSON, "tenant",
		handle_endpoint_resume},
	{"POST", "/v1/endpoints/{}/rotate-secret", ROLE_MANAGE, BODY_OPTIONAL_JSON, "tenant",
		handle_endpoint_rotate_secret},
	{"POST", "/v1/endpoints/{}/test", ROLE_MANAGE, BODY_OPTIONAL_JSON, "tenant",
		handle_endpoint_test},

	{"GET", "/v1/status", ROLE_MANAGE, BODY_NONE, "", handle_status},
	{"POST", "/v1/pause", ROLE_ADMIN, BODY_OPTIONAL_JSON, "", handle_pause},
	{"POST", "/v1/resume", ROLE_ADMIN, BODY_OPTIONAL_JSON, "", handle_resume},
	{"POST", "/v1/backup", ROLE_ADMIN, BODY_OPTIONAL_JSON, "", handle_backup},
	{"POST", "/v1/rekey", ROLE_ADMIN, BODY_OPTIONAL_JSON, "", handle_rekey},
	{"GET", "/metrics", ROLE_METRICS, BODY_NONE, "", handle_metrics},
};

const size_t n_routes = sizeof(routes) / sizeof(routes[0]);
