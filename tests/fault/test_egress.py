"""Hostile receivers (faults 31 to 37): every attempt ends in time, is judged by what the answer's head says, counts
once, and costs bounded memory.

The faults wait, most of them; so all of them happen to one hookd at the same time, and each test looks at one.
"""

import dataclasses
import gzip
import os
import re
import shutil
import socket
import time
import typing

import pytest

from authority import Authority
from harness import PATIENCE, Receiver, closed_port, injected, strace, wait_until
from hostile import QUARANTINE, Hostile, owe, running_hookd

LIMIT_S = 2
PATIENT_S = 20  # of attempts that are to end before their limit
LARGE = bytes(i * 7 % 251 for i in range(1000000))  # more than socket buffers hold


@dataclasses.dataclass
class Expected:
    """What one attempt at a receiver has to come to."""
    serve: typing.Callable
    result: str
    message: str
    http_status: int = None
    payload: bytes = b"{}"
    seen: int = 1  # how many requests the receiver saw the head of
    whole: int = None  # how many with their bodies; as many, if not said otherwise
    response: str = None
    seconds: tuple = (0, PATIENT_S / 2)  # how long the attempt takes

    @property
    def limit_s(self):
        return LIMIT_S if self.seconds == AT_LIMIT["seconds"] else PATIENT_S

    @property
    def state(self):
        return "delivered" if self.result == "ok" else "dead"


# ---- What receivers do ------------------------------------------------------------------------


def answer(data):
    """Answers a whole request with these bytes, and waits for the end."""
    def serve(connection):
        connection.read_request()
        connection.send(data)
        connection.read()
    return serve


def answer_and_close(data):
    def serve(connection):
        connection.read_request()
        connection.send(data)
    return serve


def dribble_all(data):
    """The answer itself, one byte every 0.3 s."""
    def serve(connection):
        connection.read_request()
        for byte in data:
            connection.send(bytes([byte]))
            time.sleep(0.3)
    return serve


def dribble(data, then=b"x"):
    """One byte every 0.3 s, and never the end."""
    def serve(connection):
        connection.read_request()
        connection.send(data)
        while True:
            connection.send(then)
            time.sleep(0.3)
    return serve


def flood(data, then):
    """As much as hookd takes, for ever."""
    def serve(connection):
        connection.read_request()
        connection.send(data)
        while True:
            connection.send(then)
    return serve


def never_read(connection):
    connection.hold()


def never_answer(connection):
    connection.read_request()
    connection.hold()


def reset_unread(connection):
    connection.socket.recv(1, socket.MSG_PEEK)
    connection.reset()


def reset_mid_upload(connection):
    connection.read_head()
    connection.reset()


def reset_after_the_request(connection):
    connection.read_request()
    connection.reset()


def answer_early(data):
    """Answers as soon as the head is there, and reads no body."""
    def serve(connection):
        connection.read_head()
        connection.send(data)
        connection.hold()
    return serve


def answer_early_and_go_on_reading(data):
    def serve(connection):
        connection.read_head()
        connection.send(data)
        while connection.read():
            pass
    return serve


def head(status, *lines, end=True):
    return f"HTTP/1.1 {status}\r\n".encode() + b"".join(line + b"\r\n" for line in lines) + (b"\r\n" if end else b"")


# ---- What has to come of it -------------------------------------------------------------------

TIMEOUT = {"result": "timeout", "message": f"timeout: no answer within {LIMIT_S} s",
           "seconds": (LIMIT_S - 0.05, LIMIT_S + 4)}
AT_LIMIT = {"seconds": TIMEOUT["seconds"]}
RESET = {"result": "protocol", "message": r"(Recv|Send) failure: (Connection reset by peer|Broken pipe)|"
         r"Failed sending data to the peer|Failure when receiving data from the peer"}
TOO_LONG = {"result": "protocol", "message": "more than 64 KiB of headers"}
LINE_TOO_LONG = {"result": "protocol", "message": "the answer's headers are too long"}
OK = {"result": "ok", "message": "200 OK", "http_status": 200}
EMPTY, CHUNKED = b"Content-Length: 0", b"Transfer-Encoding: chunked"

