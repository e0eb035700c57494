/*
 * /etc/hosts, as it was when the sender started: a confined process cannot look there again.
 * Also what localhost is, whatever that file says (RFC 6761, section 6.3).
 */
#pragma once

#include <stddef.h>

#include "../delivery.h"

struct hosts;

/* A file that cannot be read has no names in it. NULL without memory. */
struct hosts *hosts_read(const char *path);
void hosts_free(struct hosts *hosts); /* NULL is fine */

/* Puts up to max addresses of a name there, in the order of the file, with port 0. Returns how
 * many; 0: the file does not know it. */
size_t hosts_find(const struct hosts *hosts, const char *name, struct peer *addresses, size_t max);
