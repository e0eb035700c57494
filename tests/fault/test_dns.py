"""DNS that misbehaves (fault 41): each answer has its one outcome, and nobody else waits for it.

Whose fault silence is, ours or the name's, is looked at in system/test_network.py. Here one sender asks for all bad
names at the same time, while it goes on delivering to a good one.
"""

import os
import re
import socket
import statistics
import struct
import threading
import time

import pytest

from harness import PATIENCE, Receiver, closed_port, wait_until
from hostile import Hostile, owe, running_hookd
from nameserver import A, AAAA, NXDOMAIN, REFUSED, SERVFAIL, SILENCE, Names, Reply

FORMERR, NOTIMP = 1, 4
HERE = "127.0.0.1"
GIVEN_UP_S = (4.9, 5.6)  # 0.7 + 1.4 + 2.8 s: three tries at one server


def here(n):
    """That many addresses, all of them allowed."""
    return [f"127.{i // 62500}.{i // 250 % 250}.{i % 250 + 1}" for i in range(n)]


def dns(words):
    return "dns", f"DNS: NAME{words}"


def refused(words):
    return "address", f"refused by the address rules: NAME is {words}"


DELIVERED = "ok", "204 No Content"
TOO_MANY = dns(": it has more than 32 addresses")
NOWHERE = dns(" has no address")
UNHEARD = dns(": Timeout while contacting DNS servers")
INSIDE = refused("10.0.0.1:PORT, a private network")
AT_ONCE = (0, 0.3)
SLACK_S = 4  # of a busy machine; less than giving up takes

# name: (answer, (result, message), seconds)
BAD_NAMES = {
    "nxdomain": (NXDOMAIN, NOWHERE, AT_ONCE),
    "nothing": ([], NOWHERE, AT_ONCE),
    "servfail": (SERVFAIL, dns(": DNS server returned general failure"), AT_ONCE),
    "refused": (REFUSED, dns(": DNS server refused query"), (0, 1)),
    "formerr": (FORMERR, dns(": DNS server claims query was misformatted"), AT_ONCE),
    "notimp": (NOTIMP, dns(": DNS server does not implement requested operation"), AT_ONCE),
    "silent": (SILENCE, UNHEARD, GIVEN_UP_S),
    "late": (Reply([HERE], delay=10), UNHEARD, GIVEN_UP_S),
    "slow": (Reply([HERE], delay=1), DELIVERED, (1, 1.5)),
    "alias-loop": (Reply(aliases=["alias-loop.example.com"]), NOWHERE, AT_ONCE),
    "alias-circle": (Reply(aliases=["a.example.com", "b.example.com", "alias-circle.example.com"]), NOWHERE, AT_ONCE),
    "aliases": (Reply([HERE], aliases=[f"c{i}.example.com" for i in range(15)]), DELIVERED, AT_ONCE),
    "alias-inside": (Reply(["10.0.0.1"], aliases=["db.internal"]), INSIDE, AT_ONCE),
    "truncated": (Reply([HERE], truncated=True), DELIVERED, AT_ONCE),
    "most": (Reply(here(32), truncated=True), DELIVERED, AT_ONCE),
    "too-many": (Reply(here(33), truncated=True), TOO_MANY, AT_ONCE),
    "500": (Reply(here(500), truncated=True), TOO_MANY, AT_ONCE),
    "3900": (Reply(here(3900), truncated=True), TOO_MANY, AT_ONCE),
    "mixed": ([HERE, "10.0.0.1"], INSIDE, AT_ONCE),
    "mixed-last": (Reply(here(31) + ["10.0.0.1"], truncated=True), INSIDE, AT_ONCE),
    "mixed-hidden": (Reply(here(40) + ["10.0.0.1"], truncated=True), TOO_MANY, AT_ONCE),
    "mixed-families": ([HERE, "fd00::1"], refused(r"\[fd00::1\]:PORT, not a public IPv6 network"), AT_ONCE),
}