SLOW = {
    "never reads": Expected(never_read, payload=LARGE, seen=0, **TIMEOUT),
    "never answers": Expected(never_answer, **TIMEOUT),
    "dribbles the status line": Expected(dribble_all(head("200 OK")), **TIMEOUT),
    "dribbles headers": Expected(dribble(head("200 OK", end=False)), **TIMEOUT),
    "dribbles interim answers": Expected(dribble(b"", head("102 Processing")), **TIMEOUT),
    "dribbles the body of a success": Expected(dribble(head("200 OK", b"Content-Length: 1000")), **OK, **AT_LIMIT),
    "dribbles the body of a failure": Expected(
        dribble(head("500 No", b"Content-Length: 1000")), "status", "500 Internal Server Error", 500,
        response="x{2,8}", **AT_LIMIT),
    "dribbles chunks": Expected(dribble(head("200 OK", CHUNKED), b"1\r\nx\r\n"), **OK, **AT_LIMIT),
    "says only 100 Continue": Expected(answer(head("100 Continue")), **TIMEOUT),
    "switches protocols": Expected(answer(head("101 Switching Protocols", b"Upgrade: h2c", b"Connection: upgrade")),
                                   **TIMEOUT),
}

BROKEN = {
    "resets with the request unread": Expected(reset_unread, seen=0, **RESET),
    "resets in the middle of the upload": Expected(reset_mid_upload, payload=LARGE, whole=0, **RESET),
    "resets after the request": Expected(reset_after_the_request, **RESET),
    "closes after the request": Expected(
        answer_and_close(b""), "protocol", "the connection was closed without an answer"),
    "closes after an interim answer": Expected(
        answer_and_close(head("100 Continue")), "protocol", "the connection was closed .*"),
    "closes in the middle of the head": Expected(
        answer_and_close(b"HTTP/1.1 200 OK\r\nContent-Le"), "protocol",
        "the connection was closed in the middle of the answer's headers"),
    "closes in the middle of the body": Expected(answer_and_close(head("200 OK", b"Content-Length: 9") + b"x"), **OK),
    "closes in the middle of a failure's body": Expected(
        answer_and_close(head("503 Later", b"Content-Length: 9") + b"busy"), "status", "503 Service Unavailable", 503,
        response="busy"),
}

ENDLESS = {
    "103 for ever": Expected(flood(b"", head("103 Early Hints", b"Link: </a>") * 100), **TOO_LONG),
    "100 for ever": Expected(flood(b"", head("100 Continue") * 100), **TOO_LONG),
    "a million headers": Expected(flood(head("200 OK", end=False), b"a: b\r\n" * 1000), **TOO_LONG),
    "a header line of megabytes": Expected(flood(head("200 OK", b"", end=False)[:-2] + b"X: ", b"b" * 100000),
                                           **LINE_TOO_LONG),
    "a status line of megabytes": Expected(flood(b"HTTP/1.1 200 ", b"b" * 100000), **LINE_TOO_LONG),
    "no line at all": Expected(flood(b"", b"b" * 100000), "protocol", "Received HTTP/0.9 when not allowed"),
    "a body without end": Expected(flood(head("200 OK"), b"b" * 100000), **OK),
    "a body of 10 GB": Expected(flood(head("200 OK", b"Content-Length: 10000000000"), b"b" * 100000), **OK),
    "a failure's body of 10 GB": Expected(
        flood(head("500 No", b"Content-Length: 10000000000"), b"b" * 100000), "status", "500 Internal Server Error",
        500, response="b{1024}"),
    "chunks without end": Expected(
        flood(head("200 OK", CHUNKED), b"186a0\r\n" + b"b" * 100000 + b"\r\n"), **OK),
    "a chunk size without end": Expected(flood(head("200 OK", CHUNKED), b"0" * 100000), **OK),
    "trailers without end": Expected(
        flood(head("200 OK", CHUNKED) + b"0\r\n", b"X-A: b\r\n" * 1000), **OK),
    "a compressed bomb": Expected(
        answer(head("500 No", b"Content-Encoding: gzip", b"Content-Length: %d" % len(gzip.compress(bytes(10 << 20)))) +
               gzip.compress(bytes(10 << 20))), "status", "500 Internal Server Error", 500, response="(?s).{1,1024}"),
}

