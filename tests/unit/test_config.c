#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/config.h"
#include "helpers.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define FILE_MAX 65536
#define LINE_MAX_LEN 198
#define PATH_MAX_LEN 188

/* ---- Files ---- */

static void path_of_file(char path[static 64], void **state)
{
	snprintf(path, 64, "%s/hookd.conf", (const char *)*state);
}

static int read_text(void **state, const char *text, struct config *config, struct problem *problem)
{
	char path[64];

	path_of_file(path, state);
	write_file(path, text, strlen(text));
	return config_read(config, path, problem);
}

static struct config read_good(void **state, const char *text)
{
	struct config config;
	struct problem problem;

	if (read_text(state, text, &config, &problem) != 0)
		fail_msg("%s, line %u: %s", problem.field, problem.line, problem.detail);
	return config;
}

static struct problem read_bad(void **state, const char *text)
{
	struct config config;
	struct problem problem;

	if (read_text(state, text, &config, &problem) != -EINVAL)
		fail_msg("this is accepted:\n%s", text);
	return problem;
}

/* What config_print() writes, for free(). */
static char *print(const struct config *config)
{
	static char *text; /* static, or gcc takes what is read later for this variable */
	static size_t len;
	FILE *file = open_memstream(&text, &len);

	assert_non_null(file);
	config_print(config, file);
	assert_int_equal(fclose(file), 0);
	return text;
}

/* ---- Defaults ---- */

static void assert_is_default(const struct config *config)
{
	struct config expected;

	config_default(&expected);
	assert_memory_equal(config, &expected, sizeof(expected));
}

static void test_defaults_are_those_of_the_manual(void **state)
{
	static const char expected[] = "[store]\n"
				       "budget = 10G\n"
				       "min_free_disk = 1G\n"
				       "\n[retention]\n"
				       "delivered = 3d\n"
				       "dead = 30d\n"
				       "idempotency_keys = 1d\n"
				       "\n[intake]\n"
				       "max_payload = 1M\n"
				       "max_batch = 8M\n"
				       "max_connections = 1024\n"
				       "max_connections_per_user = 256\n"
				       "request_timeout = 30s\n"
				       "max_endpoints_per_tenant = 1000\n"
				       "\n[delivery]\n"
				       "retry_schedule = 5s 30s 2m 10m 30m 2h 5h 10h 14h 18h 22h\n"
				       "max_age = none\n"
				       "timeout = 15s\n"
				       "connect_timeout = 5s\n"
				       "max_in_flight = 8\n"
				       "rate = none\n"
				       "retry_after_max = 12h\n"
				       "secret_overlap = 1d\n"
				       "\n[network]\n"
				       "allow_http = no\n"
				       "allow_private = none\n"
				       "deny = none\n"
				       "ports = 80 443 1024-65535\n"
				       "ca_file = /etc/ssl/certs/ca-certificates.crt\n"
				       "dns_servers = auto\n"
				       "\n[senders]\n"
				       "count = auto\n"
				       "max_in_flight = 512\n"
				       "landlock = required\n"
				       "\n[log]\n"
				       "level = info\n"
				       "attempts = none\n";
	struct config config;
	char *text;

	(void)state;
	config_default(&config);
	text = print(&config);
	assert_string_equal(text, expected);
	free(text);
}

static void test_default_schedule_is_12_attempts_in_3_days(void **state)
{
	struct config config;
	uint32_t sum_s = 0;

	(void)state;
	config_default(&config);
	assert_int_equal(config.delivery.retry_schedule.n, 11);
	for (unsigned i = 0; i < 11; i++)
		sum_s += config.delivery.retry_schedule.waits_s[i];
	assert_in_range(sum_s, 71 * 3600, 73 * 3600);
}

static void test_missing_file_is_an_empty_one(void **state)
{
	struct config config;
	struct problem problem;
	char path[64];

	snprintf(path, sizeof(path), "%s/none.conf", (const char *)*state);
	assert_int_equal(config_read(&config, path, &problem), 0);
	assert_is_default(&config);
}

