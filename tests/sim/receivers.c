#include "receivers.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "dice.h"
#include "kernel.h"

enum mood { FINE, SHAKY, BROKEN, SILENT, UNREACHABLE, BUSY, GONE, N_MOODS };

static const char *const mood_names[N_MOODS] = {
	[FINE] = "answers 2xx",
	[SHAKY] = "fails now and then",
	[BROKEN] = "answers 500",
	[SILENT] = "does not answer",
	[UNREACHABLE] = "cannot be reached",
	[BUSY] = "asks for patience",
	[GONE] = "answers 410",
};

static struct {
	enum mood mood;
	int64_t slowest_us;
} receivers[RECEIVERS_MAX];

void receivers_calm(void)
{
	for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
		receivers[i].mood = FINE;
		receivers[i].slowest_us = 100000;
	}
}

void receiver_change(unsigned receiver)
{
	receivers[receiver].mood = dice(N_MOODS);
	receivers[receiver].slowest_us = dice_spread(1000, 20000000);
	trace("receiver %u %s from now on, within %lld ms", receiver,
		mood_names[receivers[receiver].mood],
		(long long)receivers[receiver].slowest_us / 1000);
}

static void answer(struct reaction *r, unsigned status)
{
	r->outcome.result = status < 300 ? RESULT_OK : RESULT_STATUS;
	r->outcome.http_status = (uint16_t)status;
	r->outcome.message_len = (uint16_t)snprintf(
		r->outcome.message, sizeof(r->outcome.message), "status %u", status);
	r->outcome.response_len = (uint16_t)dice(ATTEMPT_RESPONSE_MAX / 16);
	memset(r->outcome.response, '.', r->outcome.response_len);
}

static void fail(struct reaction *r, enum attempt_result result)
{
	r->outcome.result = result;
	r->outcome.message_len =
		(uint16_t)snprintf(r->outcome.message, sizeof(r->outcome.message), "no answer");
}

static void ask_for_patience(struct reaction *r)
{
	int64_t wall_s = kernel_wall_ms() / 1000 + dice_spread(0, 100000) - 100;
	time_t date = (time_t)wall_s;
	struct tm tm;

	answer(r, dice(2) ? 429 : 503);
	switch (dice(4)) {
	case 0:
		break; /* without Retry-After */
	case 1:
		gmtime_r(&date, &tm);
		strftime(r->outcome.retry_after, sizeof(r->outcome.retry_after),
			"%a, %d %b %Y %H:%M:%S GMT", &tm);
		r->retry_after_wall_s = wall_s;
		break;
	default:
		snprintf(r->outcome.retry_after, sizeof(r->outcome.retry_after), "%lld",
			(long long)dice_spread(0, 90000));
		break;
	}
}

struct reaction receiver_react(unsigned receiver, uint32_t timeout_ms)
{
	int64_t limit_us = (int64_t)timeout_ms * 1000;
	struct reaction r = {.after_us = dice_spread(500, receivers[receiver].slowest_us)};

	switch (receivers[receiver].mood) {
	case FINE:
		answer(&r, 200 + dice(7));
		break;
	case SHAKY:
		if (dice(3))
			answer(&r, 204);
		else if (dice(2))
			answer(&r, dice(2) ? 500 : 404);
		else
			fail(&r, RESULT_TLS);
		break;
	case BROKEN:
		answer(&r, dice(5) ? 500 : 301);
		break;
	case SILENT:
		fail(&r, RESULT_TIMEOUT);
		r.after_us = limit_us;
		break;
	case UNREACHABLE:
		fail(&r, dice(2) ? RESULT_CONNECT : RESULT_DNS);
		break;
	case BUSY:
		ask_for_patience(&r);
		break;
	case GONE:
		answer(&r, dice(4) ? 410 : 200);
		break;
	case N_MOODS:
		break;
	}
	if (r.after_us >= limit_us && r.outcome.result != RESULT_TIMEOUT) {
		r = (struct reaction){.after_us = limit_us};
		fail(&r, RESULT_TIMEOUT);
	}
	r.outcome.duration_us = (uint32_t)r.after_us;
	return r;
}
