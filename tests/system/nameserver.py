"""A DNS server of the tests' own, over UDP and TCP, which says what it is told to say."""

import contextlib
import dataclasses
import socket
import struct
import threading

SERVFAIL, NXDOMAIN, REFUSED, SILENCE = 2, 3, 5, None

A, NS, CNAME, AAAA = 1, 2, 5, 28
TC = 0x0200


@dataclasses.dataclass
class Reply:
    """An answer that is more than a list of addresses."""
    addresses: list = ()
    aliases: list = ()  # a chain of canonical names, the first of which the name itself is
    ttl: int = 1
    delay: float = 0
    truncated: bool = False  # over UDP: no records, and "ask again over TCP"


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def records_of(name, kind, reply):
    """The records of an answer, and how many they are."""
    records, owner = [], b"\xc0\x0c"
    for alias in reply.aliases:
        target = encode_name(alias)
        records.append(owner + struct.pack(">HHIH", CNAME, 1, reply.ttl, len(target)) + target)
        owner = target
    for address in reply.addresses:
        family = AAAA if ":" in address else A
        if family == kind:
            packed = socket.inet_pton(socket.AF_INET6 if family == AAAA else socket.AF_INET, address)
            records.append(owner + struct.pack(">HHIH", kind, 1, reply.ttl, len(packed)) + packed)
    return records


def bind_both(address, port):
    """A UDP and a TCP socket on one port; 0: on any that both are free to have."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, port))
        try:
            return udp, socket.create_server(udp.getsockname(), backlog=128)
        except OSError:
            udp.close()
            if port:
                raise


class Names:
    """answers maps a name to a list of addresses, to a Reply, to an rcode, to None for silence, or to a function
    that gives one of these. "" is the root, and "*" what is answered whatever the question is. asked has every
    question, asked_over_tcp those that came so; what is in there has its answer, whatever answers become then. ids
    has name, type and id of those in asked, before they are answered."""

    def __init__(self, address="127.0.0.1", port=0):
        self.answers, self.asked, self.asked_over_tcp, self.ids = {}, [], [], []
        self.udp, self.tcp = bind_both(address, port)
        self.server = f"{address}:{self.udp.getsockname()[1]}"
        threading.Thread(target=self.run_udp, daemon=True).start()
        threading.Thread(target=self.run_tcp, daemon=True).start()

    def run_udp(self):
        while True:
            try:
                data, peer = self.udp.recvfrom(2048)
            except OSError:
                return

            def send(answer, peer=peer):
                with contextlib.suppress(OSError):
                    self.udp.sendto(answer, peer)

            self.answer(data, send, over_tcp=False)

    def run_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_tcp, args=(connection,), daemon=True).start()

    def serve_tcp(self, connection):
        with contextlib.suppress(OSError, struct.error), connection, connection.makefile("rb") as file:
            while True:
                (length,) = struct.unpack(">H", file.read(2))
                data = file.read(length)
                self.answer(data, lambda answer: connection.sendall(struct.pack(">H", len(answer)) + answer),
                            over_tcp=True)

    def answer(self, data, send, over_tcp):
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += data[at] + 1
        name, kind = ".".join(labels).lower(), struct.unpack(">H", data[at + 1:at + 3])[0]
        if not over_tcp:
            self.ids.append((name, kind, data[:2]))
        answer = self.answers.get("*", self.answers.get(name, NXDOMAIN))
        if callable(answer):
            answer = answer()
        (self.asked_over_tcp if over_tcp else self.asked).append((name, kind))
        if answer is None:
            return
        rcode = answer if isinstance(answer, int) else 0
        reply = answer if isinstance(answer, Reply) else Reply([] if isinstance(answer, int) else answer)
        truncated = reply.truncated and not over_tcp
        records = [] if truncated else records_of(name, kind, reply)
        flags = 0x8180 | rcode | (TC if truncated else 0)
        header = data[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        message = header + data[12:at + 5] + b"".join(records)
        if reply.delay:
            threading.Timer(reply.delay, send, (message,)).start()
        else:
            send(message)

    def close(self):
        self.udp.close()
        with contextlib.suppress(OSError):
            self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()
