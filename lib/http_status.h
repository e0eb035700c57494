/*
 * The names of HTTP status codes (IANA registry), for people: "503 Service Unavailable".
 *
 * Pure.
 */
#pragma once

/* "" for codes that have no name. */
const char *http_status_name(int status);
