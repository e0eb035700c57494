#include "lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lmdb_engine.h"

struct check {
	struct engine engine;
	struct txn t;
	void (*report)(void *user, const char *fault);
	void *user;
	struct check_result *result;
	struct tally *counted; /* by endpoint number */
	size_t n_numbers;
	size_t n_due, n_standing, n_dead, n_ended, n_key_expiries; /* rows that there should be */
};

__attribute__((format(printf, 2, 3))) static void fault(struct check *c, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	c->result->n_faults++;
	c->report(c->user, text);
}

static bool has_row(struct check *c, enum table table, const struct row_key *key)
{
	struct bytes value;

	return row_get(&c->t, table, key, &value);
}

static struct bytes walk_key(const struct walk *walk)
{
	return (struct bytes){walk->key.mv_data, walk->key.mv_size};
}

static struct bytes walk_value(const struct walk *walk)
{
	return (struct bytes){walk->value.mv_data, walk->value.mv_size};
}

static void check_index(struct check *c, enum table table, const struct row_key *key,
	const char *what, const char *id)
{
	if (!has_row(c, table, key))
		fault(c, "delivery %s: no row in the index of %s", id, what);
}

static void check_delivery(struct check *c, enum table table, const struct walk *walk)
{
	char id[EVENT_ID_TEXT_SIZE + 12];
	struct event_id event = key_event_at(walk->key.mv_data, 0);
	uint32_t endpoint = key_u32_at(walk->key.mv_data, sizeof(event.bytes));
	struct row_key key;
	struct delivery d;

	event_id_format(&event, id);
	snprintf(id + EVENT_ID_TEXT_LEN, sizeof(id) - EVENT_ID_TEXT_LEN, "/%u", endpoint);
	c->result->n_deliveries++;
	if (record_get_delivery(walk_key(walk), walk_value(walk), &d) < 0) {
		fault(c, "delivery %s (by endpoint number): record damaged", id);
		return;
	}
	if ((d.state == DELIVERY_DELIVERED) != (table == T_DONE))
		fault(c, "delivery %s: in the wrong table", id);
	key = key_of_event(&d.event);
	if (!has_row(c, T_EVENT, &key))
		fault(c, "delivery %s: its event is missing", id);
	key = key_of_number(endpoint);
	if (!has_row(c, T_ENDPOINT, &key))
		fault(c, "delivery %s: its endpoint is missing", id);
	if (d.state == DELIVERY_PENDING) {
		key = key_of_due(endpoint, d.due_ms, &d.event);
		check_index(c, T_DUE, &key, "what is due", id);
		c->n_due++;
	}
	if (d.state != DELIVERY_DELIVERED) {
		key = key_of_standing(endpoint, d.state, &d.event);
		check_index(c, T_STANDING, &key, "what stands with an endpoint", id);
		c->n_standing++;
	}
	if (d.state == DELIVERY_DEAD) {
		key = key_of_dead(d.since_ms, &d.event, endpoint);
		check_index(c, T_DEAD, &key, "the dead", id);
		c->n_dead++;
	}
	if (endpoint < c->n_numbers) {
		c->counted[endpoint].deliveries[d.state]++;
		if (d.state == DELIVERY_PENDING || d.state == DELIVERY_HELD)
			c->counted[endpoint].owed_bytes += d.payload_bytes + OWED_OVERHEAD;
	}
}

static void check_deliveries(struct check *c, enum table table)
{
	struct walk walk;

	walk_open(&walk, &c->t, table, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		if (walk.key.mv_size == 20)
			check_delivery(c, table, &walk);
		else
			fault(c, "a delivery's key has %zu bytes", walk.key.mv_size);
	}
	walk_close(&walk);
}

static void check_event(struct check *c, const struct event_id *id)
{
	char text[EVENT_ID_TEXT_SIZE];
	struct stored_event *stored = NULL;
	struct event_standing standing;
	int r = get_stored_event(&c->t, id, true, &stored);

	event_id_format(id, text);
	free(stored);
	c->result->n_events++;
	if (r < 0)
		fault(c, "event %s: damaged, or a piece of its payload is missing", text);
	get_standing(&c->t, id, &standing);
	if (!standing_is_open(&standing)) {
		struct row_key key = key_of_ended(id, &standing);

		if (!has_row(c, T_ENDED, &key))
			fault(c, "event %s: ended, but has no row in the index of ended events",
				text);
		c->n_ended++;
	}
}

static void check_events(struct check *c)
{
	struct walk walk;

	walk_open(&walk, &c->t, T_EVENT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct event_id id;

		if (walk.key.mv_size != sizeof(id.bytes)) {
			fault(c, "an event's key has %zu bytes", walk.key.mv_size);
			continue;
		}
		id = key_event_at(walk.key.mv_data, 0);
		check_event(c, &id);
	}
	walk_close(&walk);
}

/* Rows that begin with an event id belong to an event that is there. */
static void check_belongs(struct check *c, enum table table, const char *what)
{
	struct walk walk;

	walk_open(&walk, &c->t, table, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct event_id id = key_event_at(walk.key.mv_data, 0);
		struct row_key key = key_of_event(&id);
		char text[EVENT_ID_TEXT_SIZE];

		if (has_row(c, T_EVENT, &key))
			continue;
		event_id_format(&id, text);
		fault(c, "%s of event %s: there is no such event", what, text);
	}
	walk_close(&walk);
}

