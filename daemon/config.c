/* One table says everything of a key: where it lives, how it is read, what it may be. */
#include "config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "../lib/units.h"

#define FILE_MAX 65536
#define LINE_MAX_LEN 198 /* what inih reads whole */
#define VALUE_SIZE 4096 /* over several lines */
#define PRINT_COLUMNS 100
#define SERVERS_SIZE sizeof(((struct config *)NULL)->network.dns_servers)

enum key_kind {
	K_SIZE,
	K_DURATION,
	K_COUNT,
	K_BOOL,
	K_RATE,
	K_SCHEDULE,
	K_NETWORKS,
	K_PORTS,
	K_PATH,
	K_SERVERS,
	K_CHOICE
};

struct key {
	const char *section, *name, *by_default;
	enum key_kind kind;
	size_t offset;
	int64_t min, max; /* of numbers; size of the buffer of texts */
	const char *special; /* a word for the number 0 or the empty list */
	const char *const *choices; /* K_CHOICE: by number from min */
};

static const char *const log_levels[] = {"error", "warning", "notice", "info", "debug", NULL};
static const char *const landlock_choices[] = {"required", "optional", NULL};
static const char *const attempt_choices[] = {"none", "failures", "all", NULL};

#define AT(member) offsetof(struct config, member)
#define DAYS(n) ((int64_t)(n)*86400)

static const struct key keys[] = {
	{"store", "budget", "10G", K_SIZE, AT(store.budget), (int64_t)4 << 20, UNITS_SIZE_MAX / 8},
	{"store", "min_free_disk", "1G", K_SIZE, AT(store.min_free_disk), 0, UNITS_SIZE_MAX / 8},
	{"retention", "delivered", "3d", K_DURATION, AT(retention.delivered), 1, DAYS(3650)},
	{"retention", "dead", "30d", K_DURATION, AT(retention.dead), 1, DAYS(3650)},
	{"retention", "idempotency_keys", "1d", K_DURATION, AT(retention.idempotency_keys), 1,
		DAYS(366)},
	{"intake", "max_payload", "1M", K_SIZE, AT(intake.max_payload), 1, 64 << 20},
	{"intake", "max_batch", "8M", K_SIZE, AT(intake.max_batch), 1024, 64 << 20},
	{"intake", "max_connections", "1024", K_COUNT, AT(intake.max_connections), 1, 65536},
	{"intake", "max_connections_per_user", "256", K_COUNT, AT(intake.max_connections_per_user),
		1, 65536},
	{"intake", "request_timeout", "30s", K_DURATION, AT(intake.request_timeout), 1, 3600},
	{"intake", "max_endpoints_per_tenant", "1000", K_COUNT, AT(intake.max_endpoints_per_tenant),
		1, 100000},
	{"delivery", "retry_schedule", "5s 30s 2m 10m 30m 2h 5h 10h 14h 18h 22h", K_SCHEDULE,
		AT(delivery.retry_schedule), 0, 0},
	{"delivery", "max_age", "none", K_DURATION, AT(delivery.max_age), 1, DAYS(3650), "none"},
	{"delivery", "timeout", "15s", K_DURATION, AT(delivery.timeout), 1, 60},
	{"delivery", "connect_timeout", "5s", K_DURATION, AT(delivery.connect_timeout), 1, 60},
	{"delivery", "max_in_flight", "8", K_COUNT, AT(delivery.max_in_flight), 1, 256},
	{"delivery", "rate", "none", K_RATE, AT(delivery.rate), 0, 10000, "none"},
	{"delivery", "retry_after_max", "12h", K_DURATION, AT(delivery.retry_after_max), 1,
		DAYS(7)},
	{"delivery", "secret_overlap", "24h", K_DURATION, AT(delivery.secret_overlap), 0, DAYS(30)},
	{"network", "allow_http", "no", K_BOOL, AT(network.allow_http), 0, 0},
	{"network", "allow_private", "none", K_NETWORKS, AT(network.allow_private), 0, 0, "none"},
	{"network", "deny", "none", K_NETWORKS, AT(network.deny), 0, 0, "none"},
	{"network", "ports", "80 443 1024-65535", K_PORTS, AT(network.ports), 0, 0},
	{"network", "ca_file", "/etc/ssl/certs/ca-certificates.crt", K_PATH, AT(network.ca_file), 0,
		189},
	{"network", "dns_servers", "auto", K_SERVERS, AT(network.dns_servers), 0, 0, "auto"},
	{"senders", "count", "auto", K_COUNT, AT(senders.count), 1, 64, "auto"},
	{"senders", "max_in_flight", "512", K_COUNT, AT(senders.max_in_flight), 1, 16384},
	{"senders", "landlock", "required", K_CHOICE, AT(senders.landlock), 0, 1, NULL,
		landlock_choices},
	{"log", "level", "info", K_CHOICE, AT(log.level), 3, 7, NULL, log_levels},
	{"log", "attempts", "none", K_CHOICE, AT(log.attempts), 0, 2, NULL, attempt_choices},
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* ---- Values ---- */

static int expected(
	struct problem *problem, const struct key *key, const char *what, const char *value)
{
	char field[64];

	snprintf(field, sizeof(field), "%s.%s", key->section, key->name);
	problem_set(problem, PROBLEM_INVALID, field, "expected %s%s%s, not \"%s\"", what,
		key->special ? ", or " : "", key->special ? key->special : "", value);
	return -EINVAL;
}

static void describe_range(const struct key *key, char *text, size_t size)
{
	char min[UNITS_TEXT_SIZE], max[UNITS_TEXT_SIZE];

	if (key->kind == K_SIZE) {
		units_format_size(key->min, min);
		units_format_size(key->max, max);
		snprintf(text, size, "a size from %s to %s, such as 512M", min, max);
	} else if (key->kind == K_DURATION) {
		units_format_duration(key->min, min);
		units_format_duration(key->max, max);
		snprintf(text, size, "a duration from %s to %s, such as 1h30m", min, max);
	} else {
		snprintf(text, size, "a whole number from %lld to %lld", (long long)key->min,
			(long long)key->max);
	}
}

static int parse_count(const char *text, int64_t *value)
{
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 12)
		return -EINVAL;
	*value = strtoll(text, &end, 10);
	return 0;
}

