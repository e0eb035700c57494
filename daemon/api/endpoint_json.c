#include "endpoint_json.h"

#include <string.h>
#include <strings.h>

#include <openssl/rand.h>

#include "../name.h"
#include "../url.h"
#include "json_in.h"

#define SECRET_LEN 32

static const char *const writable =
	"name tenant url types description headers retry_schedule_s max_age_s timeout_s "
	"max_in_flight rate_per_s burst allow_http allow_private ca secret";

static int invalid(struct problem *problem, const char *field, const char *expected)
{
	return problem_set(problem, PROBLEM_INVALID, field, "expected %s", expected);
}

/* ---- Lists ---- */

static int apply_types(const json_t *json, struct endpoint *draft, struct endpoint_room *room,
	struct problem *problem)
{
	static const char expected[] = "1 to 64 patterns: a type, a prefix and \".*\", or \"*\"";
	size_t n = json_array_size(json);

	if (json_is_null(json)) {
		room->types[0] = "*";
		draft->types = room->types;
		draft->n_types = 1;
		return 0;
	}
	if (!json_is_array(json) || n < 1 || n > ENDPOINT_TYPES_MAX)
		return invalid(problem, "types", expected);
	for (size_t i = 0; i < n; i++) {
		const json_t *type = json_array_get(json, i);

		if (!json_is_string(type) ||
			!pattern_is_valid(json_string_value(type), json_string_length(type)))
			return invalid(problem, "types", expected);
		room->types[i] = json_string_value(type);
	}
	draft->types = room->types;
	draft->n_types = (unsigned)n;
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
static int apply_headers(const json_t *json, struct endpoint *draft, struct endpoint_room *room,
	struct problem *problem)
{
	struct endpoint before = *draft;
	size_t n = 0, bytes = 0;
	const char *name;
	json_t *value;

	if (json_is_null(json)) {
		draft->n_headers = 0;
		return 0;
	}
	if (!json_is_object(json))
		return invalid(problem, "headers", "an object of up to 20 names and values");
	for (unsigned i = 0; i < before.n_headers; i++) {
		bool named = false;

		json_object_foreach ((json_t *)json, name, value) {
			named |= strcasecmp(name, before.headers[i].name) == 0;
		}
		if (!named)
			room->headers[n++] = before.headers[i];
	}
	json_object_foreach ((json_t *)json, name, value) {
		int r;

		if (json_is_null(value))
			continue;
		if (n == ENDPOINT_HEADERS_MAX)
			return invalid(problem, "headers", "at most 20 headers");
		if (current_value(room->headers, (unsigned)n, name))
			return problem_set(
				problem, PROBLEM_INVALID, "headers", "%.64s is given twice", name);
		r = read_header(name, value, &before, &room->headers[n], problem);
		if (r)
			return r;
		n++;
	}
	for (size_t i = 0; i < n; i++)
		bytes += strlen(room->headers[i].name) + strlen(room->headers[i].value) + 4;
	if (bytes > ENDPOINT_HEADERS_BYTES_MAX)
		return invalid(problem, "headers", "at most 8 KiB of headers");
	draft->headers = room->headers;
	draft->n_headers = (unsigned)n;
	return 0;
}

static int apply_waits(const json_t *json, struct endpoint *draft, struct endpoint_room *room,
	struct problem *problem)
{
	static const char expected[] = "a list of 0 to 50 waits in seconds, each from 1 to 604800";
	size_t n = json_array_size(json);

	if (json_is_null(json)) {
		draft->retry_waits_s = NULL;
		draft->n_retry_waits = 0;
		return 0;
	}
	if (!json_is_array(json) || n > RETRY_WAITS_MAX)
		return invalid(problem, "retry_schedule_s", expected);
	for (size_t i = 0; i < n; i++) {
		const json_t *wait = json_array_get(json, i);

		if (!json_is_integer(wait) || json_integer_value(wait) < 1 ||
			json_integer_value(wait) > RETRY_WAIT_MAX_S)
			return invalid(problem, "retry_schedule_s", expected);
		room->waits[i] = (uint32_t)json_integer_value(wait);
	}
	draft->retry_waits_s = room->waits;
	draft->n_retry_waits = (unsigned)n;
	return 0;
}

static int apply_networks(const json_t *json, struct endpoint *draft, struct endpoint_room *room,
	struct problem *problem)
{
	static const char expected[] =
		"a list of up to 64 networks such as \"10.1.0.0/16\" (bits beyond the prefix zero)";
	size_t n = json_array_size(json);

	draft->allow_private = (struct networks){room->networks, 0};
	if (json_is_null(json))
		return 0;
	if (!json_is_array(json) || n > ENDPOINT_NETWORKS_MAX)
		return invalid(problem, "allow_private", expected);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(json, i));

		if (!text || network_parse(text, &room->networks[i]) < 0)
			return invalid(problem, "allow_private", expected);
	}
	draft->allow_private.n = n;
	return 0;
}

/* ---- Single members ---- */

/* null stands for 0, which stands for the default. */
static int apply_number(const json_t *json, const char *name, int64_t min, int64_t max,
	int64_t *value, struct problem *problem)
{
	if (json_is_null(json)) {
		*value = 0;
		return 0;
	}
	if (json_is_integer(json) && json_integer_value(json) >= min &&
		json_integer_value(json) <= max) {
		*value = json_integer_value(json);
		return 0;
	}
	return problem_set(problem, PROBLEM_INVALID, name,
		"expected a whole number from %lld to %lld, or null for the default",
		(long long)min, (long long)max);
}

