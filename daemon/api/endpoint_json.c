#include "endpoint_json.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include <openssl/rand.h>

#include "../name.h"
#include "../url.h"
#include "json_in.h"

#define SECRET_LEN 32

/* What a member is applied to. */
struct application {
	struct endpoint *draft;
	struct endpoint_room *room;
	struct problem *problem;
};

/* A member that may be written. offset, min and max: of numbers. */
struct member {
	const char *name;
	int (*apply)(const struct member *member, const json_t *json, struct application *a);
	size_t offset;
	uint32_t min, max;
};

static int invalid(struct problem *problem, const char *field, const char *expected)
{
	return problem_set(problem, PROBLEM_INVALID, field, "expected %s", expected);
}

/* ---- Lists ---- */

static int apply_types(const struct member *member, const json_t *json, struct application *a)
{
	static const char expected[] = "1 to 64 patterns: a type, a prefix and \".*\", or \"*\"";
	size_t n = json_array_size(json);

	if (json_is_null(json)) {
		a->room->types[0] = "*";
		a->draft->types = a->room->types;
		a->draft->n_types = 1;
		return 0;
	}
	if (!json_is_array(json) || n < 1 || n > ENDPOINT_TYPES_MAX)
		return invalid(a->problem, member->name, expected);
	for (size_t i = 0; i < n; i++) {
		const json_t *type = json_array_get(json, i);

		if (!json_is_string(type))
			return invalid(a->problem, member->name, expected);
		if (!pattern_is_valid(json_string_value(type), json_string_length(type)))
			return problem_set(a->problem, PROBLEM_INVALID, member->name,
				"expected %s, not \"%.128s\"", expected, json_string_value(type));
		a->room->types[i] = json_string_value(type);
	}
	a->draft->types = a->room->types;
	a->draft->n_types = (unsigned)n;
	return 0;
}

