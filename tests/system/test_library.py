"""libhookd and the examples: as a program of somebody else's uses them."""

import glob
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import BUILD, PATIENCE, ROOT, free_port, wait_until

EXAMPLES = os.path.join(ROOT, "examples")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """An installed libhookd."""
    root = str(tmp_path_factory.mktemp("root"))
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def library(prefix):
    return os.path.dirname(glob.glob(prefix + "/usr/lib/*/libhookd.so.1")[0])


def sanitizers():
    """What else a program needs that is linked with a library built for a sanitizer."""
    with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json")) as file:
        value = next(o["value"] for o in json.load(file) if o["name"] == "b_sanitize")
    return [] if value == "none" else [f"-fsanitize={value}"]


def build(prefix, library, source, output):
    environment = {**os.environ, "PKG_CONFIG_PATH": library + "/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": prefix}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libhookd"], env=environment, check=True,
                           capture_output=True, text=True).stdout.split()
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", *sanitizers(), source, *flags, "-o", output], check=True)


@pytest.fixture
def producer(prefix, library, directory):
    path = os.path.join(directory, "producer")
    build(prefix, library, os.path.join(EXAMPLES, "producer.c"), path)

    def run(hookd, *arguments, input):
        return subprocess.run([path, *arguments], input=input, capture_output=True, text=True,
                              env={**os.environ, "HOOKD_SOCKETS": hookd.sockets, "LD_LIBRARY_PATH": library}, timeout=60)
    return run


def test_the_example_in_c_submits(hookd, receive, producer):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    done = producer(hookd, "order.paid", input='{"order": 4711}\n{"order":1.10}\n')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("evt_") and line.endswith("to 1 endpoints") for line in lines)
    bodies = sorted(r.body for r in receiver.wait_for(2))
    assert bodies[0].endswith(b'"data":{"order": 4711}}') and bodies[1].endswith(b'"data":{"order":1.10}}')
    # Without keys of its own each event still has one, which grows.
    keys = [e["idempotency_key"] for e in hookd.manage.all("/v1/events", order="oldest")]
    assert None not in keys and keys == sorted(keys)


def test_the_example_in_c_repeats_without_doubling(hookd, producer):
    first = producer(hookd, "t", "batch-7", input="1\n2\n").stdout
    again = producer(hookd, "t", "batch-7", input="1\n2\n").stdout
    assert "known already" in again and first.splitlines()[0].split()[0] == again.splitlines()[0].split()[0]


def test_the_example_in_c_says_what_is_wrong(hookd, producer, directory):
    done = producer(hookd, "not a type", input="1\n")
    assert done.returncode == 1 and "invalid: type: expected 1 to 128" in done.stderr
    done = producer(hookd, "t", input='1,"tenant":"other"\n')
    assert done.returncode == 1 and "payload: not JSON: expected nothing behind the value at byte 1" in done.stderr
    hookd.sockets = directory
    done = producer(hookd, "t", input="1\n")
    assert done.returncode == 1 and "not stored" in done.stderr and "No such file or directory" in done.stderr
    hookd.sockets = os.path.join(hookd.directory, "run")


def test_the_examples_in_python_work_together(hookd):
    port = free_port()
    endpoint = hookd.admin.add_endpoint("e", f"http://127.0.0.1:{port}/", retry_schedule_s=[1] * 10)
    receiver = subprocess.Popen([sys.executable, EXAMPLES + "/receiver.py", str(port)], stdout=subprocess.PIPE, text=True,
                                env={**os.environ, "HOOKD_SECRET": endpoint["secret"]})
    try:
        run = lambda: subprocess.run([sys.executable, EXAMPLES + "/producer.py", "order.paid", "order-4711"], text=True,
                                     input='{"order":4711}', capture_output=True, check=True,
                                     env={**os.environ, "HOOKD_SOCKETS": hookd.sockets}).stdout.strip()
        event = run()
        assert run() == event
        hookd.manage.wait_for(event, "e", "delivered", 20)
        assert receiver.stdout.readline() == "order.paid {'order': 4711}\n"
        # A request that nobody signed.
        hookd.admin.add_endpoint("other", f"http://127.0.0.1:{port}/", types=["x"])
        answer = hookd.admin.post("/v1/endpoints/other/test")
        assert answer.json["http_status"] == 400 and answer.json["response"] == "signature does not fit"
    finally:
        receiver.kill()
        receiver.wait()
        receiver.stdout.close()


def test_the_examples_in_curl_work(hookd):
    done = subprocess.run([EXAMPLES + "/curl.sh"], env={**os.environ, "HOOKD_SOCKETS": hookd.sockets}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a.get("duplicate") for a in answers] == [False, True, False, None] and len(answers[3]["items"]) == 2
    assert len(hookd.manage.all("/v1/events")) == 4


