/* Targets, routes, and the words about who asked. The rest of a request is server.c's. */
#include "request.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "../log.h"
#include "json_in.h"

static const char *const role_names[N_ROLES] = {
	[ROLE_SUBMIT] = "submit",
	[ROLE_MANAGE] = "manage",
	[ROLE_ADMIN] = "admin",
	[ROLE_METRICS] = "metrics",
};

const char *role_name(enum role role)
{
	return role_names[role];
}

/* ---- Targets ---- */

/* Decodes percent signs in place. False for those that are none, and for a NUL. */
static bool decode(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '%') {
			int high = OPENSSL_hexchar2int((unsigned char)text[1]),
			    low = high < 0 ? -1 : OPENSSL_hexchar2int((unsigned char)text[2]);

			if (low < 0 || (high == 0 && low == 0))
				return false;
			*to++ = (char)(high << 4 | low);
			text += 2;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
	return true;
}

static int parse_query(struct request *rq, char *query, struct problem *problem)
{
	char *rest, *pair;

	for (pair = strtok_r(query, "&", &rest); pair; pair = strtok_r(NULL, "&", &rest)) {
		char *value = strchr(pair, '=');

		if (!value)
			return problem_set(problem, PROBLEM_MALFORMED, NULL,
				"the query parameter \"%.64s\" has no value", pair);
		*value++ = '\0';
		if (!decode(pair) || !decode(value))
			return problem_set(problem, PROBLEM_MALFORMED, NULL,
				"the query is not percent-encoded: a percent sign needs two hexadecimal digits");
		if (request_query(rq, pair))
			return problem_set(
				problem, PROBLEM_MALFORMED, pair, "the parameter is given twice");
		if (rq->n_query == QUERY_MAX)
			return problem_set(problem, PROBLEM_MALFORMED, NULL,
				"more than %d query parameters", QUERY_MAX);
		rq->query[rq->n_query++] = (struct query_parameter){pair, value};
	}
	return 0;
}

int request_parse_target(struct request *rq, struct problem *problem)
{
	static const char scheme[] = "http://";
	char *query;

	rq->path = rq->target;
	/* The absolute form (RFC 9112 section 3.2.2) names a host that does not matter here. */
	if (strncmp(rq->path, scheme, sizeof(scheme) - 1) == 0)
		rq->path = strchrnul(rq->path + sizeof(scheme) - 1, '/');
	query = strchr(rq->path, '?');
	if (query)
		*query++ = '\0';
	return query ? parse_query(rq, query, problem) : 0;
}

/* ---- Routes ---- */

/* Does the path fit the pattern? Its parameters are cut out and decoded if take is set. */
static bool fits(struct request *rq, const char *pattern, bool take)
{
	char *path = rq->path;
	unsigned n = 0;

	while (*pattern) {
		size_t len;

		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		pattern += 2;
		len = strcspn(path, "/");
		if (len == 0 || (*pattern == '\0' && path[len] != '\0'))
			return false;
		if (take) {
			rq->path_parameters[n++] = path;
			if (path[len])
				path[len++] = '\0';
			path += len;
			pattern += *pattern == '/';
		} else {
			path += len;
		}
	}
	return take || *path == '\0';
}

static bool may(enum role have, enum role need)
{
	if (need == ROLE_METRICS)
		return have == ROLE_METRICS || have == ROLE_ADMIN;
	return have != ROLE_METRICS && have >= need;
}

static int check_query(const struct request *rq, struct problem *problem)
{
	for (unsigned i = 0; i < rq->n_query; i++) {
		if (!is_named(rq->route->query, rq->query[i].name))
			return problem_set(problem, PROBLEM_INVALID, rq->query[i].name,
				"unknown query parameter; expected %s%s",
				rq->route->query[0] ? "one of " : "none", rq->route->query);
	}
	return 0;
}

void request_methods(struct request *rq, char list[static REQUEST_METHODS_SIZE])
{
	size_t used = 0;

	list[0] = '\0';
	for (size_t i = 0; i < n_routes && used < REQUEST_METHODS_SIZE; i++) {
		if (fits(rq, routes[i].path, false))
			used += (size_t)snprintf(list + used, REQUEST_METHODS_SIZE - used, "%s%s",
				used ? ", " : "", routes[i].method);
	}
}

static int refuse_route(struct request *rq, const char *method, struct problem *problem)
{
	char allowed[REQUEST_METHODS_SIZE];

	request_methods(rq, allowed);
	if (!allowed[0])
		return problem_set(
			problem, PROBLEM_NOT_FOUND, NULL, "there is no route %.128s", rq->path);
	return problem_set(problem, PROBLEM_METHOD, NULL,
		"%.16s is not a method of this route; expected %s", method, allowed);
}

int request_route(struct request *rq, const char *method, struct problem *problem)
{
	for (size_t i = 0; i < n_routes && !rq->route; i++) {
		if (strcmp(routes[i].method, method) == 0 && fits(rq, routes[i].path, false))
			rq->route = &routes[i];
	}
	if (!rq->route)
		return refuse_route(rq, method, problem);
	if (!may(request_role(rq), rq->route->role))
		return problem_set(problem, PROBLEM_FORBIDDEN, NULL,
			"%s %s needs the socket %s.sock or one that may do more; this is %s.sock",
			rq->route->method, rq->path, role_name(rq->route->role),
			role_name(request_role(rq)));
	fits(rq, rq->route->path, true);
	for (unsigned i = 0; i < PATH_PARAMETERS_MAX; i++) {
		if (rq->path_parameters[i] && !decode((char *)rq->path_parameters[i]))
			return problem_set(problem, PROBLEM_MALFORMED, NULL,
				"the path is not percent-encoded: a percent sign needs two hexadecimal digits");
	}
	return check_query(rq, problem);
}

const char *request_query(const struct request *rq, const char *name)
{
	for (unsigned i = 0; i < rq->n_query; i++) {
		if (strcmp(rq->query[i].name, name) == 0)
			return rq->query[i].value;
	}
	return NULL;
}

/* ---- Answers made of parts ---- */

void refuse(struct request *rq, enum problem_code code, const char *field, const char *format, ...)
{
	struct problem problem;
	char detail[sizeof(problem.detail)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	problem_set(&problem, code, field, "%s", detail);
	answer_problem(rq, &problem);
}

void store_failed(struct request *rq)
{
	refuse(rq, PROBLEM_BUSY, NULL, "the store failed; hookd is stopping");
}

/* The user's name by /etc/passwd alone: a directory service might let us wait. */
static void user_name(uint32_t uid, char *name, size_t size)
{
	FILE *file = fopen("/etc/passwd", "re");
	struct passwd *entry;

	name[0] = '\0';
	while (file && (entry = fgetpwent(file))) {
		if (entry->pw_uid == uid) {
			snprintf(name, size, " (%s)", entry->pw_name);
			break;
		}
	}
	if (file)
		fclose(file);
}

void log_change(
	const struct request *rq, const char *action, const char *endpoint, const char *format, ...)
{
	struct log_fields fields = {.endpoint = endpoint,
		.action = action,
		.has_peer = true,
		.uid = request_uid(rq),
		.pid = request_pid(rq)};
	char what[512], name[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	user_name(fields.uid, name, sizeof(name));
	log_line(LOG_LEVEL_NOTICE, LOG_CHANGE, &fields, "uid %u%s %s", fields.uid, name, what);
}
