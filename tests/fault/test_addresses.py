"""The address rules (fault 42): every range from its first address to its last, with its neighbours, and every form of a
URL; at registration, at the connection, on a kept connection, after a changed answer of DNS. Each wall alone, too.

All of it happens in a network namespace in which every connection that is tried succeeds and is seen (namespace.py).
Walls are taken down by linking other functions in front of the real ones (walls_*.c); the product has no switch for it.
"""

import contextlib
import dataclasses
import ipaddress
import os
import shutil
import time

import pytest

from harness import BUILD, ROOT, TROUBLE, Hookd, injected, temporary_directory, wait_until
from hostile import Hostile, owe
from namespace import OWN, Namespace
from nameserver import Names

PORT = 8080


# ---- The table --------------------------------------------------------------------------------


@dataclasses.dataclass
class Table:
    """tests/special_addresses.txt, from which the unit tests of the rules are made as well."""
    public: list
    special: list

    @classmethod
    def read(cls):
        table = cls([], [])
        with open(os.path.join(ROOT, "tests", "special_addresses.txt")) as file:
            for line in file:
                kind, network = (line.split() + ["", ""])[:2]
                if kind in ("public", "special"):
                    getattr(table, kind).append(ipaddress.ip_network(network))
        return table

    def is_public(self, address):
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in network for network in self.special):
            return False
        return address.version == 4 or any(address in network for network in self.public)

    def edges(self):
        """First and last address of every range, the one below, the one above, and one in the middle."""
        for network in self.public + self.special:
            first, last = int(network[0]), int(network[-1])
            for number in (first, first - 1, (first + last) // 2, last, last + 1):
                if 0 <= number < 1 << network.max_prefixlen:
                    yield type(network[0])(number)


TABLE = Table.read()

# What clouds and tricks are after, by name.
METADATA = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "192.0.0.192", "168.63.129.16",
            "fd00:ec2::254", "fd20:ce::254"]
WITHIN_IPV6 = ["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:0:127.0.0.1", "2001:0:7f00:1::"]


def all_addresses():
    found = set(TABLE.edges()) | {ipaddress.ip_address(text) for text in METADATA + WITHIN_IPV6}
    for address in list(found):
        if address.version == 4:
            found.add(ipaddress.ip_address("::ffff:" + str(address)))
    return sorted(found - {ipaddress.ip_address(own) for own in OWN}, key=lambda a: (a.version, a))


ADDRESSES = all_addresses()
PUBLIC = {a for a in ADDRESSES if TABLE.is_public(a)}
FORBIDDEN = set(ADDRESSES) - PUBLIC


def on_the_wire(addresses):
    """As the packet has it."""
    return {getattr(a, "ipv4_mapped", None) or a for a in addresses}


def connectable(address):
    """Whether the kernel sends anything there at all."""
    address = getattr(address, "ipv4_mapped", None) or address
    return not (address.is_multicast or str(address) in ("255.255.255.255", "127.255.255.255") or
                address.version == 6 and address.is_link_local)


def literal(address):
    return f"[{address}]" if address.version == 6 else str(address)


def test_the_table_has_both_kinds_of_addresses():
    assert len(TABLE.special) == 38 and len(PUBLIC) > 60 and len(FORBIDDEN) > 150


# ---- The place --------------------------------------------------------------------------------


class World:
    """The namespace, a name server for it, and a receiver that is every address there."""

    def __init__(self):
        self.network = Namespace()
        with self.network.inside():
            self.names = Names(OWN[0], 53)
            self.receiver = Hostile(self.serve, "::", PORT)

    def serve(self, connection):
        while connection.read_request():
            connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    def close(self):
        self.receiver.close()
        self.names.close()
        self.network.close()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.close()


class HookdWithoutWalls(Hookd):
    """A hookd and a sender of which one or both are made for the test."""

    def __init__(self, directory, config, hookd=None, sender=None):
        super().__init__(directory, config, local=False)
        os.mkdir(os.path.join(directory, "bin"))
        for name, test_name in [("hookd", hookd), ("hookd-sender", sender)]:
            source = ("tests", "fault", test_name) if test_name else ("daemon", name)
            shutil.copy(os.path.join(BUILD, *source), os.path.join(directory, "bin", name))

    def command(self):
        return [os.path.join(self.directory, "bin", "hookd"), *super().command()[1:]]