static int set_number(
	const struct key *key, const char *value, int64_t *number, struct problem *problem)
{
	char range[160];
	int r;

	if (key->kind == K_SIZE)
		r = units_parse_size(value, number);
	else if (key->kind == K_DURATION)
		r = units_parse_duration(value, number);
	else
		r = parse_count(value, number);
	if (r == 0 && *number >= key->min && *number <= key->max)
		return 0;
	describe_range(key, range, sizeof(range));
	return expected(problem, key, range, value);
}

static int set_rate(const struct key *key, const char *value, double *rate, struct problem *problem)
{
	char *end;

	*rate = strtod(value, &end);
	if (!*value || *end || strspn(value, "0123456789.") != strlen(value) || *rate < 0.01 ||
		*rate > 10000)
		return expected(problem, key, "requests per second from 0.01 to 10000", value);
	return 0;
}

/* ---- Lists ---- */

static int add_network(void *list, const char *word)
{
	struct config_networks *networks = list;

	if (networks->n == CONFIG_LIST_MAX || network_parse(word, &networks->list[networks->n]) < 0)
		return -EINVAL;
	networks->n++;
	return 0;
}

static int parse_port_range(const char *word, struct port_range *range)
{
	size_t len = strcspn(word, "-");
	char text[8];
	int64_t first, last;

	if (len >= sizeof(text))
		return -EINVAL;
	snprintf(text, sizeof(text), "%.*s", (int)len, word);
	if (parse_count(text, &first) < 0 ||
		parse_count(word[len] ? word + len + 1 : word, &last) < 0 || first < 1 ||
		last > 65535 || first > last)
		return -EINVAL;
	*range = (struct port_range){(uint16_t)first, (uint16_t)last};
	return 0;
}

static int add_port_range(void *list, const char *word)
{
	struct config_ports *ports = list;

	if (ports->n == CONFIG_LIST_MAX || parse_port_range(word, &ports->list[ports->n]) < 0)
		return -EINVAL;
	ports->n++;
	return 0;
}

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353" */
static bool is_server(const char *word)
{
	char address[INET6_ADDRSTRLEN], *colon;
	struct in6_addr parsed;
	const char *port = NULL;
	int64_t number;
	size_t len;

	if (inet_pton(AF_INET, word, &parsed) == 1 || inet_pton(AF_INET6, word, &parsed) == 1)
		return true;
	colon = strrchr(word, ':');
	if (!colon)
		return false;
	port = colon + 1;
	len = (size_t)(colon - word);
	if (parse_count(port, &number) < 0 || number < 1 || number > 65535 ||
		len >= sizeof(address) + 2)
		return false;
	if (word[0] == '[' && len > 2 && word[len - 1] == ']') {
		snprintf(address, sizeof(address), "%.*s", (int)len - 2, word + 1);
		return inet_pton(AF_INET6, address, &parsed) == 1;
	}
	snprintf(address, sizeof(address), "%.*s", (int)len, word);
	return inet_pton(AF_INET, address, &parsed) == 1;
}