static void test_empty_file_and_comments_leave_the_defaults(void **state)
{
	struct config config = read_good(state, "");

	assert_is_default(&config);
	config = read_good(state, "# nothing\n; here\n\n[store]\n[intake]\n  # but comments\n");
	assert_is_default(&config);
}

/* ---- Each key ---- */

struct value_case {
	const char *section, *key, *value;
	const char *printed; /* how config_print() writes it; NULL: it is refused */
	const char *beside; /* other lines of the section that it needs */
};

static const struct value_case value_cases[] = {
	{"store", "budget", "4M", "4M", "[intake]\nmax_payload = 1K\n[store]"},
	{"store", "budget", "4095K", NULL},
	{"store", "budget", "131072T", "131072T"},
	{"store", "budget", "131073T", NULL},
	{"store", "budget", "none", NULL},
	{"store", "budget", "10GB", NULL},
	{"store", "budget", "-1", NULL},
	{"store", "budget", "9223372036854775808", NULL},
	{"store", "min_free_disk", "0", "0"},
	{"store", "min_free_disk", "512M", "512M"},
	{"store", "min_free_disk", "1h", NULL},
	{"retention", "delivered", "1s", "1s"},
	{"retention", "delivered", "0", NULL},
	{"retention", "delivered", "3650d", "3650d"},
	{"retention", "delivered", "3651d", NULL},
	{"retention", "delivered", "3", NULL},
	{"retention", "dead", "2w", "14d"},
	{"retention", "dead", "0s", NULL},
	{"retention", "dead", "1M", NULL},
	{"retention", "idempotency_keys", "366d", "366d"},
	{"retention", "idempotency_keys", "367d", NULL},
	{"intake", "max_payload", "1", "1"},
	{"intake", "max_payload", "0", NULL},
	{"intake", "max_payload", "64M", "64M", "max_batch = 64M"},
	{"intake", "max_payload", "65M", NULL, "max_batch = 64M"},
	{"intake", "max_batch", "1K", "1K", "max_payload = 1"},
	{"intake", "max_batch", "1023", NULL, "max_payload = 1"},
	{"intake", "max_batch", "65M", NULL},
	{"intake", "max_connections", "1", "1"},
	{"intake", "max_connections", "0", NULL},
	{"intake", "max_connections", "65536", "65536"},
	{"intake", "max_connections", "65537", NULL},
	{"intake", "max_connections", "1K", NULL},
	{"intake", "max_connections", "+5", NULL},
	{"intake", "max_connections", "0x10", NULL},
	{"intake", "max_connections", "9999999999999", NULL},
	{"intake", "max_connections_per_user", "17", "17"},
	{"intake", "max_connections_per_user", "x", NULL},
	{"intake", "request_timeout", "1h", "1h"},
	{"intake", "request_timeout", "3601s", NULL},
	{"intake", "max_endpoints_per_tenant", "100000", "100000"},
	{"intake", "max_endpoints_per_tenant", "100001", NULL},
	{"delivery", "retry_schedule", "none", "none"},
	{"delivery", "retry_schedule", "1s,2m", "1s 2m"},
	{"delivery", "retry_schedule", "exponential 5s 4 12h 5", "5s 20s 1m20s 5m20s"},
	{"delivery", "retry_schedule", "5", NULL},
	{"delivery", "retry_schedule", "8d", NULL},
	{"delivery", "max_age", "none", "none"},
	{"delivery", "max_age", "5m", "5m"},
	{"delivery", "max_age", "0", NULL},
	{"delivery", "timeout", "60s", "1m"},
	{"delivery", "timeout", "61s", NULL},
	{"delivery", "timeout", "none", NULL},
	{"delivery", "connect_timeout", "1s", "1s"},
	{"delivery", "connect_timeout", "0s", NULL},
	{"delivery", "max_in_flight", "256", "256"},
	{"delivery", "max_in_flight", "257", NULL},
	{"delivery", "rate", "none", "none"},
	{"delivery", "rate", "0.01", "0.01"},
	{"delivery", "rate", "0.009", NULL},
	{"delivery", "rate", "10000", "10000"},
	{"delivery", "rate", "10000.1", NULL},
	{"delivery", "rate", "2.5", "2.5"},
	{"delivery", "rate", "0.333333333333", "0.333333333333"},
	{"delivery", "rate", "1e3", NULL},
	{"delivery", "rate", "nan", NULL},
	{"delivery", "rate", "5/s", NULL},
	{"delivery", "retry_after_max", "7d", "7d"},
	{"delivery", "retry_after_max", "8d", NULL},
	{"delivery", "secret_overlap", "0", "0s"},
	{"delivery", "secret_overlap", "31d", NULL},
	{"network", "allow_http", "yes", "yes"},
	{"network", "allow_http", "no", "no"},
	{"network", "allow_http", "true", NULL},
	{"network", "allow_http", "YES", NULL},
	{"network", "allow_private", "none", "none"},
	{"network", "allow_private", "10.0.0.0/8, fd00::/8 192.168.1.7",
		"10.0.0.0/8 fd00::/8 192.168.1.7/32"},
	{"network", "allow_private", "10.0.0.1/8", NULL},
	{"network", "allow_private", "10.0.0.0/8 none", NULL},
	{"network", "allow_private", ",", NULL},
	{"network", "deny", "8.8.8.8", "8.8.8.8/32"},
	{"network", "deny", "example.com", NULL},
	{"network", "ports", "443", "443"},
	{"network", "ports", "1-65535", "1-65535"},
	{"network", "ports", "80,443 8000-8999", "80 443 8000-8999"},
	{"network", "ports", "0", NULL},
	{"network", "ports", "65536", NULL},
	{"network", "ports", "90-80", NULL},
	{"network", "ports", "80-", NULL},
	{"network", "ports", "-80", NULL},
	{"network", "ports", "80-90-100", NULL},
	{"network", "ports", "none", NULL},
	{"network", "ports", " , ", NULL},
	{"network", "ca_file", "/etc/my ca.pem", "/etc/my ca.pem"},
	{"network", "ca_file", "certs/ca.pem", NULL},
	{"network", "ca_file", ";ca.pem", NULL},
	{"network", "dns_servers", "auto", "auto"},
	{"network", "dns_servers", "127.0.0.1:5353,[::1]:53", "127.0.0.1:5353,[::1]:53"},
	{"network", "dns_servers", "192.0.2.1 2001:db8::53", "192.0.2.1,2001:db8::53"},
	{"network", "dns_servers", "dns.example", NULL},
	{"network", "dns_servers", "192.0.2.1:0", NULL},
	{"network", "dns_servers", "192.0.2.1:65536", NULL},
	{"network", "dns_servers", "[::1]", NULL},
	{"network", "dns_servers", "[192.0.2.1]:53", NULL},
	{"network", "dns_servers", ", ,", NULL},
	{"senders", "count", "auto", "auto"},
	{"senders", "count", "64", "64"},
	{"senders", "count", "0", NULL},
	{"senders", "count", "65", NULL},
	{"senders", "max_in_flight", "16384", "16384"},
	{"senders", "max_in_flight", "16385", NULL},
	{"senders", "landlock", "required", "required"},
	{"senders", "landlock", "optional", "optional"},
	{"senders", "landlock", "no", NULL},
	{"log", "level", "error", "error"},
	{"log", "level", "debug", "debug"},
	{"log", "level", "7", NULL},
	{"log", "level", "Info", NULL},
	{"log", "attempts", "failures", "failures"},
	{"log", "attempts", "all", "all"},
	{"log", "attempts", "some", NULL},
};

