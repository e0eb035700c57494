"""Receivers that mean no good, what comes of an attempt at each of them, and how to break the calls of a process.

A receiver here is a function that is given a connection and does with it what no decent server would. It
records what it saw: how many connections there were, how many bytes came, and which deliveries.
"""

import contextlib
import os
import re
import socket
import struct
import threading
import time

from harness import BUILD, TROUBLE, Hookd, temporary_directory, wait_until

WEBHOOK_ID = re.compile(rb"(?i)\r\nwebhook-id: *(\S+)\r\n")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


def is_sanitized():
    with open(os.path.join(BUILD, "daemon", "hookd"), "rb") as file:
        return b"__asan_init" in file.read()


# What AddressSanitizer keeps of memory that was freed, beyond what a process may grow by.
QUARANTINE = 256 << 20 if is_sanitized() else 0
# By itself it keeps all of that in hookd, and notes about it besides.
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=128")


class Connection:
    """One connection of a receiver. What it reads is counted for the receiver."""

    def __init__(self, receiver, connection, number):
        self.receiver, self.socket, self.number = receiver, connection, number

    def send(self, data):
        self.socket.sendall(data)

    def read(self, size=65536):
        data = self.socket.recv(size)
        self.receiver.bytes += len(data)
        return data

    def read_head(self):
        """The head of a request, noted as seen, and what came of its body with it; None at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.read()
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        head += b"\r\n"
        self.receiver.heads.append(head)
        self.receiver.ids.append(WEBHOOK_ID.search(head)[1].decode())
        return head, body

    def read_request(self):
        """A whole request; returns whether there was one."""
        got = self.read_head()
        if not got:
            return False
        head, body = got
        missing = int(LENGTH.search(head)[1]) - len(body)
        while missing > 0:
            piece = self.read()
            if not piece:
                return False
            missing -= len(piece)
        self.receiver.whole += 1
        return True

    def start_tls(self, context):
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def reset(self):
        """Ends the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def hold(self):
        """Neither reads nor writes until hookd gives up. That is seen without reading."""
        self.receiver.closing.wait(60)


class Hostile:
    """Runs serve(connection) in a thread for each connection. tls: a server context for it."""

    def __init__(self, serve, address="127.0.0.1", port=0, receive_buffer=None):
        self.serve = serve
        self.connections, self.whole, self.bytes = 0, 0, 0
        self.heads, self.ids = [], []
        self.closing = threading.Event()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind((address, port))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://{address}:{self.port}/"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection = Connection(self, accepted, self.connections)
            threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        with contextlib.suppress(OSError):
            self.serve(connection)
        with contextlib.suppress(OSError):
            connection.socket.close()

    def close(self):
        self.closing.set()
        # Waking a thread in accept takes a shutdown; closing alone does not.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@contextlib.contextmanager
def running_hookd(config=None, local=True, **popen):
    """A hookd for the tests of a module together; has to end in good order, as those of make_hookd."""
    with temporary_directory() as directory:
        hookd = Hookd(directory, config, local).start(**popen)
        try:
            yield hookd
        finally:
            status = hookd.stop()
        log = hookd.log()
        assert status == 0 and not TROUBLE.search(log), log


class Outcome:
    """What came of one event for one endpoint."""

    def __init__(self, hookd, endpoint, event):
        self.hookd, self.endpoint, self.event = hookd, endpoint, event
        self.submitted = time.monotonic()

    def wait(self, timeout=30):
        """Waits until the delivery is delivered or dead, and returns it."""
        return wait_until(lambda: (lambda d: d if d["state"] in ("delivered", "dead") else None)(
            self.hookd.manage.delivery(self.event, self.endpoint)), timeout, f"{self.endpoint} ended")


def owe(hookd, endpoint, url, payload=b"{}", **members):
    """Registers an endpoint with one attempt, unless its members say otherwise, and submits an event for it alone."""
    members = {"types": [endpoint], "retry_schedule_s": [], "timeout_s": 20, **members}
    hookd.admin.add_endpoint(endpoint, url, **members)
    answer = hookd.submit.call("POST", "/v1/events", payload, {"Content-Type": "application/octet-stream"},
                               type=endpoint)
    assert answer.status == 202, answer
    return Outcome(hookd, endpoint, answer.json["id"])
