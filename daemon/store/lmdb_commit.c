#include "lmdb_commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Endpoints met ---- */

static uint32_t *find_slot(struct commit *c, uint32_t endpoint)
{
	size_t i = endpoint * 2654435761u & (c->n_slots - 1);

	while (c->slots[i] && c->met[c->slots[i] - 1].endpoint != endpoint)
		i = (i + 1) & (c->n_slots - 1);
	return &c->slots[i];
}

static bool grow_met(struct commit *c)
{
	size_t size = c->met_size ? 2 * c->met_size : 64;
	struct met *met = realloc(c->met, size * sizeof(*met));
	uint32_t *slots;

	if (!met)
		return false;
	c->met = met;
	slots = calloc(2 * size, sizeof(*slots));
	if (!slots)
		return false;
	free(c->slots);
	c->slots = slots;
	c->n_slots = 2 * size;
	c->met_size = size;
	for (size_t i = 0; i < c->n_met; i++)
		*find_slot(c, met[i].endpoint) = (uint32_t)i + 1;
	return true;
}

static void read_endpoint_flags(struct commit *c, struct met *met)
{
	struct row_key key = key_of_number(met->endpoint);
	struct bytes value, blob;

	if (!row_get(&c->t, T_ENDPOINT, &key, &value))
		return;
	if (record_get_blob((struct bytes){key.at, key.len}, value, &blob) < 0 || blob.len < 1) {
		c->t.error = -EBADMSG;
		return;
	}
	met->exists = true;
	met->removed = *(const uint8_t *)blob.at & 1;
}

struct met *commit_meet(struct commit *c, uint32_t endpoint)
{
	struct met *met;
	uint32_t *slot;
	int r;

	if (c->n_slots) {
		slot = find_slot(c, endpoint);
		if (*slot)
			return &c->met[*slot - 1];
	}
	if (c->n_met == c->met_size && !grow_met(c)) {
		if (!c->t.error)
			c->t.error = ENOMEM;
		return &c->nobody;
	}
	met = &c->met[c->n_met];
	*met = (struct met){.endpoint = endpoint};
	*find_slot(c, endpoint) = (uint32_t)++c->n_met;
	met->touched.endpoint = endpoint;
	met->touched.earliest_due_ms = INT64_MAX;
	read_endpoint_flags(c, met);
	r = get_tally(&c->t, endpoint, &met->touched.tally);
	if (r == -EBADMSG && !c->t.error)
		c->t.error = r;
	return met;
}

/* ---- Endpoints, sending, the master key ---- */

static void apply_endpoint(struct commit *c, struct endpoint_op *op)
{
	struct row_key key = key_of_number(op->number);
	struct met *met = commit_meet(c, op->number);
	size_t size = op->blob_len + 64, len;
	uint8_t *record = malloc(2 * size), *blob;

	op->op.result = ENGINE_OK;
	if (!record) {
		c->t.error = ENOMEM;
		return;
	}
	blob = record + size;
	blob[0] = op->removed;
	memcpy(blob + 1, op->blob, op->blob_len);
	len = record_put_blob((struct bytes){key.at, key.len},
		(struct bytes){blob, op->blob_len + 1}, record, size);
	row_put(&c->t, T_ENDPOINT, &key, record, len);
	free(record);
	met->exists = true;
	met->removed = op->removed;
	met->changed = true;
	if (op->number >= c->engine->meta.next_endpoint) {
		c->engine->meta.next_endpoint = op->number + 1;
		c->meta_changed = true;
	}
}

static void apply_sending(struct commit *c, struct sending_op *op)
{
	op->op.result = ENGINE_OK;
	c->engine->meta.sending = op->sending;
	c->meta_changed = true;
}

static void apply_key(struct commit *c, struct key_op *op)
{
	op->op.result = ENGINE_OK;
	memcpy(c->engine->meta.key_id, op->key_id, sizeof(op->key_id));
	c->meta_changed = true;
}

/* ---- The batch ---- */

static void measure(
	const struct batch *batch, struct space_need *submits, struct space_need *others)
{
	for (const struct op *op = batch->ops; op; op = op->next) {
		switch (op->kind) {
		case OP_OUTCOME:
			others->rows += 10;
			break;
		case OP_ENDPOINT:
			others->rows += 3;
			others->payload_pages +=
				((const struct endpoint_op *)op)->blob_len / PAGE_BYTES + 1;
			break;
		case OP_SENDING:
		case OP_KEY:
			others->rows += 1;
			break;
		case OP_SUBMIT: {
			const struct submit_op *submit = (const struct submit_op *)op;

			submits->rows += 4 * submit->n + 3 * submit->n_deliveries;
			submits->payload_pages += submit->bytes / PIECE_PAYLOAD + submit->n;
			break;
		}
		case OP_VERB:
			others->rows += 10 * commit_verb_slice((const struct verb_op *)op);
			break;
		}
	}
	others->rows += 20 *
			(size_t)(batch->housekeeping.max_events +
				batch->housekeeping.oldest_delivered) +
		8;
}

