#include "retry.h"

#include <string.h>
#include <time.h>

#define RETRY_AFTER_READ_MAX_S (366 * 86400)

/* +-20 %: 0.8 to 1.2 of the wait, evenly. */
static int64_t with_jitter(int64_t wait_ms, uint32_t random)
{
	return wait_ms * 4 / 5 + wait_ms * 2 / 5 * random / UINT32_MAX;
}

/* What Retry-After asks for, within the limit; 0: nothing. */
static int64_t asked_wait_ms(const struct attempt *attempt, int64_t retry_after_max_s)
{
	if (attempt->retry_after_s <= 0)
		return 0;
	return (attempt->retry_after_s < retry_after_max_s ? attempt->retry_after_s
							   : retry_after_max_s) *
		1000;
}

int64_t retry_endpoint_not_before_ms(
	const struct attempt *attempt, int64_t retry_after_max_s, int64_t answered_ms)
{
	int64_t wait_ms = asked_wait_ms(attempt, retry_after_max_s);

	if (wait_ms == 0 || (attempt->http_status != 429 && attempt->http_status != 503))
		return 0;
	return answered_ms + wait_ms;
}

struct retry_verdict retry_judge(const struct retry_policy *policy, unsigned attempts,
	int64_t aged_from_ms, const struct attempt *attempt, int64_t now_ms, uint32_t random)
{
	struct retry_verdict verdict = {.kind = OUTCOME_RETRY};
	int64_t retry_after_ms = asked_wait_ms(attempt, policy->retry_after_max_s), wait_s;

	if (attempt->result == RESULT_OK) {
		verdict.kind = OUTCOME_DELIVERED;
		return verdict;
	}
	verdict.endpoint_not_before_ms =
		retry_endpoint_not_before_ms(attempt, policy->retry_after_max_s, now_ms);
	verdict.gone = attempt->result == RESULT_STATUS && attempt->http_status == 410;

	if (attempts >= policy->n && !verdict.gone) {
		verdict.kind = OUTCOME_DEAD;
		verdict.reason = DEAD_EXHAUSTED;
		return verdict;
	}
	/* After a 410 the delivery waits for the endpoint to be resumed, whatever its schedule
	 * says. */
	if (policy->n == 0)
		wait_s = 0;
	else
		wait_s = policy->waits_s[attempts < policy->n ? attempts : policy->n - 1];
	verdict.due_ms = now_ms + with_jitter(wait_s * 1000, random);
	if (verdict.due_ms < now_ms + retry_after_ms)
		verdict.due_ms = now_ms + retry_after_ms;
	if (policy->max_age_s && verdict.due_ms - aged_from_ms > policy->max_age_s * 1000) {
		verdict.kind = OUTCOME_DEAD;
		verdict.reason = DEAD_TOO_OLD;
	}
	return verdict;
}

int64_t retry_local_wait_ms(unsigned faults)
{
	return faults < 6 ? 1000 << faults : 60000;
}

int32_t retry_after_parse(const char *text, int64_t wall_ms)
{
	static const char *const date_forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
	int64_t seconds = 0;

	while (*text == ' ' || *text == '\t')
		text++;
	if (*text >= '0' && *text <= '9') {
		for (; *text >= '0' && *text <= '9'; text++) {
			if (seconds <= RETRY_AFTER_READ_MAX_S)
				seconds = seconds * 10 + (*text - '0');
		}
		if (text[strspn(text, " \t")])
			return -1;
		return seconds > RETRY_AFTER_READ_MAX_S ? RETRY_AFTER_READ_MAX_S : (int32_t)seconds;
	}
	for (size_t i = 0; i < sizeof(date_forms) / sizeof(date_forms[0]); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, date_forms[i], &tm);

		if (!end || end[strspn(end, " \t")])
			continue;
		seconds = (int64_t)timegm(&tm) - wall_ms / 1000;
		if (seconds < 0)
			return 0;
		return seconds > RETRY_AFTER_READ_MAX_S ? RETRY_AFTER_READ_MAX_S : (int32_t)seconds;
	}
	return -1;
}
