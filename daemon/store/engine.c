#include "engine.h"

#include <stdlib.h>

void batch_clear(struct batch *batch)
{
	free(batch->touched);
	batch->touched = NULL;
	batch->n_touched = 0;
}

void claimed_free(struct claimed *claimed)
{
	if (claimed)
		free(claimed->event);
	free(claimed);
}

uint32_t claimed_payload_len(const struct claimed *claimed)
{
	return claimed->event ? claimed->event->event.payload_len : 0;
}

void delivery_page_clear(struct delivery_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		free(page->rows[i].story);
	free(page->rows);
	*page = (struct delivery_page){0};
}

void event_page_clear(struct event_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		free(page->rows[i].event);
	free(page->rows);
	*page = (struct event_page){0};
}
