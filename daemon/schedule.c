#include "schedule.h"

#include <assert.h>
#include <stdlib.h>

#define DOUBTFUL_SHARE 4 /* of all slots one in so many */

/* A place in a ring with a head of its own. */
struct link {
	struct link *next, *previous;
};

struct lane {
	struct link link; /* in the ring of those who may send, or the queue of those who want a
			     claim */
	enum { NOWHERE, SENDING, DOUBTFUL, HUNGRY } place;
	struct slot *slot;
	struct claimed *ready, **last_ready;
	unsigned n_ready, in_flight;
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

struct schedule {
	struct schedule_options options;
	bool paused;
	struct link sending, doubtful, hungry;
	unsigned n_in_flight, n_doubtful_in_flight;
	struct lane **heap; /* by wake_ms */
	size_t n_heap, heap_size;
	unsigned n_ready;
	size_t ready_bytes;
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
			abort(); /* a delivery would be forgotten */
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

static unsigned payload_bytes(const struct claimed *claimed)
{
	return claimed->event ? claimed->event->event.payload_len : 0;
}

static struct lane *lane_of(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	struct lane *lane = slot->lane;

	if (lane)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		abort(); /* a delivery would be forgotten */
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

/*
 * How many deliveries the lane may hold ready. What could go at once always; as much again ahead,
 * so that a fast receiver never waits for the store, while the lane is healthy and half of the room
 * is free.
 */
static unsigned ready_limit(
	const struct schedule *s, const struct lane *lane, const struct lane_limits *limits)
{
	unsigned window = window_of(lane, limits);
	unsigned now = window > lane->in_flight ? window - lane->in_flight : 0;
	bool healthy = window == limits->max_in_flight;

	if (limits->rate_per_s > 0)
		return now < limits->burst ? now : limits->burst;
	if (healthy && s->n_ready < s->options.max_ready / 2 &&
		s->ready_bytes < s->options.max_ready_bytes / 2)
		return now + limits->max_in_flight;
	return now;
}

static void enlist(struct schedule *s, struct lane *lane, int place)
{
	if ((int)lane->place == place)
		return;
	if (lane->place != NOWHERE)
		list_remove(&lane->link);
	lane->place = place;
	if (place == SENDING)
		list_append(&s->sending, &lane->link);
	else if (place == DOUBTFUL)
		list_append(&s->doubtful, &lane->link);
	else if (place == HUNGRY)
		list_append(&s->hungry, &lane->link);
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

/* When so many tokens will be there. */
static int64_t tokens_at(
	const struct lane *lane, const struct lane_limits *limits, double tokens, int64_t now_ms)
{
	return now_ms + 1 + (int64_t)((tokens - lane->tokens) * 1000 / limits->rate_per_s);
}

/* Something went back to the store, or may be there that was not known of. */
static void ask_again(struct lane *lane)
{
	lane->due_ms = INT64_MIN;
	lane->recheck = lane->claiming;
}

static void set_doubtful(struct schedule *s, struct lane *lane, bool doubtful)
{
	if (doubtful && !lane->doubtful)
		s->n_doubtful_in_flight += lane->in_flight;
	if (!doubtful && lane->doubtful)
		s->n_doubtful_in_flight -= lane->in_flight;
	lane->doubtful = doubtful;
}

static void free_lane(struct schedule *s, struct lane *lane)
{
	set_doubtful(s, lane, false);
	s->n_in_flight -= lane->in_flight;
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
	bool rate_allows;
	int64_t wake_ms = INT64_MAX;
	int where = NOWHERE;

	if (lane->not_before_ms && lane->not_before_ms <= now_ms)
		lane->not_before_ms = 0;
	refill(lane, &limits, now_ms);
	rate_allows = limits.rate_per_s == 0 || lane->tokens >= 1;
	if (limits.paused || s->paused) {
		/* Waits for resume. */
	} else if (lane->not_before_ms) {
		wake_ms = lane->not_before_ms;
	} else if (is_empty(lane)) {
		if (limits.rate_per_s > 0 && lane->tokens < limits.burst)
			wake_ms = tokens_at(lane, &limits, limits.burst, now_ms);
	} else {
		if (lane->n_ready && !rate_allows)
			wake_ms = tokens_at(lane, &limits, 1, now_ms);
		else if (lane->n_ready && lane->in_flight < window_of(lane, &limits))
			where = lane->doubtful ? DOUBTFUL : SENDING;
		if (!lane->claiming && lane->due_ms > now_ms && lane->due_ms < wake_ms)
			wake_ms = lane->due_ms;
		if (where == NOWHERE && !lane->claiming && lane->due_ms <= now_ms &&
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
	list_init(&s->sending);
	list_init(&s->doubtful);
	list_init(&s->hungry);
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
	while (lane->ready) {
		struct claimed *claimed = lane->ready;

		lane->ready = claimed->next;
		s->n_ready--;
		s->ready_bytes -= payload_bytes(claimed);
		claimed->next = NULL;
		s->options.unclaim(s->options.user, claimed);
	}
	lane->last_ready = &lane->ready;
	lane->n_ready = 0;
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

void schedule_changed(struct schedule *s, struct slot *slot, int64_t now_ms)
{
	if (!slot->lane)
		return;
	if (s->paused || limits_of(s, slot->lane).paused) {
		shed(s, slot->lane);
	}
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

bool schedule_wish(struct schedule *s, struct wish_for *wish)
{
	while (s->hungry.next != &s->hungry) {
		struct lane *lane = lane_at(s->hungry.next);
		struct lane_limits limits = limits_of(s, lane);
		unsigned limit = ready_limit(s, lane, &limits);

		if (s->n_ready >= s->options.max_ready ||
			s->ready_bytes >= s->options.max_ready_bytes)
			return false;
		enlist(s, lane, NOWHERE);
		if (limit <= lane->n_ready)
			continue; /* the room went to others; it is placed anew when something
				     happens to it */
		lane->claiming = true;
		wish->endpoint = lane->slot->settings->number;
		wish->max_n = limit - lane->n_ready;
		if (wish->max_n > s->options.max_ready - s->n_ready)
			wish->max_n = s->options.max_ready - s->n_ready;
		wish->max_bytes = s->options.max_ready_bytes / 8;
		return true;
	}
	return false;
}

void schedule_claimed(struct schedule *s, struct slot *slot, struct claimed *list,
	int64_t next_due_ms, int64_t now_ms)
{
	struct lane *lane = lane_of(s, slot, now_ms);

	lane->claiming = false;
	if (!lane->recheck)
		lane->due_ms = next_due_ms;
	lane->recheck = false;
	while (list) {
		struct claimed *next = list->next;

		list->next = NULL;
		*lane->last_ready = list;
		lane->last_ready = &list->next;
		lane->n_ready++;
		s->n_ready++;
		s->ready_bytes += payload_bytes(list);
		list = next;
	}
	if (lane->stale)
		drop_ready(s, lane);
	lane->stale = false;
	place(s, lane, now_ms);
}

static struct claimed *send_from(struct schedule *s, struct lane *lane, int64_t now_ms)
{
	struct claimed *claimed = lane->ready;

	lane->ready = claimed->next;
	if (!lane->ready)
		lane->last_ready = &lane->ready;
	claimed->next = NULL;
	lane->n_ready--;
	s->n_ready--;
	s->ready_bytes -= payload_bytes(claimed);
	lane->in_flight++;
	s->n_in_flight++;
	s->n_doubtful_in_flight += lane->doubtful;
	if (limits_of(s, lane).rate_per_s > 0)
		lane->tokens -= 1;
	place(s, lane, now_ms);
	return claimed;
}

/* The next lane of a ring in its turn; NULL when all have as many in flight as there are slots
 * left. */
static struct lane *take_turn(struct link *ring, unsigned free_slots)
{
	struct link *first = NULL;

	while (ring->next != ring && ring->next != first) {
		struct lane *lane = lane_at(ring->next);

		list_remove(&lane->link);
		list_append(ring, &lane->link); /* its next turn comes after all others' */
		if (!lane->in_flight || lane->in_flight < free_slots)
			return lane;
		if (!first)
			first = &lane->link;
	}
	return NULL;
}

struct claimed *schedule_next(struct schedule *s, unsigned free_slots, int64_t now_ms)
{
	unsigned doubtful_slots = (s->n_in_flight + free_slots) / DOUBTFUL_SHARE;
	struct lane *lane = NULL;

	if (free_slots == 0)
		return NULL;
	if (s->n_doubtful_in_flight < (doubtful_slots ? doubtful_slots : 1))
		lane = take_turn(&s->doubtful, free_slots);
	if (!lane)
		lane = take_turn(&s->sending, free_slots);
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
		break;
	}
}

void schedule_ended(struct schedule *s, struct slot *slot, enum attempt_effect effect,
	int64_t not_before_ms, int64_t now_ms)
{
	struct lane *lane = slot->lane;

	assert(lane && lane->in_flight);
	s->n_in_flight--;
	s->n_doubtful_in_flight -= lane->doubtful;
	lane->in_flight--;
	learn(s, lane, effect, limits_of(s, lane).max_in_flight);
	if (not_before_ms > lane->not_before_ms)
		lane->not_before_ms = not_before_ms;
	if (effect == EFFECT_NO_ANSWER || lane->not_before_ms > now_ms)
		shed(s, lane);
	if (effect == EFFECT_NOT_MADE)
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
	int64_t latest_ms = 0;

	for (struct link *link = s->sending.next; link != &s->sending; link = link->next) {
		int64_t late_ms = now_ms - lane_at(link)->ready->delivery.due_ms;

		if (late_ms > latest_ms)
			latest_ms = late_ms;
	}
	return latest_ms;
}