@pytest.fixture
def start(world):
    """Starts a hookd inside the namespace; without arguments it is the real one with all its walls."""
    started = []

    def make(hookd=None, sender=None, **network):
        directory = stack.enter_context(temporary_directory())
        config = {"network": {"allow_http": "yes", "dns_servers": f"{OWN[0]}:53", **network}, "senders": {"count": "1"},
                  "intake": {"max_endpoints_per_tenant": "2000"}}
        made = HookdWithoutWalls(directory, config, hookd, sender)
        started.append(made)
        world.network.forget()
        world.names.answers.clear()
        world.names.asked.clear()
        with world.network.inside():
            return made.start()

    with contextlib.ExitStack() as stack:
        yield make
        for made in started:
            assert made.stop() in (0, None), made.log()
            assert not TROUBLE.search(made.log()), made.log()


def name_of(address):
    return "a-" + address.exploded.replace(":", "-").replace(".", "-") + ".example.com"


def publish(world, addresses):
    for address in addresses:
        world.names.answers[name_of(address)] = [str(address)]


def deliver_to_names(hookd, addresses):
    """An endpoint for the name of each address and what came of an event to it: deliveries by address."""
    outcomes = {address: owe(hookd, f"e{i}", f"http://{name_of(address)}:{PORT}/", timeout_s=10)
                for i, address in enumerate(addresses)}
    return {address: outcome.wait() for address, outcome in outcomes.items()}


def results(deliveries):
    """The addresses that were delivered to, and those that the rules refused; nothing else may have happened."""
    delivered = {a for a, delivery in deliveries.items() if delivery["state"] == "delivered"}
    refused = {a for a, delivery in deliveries.items()
               if delivery["last_attempt"]["result"] == "address" and delivery["attempts"] == 1 and
               delivery["last_attempt"]["message"].startswith("refused by the address rules: ")}
    others = {str(a): d["last_attempt"]["message"] for a, d in deliveries.items() if a not in delivered | refused}
    assert not others
    return delivered, refused


# ---- All walls --------------------------------------------------------------------------------


def test_at_registration_every_forbidden_address_is_refused_and_every_public_one_taken(world, start):
    hookd = start()
    for address in ADDRESSES:
        answer = hookd.manage.post("/v1/endpoints", {"url": f"http://{literal(address)}:{PORT}/"})
        if address in PUBLIC:
            assert answer.status == 201, address
        else:
            assert answer.status == 400 and answer.json["field"] == "url", address
            assert answer.json["detail"].startswith("the address rules refuse "), answer
    assert len(hookd.manage.all("/v1/endpoints")) == len(PUBLIC) and world.network.tried() == set()


def test_at_the_connection_every_address_of_a_name_is_judged(world, start):
    hookd = start()
    publish(world, ADDRESSES)
    delivered, refused = results(deliver_to_names(hookd, ADDRESSES))
    assert delivered == PUBLIC and refused == FORBIDDEN
    assert world.network.tried() == on_the_wire(PUBLIC)


def test_after_a_changed_answer_a_name_is_judged_anew(world, start):
    """Each name first has a public address, which is delivered to, and then a forbidden one."""
    hookd = start()
    good = ipaddress.ip_address("1.1.1.1")
    world.names.answers.update({name_of(a): [str(good)] for a in FORBIDDEN})
    first = deliver_to_names(hookd, sorted(FORBIDDEN, key=int))
    assert {delivery["state"] for delivery in first.values()} == {"delivered"}
    publish(world, FORBIDDEN)
    time.sleep(5.1)  # for so long an answer is kept
    second = {}
    for address, delivery in first.items():
        second[address] = hookd.submit.submit(delivery["type"], 2)["id"]
    for address, event in second.items():
        attempt = hookd.manage.wait_for(event, first[address]["endpoint"], "dead")["last_attempt"]
        assert attempt["result"] == "address", address
    assert world.network.tried() == {good}


