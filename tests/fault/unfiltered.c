/* The intruder of compromised.c in a sender that has all walls but seccomp's: what the others hold.
 */
#include <seccomp.h>

int __wrap_seccomp_load(const scmp_filter_ctx filter);

int __wrap_seccomp_load(const scmp_filter_ctx filter)
{
	(void)filter;
	return 0;
}
