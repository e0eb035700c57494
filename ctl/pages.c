#include "pages.h"

#include "buffer.h"
#include "client.h"
#include "fields.h"
#include "say.h"

static void make_target(const struct pages *p, size_t limit, struct buffer *target)
{
	char number[24];

	buffer_append_text(target, p->target);
	if (p->has_limit) {
		snprintf(number, sizeof(number), "%zu", limit < PAGE_MAX ? limit : PAGE_MAX);
		buffer_append_query(target, "limit", number);
	}
	if (p->page)
		buffer_append_query(target, "cursor", field_text(p->page, "next"));
}

int pages_next(struct pages *p, size_t limit, json_t **items)
{
	struct buffer target = {0};
	json_t *page = NULL;
	int r;

	*items = NULL;
	if (p->ended)
		return 0;
	make_target(p, limit, &target);
	r = get_json(p->ctl, target.at, &page);
	buffer_free(&target);
	if (r)
		return r;
	json_decref(p->page);
	p->page = page;
	p->ended = !field_text(page, "next")[0];
	*items = field(page, "items");
	return json_is_array(*items) ? 0 : fail("hookd's answer was not understood");
}

void pages_clear(struct pages *p)
{
	json_decref(p->page);
	p->page = NULL;
}
