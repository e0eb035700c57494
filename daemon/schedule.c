#include "schedule.h"

#include <assert.h>
#include <stdlib.h>

#include "out_of_memory.h"

#define DOUBTFUL_SHARE 4 /* of all slots and of the room one in so many */
#define CLAIM_SHARE 32 /* of the room for bytes what a claim may take */
#define RATE_AHEAD_MS 1000 /* so long before its rate allows it, a lane asks for the next */
#define RATE_AHEAD_SCARCE_MS 20 /* when half of the room is taken */

/* A place in a ring with a head of its own. */
struct link {
	struct link *next, *previous;
};

struct lane {
	struct link link; /* in the ring of those who may send, or the queue of those who want a
			     claim */
	enum { NOWHERE, SENDING, HUNGRY } place;
	struct slot *slot;
	struct claimed *ready, **last_ready;
	unsigned n_ready, in_flight;
	unsigned n_asked; /* as many the claim under way may bring */
	size_t ready_bytes, asked_bytes, in_flight_bytes;
	unsigned window;
	bool doubtful; /* did not answer the last time */
	bool claiming; /* a claim is under way */
	bool stale; /* what that claim brings is out of date */
	bool recheck; /* when it is answered, another one is needed */
	int64_t due_ms; /* the earliest that is in the store and not claimed; INT64_MAX: none */
	int64_t not_before_ms;
	double tokens; /* of the rate limit */
	int64_t tokens_ms; /* as of */
	int64_t wake_ms; /* INT64_MAX: not in the heap */
	size_t heap_at;
};

/* The lanes that are doubtful, or those that are not. What the ones hold takes no room from the
 * others. */
struct group {
	struct link sending, hungry;
	unsigned n_in_flight;
	size_t in_flight_bytes;
	unsigned n_ready; /* held ready or asked for */
	size_t ready_bytes;
};

struct schedule {
	struct schedule_options options;
	bool paused;
	struct group groups[2]; /* by lane->doubtful */
	struct lane **heap; /* by wake_ms */
	size_t n_heap, heap_size;
};

/* ---- Ring and queue ---- */

static void list_init(struct link *head)
{
	head->next = head->previous = head;
}

static void list_append(struct link *head, struct link *link)
{
	link->previous = head->previous;
	link->next = head;
	head->previous->next = link;
	head->previous = link;
}

static void list_remove(struct link *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
}

static void list_move_to_end(struct link *head, struct link *link)
{
	list_remove(link);
	list_append(head, link);
}

static struct lane *lane_at(struct link *link)
{
	return (struct lane *)link; /* the first member */
}

/* ---- Heap ---- */

static void heap_put(struct schedule *s, size_t at, struct lane *lane)
{
	s->heap[at] = lane;
	lane->heap_at = at;
}