@pytest.mark.parametrize("address", ["8.8.4.4", "2001:4860:4860::8844"])
def test_the_machines_own_addresses_are_refused_as_soon_as_it_has_them(world, start, address):
    hookd = start()
    url = f"http://{literal(ipaddress.ip_address(address))}:{PORT}/"
    assert owe(hookd, "before", url).wait()["state"] == "delivered"
    world.network.add_address(address)
    try:
        world.network.forget()
        new, kept = owe(hookd, "after", url).event, hookd.submit.submit("before", 2)["id"]
        for name, event in [("after", new), ("before", kept)]:
            attempt = hookd.manage.wait_for(event, name, "dead")["last_attempt"]
            assert attempt["result"] == "address" and attempt["message"].endswith("an address of this machine")
        assert world.network.tried() == set()
    finally:
        world.network.remove_address(address)
    assert owe(hookd, "again", url).wait()["state"] == "delivered"


def test_more_changes_than_the_kernel_keeps_notice_of_are_a_change(world, start):
    hookd, address = start(), "8.8.4.5"
    url = f"http://{address}:{PORT}/"
    assert owe(hookd, "before", url).wait()["state"] == "delivered"
    world.network.add_address(address)
    churn = "addr add 8.8.4.6/32 dev lo\naddr del 8.8.4.6/32 dev lo\n" * 1000
    world.network.run("ip", "-batch", "-", input=churn)
    try:
        attempt = owe(hookd, "after", url).wait()["last_attempt"]
        assert attempt["result"] == "address" and attempt["message"].endswith("an address of this machine")
    finally:
        world.network.remove_address(address)


@pytest.mark.parametrize("own", OWN)
def test_the_addresses_that_the_machine_has_had_all_along_are_refused(world, start, own):
    attempt = owe(start(), "own", f"http://{literal(ipaddress.ip_address(own))}:{PORT}/").wait()["last_attempt"]
    assert attempt["result"] == "address" and attempt["message"].endswith("an address of this machine")
    assert world.network.tried() == set()


def test_while_the_machines_addresses_cannot_be_known_nothing_is_sent_and_no_attempt_is_lost(world, start):
    hookd = start()
    assert owe(hookd, "e", f"http://8.8.8.8:{PORT}/").wait()["state"] == "delivered"
    with injected(hookd.senders()[0], "bind:error=ENOBUFS"):  # the kernel does not tell
        world.network.add_address("8.8.4.4")
        world.network.remove_address("8.8.4.4")
        world.network.forget()
        event = hookd.submit.submit("e", 2)["id"]
        problems = wait_until(lambda: hookd.manage.get("/v1/status").json["problems"])
        assert [problem["code"] for problem in problems] == ["cannot_send"]
        assert hookd.manage.delivery(event, "e")["attempts"] == 0 and world.network.tried() == set()
    assert hookd.manage.wait_for(event, "e", "delivered")["attempts"] == 1


def test_what_an_administrator_allows_is_delivered_and_nothing_beside_it(world, start):
    hookd = start(allow_private="10.1.0.0/16 fd00:1::/32 64:ff9b::/96")
    cases = {"10.1.0.0": True, "10.1.255.255": True, "10.0.255.255": False, "10.2.0.0": False, "fd00:1::": True,
             "fd00:1:ffff:ffff:ffff:ffff:ffff:ffff": True, "fd00:2::": False, "fd00:0:ffff::": False,
             "::ffff:10.1.0.1": True, "::ffff:10.2.0.1": False,
             # Behind NAT64 it is the IPv4 address that counts.
             "64:ff9b::8.8.8.8": True, "64:ff9b::10.1.0.1": True, "64:ff9b::10.2.0.1": False,
             "64:ff9b::127.0.0.1": False, "64:ff9b::169.254.169.254": False, "64:ff9b::9.9.9.9": False}
    cases = {ipaddress.ip_address(text): allowed for text, allowed in cases.items()}
    publish(world, cases)
    delivered, refused = results(deliver_to_names(hookd, cases))
    assert delivered == {a for a, allowed in cases.items() if allowed}
    assert world.network.tried() == on_the_wire(delivered)


