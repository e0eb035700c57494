/*
 * The difficult part is whose fault it is when a question ends without an answer: the name's, which
 * costs its deliveries an attempt, or our own servers', which must cost nobody one. The servers
 * tell. While a question waits they are asked about the root as well, twice a second; a server that
 * resolves anything can answer that. When a question has met silence and a server has answered
 * anything since it was put, and within the last seconds, the fault is the name's; if not, ours.
 *
 * A question may also be refused, by the server or by its port, before a probe can have been
 * answered. Then it is judged when a probe has; and as the server may have come back just between
 * the two, the question is put once more before the name is blamed. "Query refused" is no answer to
 * a probe: servers that refuse everything, because they do not want us or have nobody to forward
 * to, are of no more use than silent ones.
 *
 * Servers that know only some names may never answer for the root. They are asked about the name
 * that resolved last as well; others are not, as a forwarder that has lost its own servers goes on
 * telling what it remembers. To know which they are, the first question comes with a probe.
 */
#include "resolver.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <ares.h>
#include <event2/event.h>

#include "../clock.h"
#include "../loop.h"
#include "../out_of_memory.h"
#include "hosts.h"
#include "own_addresses.h"

/* Each try waits twice as long as the last, for each server: 4.9 s with one server, 14.7 s with the
 * three that resolv.conf may have, which is within an attempt's usual 15 s. Nothing depends on it:
 * when less time is left, the attempt asks resolver_answers(). */
#define TRY_MS 700
#define TRIES 3
#define TTL_MIN_S 5
#define TTL_MAX_S 300
#define NEGATIVE_TTL_S 5
#define NAMES_MAX 4096
#define SOCKETS_MAX 64
/* A server that answered so recently is alive: long enough for a probe that is lost, and asked
 * again. */
#define ALIVE_US (3 * (int64_t)1000000)
#define PROBE_MS 500
#define HOSTS_FILE "/etc/hosts"

/* A name that is known, or being asked for. */
struct name {
	struct resolver *resolver;
	bool asking, asked_again;
	int64_t asked_us, expires_us;
	struct name *next; /* in one of the lists of names whose questions were refused */
	struct resolver_answer answer;
	struct resolver_query *waiting;
	char host[256];
};

struct watch {
	struct resolver *resolver;
	ares_socket_t fd;
	struct event *event;
};

/* A question that is asked to see whether the servers answer. */
struct probe {
	struct resolver *resolver;
	bool under_way;
};

struct resolver {
	struct event_base *base;
	struct hosts *hosts;
	ares_channel channel;
	struct event *timer, *probe_timer;
	struct watch watches[SOCKETS_MAX];
	void *names; /* tsearch tree of struct name */
	size_t n_names, n_asking;
	const struct name *putting; /* its question is just being handed to c-ares */

	int64_t answered_us; /* when a DNS server last answered */
	struct name *unjudged; /* a probe will tell */
	struct name *to_ask_again;
	struct probe root_probe, known_probe;
	bool root_answers; /* a server has answered for the root before */
	char known[256]; /* the name that a server resolved last, or "" */
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
		loop_add(r->timer, next);
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
	if (!watch->event || event_add(watch->event, NULL) < 0)
		out_of_memory("a connection to a DNS server");
}

/* ---- Answers ---- */

_Static_assert(RESOLVER_ADDRESSES_MAX == 32, "the message and doc/api.md say so");

static bool take_address(struct resolver_answer *answer, const struct sockaddr *address)
{
	struct peer *peer = &answer->addresses[answer->n];

	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return true;
	if (answer->n == RESOLVER_ADDRESSES_MAX)
		return false;
	memset(peer, 0, sizeof(*peer));
	if (address->sa_family == AF_INET) {
		peer->family = 4;
		memcpy(peer->bytes, &((const struct sockaddr_in *)(const void *)address)->sin_addr,
			4);
	} else {
		peer->family = 6;
		memcpy(peer->bytes,
			&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
	}
	answer->n++;
	return true;
}

/* Returns false when there are more than an answer holds: all of them are to be judged, or none is
 * to be used. */
static bool take_addresses(
	struct resolver_answer *answer, const struct ares_addrinfo *info, int *ttl_s)
{
	*ttl_s = TTL_MAX_S;
	answer->n = 0;
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		if (!take_address(answer, node->ai_addr))
			return false;
		if (node->ai_ttl < *ttl_s)
			*ttl_s = node->ai_ttl;
	}
	if (*ttl_s < TTL_MIN_S)
		*ttl_s = TTL_MIN_S;
	return true;
}

