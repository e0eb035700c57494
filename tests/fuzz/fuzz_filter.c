/*
 * What stands behind the path of a list or of a bulk action: the target is taken apart, its query
 * becomes a filter, its cursor a position. A filter that is taken keeps to its bounds; a cursor
 * that is taken is the one that hookd would give out for what it says.
 */
#include <stdarg.h>
#include <string.h>

#include "../../daemon/api/filters.h"
#include "../../daemon/log.h"
#include "../../daemon/name.h"
#include "fuzz.h"

static void handle(struct request *request)
{
	(void)request;
}

const struct route routes[] = {
	{"GET", "/v1/deliveries", ROLE_SUBMIT, BODY_NONE,
		"event tenant endpoint type state since until http_status error order limit cursor",
		handle},
	{"GET", "/v1/deliveries/{}/{}", ROLE_SUBMIT, BODY_NONE, "", handle},
};
const size_t n_routes = sizeof(routes) / sizeof(routes[0]);

/* ---- The rest of the API, as far as it is asked ---- */

static int64_t fixed_ms(void *user)
{
	(void)user;
	return 1795000000000;
}

static struct clock the_clock = {.source = {fixed_ms, fixed_ms, NULL}};

const struct api_options *api_options(const struct request *request)
{
	static const struct api_options options = {.clock = &the_clock};

	(void)request;
	return &options;
}

enum role request_role(const struct request *request)
{
	(void)request;
	return ROLE_ADMIN;
}

uint32_t request_uid(const struct request *request)
{
	(void)request;
	return 0;
}

uint32_t request_pid(const struct request *request)
{
	(void)request;
	return 0;
}

void answer_problem(struct request *request, const struct problem *problem)
{
	(void)request;
	(void)problem;
}

void log_line(
	int level, enum log_kind kind, const struct log_fields *fields, const char *format, ...)
{
	(void)level;
	(void)kind;
	(void)fields;
	(void)format;
}

struct registry *store_registry(struct store *store)
{
	(void)store;
	return NULL;
}

uint32_t *registry_numbers(
	const struct registry *registry, const char *tenant, const char *name, size_t *n)
{
	(void)registry;
	promise(!tenant || !*tenant || name_is_valid(tenant, strlen(tenant)));
	promise(!name || name_is_valid(name, strlen(name)));
	*n = 0;
	return calloc(1, sizeof(uint32_t));
}

/* ---- Promises ---- */

static void check_cursor(const char *text, const struct filter *filter, int64_t until_ms)
{
	json_t *again = cursor_render(&filter->query.from, filter->digest, until_ms);

	promise(filter->query.from.len <= POSITION_MAX);
	promise(strcmp(json_string_value(again), text) == 0);
	json_decref(again);
}

static void check_filter(const struct request *rq, const struct filter *filter)
{
	const struct delivery_query *q = &filter->query;

	promise(q->limit >= 1 && q->limit <= 1000);
	promise(q->states != 0 && q->states < STATE_BIT(N_DELIVERY_STATES));
	promise(q->http_status_min == -1 ||
		(q->http_status_min >= 0 && q->http_status_max <= 999 &&
			q->http_status_min <= q->http_status_max));
	promise(!q->type || pattern_is_valid(q->type, strlen(q->type)));
	promise(q->max_examined > 0);
	if (request_query(rq, "cursor"))
		check_cursor(request_query(rq, "cursor"), filter, q->until_ms);
}

static void read_filter(struct request *rq)
{
	static const struct filter_rules rules = {STATE_BIT(DELIVERY_DEAD), 100, 1000};
	struct filter_values values = {.event = request_query(rq, "event"),
		.tenant = request_query(rq, "tenant"),
		.endpoint = request_query(rq, "endpoint"),
		.type = request_query(rq, "type"),
		.state = request_query(rq, "state"),
		.since = request_query(rq, "since"),
		.until = request_query(rq, "until"),
		.http_status = request_query(rq, "http_status"),
		.error = request_query(rq, "error"),
		.order = request_query(rq, "order"),
		.limit = request_query(rq, "limit"),
		.cursor = request_query(rq, "cursor")};
	struct problem problem = {.line = 0};
	struct filter filter;
	int r = filter_parse(rq, &values, &rules, &filter, &problem);

	if (r == 0) {
		check_filter(rq, &filter);
	} else {
		promise(problem.code == PROBLEM_INVALID && problem.field[0]);
		promise(problem.detail[0]);
	}
	filter_clear(&filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request request = {.target = malloc(size + 1)};
	struct problem problem = {.line = 0};

	memcpy(request.target, data, size);
	request.target[size] = '\0';
	if (request_parse_target(&request, &problem) == 0 &&
		request_route(&request, "GET", &problem) == 0) {
		promise(request.n_query <= QUERY_MAX);
		promise((request.route == &routes[1]) == (request.path_parameters[1] != NULL));
		read_filter(&request);
	} else {
		promise(problem.code != PROBLEM_NONE && problem.detail[0]);
	}
	free(request.target);
	return 0;
}