static void write_case(const struct value_case *c, char *text, size_t size)
{
	snprintf(text, size, "[%s]\n%s\n%s = %s\n", c->section, c->beside ? c->beside : "", c->key,
		c->value);
}

/* The line of a key in what was printed. */
static bool is_printed(const char *text, const struct value_case *c)
{
	char head[64], line[300];
	const char *section, *found;

	snprintf(head, sizeof(head), "[%s]\n", c->section);
	snprintf(line, sizeof(line), "\n%s = %s\n", c->key, c->printed);
	section = strstr(text, head);
	found = section ? strstr(section, line) : NULL;
	return found && !memchr(section + 1, '[', (size_t)(found - section - 1));
}

static void test_good_value_of_each_key_is_in_force(void **state)
{
	for (size_t i = 0; i < N(value_cases); i++) {
		const struct value_case *c = &value_cases[i];
		struct config config;
		char text[512], *printed;

		if (!c->printed)
			continue;
		write_case(c, text, sizeof(text));
		config = read_good(state, text);
		printed = print(&config);
		if (!is_printed(printed, c))
			fail_msg("%s.%s = %s is not printed as %s", c->section, c->key, c->value,
				c->printed);
		free(printed);
	}
}

static void test_bad_value_of_each_key_names_key_line_and_value(void **state)
{
	for (size_t i = 0; i < N(value_cases); i++) {
		const struct value_case *c = &value_cases[i];
		char text[512], field[64];
		struct problem problem;

		if (c->printed)
			continue;
		write_case(c, text, sizeof(text));
		snprintf(field, sizeof(field), "%s.%s", c->section, c->key);
		problem = read_bad(state, text);
		assert_int_equal(problem.code, PROBLEM_INVALID);
		assert_string_equal(problem.field, field);
		assert_int_equal(problem.line, 3);
		if (strncmp(problem.detail, "expected ", 9) != 0)
			fail_msg("%s: %s", field, problem.detail);
	}
}

