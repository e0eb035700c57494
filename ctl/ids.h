/* Ids as people give them: an event, or a delivery EVENT/ENDPOINT. */
#pragma once

#include <stdbool.h>

#define EVENT_PART_SIZE 31

/* endpoint: in text, NULL for an event. False: it is no id. */
bool split_id(const char *text, char event[static EVENT_PART_SIZE], const char **endpoint);
