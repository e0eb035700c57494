#include "client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/http.h"
#include "../lib/text.h"
#include "fields.h"
#include "options.h"
#include "say.h"

#define TIMEOUT_S 60
#define TARGET_MAX 4000 /* with the scheme in front it fits what http.c takes */
#define PATH_SIZE 512

static const char *const socket_names[N_SOCKETS] = {
	[SOCKET_SUBMIT] = "submit", [SOCKET_MANAGE] = "manage", [SOCKET_ADMIN] = "admin"};

/* ---- Choosing the socket ---- */

static enum hookd_socket needed(const struct ctl *ctl)
{
	return ctl->needs > ctl->command->needs ? ctl->needs : ctl->command->needs;
}

/* The sockets that would do, in the order in which they are tried. Returns how many. */
static unsigned list_candidates(const struct ctl *ctl, enum hookd_socket list[N_SOCKETS])
{
	unsigned n = N_SOCKETS - needed(ctl);

	for (unsigned i = 0; i < n; i++) {
		unsigned socket = needed(ctl) == SOCKET_SUBMIT ? i : (unsigned)SOCKET_ADMIN - i;

		list[i] = (enum hookd_socket)socket;
	}
	return n;
}

static void socket_path(const struct ctl *ctl, enum hookd_socket socket, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s.sock", ctl->sockets, socket_names[socket]);
}

/* A socket of that kind leaves the others to be tried. */
static bool is_closed_door(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -ECONNREFUSED;
}

static void explain_forbidden(const struct ctl *ctl, const char *path, enum hookd_socket socket)
{
	char enough[64] = "";

	if (socket > needed(ctl))
		snprintf(enough, sizeof(enough), " (hookd-%s is enough for %s)",
			socket_names[needed(ctl)], ctl->command->name);
	fail("%s: permission denied: be root or in group hookd-%s%s", path, socket_names[socket],
		enough);
}

/* Says why the socket could not be opened. */
static int explain_unreachable(const struct ctl *ctl, enum hookd_socket socket, int r)
{
	char path[PATH_SIZE];

	socket_path(ctl, socket, path);
	switch (-r) {
	case EACCES:
		explain_forbidden(ctl, path, socket);
		break;
	case ENOENT:
	case ENOTDIR:
		fail("%s: no such socket: systemctl status hookd", path);
		break;
	case ECONNREFUSED:
		fail("%s: hookd does not run behind this socket: systemctl status hookd", path);
		break;
	case ETIMEDOUT:
		fail("%s: hookd does not accept connections: systemctl status hookd", path);
		break;
	case ENAMETOOLONG:
		fail("%s: too long for the path of a socket (107 bytes)", path);
		break;
	default:
		fail("%s: %s", path, strerror(-r));
		break;
	}
	return EXIT_UNREACHABLE;
}

/* A closed door that says more than another one: forbidden, refused, missing. */
static int weight(int r)
{
	return r == -EACCES ? 3 : r == -ECONNREFUSED ? 2 : 1;
}

static int exchange_at(struct ctl *ctl, enum hookd_socket socket,
	const struct http_request *request, unsigned timeout_s, struct http_answer *answer)
{
	char path[PATH_SIZE];
	int r;

	socket_path(ctl, socket, path);
	r = http_client_new(&ctl->http, path);
	if (r < 0)
		return r;
	ctl->socket = socket;
	r = http_exchange(ctl->http, request, timeout_s * 1000, answer);
	if (is_closed_door(r))
		disconnect(ctl);
	return r;
}

/* The first exchange, with the first socket that opens. */
static int exchange_first(struct ctl *ctl, const struct http_request *request, unsigned timeout_s,
	struct http_answer *answer)
{
	enum hookd_socket candidates[N_SOCKETS], socket = SOCKET_ADMIN;
	unsigned n = list_candidates(ctl, candidates);
	int reason = 0;

	for (unsigned i = 0; i < n; i++) {
		int r = exchange_at(ctl, candidates[i], request, timeout_s, answer);

		if (r >= 0)
			return r;
		if (!is_closed_door(r))
			return -explain_unreachable(ctl, candidates[i], r);
		if (!reason || weight(r) > weight(reason)) {
			reason = r;
			socket = candidates[i];
		}
	}
	return -explain_unreachable(ctl, socket, reason);
}

/* Returns enum http_outcome, or a negative exit status. */
static int exchange(struct ctl *ctl, const struct http_request *request, unsigned timeout_s,
	struct http_answer *answer)
{
	int r;

	if (!ctl->http)
		return exchange_first(ctl, request, timeout_s, answer);
	r = http_exchange(ctl->http, request, timeout_s * 1000, answer);
	return r < 0 ? -explain_unreachable(ctl, ctl->socket, r) : r;
}

