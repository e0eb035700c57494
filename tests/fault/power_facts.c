#include "power_facts.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The ledger ---- */

static const uint8_t *map_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *bytes = NULL;

	if (fd < 0 || fstat(fd, &status) < 0)
		err(2, "%s", path);
	*len = (size_t)status.st_size;
	if (*len) {
		bytes = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes == MAP_FAILED)
			err(2, "%s", path);
	}
	close(fd);
	return bytes;
}

static void read_digest(const char *text, uint8_t digest[static EVENT_DIGEST_LEN])
{
	for (size_t i = 0; i < EVENT_DIGEST_LEN; i++) {
		if (sscanf(text + 2 * i, "%2hhx", &digest[i]) != 1)
			errx(2, "the ledger has a bad digest: %s", text);
	}
}

static void read_targets(struct known_event *e, char *names)
{
	char *rest = NULL;

	for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		if (e->n_owed == FACTS_TARGETS_MAX)
			errx(2, "%s is owed to too many", e->text);
		snprintf(e->owed[e->n_owed].endpoint, sizeof(e->owed[0].endpoint), "%s", name);
		e->owed[e->n_owed++].allowed = STATE_BIT(DELIVERY_PENDING);
	}
}

/* id, key, digest, type, content type, targets, offset and length of the payload; - for nothing */
static void read_event(
	struct known_event *e, char *line, const uint8_t *payloads, size_t payloads_len)
{
	char digest[2 * EVENT_DIGEST_LEN + 1], targets[512];
	size_t offset;

	if (sscanf(line, "%30s %63s %64s %31s %63s %511s %zu %zu", e->text, e->key, digest, e->type,
		    e->content_type, targets, &offset, &e->payload_len) != 8 ||
		event_id_parse(e->text, EVENT_ID_TEXT_LEN, &e->id) < 0 ||
		offset + e->payload_len > payloads_len)
		errx(2, "the ledger has a bad line: %s", line);
	e->payload = payloads + offset;
	if (strcmp(e->key, "-") == 0)
		e->key[0] = '\0';
	else
		read_digest(digest, e->digest);
	if (strcmp(targets, "-") != 0)
		read_targets(e, targets);
}

static int compare_events(const void *a, const void *b)
{
	return event_id_compare(
		&((const struct known_event *)a)->id, &((const struct known_event *)b)->id);
}

struct facts *facts_read(const char *ledger)
{
	struct facts *facts = calloc(1, sizeof(*facts));
	char path[4096], line[2048];
	const uint8_t *payloads;
	size_t payloads_len, capacity = 0;
	FILE *file = fopen(ledger, "re");

	snprintf(path, sizeof(path), "%s.payloads", ledger);
	payloads = map_file(path, &payloads_len);
	if (!facts || !file)
		err(2, "%s", ledger);
	while (fgets(line, sizeof(line), file)) {
		if (facts->n_events == capacity) {
			capacity = 2 * capacity + 64;
			facts->events =
				reallocarray(facts->events, capacity, sizeof(*facts->events));
			if (!facts->events)
				err(2, "memory");
		}
		facts->events[facts->n_events] = (struct known_event){0};
		read_event(&facts->events[facts->n_events++], line, payloads, payloads_len);
	}
	fclose(file);
	if (facts->n_events)
		qsort(facts->events, facts->n_events, sizeof(*facts->events), compare_events);
	facts->in_next_backup = calloc(facts->n_events + 1, sizeof(bool));
	if (!facts->in_next_backup)
		err(2, "memory");
	return facts;
}

/* ---- Answers ---- */

static struct known_event *find_event(struct facts *facts, const char *text)
{
	struct known_event wanted;

	if (event_id_parse(text, EVENT_ID_TEXT_LEN, &wanted.id) < 0 || !facts->n_events)
		return NULL;
	return bsearch(&wanted, facts->events, facts->n_events, sizeof(wanted), compare_events);
}

void facts_answer(struct facts *facts, const uint8_t *bytes, size_t len)
{
	const uint8_t *end = bytes + len;

	while ((bytes = memmem(bytes, (size_t)(end - bytes), "evt_", 4))) {
		struct known_event *event = NULL;

		if ((size_t)(end - bytes) >= EVENT_ID_TEXT_LEN)
			event = find_event(facts, (const char *)bytes);
		if (event && !event->promised) {
			event->promised = true;
			facts->n_promised++;
		}
		bytes += 4;
	}
}