/* hookd's own, and what belongs to the connection. */
static bool is_reserved_header(const char *name)
{
	static const char *const names[] = {"host", "connection", "keep-alive", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade", "expect", "user-agent",
		"idempotency-key"};
	static const char *const prefixes[] = {"content-", "webhook-", "proxy-"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(name, names[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (strncasecmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return false;
}

static bool is_header_name(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > 128)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return true;
}

static bool is_header_value(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((value[i] < 0x20 || value[i] > 0x7e) && value[i] != '\t')
			return false;
	}
	return len == 0 ||
		(value[0] != ' ' && value[0] != '\t' && value[len - 1] != ' ' &&
			value[len - 1] != '\t');
}

/* The value a header has now, for "***", which changes nothing. NULL: there is none. */
static const char *current_value(
	const struct endpoint_header *headers, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++) {
		if (strcasecmp(headers[i].name, name) == 0)
			return headers[i].value;
	}
	return NULL;
}

static int read_header(const char *name, const json_t *value, const struct endpoint *before,
	struct endpoint_header *header, struct problem *problem)
{
	if (!is_header_name(name))
		return problem_set(problem, PROBLEM_INVALID, "headers",
			"\"%.64s\" is not a header's name", name);
	if (is_reserved_header(name))
		return problem_set(
			problem, PROBLEM_INVALID, "headers", "%.64s is set by hookd itself", name);
	if (!json_is_string(value) ||
		!is_header_value(json_string_value(value), json_string_length(value)))
		return problem_set(problem, PROBLEM_INVALID, "headers",
			"expected visible ASCII as the value of %.64s, without space at its ends",
			name);
	*header = (struct endpoint_header){name, json_string_value(value)};
	if (strcmp(header->value, "***") == 0) {
		header->value = current_value(before->headers, before->n_headers, name);
		if (!header->value)
			return problem_set(problem, PROBLEM_INVALID, "headers",
				"\"***\" keeps a value, but %.64s has none", name);
	}
	return 0;
}

/* RFC 7396: members merge, null removes one. */
static int apply_headers(const struct member *member, const json_t *json, struct application *a)
{
	struct endpoint before = *a->draft;
	size_t n = 0, bytes = 0;
	const char *name;
	json_t *value;

	if (json_is_null(json)) {
		a->draft->n_headers = 0;
		return 0;
	}
	if (!json_is_object(json))
		return invalid(a->problem, member->name, "an object of up to 20 names and values");
	for (unsigned i = 0; i < before.n_headers; i++) {
		bool named = false;

		json_object_foreach ((json_t *)json, name, value) {
			named |= strcasecmp(name, before.headers[i].name) == 0;
		}
		if (!named)
			a->room->headers[n++] = before.headers[i];
	}
	json_object_foreach ((json_t *)json, name, value) {
		int r;

		if (json_is_null(value))
			continue;
		if (n == ENDPOINT_HEADERS_MAX)
			return invalid(a->problem, member->name, "at most 20 headers");
		if (current_value(a->room->headers, (unsigned)n, name))
			return problem_set(a->problem, PROBLEM_INVALID, "headers",
				"%.64s is given twice", name);
		r = read_header(name, value, &before, &a->room->headers[n], a->problem);
		if (r)
			return r;
		n++;
	}
	for (size_t i = 0; i < n; i++) {
		assert(a->room->headers[i].name && a->room->headers[i].value);
		bytes += strlen(a->room->headers[i].name) + strlen(a->room->headers[i].value) + 4;
	}
	if (bytes > ENDPOINT_HEADERS_BYTES_MAX)
		return invalid(a->problem, member->name, "at most 8 KiB of headers");
	a->draft->headers = a->room->headers;
	a->draft->n_headers = (unsigned)n;
	return 0;
}

static int apply_waits(const struct member *member, const json_t *json, struct application *a)
{
	static const char expected[] = "a list of 0 to 50 waits in seconds, each from 1 to 604800";
	size_t n = json_array_size(json);

	if (json_is_null(json)) {
		a->draft->retry_waits_s = NULL;
		a->draft->n_retry_waits = 0;
		return 0;
	}
	if (!json_is_array(json) || n > RETRY_WAITS_MAX)
		return invalid(a->problem, member->name, expected);
	for (size_t i = 0; i < n; i++) {
		const json_t *wait = json_array_get(json, i);

		if (!json_is_integer(wait) || json_integer_value(wait) < 1 ||
			json_integer_value(wait) > RETRY_WAIT_MAX_S)
			return invalid(a->problem, member->name, expected);
		a->room->waits[i] = (uint32_t)json_integer_value(wait);
	}
	a->draft->retry_waits_s = a->room->waits;
	a->draft->n_retry_waits = (unsigned)n;
	return 0;
}

static int apply_networks(const struct member *member, const json_t *json, struct application *a)
{
	static const char expected[] =
		"a list of up to 64 networks such as \"10.1.0.0/16\" (bits beyond the prefix zero)";
	size_t n = json_array_size(json);

	a->draft->allow_private = (struct networks){a->room->networks, 0};
	if (json_is_null(json))
		return 0;
	if (!json_is_array(json) || n > ENDPOINT_NETWORKS_MAX)
		return invalid(a->problem, member->name, expected);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(json, i));

		if (!text || network_parse(text, &a->room->networks[i]) < 0)
			return invalid(a->problem, member->name, expected);
	}
	a->draft->allow_private.n = n;
	return 0;
}

/* ---- Single members ---- */

/* null stands for 0, which stands for the default. */
static int apply_u32(const struct member *member, const json_t *json, struct application *a)
{
	int64_t value = json_integer_value(json); /* 0 for null */

	if (!json_is_null(json) &&
		(!json_is_integer(json) || value < member->min || value > member->max))
		return problem_set(a->problem, PROBLEM_INVALID, member->name,
			"expected a whole number from %u to %u, or null for the default",
			member->min, member->max);
	*(uint32_t *)(void *)((char *)a->draft + member->offset) = (uint32_t)value;
	return 0;
}

static int apply_max_age(const struct member *member, const json_t *json, struct application *a)
{
	int64_t age_s = json_integer_value(json);

	if (json_is_null(json))
		a->draft->max_age_s = 0;
	else if (json_is_integer(json) && age_s == 0)
		a->draft->max_age_s = ENDPOINT_NONE;
	else if (json_is_integer(json) && age_s >= 1 && age_s <= ENDPOINT_MAX_AGE_MAX_S)
		a->draft->max_age_s = age_s;
	else
		return invalid(a->problem, member->name,
			"a whole number of seconds from 1 to 315360000, 0 for any age, or null for the default");
	return 0;
}

