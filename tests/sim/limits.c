#include "limits.h"

#include <string.h>

#include "check.h"
#include "kernel.h"
#include "oracle.h"
#include "queue_time.h"
#include "receivers.h"

#define ANY UINT32_MAX
#define TURNS_MAX 3 /* of another endpoint while one waits for its first */
#define DOUBTFUL_SHARE 4
#define LATE_S 0.005 /* so much later than it could hookd may see that a rate allows the next */

struct lane {
	const struct endpoint *settings; /* NULL: there is none of this number */
	/* What hookd knows of it in memory. */
	unsigned in_flight;
	unsigned window;
	bool doubtful; /* gave no answer the last time */
	int64_t not_before_ms;
	double tokens; /* at most */
	double sure_tokens; /* at least */
	int64_t tokens_ms;
	struct attempt last; /* that the store keeps */
	uint32_t url_revision; /* of the settings since which it has its URL */
	uint32_t gone_revision; /* of the settings that were answered 410; 0: none */
	/* Turns. */
	bool waits;
	unsigned turns_of_others[RECEIVERS_MAX];
	int64_t due_rest_ms; /* since when something could go, but for its rate; INT64_MAX */
};

static struct lane lanes[RECEIVERS_MAX];
static const struct config *config;
static bool started, all_paused;
static unsigned free_slots, slots, suspects;

static struct lane *lane_of(uint32_t endpoint)
{
	check(endpoint > 0 && endpoint < RECEIVERS_MAX, "endpoint %u is out of bounds", endpoint);
	return &lanes[endpoint];
}

/* ---- Settings ---- */

const struct endpoint *limits_of(uint32_t endpoint)
{
	return lane_of(endpoint)->settings;
}

struct limits_policy limits_policy_of(uint32_t endpoint)
{
	const struct endpoint *e = limits_of(endpoint);
	struct limits_policy p = {.waits_s = config->delivery.retry_schedule.waits_s,
		.n_waits = config->delivery.retry_schedule.n,
		.max_age_s = config->delivery.max_age,
		.retry_after_max_s = config->delivery.retry_after_max,
		.timeout_s = (uint32_t)config->delivery.timeout};

	if (e->retry_waits_s) {
		p.waits_s = e->retry_waits_s;
		p.n_waits = e->n_retry_waits;
	}
	if (e->max_age_s)
		p.max_age_s = e->max_age_s == ENDPOINT_NONE ? 0 : e->max_age_s;
	if (e->timeout_s)
		p.timeout_s = e->timeout_s;
	return p;
}

static unsigned most_in_flight(const struct lane *lane)
{
	return lane->settings->max_in_flight ? lane->settings->max_in_flight
					     : (unsigned)config->delivery.max_in_flight;
}

static double rate_of(const struct lane *lane)
{
	double own = lane->settings->rate_per_s;

	if (own == ENDPOINT_NONE)
		return 0;
	return own != 0 ? own : config->delivery.rate;
}

static double burst_of(const struct lane *lane)
{
	return lane->settings->burst ? lane->settings->burst : 1;
}

static void fill(struct lane *lane)
{
	lane->tokens = burst_of(lane);
	lane->sure_tokens = -LATE_S * rate_of(lane);
	lane->tokens_ms = queue_ms();
}

static void refill(struct lane *lane)
{
	int64_t now = queue_ms();
	double more = (double)(now - lane->tokens_ms) * rate_of(lane) / 1000;

	lane->tokens += more;
	if (lane->tokens > burst_of(lane))
		lane->tokens = burst_of(lane);
	lane->sure_tokens += more;
	if (lane->sure_tokens > burst_of(lane))
		lane->sure_tokens = burst_of(lane);
	lane->tokens_ms = now;
}

static void take_sure_token(struct lane *lane)
{
	lane->sure_tokens = lane->sure_tokens >= 1 ? lane->sure_tokens - 1 : 0;
	lane->sure_tokens -= LATE_S * rate_of(lane);
}

/* What was counted until now says nothing of what comes. */
static void forget_turns(struct lane *lane)
{
	lane->waits = false;
	lane->due_rest_ms = INT64_MAX;
}

static void forget_all_turns(void)
{
	for (unsigned i = 0; i < RECEIVERS_MAX; i++)
		forget_turns(&lanes[i]);
}

void limits_reset(void)
{
	memset(lanes, 0, sizeof(lanes));
	started = all_paused = false;
	forget_all_turns();
}

void limits_configured(const struct config *c)
{
	config = c;
	for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
		if (lanes[i].settings)
			fill(&lanes[i]);
	}
	forget_all_turns();
}

