/*
 * One request on its way through the API: what came, and how it is answered. What the handlers know
 * of HTTP is here. Internal to api.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../problem.h"
#include "api.h"
#include "body.h"

struct MHD_Connection;
struct MHD_Response;
struct connection;
struct request;

#define QUERY_MAX 16
#define PATH_PARAMETERS_MAX 2

struct query_parameter {
	const char *name, *value; /* decoded, in request->target */
};

enum body_rule { BODY_NONE, BODY_OPTIONAL_JSON, BODY_JSON, BODY_INTAKE };

/* A route: "/v1/endpoints/{}/pause". */
struct route {
	const char *method, *path;
	enum role role; /* the weakest that may; ROLE_METRICS: that one, and admin */
	enum body_rule body;
	const char *query; /* names of the parameters that are known, separated by spaces */
	void (*handle)(struct request *request);
};

extern const struct route routes[];
extern const size_t n_routes;

struct request {
	struct api *api;
	struct connection *connection;
	struct MHD_Connection *mhd;
	const struct route *route;
	char *target; /* as it came, cut into strings and decoded in place */
	char *path; /* in it */
	const char *path_parameters[PATH_PARAMETERS_MAX];
	struct query_parameter query[QUERY_MAX];
	unsigned n_query;

	struct body body;
	struct problem refusal; /* its code set: the body is thrown away, then this is answered */
	json_t *json; /* of BODY_JSON and BODY_OPTIONAL_JSON: an object; NULL for no body */

	enum { REQUEST_NEW, REQUEST_READING, REQUEST_WORKING, REQUEST_ANSWERED } state;
	bool suspended;
	bool close; /* the connection, with the answer: where the request ends is in doubt */
	struct MHD_Response *response;
	unsigned status;
};

/* Of the options the API was made with. */
const struct api_options *api_options(const struct request *request);

/* hookd's own problems, for status: since when each has been seen, in queue time; 0: it is not
 * there. */
enum trouble {
	TROUBLE_REFUSING,
	TROUBLE_BUDGET,
	TROUBLE_DISK,
	TROUBLE_SENDERS,
	TROUBLE_DNS,
	TROUBLE_LOCAL,
	TROUBLE_PAUSED,
	TROUBLE_LATE,
	TROUBLE_DAMAGED,
	TROUBLE_LOCKED,
	TROUBLE_READER,
	N_TROUBLES
};
int64_t *api_troubles(const struct request *request);

enum role request_role(const struct request *request);
uint32_t request_uid(const struct request *request);
uint32_t request_pid(const struct request *request);

/* How many connections of a role there are. */
unsigned api_connections(const struct request *request, enum role role);

/* The value of a query parameter, NULL when it is not there. */
const char *request_query(const struct request *request, const char *name);
/* The value of a header; NULL. */
const char *request_header(const struct request *request, const char *name);

/* Each request is answered once, by one of these. They may be called from the handler or at any
 * time later; the request is gone afterwards. answer_json() takes the reference over. */
void answer_json(struct request *request, unsigned status, json_t *json);
void answer_problem(struct request *request, const struct problem *problem);
void answer_bytes(struct request *request, const char *content_type, const void *bytes, size_t len);
/* Takes text over; NULL: there was no memory for it. */
void answer_text(struct request *request, unsigned status, const char *content_type, char *text);
void answer_nothing(struct request *request); /* 204 */

/* What they come down to. Takes the response over; NULL: there was no memory for it. */
void answer_with(struct request *request, unsigned status, struct MHD_Response *response,
	const char *content_type);

/* answer_problem() with its parts. */
void refuse(struct request *request, enum problem_code code, const char *field, const char *format,
	...) __attribute__((format(printf, 4, 5)));

/* refuse() for a question that the store could not answer. */
void store_failed(struct request *request);

/* A line in the log for a change that a person made: "uid 0 (root) " and the format. */
void log_change(const struct request *request, const char *action, const char *endpoint,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Cuts request->target, as it came, into request->path and request->query. */
int request_parse_target(struct request *request, struct problem *problem);
/* Finds the route and checks role and query. */
int request_route(struct request *request, const char *method, struct problem *problem);
/* The methods that its path has, as in "GET, POST"; "": there is no such path. */
#define REQUEST_METHODS_SIZE 64
void request_methods(struct request *request, char list[static REQUEST_METHODS_SIZE]);