@pytest.fixture(scope="module")
def happened():
    """All bad names at once: the deliveries by name, the name server, and meanwhile every 20 ms the durations in
    seconds of attempts at the good name and of calls to the API."""
    receiver, names = Receiver(), Names()
    names.answers = {f"{name}.example.com": row[0] for name, row in BAD_NAMES.items()}
    names.answers["good.example.com"] = [HERE]
    config = {"network": {"dns_servers": names.server}, "senders": {"count": "1"}}
    with running_hookd(config) as hookd:
        owe(hookd, "good", f"http://good.example.com:{receiver.port}/").wait()
        outcomes = {name: owe(hookd, f"e-{name}", f"http://{name}.example.com:{receiver.port}/") for name in BAD_NAMES}
        attempts, calls = [], []
        begin = time.monotonic()
        while time.monotonic() - begin < GIVEN_UP_S[1]:
            event = hookd.submit.submit("good", 1)["id"]
            attempts.append(hookd.manage.wait_for(event, "good", "delivered")["last_attempt"]["duration_ms"] / 1000)
            called = time.monotonic()
            assert hookd.manage.get("/v1/status").json["problems"] == []
            calls.append(time.monotonic() - called)
            time.sleep(0.02)
        deliveries = {name: outcome.wait() for name, outcome in outcomes.items()}
        yield deliveries, names, receiver, attempts, calls
    names.close()
    receiver.close()


@pytest.mark.parametrize("name", BAD_NAMES)
def test_every_answer_about_a_name_has_its_one_outcome(happened, name):
    deliveries, _, receiver, _, _ = happened
    _, (result, message), (shortest, longest) = BAD_NAMES[name]
    delivery, attempt = deliveries[name], deliveries[name]["last_attempt"]
    expected = message.replace("NAME", f"{name}.example.com").replace("PORT", str(receiver.port))
    assert attempt["result"] == result and re.fullmatch(expected, attempt["message"]), attempt
    assert delivery["attempts"] == len(delivery["history"]) == 1
    assert len([r for r in receiver.requests if r.id == delivery["event"]]) == (1 if result == "ok" else 0)
    assert shortest * 1000 - 50 <= attempt["duration_ms"] <= (longest + SLACK_S) * 1000


def test_what_does_not_fit_a_datagram_is_asked_for_over_tcp(happened):
    names = happened[1]
    for name in ["truncated", "most", "500"]:
        assert {q[1] for q in names.asked_over_tcp if q[0] == f"{name}.example.com"} == {A, AAAA}


def test_meanwhile_others_are_delivered_and_hookd_answers_as_if_nothing_were(happened):
    _, _, _, attempts, calls = happened
    assert len(attempts) > 20
    for durations in (attempts, calls):
        # A busy machine makes a few of them slow. Who waits for a name waits until it is given up, or each time.
        assert statistics.median(durations) < 0.02 * PATIENCE
        assert sum(duration > 0.4 for duration in durations) <= 3 and max(durations) < GIVEN_UP_S[0]


# ---- Between the check and the connection -----------------------------------------------------


def test_an_attempt_asks_once_and_goes_to_the_address_that_was_checked(make_hookd):
    """The second answer, a moment later, would lead elsewhere. A question that is sent again, because its answer takes
    long, has the same id, and is the same one."""
    names, receiver, inner = Names(), Hostile(lambda c: c.read_request()), Hostile(lambda c: None, address="127.0.0.9")

    def questions():
        return {(id, kind) for name, kind, id in names.ids if name == "shifty.example.com"}

    names.answers["shifty.example.com"] = lambda: [HERE] if len(questions()) <= 2 else ["127.0.0.9"]
    hookd = make_hookd({"network": {"dns_servers": names.server, "allow_private": "127.0.0.1/32 127.0.0.9/32"}})
    attempt = owe(hookd, "e", f"http://shifty.example.com:{receiver.port}/").wait()["last_attempt"]
    assert attempt["address"] == f"{HERE}:{receiver.port}" and receiver.whole == 1
    assert sorted(kind for _, kind in questions()) == [A, AAAA] and inner.connections == 0
    names.close()
    receiver.close()
    inner.close()


# ---- Servers that lie -------------------------------------------------------------------------