/* As c-ares takes them: with commas between. */
static int add_server(void *list, const char *word)
{
	char *servers = list;
	size_t len = strlen(servers);

	if (!is_server(word) || len + 1 + strlen(word) >= SERVERS_SIZE)
		return -EINVAL;
	snprintf(servers + len, SERVERS_SIZE - len, "%s%s", len ? "," : "", word);
	return 0;
}

/* Zero, or an empty list: what a key's special word stands for, and how lists begin. */
static void set_empty(const struct key *key, void *at)
{
	switch (key->kind) {
	case K_RATE:
		*(double *)at = 0;
		break;
	case K_NETWORKS:
		((struct config_networks *)at)->n = 0;
		break;
	case K_PORTS:
		((struct config_ports *)at)->n = 0;
		break;
	case K_PATH:
	case K_SERVERS:
		*(char *)at = '\0';
		break;
	case K_SIZE:
	case K_DURATION:
	case K_COUNT:
	case K_BOOL:
	case K_SCHEDULE:
	case K_CHOICE:
		*(int64_t *)at = 0;
		break;
	}
}

static int set_list(const struct key *key, const char *value, void *list, struct problem *problem)
{
	static const struct {
		int (*add)(void *list, const char *word);
		const char *what;
	} kinds[] = {
		[K_NETWORKS] = {add_network,
			"up to 64 networks such as \"10.0.0.0/8 fd00::/8\" (bits beyond the prefix zero)"},
		[K_PORTS] = {add_port_range, "up to 64 ports and ranges such as \"443 8000-8999\""},
		[K_SERVERS] = {add_server,
			"addresses of DNS servers such as \"192.0.2.53 [2001:db8::53]:5353\""},
	};
	char copy[VALUE_SIZE], *rest, *word;

	snprintf(copy, sizeof(copy), "%s", value);
	word = strtok_r(copy, " ,\t", &rest);
	if (!word)
		return expected(problem, key, kinds[key->kind].what, value);
	set_empty(key, list);
	for (; word; word = strtok_r(NULL, " ,\t", &rest)) {
		assert(kinds[key->kind].add);
		if (kinds[key->kind].add(list, word) < 0)
			return expected(problem, key, kinds[key->kind].what, word);
	}
	return 0;
}

/* ---- Single values ---- */