static void test_every_key_is_tried_with_a_good_and_a_bad_value(void **state)
{
	struct config config;
	char *printed;

	(void)state;
	config_default(&config);
	printed = print(&config);
	for (char *line = printed; line; line = strchr(line, '\n'), line += line != NULL) {
		bool good = false, bad = false;
		char key[64];

		if (sscanf(line, "%63[a-z_] =", key) != 1)
			continue;
		for (size_t i = 0; i < N(value_cases); i++) {
			if (strcmp(value_cases[i].key, key) == 0) {
				good |= value_cases[i].printed != NULL;
				bad |= value_cases[i].printed == NULL;
			}
		}
		if (!good || !bad)
			fail_msg("%s is not tried", key);
	}
	free(printed);
}

static void test_value_is_needed(void **state)
{
	static const char *const keys[] = {"[store]\nbudget =\n", "[retention]\ndead =\n",
		"[delivery]\nrate =\n", "[delivery]\nretry_schedule =\n", "[network]\ndeny =\n",
		"[network]\nports =\n", "[network]\nca_file =\n", "[network]\nallow_http =\n",
		"[log]\nlevel =\n"};

	for (size_t i = 0; i < N(keys); i++)
		assert_int_equal(read_bad(state, keys[i]).line, 2);
}

/* More of them do not fit a line. */
static void test_list_takes_64_networks(void **state)
{
	char text[300] = "[network]\ndeny =";

	for (int i = 0; i < 64; i++)
		strcat(text, " ::");
	assert_int_equal(read_good(state, text).network.deny.n, 64);
}

static void test_list_ends_at_64_ports(void **state)
{
	char text[300] = "[network]\nports =";

	for (int i = 0; i < 64; i++)
		strcat(text, " 9");
	assert_int_equal(read_good(state, text).network.ports.n, 64);
	strcat(text, " 9");
	assert_string_equal(read_bad(state, text).field, "network.ports");
}

/* ---- Keys that are none ---- */

