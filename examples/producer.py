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


def submit(type, data, key, tenant="", attempts=30):
    """Hands an event over and returns its id. Tries again, with the same key, what may be better in a second."""
    sockets = os.environ.get("HOOKD_SOCKETS", "/run/hookd")
    envelope = {"type": type, "tenant": tenant, "idempotency_key": key, "data": data}
    wait = 0
    for _ in range(attempts):
        time.sleep(wait)
        wait, problem = 1, "hookd does not answer"
        connection = HookdConnection(os.path.join(sockets, "submit.sock"))
        try:
            connection.request("POST", "/v1/events", json.dumps(envelope), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.load(response)
        except (OSError, http.client.HTTPException):
            continue  # perhaps stored: the key makes the repeat harmless
        except ValueError:  # a page in HTML: what cannot be read at all is refused so
            answer = {"code": f"HTTP status {response.status}", "detail": response.reason}
        finally:
            connection.close()
        if response.status == 202:
            return answer["id"]
        problem = f"{answer['code']}: {answer['detail']}"
        if response.status != 429 and response.status < 500:  # a mistake: to repeat it does not help
            raise RuntimeError(problem)
        wait = int(response.headers.get("Retry-After", "1"))  # busy, stopping, full, or perhaps stored
    raise RuntimeError(f"{problem}; submit again later with the same key")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: producer.py TYPE KEY [TENANT] < JSON")
    print(submit(sys.argv[1], json.load(sys.stdin), *sys.argv[2:]))