# ---- Each wall alone --------------------------------------------------------------------------


# Forms of a URL that somebody or something reads as another place, or in another way than others.
FORMS = [
    # numbers that stand for an address
    "http://2130706433:8080/", "http://0x7f000001:8080/", "http://0177.0.0.1:8080/", "http://127.1:8080/",
    "http://0:8080/", "http://0300.0250.1:8080/", "http://127.0.0.01:8080/", "http://1.2.3.4.5:8080/",
    # percent-encoding in the host
    "http://1%32%37.0.0.1:8080/", "http://%6cocalhost:8080/", "http://127.0.0.1%00.example.com:8080/",
    # beyond ASCII
    "http://\uff11\uff12\uff17.0.0.1:8080/", "http://\u2460\u2461\u2466.0.0.1:8080/", "http://127\u30020\u30020\u30021:8080/",
    "http://local\u00adhost:8080/", "http://m\u00fcller.example:8080/",
    # names of the inner network
    "http://127.0.0.1.:8080/", "http://localhost:8080/", "http://localhost.:8080/", "http://foo.localhost:8080/",
    "http://printer.local:8080/", "http://db.internal:8080/", "http://nas.home.arpa:8080/", "http://abc.onion:8080/",
    "http://intranet:8080/", "http://metadata.google.internal:8080/",
    # somebody before the host
    "http://user@127.0.0.1:8080/", "http://user:pw@8.8.8.8:8080/", "http://good.example.com\\@127.0.0.1:8080/",
    "http://127.0.0.1%2f@good.example.com:8080/", "http://good.example.com@127.0.0.1:8080/", "http://@8.8.8.8:8080/",
    # no host, or no port
    "http:///127.0.0.1:8080/", "http:127.0.0.1:8080/", "//127.0.0.1:8080/", "http://8.8.8.8:0/", "http://8.8.8.8:99999/",
    "http://8.8.8.8:22/", "http://8.8.8.8:1023/", "http://8.8.8.8:/",
    # IPv4 within IPv6, and zones
    "http://[::ffff:127.0.0.1]:8080/", "http://[::127.0.0.1]:8080/", "http://[64:ff9b::7f00:1]:8080/",
    "http://[2002:7f00:1::]:8080/", "http://[::]:8080/", "http://[fe80::1%25lo]:8080/", "http://[fe80::1%lo]:8080/",
    "http://[2606:4700::1111%25lo]:8080/",
    # other protocols
    "gopher://8.8.8.8:8080/", "file:///etc/passwd", "ftp://8.8.8.8:8080/", "dict://8.8.8.8:8080/", "ldap://8.8.8.8:8080/",
    "smb://8.8.8.8/a", "ws://8.8.8.8:8080/", "javascript:alert(1)", "",
]


def test_every_form_of_a_url_that_leads_astray_is_refused_at_registration(world, start):
    hookd = start()
    for url in FORMS:
        answer = hookd.manage.post("/v1/endpoints", {"url": url})
        assert answer.status == 400 and answer.json["field"] == "url", url
    assert hookd.manage.all("/v1/endpoints") == []


def test_without_the_check_at_registration_the_sender_refuses_the_same(world, start):
    hookd = start(hookd="hookd-that-registers-anything")
    urls = FORMS + [f"http://{literal(a)}:{PORT}/" for a in sorted(FORBIDDEN, key=int)]
    outcomes = {url: owe(hookd, f"e{i}", url) for i, url in enumerate(urls)}
    for url, outcome in outcomes.items():
        delivery = outcome.wait()
        assert delivery["last_attempt"]["result"] == "address" and delivery["attempts"] == 1, url
    assert world.network.tried() == set() and world.names.asked == []
    # Registered it was, and nothing else kept it away: where it may go it goes.
    assert owe(hookd, "good", f"http://8.8.8.8:{PORT}/").wait()["state"] == "delivered"