static void assert_nearest(void **state, const char *text, const char *nearest)
{
	struct problem problem = read_bad(state, text);

	assert_int_equal(problem.line, 2);
	if (!strstr(problem.detail, nearest))
		fail_msg("%s", problem.detail);
}

static void test_unknown_key_names_the_nearest(void **state)
{
	assert_nearest(state, "[store]\nbudgets = 1G\n", "the nearest is \"budget\" in [store]");
	assert_nearest(state, "[delivery]\nmax_inflight = 1\n",
		"the nearest is \"max_in_flight\" in [delivery]");
	assert_nearest(state, "[network]\nport = 80\n", "the nearest is \"ports\" in [network]");
	assert_nearest(state, "[log]\nLevel = info\n", "the nearest is \"level\" in [log]");
}

static void test_key_in_a_wrong_section_names_the_right_one(void **state)
{
	assert_nearest(state, "[intake]\nbudget = 1G\n", "the nearest is \"budget\" in [store]");
	assert_nearest(
		state, "[senders]\ntimeout = 1s\n", "the nearest is \"timeout\" in [delivery]");
}

/* max_in_flight is in two sections. */
static void test_nearest_key_is_looked_for_in_the_own_section_first(void **state)
{
	assert_nearest(state, "[senders]\nmax_in_flights = 1\n",
		"the nearest is \"max_in_flight\" in [senders]");
}

static void test_unknown_section_names_the_nearest_key(void **state)
{
	assert_nearest(state, "[stores]\nbudget = 1G\n", "the nearest is \"budget\" in [store]");
}

static void test_unknown_key_of_any_length_is_refused_in_peace(void **state)
{
	char text[300] = "[store]\n";

	memset(text + strlen(text), 'x', 150);
	strcat(text, " = 1\n");
	assert_int_equal(read_bad(state, text).line, 2);
}

static void test_key_given_twice_is_refused(void **state)
{
	struct problem problem = read_bad(state, "[store]\nbudget = 1G\n\nbudget = 1G\n");

	assert_string_equal(problem.field, "store.budget");
	assert_string_equal(problem.detail, "given twice");
	assert_int_equal(problem.line, 4);
}

static void test_key_given_twice_in_two_parts_of_a_section_is_refused(void **state)
{
	struct problem problem = read_bad(
		state, "[store]\nbudget = 1G\n[log]\nlevel = info\n[store]\nbudget = 1G\n");

	assert_string_equal(problem.detail, "given twice");
	assert_int_equal(problem.line, 6);
}

static void test_same_key_of_two_sections_is_two_keys(void **state)
{
	struct config config =
		read_good(state, "[delivery]\nmax_in_flight = 3\n[senders]\nmax_in_flight = 4\n");

	assert_int_equal(config.delivery.max_in_flight, 3);
	assert_int_equal(config.senders.max_in_flight, 4);
}

/* ---- Lines ---- */

static void assert_syntax_error(void **state, const char *text, unsigned line)
{
	struct problem problem = read_bad(state, text);

	assert_int_equal(problem.line, line);
	assert_string_equal(problem.field, "");
	if (!strstr(problem.detail, "[section]"))
		fail_msg("%s", problem.detail);
}

static void test_line_that_is_none_names_its_number(void **state)
{
	assert_syntax_error(state, "[store]\nbudget\n", 2);
	assert_syntax_error(state, "\n\n[store\n", 3);
	assert_syntax_error(state, "budget = 1G\n", 1);
}

/* Each tells its own line. */
static void test_of_two_mistakes_one_is_told_as_it_is(void **state)
{
	struct problem problem = read_bad(state, "[store]\nbudget = x\nmin_free_disk = y\n");

	assert_string_equal(problem.field, "store.budget");
	assert_int_equal(problem.line, 2);
	assert_syntax_error(state, "[store]\ngarbage\nbudget = x\n", 2);
	assert_syntax_error(state, "[store]\nbudget = x\ngarbage\n", 3);
}