def test_only_the_documented_names_are_exported(library):
    done = subprocess.run(["nm", "-D", "--defined-only", library + "/libhookd.so.1"], check=True, capture_output=True, text=True)
    names = {line.split()[2].split("@")[0] for line in done.stdout.splitlines() if " T " in line}
    with open(os.path.join(ROOT, "lib", "libhookd.map")) as file:
        listed = {word.rstrip(";") for word in file.read().split() if word.startswith("hookd_")}
    assert {n for n in names if not n.startswith("__")} == listed
    with open(os.path.join(ROOT, "lib", "hookd.h")) as file:
        header = file.read()
    assert all(name + "(" in header for name in listed)


PROGRAM = r"""
#include <errno.h>
#include <hookd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads commands, one a line, and answers each on a line. */
int main(int argc, char **argv)
{
	struct hookd_client *client;
	char line[4096];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (hookd_client_new(&client, argc > 1 ? argv[1] : NULL) < 0)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		char *rest, *command = strtok_r(line, " \n", &rest), *argument = strtok_r(NULL, " \n", &rest);
		char *key = strtok_r(NULL, " \n", &rest);
		struct hookd_receipt receipts[3] = {{{0}, 0, 0}};
		struct hookd_event_info info = {0, 0, 0, 0, 0};
		int r = -1;

		if (strcmp(command, "timeout") == 0) {
			hookd_client_set_timeout(client, (unsigned)atoi(argument));
			r = 0;
		} else if (strcmp(command, "submit") == 0) {
			struct hookd_event event = {.type = "t", .payload = argument, .payload_len = strlen(argument),
				.idempotency_key = key};
			r = hookd_submit(client, &event, receipts);
		} else if (strcmp(command, "raw") == 0) {
			struct hookd_event event = {.type = "t", .payload = argument, .payload_len = strlen(argument),
				.content_type = "text/plain", .tenant = "acme", .timestamp_ms = 1000, .deliver_at_ms = 2000};
			r = hookd_submit(client, &event, receipts);
		} else if (strcmp(command, "long-type") == 0) {
			static char type[10000];
			struct hookd_event event = {.type = type, .payload = "1", .payload_len = 1, .content_type = "text/plain"};
			memset(type, 't', (size_t)atoi(argument));
			r = hookd_submit(client, &event, receipts);
		} else if (strcmp(command, "batch") == 0) {
			struct hookd_event events[3];
			for (int i = 0; i < 3; i++)
				events[i] = (struct hookd_event){.type = "t", .payload = argument,
					.payload_len = strlen(argument)};
			r = hookd_submit_batch(client, events, 3, receipts);
		} else if (strcmp(command, "get") == 0) {
			r = hookd_event_get(client, argument, &info);
		}
		printf("%d %s %s %s %u %u %s\n", r, r > 0 ? hookd_outcome_name(r) : r < 0 ? strerrorname_np(-r) : "ok",
			receipts[0].id[0] ? receipts[0].id : "-", receipts[2].id[0] ? receipts[2].id : "-", info.deliveries,
			info.delivered, hookd_client_problem(client));
	}
	hookd_client_free(client);
	return 0;
}
"""


@pytest.fixture
def program(prefix, library, directory):
    """A running program that uses the library; ask(line) returns the words of its answer."""
    source, path = os.path.join(directory, "program.c"), os.path.join(directory, "program")
    with open(source, "w") as file:
        file.write("#define _GNU_SOURCE\n" + PROGRAM)
    build(prefix, library, source, path)
    running = []

    def start(socket_path):
        process = subprocess.Popen([path, socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "LD_LIBRARY_PATH": library})
        running.append(process)

        def ask(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline().rstrip("\n").split(" ", 6)
        return ask

    yield start
    for process in running:
        process.stdin.close()
        assert process.wait(20) == 0
        process.stdout.close()


def test_every_call_of_the_client_works(hookd, receive, program):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url)
    ask = program(hookd.socket_path("submit"))
    answer = ask('submit {"a":1}')
    assert answer[:2] == ["0", "ok"]
    hookd.manage.wait_for(answer[2], "e", "delivered")
    assert ask(f"get {answer[2]}")[:6] == ["0", "ok", "-", "-", "1", "1"]
    assert ask("get evt_00000000000000000000000000")[1] == "not_found"
    assert ask("get nonsense")[1] == "not_found"
    raw = ask("raw text")
    event = hookd.manage.get(f"/v1/events/{raw[2]}").json
    assert (event["tenant"], event["content_type"], event["timestamp"], event["deliver_at"]) == (
        "acme", "text/plain", "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z")
    batch = ask("batch [1]")
    assert batch[:2] == ["0", "ok"] and batch[2] < batch[3]
    assert ask("submit 1 k")[1] == "ok"
    assert ask("submit 2 k")[1] == "key_reused"
    answer = ask("long-type 6000")
    assert answer[1] == "invalid" and "type" in answer[6]