/* What the last answer asked for. */
static int64_t asked_until_ms(const struct attempt *last, int64_t most_s)
{
	int64_t asked_s = last->retry_after_s < most_s ? last->retry_after_s : most_s;

	if (!last->number || asked_s <= 0 || (last->http_status != 429 && last->http_status != 503))
		return 0;
	if (last->started_ms + asked_s * 1000 > queue_ms())
		cover("Retry-After holds over a restart");
	return last->started_ms + last->duration_ms + asked_s * 1000;
}

void limits_started(const struct config *c)
{
	for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
		struct lane *lane = &lanes[i];

		lane->in_flight = 0;
		lane->gone_revision = lane->url_revision = 0;
		lane->doubtful = lane->last.number && !lane->last.http_status;
		lane->window = lane->doubtful || !lane->last.number ? 1 : ANY;
		lane->not_before_ms = asked_until_ms(&lane->last, c->delivery.retry_after_max);
	}
	limits_configured(c);
	started = true;
}

void limits_stopped(void)
{
	started = false;
	for (unsigned i = 0; i < RECEIVERS_MAX; i++)
		lanes[i].settings = NULL;
}

void limits_pause_all(bool paused)
{
	all_paused = paused;
	forget_all_turns();
}

void limits_edited(const struct endpoint *settings)
{
	struct lane *lane = lane_of(settings->number);

	if (settings->paused == PAUSED_BY_HOOKD &&
		!(lane->settings && lane->settings->paused == PAUSED_BY_HOOKD) && started) {
		check(lane->gone_revision && settings->revision == lane->gone_revision + 1,
			"endpoint %u is paused by hookd, though what answered 410 was another",
			settings->number);
		cover("a 410 pauses an endpoint");
	}
	if (!lane->settings && started)
		lane->window = 1;
	if (lane->settings && started && strcmp(lane->settings->url, settings->url) != 0) {
		if (lane->not_before_ms > queue_ms())
			cover("a new URL is no longer left alone");
		lane->not_before_ms = 0;
		lane->url_revision = settings->revision;
	}
	lane->settings = settings;
	fill(lane);
	forget_turns(lane);
}

/* What may still be under way for it counts for nobody. */
void limits_forgotten(uint32_t endpoint)
{
	struct lane *lane = lane_of(endpoint);

	memset(lane, 0, sizeof(*lane));
	forget_turns(lane);
}

bool limits_left_url(uint32_t endpoint, uint32_t revision)
{
	return revision < lane_of(endpoint)->url_revision;
}

void limits_gone(uint32_t endpoint, uint32_t revision)
{
	struct lane *lane = lane_of(endpoint);

	if (revision > lane->gone_revision)
		lane->gone_revision = revision;
}

void limits_stale(uint32_t endpoint)
{
	forget_turns(lane_of(endpoint));
}

bool limits_is_paused(uint32_t endpoint)
{
	const struct endpoint *settings = limits_of(endpoint);

	return all_paused || settings->paused || settings->removed;
}

int64_t limits_not_before_ms(uint32_t endpoint)
{
	return lane_of(endpoint)->not_before_ms;
}

/* ---- Sending ---- */

static unsigned doubtful_in_flight(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RECEIVERS_MAX; i++)
		n += lanes[i].doubtful ? lanes[i].in_flight : 0;
	return n;
}

static unsigned share_of_doubtful(unsigned all)
{
	return all >= DOUBTFUL_SHARE ? all / DOUBTFUL_SHARE : 1;
}

/* Everybody else who waits has seen this turn. */
static void count_turn(const struct lane *lane)
{
	for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
		struct lane *other = &lanes[i];
		unsigned *turns = &other->turns_of_others[lane - lanes];

		if (!other->waits || other == lane || other->doubtful != lane->doubtful)
			continue;
		check(++*turns <= TURNS_MAX,
			"endpoint %u starves: endpoint %u had %u turns while it waited for one", i,
			(unsigned)(lane - lanes), *turns);
		cover("one waits while another has its turn");
	}
}