MALFORMED = {
    "not HTTP": Expected(answer(b"220 mail.example ESMTP\r\n"), "protocol", "Received HTTP/0.9 when not allowed"),
    "status 000": Expected(answer(head("000 Hi", EMPTY)), "protocol", "Unsupported response code in HTTP response"),
    "status 20": Expected(answer(head("20 OK", EMPTY)), "protocol", "Unsupported response code in HTTP response"),
    "status 2000": Expected(answer(head("2000 OK", EMPTY)), "protocol", "Unsupported response code in HTTP response"),
    "status abc": Expected(answer(head("abc OK", EMPTY)), "protocol", "Unsupported HTTP version in response"),
    "status 999": Expected(answer(head("999 Hi", EMPTY)), "status", "999", 999, response=""),
    "HTTP/3.1": Expected(answer(b"HTTP/3.1 200 OK\r\n\r\n"), "protocol",
                         r"Unsupported HTTP version \(3.1\) in response"),
    "a negative length": Expected(answer(head("200 OK", b"Content-Length: -3")), "protocol",
                                  "Invalid Content-Length: value"),
    "NUL in a header": Expected(answer(head("200 OK", b"X: a\0b", EMPTY)), "protocol", "Nul byte in header"),
    "two lengths": Expected(answer(head("200 OK", b"Content-Length: 0", b"Content-Length: 5")), **OK, **AT_LIMIT),
    "a bad chunk size": Expected(answer(head("200 OK", CHUNKED) + b"zz\r\n"), **OK),
    "two answers": Expected(answer(head("500 No", EMPTY) + head("200 OK", EMPTY)), "status",
                            "500 Internal Server Error", 500, response=""),
}

EARLY = {
    "200, and holds": Expected(answer_early(head("200 OK", EMPTY)), payload=LARGE, whole=0, **OK),
    "200, and goes on reading": Expected(answer_early_and_go_on_reading(head("200 OK", EMPTY)), payload=LARGE, whole=0,
                                         **OK),
    "413, and holds": Expected(answer_early(head("413 No", EMPTY)), "status", "413 Content Too Large", 413,
                               payload=LARGE, whole=0, response=""),
    "413, and goes on reading": Expected(answer_early_and_go_on_reading(head("413 No", EMPTY)), "status",
                                         "413 Content Too Large", 413, payload=LARGE, whole=0, response=""),
    "417": Expected(answer(head("417 No", EMPTY)), "status", "417 Expectation Failed", 417, response=""),
    "a 103 first": Expected(answer(head("103 Early Hints") + head("200 OK", EMPTY)), **OK),
}

GROUPS = {"slow": SLOW, "broken": BROKEN, "endless": ENDLESS, "malformed": MALFORMED, "early": EARLY}


# ---- All at once ------------------------------------------------------------------------------


class Happened:
    """What came of all the faults: deliveries and receivers by (group, name)."""

    def __init__(self):
        self.deliveries, self.receivers = {}, {}


@pytest.fixture(scope="module")
def happened():
    result, outcomes = Happened(), {}
    with running_hookd() as hookd:
        faults = {(group, name): fault for group, names in GROUPS.items() for name, fault in names.items()}
        for i, (key, fault) in enumerate(faults.items()):
            receiver = result.receivers[key] = Hostile(fault.serve)
            outcomes[key] = owe(hookd, f"e{i}", receiver.url, fault.payload, timeout_s=fault.limit_s)
        for key, outcome in outcomes.items():
            result.deliveries[key] = outcome.wait()
        for receiver in result.receivers.values():
            receiver.close()
        yield result


def check(happened, group, name):
    expected, delivery = GROUPS[group][name], happened.deliveries[group, name]
    receiver, attempt = happened.receivers[group, name], delivery["last_attempt"]
    assert (delivery["state"], attempt["result"], attempt["http_status"]) == (
        expected.state, expected.result, expected.http_status), attempt
    assert re.fullmatch(expected.message, attempt["message"]), attempt
    if expected.response is None:
        assert attempt["response"] is None
    else:
        assert re.fullmatch(expected.response, attempt["response"]), attempt
    shortest, longest = expected.seconds
    assert shortest * 1000 <= attempt["duration_ms"] <= longest * 1000
    # It counts once, and the receiver saw one request.
    assert delivery["attempts"] == 1 and len(delivery["history"]) == 1
    assert receiver.connections == 1 and receiver.ids == [delivery["event"]] * expected.seen
    assert receiver.whole == (expected.seen if expected.whole is None else expected.whole)


@pytest.mark.parametrize("name", SLOW)
def test_an_attempt_ends_at_its_time_limit_whatever_the_receiver_does(happened, name):
    check(happened, "slow", name)


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_that_breaks_is_one_attempt_with_its_reason(happened, name):
    check(happened, "broken", name)


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_is_cut_off_at_once(happened, name):
    check(happened, "endless", name)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_has_one_meaning(happened, name):
    check(happened, "malformed", name)