static int apply_rate(const json_t *json, struct endpoint *draft, struct problem *problem)
{
	double rate = json_number_value(json);

	if (json_is_null(json)) {
		draft->rate_per_s = 0;
		return 0;
	}
	if (!json_is_number(json) || rate < 0.01 || rate > 10000)
		return invalid(problem, "rate_per_s",
			"requests per second from 0.01 to 10000, or null for the default");
	draft->rate_per_s = rate;
	return 0;
}

static int apply_description(const json_t *json, struct endpoint *draft, struct problem *problem)
{
	if (json_is_null(json))
		draft->description = "";
	else if (json_is_string(json) && json_string_length(json) <= ENDPOINT_DESCRIPTION_MAX &&
		strlen(json_string_value(json)) == json_string_length(json))
		draft->description = json_string_value(json);
	else
		return invalid(problem, "description", "a string of at most 256 bytes");
	return 0;
}

static int apply_ca(const json_t *json, struct endpoint *draft, struct problem *problem)
{
	const char *name = json_string_value(json);

	draft->ca = NULL;
	if (json_is_null(json))
		return 0;
	if (!name || !name_is_valid(name, json_string_length(json)))
		return invalid(problem, "ca",
			"the name of a file in the ca directory beside hookd.conf, or null");
	draft->ca = name;
	return 0;
}

static int apply_url(const json_t *json, struct endpoint *draft, struct problem *problem)
{
	struct url url;
	const char *expected = "a string";

	if (!json_is_string(json) || strlen(json_string_value(json)) != json_string_length(json) ||
		url_parse(json_string_value(json), &url, &expected) < 0)
		return invalid(problem, "url", expected);
	draft->url = json_string_value(json);
	return 0;
}

/* Names are given once; the same again changes nothing. */
static int apply_fixed_name(const json_t *json, const char *field, bool empty_is_fine,
	const char **name, struct problem *problem)
{
	const char *text = json_string_value(json);

	if (!text || (!(empty_is_fine && !*text) && !name_is_valid(text, json_string_length(json))))
		return problem_set(problem, PROBLEM_INVALID, field, "expected %s", name_rule);
	if (*name && strcmp(*name, text) != 0)
		return problem_set(problem, PROBLEM_INVALID, field,
			"cannot be changed; make another endpoint and remove this one");
	*name = text;
	return 0;
}

static int apply_member(const char *name, const json_t *json, struct endpoint *draft,
	struct endpoint_room *room, struct problem *problem)
{
	int64_t number;
	int r;

	if (strcmp(name, "name") == 0)
		return apply_fixed_name(json, name, false, &draft->name, problem);
	if (strcmp(name, "tenant") == 0)
		return apply_fixed_name(json, name, true, &draft->tenant, problem);
	if (strcmp(name, "url") == 0)
		return apply_url(json, draft, problem);
	if (strcmp(name, "types") == 0)
		return apply_types(json, draft, room, problem);
	if (strcmp(name, "description") == 0)
		return apply_description(json, draft, problem);
	if (strcmp(name, "headers") == 0)
		return apply_headers(json, draft, room, problem);
	if (strcmp(name, "retry_schedule_s") == 0)
		return apply_waits(json, draft, room, problem);
	if (strcmp(name, "max_age_s") == 0)
		return apply_number(json, name, 1, 315360000, &draft->max_age_s, problem);
	if (strcmp(name, "rate_per_s") == 0)
		return apply_rate(json, draft, problem);
	if (strcmp(name, "allow_private") == 0)
		return apply_networks(json, draft, room, problem);
	if (strcmp(name, "ca") == 0)
		return apply_ca(json, draft, problem);
	if (strcmp(name, "allow_http") == 0) {
		draft->allow_http = json_is_true(json);
		return json_is_boolean(json) || json_is_null(json)
			? 0
			: invalid(problem, name, "true or false");
	}
	if (strcmp(name, "timeout_s") == 0) {
		r = apply_number(json, name, 1, 60, &number, problem);
		draft->timeout_s = r ? 0 : (uint32_t)number;
		return r;
	}
	if (strcmp(name, "max_in_flight") == 0) {
		r = apply_number(json, name, 1, 256, &number, problem);
		draft->max_in_flight = r ? 0 : (uint32_t)number;
		return r;
	}
	if (strcmp(name, "burst") == 0) {
		r = apply_number(json, name, 1, 1000, &number, problem);
		draft->burst = r ? 0 : (uint32_t)number;
		return r;
	}
	return 0; /* the secret, which its routes read */
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
	return problem_set(problem, PROBLEM_INVALID, "url",
		"the address rules refuse %s: %s; an administrator can allow it with \"allow_private\" (admin.sock)",
		url.host, refusal);
}

int endpoint_json_apply(const json_t *json, bool is_admin, const struct config *config,
	struct endpoint *draft, struct endpoint_room *room, struct problem *problem)
{
	struct endpoint before = *draft;
	bool changes_url = json_object_get(json, "url") || json_object_get(json, "allow_http") ||
		json_object_get(json, "allow_private");
	const char *name;
	json_t *value;
	int r = json_check_members(json, writable, problem);

	json_object_foreach ((json_t *)json, name, value) {
		if (r == 0)
			r = apply_member(name, value, draft, room, problem);
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