def test_without_the_check_of_names_no_socket_is_opened_to_a_forbidden_address(world, start):
    hookd = start(sender="sender-with-walls-socket")
    publish(world, ADDRESSES)
    delivered, refused = results(deliver_to_names(hookd, ADDRESSES))
    assert delivered == PUBLIC and refused == FORBIDDEN
    assert world.network.tried() == on_the_wire(PUBLIC)


@pytest.mark.parametrize("sender", [None, "sender-with-walls-socket"])
@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "fd00:ec2::254"])
def test_a_kept_connection_is_not_used_once_its_address_is_forbidden(world, start, address, sender):
    hookd = start(sender=sender)
    name, network = "kept.example.com", ipaddress.ip_network(address)
    world.names.answers[name] = [address]
    first = owe(hookd, "kept", f"http://{name}:{PORT}/", allow_private=[str(network)])
    assert first.wait()["state"] == "delivered"
    seen, connections = len(world.receiver.ids), world.receiver.connections
    assert hookd.admin.patch("/v1/endpoints/kept", {"allow_private": []}).status == 200
    event = hookd.submit.submit("kept", 2)["id"]
    attempt = hookd.manage.wait_for(event, "kept", "dead")["last_attempt"]
    assert attempt["result"] == "address" and attempt["http_status"] is None
    assert len(world.receiver.ids) == seen and world.receiver.connections == connections


def test_without_any_wall_the_watch_sees_every_connection(world, start):
    """So that the others of these tests can fail: nothing but the walls keeps hookd from these addresses."""
    hookd = start(sender="sender-with-walls-none")
    addresses = [a for a in ADDRESSES if connectable(a)]
    publish(world, addresses)
    delivered = {a for a, delivery in deliver_to_names(hookd, addresses).items() if delivery["state"] == "delivered"}
    # The kernel makes loopback of the unspecified address; that is not the address that was meant, and goes no further.
    unspecified = {ipaddress.ip_address(text) for text in ("0.0.0.0", "::ffff:0.0.0.0", "::")}
    assert delivered == set(addresses) - unspecified
    loopback = {ipaddress.ip_address(text) for text in ("127.0.0.1", "::1")}
    assert world.network.tried() == on_the_wire(set(addresses) - unspecified) | loopback


# ---- Which address of several -----------------------------------------------------------------

V4, V6 = "8.8.8.8", "2606:4700::1111"


def address_used(world, hookd, endpoint, addresses):
    """The address that a delivery to a name with these addresses went to."""
    world.names.answers[f"{endpoint}.example.com"] = addresses
    delivery = owe(hookd, endpoint, f"http://{endpoint}.example.com:{PORT}/", timeout_s=10).wait()
    assert delivery["attempts"] == 1
    return delivery["last_attempt"]["address"].rsplit(":", 1)[0].strip("[]")


def test_ipv6_comes_first_where_there_is_a_way_there(world, start):
    hookd = start()
    assert address_used(world, hookd, "both", [V4, V6]) == address_used(world, hookd, "turned", [V6, V4]) == V6
    assert world.network.tried() == {ipaddress.ip_address(V6)}
    route = ["local", "default", "dev", "lo", "src", OWN[1]]
    world.network.run("ip", "-6", "route", "del", *route)
    try:
        assert address_used(world, hookd, "without", [V6, V4]) == V4
    finally:
        world.network.run("ip", "-6", "route", "add", *route)


def test_what_is_swallowed_is_no_connection_in_time_and_the_next_address_is_tried(world, start):
    hookd = start()
    hookd.configure({"network": {"allow_http": "yes", "dns_servers": f"{OWN[0]}:53"},
                     "delivery": {"connect_timeout": "1s"}}, local=False)
    hookd.reload()
    world.network.swallow("6.0.0.0/8")
    assert address_used(world, hookd, "second", ["6.0.0.1", V4]) == V4
    delivery = owe(hookd, "swallowed", f"http://6.0.0.2:{PORT}/", timeout_s=10).wait()
    attempt = delivery["last_attempt"]
    assert (attempt["result"], attempt["message"]) == ("connect", f"no connection to 6.0.0.2:{PORT} in time")
    assert delivery["attempts"] == 1 and 950 <= attempt["duration_ms"] < 9000