static int set_choice(
	const struct key *key, const char *value, int *choice, struct problem *problem)
{
	char list[128] = "one of";

	for (int i = 0; key->choices[i]; i++) {
		if (strcmp(key->choices[i], value) == 0) {
			*choice = (int)key->min + i;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s", key->choices[i]);
	}
	return expected(problem, key, list, value);
}

static int set_bool(const struct key *key, const char *value, bool *flag, struct problem *problem)
{
	*flag = strcmp(value, "yes") == 0;
	return *flag || strcmp(value, "no") == 0 ? 0 : expected(problem, key, "yes or no", value);
}

static int set_schedule(const struct key *key, const char *value, struct retry_schedule *schedule,
	struct problem *problem)
{
	const char *what;

	return retry_schedule_parse(value, schedule, &what) == 0
		? 0
		: expected(problem, key, what, value);
}

/* Absolute: a relative one would depend on where hookd was started, and the sender is elsewhere. */
static int set_path(const struct key *key, const char *value, char *text, struct problem *problem)
{
	if (*value != '/' || strlen(value) >= (size_t)key->max)
		return expected(problem, key, "an absolute path of up to 188 characters", value);
	memcpy(text, value, strlen(value) + 1);
	return 0;
}

static int set_value(
	struct config *config, const struct key *key, const char *value, struct problem *problem)
{
	void *at = (char *)config + key->offset;

	if (key->special && strcmp(value, key->special) == 0) {
		set_empty(key, at);
		return 0;
	}
	switch (key->kind) {
	case K_SIZE:
	case K_DURATION:
	case K_COUNT:
		return set_number(key, value, at, problem);
	case K_BOOL:
		return set_bool(key, value, at, problem);
	case K_RATE:
		return set_rate(key, value, at, problem);
	case K_SCHEDULE:
		return set_schedule(key, value, at, problem);
	case K_NETWORKS:
	case K_PORTS:
	case K_SERVERS:
		return set_list(key, value, at, problem);
	case K_PATH:
		return set_path(key, value, at, problem);
	case K_CHOICE:
		return set_choice(key, value, at, problem);
	}
	return -EINVAL;
}

/* ---- The file ---- */

/* Edit distance, for the nearest key to a misspelt one. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= 64)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t changed = diagonal + (a[i - 1] != b[j - 1]);
			size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = changed < best ? changed : best;
		}
	}
	return row[n];
}

static int unknown_key(const char *section, const char *name, struct problem *problem)
{
	const struct key *nearest = &keys[0];
	size_t least = SIZE_MAX;
	char field[64];

	for (size_t i = 0; i < N_KEYS; i++) {
		size_t d = distance(name, keys[i].name) + (strcmp(section, keys[i].section) != 0);

		if (d < least) {
			least = d;
			nearest = &keys[i];
		}
	}
	snprintf(field, sizeof(field), "%s.%s", section, name);
	problem_set(problem, PROBLEM_INVALID, field,
		"there is no key \"%s\" in [%s]; the nearest is \"%s\" in [%s]", name, section,
		nearest->name, nearest->section);
	return -EINVAL;
}

static const char syntax[] =
	"expected \"[section]\", \"key = value\" in one, or a comment behind # or ;";

struct reading {
	struct config *config;
	struct problem *problem;
	const char *at; /* the next line */
	unsigned line; /* number of the last */
	bool is_indented; /* the last line: it goes on with the value before */
	bool seen[N_KEYS];
	/* A value is set when nothing more can follow. */
	const struct key *key; /* NULL: none is open */
	unsigned key_line;
	char value[VALUE_SIZE];
};

static void start_reading(struct reading *r, const char *text)
{
	r->at = text;
	r->line = 0;
}

/* As fgets(3), for inih. */
static char *next_line(char *line, int size, void *stream)
{
	struct reading *r = stream;
	size_t len = strcspn(r->at, "\n");

	if (!*r->at)
		return NULL;
	len += r->at[len] == '\n';
	snprintf(line, (size_t)size, "%.*s", (int)len, r->at);
	r->is_indented = *r->at == ' ' || *r->at == '\t';
	r->at += len;
	r->line++;
	return line;
}

static int refuse_key(struct reading *r, const char *what, unsigned line)
{
	char field[64];

	snprintf(field, sizeof(field), "%s.%s", r->key->section, r->key->name);
	problem_set(r->problem, PROBLEM_INVALID, field, "%s", what);
	r->problem->line = line;
	r->key = NULL;
	return -EINVAL;
}

static int end_value(struct reading *r)
{
	const struct key *key = r->key;

	r->key = NULL;
	if (!key || set_value(r->config, key, r->value, r->problem) == 0)
		return 0;
	r->problem->line = r->key_line;
	return -EINVAL;
}

/* How long a line's part of a value is without the comment behind it. In lines that go on with a
 * value inih leaves comments to us. */
static size_t length_of_part(const char *text)
{
	size_t len = 0;
	bool after_space = false;

	for (size_t i = 0; text[i] && !(text[i] == ';' && after_space); i++) {
		after_space = isspace((unsigned char)text[i]);
		if (!after_space)
			len = i + 1;
	}
	return len;
}

static int add_to_value(struct reading *r, const char *text)
{
	size_t len = strlen(r->value), more = length_of_part(text);

	if (len + 1 + more >= sizeof(r->value))
		return refuse_key(r, "expected a value of less than 4096 characters", r->key_line);
	snprintf(r->value + len, sizeof(r->value) - len, "%s%.*s", len ? " " : "", (int)more, text);
	return 0;
}

static int begin_value(struct reading *r, const char *section, const char *name, const char *value)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
			continue;
		r->key = &keys[i];
		r->key_line = r->line;
		r->value[0] = '\0';
		if (r->seen[i])
			return refuse_key(r, "given twice", r->line);
		r->seen[i] = true;
		return add_to_value(r, value);
	}
	return unknown_key(section, name, r->problem);
}