static int apply_allow_http(const struct member *member, const json_t *json, struct application *a)
{
	a->draft->allow_http = json_is_true(json);
	return json_is_boolean(json) || json_is_null(json)
		? 0
		: invalid(a->problem, member->name, "true or false");
}

static int apply_rate(const struct member *member, const json_t *json, struct application *a)
{
	double rate = json_number_value(json);

	if (json_is_null(json))
		a->draft->rate_per_s = 0;
	else if (json_is_number(json) && rate == 0)
		a->draft->rate_per_s = ENDPOINT_NONE;
	else if (json_is_number(json) && rate >= 0.01 && rate <= 10000)
		a->draft->rate_per_s = rate;
	else
		return invalid(a->problem, member->name,
			"requests per second from 0.01 to 10000, 0 for no limit, or null for the default");
	return 0;
}

static int apply_description(const struct member *member, const json_t *json, struct application *a)
{
	if (json_is_null(json))
		a->draft->description = "";
	else if (json_is_string(json) && json_string_length(json) <= ENDPOINT_DESCRIPTION_MAX &&
		strlen(json_string_value(json)) == json_string_length(json))
		a->draft->description = json_string_value(json);
	else
		return invalid(a->problem, member->name, "a string of at most 256 bytes");
	return 0;
}

static int apply_ca(const struct member *member, const json_t *json, struct application *a)
{
	const char *name = json_string_value(json);

	a->draft->ca = NULL;
	if (json_is_null(json))
		return 0;
	if (!name || !name_is_valid(name, json_string_length(json)))
		return invalid(a->problem, member->name,
			"the name of a file in the ca directory beside hookd.conf, or null");
	a->draft->ca = name;
	return 0;
}

static int apply_url(const struct member *member, const json_t *json, struct application *a)
{
	struct url url;
	const char *expected = "a string";

	if (!json_is_string(json) || strlen(json_string_value(json)) != json_string_length(json) ||
		url_parse(json_string_value(json), &url, &expected) < 0)
		return invalid(a->problem, member->name, expected);
	a->draft->url = json_string_value(json);
	return 0;
}

/* Names are given once; the same again changes nothing. */
static int apply_fixed_name(
	const char *field, const json_t *json, const char **name, struct problem *problem)
{
	const char *text = json_string_value(json);

	if (*name && strcmp(*name, text) != 0)
		return problem_set(problem, PROBLEM_INVALID, field,
			"cannot be changed; make another endpoint and remove this one");
	*name = text;
	return 0;
}

static int apply_name(const struct member *member, const json_t *json, struct application *a)
{
	if (!json_is_string(json) ||
		!name_is_valid(json_string_value(json), json_string_length(json)))
		return invalid(a->problem, member->name, name_rule);
	return apply_fixed_name(member->name, json, &a->draft->name, a->problem);
}

static int apply_tenant(const struct member *member, const json_t *json, struct application *a)
{
	if (!json_is_string(json) ||
		(json_string_length(json) &&
			!name_is_valid(json_string_value(json), json_string_length(json))))
		return invalid(a->problem, member->name, name_rule);
	return apply_fixed_name(member->name, json, &a->draft->tenant, a->problem);
}

/* Its routes read it themselves. */
static int apply_secret(const struct member *member, const json_t *json, struct application *a)
{
	(void)member;
	(void)json;
	(void)a;
	return 0;
}

#define AT(member) offsetof(struct endpoint, member)

static const struct member members[] = {
	{"name", apply_name},
	{"tenant", apply_tenant},
	{"url", apply_url},
	{"types", apply_types},
	{"description", apply_description},
	{"headers", apply_headers},
	{"retry_schedule_s", apply_waits},
	{"max_age_s", apply_max_age},
	{"timeout_s", apply_u32, AT(timeout_s), 1, 60},
	{"max_in_flight", apply_u32, AT(max_in_flight), 1, 256},
	{"rate_per_s", apply_rate},
	{"burst", apply_u32, AT(burst), 1, 1000},
	{"allow_http", apply_allow_http},
	{"allow_private", apply_networks},
	{"ca", apply_ca},
	{"secret", apply_secret},
};