/* ---- Marks ---- */

static unsigned parse_states(char *text)
{
	unsigned states = 0;
	char *rest = NULL;

	for (char *word = strtok_r(text, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
		int state = strcmp(word, "gone") == 0 ? 0 : -1;

		for (int s = DELIVERY_PENDING; s < N_DELIVERY_STATES; s++) {
			if (strcmp(word, delivery_state_name((enum delivery_state)s)) == 0)
				state = s;
		}
		if (state < 0)
			errx(2, "the log speaks of a state %s", word);
		states |= STATE_BIT(state);
	}
	return states;
}

static void mark_delivery(
	struct facts *facts, bool is_must, const char *id, const char *endpoint, char *states)
{
	struct known_event *event = find_event(facts, id);
	unsigned allowed = parse_states(states);

	if (!event)
		return; /* submitted, and never answered: nothing was promised */
	for (size_t i = 0; i < event->n_owed; i++) {
		struct owed *owed = &event->owed[i];

		if (strcmp(owed->endpoint, endpoint) == 0) {
			owed->allowed = is_must ? allowed : owed->allowed | allowed;
			return;
		}
	}
	errx(2, "%s is not owed to %s", id, endpoint);
}

static void mark_endpoint(struct facts *facts, const char *name, unsigned revision)
{
	size_t i = 0;

	while (i < facts->n_endpoints && strcmp(facts->endpoints[i].name, name) != 0)
		i++;
	if (i == sizeof(facts->endpoints) / sizeof(facts->endpoints[0]))
		errx(2, "too many endpoints");
	if (i == facts->n_endpoints)
		snprintf(facts->endpoints[facts->n_endpoints++].name,
			sizeof(facts->endpoints[0].name), "%s", name);
	facts->endpoints[i].revision = revision;
}

static void mark_backup(struct facts *facts, const char *path)
{
	snprintf(facts->backup, sizeof(facts->backup), "%s", path);
	for (size_t i = 0; i < facts->n_events; i++)
		facts->events[i].in_backup = facts->in_next_backup[i];
}

void facts_mark(struct facts *facts, const uint8_t *bytes, size_t len)
{
	char line[512] = "", verb[16] = "", a[256] = "", b[65] = "", c[64] = "";

	snprintf(line, sizeof(line), "%.*s", (int)len, (const char *)bytes);
	sscanf(line, "%15s %255s %64s %63s", verb, a, b, c);
	if (strcmp(verb, "may") == 0 || strcmp(verb, "must") == 0) {
		mark_delivery(facts, verb[1] == 'u', a, b, c);
	} else if (strcmp(verb, "retention") == 0) {
		facts->retention = true;
	} else if (strcmp(verb, "endpoint") == 0) {
		mark_endpoint(facts, a, (unsigned)strtoul(b, NULL, 10));
	} else if (strcmp(verb, "backup-begin") == 0) {
		for (size_t i = 0; i < facts->n_events; i++)
			facts->in_next_backup[i] = facts->events[i].promised;
	} else if (strcmp(verb, "backup") == 0) {
		mark_backup(facts, a);
	} else if (strcmp(verb, "sending") == 0) {
		facts->sending = strcmp(a, "active") == 0 ? SENDING_ACTIVE
			: strcmp(a, "paused") == 0        ? SENDING_PAUSED
							  : SENDING_ANY;
	} else if (strcmp(verb, "damaged") == 0 || strcmp(verb, "mended") == 0) {
		facts->damaged = verb[0] == 'd';
	} else if (strcmp(verb, "keys") == 0) {
		facts->one_key = a[0] == '1';
	} else {
		errx(2, "the log has a mark \"%s\"", line);
	}
}

bool facts_may_be_gone(const struct facts *facts, const struct known_event *event)
{
	bool all_ended = true, all_gone = event->n_owed > 0;

	for (size_t i = 0; i < event->n_owed; i++) {
		unsigned allowed = event->owed[i].allowed;

		all_ended = all_ended &&
			(allowed &
				(STATE_BIT(DELIVERY_DELIVERED) | STATE_BIT(DELIVERY_DEAD) |
					STATE_GONE));
		all_gone = all_gone && (allowed & STATE_GONE);
	}
	return all_gone || (facts->retention && all_ended);
}