/* Called by inih for each key, and for each line that goes on with one. 0 means a mistake; of these
 * it remembers the first line. */
static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;

	if (r->problem->code)
		return 0;
	if (!*section) { /* none yet, or one that is not closed */
		problem_set(r->problem, PROBLEM_INVALID, NULL, "%s", syntax);
		return 0;
	}
	if (r->key && r->is_indented && strcmp(r->key->section, section) == 0 &&
		strcmp(r->key->name, name) == 0)
		return add_to_value(r, value) == 0;
	return end_value(r) == 0 && begin_value(r, section, name, value) == 0;
}

/* For a first pass, which finds lines that inih does not understand. */
static int on_any_key(void *user, const char *section, const char *name, const char *value)
{
	(void)user;
	(void)section;
	(void)name;
	(void)value;
	return 1;
}

void config_default(struct config *config)
{
	struct problem problem;

	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < N_KEYS; i++) {
		if (set_value(config, &keys[i], keys[i].by_default, &problem) < 0)
			abort(); /* a mistake in the table above */
	}
}

static int load_file(const char *path, char *text, struct problem *problem)
{
	FILE *file = fopen(path, "re");
	size_t n;

	text[0] = '\0';
	if (!file && errno == ENOENT)
		return 0;
	if (!file) {
		problem_set(problem, PROBLEM_INVALID, NULL, "cannot open it: %s", strerror(errno));
		return -EINVAL;
	}
	n = fread(text, 1, FILE_MAX, file);
	text[n < FILE_MAX ? n : FILE_MAX - 1] = '\0';
	if (ferror(file) || n == FILE_MAX || memchr(text, '\0', n)) {
		problem_set(
			problem, PROBLEM_INVALID, NULL, "expected a text file of less than 64 KiB");
		fclose(file);
		return -EINVAL;
	}
	fclose(file);
	return 0;
}

static int check_lines(const char *text, struct problem *problem)
{
	unsigned line = 1;

	for (; *text; line++) {
		size_t len = strcspn(text, "\n");

		if (len > LINE_MAX_LEN) {
			problem_set(problem, PROBLEM_INVALID, NULL,
				"expected lines of at most %d characters", LINE_MAX_LEN);
			problem->line = line;
			return -EINVAL;
		}
		text += len + (text[len] == '\n');
	}
	return 0;
}

/* What the keys have to do with each other. */
static int check_together(const struct config *c, struct problem *problem)
{
	if (c->intake.max_batch < c->intake.max_payload) {
		problem_set(problem, PROBLEM_INVALID, "intake.max_batch",
			"expected at least intake.max_payload: a batch holds a payload");
		return -EINVAL;
	}
	if (c->intake.max_payload > c->store.budget / 8) {
		problem_set(problem, PROBLEM_INVALID, "intake.max_payload",
			"expected at most an eighth of store.budget: an endpoint may owe a quarter of it");
		return -EINVAL;
	}
	return 0;
}

/* The two kinds of mistakes apart: inih tells the first line alone, of either. */
static int read_lines(struct reading *r, const char *text)
{
	int line;

	start_reading(r, text);
	line = ini_parse_stream(next_line, r, on_any_key, NULL);
	if (line == 0) {
		start_reading(r, text);
		line = ini_parse_stream(next_line, r, on_key, r);
	}
	if (line == 0)
		return end_value(r);
	if (!r->problem->code)
		problem_set(r->problem, PROBLEM_INVALID, NULL, "%s", syntax);
	if (!r->problem->line)
		r->problem->line = line > 0 ? (unsigned)line : 0;
	return -EINVAL;
}

int config_read(struct config *config, const char *path, struct problem *problem)
{
	struct config fresh;
	struct reading reading = {.config = &fresh, .problem = problem};
	char *text = malloc(FILE_MAX);
	int r = text ? 0 : -ENOMEM;

	problem->code = PROBLEM_NONE;
	config_default(&fresh);
	if (r == 0)
		r = load_file(path, text, problem);
	if (r == 0)
		r = check_lines(text, problem);
	if (r == 0)
		r = read_lines(&reading, text);
	if (r == 0)
		r = check_together(&fresh, problem);
	free(text);
	if (r == -ENOMEM)
		problem_set(problem, PROBLEM_INVALID, NULL, "out of memory");
	if (r < 0)
		return -EINVAL;
	*config = fresh;
	return 0;
}

