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

/* Whether anything was told since the last time. What exactly is not looked at; too much to keep
 * (ENOBUFS) is a change like others. */
static bool has_changed(int changes)
{
	bool changed = false;
	char message[4096];

	while (recv(changes, message, sizeof(message), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		changed = true;
	return changed;
}

int own_addresses_refresh(struct own_addresses *own)
{
	struct networks fresh;
	int r;

	if (has_changed(own->changes))
		own->known = false;
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

int own_addresses_init(struct own_addresses *own)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};

	memset(own, 0, sizeof(*own));
	own->changes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (own->changes < 0)
		return -errno;
	if (bind(own->changes, (struct sockaddr *)(void *)&groups, sizeof(groups)) < 0)
		return -errno;
	return own_addresses_refresh(own);
}

void own_addresses_deinit(struct own_addresses *own)
{
	free(own->networks.list);
	own->networks.list = NULL;
	if (own->changes >= 0)
		close(own->changes);
	own->changes = -1;
}