static void check_attempts(struct check *c)
{
	struct walk walk;

	walk_open(&walk, &c->t, T_ATTEMPT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct attempt_story story;
		char text[EVENT_ID_TEXT_SIZE];
		struct event_id id = key_event_at(walk.key.mv_data, 0);

		if (record_get_attempt(walk_key(&walk), walk_value(&walk), &story) == 0)
			continue;
		event_id_format(&id, text);
		fault(c, "an attempt for event %s: record damaged", text);
	}
	walk_close(&walk);
}

static size_t count_rows(struct check *c, enum table table)
{
	struct walk walk;
	size_t n = 0;

	walk_open(&walk, &c->t, table, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk))
		n++;
	walk_close(&walk);
	return n;
}

static void check_count(struct check *c, enum table table, size_t expected, const char *what)
{
	size_t n = count_rows(c, table);

	if (n != expected)
		fault(c, "the index of %s has %zu rows instead of %zu", what, n, expected);
}

static void check_endpoints(struct check *c)
{
	struct walk walk;

	walk_open(&walk, &c->t, T_ENDPOINT, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		uint32_t number = key_u32_at(walk.key.mv_data, 0);
		struct tally tally = {0},
			     *counted = &c->counted[number < c->n_numbers ? number : 0];
		struct bytes blob;

		c->result->n_endpoints++;
		if (record_get_blob(walk_key(&walk), walk_value(&walk), &blob) < 0)
			fault(c, "endpoint number %u: record damaged", number);
		if (number >= c->n_numbers)
			fault(c, "endpoint number %u: was never given", number);
		if (get_tally(&c->t, number, &tally) == -EBADMSG)
			fault(c, "endpoint number %u: its counts are damaged", number);
		else if (memcmp(tally.deliveries, counted->deliveries, sizeof(tally.deliveries)) !=
				0 ||
			tally.owed_bytes != counted->owed_bytes)
			fault(c, "endpoint number %u: its counts are wrong", number);
	}
	walk_close(&walk);
}

static void check_keys(struct check *c)
{
	struct walk walk;

	walk_open(&walk, &c->t, T_KEY, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct key_record entry;

		if (record_get_key(walk_key(&walk), walk_value(&walk), &entry) < 0)
			fault(c, "an idempotency key's record is damaged");
	}
	walk_close(&walk);
	walk_open(&walk, &c->t, T_KEY_EXPIRY, "", 0);
	for (walk_seek(&walk, NULL); walk.valid; walk_next(&walk)) {
		struct row_key key = {.len = walk.key.mv_size - 8};

		memcpy(key.at, (const uint8_t *)walk.key.mv_data + 8, key.len);
		if (!has_row(c, T_KEY, &key))
			fault(c, "an idempotency key expires that is not there");
	}
	walk_close(&walk);
}

static void check_all(struct check *c)
{
	check_events(c);
	check_belongs(c, T_PIECE, "a piece of the payload");
	check_belongs(c, T_ATTEMPT, "an attempt");
	check_deliveries(c, T_LIVE);
	check_deliveries(c, T_DONE);
	check_attempts(c);
	check_count(c, T_DUE, c->n_due, "what is due");
	check_count(c, T_STANDING, c->n_standing, "what stands with an endpoint");
	check_count(c, T_DEAD, c->n_dead, "the dead");
	check_count(c, T_ENDED, c->n_ended, "ended events");
	check_endpoints(c);
	check_keys(c);
}

/* Keeps hookd away. Who checks is often root: the file has to be its owner's, not the checker's. */
static int lock_directory(const char *directory, struct problem *problem)
{
	char path[4096];
	struct stat owner;
	int fd;

	snprintf(path, sizeof(path), "%s/" DATA_FILE, directory);
	if (stat(path, &owner) < 0) {
		problem_set(problem, PROBLEM_INVALID, NULL, "cannot open %s: %s", path,
			strerror(errno));
		return -1;
	}
	snprintf(path, sizeof(path), "%s/lock", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && fchown(fd, owner.st_uid, owner.st_gid) == 0 &&
		flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	problem_set(problem, PROBLEM_INVALID, NULL, "cannot lock %s: %s%s", path, strerror(errno),
		errno == EWOULDBLOCK ? " (stop hookd first)" : "");
	if (fd >= 0)
		close(fd);
	return -1;
}

int lmdb_check(const char *directory, void (*report)(void *user, const char *fault), void *user,
	struct check_result *result, struct problem *problem)
{
	struct check c = {.report = report, .user = user, .result = result};
	struct store_limits limits = {0};
	char path[4096];
	int lock, r;

	*result = (struct check_result){0};
	lock = lock_directory(directory, problem);
	if (lock < 0)
		return -EIO;
	snprintf(path, sizeof(path), "%s/" DATA_FILE, directory);
	r = lmdb_open_file(&c.engine, path, false, &limits, problem);
	if (r == 0) {
		memcpy(result->key_id, c.engine.meta.key_id, sizeof(result->key_id));
		c.n_numbers = c.engine.meta.next_endpoint;
		c.counted = calloc(c.n_numbers + 1, sizeof(*c.counted));
		if (!c.counted || lmdb_begin(&c.engine, &c.t, false) != ENGINE_OK) {
			problem_set(problem, PROBLEM_INVALID, NULL, "cannot read %s", path);
			r = -EIO;
		} else {
			check_all(&c);
			if (c.t.error) {
				problem_set(problem, PROBLEM_INVALID, NULL,
					"cannot read %s to its end: %s", path,
					lmdb_explain(c.t.error));
				r = -EIO;
			}
			lmdb_abort(&c.t);
		}
	}
	free(c.counted);
	if (c.engine.env)
		mdb_env_close(c.engine.env);
	close(lock);
	return r;
}