static void test_comment_may_follow_a_value_behind_a_semicolon(void **state)
{
	struct config config = read_good(state,
		"[store]\nbudget = 1G ; ten\n[network]\nports = ; of\n 80 ; one\n 443\t;; and another\n"
		"ca_file = /a;b\n /c;d ;e\n");

	assert_int_equal(config.store.budget, 1 << 30);
	assert_int_equal(config.network.ports.n, 2);
	assert_string_equal(config.network.ca_file, "/a;b /c;d");
}

static void test_lines_may_end_as_on_other_systems(void **state)
{
	assert_int_equal(read_good(state, "[store]\r\nbudget = 1G\r\n").store.budget, 1 << 30);
}

static void test_last_line_needs_no_end(void **state)
{
	assert_int_equal(read_good(state, "[store]\nbudget = 1G").store.budget, 1 << 30);
}

/* "[network]", and a line of so many characters. */
static void write_long_line(char *text, size_t len)
{
	static const char key[] = "ca_file = /";

	strcpy(text, "[network]\n");
	text += strlen(text);
	memset(text, 'x', len);
	memcpy(text, key, strlen(key));
	strcpy(text + len, "\n[log]\nlevel = debug\n");
}

static void test_line_of_198_characters_is_read_whole(void **state)
{
	struct config config;
	char text[300];

	write_long_line(text, LINE_MAX_LEN);
	config = read_good(state, text);
	assert_int_equal(strlen(config.network.ca_file), LINE_MAX_LEN - strlen("ca_file = "));
	assert_int_equal(config.log.level, 7);
}

static void test_longer_line_is_refused_with_its_number(void **state)
{
	struct problem problem;
	char text[300];

	write_long_line(text, LINE_MAX_LEN + 1);
	problem = read_bad(state, text);
	assert_int_equal(problem.line, 2);
	assert_non_null(strstr(problem.detail, "198"));
}

/* ---- Values over several lines ---- */

static void test_indented_line_goes_on_with_the_value(void **state)
{
	struct config config = read_good(state,
		"[network]\nports = 443\n  # not this\n\t8000-8009,\n\n    9000\ndeny = 192.0.2.0/24\n"
		"[delivery]\nretry_schedule = exponential 5s\n 4 12h\n 5\n");

	assert_int_equal(config.network.ports.n, 3);
	assert_int_equal(config.network.ports.list[2].first, 9000);
	assert_int_equal(config.network.deny.n, 1);
	assert_int_equal(config.delivery.retry_schedule.n, 4);
}

static void test_indented_key_after_a_section_is_a_key(void **state)
{
	struct config config =
		read_good(state, "[log]\n  level = debug\n[network]\n  ports = 443\n");

	assert_int_equal(config.log.level, 7);
	assert_int_equal(config.network.ports.n, 1);
}

static void test_mistake_in_a_long_value_tells_the_line_of_its_key(void **state)
{
	struct problem problem =
		read_bad(state, "[network]\nports = 443\n 8000\n x\n[log]\nlevel = x\n");

	assert_int_equal(problem.line, 2);
	assert_string_equal(problem.field, "network.ports");
	problem = read_bad(state, "[log]\nlevel = info\n\n  attempts = all\n");
	assert_int_equal(problem.line, 2);
	assert_string_equal(problem.field, "log.level");
}

static void test_endless_value_is_refused(void **state)
{
	char text[8192] = "[network]\nports = 443\n";
	struct problem problem;

	while (strlen(text) < 5000)
		strcat(text, " 1000-2000 1000-2000 1000-2000 1000-2000 1000-2000\n");
	problem = read_bad(state, text);
	assert_string_equal(problem.field, "network.ports");
	assert_int_equal(problem.line, 2);
	assert_non_null(strstr(problem.detail, "less than 4096"));
}

