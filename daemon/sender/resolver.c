#include "resolver.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <ares.h>
#include <event2/event.h>

#include "../clock.h"

#define TRY_MS 2000
#define TRIES 3
#define TTL_MIN_S 5
#define TTL_MAX_S 300
#define NEGATIVE_TTL_S 5
#define NAMES_MAX 4096
#define SOCKETS_MAX 64
/* A resolver that answered something so recently is alive; who does not answer then is somebody
 * else. */
#define ALIVE_US (30 * (int64_t)1000000)

/* A name that is known, or being asked for. */
struct name {
	struct resolver *resolver;
	bool asking;
	int64_t expires_us;
	struct resolver_answer answer;
	struct resolver_query *waiting;
	char host[256];
};

struct watch {
	struct resolver *resolver;
	ares_socket_t fd;
	struct event *event;
};

struct resolver {
	struct event_base *base;
	ares_channel channel;
	struct event *timer;
	struct watch watches[SOCKETS_MAX];
	void *names; /* tsearch tree of struct name */
	size_t n_names;
	int64_t alive_us; /* when a DNS server last answered */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->host, ((const struct name *)b)->host);
}

/* ---- c-ares on the loop ---- */

static void arm_timer(struct resolver *r)
{
	struct timeval longest = {60, 0}, room, *next = ares_timeout(r->channel, &longest, &room);

	/* Without questions c-ares has no timeout of its own. */
	if (next == &longest)
		event_del(r->timer);
	else
		event_add(r->timer, next);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct resolver *r = user;

	(void)fd;
	(void)what;
	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(r);
}

static void on_socket(evutil_socket_t fd, short what, void *user)
{
	struct watch *watch = user;
	struct resolver *r = watch->resolver;

	ares_process_fd(r->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
		what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	arm_timer(r);
}

static struct watch *find_watch(struct resolver *r, ares_socket_t fd)
{
	struct watch *unused = NULL;

	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (r->watches[i].event && r->watches[i].fd == fd)
			return &r->watches[i];
		if (!r->watches[i].event && !unused)
			unused = &r->watches[i];
	}
	return unused;
}

/* What c-ares wants to know of a socket changed; neither reading nor writing: it is about to be
 * closed. */
static void on_socket_state(void *user, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = user;
	struct watch *watch = find_watch(r, fd);
	short wanted = (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));

	if (!watch)
		return; /* its questions run into their timeout */
	if (watch->event)
		event_free(watch->event);
	watch->event = NULL;
	if (!readable && !writable)
		return;
	*watch = (struct watch){r, fd, event_new(r->base, fd, wanted, on_socket, watch)};
	if (watch->event && event_add(watch->event, NULL) < 0) {
		event_free(watch->event);
		watch->event = NULL;
	}
}

/* ---- Answers ---- */

/* The name counts as being asked for until all have heard, so that it cannot be evicted under them.
 */
static void tell_all(struct name *name)
{
	while (name->waiting) {
		struct resolver_query *query = name->waiting;

		resolver_cancel(query);
		query->done(query, &name->answer);
	}
	name->asking = false;
}

static void take_addresses(
	struct resolver_answer *answer, const struct ares_addrinfo *info, int *ttl_s)
{
	*ttl_s = TTL_MAX_S;
	answer->n = 0;
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		struct peer *peer = &answer->addresses[answer->n];

		if (answer->n == RESOLVER_ADDRESSES_MAX)
			break;
		memset(peer, 0, sizeof(*peer));
		if (node->ai_family == AF_INET) {
			peer->family = 4;
			memcpy(peer->bytes,
				&((struct sockaddr_in *)(void *)node->ai_addr)->sin_addr, 4);
		} else if (node->ai_family == AF_INET6) {
			peer->family = 6;
			memcpy(peer->bytes,
				&((struct sockaddr_in6 *)(void *)node->ai_addr)->sin6_addr, 16);
		} else {
			continue;
		}
		answer->n++;
		if (node->ai_ttl < *ttl_s)
			*ttl_s = node->ai_ttl;
	}
	if (*ttl_s < TTL_MIN_S)
		*ttl_s = TTL_MIN_S;
}

/* Silence is the name's fault only if the resolver has lately answered about other names. */
static enum resolver_result judge(const struct resolver *r, int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return RESOLVED;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_EBADNAME:
		return NAME_UNKNOWN;
	case ARES_ETIMEOUT:
		return clock_monotonic_us() - r->alive_us < ALIVE_US ? NAME_FAILED : RESOLVER_DOWN;
	case ARES_ECONNREFUSED:
	case ARES_EREFUSED: /* us, not the name */
	case ARES_ENOMEM:
	case ARES_EFILE:
		return RESOLVER_DOWN;
	default:
		return NAME_FAILED;
	}
}

