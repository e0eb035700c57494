#!/usr/bin/env python3
"""A producer in Python, with the standard library alone.

    echo '{"order":4711}' | ./producer.py order.paid order-4711-paid

Submit after your own database commit, with a key made from what was committed: then a repeat, after a
crash or a broken connection, is the same event.
"""

import http.client
import json
import os
import socket
import sys
import time


class HookdConnection(http.client.HTTPConnection):
    """HTTP over hookd's Unix socket."""

    def __init__(self, path, timeout=10):
        super().__init__("hookd", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def submit(type, data, key, tenant="", attempts=5):
    """Hands an event over and returns its id. Repeats what is safe to repeat."""
    sockets = os.environ.get("HOOKD_SOCKETS", "/run/hookd")
    envelope = {"type": type, "tenant": tenant, "idempotency_key": key, "data": data}
    for attempt in range(attempts):
        if attempt:
            time.sleep(2**attempt / 10)
        connection = HookdConnection(os.path.join(sockets, "submit.sock"))
        try:
            connection.request("POST", "/v1/events", json.dumps(envelope), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.load(response)
        except (OSError, http.client.HTTPException):
            continue  # perhaps stored: the key makes the repeat harmless
        finally:
            connection.close()
        if response.status == 202:
            return answer["id"]
        if response.status != 503:  # a mistake, or a full store: repeating does not help
            raise RuntimeError(f"{answer['code']}: {answer['detail']}")
    raise RuntimeError("hookd does not answer; submit again later with the same key")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: producer.py TYPE KEY [TENANT] < JSON")
    print(submit(sys.argv[1], json.load(sys.stdin), *sys.argv[2:]))