static void test_longest_lists_are_printed_so_that_they_read_back(void **state)
{
	static const char head[] =
		"[delivery]\nretry_schedule = exponential 5s 1.1 7d 51\n[network]\ndeny =";
	char text[8192];
	struct config config, again;
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", head);
	char *printed;

	for (int i = 0; i < 64; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			"%s2001:db8:ffff:ffff:ffff:ffff:ffff:%x/128", i % 4 ? " " : "\n  ",
			0xff00 + i);
	strcat(text, "\n");
	config = read_good(state, text);
	assert_int_equal(config.network.deny.n, 64);
	printed = print(&config);
	again = read_good(state, printed);
	assert_memory_equal(&again, &config, sizeof(config));
	free(printed);
}

/* ---- Files that are none ---- */

static void test_directory_is_refused(void **state)
{
	struct config config;
	struct problem problem;

	assert_int_equal(config_read(&config, *state, &problem), -EINVAL);
	assert_string_equal(problem.detail, "expected a text file of less than 64 KiB");
}

static void test_file_with_nul_is_refused(void **state)
{
	struct config config;
	struct problem problem;
	char path[64];

	path_of_file(path, state);
	write_file(path, "[log]\nlevel = debug\0\n", 21);
	assert_int_equal(config_read(&config, path, &problem), -EINVAL);
}

static void test_file_of_64_kib_is_refused(void **state)
{
	char *text = malloc(FILE_MAX), path[64];
	struct config config;
	struct problem problem;

	memset(text, '\n', FILE_MAX);
	path_of_file(path, state);
	write_file(path, text, FILE_MAX);
	assert_int_equal(config_read(&config, path, &problem), -EINVAL);
	write_file(path, text, FILE_MAX - 1);
	assert_int_equal(config_read(&config, path, &problem), 0);
	free(text);
}

static void test_bad_file_changes_nothing(void **state)
{
	struct config config = read_good(state, "[store]\nbudget = 2G\n"), before = config;
	struct problem problem;

	assert_int_equal(
		read_text(state, "[store]\nbudget = 3G\n[log]\nlevel = x\n", &config, &problem),
		-EINVAL);
	assert_memory_equal(&config, &before, sizeof(config));
}

/* ---- Keys together ---- */

static void test_batch_has_to_hold_a_payload(void **state)
{
	struct problem problem = read_bad(state, "[intake]\nmax_payload = 2M\nmax_batch = 2047K\n");

	assert_string_equal(problem.field, "intake.max_batch");
	read_good(state, "[intake]\nmax_payload = 2M\nmax_batch = 2M\n");
}

static void test_payload_may_be_an_eighth_of_the_budget(void **state)
{
	struct problem problem =
		read_bad(state, "[store]\nbudget = 8M\n[intake]\nmax_payload = 1048577\n");

	assert_string_equal(problem.field, "intake.max_payload");
	read_good(state, "[store]\nbudget = 8M\n[intake]\nmax_payload = 1M\n");
}

/* ---- Printing ---- */

static void assert_reads_back(void **state, const char *text)
{
	struct config config = read_good(state, text), again;
	char *printed = print(&config);

	again = read_good(state, printed);
	free(printed);
	assert_memory_equal(&again, &config, sizeof(config));
}

static void test_printed_defaults_read_back_the_same(void **state)
{
	assert_reads_back(state, "");
}

/* A line that begins with # would be a comment, and white space at a line's ends would be lost. */
static void test_any_path_is_printed_so_that_it_reads_back(void **state)
{
	static const char *const ends[] = {
		"", " #b", " #b #c d", "  b", " \t b", " ; gone", " [b]", " b = c"};
	char path[LINE_MAX_LEN], text[512];

	for (int len = 1; len <= PATH_MAX_LEN; len++) {
		memset(path, 'a', (size_t)len);
		path[0] = '/';
		path[len] = '\0';
		for (size_t i = 0; i < N(ends); i++) {
			if ((size_t)len + strlen(ends[i]) > PATH_MAX_LEN)
				continue;
			snprintf(
				text, sizeof(text), "[network]\nca_file =\n %s%s\n", path, ends[i]);
			assert_reads_back(state, text);
		}
	}
}