def test_a_payload_may_be_nested_as_deep_as_hookd_takes_it_and_no_deeper(hookd, program):
    ask = program(hookd.socket_path("submit"))
    assert ask("submit " + "[" * 511 + "]" * 511)[1] == "ok"
    answer = ask("submit " + "[" * 512 + "]" * 512)
    assert answer[1] == "invalid" and "payload: not JSON: expected at most 511 levels of nesting" in answer[6]


def test_a_connection_that_was_closed_is_opened_again(hookd, program):
    ask = program(hookd.socket_path("submit"))
    assert ask("submit 1")[1] == "ok"
    hookd.restart()
    assert ask("submit 2")[1] == "ok"
    assert len(hookd.manage.all("/v1/events")) == 2


def test_what_was_never_sent_is_a_negative_errno(hookd, program, directory):
    assert program(directory + "/nothing.sock")("submit 1")[1] == "ENOENT"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(directory + "/dead.sock")
    assert program(directory + "/dead.sock")("submit 1")[1] == "ECONNREFUSED"
    dead.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket(socket.AF_UNIX)
        filler.setblocking(False)
        try:
            filler.connect(directory + "/dead.sock")
        except BlockingIOError:
            pass
        fillers.append(filler)
    ask = program(directory + "/dead.sock")
    ask("timeout 300")
    start = time.monotonic()
    assert ask("submit 1")[1] == "ETIMEDOUT"
    assert 0.2 < time.monotonic() - start < 3 * PATIENCE


def read_request(connection):
    """A whole one, head and body."""
    with connection.makefile("rb") as file:
        head = b"".join(itertools.takewhile(lambda line: line != b"\r\n", file))
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")).split()[1]
        return head + b"\r\n" + file.read(int(length))


def fake_hookd(path, answers):
    """Answers each connection with the next of the answers: bytes, or None to break off."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(5)
    seen = []

    def run():
        for answer in answers:
            connection, _ = listener.accept()
            seen.append(read_request(connection))
            if answer:
                connection.sendall(answer)
                time.sleep(0.2)
            connection.close()

    threading.Thread(target=run, daemon=True).start()
    return seen


def problem(status, code, detail="words"):
    body = json.dumps({"code": code, "detail": detail, "field": None, "line": None}).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body


def test_a_broken_connection_is_repeated_once_with_the_same_key_and_then_unknown(program, directory):
    seen = fake_hookd(directory + "/fake.sock", [None, None])
    answer = program(directory + "/fake.sock")("submit 1")
    assert answer[1] == "unknown" and len(seen) == 2
    keys = [json.loads(request.split(b"\r\n\r\n")[1])["idempotency_key"] for request in seen]
    assert keys[0] == keys[1]


def test_the_repeat_after_a_broken_connection_may_succeed(program, directory):
    body = b'{"id":"evt_01M80FKB5JV3RS3DTR98H6BCFN","deliveries":1,"duplicate":true}'
    fake_hookd(directory + "/fake.sock", [None, b"HTTP/1.1 202 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
    assert program(directory + "/fake.sock")("submit 1")[:3] == ["0", "ok", "evt_01M80FKB5JV3RS3DTR98H6BCFN"]


RECEIPT = b'{"id":"evt_01M80FKB5JV3RS3DTR98H6BCFN","deliveries":1,"duplicate":false}'
STORED = b"HTTP/1.1 202 OK\r\nContent-Length: %d\r\n\r\n" % len(RECEIPT) + RECEIPT


def keeping_hookd(path, *connections, dies=False):
    """Keeps its connections: each gives its answers, one a request, reads what None stands for, and ends. Then it
    dies, or takes no more of them."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(5)
    seen = []

    def run():
        for answers in connections:
            connection, _ = listener.accept()
            for answer in answers:
                seen.append(connection.recv(65536))
                if answer:
                    connection.sendall(answer)
            if dies and answers is connections[-1]:
                listener.shutdown(socket.SHUT_RDWR)
            connection.close()

    threading.Thread(target=run, daemon=True).start()
    return seen


def key_in(request):
    return json.loads(request.split(b"\r\n\r\n")[1])["idempotency_key"]


def test_a_request_that_a_dying_hookd_received_is_unknown_and_not_refused(program, directory):
    seen = keeping_hookd(directory + "/fake.sock", [STORED, None], dies=True)
    ask = program(directory + "/fake.sock")
    assert ask("submit 1")[1] == "ok"
    answer = ask("submit 2")
    assert answer[1] == "unknown" and "Connection refused" in answer[6], answer
    assert len(seen) == 2


