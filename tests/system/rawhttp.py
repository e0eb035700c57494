"""Requests to hookd byte by byte, for what no HTTP library would send."""

import re
import socket

from harness import PATIENCE

BODY = b'{"type":"t","data":"0123456789"}'
LENGTH = b"Content-Length: %d" % len(BODY)


def count_answers(data):
    """How many whole responses these bytes are; interim ones do not count."""
    n = 0
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            continue
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(data) < size:
            break
        data = data[size:]
        n += 1
    return n


def exchange(hookd, data, role="submit", answers=1, half_close=False):
    """Sends bytes; returns what comes back until that many responses have come or the connection ends."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(hookd.socket_path(role))
        answer = b""
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while count_answers(answer) < answers and (piece := s.recv(65536)):
                answer += piece
        except (ConnectionResetError, TimeoutError):
            pass
        return answer


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def head(*lines, method=b"POST", target=b"/v1/events", version=b"HTTP/1.1", host=b"Host: h\r\n"):
    return (method + b" " + target + b" " + version + b"\r\n" + host + b"Content-Type: application/json\r\n" +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n")
