#include "local_faults.h"

#include <stdbool.h>
#include <string.h>

#include "log.h"

#define KEPT_MS 120000 /* an attempt that meets a fault comes again within a minute */

static bool is_on(const struct local_faults *faults, enum local_fault fault, int64_t now_ms)
{
	return faults->met_ms[fault] && now_ms - faults->met_ms[fault] < KEPT_MS;
}

void local_faults_met(struct local_faults *faults, enum local_fault fault, int64_t now_ms)
{
	if (!is_on(faults, fault, now_ms))
		log_line(LOG_LEVEL_WARNING, LOG_TROUBLE, NULL,
			"attempts cannot be made: %s; they wait, at no cost",
			local_fault_text(fault));
	faults->met_ms[fault] = now_ms;
}

void local_faults_over(struct local_faults *faults, int64_t now_ms)
{
	if (local_faults_current(faults, now_ms) == NO_LOCAL_FAULT)
		return;
	memset(faults->met_ms, 0, sizeof(faults->met_ms));
	log_line(LOG_LEVEL_NOTICE, LOG_TROUBLE, NULL, "attempts can be made again");
}

enum local_fault local_faults_current(const struct local_faults *faults, int64_t now_ms)
{
	for (int fault = NO_LOCAL_FAULT + 1; fault < N_LOCAL_FAULTS; fault++) {
		if (is_on(faults, fault, now_ms))
			return fault;
	}
	return NO_LOCAL_FAULT;
}
