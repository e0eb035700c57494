"""CPU of a new connection with TLS: certificates checked against the machine's authorities, and against a private one."""

import os

from harness import wait_until
from authority import Authority
from measure import Row, hookd, nginx, since

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def new_connections(private):
    """The receiver closes each connection, so that each attempt makes one; CPU of the sender, less that of plain HTTP."""
    def measure(bench, directory):
        authority = Authority(directory)
        certificate, key = authority.sign(["DNS:localhost", "IP:127.0.0.1"])
        with open(certificate, "a") as both, open(key) as file:
            both.write(file.read())
        os.mkdir(os.path.join(directory, "ca"))
        with open(authority.certificate) as file:
            own = file.read()
        with open(os.path.join(directory, "ca", "private.pem"), "w") as file:
            file.write(own)
        bundle = os.path.join(directory, "bundle.pem")
        with open(BUNDLE) as file, open(bundle, "w") as copy:
            copy.write(file.read() + own)
        with nginx(directory, "0", certificate) as secure, nginx(directory_of(directory), "0") as plain, \
                hookd(directory, network={"ca_file": bundle}) as daemon:
            secure = secure.replace("localhost", "127.0.0.1")
            daemon.admin.add_endpoint("plain", plain, types=["plain0"], max_in_flight=32)
            daemon.admin.add_endpoint("secure", secure, types=["secure0"], max_in_flight=32,
                                      **({"ca": "private.pem"} if private else {}))
            figures = {}
            for kind in ("plain", "secure"):
                daemon.load(n=100, t=kind, e=1)  # authorities are read once
                wait_until(lambda: daemon.waiting() == 0, 60)
                before, n = daemon.cpu(), bench.size(3000, 500)
                daemon.load(n=n, t=kind, e=1)
                wait_until(lambda: daemon.waiting() == 0, 120)
                figures[kind] = since(before, daemon.cpu())["hookd-sender"] / n * 1e6
            return {"plain us": figures["plain"], "tls us": figures["secure"] - figures["plain"]}
    return measure


def directory_of(directory):
    path = os.path.join(directory, "plain")
    os.mkdir(path)
    return path


MEASUREMENTS = {"the machine's authorities": new_connections(private=False), "a private authority": new_connections(private=True)}


def rows(get):
    for name in MEASUREMENTS:
        yield Row(f"CPU of a new TLS connection, {name}", get(name, "tls us"), "us", 1500, "1.5 ms", below=True,
                  note=f"a connection without TLS: {get(name, 'plain us'):.0f} us")
