#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "service.h"
#include "../lib/text.h"

#define FIELDS_MAX 16
#define FIELD_SIZE 320

static const char *const message_ids[N_LOG_KINDS] = {
	[LOG_START] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c301",
	[LOG_STOP] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c302",
	[LOG_RELOAD] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c303",
	[LOG_TROUBLE] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c304",
	[LOG_FAILING] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c305",
	[LOG_WORKING] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c306",
	[LOG_DEAD] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c307",
	[LOG_PAUSED] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c308",
	[LOG_CHANGE] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c309",
	[LOG_ATTEMPT] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c30a",
	[LOG_SENDER] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c30b",
	[LOG_STORE] = "5b2f1a4ce0d84d6c9d0e6f1f0a51c30c",
};

static const char *const level_names[] = {"", "", "", "error: ", "warning: ", "", "", "debug: "};

/* The one setting that belongs to the process: how much it says. */
static int log_level = LOG_LEVEL_INFO;

void log_set_level(int level)
{
	log_level = level;
}

struct record {
	char text[FIELDS_MAX][FIELD_SIZE];
	struct iovec fields[FIELDS_MAX];
	int n;
};

__attribute__((format(printf, 2, 3))) static void add(struct record *r, const char *format, ...)
{
	va_list arguments;

	if (r->n == FIELDS_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(r->text[r->n], FIELD_SIZE, format, arguments);
	va_end(arguments);
	r->fields[r->n] = (struct iovec){r->text[r->n], strlen(r->text[r->n])};
	r->n++;
}

static void add_attempt(struct record *r, const struct attempt *attempt)
{
	add(r, "HOOKD_ATTEMPT=%u", attempt->number);
	add(r, "HOOKD_RESULT=%s", attempt_result_name(attempt->result));
	if (attempt->http_status)
		add(r, "HOOKD_HTTP_STATUS=%u", attempt->http_status);
	add(r, "HOOKD_DURATION_MS=%u", attempt->duration_ms);
}

static void to_journal(
	int level, enum log_kind kind, const struct log_fields *f, const char *message)
{
	struct record r = {.n = 0};
	char id[EVENT_ID_TEXT_SIZE];
	char line[1100];

	snprintf(line, sizeof(line), "MESSAGE=%s", message);
	r.fields[r.n++] = (struct iovec){line, strlen(line)};
	add(&r, "PRIORITY=%d", level);
	add(&r, "MESSAGE_ID=%s", message_ids[kind]);
	add(&r, "SYSLOG_IDENTIFIER=hookd");
	if (f && f->event) {
		event_id_format(f->event, id);
		add(&r, "HOOKD_EVENT=%s", id);
	}
	if (f && f->endpoint)
		add(&r, "HOOKD_ENDPOINT=%s", f->endpoint);
	if (f && f->tenant)
		add(&r, "HOOKD_TENANT=%s", f->tenant);
	if (f && f->type)
		add(&r, "HOOKD_TYPE=%s", f->type);
	if (f && f->attempt)
		add_attempt(&r, f->attempt);
	if (f && f->action)
		add(&r, "HOOKD_ACTION=%s", f->action);
	if (f && f->has_peer) {
		add(&r, "HOOKD_PEER_UID=%u", f->uid);
		add(&r, "HOOKD_PEER_PID=%u", f->pid);
	}
	service_journal(r.fields, r.n);
}

static void to_standard_error(int level, const char *message)
{
	struct timespec now;
	struct tm tm;
	char line[1200];
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = snprintf(line, sizeof(line), "%04d-%02d-%02d %02d:%02d:%02d.%03d %s%s\n",
		tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		(int)(now.tv_nsec / 1000000), level_names[level], message);
	if (n >= (int)sizeof(line))
		n = (int)sizeof(line) - 1;
	fwrite(line, 1, (size_t)n, stderr); /* in one piece; nobody to tell when it fails */
}

void log_line(
	int level, enum log_kind kind, const struct log_fields *fields, const char *format, ...)
{
	char message[1024];
	va_list arguments;

	if (level > log_level)
		return;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	text_clean(message);
	if (service_has_journal())
		to_journal(level, kind, fields, message);
	else
		to_standard_error(level, message);
}