void disconnect(struct ctl *ctl)
{
	http_client_free(ctl->http);
	ctl->http = NULL;
}

/* ---- Problems ---- */

/* The members that problems name, as what is typed here is called. The first row that fits counts.
 */
static const struct {
	const char *command; /* NULL: any */
	const char *field, *option;
} options[] = {
	{"endpoint add", "tenant", "TENANT"},
	{"endpoint add", "url", "URL"},
	{"listen", "types", "--subscribe"},
	{"submit", "type", "TYPE"},
	{NULL, "Content-Type", "--content-type"},
	{NULL, "Idempotency-Key", "--key"},
	{NULL, "allow_http", "--allow-http"},
	{NULL, "allow_private", "--allow-private"},
	{NULL, "burst", "--burst"},
	{NULL, "ca", "--ca"},
	{NULL, "deliver_at", "--at"},
	{NULL, "description", "--description"},
	{NULL, "endpoint", "--endpoint"},
	{NULL, "error", "--error"},
	{NULL, "headers", "--header"},
	{NULL, "health", "--health"},
	{NULL, "http_status", "--http-status"},
	{NULL, "idempotency_key", "--key"},
	{NULL, "max_age_s", "--max-age"},
	{NULL, "max_in_flight", "--in-flight"},
	{NULL, "name", "name"},
	{NULL, "overlap_s", "--overlap"},
	{NULL, "rate_per_s", "--rate"},
	{NULL, "reason", "--reason"},
	{NULL, "retry_schedule_s", "--retry"},
	{NULL, "since", "--since"},
	{NULL, "state", "--state"},
	{NULL, "tenant", "--tenant"},
	{NULL, "timeout_s", "--timeout"},
	{NULL, "type", "--type"},
	{NULL, "types", "--types"},
	{NULL, "until", "--until"},
	{NULL, "url", "--url"},
};

/* NULL: nothing that was typed. */
static const char *option_of(const struct ctl *ctl, const char *field)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const char *command = options[i].command;

		if (strcmp(options[i].field, field) == 0 &&
			(!command || strcmp(command, ctl->command->name) == 0))
			return options[i].option;
	}
	return NULL;
}

/* Is it about a value on the command line? */
static bool is_misuse(const struct ctl *ctl, const struct answer *answer)
{
	return field_is(answer->json, "code", "invalid") && !field_number(answer->json, "line") &&
		option_of(ctl, field_text(answer->json, "field"));
}

/* Where the API speaks of "allow_http", people here know --allow-http. */
static void append_in_options(const struct ctl *ctl, struct buffer *b, const char *detail)
{
	while (*detail) {
		size_t len = strcspn(detail, "\""), quoted = 0;
		char word[32] = "";

		buffer_append(b, detail, len);
		detail += len;
		if (*detail)
			quoted = strcspn(detail + 1, "\"");
		if (quoted && quoted < sizeof(word) && detail[quoted + 1] == '"')
			memcpy(word, detail + 1, quoted);
		if (word[0] && option_of(ctl, word)) {
			buffer_append_text(b, option_of(ctl, word));
			detail += quoted + 2;
		} else if (*detail) {
			buffer_append(b, detail++, 1);
		}
	}
}

int fail_with_answer(const struct ctl *ctl, const struct answer *answer)
{
	const char *detail = field_text(answer->json, "detail");
	const char *name = field_text(answer->json, "field");
	const char *option = option_of(ctl, name);
	long long line = field_number(answer->json, "line");
	struct buffer words = {0};

	if (!detail[0])
		return fail("%s: an answer that hookctl does not understand, HTTP status %d",
			http_client_path(ctl->http), answer->status);
	if (line)
		buffer_append_format(&words, "line %lld: ", line);
	if (name[0])
		buffer_append_format(&words, "%s: ", option && !line ? option : name);
	if (line)
		buffer_append_text(&words, detail);
	else
		append_in_options(ctl, &words, detail);
	fail("%s", words.at);
	buffer_free(&words);
	return EXIT_FAILED;
}

static bool is_get(const struct call *call)
{
	return strcmp(call->method, "GET") == 0;
}

/* No answer came, or one that is not hookd's. */
static void make_unknown(const struct ctl *ctl, const struct call *call, struct answer *answer)
{
	char what[400], detail[512];

	if (answer->status)
		snprintf(what, sizeof(what),
			"an answer that hookctl does not understand, HTTP status %d",
			answer->status);
	else
		snprintf(what, sizeof(what), "no answer from hookd (%s)",
			http_client_problem(ctl->http));
	snprintf(detail, sizeof(detail), "%s: %s%s", http_client_path(ctl->http), what,
		is_get(call) ? "" : "; perhaps it was done");
	text_clean(detail);
	json_decref(answer->json);
	answer->json = json_pack("{s:s, s:s}", "code", "unknown", "detail", detail);
}