void limits_sent(
	const struct senders *senders, uint32_t endpoint, bool suspect, unsigned n_suspects)
{
	struct lane *lane = lane_of(endpoint);
	unsigned window;

	check(started && lane->settings, "something is sent to endpoint %u, which is not there",
		endpoint);
	check(!lane->settings->removed, "something is sent to endpoint %u, which is removed",
		endpoint);
	check(!all_paused, "something is sent while all sending is paused");
	check(!lane->settings->paused, "something is sent to endpoint %u, which is paused",
		endpoint);
	check(lane->not_before_ms <= queue_ms(),
		"something is sent to endpoint %u, which is to be left alone for %lld ms", endpoint,
		(long long)(lane->not_before_ms - queue_ms()));
	/* A suspect was let go before it was held back, by the limits of then. */
	window = lane->window < most_in_flight(lane) ? lane->window : most_in_flight(lane);
	check(lane->in_flight < window || suspect,
		"endpoint %u gets %u attempts at once, of at most %u now", endpoint,
		lane->in_flight + 1, window);
	if (rate_of(lane) > 0) {
		refill(lane);
		take_sure_token(lane);
	}
	if (rate_of(lane) > 0 && !suspect) {
		check(lane->tokens >= 1 - 1e-6, "endpoint %u gets more than %g attempts a second",
			endpoint, rate_of(lane));
		lane->tokens -= 1;
		cover("an endpoint with a rate is sent to");
	}
	if (lane->doubtful && !suspect) {
		unsigned all =
			senders_in_flight(senders) + senders_free_slots(senders) + n_suspects;

		check(doubtful_in_flight() < share_of_doubtful(all),
			"endpoints that do not answer have %u of %u slots, and get one more",
			doubtful_in_flight(), all);
		cover("an endpoint that does not answer is tried");
	}
	lane->in_flight++;
	forget_turns(lane);
	if (!suspect) /* it had its turn long ago */
		count_turn(lane);
}

/* Twice as much after each success, until it is no limit any more. */
static void widen(struct lane *lane)
{
	unsigned most = lane->settings ? most_in_flight(lane) : 1;

	if (lane->window < most / 2 + 1)
		lane->window *= 2;
	else
		lane->window = ANY;
}

void limits_ended(uint32_t endpoint, enum limits_effect effect, int64_t not_before_ms)
{
	struct lane *lane = lane_of(endpoint);

	check(lane->in_flight > 0, "an attempt for endpoint %u ends that never began", endpoint);
	lane->in_flight--;
	if (not_before_ms > lane->not_before_ms)
		lane->not_before_ms = not_before_ms;
	if (effect != NOT_MADE && lane->doubtful != (effect == SILENCE))
		forget_all_turns();
	switch (effect) {
	case DID_WELL:
		lane->doubtful = false;
		widen(lane);
		break;
	case ANSWERED:
		lane->doubtful = false;
		break;
	case SILENCE:
		lane->doubtful = true;
		lane->window = 1;
		break;
	case NOT_MADE:
		break;
	}
	forget_turns(lane);
}

void limits_put_off(uint32_t endpoint, int64_t not_before_ms)
{
	struct lane *lane = lane_of(endpoint);

	if (not_before_ms > lane->not_before_ms)
		lane->not_before_ms = not_before_ms;
	forget_turns(lane);
}

void limits_stored(uint32_t endpoint, const struct attempt *attempt)
{
	lane_of(endpoint)->last = *attempt;
}

/* ---- At rest ---- */

void limits_rests(const struct senders *senders, unsigned n_suspects)
{
	slots = free_slots = senders_free_slots(senders);
	suspects = n_suspects;
	for (unsigned i = 0; i < RECEIVERS_MAX; i++)
		slots += lanes[i].in_flight;
	for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
		const struct lane *lane = &lanes[i];

		if (lane->settings && lane->gone_revision == lane->settings->revision)
			check(lane->settings->paused || lane->settings->removed,
				"endpoint %u answered 410 and is not paused", i);
	}
}

/* So long may a rate keep back what is due; not at all when it allows the next, unless that was
 * given to a suspect, which is still to be sent. */
static int64_t patience_ms(struct lane *lane)
{
	if (rate_of(lane) == 0)
		return 0;
	refill(lane);
	if (lane->sure_tokens >= 1 && !suspects)
		return 0;
	return (int64_t)(3000 / rate_of(lane)) + 3000;
}

void limits_waits(uint32_t endpoint, int64_t due_ms)
{
	struct lane *lane = lane_of(endpoint);
	int64_t now = queue_ms();

	if (!lane->settings || lane->settings->paused || lane->settings->removed || all_paused ||
		lane->not_before_ms > now || lane->in_flight > 0)
		return;
	if (lane->doubtful && suspects)
		return; /* which may hold the slots that such endpoints share */
	if (free_slots == 0 ||
		(lane->doubtful && doubtful_in_flight() >= share_of_doubtful(slots))) {
		if (!lane->waits)
			memset(lane->turns_of_others, 0, sizeof(lane->turns_of_others));
		lane->waits = rate_of(lane) == 0; /* with one, it may not stand in the ring */
		lane->due_rest_ms = INT64_MAX;
		cover("an endpoint waits for its turn");
		return;
	}
	if (lane->due_rest_ms == INT64_MAX)
		lane->due_rest_ms = now;
	check(now - lane->due_rest_ms <= patience_ms(lane),
		"endpoint %u starves: it is owed a delivery since %lld ms, %u slots are free, and nothing moves",
		endpoint, (long long)(now - due_ms), free_slots);
	cover("what is due and may go is looked for");
}
