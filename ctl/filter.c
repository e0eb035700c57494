#include "filter.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../lib/timestamp.h"
#include "client.h"
#include "say.h"
#include "words.h"

/* ---- Endpoints ---- */

static bool is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int parse_endpoint_name(const struct ctl *ctl, const char *text, struct endpoint_name *endpoint)
{
	const char *slash = strchr(text, '/'), *name = slash ? slash + 1 : text;
	size_t tenant_len = slash ? (size_t)(slash - text) : 0;

	if (strlen(text) >= ENDPOINT_NAME_SIZE || !is_alphanumeric(name[0]) || strchr(name, '/') ||
		(slash && !is_alphanumeric(text[0])))
		return misused(ctl,
			"\"%.80s\" is not an endpoint: expected TENANT/NAME, or NAME in the default tenant",
			text);
	memcpy(endpoint->tenant, text, tenant_len);
	endpoint->tenant[tenant_len] = '\0';
	memcpy(endpoint->name, name, strlen(name) + 1);
	return 0;
}

void endpoint_target(const struct endpoint_name *endpoint, const char *verb, struct buffer *target)
{
	buffer_append_text(target, "/v1/endpoints/");
	buffer_append_segment(target, endpoint->name);
	if (verb) {
		buffer_append_text(target, "/");
		buffer_append_text(target, verb);
	}
	buffer_append_query(target, "tenant", endpoint->tenant);
}

int get_endpoint(struct ctl *ctl, const struct endpoint_name *name, json_t **endpoint)
{
	struct buffer target = {0};
	int r;

	endpoint_target(name, NULL, &target);
	r = get_json(ctl, target.at, endpoint);
	buffer_free(&target);
	return r;
}

/* ---- Values ---- */

static int check_states(const struct ctl *ctl, const char *states)
{
	const char *at = states;

	for (;;) {
		size_t len = strcspn(at, ",");

		if (!is_listed("pending held delivered dead", at, len))
			return misused(ctl,
				"--state: expected some of pending, held, delivered, dead, separated by commas, not \"%s\"",
				states);
		if (!at[len])
			return 0;
		at += len + 1;
	}
}

static int check_http_status(const struct ctl *ctl, const char *text)
{
	bool ok = strcmp(text, "none") == 0 ||
		(strlen(text) == 3 && text[0] >= '1' && text[0] <= '9' &&
			(strcmp(text + 1, "xx") == 0 || strspn(text, "0123456789") == 3));

	return ok
		? 0
		: misused(ctl,
			  "--http-status: expected a status such as 503, a class such as 5xx, or none, not \"%s\"",
			  text);
}

static int check_error(const struct ctl *ctl, const char *text)
{
	if (is_listed("ok status dns address connect tls timeout protocol", text, strlen(text)))
		return 0;
	return misused(ctl,
		"--error: expected one of ok, status, dns, address, connect, tls, timeout, protocol, not \"%s\"",
		text);
}

/* A time as the API takes it; *text then leads to room. */
static int resolve_time(
	const struct ctl *ctl, const char *name, const char **text, char room[static 32])
{
	int64_t ms;
	int r = parse_moment(ctl, name, *text, -1, &ms);

	if (r)
		return r;
	timestamp_format(ms, room);
	*text = room;
	return 0;
}

/* "acme/billing" is a tenant and a name; "billing" is in the tenant that --tenant says, or in the
 * default one. */
static int resolve_endpoint(const struct ctl *ctl, struct filter *f)
{
	int r = parse_endpoint_name(ctl, f->endpoint, &f->room);

	if (r)
		return r;
	if (strchr(f->endpoint, '/') && f->tenant && strcmp(f->tenant, f->room.tenant) != 0)
		return misused(ctl, "--tenant %s and --endpoint %s exclude each other", f->tenant,
			f->endpoint);
	if (!f->tenant)
		f->tenant = f->room.tenant;
	f->endpoint = f->room.name;
	return 0;
}

static void add_value(struct filter *f, const char *name, const char *value)
{
	if (!value)
		return;
	f->values[f->n_values].name = name;
	f->values[f->n_values++].value = value;
}

int filter_resolve(const struct ctl *ctl, struct filter *f)
{
	int r = f->state ? check_states(ctl, f->state) : 0;

	if (r == 0 && f->http_status)
		r = check_http_status(ctl, f->http_status);
	if (r == 0 && f->error)
		r = check_error(ctl, f->error);
	if (r == 0 && f->since)
		r = resolve_time(ctl, "--since", &f->since, f->since_room);
	if (r == 0 && f->until)
		r = resolve_time(ctl, "--until", &f->until, f->until_room);
	if (r == 0 && f->endpoint)
		r = resolve_endpoint(ctl, f);
	if (r)
		return r;
	add_value(f, "state", f->state);
	add_value(f, "tenant", f->tenant);
	add_value(f, "endpoint", f->endpoint);
	add_value(f, "type", f->type);
	add_value(f, "since", f->since);
	add_value(f, "until", f->until);
	add_value(f, "http_status", f->http_status);
	add_value(f, "error", f->error);
	return 0;
}

/* As hookd does: what comes into its state within this millisecond is left out, too. */
void filter_fix_until(struct filter *f)
{
	struct timespec now;

	if (f->until)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	timestamp_format((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - 1, f->until_room);
	f->until = f->until_room;
	add_value(f, "until", f->until);
}

bool filter_is_empty(const struct filter *f)
{
	return f->n_values == 0;
}

void filter_to_target(const struct filter *f, struct buffer *target)
{
	for (unsigned i = 0; i < f->n_values; i++)
		buffer_append_query(target, f->values[i].name, f->values[i].value);
}

void filter_to_json(const struct filter *f, json_t *body)
{
	for (unsigned i = 0; i < f->n_values; i++)
		json_object_set_new(body, f->values[i].name, json_string(f->values[i].value));
}