/* ---- Calls ---- */

static void read_answer(struct http_answer *from, struct answer *answer)
{
	assert(from->content_type);
	answer->status = from->status;
	if (strncmp(from->content_type, "application/json", 16) == 0 ||
		strncmp(from->content_type, "application/problem+json", 24) == 0)
		answer->json = json_loadb(from->body, from->body_len, JSON_DECODE_ANY, NULL);
	answer->bytes = from->body;
	answer->len = from->body_len;
	from->body = NULL;
	http_answer_clear(from);
}

static bool has_value(const json_t *json)
{
	return json_is_integer(json) || json_is_array(json) ||
		(json_is_string(json) && json_string_length(json) > 0);
}

static bool has_members(const json_t *object, const char *names)
{
	char name[32];

	for (; names && *names; names += strcspn(names, " "), names += strspn(names, " ")) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(names, " "), names);
		if (!has_value(field(object, name)))
			return false;
	}
	return true;
}

static bool has_items(const json_t *items, size_t n)
{
	const json_t *item;
	size_t i;

	json_array_foreach (items, i, item) {
		if (!has_value(field(item, "id")))
			return false;
	}
	return json_array_size(items) == n;
}

/* Does hookd say that it was done? Whoever else listens there may say 200, too. */
static bool is_done(const struct call *call, const struct answer *answer)
{
	if (answer->status < 200 || answer->status > 299)
		return false;
	if (strcmp(call->method, "DELETE") == 0)
		return answer->status == 204;
	if (call->wants_bytes)
		return true;
	return json_is_object(answer->json) && has_members(answer->json, call->wants) &&
		(!call->n_items || has_items(field(answer->json, "items"), call->n_items));
}

static int judge(const struct ctl *ctl, const struct call *call, struct answer *answer)
{
	if (is_done(call, answer))
		return 0;
	if (answer->status < 400 || !field_text(answer->json, "code")[0])
		make_unknown(ctl, call, answer);
	answer->code = field_text(answer->json, "code");
	if (call->tolerated && is_listed(call->tolerated, answer->code, strlen(answer->code)))
		return 0;
	fail_with_answer(ctl, answer);
	if (answer->status == 0 && is_get(call))
		return EXIT_UNREACHABLE;
	return is_misuse(ctl, answer) ? EXIT_USAGE : EXIT_FAILED;
}

static int perform(struct ctl *ctl, const struct call *call, const struct http_request *request,
	struct answer *answer)
{
	unsigned timeout_s = call->timeout_s ? call->timeout_s : TIMEOUT_S;
	struct http_answer http_answer = {0};
	int r = exchange(ctl, request, timeout_s, &http_answer);

	if (r < 0)
		return -r;
	if (r == HTTP_DONE)
		read_answer(&http_answer, answer);
	return judge(ctl, call, answer);
}

int call_hookd(struct ctl *ctl, const struct call *call, struct answer *answer)
{
	struct http_request request = {.method = call->method,
		.target = call->target,
		.content_type = call->content_type,
		.idempotency_key = call->idempotency_key,
		.is_keyed = call->is_keyed};
	char *body = NULL;
	int r;

	*answer = (struct answer){0};
	if (strlen(call->target) > TARGET_MAX) {
		misused(ctl, "an argument is too long");
		return EXIT_USAGE;
	}
	if (call->json) {
		body = json_dumps(call->json, JSON_COMPACT);
		request.content_type = "application/json";
		request.body = body;
		request.body_len = strlen(body);
	} else if (call->bytes) {
		request.body = call->bytes->at ? call->bytes->at : "";
		request.body_len = call->bytes->len;
	}
	r = perform(ctl, call, &request, answer);
	free(body);
	return r;
}

void answer_clear(struct answer *answer)
{
	json_decref(answer->json);
	free(answer->bytes);
	*answer = (struct answer){0};
}

int send_json(
	struct ctl *ctl, const char *method, const char *target, const json_t *body, json_t **json)
{
	struct call call = {.method = method, .target = target, .json = body};
	struct answer answer;
	int r = call_hookd(ctl, &call, &answer);

	if (r == 0 && json)
		*json = json_incref(answer.json);
	answer_clear(&answer);
	return r;
}

int get_json(struct ctl *ctl, const char *target, json_t **json)
{
	return send_json(ctl, "GET", target, NULL, json);
}
