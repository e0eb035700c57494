/*
 * The counter-proof to compromised.c: the same intruder in a sender that was not confined. What
 * gets through here and not there was stopped by the walls.
 */
#include "../../daemon/sender/confine.h"

int __wrap_confine(const struct confine_options *options, char *problem);

int __wrap_confine(const struct confine_options *options, char *problem)
{
	(void)options;
	(void)problem;
	return 0;
}
