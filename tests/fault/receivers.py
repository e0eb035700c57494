"""Receivers in a process of their own, for ledger.py: what a machine on the other side would do, and a line of JSON
for each request that came, written before it is answered, so that what a killed hookd never heard was received all
the same.

    receivers.py FILE < ORDERS

Prints its port. ORDERS are lines of JSON, {"path": "/acme/slow", ...}, and say how a path answers from then on:

    delay_s       the answer takes up to so long, drawn anew each time
    fail          this share of requests is answered with one of statuses, 0 to 1
    fail_first    so many requests of each event fail first
    statuses      what a failure is answered with: a status, or [status, Retry-After]

Each line is confirmed with an empty line.
"""

import asyncio
import base64
import json
import random
import sys
import time


class Receivers:
    def __init__(self, file):
        self.file = file
        self.manners = {}
        self.chance = random.Random(1)
        self.seen = {}  # (path, webhook-id) -> requests so far

    def status_of(self, path, manner, event):
        seen = self.seen[path, event] = self.seen.get((path, event), 0) + 1
        if seen <= manner.get("fail_first", 0) or self.chance.random() < manner.get("fail", 0):
            failure = self.chance.choice(manner.get("statuses", [500]))
            return failure if isinstance(failure, list) else [failure, None]
        return [204, None]

    async def serve(self, reader, writer):
        try:
            while True:
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = [line.split(": ", 1) for line in head[1:]]
        names = {name.lower(): value for name, value in headers}
        body = await reader.readexactly(int(names.get("content-length", "0")))
        at, wall, path = time.monotonic(), time.time(), head[0].split(" ")[1]
        manner = self.manners.get(path)
        status, retry_after = self.status_of(path, manner, names.get("webhook-id")) if manner is not None else [404, None]
        if manner and manner.get("delay_s"):
            await asyncio.sleep(self.chance.uniform(0, manner["delay_s"]))
        self.file.write(json.dumps({"path": path, "headers": headers, "body": base64.b64encode(body).decode(),
                                    "at": at, "wall": wall, "answered": time.monotonic(), "status": status}) + "\n")
        self.file.flush()
        wait = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
        length = "" if status == 204 else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {status} -\r\n{wait}{length}\r\n".encode())
        await writer.drain()


async def main():
    receivers = Receivers(open(sys.argv[1], "a"))
    server = await asyncio.start_server(receivers.serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        receivers.manners[order.pop("path")] = order
        print(flush=True)


asyncio.run(main())