/*
 * IPv6 first where there is a way there, else IPv4. What c-ares would do instead (RFC 6724) opens a
 * socket for every address, and whoever owns a name could make that thousands.
 */
static void sort_addresses(struct resolver_answer *answer)
{
	struct peer sorted[RESOLVER_ADDRESSES_MAX];
	const struct peer *any_v6 = NULL;
	size_t n = 0;
	int first;

	for (size_t i = 0; i < answer->n; i++) {
		if (answer->addresses[i].family == 6)
			any_v6 = &answer->addresses[i];
	}
	first = any_v6 && has_way_to(any_v6) ? 6 : 4;
	for (size_t i = 0; i < answer->n; i++) {
		if (answer->addresses[i].family == first)
			sorted[n++] = answer->addresses[i];
	}
	for (size_t i = 0; i < answer->n; i++) {
		if (answer->addresses[i].family != first)
			sorted[n++] = answer->addresses[i];
	}
	/* cppcheck-suppress uninitvar ; n of them were set */
	memcpy(answer->addresses, sorted, n * sizeof(sorted[0]));
}

/* The name counts as being asked for until all have heard, so that it cannot be evicted under them.
 */
static void tell_all(struct name *name, enum resolver_result result, int ttl_s)
{
	name->answer.result = result;
	name->expires_us = clock_monotonic_us() + ttl_s * (int64_t)1000000;
	while (name->waiting) {
		struct resolver_query *query = name->waiting;

		resolver_cancel(query);
		query->done(query, &name->answer);
	}
	name->asking = false;
	name->resolver->n_asking--;
}

static void tell_failure(struct name *name, enum resolver_result result)
{
	/* When our own servers do not answer, they are asked again as soon as somebody wants to
	 * know. */
	tell_all(name, result, result == RESOLVER_DOWN ? 0 : NEGATIVE_TTL_S);
}

static void take_answer(struct name *name, int status, const struct ares_addrinfo *info)
{
	int ttl_s = NEGATIVE_TTL_S;

	if (status == ARES_SUCCESS && !take_addresses(&name->answer, info, &ttl_s)) {
		name->answer.text = "it has more than 32 addresses";
		tell_failure(name, NAME_FAILED);
		return;
	}
	sort_addresses(&name->answer);
	if (name->answer.n)
		tell_all(name, RESOLVED, ttl_s);
	else
		tell_failure(name, NAME_UNKNOWN);
}

/* ---- Whose fault it is ---- */

static bool is_answer(int status)
{
	switch (status) {
	case ARES_SUCCESS:
	case ARES_ENODATA:
	case ARES_EFORMERR:
	case ARES_ESERVFAIL:
	case ARES_ENOTFOUND:
	case ARES_ENOTIMP:
	case ARES_EBADRESP:
		return true;
	default:
		return false;
	}
}

static void push(struct name **list, struct name *name)
{
	name->next = *list;
	*list = name;
}

static struct name *pop(struct name **list)
{
	struct name *name = *list;

	if (name)
		*list = name->next;
	return name;
}

static void probe_in(struct resolver *r, int ms)
{
	struct timeval after = {0, ms * 1000};

	loop_add(r->probe_timer, &after);
}

static void on_answered(struct resolver *r)
{
	struct name *name;

	r->answered_us = clock_monotonic_us();
	while ((name = pop(&r->unjudged))) {
		if (name->asked_again) {
			tell_failure(name, NAME_FAILED);
		} else {
			push(&r->to_ask_again, name);
			probe_in(r, 0);
		}
	}
}

static void on_no_server(struct resolver *r)
{
	struct name *name;

	while ((name = pop(&r->unjudged)))
		tell_failure(name, RESOLVER_DOWN);
}

static void on_probe_ended(
	void *user, int status, int timeouts, unsigned char *answer, int answer_len)
{
	struct probe *probe = user;
	struct resolver *r = probe->resolver;

	(void)timeouts;
	(void)answer;
	(void)answer_len;
	probe->under_way = false;
	if (status == ARES_EDESTRUCTION)
		return;
	if (is_answer(status)) {
		r->root_answers |= probe == &r->root_probe;
		on_answered(r);
		return;
	}
	if (!r->root_probe.under_way && !r->known_probe.under_way)
		on_no_server(r);
}

static void put_probe(struct probe *probe, const char *name, int type)
{
	if (probe->under_way)
		return;
	probe->under_way = true;
	ares_query(probe->resolver->channel, name, ns_c_in, type, on_probe_ended, probe);
	arm_timer(probe->resolver);
}

static void put_question(struct name *name);

