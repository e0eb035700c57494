"""This machine: its hookd, as an administrator sees it, and what administrators do."""

import contextlib
import glob
import http.client
import json
import os
import pwd
import shutil
import subprocess
import tempfile

from harness import PATIENCE, Hookd, wait_until, write_config
from ledger import Ledger

TEST = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEBS = os.path.join(TEST, "debs")
SOCKETS = ["hookd-submit.socket", "hookd-manage.socket", "hookd-admin.socket"]
UNITS = [*SOCKETS, "hookd.service"]
METRICS = "hookd-metrics.socket"  # off until somebody enables it

# MESSAGE_ID of a line; hookd(8) lists them.
KIND = "5b2f1a4ce0d84d6c9d0e6f1f0a51c3"
STARTED, STOPPED, RELOADED, TROUBLE, FAILING, WORKING, DEAD, PAUSED, CHANGED, ATTEMPT, SENDER, STORE = (
    f"{KIND}{n:02x}" for n in range(1, 13))


def run(*command, check=True, **options):
    """Runs a command; its status has to be 0 unless check is False."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * PATIENCE, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def systemctl(*arguments, **options):
    return run("systemctl", *arguments, **options)


def show(unit, name):
    """A property of a unit."""
    return systemctl("show", "--property", name, "--value", unit).stdout.strip()


def is_active(unit):
    return show(unit, "ActiveState") == "active"


def install(*packages, version=""):
    """dpkg --install, as somebody would who has the files."""
    return run("dpkg", "--install", *(deb(package, version) for package in packages),
               env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def deb(package, version=""):
    (path,) = glob.glob(os.path.join(DEBS, version, f"{package}_*.deb"))
    return path


class Cursor:
    """A place in the journal, to read from."""

    def __init__(self):
        run("journalctl", "--sync")
        lines = run("journalctl", "--lines=1", "--output=json").stdout
        self.cursor = json.loads(lines)["__CURSOR"]

    def read(self, *matches):
        """What has come since, as dictionaries."""
        run("journalctl", "--sync")
        # Not --after-cursor: it leaves out one line too many if that at the cursor does not match.
        text = run("journalctl", "--output=json", "--all", "--cursor", self.cursor, *matches, check=False).stdout
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if line["__CURSOR"] != self.cursor]

    def messages(self, *matches):
        return [line["MESSAGE"] for line in self.read(*matches)]

    def wait_for(self, text, *matches, timeout=20):
        return wait_until(lambda: next((line for line in self.read(*matches) if text in line["MESSAGE"]), None),
                          timeout, f"{text!r} in the journal; there is {self.messages(*matches)}")


def metrics(target="/metrics"):
    """Status and text of what whoever reads hookd's numbers gets."""
    connection = http.client.HTTPConnection("127.0.0.1", 9788, timeout=10 * PATIENCE)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextlib.contextmanager
def metrics_enabled():
    """As hookd(8) says, taken back in the end."""
    systemctl("enable", METRICS)
    systemctl("restart", "hookd.service")
    try:
        yield
    finally:
        systemctl("disable", "--now", METRICS)
        systemctl("restart", "hookd.service")  # until then hookd serves what it was handed


@contextlib.contextmanager
def drop_in(text, unit="hookd.service"):
    """What systemctl edit does, taken back in the end."""
    directory = f"/run/systemd/system/{unit}.d"
    path = os.path.join(directory, "test.conf")
    os.makedirs(directory, exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    systemctl("daemon-reload")
    try:
        yield
    finally:
        os.remove(path)
        systemctl("daemon-reload")


def fork_as(user, function):
    """Calls a function in a process of that user's, with the user's groups, and returns what it returns; JSON has to
    be able to tell it."""
    entry = pwd.getpwnam(user)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os.write(writer, json.dumps(function()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{user}: status {status}"
    return json.loads(text)


class Installed(Hookd):
    """The hookd of this machine: systemd starts and stops it."""

    SETTINGS = {
        "store": {"min_free_disk": "1M", "budget": "64M"},
        "network": {"allow_http": "yes", "allow_private": "127.0.0.0/8"},
        "senders": {"count": "2"},
    }

    def __init__(self):
        self.data, self.sockets, self.config = "/var/lib/hookd", "/run/hookd", "/etc/hookd/hookd.conf"
        self.data_file = os.path.join(self.data, "hookd.mdb")

    def configure(self, *more):
        write_config(self.config, self.SETTINGS, *more)

    @property
    def pid(self):
        return int(show("hookd.service", "MainPID"))

    def start(self):
        systemctl("start", *SOCKETS, "hookd.service")
        return self

    def restart(self):
        systemctl("restart", "hookd.service")

    def stop(self):
        """As hookd(8) says; nothing that is left open may start it again."""
        systemctl("stop", *SOCKETS, METRICS, "hookd.service")

    def reload(self):
        cursor = Cursor()
        systemctl("reload", "hookd.service")
        cursor.wait_for("configuration read again")

    def senders(self):
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def thread(self, name):
        """The id of a thread, by its name."""
        pid = self.pid
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as file:
                if file.read().strip() == name:
                    return int(task)
        raise AssertionError(f"no thread {name}")

    def wait_for_another(self, pid, timeout=30):
        """Waits for a hookd with another process id that is ready; returns its id."""
        wait_until(lambda: self.pid not in (0, pid) and is_active("hookd.service"), timeout, "another hookd is ready")
        return self.pid

    def begin_anew(self):
        """Running, with its ordinary settings and an empty queue; whatever has happened before."""
        self.stop()
        systemctl("reset-failed", *UNITS, check=False)
        for entry in os.scandir(self.data):
            shutil.rmtree(entry.path) if entry.is_dir() else os.remove(entry.path)
        self.configure()
        self.start()

    @contextlib.contextmanager
    def ledger(self, seed=1):
        """A ledger of this hookd. What it needs to remember lies in a directory of its own."""
        with tempfile.TemporaryDirectory() as self.directory, Ledger(self, seed) as ledger:
            yield ledger


def refused(ledger):
    """What producers were told by nobody, because nobody was there."""
    return [str(told) for submission in ledger.submissions for told in submission.answers
            if "ConnectionRefused" in told.why or "FileNotFound" in told.why]


hookd = Installed()