static int apply_member(const char *name, const json_t *json, struct application *a)
{
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (strcmp(members[i].name, name) == 0)
			return members[i].apply(&members[i], json, a);
	}
	return problem_set(a->problem, PROBLEM_INVALID, name,
		"unknown member; expected some of name, tenant, url, types, description, headers, retry_schedule_s, "
		"max_age_s, timeout_s, max_in_flight, rate_per_s, burst, allow_http, allow_private, ca, secret");
}

/* Does the request ask for more than the socket may give? Sending back what is set already does
 * not. */
static int check_admin(
	const struct endpoint *before, const struct endpoint *draft, struct problem *problem)
{
	const char *member = NULL;

	if (draft->allow_http && !before->allow_http)
		member = "allow_http";
	else if (draft->allow_private.n != before->allow_private.n ||
		(draft->allow_private.n &&
			memcmp(draft->allow_private.list, before->allow_private.list,
				draft->allow_private.n * sizeof(struct network)) != 0))
		member = "allow_private";
	else if (draft->ca && (!before->ca || strcmp(draft->ca, before->ca) != 0))
		member = "ca";
	if (!member)
		return 0;
	return problem_set(problem, PROBLEM_FORBIDDEN, member, "only admin.sock may set this");
}

/* What the address rules say of the URL as it stands; a name's addresses are judged when it is
 * used. */
static int check_url(const struct config *c, const struct endpoint *draft, struct problem *problem)
{
	struct networks allowed = {
		(struct network *)c->network.allow_private.list, c->network.allow_private.n};
	struct networks denied = {(struct network *)c->network.deny.list, c->network.deny.n};
	struct guard_rules rules = {
		.allowed = {&allowed, &draft->allow_private}, .denied = &denied};
	const char *expected, *refusal;
	struct url url;

	url_parse(draft->url, &url, &expected);
	if (!url.https && !draft->allow_http && !c->network.allow_http)
		return problem_set(problem, PROBLEM_INVALID, "url",
			"expected https://; plain http needs \"allow_http\" of this endpoint (admin.sock) or of [network]");
	if (!guard_port_allowed(c->network.ports.list, c->network.ports.n, url.port))
		return problem_set(problem, PROBLEM_INVALID, "url",
			"port %u is not one of [network] ports", url.port);
	if (url_host_is_internal(&url) && !draft->allow_private.n && !allowed.n)
		return problem_set(problem, PROBLEM_INVALID, "url",
			"%s is a name of the inner network; that needs \"allow_private\" (admin.sock)",
			url.host);
	refusal = url.literal.family ? guard_refuses(&rules, &url.literal) : NULL;
	if (!refusal)
		return 0;
	return problem_set(problem, PROBLEM_INVALID, "url", "the address rules refuse %s: %s%s",
		url.host, refusal,
		refusal == guard_denied
			? ""
			: "; an administrator can allow it with \"allow_private\" (admin.sock)");
}

int endpoint_json_apply(const json_t *json, bool is_admin, const struct config *config,
	struct endpoint *draft, struct endpoint_room *room, struct problem *problem)
{
	struct endpoint before = *draft;
	bool changes_url = json_object_get(json, "url") || json_object_get(json, "allow_http") ||
		json_object_get(json, "allow_private");
	struct application application = {draft, room, problem};
	const char *name;
	json_t *value;
	int r = 0;

	json_object_foreach ((json_t *)json, name, value) {
		if (r == 0)
			r = apply_member(name, value, &application);
	}
	if (r == 0 && !draft->url)
		r = problem_set(
			problem, PROBLEM_INVALID, "url", "missing; expected https://HOST/...");
	if (r == 0 && !is_admin)
		r = check_admin(&before, draft, problem);
	if (r == 0 && changes_url)
		r = check_url(config, draft, problem);
	return r;
}

int endpoint_json_secret(const json_t *json, struct webhook_key *key, struct problem *problem)
{
	const char *text = NULL;
	int r = json_get_text(json, "secret", 128, &text, problem);

	if (r)
		return r;
	if (text && webhook_key_parse(text, key) < 0)
		return invalid(problem, "secret", "\"whsec_\" and base64 of 24 to 64 bytes");
	if (text)
		return 0;
	key->len = SECRET_LEN;
	if (RAND_bytes(key->bytes, SECRET_LEN) != 1)
		return problem_set(problem, PROBLEM_BUSY, NULL, "no random numbers for a secret");
	return 0;
}