/* ---- Printing ---- */

static bool is_special(const struct key *key, const void *at)
{
	if (!key->special)
		return false;
	switch (key->kind) {
	case K_RATE:
		return *(const double *)at == 0;
	case K_NETWORKS:
		return ((const struct config_networks *)at)->n == 0;
	case K_PATH:
	case K_SERVERS:
		return *(const char *)at == '\0';
	case K_SIZE:
	case K_DURATION:
	case K_COUNT:
	case K_BOOL:
	case K_SCHEDULE:
	case K_PORTS:
	case K_CHOICE:
		break;
	}
	return *(const int64_t *)at == 0;
}

static void format_networks(const struct config_networks *networks, char *text)
{
	size_t len = 0;

	for (size_t i = 0; i < networks->n; i++) {
		char network[NETWORK_TEXT_SIZE];

		network_format(&networks->list[i], network);
		len += (size_t)snprintf(
			text + len, VALUE_SIZE - len, "%s%s", i ? " " : "", network);
	}
}

static void format_ports(const struct config_ports *ports, char *text)
{
	size_t len = 0;

	for (size_t i = 0; i < ports->n; i++) {
		const struct port_range *p = &ports->list[i];

		len += (size_t)snprintf(
			text + len, VALUE_SIZE - len, "%s%u", i ? " " : "", p->first);
		if (p->last != p->first)
			len += (size_t)snprintf(text + len, VALUE_SIZE - len, "-%u", p->last);
	}
}

/* The shortest that reads back to the same. */
static void format_rate(double rate, char *text, size_t size)
{
	int digits = 6;

	do
		snprintf(text, size, "%.*g", digits, rate);
	while (strtod(text, NULL) != rate && digits++ < 17);
}

static void format_value(const struct key *key, const void *at, char text[static VALUE_SIZE])
{
	const struct retry_schedule *schedule = at;

	switch (key->kind) {
	case K_SIZE:
		units_format_size(*(const int64_t *)at, text);
		break;
	case K_DURATION:
		units_format_duration(*(const int64_t *)at, text);
		break;
	case K_COUNT:
		snprintf(text, VALUE_SIZE, "%lld", (long long)*(const int64_t *)at);
		break;
	case K_BOOL:
		snprintf(text, VALUE_SIZE, "%s", *(const bool *)at ? "yes" : "no");
		break;
	case K_RATE:
		format_rate(*(const double *)at, text, VALUE_SIZE);
		break;
	case K_SCHEDULE:
		retry_schedule_format(schedule->waits_s, schedule->n, text, VALUE_SIZE);
		break;
	case K_NETWORKS:
		format_networks(at, text);
		break;
	case K_PORTS:
		format_ports(at, text);
		break;
	case K_PATH:
	case K_SERVERS:
		snprintf(text, VALUE_SIZE, "%s", (const char *)at);
		break;
	case K_CHOICE:
		snprintf(text, VALUE_SIZE, "%s", key->choices[*(const int *)at - (int)key->min]);
		break;
	}
}

/* Lists may be longer than a line. */
static void print_words(const char *text, size_t column, FILE *file)
{
	while (*text) {
		size_t len = strcspn(text, " ");

		if (column + 1 + len > PRINT_COLUMNS) {
			fputs("\n   ", file);
			column = 3;
		}
		fprintf(file, " %.*s", (int)len, text);
		column += 1 + len;
		text += len + (text[len] == ' ');
	}
	fputc('\n', file);
}

void config_print(const struct config *config, FILE *file)
{
	const char *section = "";
	char value[VALUE_SIZE] = "";

	for (size_t i = 0; i < N_KEYS; i++) {
		const void *at = (const char *)config + keys[i].offset;

		if (strcmp(section, keys[i].section) != 0) {
			fprintf(file, "%s[%s]\n", i ? "\n" : "", keys[i].section);
			section = keys[i].section;
		}
		fprintf(file, "%s =", keys[i].name);
		if (is_special(&keys[i], at))
			snprintf(value, sizeof(value), "%s", keys[i].special);
		else
			format_value(&keys[i], at, value);
		/* A path fits a line; broken, it might begin another one with a comment's #. */
		if (keys[i].kind == K_PATH)
			fprintf(file, " %s\n", value);
		else
			print_words(value, strlen(keys[i].name) + 2, file);
	}
}