def test_a_kept_connection_that_breaks_is_repeated_once_and_not_twice(program, directory):
    seen = keeping_hookd(directory + "/fake.sock", [STORED, None], [None], [STORED])
    ask = program(directory + "/fake.sock")
    assert ask("submit 1")[1] == "ok"
    assert ask("submit 2")[1] == "unknown"
    assert len(seen) == 3 and key_in(seen[1]) == key_in(seen[2])


def test_a_connection_that_ended_while_it_was_idle_costs_no_repeat(program, directory):
    seen = keeping_hookd(directory + "/fake.sock", [STORED], [STORED], [STORED])
    ask = program(directory + "/fake.sock")
    for n in range(3):
        assert ask(f"submit {n}")[1] == "ok"
        time.sleep(0.2)
    assert len(seen) == 3 and len({key_in(request) for request in seen}) == 3


@pytest.mark.parametrize("status, code, outcome", [(503, "busy", "unknown"), (503, "stopping", "unknown"),
                                                   (507, "full", "unknown"), (429, "too_many", "unknown"),
                                                   (400, "invalid", "invalid"), (422, "key_reused", "key_reused")])
def test_a_refusal_that_passes_says_nothing_about_the_request_before_it(program, directory, status, code, outcome):
    fake_hookd(directory + "/fake.sock", [None, problem(status, code)])
    answer = program(directory + "/fake.sock")("submit 1")
    assert answer[1] == outcome, answer


@pytest.mark.parametrize("status, code, outcome", [
    (400, "malformed", "malformed"), (400, "invalid", "invalid"), (403, "forbidden", "forbidden"),
    (413, "too_large", "too_large"), (429, "too_many", "busy"), (503, "busy", "busy"), (503, "stopping", "stopping"),
    (503, "unknown", "unknown"), (507, "full", "full"), (418, "teapot", "unexpected"), (415, "media_type", "malformed"),
])
def test_every_problem_has_its_outcome(program, directory, status, code, outcome):
    fake_hookd(directory + "/fake.sock", [problem(status, code)])
    answer = program(directory + "/fake.sock")("submit 1")
    assert answer[1] == outcome and answer[6] == "words"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 202 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                    b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\noops"])
def test_an_answer_that_is_not_understood_is_unexpected(program, directory, answer):
    fake_hookd(directory + "/fake.sock", [answer])
    assert program(directory + "/fake.sock")("submit 1")[1] == "unexpected"


def page(status):
    """What an HTTP parser below hookd answers."""
    text = b"<html><body>words</body></html>"
    return b"HTTP/1.1 %d X\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text


def run_producer(directory, *answers):
    seen = fake_hookd(directory + "/submit.sock", answers)
    done = subprocess.run([sys.executable, EXAMPLES + "/producer.py", "order.paid", "k"], input="1", capture_output=True,
                          text=True, env={**os.environ, "HOOKD_SOCKETS": directory}, timeout=60)
    return done, seen


def test_the_example_in_python_submits_again_what_passes(directory):
    full = problem(507, "full").replace(b"Connection", b"Retry-After: 0\r\nConnection")
    done, seen = run_producer(directory, problem(429, "too_many"), problem(503, "unknown"), full, page(503), None, STORED)
    assert done.stdout == "evt_01M80FKB5JV3RS3DTR98H6BCFN\n", done.stderr
    assert len(seen) == 6 and {key_in(request) for request in seen} == {"k"}


@pytest.mark.parametrize("answer, words", [(problem(400, "invalid"), "invalid: words"), (problem(413, "too_large"), "too_large"),
                                           (page(400), "HTTP status 400"), (page(414), "HTTP status 414")],
                         ids=["invalid", "too large", "not understood", "too long"])
def test_the_example_in_python_says_what_stays_wrong_and_stops(directory, answer, words):
    done, seen = run_producer(directory, answer, STORED)
    assert done.returncode == 1 and f"RuntimeError: {words}" in done.stderr and len(seen) == 1


def test_the_example_in_python_refuses_a_signature_of_any_bytes():
    port = free_port()
    headers = {"webhook-id": "a", "webhook-timestamp": "1795312692", "webhook-signature": "v1,\u00e4"}

    def answer():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", "/", b"{}", headers)
            response = connection.getresponse()
            return response.status, response.read()
        except ConnectionRefusedError:
            return None  # not yet
        finally:
            connection.close()

    receiver = subprocess.Popen([sys.executable, EXAMPLES + "/receiver.py", str(port)],
                                env={**os.environ, "HOOKD_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    try:
        assert wait_until(answer) == (400, b"signature does not fit")
    finally:
        receiver.kill()
        receiver.wait()
