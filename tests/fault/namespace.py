"""A network of a test's own, in which every address there is leads to this machine, and a watch that tells which of
them a connection was tried to.

Because every connection would succeed, one that is not seen was not tried. Needs root, iproute2 and nftables; nothing
leaves the namespace, and nothing of it is left when its last descriptor is closed.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import subprocess

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

# The machine's own addresses in there, besides loopback: public ones, from which connections come.
OWN = ["9.9.9.9", "2620:fe::9"]

# TCP by its first packet, of UDP everything but what goes to and from the tests' name server.
WATCH = """
table inet watch {
    set tried4 { type ipv4_addr; flags dynamic; size 65535; }
    set tried6 { type ipv6_addr; flags dynamic; size 65535; }
    chain dead { type filter hook input priority 0; }
    chain out {
        type filter hook output priority 0;
        udp dport 53 ip daddr 9.9.9.9 accept
        udp sport 53 ip saddr 9.9.9.9 accept
        meta l4proto tcp tcp flags & (syn | ack) != syn accept
        meta l4proto { tcp, udp } add @tried4 { ip daddr }
        meta l4proto { tcp, udp } add @tried6 { ip6 daddr }
    }
}
"""


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    def __init__(self):
        outer = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        check(LIBC.unshare(CLONE_NEWNET))
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        check(LIBC.setns(outer, CLONE_NEWNET))
        os.close(outer)
        self.run("ip", "link", "set", "lo", "up")
        for own, family in zip(OWN, ("-4", "-6")):
            self.give_own(own, family)
        self.run("nft", "-f", "-", input=WATCH)

    @contextlib.contextmanager
    def inside(self):
        """What is opened or started meanwhile by this thread belongs to the namespace for good."""
        outer = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        check(LIBC.setns(self.descriptor, CLONE_NEWNET))
        try:
            yield
        finally:
            check(LIBC.setns(outer, CLONE_NEWNET))
            os.close(outer)

    def run(self, *command, input=None):
        with self.inside():
            return subprocess.run(command, input=input, check=True, capture_output=True, text=True).stdout

    def give_own(self, address, family):
        self.add_address(address)
        self.run("ip", family, "route", "add", "local", "default", "dev", "lo", "src", address)

    def add_address(self, address):
        nodad = ["nodad"] if ":" in address else []
        self.run("ip", "addr", "add", f"{address}/{128 if nodad else 32}", "dev", "lo", *nodad)

    def remove_address(self, address):
        self.run("ip", "addr", "del", f"{address}/{128 if ':' in address else 32}", "dev", "lo")

    @contextlib.contextmanager
    def without_ipv6(self):
        """As administrators switch it off: no interface has an IPv6 address, not even loopback."""
        switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
        self.run("sh", "-c", f"echo 1 > {switch}")
        try:
            yield
        finally:
            self.run("sh", "-c", f"echo 0 > {switch}")
            self.give_own(OWN[1], "-6")

    def swallow(self, network):
        """From now on nothing that is sent there is ever answered."""
        family = "ip6" if ":" in network else "ip"
        self.run("nft", "add", "rule", "inet", "watch", "dead", family, "daddr", network, "drop")

    def forget(self):
        for name in ("tried4", "tried6"):
            self.run("nft", "flush", "set", "inet", "watch", name)

    def tried(self):
        """The addresses that a connection was tried to since the last forget()."""
        found = set()
        for name in ("tried4", "tried6"):
            listed = json.loads(self.run("nft", "-j", "list", "set", "inet", "watch", name))
            for item in listed["nftables"]:
                for element in item.get("set", {}).get("elem", []):
                    found.add(ipaddress.ip_address(element["elem"]["val"] if isinstance(element, dict) else element))
        return found

    def close(self):
        os.close(self.descriptor)
