#include "watch.h"

#include "../../daemon/senders.h"
#include "../../daemon/store/store.h"
#include "oracle.h"

static bool watching;
static struct senders *current;

void watch(bool on)
{
	watching = on;
}

const struct senders *watch_senders(void)
{
	return current;
}

int __real_senders_new(struct senders **senders, const struct senders_options *options);
int __wrap_senders_new(struct senders **senders, const struct senders_options *options);
int __wrap_senders_new(struct senders **senders, const struct senders_options *options)
{
	int r = __real_senders_new(senders, options);

	current = *senders;
	return r;
}

int __real_senders_send(struct senders *senders, struct sending_job *job, uint32_t endpoint,
	struct sender_request *request, bool suspect);
int __wrap_senders_send(struct senders *senders, struct sending_job *job, uint32_t endpoint,
	struct sender_request *request, bool suspect);
int __wrap_senders_send(struct senders *senders, struct sending_job *job, uint32_t endpoint,
	struct sender_request *request, bool suspect)
{
	int r = __real_senders_send(senders, job, endpoint, request, suspect);

	if (r == 0)
		oracle_sent(senders, endpoint, request, suspect);
	else
		oracle_not_sent(endpoint, request);
	return r;
}

void __real_store_outcome(struct store *store, struct outcome_op *op);
void __wrap_store_outcome(struct store *store, struct outcome_op *op);
void __wrap_store_outcome(struct store *store, struct outcome_op *op)
{
	if (watching)
		oracle_outcome(&op->outcome);
	__real_store_outcome(store, op);
}

void __real_store_unclaim(struct store *store, struct claimed *claimed);
void __wrap_store_unclaim(struct store *store, struct claimed *claimed);
void __wrap_store_unclaim(struct store *store, struct claimed *claimed)
{
	if (watching)
		oracle_given_back(&claimed->delivery);
	__real_store_unclaim(store, claimed);
}
