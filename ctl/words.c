#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lib/timestamp.h"
#include "fields.h"
#include "options.h"
#include "say.h"

/* ---- Times ---- */

static struct tm break_down(const struct ctl *ctl, int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = {0};

	if (ctl->utc)
		gmtime_r(&seconds, &tm);
	else
		localtime_r(&seconds, &tm);
	return tm;
}

void words_time(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE])
{
	struct tm tm = break_down(ctl, ms);

	strftime(text, WORDS_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
}

void words_clock(const struct ctl *ctl, int64_t ms, int64_t base_ms, char text[static WORDS_SIZE])
{
	struct tm tm = break_down(ctl, ms), base = break_down(ctl, base_ms);

	if (tm.tm_year != base.tm_year || tm.tm_yday != base.tm_yday)
		words_time(ctl, ms, text);
	else
		strftime(text, WORDS_SIZE, "%H:%M:%S", &tm);
}

void words_since(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE])
{
	units_describe_span(ctl->now_ms - ms, text);
}

void words_until(const struct ctl *ctl, int64_t ms, char text[static WORDS_SIZE])
{
	char span[UNITS_TEXT_SIZE];

	if (ms <= ctl->now_ms) {
		snprintf(text, WORDS_SIZE, "now");
		return;
	}
	units_describe_span(ms - ctl->now_ms + 999, span); /* never "in 0s" */
	snprintf(text, WORDS_SIZE, "in %s", span);
}

int64_t attempt_ended(const json_t *attempt)
{
	return field_time(attempt, "started_at") + field_number(attempt, "duration_ms");
}

/* ---- Sizes and rates ---- */

static const char *const size_units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
#define N_SIZE_UNITS (sizeof(size_units) / sizeof(size_units[0]))

static unsigned size_unit(int64_t bytes)
{
	unsigned unit = 0;

	while (unit + 1 < N_SIZE_UNITS && bytes >= (int64_t)1 << (10 * (unit + 1)))
		unit++;
	return unit;
}

/* Two digits are enough to know where one is: "1.2", "10", "88". */
static void format_in_unit(int64_t bytes, unsigned unit, char text[static WORDS_SIZE])
{
	double value = (double)bytes / (double)((int64_t)1 << (10 * unit));

	if (unit == 0 || value >= 9.95)
		snprintf(text, WORDS_SIZE, "%.0f", value);
	else
		snprintf(text, WORDS_SIZE, "%.1f", value);
	if (strlen(text) > 2 && strcmp(text + strlen(text) - 2, ".0") == 0)
		text[strlen(text) - 2] = '\0';
}

void words_size(int64_t bytes, char text[static WORDS_SIZE])
{
	unsigned unit = size_unit(bytes);
	char value[WORDS_SIZE];

	format_in_unit(bytes, unit, value);
	snprintf(text, WORDS_SIZE, "%s %s", value, bytes == 1 ? "byte" : size_units[unit]);
}

void words_share(int64_t bytes, int64_t of, char text[static WORDS_SIZE])
{
	char part[WORDS_SIZE], whole[WORDS_SIZE];

	words_size(of, whole);
	if (bytes < of / 100)
		words_size(bytes, part);
	else
		format_in_unit(bytes, size_unit(of), part);
	snprintf(text, WORDS_SIZE, "%.24s of %.24s", part, whole);
}

void words_rate(double n, double seconds, char text[static WORDS_SIZE])
{
	double rate = n / (seconds < 1 ? 1 : seconds);

	if (rate >= 9.95 || rate == 0)
		snprintf(text, WORDS_SIZE, "%.0f", rate);
	else if (rate >= 0.095)
		snprintf(text, WORDS_SIZE, "%.1f", rate);
	else
		snprintf(text, WORDS_SIZE, "under 0.1");
}

void words_address(const json_t *object, const char *member, char text[static WORDS_ADDRESS_SIZE])
{
	const char *tenant = field_text(object, "tenant");

	snprintf(text, WORDS_ADDRESS_SIZE, "%s%s%s", tenant, tenant[0] ? "/" : "",
		field_text(object, member));
}

/* ---- Times that were typed ---- */

static int64_t seconds_of(const struct ctl *ctl, struct tm tm, int is_dst)
{
	tm.tm_isdst = is_dst;
	return ctl->utc ? timegm(&tm) : mktime(&tm);
}

/* A local time, or in UTC. It has to be the whole text, and a day that exists. */
static bool parse_local(const struct ctl *ctl, const char *text, const char *format, int64_t *ms)
{
	struct tm tm = {.tm_isdst = -1}, wanted;
	const char *end = strptime(text, format, &tm);
	time_t seconds;

	if (!end || *end)
		return false;
	wanted = tm;
	seconds = ctl->utc ? timegm(&tm) : mktime(&tm);
	if (tm.tm_mday != wanted.tm_mday || tm.tm_mon != wanted.tm_mon || seconds < 0)
		return false;
	*ms = (int64_t)seconds * 1000;
	return true;
}

/* "01:58": of today, or of the day before or behind it if that is on the wrong side of now. */
static bool parse_clock(const struct ctl *ctl, const char *text, int direction, int64_t *ms)
{
	struct tm now = break_down(ctl, ctl->now_ms), tm = now;
	const char *end = strptime(text, "%H:%M", &tm);

	if (!end || *end)
		return false;
	tm.tm_sec = 0;
	if (direction < 0 && (tm.tm_hour * 60 + tm.tm_min > now.tm_hour * 60 + now.tm_min))
		tm.tm_mday--;
	if (direction > 0 && (tm.tm_hour * 60 + tm.tm_min <= now.tm_hour * 60 + now.tm_min))
		tm.tm_mday++;
	*ms = seconds_of(ctl, tm, -1) * 1000;
	/* In the hour that comes twice when summer time ends, it is the one that now is in. */
	if (direction < 0 ? *ms > ctl->now_ms : *ms <= ctl->now_ms)
		*ms = seconds_of(ctl, tm, now.tm_isdst) * 1000;
	return true;
}

int parse_moment(
	const struct ctl *ctl, const char *name, const char *text, int direction, int64_t *ms)
{
	static const char *const formats[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
		"%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
	int64_t seconds;
	int r;

	if (timestamp_parse(text, strlen(text), ms) == 0 || parse_clock(ctl, text, direction, ms))
		return 0;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (parse_local(ctl, text, formats[i], ms))
			return 0;
	}
	r = units_parse_duration(text, &seconds);
	if (r == -ERANGE)
		return parse_duration(ctl, name, text, &seconds); /* says what is possible */
	if (r == 0) {
		*ms = ctl->now_ms + direction * seconds * 1000;
		*ms = *ms < 0 ? 0 : *ms;
		return 0;
	}
	return misused(ctl,
		"%s: expected %s such as 2h, or a time such as 01:58 or \"2026-11-22 01:58\", not \"%s\"",
		name, direction < 0 ? "how long ago" : "how long from now", text);
}
