#include "rekey.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "log.h"
#include "loop.h"

#define AT_ONCE \
	16 /* records in a transaction; the largest fit into what a full store has in reserve */
#define AGAIN_S 1

struct rekey {
	struct rekey_options options;
	struct rekey_state state;
	struct event *step; /* later in this turn of the loop, or after a failure */
	uint32_t number; /* endpoints before it have been looked at */
	unsigned n_on_way;
	bool failed; /* something could not be done: the same again in a moment */
	bool marking;
	struct key_op mark;
	struct rekey_wait *waiting;
	char from[SECRETBOX_KEY_ID_SIZE], to[SECRETBOX_KEY_ID_SIZE];
};

/* One endpoint on its way. */
struct sealing {
	struct endpoint_edit edit; /* the first member */
	struct rekey *rekey;
};

static void step_soon(struct rekey *r)
{
	struct timeval again = {AGAIN_S, 0};

	if (r->failed)
		loop_add(r->step, &again);
	else
		event_active(r->step, EV_TIMEOUT, 0);
}

static void tell_waiting(struct rekey *r, const struct problem *problem)
{
	while (r->waiting) {
		struct rekey_wait *wait = r->waiting;

		r->waiting = wait->next;
		wait->done(wait, problem);
	}
}

/* ---- The end ---- */

static void conclude(struct rekey *r)
{
	struct secretbox *box = r->options.box;
	bool is_credential = box->previous.is_credential;
	struct problem problem = {.code = PROBLEM_NONE};

	r->state.under_way = false;
	if (secretbox_drop_previous(box, r->options.data_directory, &problem) < 0) {
		log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL,
			"nothing needs master key %s any more, but it stays until the next start: %s",
			r->from, problem.detail);
		problem.code = PROBLEM_FULL;
	} else {
		r->state.credential_is_spare = is_credential;
		log_line(LOG_LEVEL_NOTICE, LOG_STORE, NULL,
			"all secrets are sealed with master key %s (%zu anew); nothing needs %s any more%s",
			r->to, r->state.n_sealed, r->from,
			is_credential
				? ": the credential hookd-master-key-previous may be taken away"
				: " but backups that were made before");
	}
	tell_waiting(r, &problem);
}

static void on_marked(struct op *op)
{
	struct rekey *r = (struct rekey *)((char *)op - offsetof(struct rekey, mark));

	r->marking = false;
	if (op->result != ENGINE_OK)
		return; /* the store is lost; the next start goes on */
	r->number = 0;
	step_soon(r);
}

static bool is_marked(const struct rekey *r)
{
	return memcmp(store_key_id(r->options.store), r->options.box->current.id,
		       SECRETBOX_KEY_ID_LEN) == 0;
}

/* Behind everything that was on its way when the key changed: what that has sealed with the
 * previous key shows afterwards. */
static void mark(struct rekey *r)
{
	r->marking = true;
	r->mark = (struct key_op){.op.done = on_marked};
	memcpy(r->mark.key_id, r->options.box->current.id, sizeof(r->mark.key_id));
	store_set_key(r->options.store, &r->mark);
}

/* ---- Step by step ---- */

static struct slot *next_to_seal(struct rekey *r)
{
	struct registry *registry = store_registry(r->options.store);
	struct slot *slot = registry_next(registry, r->number);

	while (slot && !slot->old_key)
		slot = registry_next(registry, slot->settings->number + 1);
	return slot;
}

static void on_sealed(struct endpoint_edit *edit, struct slot *slot, const struct problem *problem)
{
	struct rekey *r = ((struct sealing *)edit)->rekey;

	(void)slot;
	r->n_on_way--;
	if (problem->code == PROBLEM_NONE)
		r->state.n_sealed++;
	else if (problem->code == PROBLEM_BUSY)
		r->failed = true;
	free(edit);
	if (problem->code != PROBLEM_UNKNOWN && r->n_on_way == 0)
		step_soon(r);
}

static void seal(struct rekey *r, uint32_t number)
{
	struct sealing *sealing = calloc(1, sizeof(*sealing));

	if (!sealing) {
		r->failed = true;
		return;
	}
	sealing->edit =
		(struct endpoint_edit){.number = number, .reseals = true, .done = on_sealed};
	sealing->rekey = r;
	r->n_on_way++;
	store_edit(r->options.store, &sealing->edit);
}

/* Seals the next ones. When there are none left, and there were none when the store was marked, the
 * change is done. */
static void on_step(evutil_socket_t fd, short what, void *user)
{
	struct rekey *r = user;
	struct slot *slot;
	bool found = false;

	(void)fd;
	(void)what;
	if (!r->state.under_way || r->n_on_way || r->marking)
		return;
	if (r->failed)
		r->number = 0;
	r->failed = false;
	while (r->n_on_way < AT_ONCE && !r->failed && (slot = next_to_seal(r))) {
		found = true;
		r->number = slot->settings->number + 1;
		seal(r, slot->settings->number);
	}
	if (r->failed && r->n_on_way == 0)
		step_soon(r);
	else if (!found && r->number == 0 && is_marked(r))
		conclude(r);
	else if (!found)
		mark(r);
}

static void start(struct rekey *r)
{
	const struct secretbox *box = r->options.box;

	secretbox_key_id_format(box->previous.id, r->from);
	secretbox_key_id_format(box->current.id, r->to);
	r->state = (struct rekey_state){.under_way = true};
	r->number = 0;
	step_soon(r);
}

/* ---- What others call ---- */

struct rekey *rekey_new(const struct rekey_options *options)
{
	struct rekey *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->options = *options;
	r->step = evtimer_new(options->base, on_step, r);
	if (!r->step) {
		free(r);
		return NULL;
	}
	return r;
}

void rekey_free(struct rekey *r)
{
	struct problem problem;

	if (!r)
		return;
	problem_set(&problem, PROBLEM_STOPPING, NULL,
		"hookd is stopping; the master key is changed, and the rest follows at the next start");
	tell_waiting(r, &problem);
	event_free(r->step);
	free(r);
}

void rekey_start(struct rekey *r)
{
	if (r->options.box->has_previous)
		start(r);
}

int rekey_begin(struct rekey *r, struct problem *problem)
{
	struct secretbox *box = r->options.box;

	if (r->state.under_way)
		return 0;
	if (box->current.is_credential)
		return problem_set(problem, PROBLEM_INVALID, NULL,
			"the master key is the credential hookd-master-key: hand in a new one, this one as hookd-master-key-previous, and restart hookd");
	if (store_is_backing_up(r->options.store))
		return problem_set(problem, PROBLEM_BUSY, NULL,
			"a backup is being made, with the key of now: try again");
	/* Its file could not be removed; it is not needed, or the change would be under way. */
	if (box->has_previous &&
		secretbox_drop_previous(box, r->options.data_directory, problem) < 0)
		return problem->code = PROBLEM_FULL;
	/* The loop waits for the disk here, a few times: nobody does this often. */
	if (secretbox_change_key(box, r->options.data_directory, problem) < 0)
		return problem->code = PROBLEM_FULL;
	store_key_changed(r->options.store);
	start(r);
	return 0;
}

void rekey_wait(struct rekey *r, struct rekey_wait *wait)
{
	wait->next = r->waiting;
	r->waiting = wait;
}

struct rekey_state rekey_state(const struct rekey *r)
{
	return r->state;
}