static void apply(struct commit *c, struct op *op)
{
	switch (op->kind) {
	case OP_OUTCOME:
		commit_outcome(c, (struct outcome_op *)op);
		break;
	case OP_ENDPOINT:
		apply_endpoint(c, (struct endpoint_op *)op);
		break;
	case OP_SENDING:
		apply_sending(c, (struct sending_op *)op);
		break;
	case OP_KEY:
		apply_key(c, (struct key_op *)op);
		break;
	case OP_SUBMIT:
		commit_submit(c, (struct submit_op *)op);
		break;
	case OP_VERB:
		commit_verb(c, (struct verb_op *)op);
		break;
	}
}

static bool is_forgotten(const struct met *met)
{
	const uint64_t *n = met->touched.tally.deliveries;

	return met->exists && met->removed && !n[DELIVERY_PENDING] && !n[DELIVERY_HELD] &&
		!n[DELIVERY_DELIVERED] && !n[DELIVERY_DEAD];
}

static void write_tally(struct commit *c, struct met *met)
{
	struct row_key key = key_of_number(met->endpoint);
	uint8_t record[RECORD_MAX];

	met->touched.forgotten = is_forgotten(met);
	if (met->touched.forgotten) {
		row_delete(&c->t, T_TALLY, &key);
		row_delete(&c->t, T_ENDPOINT, &key);
	} else {
		size_t len = record_put_tally(
			(struct bytes){key.at, key.len}, &met->touched.tally, record);

		row_put(&c->t, T_TALLY, &key, record, len);
	}
}

/* Writes what was counted and tells which endpoints were touched. */
static void conclude(struct commit *c)
{
	struct batch *batch = c->batch;

	batch->touched = calloc(c->n_met ? c->n_met : 1, sizeof(*batch->touched));
	if (!batch->touched) {
		c->t.error = ENOMEM;
		return;
	}
	for (size_t i = 0; i < c->n_met; i++) {
		struct met *met = &c->met[i];

		if (!met->changed)
			continue;
		write_tally(c, met);
		if (met->touched.tally.deliveries[DELIVERY_PENDING])
			met->touched.oldest_pending_ms = get_oldest_pending(&c->t, met->endpoint);
		batch->touched[batch->n_touched++] = met->touched;
	}
	if (c->meta_changed || c->t.writes) {
		c->engine->meta.queue_ms = batch->now_ms;
		lmdb_put_meta(c->engine, &c->t);
	}
}

enum engine_result commit_begin(struct commit *c, struct engine *engine, struct batch *batch)
{
	*c = (struct commit){.engine = engine, .batch = batch};
	batch->touched = NULL;
	batch->n_touched = 0;
	return lmdb_begin(engine, &c->t, true);
}

enum engine_result commit_end(struct commit *c)
{
	int r;

	conclude(c);
	free(c->met);
	free(c->slots);
	if (c->t.error) {
		lmdb_abort(&c->t);
		return lmdb_break(c->engine, "cannot write", c->t.error);
	}
	if (c->t.writes == 0) {
		lmdb_abort(&c->t);
		return ENGINE_OK;
	}
	r = mdb_txn_commit(c->t.mdb);
	return r ? lmdb_break(c->engine, "cannot commit", r) : ENGINE_OK;
}

enum engine_result lmdb_commit_batch(struct engine *engine, struct batch *batch)
{
	struct space_need submits = {0}, others = {0};
	struct commit c;

	if (commit_begin(&c, engine, batch) != ENGINE_OK)
		return ENGINE_BROKEN;
	measure(batch, &submits, &others);
	c.pages_left = space_prepare(
		engine, &c.t, &batch->limits, &submits, &others, c.refusal, sizeof(c.refusal));
	/* What the last transaction gave back can be taken again after this one, if nobody reads an
	 * older state: see that it is one. */
	if (c.pages_left == 0 && submits.rows && !space_is_read(engine))
		c.meta_changed = true;
	for (struct op *op = batch->ops; op && !c.t.error; op = op->next)
		apply(&c, op);
	commit_house(&c);
	return commit_end(&c);
}
