#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/http.h"
#include "../lib/text.h"
#include "fields.h"
#include "say.h"

#define TIMEOUT_S 60
#define TARGET_MAX 4000 /* with the scheme in front it fits what http.c takes */
#define PATH_SIZE 512

static const char *const socket_names[N_SOCKETS] = {
	[SOCKET_SUBMIT] = "submit", [SOCKET_MANAGE] = "manage", [SOCKET_ADMIN] = "admin"};

/* ---- Choosing the socket ---- */

/* The sockets that would do, in the order in which they are tried. Returns how many. */
static unsigned list_candidates(const struct ctl *ctl, enum hookd_socket list[N_SOCKETS])
{
	unsigned n = N_SOCKETS - ctl->command->needs;

	for (unsigned i = 0; i < n; i++) {
		unsigned socket =
			ctl->command->needs == SOCKET_SUBMIT ? i : (unsigned)SOCKET_ADMIN - i;

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

	if (socket > ctl->command->needs)
		snprintf(enough, sizeof(enough), " (hookd-%s is enough for %s)",
			socket_names[ctl->command->needs], ctl->command->name);
	fail("%s: permission denied: be root or in group hookd-%s%s", path, socket_names[socket],
		enough);
}

/* Says why no socket could be opened. */
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
	if (r >= 0)
		return r;
	fail("%s: %s: systemctl status hookd", http_client_path(ctl->http), strerror(-r));
	return -EXIT_UNREACHABLE;
}

void disconnect(struct ctl *ctl)
{
	http_client_free(ctl->http);
	ctl->http = NULL;
}

/* ---- Problems ---- */

/* The members that problems name, as their options are called here. */
static const struct {
	const char *field, *option;
} options[] = {
	{"allow_http", "--allow-http"},
	{"allow_private", "--allow-private"},
	{"burst", "--burst"},
	{"ca", "--ca"},
	{"deliver_at", "--at"},
	{"description", "--description"},
	{"error", "--error"},
	{"headers", "--header"},
	{"http_status", "--http-status"},
	{"idempotency_key", "--key"},
	{"Content-Type", "--content-type"},
	{"max_age_s", "--max-age"},
	{"max_in_flight", "--in-flight"},
	{"overlap_s", "--overlap"},
	{"rate_per_s", "--rate"},
	{"reason", "--reason"},
	{"retry_schedule_s", "--retry"},
	{"state", "--state"},
	{"tenant", "--tenant"},
	{"timeout_s", "--timeout"},
	{"types", "--types"},
};

static const char *option_of(const char *field)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(options[i].field, field) == 0)
			return options[i].option;
	}
	return field;
}

/* Where the API speaks of "allow_http", people here know --allow-http. */
static void append_in_options(struct buffer *b, const char *detail)
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
		if (word[0] && option_of(word) != word) {
			buffer_append_text(b, option_of(word));
			detail += quoted + 2;
		} else if (*detail) {
			buffer_append(b, detail++, 1);
		}
	}
}

int fail_with_answer(const struct ctl *ctl, const struct answer *answer)
{
	const char *detail = field_text(answer->json, "detail");
	const char *field = field_text(answer->json, "field");
	long long line = field_number(answer->json, "line");
	struct buffer words = {0};

	if (!detail[0])
		return fail("%s: an answer that hookctl does not understand, HTTP status %d",
			http_client_path(ctl->http), answer->status);
	if (line)
		buffer_append_format(&words, "line %lld: ", line);
	if (field[0])
		buffer_append_format(&words, "%s: ", line ? field : option_of(field));
	if (line)
		buffer_append_text(&words, detail);
	else
		append_in_options(&words, detail);
	fail("%s", words.at);
	buffer_free(&words);
	return EXIT_FAILED;
}

static bool is_listed(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (; words && *words; words += strcspn(words, " "), words += strspn(words, " ")) {
		if (strcspn(words, " ") == len && strncmp(words, word, len) == 0)
			return true;
	}
	return false;
}

/* The connection broke, or no answer came in time. */
static void make_unknown(const struct ctl *ctl, const struct call *call, struct answer *answer)
{
	char detail[512];

	snprintf(detail, sizeof(detail), "%s: no answer from hookd (%s)%s",
		http_client_path(ctl->http), http_client_problem(ctl->http),
		strcmp(call->method, "GET") == 0 ? "" : "; perhaps it was done");
	text_clean(detail);
	answer->json = json_pack("{s:s, s:s}", "code", "unknown", "detail", detail);
}

/* ---- Calls ---- */

static void read_answer(struct http_answer *from, struct answer *answer)
{
	answer->status = from->status;
	if (strncmp(from->content_type, "application/json", 16) == 0 ||
		strncmp(from->content_type, "application/problem+json", 24) == 0)
		answer->json = json_loadb(from->body, from->body_len, JSON_DECODE_ANY, NULL);
	answer->bytes = from->body;
	answer->len = from->body_len;
	from->body = NULL;
	http_answer_clear(from);
}

static int judge(const struct ctl *ctl, const struct call *call, struct answer *answer)
{
	if (answer->status >= 200 && answer->status <= 299)
		return 0;
	answer->code = field_text(answer->json, "code");
	if (answer->code[0] && is_listed(call->tolerated, answer->code))
		return 0;
	fail_with_answer(ctl, answer);
	return answer->status == 0 && strcmp(call->method, "GET") == 0 ? EXIT_UNREACHABLE
								       : EXIT_FAILED;
}

static int perform(struct ctl *ctl, const struct call *call, const struct http_request *request,
	struct answer *answer)
{
	unsigned timeout_s = call->timeout_s ? call->timeout_s : TIMEOUT_S;
	struct http_answer http_answer = {0};
	int r = exchange(ctl, request, timeout_s, &http_answer);

	if (r == HTTP_BROKEN && strcmp(call->method, "GET") == 0)
		r = exchange(ctl, request, timeout_s, &http_answer);
	if (r < 0)
		return -r;
	if (r == HTTP_BROKEN)
		make_unknown(ctl, call, answer);
	else
		read_answer(&http_answer, answer);
	return judge(ctl, call, answer);
}

int call_hookd(struct ctl *ctl, const struct call *call, struct answer *answer)
{
	struct http_request request = {.method = call->method,
		.target = call->target,
		.content_type = call->content_type,
		.idempotency_key = call->idempotency_key};
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

	if (r == 0 && json && !answer.json)
		r = fail_with_answer(ctl, &answer);
	if (r == 0 && json)
		*json = json_incref(answer.json);
	answer_clear(&answer);
	return r;
}

int get_json(struct ctl *ctl, const char *target, json_t **json)
{
	return send_json(ctl, "GET", target, NULL, json);
}
