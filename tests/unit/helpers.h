/*
 * What several of the unit tests need: randomness that can be repeated, a directory of their own,
 * addresses, endpoints.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../daemon/delivery.h"
#include "../../daemon/endpoint.h"

/* The same numbers in each run of a test program. */
uint32_t random_below(uint32_t n);
void random_bytes(void *bytes, size_t len);

/* A setup and a teardown for cmocka: *state is the path of a fresh directory. */
int make_directory(void **state);
int remove_directory(void **state);

void write_file(const char *path, const void *bytes, size_t len);

/* "10.0.0.1" or "2001:db8::1", port 443. */
struct peer peer_at(const char *address);

/* The least that an endpoint can be: a URL, all types, no secret. */
struct endpoint plain_endpoint(uint32_t number, const char *tenant, const char *name);