static void heap_up(struct schedule *s, size_t at)
{
	struct lane *lane = s->heap[at];

	while (at > 0 && s->heap[(at - 1) / 2]->wake_ms > lane->wake_ms) {
		heap_put(s, at, s->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(s, at, lane);
}

static void heap_down(struct schedule *s, size_t at)
{
	struct lane *lane = s->heap[at];

	while (2 * at + 1 < s->n_heap) {
		size_t child = 2 * at + 1;

		if (child + 1 < s->n_heap && s->heap[child + 1]->wake_ms < s->heap[child]->wake_ms)
			child++;
		if (s->heap[child]->wake_ms >= lane->wake_ms)
			break;
		heap_put(s, at, s->heap[child]);
		at = child;
	}
	heap_put(s, at, lane);
}

static void heap_remove(struct schedule *s, struct lane *lane)
{
	size_t at = lane->heap_at;
	struct lane *last = s->heap[--s->n_heap];

	lane->wake_ms = INT64_MAX;
	if (last == lane)
		return;
	heap_put(s, at, last);
	heap_up(s, at);
	heap_down(s, last->heap_at);
}

static void set_wake(struct schedule *s, struct lane *lane, int64_t wake_ms)
{
	if (wake_ms == lane->wake_ms)
		return;
	if (lane->wake_ms != INT64_MAX)
		heap_remove(s, lane);
	if (wake_ms == INT64_MAX)
		return;
	if (s->n_heap == s->heap_size) {
		size_t size = s->heap_size ? 2 * s->heap_size : 64;
		struct lane **grown = realloc(s->heap, size * sizeof(*grown));

		if (!grown)
			out_of_memory("what is due");
		s->heap = grown;
		s->heap_size = size;
	}
	lane->wake_ms = wake_ms;
	heap_put(s, s->n_heap, lane);
	heap_up(s, s->n_heap++);
}

/* ---- Lanes ---- */

static struct lane_limits limits_of(const struct schedule *s, const struct lane *lane)
{
	return s->options.limits(s->options.user, lane->slot);
}

static struct group *group_of(struct schedule *s, const struct lane *lane)
{
	return &s->groups[lane->doubtful];
}

/* A lane leaves its group and joins one again whenever something that is counted changes. */
static void leave(struct schedule *s, const struct lane *lane)
{
	struct group *group = group_of(s, lane);

	group->n_in_flight -= lane->in_flight;
	group->in_flight_bytes -= lane->in_flight_bytes;
	group->n_ready -= lane->n_ready + lane->n_asked;
	group->ready_bytes -= lane->ready_bytes + lane->asked_bytes;
}

static void join(struct schedule *s, const struct lane *lane)
{
	struct group *group = group_of(s, lane);

	group->n_in_flight += lane->in_flight;
	group->in_flight_bytes += lane->in_flight_bytes;
	group->n_ready += lane->n_ready + lane->n_asked;
	group->ready_bytes += lane->ready_bytes + lane->asked_bytes;
}

static struct lane *lane_of(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	struct lane *lane = slot->lane;

	if (lane)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		out_of_memory("what is due");
	slot->lane = lane;
	lane->slot = slot;
	lane->last_ready = &lane->ready;
	lane->due_ms = lane->wake_ms = INT64_MAX;
	lane->doubtful = slot->health == HEALTH_FAILING && slot->last.http_status == 0;
	lane->window = lane->doubtful || slot->health == HEALTH_UNTRIED ? 1 : UINT32_MAX;
	lane->tokens = limits_of(s, lane).burst;
	lane->tokens_ms = now_ms;
	return lane;
}

static void refill(struct lane *lane, const struct lane_limits *limits, int64_t now_ms)
{
	if (limits->rate_per_s > 0) {
		lane->tokens += (double)(now_ms - lane->tokens_ms) * limits->rate_per_s / 1000;
		if (lane->tokens > limits->burst)
			lane->tokens = limits->burst;
	}
	lane->tokens_ms = now_ms;
}

static unsigned window_of(const struct lane *lane, const struct lane_limits *limits)
{
	return lane->window < limits->max_in_flight ? lane->window : limits->max_in_flight;
}

static size_t free_bytes_of(const struct schedule *s)
{
	size_t bytes = s->groups[false].in_flight_bytes + s->groups[true].in_flight_bytes;
	size_t max_bytes = s->options.max_in_flight_bytes;

	return bytes < max_bytes ? max_bytes - bytes : 0;
}

/* The room of a lane's group, in deliveries and in bytes. */
static unsigned room_of(const struct schedule *s, bool doubtful)
{
	unsigned share = (s->options.max_ready + DOUBTFUL_SHARE - 1) / DOUBTFUL_SHARE;

	return doubtful ? share : s->options.max_ready - share;
}

static size_t room_bytes_of(const struct schedule *s, bool doubtful)
{
	size_t share = s->options.max_ready_bytes / DOUBTFUL_SHARE;

	return doubtful ? share : s->options.max_ready_bytes - share;
}

static bool half_is_free(const struct schedule *s, bool doubtful)
{
	const struct group *group = &s->groups[doubtful];

	return group->n_ready < room_of(s, doubtful) / 2 &&
		group->ready_bytes < room_bytes_of(s, doubtful) / 2;
}

/* What waits for time takes room from others: the scarcer it is, the less of that. */
static int rate_ahead_ms(const struct schedule *s, const struct lane *lane)
{
	return half_is_free(s, lane->doubtful) ? RATE_AHEAD_MS : RATE_AHEAD_SCARCE_MS;
}

/*
 * How many deliveries the lane may hold ready. What could go at once always; as much again ahead,
 * so that a fast receiver never waits for the store, while the lane is healthy and half of the room
 * is free. With a rate, no more than it lets go soon.
 */
static unsigned ready_limit(
	const struct schedule *s, const struct lane *lane, const struct lane_limits *limits)
{
	unsigned window = window_of(lane, limits);
	unsigned now = window > lane->in_flight ? window - lane->in_flight : 0;
	bool healthy = window == limits->max_in_flight;

	if (limits->rate_per_s > 0) {
		double soon = lane->tokens + limits->rate_per_s * rate_ahead_ms(s, lane) / 1000;

		return soon < 1 ? now > 0 : soon < now ? (unsigned)soon : now;
	}
	return healthy && half_is_free(s, lane->doubtful) ? now + limits->max_in_flight : now;
}

static void enlist(struct schedule *s, struct lane *lane, int place)
{
	if ((int)lane->place == place)
		return;
	if (lane->place != NOWHERE)
		list_remove(&lane->link);
	lane->place = place;
	if (place == SENDING)
		list_append(&group_of(s, lane)->sending, &lane->link);
	else if (place == HUNGRY)
		list_append(&group_of(s, lane)->hungry, &lane->link);
}

/* Nothing to do now or later; only what the lane remembers of the past may keep it. */
static bool is_empty(const struct lane *lane)
{
	return !lane->n_ready && !lane->in_flight && !lane->claiming && lane->due_ms == INT64_MAX;
}

static bool remembers_nothing(const struct lane *lane, const struct lane_limits *limits)
{
	return lane->window == UINT32_MAX && lane->not_before_ms == 0 &&
		(limits->rate_per_s == 0 || lane->tokens >= limits->burst);
}

/* When so many tokens will be there; now, when they are. */
static int64_t tokens_at(
	const struct lane *lane, const struct lane_limits *limits, double tokens, int64_t now_ms)
{
	if (limits->rate_per_s == 0 || lane->tokens >= tokens)
		return now_ms;
	return now_ms + 1 + (int64_t)((tokens - lane->tokens) * 1000 / limits->rate_per_s);
}

/* When the lane's rate lets it ask for the next: as of its tokens, or later. */
static int64_t ask_at(
	const struct schedule *s, const struct lane *lane, const struct lane_limits *limits)
{
	int64_t allowed_ms = tokens_at(lane, limits, 1, lane->tokens_ms);
	int64_t ask_ms = allowed_ms - rate_ahead_ms(s, lane);

	return ask_ms > lane->tokens_ms ? ask_ms : lane->tokens_ms;
}

/* Something went back to the store, or may be there that was not known of. */
static void ask_again(struct lane *lane)
{
	lane->due_ms = INT64_MIN;
	lane->recheck = lane->claiming;
}

/* To be followed by place(). */
static void set_doubtful(struct schedule *s, struct lane *lane, bool doubtful)
{
	if (lane->doubtful == doubtful)
		return;
	enlist(s, lane, NOWHERE);
	leave(s, lane);
	lane->doubtful = doubtful;
	join(s, lane);
}

static void free_lane(struct schedule *s, struct lane *lane)
{
	leave(s, lane);
	enlist(s, lane, NOWHERE);
	set_wake(s, lane, INT64_MAX);
	lane->slot->lane = NULL;
	free(lane);
}

/* Half empty is time enough to ask for more, unless a slot stands idle. */
static bool wants_more(
	const struct schedule *s, const struct lane *lane, const struct lane_limits *limits)
{
	unsigned window = window_of(lane, limits), limit = ready_limit(s, lane, limits);
	bool idle_slot = lane->in_flight + lane->n_ready < window;

	return lane->n_ready < limit && (idle_slot || lane->n_ready <= limit / 2);
}

/* Decides where a lane belongs; frees it when nothing is left to do or to remember. */
static void place(struct schedule *s, struct lane *lane, int64_t now_ms)
{
	struct lane_limits limits = limits_of(s, lane);
	int64_t wake_ms = INT64_MAX, allowed_ms;
	int where = NOWHERE;

	if (lane->not_before_ms && lane->not_before_ms <= now_ms)
		lane->not_before_ms = 0;
	refill(lane, &limits, now_ms);
	allowed_ms = tokens_at(lane, &limits, 1, now_ms);
	if (limits.paused || s->paused) {
		/* Waits for resume. */
	} else if (lane->not_before_ms) {
		wake_ms = lane->not_before_ms;
	} else if (is_empty(lane)) {
		if (limits.rate_per_s > 0 && lane->tokens < limits.burst)
			wake_ms = tokens_at(lane, &limits, limits.burst, now_ms);
	} else {
		int64_t ask_ms = ask_at(s, lane, &limits);

		if (lane->due_ms > ask_ms)
			ask_ms = lane->due_ms;
		if (lane->n_ready && allowed_ms > now_ms)
			wake_ms = allowed_ms;
		else if (lane->n_ready && lane->in_flight < window_of(lane, &limits))
			where = SENDING;
		if (!lane->claiming && ask_ms > now_ms && ask_ms < wake_ms)
			wake_ms = ask_ms;
		if (where == NOWHERE && !lane->claiming && ask_ms <= now_ms &&
			wants_more(s, lane, &limits))
			where = HUNGRY;
	}
	enlist(s, lane, where);
	set_wake(s, lane, wake_ms);
	if (is_empty(lane) && remembers_nothing(lane, &limits))
		free_lane(s, lane);
}

/* ---- What happens ---- */

struct schedule *schedule_new(const struct schedule_options *options)
{
	struct schedule *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->options = *options;
	for (int i = 0; i < 2; i++) {
		list_init(&s->groups[i].sending);
		list_init(&s->groups[i].hungry);
	}
	return s;
}

void schedule_free(struct schedule *s)
{
	if (!s)
		return;
	free(s->heap);
	free(s);
}

static void drop_ready(struct schedule *s, struct lane *lane)
{
	leave(s, lane);
	while (lane->ready) {
		struct claimed *claimed = lane->ready;

		lane->ready = claimed->next;
		claimed->next = NULL;
		s->options.unclaim(s->options.user, claimed);
	}
	lane->last_ready = &lane->ready;
	lane->n_ready = 0;
	lane->ready_bytes = 0;
	join(s, lane);
}

static bool is_stopped(const struct schedule *s, const struct lane *lane, int64_t now_ms)
{
	return s->paused || limits_of(s, lane).paused || lane->not_before_ms > now_ms;
}

/* Gives what is ready back, so that it takes no room from others while the lane waits. */
static void shed(struct schedule *s, struct lane *lane)
{
	if (lane->n_ready)
		ask_again(lane);
	drop_ready(s, lane);
}

void schedule_set_paused(struct schedule *s, bool paused)
{
	s->paused = paused;
}

void schedule_due(struct schedule *s, struct slot *slot, int64_t due_ms, int64_t now_ms)
{
	struct lane *lane = lane_of(s, slot, now_ms);

	if (due_ms < lane->due_ms)
		lane->due_ms = due_ms;
	place(s, lane, now_ms);
}

void schedule_not_before(
	struct schedule *s, struct slot *slot, int64_t not_before_ms, int64_t now_ms)
{
	struct lane *lane = lane_of(s, slot, now_ms);

	if (not_before_ms > lane->not_before_ms)
		lane->not_before_ms = not_before_ms;
	place(s, lane, now_ms);
}

void schedule_lift(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	if (!slot->lane)
		return;
	slot->lane->not_before_ms = 0;
	place(s, slot->lane, now_ms);
}

void schedule_changed(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	if (!slot->lane)
		return;
	if (is_stopped(s, slot->lane, now_ms))
		shed(s, slot->lane);
	place(s, slot->lane, now_ms);
}

void schedule_stale(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	struct lane *lane = lane_of(s, slot, now_ms);

	drop_ready(s, lane);
	lane->stale = lane->claiming;
	ask_again(lane);
	place(s, lane, now_ms);
}

void schedule_forget(struct schedule *s, struct slot *slot)
{
	if (!slot->lane)
		return;
	drop_ready(s, slot->lane);
	free_lane(s, slot->lane);
}

/* Has it so much in flight that one more as large would not fit? That one would only take room from
 * others while it waits for attempts to end, and with each that does, all are looked at again. */
static bool is_stuffed(const struct schedule *s, const struct lane *lane)
{
	return lane->in_flight &&
		lane->in_flight_bytes + lane->in_flight_bytes / lane->in_flight > free_bytes_of(s);
}

/* The first of a queue that gets something, and no longer stands in it. NULL: there is none, or no
 * room. */
static struct lane *next_hungry(struct schedule *s, bool doubtful, unsigned *max_n)
{
	struct group *group = &s->groups[doubtful];
	struct link *first_stuffed = NULL;

	while (group->hungry.next != &group->hungry && group->hungry.next != first_stuffed) {
		struct lane *lane = lane_at(group->hungry.next);
		struct lane_limits limits;
		int64_t ask_ms;
		unsigned limit;

		if (group->n_ready >= room_of(s, doubtful) ||
			group->ready_bytes >= room_bytes_of(s, doubtful))
			return NULL;
		if (is_stuffed(s, lane)) {
			/* Behind the others, so that not every wish has to step over it. */
			list_move_to_end(&group->hungry, &lane->link);
			if (!first_stuffed)
				first_stuffed = &lane->link;
			continue;
		}
		enlist(s, lane, NOWHERE);
		limits = limits_of(s, lane);
		ask_ms = ask_at(s, lane, &limits);
		if (ask_ms > lane->tokens_ms) {
			/* Since place() let it ask so far ahead, the room went to others. */
			set_wake(s, lane, ask_ms);
			continue;
		}
		limit = ready_limit(s, lane, &limits);
		if (limit <= lane->n_ready)
			continue; /* the room went to others; it is placed anew when something
				     happens to it */
		*max_n = limit - lane->n_ready;
		if (*max_n > room_of(s, doubtful) - group->n_ready)
			*max_n = room_of(s, doubtful) - group->n_ready;
		return lane;
	}
	return NULL;
}

bool schedule_wish(struct schedule *s, struct wish_for *wish)
{
	struct lane *lane = next_hungry(s, false, &wish->max_n);

	if (!lane)
		lane = next_hungry(s, true, &wish->max_n);
	if (!lane)
		return false;
	wish->endpoint = lane->slot->settings->number;
	wish->max_bytes = s->options.max_ready_bytes / CLAIM_SHARE;
	lane->claiming = true;
	leave(s, lane);
	lane->n_asked = wish->max_n;
	lane->asked_bytes = wish->max_bytes;
	join(s, lane);
	return true;
}

static void take_in(struct lane *lane, struct claimed *list)
{
	while (list) {
		struct claimed *next = list->next;

		list->next = NULL;
		*lane->last_ready = list;
		lane->last_ready = &list->next;
		lane->n_ready++;
		lane->ready_bytes += claimed_payload_len(list);
		list = next;
	}
}

void schedule_claimed(struct schedule *s, struct slot *slot, struct claimed *list,
	int64_t next_due_ms, int64_t now_ms)
{
	struct lane *lane = lane_of(s, slot, now_ms);

	lane->claiming = false;
	if (!lane->recheck)
		lane->due_ms = next_due_ms;
	lane->recheck = false;
	leave(s, lane);
	lane->n_asked = 0;
	lane->asked_bytes = 0;
	take_in(lane, list);
	join(s, lane);
	if (lane->stale)
		drop_ready(s, lane);
	lane->stale = false;
	if (is_stopped(s, lane, now_ms))
		shed(s, lane);
	place(s, lane, now_ms);
}

static struct claimed *send_from(struct schedule *s, struct lane *lane, int64_t now_ms)
{
	struct lane_limits limits = limits_of(s, lane);
	struct claimed *claimed = lane->ready;

	leave(s, lane);
	lane->ready = claimed->next;
	if (!lane->ready)
		lane->last_ready = &lane->ready;
	claimed->next = NULL;
	lane->n_ready--;
	lane->ready_bytes -= claimed_payload_len(claimed);
	lane->in_flight++;
	lane->in_flight_bytes += claimed_payload_len(claimed);
	join(s, lane);
	refill(lane, &limits, now_ms); /* what came while it waited for a slot is not on top */
	if (limits.rate_per_s > 0)
		lane->tokens -= 1;
	place(s, lane, now_ms);
	return claimed;
}

/* May its next delivery go? A lane with nothing in flight needs room for that alone, another one as
 * much again as it has already: so something is left for those who come next. */
static bool fits(const struct lane *lane, unsigned free_slots, size_t free_bytes)
{
	if (lane->in_flight >= free_slots && lane->in_flight)
		return false;
	return lane->in_flight_bytes + claimed_payload_len(lane->ready) <= free_bytes;
}

/* The next lane of a ring in its turn whose next delivery fits; NULL: none. */
static struct lane *take_turn(struct link *ring, unsigned free_slots, size_t free_bytes)
{
	struct link *first = NULL;

	while (ring->next != ring && ring->next != first) {
		struct lane *lane = lane_at(ring->next);

		list_move_to_end(ring, &lane->link); /* its next turn comes after all others' */
		if (fits(lane, free_slots, free_bytes))
			return lane;
		if (!first)
			first = &lane->link;
	}
	return NULL;
}

/* Has the group of the doubtful less in flight than its share? Only what it has already counts, so
 * that a large payload goes in its turn, though it may then have more by that one. */
static bool doubtful_may_go(const struct schedule *s, unsigned slots)
{
	const struct group *doubtful = &s->groups[true];
	unsigned share = slots / DOUBTFUL_SHARE;

	return doubtful->n_in_flight < (share ? share : 1) &&
		doubtful->in_flight_bytes < s->options.max_in_flight_bytes / DOUBTFUL_SHARE;
}

struct claimed *schedule_next(struct schedule *s, unsigned free_slots, int64_t now_ms)
{
	struct group *good = &s->groups[false], *doubtful = &s->groups[true];
	unsigned slots = good->n_in_flight + doubtful->n_in_flight + free_slots;
	size_t free_bytes = free_bytes_of(s);
	struct lane *lane = NULL;

	if (free_slots == 0)
		return NULL;
	if (doubtful_may_go(s, slots))
		lane = take_turn(&doubtful->sending, free_slots, free_bytes);
	if (!lane)
		lane = take_turn(&good->sending, free_slots, free_bytes);
	return lane ? send_from(s, lane, now_ms) : NULL;
}

static void learn(struct schedule *s, struct lane *lane, enum attempt_effect effect, unsigned limit)
{
	switch (effect) {
	case EFFECT_SUCCESS:
		set_doubtful(s, lane, false);
		lane->window = lane->window < limit / 2 + 1 ? 2 * lane->window : UINT32_MAX;
		break;
	case EFFECT_ANSWERED:
		set_doubtful(s, lane, false);
		break;
	case EFFECT_NO_ANSWER:
		set_doubtful(s, lane, true);
		lane->window = 1;
		break;
	case EFFECT_NOT_MADE:
	case EFFECT_UNSENT:
		break;
	}
}

void schedule_ended(struct schedule *s, struct slot *slot, size_t payload_len,
	enum attempt_effect effect, int64_t not_before_ms, int64_t now_ms)
{
	struct lane *lane = slot->lane;
	struct lane_limits limits;

	assert(lane && lane->in_flight);
	limits = limits_of(s, lane);
	leave(s, lane);
	lane->in_flight--;
	lane->in_flight_bytes -= payload_len;
	join(s, lane);
	learn(s, lane, effect, limits.max_in_flight);
	if (effect == EFFECT_UNSENT && limits.rate_per_s > 0)
		lane->tokens += 1; /* place() sees to it that it is no more than the burst */
	if (not_before_ms > lane->not_before_ms)
		lane->not_before_ms = not_before_ms;
	if (effect == EFFECT_NO_ANSWER || is_stopped(s, lane, now_ms))
		shed(s, lane);
	if (effect == EFFECT_NOT_MADE || effect == EFFECT_UNSENT)
		ask_again(lane);
	place(s, lane, now_ms);
}

int64_t schedule_wake_ms(const struct schedule *s)
{
	return s->n_heap ? s->heap[0]->wake_ms : INT64_MAX;
}

void schedule_tick(struct schedule *s, int64_t now_ms)
{
	while (s->n_heap && s->heap[0]->wake_ms <= now_ms) {
		struct lane *lane = s->heap[0];

		heap_remove(s, lane);
		place(s, lane, now_ms);
	}
}

enum lane_wait schedule_explain(
	const struct schedule *s, const struct slot *slot, int64_t now_ms, int64_t *not_before_ms)
{
	const struct lane *lane = slot->lane;
	struct lane_limits limits = s->options.limits(s->options.user, slot);

	if (s->paused || limits.paused)
		return LANE_PAUSED;
	if (!lane)
		return LANE_FREE;
	if (lane->not_before_ms > now_ms) {
		*not_before_ms = lane->not_before_ms;
		return LANE_NOT_BEFORE;
	}
	return limits.rate_per_s > 0 && lane->tokens < 1 ? LANE_RATE : LANE_FREE;
}

int64_t schedule_lateness_ms(const struct schedule *s, int64_t now_ms)
{
	const struct link *sending = &s->groups[false].sending;
	int64_t latest_ms = 0;

	for (struct link *link = sending->next; link != sending; link = link->next) {
		int64_t late_ms = now_ms - lane_at(link)->ready->delivery.due_ms;

		if (late_ms > latest_ms)
			latest_ms = late_ms;
	}
	return latest_ms;
}