/* Probes, and questions that are put again, come from the loop, not from c-ares' own callback. */
static void on_probe_time(evutil_socket_t fd, short what, void *user)
{
	struct resolver *r = user;
	int64_t quiet_us;
	struct name *name;

	(void)fd;
	(void)what;
	while ((name = pop(&r->to_ask_again))) {
		name->asked_again = true;
		put_question(name);
	}
	if (r->n_asking == 0)
		return;
	quiet_us = clock_monotonic_us() - r->answered_us;
	probe_in(r, PROBE_MS);
	if (!r->root_answers && r->known[0])
		put_probe(&r->known_probe, r->known, ns_t_a);
	if (r->unjudged || quiet_us >= PROBE_MS * (int64_t)1000)
		put_probe(&r->root_probe, ".", ns_t_ns);
}

static void judge_later(struct name *name)
{
	push(&name->resolver->unjudged, name);
	probe_in(name->resolver, 0);
}

bool resolver_answers(const struct resolver *r, int64_t since_us)
{
	int64_t lately_us = clock_monotonic_us() - ALIVE_US;

	return r->answered_us >= since_us && r->answered_us >= lately_us;
}

static void on_addresses(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
	struct name *name = user;
	struct resolver *r = name->resolver;

	(void)timeouts;
	name->answer.text = ares_strerror(status);
	name->answer.n = 0;
	/* What is known at once is a word of c-ares' own, and says nothing about servers. */
	if (is_answer(status) && r->putting != name) {
		on_answered(r);
		if (status == ARES_SUCCESS)
			memcpy(r->known, name->host, sizeof(r->known));
	}
	switch (status) {
	case ARES_SUCCESS:
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_EBADNAME:
		take_answer(name, status, info);
		break;
	case ARES_ETIMEOUT:
		tell_failure(
			name, resolver_answers(r, name->asked_us) ? NAME_FAILED : RESOLVER_DOWN);
		break;
	case ARES_ECONNREFUSED:
	case ARES_EREFUSED:
		judge_later(name);
		break;
	case ARES_ENOMEM:
	case ARES_EFILE:
		tell_failure(name, RESOLVER_DOWN);
		break;
	case ARES_EDESTRUCTION:
		break;
	default:
		tell_failure(name, NAME_FAILED);
		break;
	}
	if (info)
		ares_freeaddrinfo(info);
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

static void put_question(struct name *name)
{
	static const struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NUMERICSERV | ARES_AI_NOSORT};
	struct resolver *r = name->resolver;

	name->asked_us = clock_monotonic_us();
	r->putting = name;
	ares_getaddrinfo(
		r->channel, name->host, NULL, &hints, on_addresses, name); /* may answer at once */
	r->putting = NULL;
	arm_timer(r);
}

static void ask_servers(struct name *name)
{
	struct resolver *r = name->resolver;

	name->asking = true;
	name->asked_again = false;
	r->n_asking++;
	put_question(name);
	if (r->n_asking == 0)
		return;
	if (r->answered_us == 0)
		put_probe(&r->root_probe, ".", ns_t_ns);
	if (!event_pending(r->probe_timer, EV_TIMEOUT, NULL))
		probe_in(r, PROBE_MS);
}

void resolver_ask(struct resolver *r, const char *host, struct resolver_query *query)
{
	struct resolver_answer known = {.result = RESOLVED};
	struct name *name;

	query->at = NULL;
	known.n = hosts_find(r->hosts, host, known.addresses, RESOLVER_ADDRESSES_MAX);
	if (known.n) {
		query->done(query, &known);
		return;
	}
	name = find_name(r, host);
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
	if (!name->asking)
		ask_servers(name);
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
		.lookups = (char *)"b",
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = r};
	int given = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		ARES_OPT_SOCK_STATE_CB;

	if (!r || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(r);
		return -ENOMEM;
	}
	r->base = base;
	r->root_probe.resolver = r->known_probe.resolver = r;
	r->hosts = hosts_read(HOSTS_FILE);
	r->timer = evtimer_new(base, on_timer, r);
	r->probe_timer = evtimer_new(base, on_probe_time, r);
#ifdef ARES_OPT_QUERY_CACHE /* what c-ares itself remembers says nothing about servers */
	options.qcache_max_ttl = 0;
	given |= ARES_OPT_QUERY_CACHE;
#endif
	if (!r->hosts || !r->timer || !r->probe_timer ||
		ares_init_options(&r->channel, &options, given) != ARES_SUCCESS) {
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
	if (r->probe_timer)
		event_free(r->probe_timer);
	tdestroy(r->names, free);
	hosts_free(r->hosts);
	ares_library_cleanup();
	free(r);
}
