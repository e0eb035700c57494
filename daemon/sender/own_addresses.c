#include "own_addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

static void add(struct networks *networks, const struct sockaddr *address)
{
	struct network *network = &networks->list[networks->n];

	if (address && address->sa_family == AF_INET) {
		*network = (struct network){4, 32, {0}};
		memcpy(network->bytes,
			&((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
		networks->n++;
	} else if (address && address->sa_family == AF_INET6) {
		*network = (struct network){6, 128, {0}};
		memcpy(network->bytes,
			&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
		networks->n++;
	}
}

static int read_all(struct networks *networks)
{
	struct ifaddrs *all;
	size_t n = 0;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (struct ifaddrs *i = all; i; i = i->ifa_next)
		n++;
	networks->n = 0;
	networks->list = calloc(n + 1, sizeof(*networks->list));
	for (struct ifaddrs *i = all; i && networks->list; i = i->ifa_next)
		add(networks, i->ifa_addr);
	freeifaddrs(all);
	return networks->list ? 0 : -ENOMEM;
}

int own_addresses_refresh(struct own_addresses *own)
{
	struct networks fresh;
	int r;

	if (own->known)
		return 0;
	r = read_all(&fresh);
	if (r < 0)
		return r;
	free(own->networks.list);
	own->networks = fresh;
	own->known = true;
	return 0;
}

/* What exactly has changed is not looked at; too much to keep (ENOBUFS) is a change like others. */
static void on_change(evutil_socket_t fd, short what, void *user)
{
	struct own_addresses *own = user;
	char message[4096];

	(void)what;
	while (recv(fd, message, sizeof(message), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		own->known = false;
	own_addresses_refresh(own); /* if it fails, it is tried again before the next use */
}

int own_addresses_init(struct own_addresses *own, struct event_base *base)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};

	memset(own, 0, sizeof(*own));
	own->changes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (own->changes < 0)
		return -errno;
	if (bind(own->changes, (struct sockaddr *)(void *)&groups, sizeof(groups)) < 0)
		return -errno;
	own->changed = event_new(base, own->changes, EV_READ | EV_PERSIST, on_change, own);
	if (!own->changed || event_priority_set(own->changed, 0) < 0 ||
		event_add(own->changed, NULL) < 0)
		return -ENOMEM;
	return own_addresses_refresh(own);
}

void own_addresses_deinit(struct own_addresses *own)
{
	free(own->networks.list);
	own->networks.list = NULL;
	if (own->changed)
		event_free(own->changed);
	own->changed = NULL;
	if (own->changes >= 0)
		close(own->changes);
	own->changes = -1;
}

bool has_way_to(const struct peer *peer)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool connected;

	if (fd < 0)
		return false;
	memcpy(&address.sin6_addr, peer->bytes, 16);
	connected = connect(fd, (struct sockaddr *)(void *)&address, sizeof(address)) == 0;
	close(fd);
	return connected;
}