static void on_addresses(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
	struct name *name = user;
	struct resolver *r = name->resolver;
	int ttl_s = NEGATIVE_TTL_S;

	(void)timeouts;
	name->answer.result = judge(r, status);
	name->answer.text = ares_strerror(status);
	name->answer.n = 0;
	if (name->answer.result != RESOLVER_DOWN && status != ARES_ETIMEOUT)
		r->alive_us = clock_monotonic_us();
	if (info && status == ARES_SUCCESS) {
		take_addresses(&name->answer, info, &ttl_s);
		if (name->answer.n == 0)
			name->answer.result = NAME_UNKNOWN;
	}
	if (info)
		ares_freeaddrinfo(info);
	if (name->answer.result == RESOLVER_DOWN)
		ttl_s = 0; /* asked again as soon as somebody wants to know */
	name->expires_us = clock_monotonic_us() + ttl_s * (int64_t)1000000;
	if (status != ARES_EDESTRUCTION)
		tell_all(name);
}

/* ---- Names ---- */

static void look_for_unused(const void *node, VISIT visit, void *user)
{
	struct name *name = *(struct name *const *)node, **first = user;

	if ((visit == postorder || visit == leaf) && !name->asking &&
		(!*first || name->expires_us < (*first)->expires_us))
		*first = name;
}

/* Makes room for another name: the one that expires first goes. */
static void evict_one(struct resolver *r)
{
	struct name *first = NULL;

	twalk_r(r->names, look_for_unused, &first);
	if (!first)
		return;
	tdelete(first, &r->names, compare_names);
	free(first);
	r->n_names--;
}

static struct name *find_name(struct resolver *r, const char *host)
{
	struct name key, *name;
	void *found;

	if (strlen(host) >= sizeof(key.host))
		return NULL;
	memcpy(key.host, host, strlen(host) + 1);
	found = tfind(&key, &r->names, compare_names);
	if (found)
		return *(struct name **)found;
	if (r->n_names >= NAMES_MAX)
		evict_one(r);
	name = calloc(1, sizeof(*name));
	if (!name)
		return NULL;
	name->resolver = r;
	memcpy(name->host, key.host, sizeof(name->host));
	if (!tsearch(name, &r->names, compare_names)) {
		free(name);
		return NULL;
	}
	r->n_names++;
	return name;
}

static void wait_for(struct name *name, struct resolver_query *query)
{
	query->next = name->waiting;
	query->at = &name->waiting;
	if (query->next)
		query->next->at = &query->next;
	name->waiting = query;
}

void resolver_ask(struct resolver *r, const char *host, struct resolver_query *query)
{
	static const struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NUMERICSERV};
	struct name *name = find_name(r, host);

	query->at = NULL;
	if (!name) {
		struct resolver_answer none = {.result = RESOLVER_DOWN, .text = "out of memory"};

		query->done(query, &none);
		return;
	}
	if (!name->asking && clock_monotonic_us() < name->expires_us) {
		query->done(query, &name->answer);
		return;
	}
	wait_for(name, query);
	if (name->asking)
		return;
	name->asking = true;
	ares_getaddrinfo(
		r->channel, host, NULL, &hints, on_addresses, name); /* may answer at once */
	arm_timer(r);
}

void resolver_cancel(struct resolver_query *query)
{
	if (!query->at)
		return;
	*query->at = query->next;
	if (query->next)
		query->next->at = query->at;
	query->at = NULL;
}

/* ---- Life ---- */

int resolver_new(struct resolver **resolver, struct event_base *base, const char *servers)
{
	struct resolver *r = calloc(1, sizeof(*r));
	/* Without NOCHECKRESP c-ares makes "no server reachable" of a server's failure to answer
	 * for one name. */
	struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOCHECKRESP,
		.timeout = TRY_MS,
		.tries = TRIES,
		.lookups = (char *)"fb",
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = r};

	if (!r || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(r);
		return -ENOMEM;
	}
	r->base = base;
	r->timer = evtimer_new(base, on_timer, r);
	if (!r->timer ||
		ares_init_options(&r->channel, &options,
			ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
				ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
		resolver_free(r);
		return -ENOMEM;
	}
	if (*servers && ares_set_servers_ports_csv(r->channel, servers) != ARES_SUCCESS) {
		resolver_free(r);
		return -EINVAL;
	}
	*resolver = r;
	return 0;
}

void resolver_free(struct resolver *r)
{
	if (r->channel)
		ares_destroy(r->channel);
	if (r->timer)
		event_free(r->timer);
	tdestroy(r->names, free);
	ares_library_cleanup();
	free(r);
}