@pytest.mark.parametrize("name", EARLY)
def test_an_answer_counts_before_the_upload_is_through(happened, name):
    check(happened, "early", name)


def test_no_receiver_is_asked_for_100_continue(happened):
    heads = [head for receiver in happened.receivers.values() for head in receiver.heads]
    assert len(heads) > 30 and not [head for head in heads if b"\r\nexpect:" in head.lower()]


def test_a_connection_that_is_reset_at_once_is_one_attempt_before_it_is_there_or_after(make_hookd):
    """A reset that overtakes the news of the connection makes it none."""
    hookd, receiver = make_hookd(), Hostile(lambda connection: connection.reset())
    outcomes = [owe(hookd, f"e{i}", receiver.url) for i in range(20)]
    for outcome in outcomes:
        delivery = outcome.wait()
        attempt = delivery["last_attempt"]
        assert delivery["attempts"] == 1 and attempt["result"] in ("connect", "protocol")
        if attempt["result"] == "connect":
            assert attempt["message"] == f"no connection to 127.0.0.1:{receiver.port}: Connection reset by peer"
        else:
            assert re.fullmatch(RESET["message"], attempt["message"])
    assert receiver.connections == len(outcomes) and receiver.ids == []
    receiver.close()


def test_a_connection_whose_other_end_is_gone_before_the_request_is_none(make_hookd):
    """The kernel no longer tells whom it was with, and to whom is not known nothing is sent."""
    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(lambda connection: connection.read_request())
    [sender] = hookd.confined_senders()
    with injected(sender, "getpeername:error=ENOTCONN"):
        attempt = owe(hookd, "e", receiver.url).wait()["last_attempt"]
    message = f"no connection to 127.0.0.1:{receiver.port}: Connection reset by peer"
    assert (attempt["result"], attempt["message"]) == ("connect", message) and receiver.ids == []
    receiver.close()


# ---- Kept connections that end ----------------------------------------------------------------


