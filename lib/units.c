#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct unit {
	char letter;
	int64_t factor;
};

static const struct unit duration_units[] = {
	{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

static const struct unit size_units[] = {
	{'T', (int64_t)1 << 40}, {'G', 1 << 30}, {'M', 1 << 20}, {'K', 1 << 10}};

#define N_DURATION_UNITS (sizeof(duration_units) / sizeof(duration_units[0]))
#define N_SIZE_UNITS (sizeof(size_units) / sizeof(size_units[0]))

/* Reads digits, moving *text past them. At least one is needed. */
static int parse_number(const char **text, int64_t max, int64_t *number)
{
	int64_t value = 0;

	if (**text < '0' || **text > '9')
		return -EINVAL;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		int digit = **text - '0';

		if (value > (max - digit) / 10)
			return -ERANGE;
		value = value * 10 + digit;
	}
	*number = value;
	return 0;
}

int units_parse_duration(const char *text, int64_t *seconds)
{
	int64_t sum = 0;
	size_t next_unit = 0;

	if (strcmp(text, "0") == 0) {
		*seconds = 0;
		return 0;
	}
	do {
		int64_t number;
		int r = parse_number(&text, UNITS_DURATION_MAX_S, &number);

		if (r < 0)
			return r;
		while (next_unit < N_DURATION_UNITS && duration_units[next_unit].letter != *text)
			next_unit++;
		if (next_unit == N_DURATION_UNITS)
			return -EINVAL;
		sum += number * duration_units[next_unit].factor;
		if (sum > UNITS_DURATION_MAX_S)
			return -ERANGE;
		next_unit++;
		text++;
	} while (*text);
	*seconds = sum;
	return 0;
}

int units_parse_size(const char *text, int64_t *bytes)
{
	int64_t number, factor = 1;
	int r = parse_number(&text, UNITS_SIZE_MAX, &number);

	if (r < 0)
		return r;
	for (size_t i = 0; i < N_SIZE_UNITS; i++) {
		if (size_units[i].letter == *text) {
			factor = size_units[i].factor;
			text++;
			break;
		}
	}
	if (*text)
		return -EINVAL;
	if (number > UNITS_SIZE_MAX / factor)
		return -ERANGE;
	*bytes = number * factor;
	return 0;
}

void units_format_duration(int64_t seconds, char text[static UNITS_TEXT_SIZE])
{
	size_t used = 0;

	if (seconds == 0) {
		snprintf(text, UNITS_TEXT_SIZE, "0s");
		return;
	}
	for (size_t i = 1; i < N_DURATION_UNITS; i++) { /* weeks are read, days are written */
		int64_t n = seconds / duration_units[i].factor;

		if (n == 0)
			continue;
		used += (size_t)snprintf(text + used, UNITS_TEXT_SIZE - used, "%lld%c",
			(long long)n, duration_units[i].letter);
		seconds -= n * duration_units[i].factor;
	}
}

void units_format_size(int64_t bytes, char text[static UNITS_TEXT_SIZE])
{
	for (size_t i = 0; i < N_SIZE_UNITS; i++) {
		if (bytes && bytes % size_units[i].factor == 0) {
			snprintf(text, UNITS_TEXT_SIZE, "%lld%c",
				(long long)(bytes / size_units[i].factor), size_units[i].letter);
			return;
		}
	}
	snprintf(text, UNITS_TEXT_SIZE, "%lld", (long long)bytes);
}

void units_describe_span(int64_t milliseconds, char text[static UNITS_TEXT_SIZE])
{
	long long s = milliseconds < 0 ? 0 : milliseconds / 1000;

	if (s < 60)
		snprintf(text, UNITS_TEXT_SIZE, "%llds", s);
	else if (s < 3600)
		snprintf(text, UNITS_TEXT_SIZE, "%lldm", s / 60);
	else if (s < 86400 && s % 3600 >= 60)
		snprintf(text, UNITS_TEXT_SIZE, "%lldh %lldm", s / 3600, s % 3600 / 60);
	else if (s < 86400)
		snprintf(text, UNITS_TEXT_SIZE, "%lldh", s / 3600);
	else if (s % 86400 >= 3600)
		snprintf(text, UNITS_TEXT_SIZE, "%lldd %lldh", s / 86400, s % 86400 / 3600);
	else
		snprintf(text, UNITS_TEXT_SIZE, "%lldd", s / 86400);
}
