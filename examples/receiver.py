#!/usr/bin/env python3
"""A receiver in Python, with the standard library alone: verifies signatures and drops repeats.

    HOOKD_SECRET=whsec_... ./receiver.py 8080
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

TOLERANCE_S = 300


def verify(secret, headers, body, now=None):
    """Standard Webhooks, scheme v1: raises ValueError unless the request is from the secret's holder."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id or not timestamp.isdigit():
        raise ValueError("headers are missing")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(mac)
    # While a secret is rotated there are two signatures; one that fits is enough. As bytes: anybody may send anything.
    given = headers.get("webhook-signature", "").encode().split(b" ")
    if not any([hmac.compare_digest(expected, signature) for signature in given]):
        raise ValueError("signature does not fit")
    if abs(int(timestamp) - (now or time.time())) > TOLERANCE_S:
        raise ValueError("too old or too new")


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = set()  # a real receiver keeps the ids where it keeps its data

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            verify(os.environ["HOOKD_SECRET"], self.headers, body)
        except ValueError as error:
            self.answer(400, str(error))
            return
        id = self.headers["webhook-id"]
        if id not in self.seen:  # at least once means: now and then twice
            print(self.headers["webhook-event"], json.loads(body)["data"], flush=True)
            self.seen.add(id)
        self.answer(200, "ok")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format, *arguments):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()