static void test_printed_values_read_back_the_same(void **state)
{
	for (size_t i = 0; i < N(value_cases); i++) {
		char text[512];

		if (!value_cases[i].printed)
			continue;
		write_case(&value_cases[i], text, sizeof(text));
		assert_reads_back(state, text);
	}
}

static void test_every_rate_reads_back_the_same(void **state)
{
	for (int i = 0; i < 1000; i++) {
		char text[64];

		snprintf(text, sizeof(text), "[delivery]\nrate = %u.%u\n", random_below(9999),
			random_below(UINT32_MAX));
		assert_reads_back(state, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_are_those_of_the_manual),
		cmocka_unit_test(test_default_schedule_is_12_attempts_in_3_days),
		cmocka_unit_test(test_missing_file_is_an_empty_one),
		cmocka_unit_test(test_empty_file_and_comments_leave_the_defaults),
		cmocka_unit_test(test_good_value_of_each_key_is_in_force),
		cmocka_unit_test(test_bad_value_of_each_key_names_key_line_and_value),
		cmocka_unit_test(test_every_key_is_tried_with_a_good_and_a_bad_value),
		cmocka_unit_test(test_value_is_needed),
		cmocka_unit_test(test_list_takes_64_networks),
		cmocka_unit_test(test_list_ends_at_64_ports),
		cmocka_unit_test(test_unknown_key_names_the_nearest),
		cmocka_unit_test(test_key_in_a_wrong_section_names_the_right_one),
		cmocka_unit_test(test_nearest_key_is_looked_for_in_the_own_section_first),
		cmocka_unit_test(test_unknown_section_names_the_nearest_key),
		cmocka_unit_test(test_unknown_key_of_any_length_is_refused_in_peace),
		cmocka_unit_test(test_key_given_twice_is_refused),
		cmocka_unit_test(test_key_given_twice_in_two_parts_of_a_section_is_refused),
		cmocka_unit_test(test_same_key_of_two_sections_is_two_keys),
		cmocka_unit_test(test_line_that_is_none_names_its_number),
		cmocka_unit_test(test_of_two_mistakes_one_is_told_as_it_is),
		cmocka_unit_test(test_comment_may_follow_a_value_behind_a_semicolon),
		cmocka_unit_test(test_lines_may_end_as_on_other_systems),
		cmocka_unit_test(test_last_line_needs_no_end),
		cmocka_unit_test(test_line_of_198_characters_is_read_whole),
		cmocka_unit_test(test_indented_line_goes_on_with_the_value),
		cmocka_unit_test(test_indented_key_after_a_section_is_a_key),
		cmocka_unit_test(test_mistake_in_a_long_value_tells_the_line_of_its_key),
		cmocka_unit_test(test_endless_value_is_refused),
		cmocka_unit_test(test_longest_lists_are_printed_so_that_they_read_back),
		cmocka_unit_test(test_longer_line_is_refused_with_its_number),
		cmocka_unit_test(test_directory_is_refused),
		cmocka_unit_test(test_file_with_nul_is_refused),
		cmocka_unit_test(test_file_of_64_kib_is_refused),
		cmocka_unit_test(test_bad_file_changes_nothing),
		cmocka_unit_test(test_batch_has_to_hold_a_payload),
		cmocka_unit_test(test_payload_may_be_an_eighth_of_the_budget),
		cmocka_unit_test(test_printed_defaults_read_back_the_same),
		cmocka_unit_test(test_printed_values_read_back_the_same),
		cmocka_unit_test(test_any_path_is_printed_so_that_it_reads_back),
		cmocka_unit_test(test_every_rate_reads_back_the_same),
	};

	return cmocka_run_group_tests_name("config", tests, make_directory, remove_directory);
}