def answer_to(question, owner, data):
    """An answer of one A record; owner: the name in the record, b"\\xc0\\x0c" for the one that was asked for."""
    record = owner + struct.pack(">HHIH", 1, 1, 60, len(data)) + data
    return question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question[12:] + record


ASKED, HERE_BYTES = b"\xc0\x0c", socket.inet_aton(HERE)

# name: (datagrams for a question, (result, message))
LIES = {
    "garbage": (lambda q: [os.urandom(512)], UNHEARD),
    "nothing": (lambda q: [b""], UNHEARD),
    "another-id": (lambda q: [bytes(b ^ 0xff for b in q[:2]) + answer_to(q, ASKED, HERE_BYTES)[2:]], UNHEARD),
    "another-question": (lambda q: [answer_to(q[:12] + b"\x05other\x07example\0\0\x01\0\x01", ASKED, HERE_BYTES)],
                         UNHEARD),
    "endless-name": (lambda q: [answer_to(q, b"\xc0" + bytes([len(q)]), HERE_BYTES)], dns(": Misformatted DNS reply")),
    "cut-off": (lambda q: [answer_to(q, ASKED, HERE_BYTES)[:-2]], dns(": Misformatted DNS reply")),
    "three-bytes": (lambda q: [answer_to(q, ASKED, HERE_BYTES[:3])], NOWHERE),
    "another-owner": (lambda q: [answer_to(q, b"\x05other\0", HERE_BYTES)], NOWHERE),
    "flood": (lambda q: [os.urandom(100)] * 100, UNHEARD),
}


def run_liar(server):
    """Answers about NAME.example.com as the lie of that name, and about everything else that there is no such name."""
    while True:
        try:
            question, peer = server.recvfrom(2048)
            name = question[13:13 + question[12]].decode()
            lie = LIES.get(name, (lambda q: [q[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + q[12:]],))[0]
            for datagram in lie(question):
                server.sendto(datagram, peer)
        except OSError:
            return


@pytest.fixture(scope="module")
def lied_to():
    """What came of a delivery for each lie, and the receiver at the address in it."""
    receiver = Hostile(lambda connection: connection.read_request())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HERE, 0))
        threading.Thread(target=run_liar, args=(server,), daemon=True).start()
        config = {"network": {"dns_servers": f"{HERE}:{server.getsockname()[1]}"}, "senders": {"count": "1"}}
        with running_hookd(config) as hookd:
            outcomes = {name: owe(hookd, name, f"http://{name}.example.com:{receiver.port}/") for name in LIES}
            deliveries = {name: outcome.wait() for name, outcome in outcomes.items()}
            assert hookd.metric("hookd_sender_restarts_total") == 0
            yield deliveries, receiver
    receiver.close()


@pytest.mark.parametrize("name", LIES)
def test_a_lie_of_a_name_server_leads_nowhere(lied_to, name):
    deliveries, receiver = lied_to
    attempt = deliveries[name]["last_attempt"]
    result, message = LIES[name][1]
    assert attempt["result"] == result and attempt["message"] == message.replace("NAME", f"{name}.example.com")
    assert deliveries[name]["attempts"] == 1 and receiver.connections == 0


# ---- Servers that are not there ---------------------------------------------------------------


def test_a_resolver_that_is_down_costs_nobody_an_attempt_and_addresses_work_on(make_hookd, receive):
    receiver = receive()
    hookd = make_hookd({"network": {"dns_servers": f"{HERE}:{closed_port()}"}, "senders": {"count": "1"}})
    named = [owe(hookd, f"n{i}", f"http://n{i}.example.com:{receiver.port}/") for i in range(50)]
    addressed = [owe(hookd, f"a{i}", receiver.url).wait() for i in range(20)]
    assert {delivery["state"] for delivery in addressed} == {"delivered"}
    assert statistics.median(delivery["last_attempt"]["duration_ms"] for delivery in addressed) < 100 * PATIENCE
    wait_until(lambda: [p["code"] for p in hookd.manage.get("/v1/status").json["problems"]] == ["no_dns"])
    for outcome in named:
        delivery = hookd.manage.delivery(outcome.event, outcome.endpoint)
        assert delivery["state"] == "pending" and delivery["attempts"] == 0 and delivery["history"] == []