@pytest.mark.parametrize("gone, others", [("12.0.0.3", []), ("12.0.0.4", [V4])])
def test_an_address_that_swallows_once_its_kept_connection_has_ended_is_no_connection(world, start, gone, others):
    """The request met the end of the kept one, and a new one cannot be made."""
    def serve(connection):
        while connection.read_request() and len(receiver.ids) != 2:
            connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        if len(receiver.ids) == 2:
            world.network.swallow(gone)

    with world.network.inside():
        receiver = Hostile(serve, "::", PORT + 1)
    hookd = start()
    hookd.configure({"network": {"allow_http": "yes", "dns_servers": f"{OWN[0]}:53"},
                     "delivery": {"connect_timeout": "1s"}}, local=False)
    hookd.reload()
    world.names.answers["e.example.com"] = [gone, *others]
    assert owe(hookd, "e", f"http://e.example.com:{PORT + 1}/").wait()["last_attempt"]["address"] == f"{gone}:{PORT + 1}"
    event = hookd.submit.submit("e", 2)["id"]
    delivery = wait_until(lambda: (lambda d: d if d["state"] != "pending" else None)(hookd.manage.delivery(event, "e")))
    attempt = delivery["last_attempt"]
    assert delivery["attempts"] == 1 and receiver.ids.count(event) == 1 + len(others)
    if others:
        assert (attempt["result"], attempt["address"]) == ("ok", f"{V4}:{PORT + 1}")
    else:
        assert (attempt["result"], attempt["message"]) == ("connect", f"no connection to {gone}:{PORT + 1} in time")
    receiver.close()


def test_without_ipv6_a_receiver_that_has_nothing_else_is_no_connection(world, start):
    """There is then no address to send from, which the kernel tells as it tells that no port is left."""
    hookd = start()
    with world.network.without_ipv6():
        world.names.answers["both.example.com"] = [V6, V4]
        for endpoint, host in [("both", "both.example.com"), ("literal", f"[{V6}]")]:
            delivery = owe(hookd, endpoint, f"http://{host}:{PORT + 1}/").wait()  # where nobody listens
            attempt = delivery["last_attempt"]
            assert (attempt["result"], delivery["attempts"]) == ("connect", 1)
            assert attempt["message"] == f"no connection to [{V6}]:{PORT + 1}: this machine has no IPv6 address"
        assert hookd.manage.get("/v1/status").json["problems"] == []
        assert address_used(world, hookd, "used", [V6, V4]) == V4


# ---- One dead endpoint among many -------------------------------------------------------------


def test_endpoints_that_swallow_everything_delay_nobody_else(world, start):
    """Fault 38. All of 300 endpoints have work at the same time, and that of the good ones is done while not one attempt
    at a dead one has ended."""
    world.network.swallow("5.0.0.0/8")
    hookd = start()
    hookd.configure({"network": {"allow_http": "yes"}, "delivery": {"connect_timeout": "60s"}}, local=False)
    hookd.reload()
    dead = [ipaddress.ip_address("5.0.0.0") + i for i in range(30)]
    good = [ipaddress.ip_address("8.0.0.0") + i for i in range(270)]
    for address in dead + good:
        hookd.admin.add_endpoint(f"e-{address}", f"http://{address}:{PORT}/", types=["t"], timeout_s=60)
    events = [hookd.submit.submit("t", i)["id"] for i in range(5)]
    wait_until(lambda: hookd.manage.get("/v1/status").json["queue"]["pending"] == len(dead) * len(events), 30)
    for event in events:
        items = hookd.manage.all("/v1/deliveries", event=event)
        assert {d["endpoint"] for d in items if d["state"] == "delivered"} == {f"e-{a}" for a in good}
        assert {d["attempts"] for d in items if d["endpoint"] in {f"e-{a}" for a in dead}} == {0}
    assert {a for a in world.network.tried() if a in ipaddress.ip_network("5.0.0.0/8")} == set(dead)
    hookd.kill()