def cpu_seconds(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def test_a_request_that_meets_the_end_of_a_kept_connection_is_sent_again_within_the_attempt(make_hookd):
    """libcurl does that by itself. It is one attempt, and what comes twice has the same id and signature."""
    def serve_once(connection):
        connection.read_request()
        connection.send(head("204 No Content"))
        connection.read_request()  # and no answer

    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(serve_once)
    first = owe(hookd, "kept", receiver.url)
    assert first.wait()["attempts"] == 1
    second = hookd.submit.submit("kept", 2)["id"]
    assert hookd.manage.wait_for(second, "kept", "delivered")["attempts"] == 1
    assert receiver.ids == [first.event, second, second] and receiver.connections == 2
    assert receiver.heads[1] == receiver.heads[2]
    receiver.close()


def test_an_upload_that_meets_the_end_of_a_kept_connection_is_sent_again_within_the_attempt(make_hookd):
    """libcurl does so only if it meets it reading. The end comes while so much is being sent that both are possible."""
    def serve_once(connection):
        connection.read_request()
        connection.send(head("204 No Content"))
        connection.socket.recv(1, socket.MSG_PEEK)  # the next one has begun
        connection.reset()

    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(serve_once)
    hookd.admin.add_endpoint("kept", receiver.url, retry_schedule_s=[])
    for i in range(60):
        event = hookd.submit.call("POST", "/v1/events", LARGE, type="t").json["id"]
        assert hookd.manage.wait_for(event, "kept", "delivered")["attempts"] == 1
    assert receiver.connections == receiver.whole == 60
    receiver.close()


@pytest.mark.parametrize("end", ["closed", "reset", "closed without a word of TLS"])
def test_however_many_kept_connections_have_ended_one_attempt_gets_through(make_hookd, directory, end):
    """libcurl sends again five times by itself, and takes kept ones each time; then comes a new one."""
    kept, authority = [], Authority(directory) if "TLS" in end else None

    def serve(connection):
        if authority:
            connection.start_tls(context)
        while connection.read_request() and connection.number not in kept:
            time.sleep(0.3)  # so that others come meanwhile, on connections of their own
            connection.send(head("204 No Content"))
        if end == "reset":
            connection.reset()

    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(serve)
    url, members = receiver.url, {}
    if authority:
        context = authority.issue(["IP:127.0.0.1"])
        os.mkdir(os.path.join(hookd.directory, "ca"))
        shutil.copy(authority.certificate, os.path.join(hookd.directory, "ca", "ours.pem"))
        url, members = url.replace("http:", "https:"), {"ca": "ours.pem"}
    hookd.admin.add_endpoint("kept", url, retry_schedule_s=[], max_in_flight=8, **members)
    batch = b"\n".join(b'{"type": "t", "data": 1}' for _ in range(24))  # at once, so that eight are under way
    stored = hookd.submit.call("POST", "/v1/events", batch, {"Content-Type": "application/x-ndjson"}).json["items"]
    for event in stored:
        hookd.manage.wait_for(event["id"], "kept", "delivered")
    kept.extend(range(1, receiver.connections + 1))
    event = hookd.submit.submit("t", 5)["id"]
    assert hookd.manage.wait_for(event, "kept", "delivered")["attempts"] == 1
    assert len(kept) >= 6 and receiver.ids.count(event) == 7
    receiver.close()


def test_ends_of_kept_connections_that_earlier_requests_met_are_not_counted(make_hookd):
    """A handle of libcurl's counts how often it sent again. The next request, which may be another customer's, begins
    anew."""
    def serve_once(connection):
        connection.read_request()
        connection.send(head("204 No Content"))
        connection.read_request()  # and no answer

    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(serve_once)
    hookd.admin.add_endpoint("kept", receiver.url, retry_schedule_s=[])
    for i in range(10):
        event = hookd.submit.submit("t", i)["id"]
        assert hookd.manage.wait_for(event, "kept", "delivered")["attempts"] == 1
    assert receiver.connections == 10 and len(receiver.ids) == 19
    receiver.close()


@pytest.mark.parametrize("then", [b"", b"x" * 100000], ids=["ends", "talks"])
def test_a_kept_connection_that_ends_or_talks_while_nothing_is_asked_costs_nothing(make_hookd, then):
    def serve_once(connection):
        connection.read_request()
        connection.send(head("204 No Content"))
        time.sleep(0.2)  # the answer is dealt with
        if then:
            connection.send(then)
            connection.socket.recv(1)  # until it is closed

    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(serve_once)
    [sender] = hookd.senders()
    for i in range(3):
        assert owe(hookd, f"e{i}", receiver.url + f"{i}").wait()["attempts"] == 1
        time.sleep(0.5)
        before = cpu_seconds(sender)
        time.sleep(1)
        assert cpu_seconds(sender) - before < 0.02
    assert receiver.connections >= 2 and hookd.senders() == [sender]
    receiver.close()


def test_an_answer_that_a_reset_overtakes_is_the_answer_or_a_failure_and_is_never_sent_twice(make_hookd):
    """A server that answers early and closes with the upload unread sends a reset, which may overtake the answer
    (RFC 9112 section 9.6)."""
    def serve(connection):
        connection.read_head()
        connection.send(head("413 No", EMPTY))

    hookd, receiver = make_hookd(), Hostile(serve)
    outcomes = [owe(hookd, f"e{i}", receiver.url, LARGE) for i in range(20)]
    for outcome in outcomes:
        attempt = outcome.wait()["last_attempt"]
        assert attempt["result"] == "status" and attempt["http_status"] == 413 or (
            attempt["result"] == "protocol" and re.fullmatch(RESET["message"], attempt["message"]))
        wait_until(lambda: receiver.ids.count(outcome.event), what="the receiver has noted it, too")
        assert receiver.ids.count(outcome.event) == 1
    receiver.close()


# ---- How much is read -------------------------------------------------------------------------


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("first", [head("200 OK"), head("200 OK", b"Content-Length: 10000000000"),
                                   head("500 No", b"Content-Length: 10000000000")])
def test_of_an_endless_body_at_most_16_kib_are_read(make_hookd, directory, first):
    hookd, receiver = make_hookd({"senders": {"count": "1"}}), Hostile(flood(first, b"b" * 100000))
    trace, [sender] = os.path.join(directory, "trace"), hookd.senders()
    with strace(sender, "-e", "trace=recvfrom", log=trace):
        owe(hookd, "endless", receiver.url).wait()
    receiver.close()
    with open(trace) as file:
        read = [int(size) for size in re.findall(r"recvfrom\(.*\) += (\d+)", file.read())]
    assert 0 < sum(read) - len(first) <= 16384


def test_a_hundred_floods_at_once_cost_bounded_memory(make_hookd):
    hookd = make_hookd({"senders": {"count": "1"}})
    receivers = [Hostile(flood(first, then)) for first, then in [
        (b"", head("103 Early Hints", b"Link: </a>") * 100), (head("200 OK", end=False), b"a: b\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nX: ", b"b" * 100000), (head("200 OK"), b"b" * 100000)]]
    for i, receiver in enumerate(receivers):
        owe(hookd, f"warm{i}", receiver.url).wait()
    [sender] = hookd.senders()
    before = resident(sender)
    outcomes = [owe(hookd, f"e{i}", receivers[i % 4].url) for i in range(100)]
    for outcome in outcomes:
        outcome.wait()
    assert hookd.senders() == [sender] and resident(sender) - before < (16 << 20) + QUARANTINE
    for receiver in receivers:
        receiver.close()


# ---- Redirects --------------------------------------------------------------------------------


def test_no_redirect_is_followed_wherever_it_leads(hookd, receive):
    elsewhere, inner = Hostile(never_answer), Hostile(never_answer, address="127.0.0.3")
    receivers, outcomes = {}, {}
    for status in range(300, 309):
        for place in [elsewhere.url, inner.url, "http://10.0.0.1/", "file:///etc/passwd", "/self", "//127.0.0.3/",
                      f"http://127.0.0.1:{closed_port()}/"]:
            receiver = receive((status, {"Location": place, "Refresh": f"0; url={place}"}, b""))
            outcomes[status, place] = owe(hookd, f"e{len(outcomes)}", receiver.url)
            receivers[status, place] = receiver
    for (status, place), outcome in outcomes.items():
        delivery = outcome.wait()
        attempt = delivery["last_attempt"]
        assert (attempt["result"], attempt["http_status"], delivery["attempts"]) == ("status", status, 1), place
        assert len(receivers[status, place].requests) == 1, place
    assert elsewhere.connections == inner.connections == 0
    elsewhere.close()
    inner.close()


# ---- Retry-After ------------------------------------------------------------------------------

OWN_S, CAP_S = (0.8, 1.2), (4, 4)  # the schedule's wait with its jitter; [delivery] retry_after_max

RETRY_AFTER = {  # value: (what is read of it, when the next attempt comes)
    "0": (0, OWN_S),
    "2": (2, (2, 2)),
    " 2 ": (2, (2, 2)),
    "-1": (None, OWN_S),
    "+2": (None, OWN_S),
    "2.5": (None, OWN_S),
    "2, 3": (None, OWN_S),
    "2s": (None, OWN_S),
    "0x10": (None, OWN_S),
    "": (None, OWN_S),
    "soon": (None, OWN_S),
    "1" + "0" * 20: (366 * 86400, CAP_S),
    "9" * 200: (None, OWN_S),
    "Sun, 06 Nov 1994 08:49:37 GMT": (0, OWN_S),
    "Sunday, 06-Nov-94 08:49:37 GMT": (0, OWN_S),
    "Sun Nov  6 08:49:37 1994": (0, OWN_S),
    "Fri, 31 Dec 9999 23:59:59 GMT": (366 * 86400, CAP_S),
    "Fri, 31 Dec 99999 23:59:59 GMT": (None, OWN_S),
    "Fri, 31 Feb 2099 23:59:59 CET": (None, OWN_S),
    "Thu, 01 Jan 1970 00:00:00 GMT": (0, OWN_S),
}


@pytest.fixture(scope="module")
def put_off():
    """Every value of RETRY_AFTER once, at the same time: the delivery, and the seconds between its attempts."""
    with running_hookd({"delivery": {"retry_after_max": "4s"}}) as hookd:
        receivers, outcomes = {}, {}
        for i, value in enumerate(RETRY_AFTER):
            receiver = receivers[value] = Receiver()
            receiver.answer = lambda r, receiver=receiver, value=value: (
                (503, {"Retry-After": value}, b"") if len(receiver.requests) == 1 else 204)
            outcomes[value] = owe(hookd, f"e{i}", receiver.url, retry_schedule_s=[1])
        deliveries = {value: outcome.wait() for value, outcome in outcomes.items()}
        for receiver in receivers.values():
            receiver.close()
        yield {value: (deliveries[value], [r.monotonic for r in receivers[value].requests]) for value in RETRY_AFTER}


@pytest.mark.parametrize("value", RETRY_AFTER)
def test_retry_after_is_kept_within_the_policy(put_off, value):
    delivery, times = put_off[value]
    seconds, (least, most) = RETRY_AFTER[value]
    assert delivery["state"] == "delivered" and delivery["attempts"] == len(times) == 2
    assert delivery["history"][0]["retry_after_s"] == seconds
    assert least - 0.05 <= times[1] - times[0] <= most + 1.5 * PATIENCE
