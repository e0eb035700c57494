#include "timestamp.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define MS_MAX ((int64_t)253402300799999) /* 9999-12-31T23:59:59.999Z */

static void put_digits(char *to, int value, int n)
{
	for (; n > 0; value /= 10)
		to[--n] = (char)('0' + value % 10);
}

void timestamp_format(int64_t ms, char text[static TIMESTAMP_TEXT_SIZE])
{
	static const char form[] = "YYYY-MM-DDThh:mm:ss.mmmZ";
	time_t seconds;
	struct tm tm;

	if (ms < 0)
		ms = 0;
	if (ms > MS_MAX)
		ms = MS_MAX;
	seconds = (time_t)(ms / 1000);
	gmtime_r(&seconds, &tm);
	memcpy(text, form, sizeof(form));
	put_digits(text, tm.tm_year + 1900, 4);
	put_digits(text + 5, tm.tm_mon + 1, 2);
	put_digits(text + 8, tm.tm_mday, 2);
	put_digits(text + 11, tm.tm_hour, 2);
	put_digits(text + 14, tm.tm_min, 2);
	put_digits(text + 17, tm.tm_sec, 2);
	put_digits(text + 20, (int)(ms % 1000), 3);
}

struct reader {
	const char *at, *end;
	bool bad;
};

static int digits(struct reader *r, int n)
{
	int value = 0;

	for (; n > 0; n--, r->at++) {
		if (r->at == r->end || *r->at < '0' || *r->at > '9') {
			r->bad = true;
			return 0;
		}
		value = value * 10 + (*r->at - '0');
	}
	return value;
}

static bool accept(struct reader *r, char a, char b)
{
	if (r->at == r->end || (*r->at != a && *r->at != b))
		return false;
	r->at++;
	return true;
}

static void expect(struct reader *r, char a, char b)
{
	if (!accept(r, a, b))
		r->bad = true;
}

/* The fraction after the dot, cut to milliseconds. */
static int fraction_ms(struct reader *r)
{
	int value = 0, n = 0;

	for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, n++) {
		if (n < 3)
			value = value * 10 + (*r->at - '0');
	}
	if (n < 1 || n > 9)
		r->bad = true;
	for (; n < 3; n++)
		value *= 10;
	return value;
}

static int offset_minutes(struct reader *r)
{
	int sign, hours, minutes;

	if (accept(r, 'Z', 'z'))
		return 0;
	if (accept(r, '+', '+'))
		sign = 1;
	else if (accept(r, '-', '-'))
		sign = -1;
	else {
		r->bad = true;
		return 0;
	}
	hours = digits(r, 2);
	expect(r, ':', ':');
	minutes = digits(r, 2);
	if (hours > 23 || minutes > 59)
		r->bad = true;
	return sign * (hours * 60 + minutes);
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int timestamp_parse(const char *text, size_t len, int64_t *ms)
{
	struct reader r = {.at = text, .end = text + len};
	struct tm tm = {0};
	int year, month, fraction = 0, offset;
	int64_t value;

	year = digits(&r, 4);
	expect(&r, '-', '-');
	month = digits(&r, 2);
	expect(&r, '-', '-');
	tm.tm_mday = digits(&r, 2);
	expect(&r, 'T', 't');
	tm.tm_hour = digits(&r, 2);
	expect(&r, ':', ':');
	tm.tm_min = digits(&r, 2);
	expect(&r, ':', ':');
	tm.tm_sec = digits(&r, 2);
	if (accept(&r, '.', '.'))
		fraction = fraction_ms(&r);
	offset = offset_minutes(&r);
	if (r.bad || r.at != r.end || year < 1970 || month < 1 || month > 12 || tm.tm_mday < 1 ||
		tm.tm_mday > days_in_month(year, month) || tm.tm_hour > 23 || tm.tm_min > 59 ||
		tm.tm_sec > 60)
		return -EINVAL;
	if (tm.tm_sec == 60)
		tm.tm_sec = 59;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	value = ((int64_t)timegm(&tm) - offset * 60) * 1000 + fraction;
	if (value < 0 || value > MS_MAX)
		return -EINVAL;
	*ms = value;
	return 0;
}
