/*
 * A sender without the check of what a name resolves to, and, unless WALL_AT_SOCKET, without those
 * of the socket and of a kept connection as well. Linked in front of the real functions (ld
 * --wrap).
 */
#include "../../daemon/sender/transfer.h"

#include "../../daemon/guard.h"

const char *__real_guard_refuses(const struct guard_rules *rules, const struct peer *peer);
const char *__wrap_guard_refuses(const struct guard_rules *rules, const struct peer *peer);
int __real_transfer_start(struct transfers *transfers, struct transfer *transfer);
int __wrap_transfer_start(struct transfers *transfers, struct transfer *transfer);

static const char *(*real_refuses)(struct transfer *transfer, const struct peer *peer);
static bool is_transfer_asking;

const char *__wrap_guard_refuses(const struct guard_rules *rules, const struct peer *peer)
{
	return WALL_AT_SOCKET && is_transfer_asking ? __real_guard_refuses(rules, peer) : NULL;
}

static const char *refuses(struct transfer *transfer, const struct peer *peer)
{
	const char *refusal;

	is_transfer_asking = true;
	refusal = real_refuses(transfer, peer);
	is_transfer_asking = false;
	return refusal;
}

int __wrap_transfer_start(struct transfers *transfers, struct transfer *transfer)
{
	if (transfer->refuses != refuses)
		real_refuses = transfer->refuses;
	transfer->refuses = refuses;
	return __real_transfer_start(transfers, transfer);
}
