"""TLS (faults 39 and 40): a receiver that cannot prove who it is gets nothing but the handshake, once, and the
attempt says why. HTTP/2 is not spoken, nor offered."""

import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
import time

import pytest

from authority import Authority
from harness import free_port, temporary_directory, wait_until
from hostile import Hostile, owe, running_hookd
from nameserver import Names

CONNECT_S = 1
SLACK_S = 4  # of a busy machine
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


# ---- What receivers do ------------------------------------------------------------------------


def serve_with(context):
    def serve(connection):
        connection.start_tls(context)
        connection.read_request()
        connection.send(OK)
    return serve


def refuse_with(context):
    """Fails the handshake, and waits for the client to go: its bytes that nobody reads would reset the connection."""
    def serve(connection):
        raw = socket.socket(fileno=os.dup(connection.socket.fileno()))
        with contextlib.suppress(OSError):
            connection.start_tls(context)
        with contextlib.suppress(OSError), raw:
            while raw.recv(65536):
                pass
    return serve


def stall(data):
    def serve(connection):
        connection.read()
        connection.send(data)
        connection.hold()
    return serve


def dribble_the_handshake(connection):
    connection.read()
    connection.send(b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc")  # a ServerHello of 4092 bytes
    while True:
        connection.send(b"\0")
        time.sleep(0.3)


def reset_in_the_handshake(connection):
    connection.read()
    connection.reset()


def answer_in_plain_text(connection):
    connection.read()
    connection.send(OK)


def speak_http_2_all_the_same(context):
    def serve(connection):
        connection.start_tls(context)
        connection.read()
        connection.send(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64")  # SETTINGS
        connection.hold()
    return serve


def versions(context, lowest, highest):
    context.minimum_version, context.maximum_version = lowest, highest
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def demand_certificate(context, authority, version):
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    return context


def huge_chain(authority, directory):
    """A good certificate, and behind it more others than anybody should read: over 100 KB."""
    certificate, key = authority.sign(["IP:127.0.0.1"])
    chain = os.path.join(directory, "chain.pem")
    with open(chain, "w") as file, open(certificate) as first, open(authority.certificate) as other:
        file.write(first.read() + other.read() * 400)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def receivers_of(authority, directory):
    """name: (what the receiver does, the attempt's result, its message)"""
    ours = ["IP:127.0.0.1"]
    stranger = Authority(directory, "stranger")
    return {
        "good": (serve_with(authority.issue(ours)), "ok", "200 OK"),
        "expired": (serve_with(authority.issue(ours, days=0)), "tls", "certificate has expired"),
        "another address": (serve_with(authority.issue(["IP:127.0.0.2"])), "tls",
                            "no alternative certificate subject name matches target host name '127.0.0.1'"),
        "another name": (serve_with(authority.issue(["DNS:example.com"])), "tls",
                         "no alternative certificate subject name matches target host name '127.0.0.1'"),
        "self-signed": (serve_with(authority.issue(ours, selfsigned=True)), "tls", "self-signed certificate"),
        "unknown authority": (serve_with(stranger.issue(ours)), "tls", "unable to get local issuer certificate"),
        "TLS 1.1": (refuse_with(versions(authority.issue(ours), ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)), "tls",
                    "alert protocol version"),
        "demands a certificate, TLS 1.2": (
            refuse_with(demand_certificate(authority.issue(ours), authority, ssl.TLSVersion.TLSv1_2)), "tls",
            "alert handshake failure"),
        "demands a certificate, TLS 1.3": (
            refuse_with(demand_certificate(authority.issue(ours), authority, ssl.TLSVersion.TLSv1_3)), "tls",
            "alert certificate required"),
        "huge chain": (serve_with(huge_chain(authority, directory)), "tls", "excessive message size"),
        "stalls at once": (stall(b""), "tls", "TLS: no handshake with 127.0.0.1:[0-9]+ in time"),
        "stalls within a record": (stall(b"\x16\x03\x03\x10\x00"), "tls", "TLS: no handshake with .* in time"),
        "dribbles": (dribble_the_handshake, "tls", "TLS: no handshake with .* in time"),
        "resets": (reset_in_the_handshake, "tls", "Connection reset by peer"),
        "plain text": (answer_in_plain_text, "tls", "wrong version number"),
        "HTTP/2 only": (speak_http_2_all_the_same(authority.issue(ours)), "protocol",
                        "Received HTTP/0.9 when not allowed"),
    }


NAMES = ["good", "expired", "another address", "another name", "self-signed", "unknown authority", "TLS 1.1",
         "demands a certificate, TLS 1.2", "demands a certificate, TLS 1.3", "huge chain", "stalls at once",
         "stalls within a record", "dribbles", "resets", "plain text", "HTTP/2 only"]
STALLED = ["stalls at once", "stalls within a record", "dribbles"]


# ---- All at once ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    with temporary_directory() as directory:
        yield Authority(directory)


@pytest.fixture(scope="module")
def hookd(authority):
    """For receivers that do something, however long a busy machine takes for it."""
    with running_hookd({"network": {"ca_file": authority.certificate}, "delivery": {"connect_timeout": "30s"}}) as hookd:
        yield hookd


@pytest.fixture(scope="module")
def impatient(authority):
    with running_hookd({"network": {"ca_file": authority.certificate}, "delivery": {"connect_timeout": f"{CONNECT_S}s"}}
                       ) as hookd:
        yield hookd


def owe_tls(hookd, name, receiver):
    return owe(hookd, name, receiver.url.replace("http:", "https:"))


@pytest.fixture(scope="module")
def happened(hookd, impatient, authority):
    """What came of all of them: (receiver, delivery, result, message) by name."""
    table = receivers_of(authority, authority.directory)
    assert list(table) == NAMES
    time.sleep(1.1)  # until the certificate of no day has expired
    receivers = {name: Hostile(row[0]) for name, row in table.items()}
    outcomes = {name: owe_tls(impatient if name in STALLED else hookd, f"e{i}", receivers[name])
                for i, name in enumerate(NAMES)}
    deliveries = {name: outcome.wait() for name, outcome in outcomes.items()}
    yield {name: (receivers[name], deliveries[name], *table[name][1:]) for name in NAMES}
    for receiver in receivers.values():
        receiver.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_receiver_that_cannot_prove_itself_gets_nothing_and_the_attempt_says_why(happened, name):
    receiver, delivery, result, message = happened[name]
    attempt = delivery["last_attempt"]
    assert attempt["result"] == result and re.search(message, attempt["message"]), attempt
    assert delivery["attempts"] == len(delivery["history"]) == 1
    assert attempt["address"] == f"127.0.0.1:{receiver.port}"
    # One connection: nothing was tried again with less of a check. Nobody unproven saw a request.
    assert receiver.connections == 1
    assert receiver.whole == (1 if result == "ok" else 0) == len(receiver.ids)


@pytest.mark.parametrize("name", STALLED)
def test_a_handshake_that_stalls_ends_at_the_connect_timeout(happened, name):
    duration = happened[name][1]["last_attempt"]["duration_ms"]
    assert CONNECT_S * 1000 - 50 <= duration <= (CONNECT_S + SLACK_S) * 1000


def test_after_a_stalled_handshake_the_next_address_is_tried(make_hookd, authority):
    names = Names()
    names.answers["two.example.com"] = ["127.0.0.5", "127.0.0.6"]
    stalled = Hostile(stall(b""), address="127.0.0.5")
    good = Hostile(serve_with(authority.issue(["DNS:two.example.com"])), address="127.0.0.6", port=stalled.port)
    hookd = make_hookd({"network": {"ca_file": authority.certificate, "dns_servers": names.server},
                        "delivery": {"connect_timeout": "2s"}})
    delivery = owe(hookd, "two", f"https://two.example.com:{good.port}/").wait()
    assert delivery["state"] == "delivered" and delivery["attempts"] == 1
    assert delivery["last_attempt"]["address"] == f"127.0.0.6:{good.port}" and stalled.connections == 1
    names.close()
    stalled.close()
    good.close()


# ---- HTTP/2 is not offered --------------------------------------------------------------------


def extension(hello, wanted):
    """The content of one extension of a ClientHello (RFC 8446 section 4.1.2), or None."""
    at = 5 + 4 + 2 + 32  # record, handshake, version, random
    at += 1 + hello[at]  # session id
    at += 2 + struct.unpack_from(">H", hello, at)[0]  # cipher suites
    at += 1 + hello[at]  # compression methods
    end = at + 2 + struct.unpack_from(">H", hello, at)[0]
    at += 2
    while at < end:
        kind, length = struct.unpack_from(">HH", hello, at)
        if kind == wanted:
            return hello[at + 4:at + 4 + length]
        at += 4 + length
    return None


SERVER_NAME, ALPN = 0, 16


def test_http_1_1_alone_is_offered(hookd):
    hellos = []
    receiver = Hostile(lambda connection: hellos.append(connection.read()))
    owe_tls(hookd, "hello", receiver).wait()
    assert len(hellos) == 1 and extension(hellos[0], ALPN) == b"\x00\x09\x08http/1.1"
    assert extension(hellos[0], SERVER_NAME) is None  # an address is no name
    receiver.close()


def test_a_server_that_insists_on_http_2_fails_with_its_reason(hookd, authority):
    certificate, key = authority.sign(["IP:127.0.0.1"])
    port = free_port()
    with subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key,
                           "-alpn", "h2", "-quiet"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
        wait_until(listens)
        delivery = owe(hookd, "h2", f"https://127.0.0.1:{port}/").wait()
        server.kill()
    assert delivery["attempts"] == 1 and delivery["last_attempt"]["result"] == "tls"
    assert "alert no application protocol" in delivery["last_attempt"]["message"]


def test_an_upgrade_to_http_2_is_not_asked_for(hookd):
    receiver = Hostile(lambda connection: connection.read_request())
    owe(hookd, "plain", receiver.url).wait()
    [head] = receiver.heads
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert b"upgrade" not in head.lower() and b"http2-settings" not in head.lower()
    receiver.close()
