#include "retry_schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "units.h"

static const char expected_list[] = "up to 50 waits of 1s to 7d, such as \"5s 30s 2m\"";
static const char expected_exponential[] =
	"\"exponential BASE FACTOR CAP ATTEMPTS\", such as \"exponential 5s 4 12h 12\"";

#define SEPARATORS " ,\t"

static int parse_wait(const char *word, uint32_t *wait_s)
{
	int64_t seconds;

	if (!word || units_parse_duration(word, &seconds) < 0 || seconds < 1 ||
		seconds > RETRY_WAIT_MAX_S)
		return -EINVAL;
	*wait_s = (uint32_t)seconds;
	return 0;
}

static int parse_decimal(const char *word, double min, double max, double *value)
{
	char *end;

	if (!word || !*word || strspn(word, "0123456789.") != strlen(word))
		return -EINVAL;
	*value = strtod(word, &end);
	return *end || *value < min || *value > max ? -EINVAL : 0;
}

static int parse_exponential(char **rest, struct retry_schedule *schedule)
{
	uint32_t base, cap;
	double factor, attempts, wait;

	if (parse_wait(strtok_r(NULL, SEPARATORS, rest), &base) < 0 ||
		parse_decimal(strtok_r(NULL, SEPARATORS, rest), 1, 100, &factor) < 0 ||
		parse_wait(strtok_r(NULL, SEPARATORS, rest), &cap) < 0 ||
		parse_decimal(strtok_r(NULL, SEPARATORS, rest), 1, RETRY_WAITS_MAX + 1, &attempts) <
			0 ||
		strtok_r(NULL, SEPARATORS, rest) || attempts != (int)attempts)
		return -EINVAL;
	schedule->n = (unsigned)attempts - 1;
	wait = base;
	for (unsigned i = 0; i < schedule->n; i++) {
		schedule->waits_s[i] = wait < cap ? (uint32_t)(wait + 0.5) : cap;
		if (wait < cap)
			wait *= factor;
	}
	return 0;
}

static int parse_list(char *word, char **rest, struct retry_schedule *schedule)
{
	schedule->n = 0;
	for (; word; word = strtok_r(NULL, SEPARATORS, rest)) {
		if (schedule->n == RETRY_WAITS_MAX ||
			parse_wait(word, &schedule->waits_s[schedule->n]) < 0)
			return -EINVAL;
		schedule->n++;
	}
	return 0;
}

int retry_schedule_parse(const char *text, struct retry_schedule *schedule, const char **expected)
{
	char copy[1024], *rest, *word;

	*expected = expected_list;
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	word = strtok_r(copy, SEPARATORS, &rest);
	if (!word)
		return -EINVAL;
	if (strcmp(word, "none") == 0) {
		schedule->n = 0;
		return strtok_r(NULL, SEPARATORS, &rest) ? -EINVAL : 0;
	}
	if (strcmp(word, "exponential") == 0) {
		*expected = expected_exponential;
		return parse_exponential(&rest, schedule);
	}
	return parse_list(word, &rest, schedule);
}

void retry_schedule_format(const uint32_t *waits_s, unsigned n, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "none");
	for (unsigned i = 0; i < n && used < size; i++) {
		char wait[UNITS_TEXT_SIZE];

		units_format_duration(waits_s[i], wait);
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", wait);
	}
}
