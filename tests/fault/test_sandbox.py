"""Whoever takes a sender over gets nowhere: a sender that was taken over (compromised.c) tries everything, once confined
and, to show that it could have worked, once not. Fault 20, and the walls of sender/confine.h.
"""

import contextlib
import ctypes
import errno
import os
import re
import socket
import time

import pytest

from harness import TROUBLE, temporary_directory, wait_until
from taken_over import INSTRUMENTED, HookdWithSender

SOME_USER = 64999  # nobody's number
NO_LANDLOCK = ("landlock_create_ruleset", errno.ENOSYS)


def landlock_version():
    libc = ctypes.CDLL(None)
    return libc.syscall(444, None, ctypes.c_size_t(0), 1)  # landlock_create_ruleset


class TakenOver(HookdWithSender):
    """Its senders do what they are told in the URL of a request."""

    def some_address(self):
        """Of memory that hookd can read."""
        with open(f"/proc/{self.process.pid}/maps") as file:
            return next(line.split("-")[0] for line in file if " r" in line)

    def attack(self, name, at=""):
        """Has a sender try it; returns what it says, or "killed"."""
        url = f"http://127.0.0.1:8080/{name}?{at}"
        if self.manage.get("/v1/endpoints/attack").status == 404:
            self.admin.add_endpoint("attack", url, types=["none"])
        else:
            answer = self.manage.patch("/v1/endpoints/attack", {"url": url})
            assert answer.status == 200, answer
        message = self.manage.post("/v1/endpoints/attack/test").json["message"]
        return "died" if message == "the sender process died while it made this attempt" else message


@contextlib.contextmanager
def run_hookd(sender="daemon/hookd-sender", senders=None, **options):
    with temporary_directory() as directory:
        hookd = TakenOver(directory, sender, {"senders": senders or {}}, **options)
        hookd.start()
        try:
            yield hookd
        finally:
            assert hookd.stop() == 0, hookd.log()
            assert not TROUBLE.search(hookd.log()), hookd.log()


def run_taken_over(kind, **options):
    return run_hookd(f"tests/fault/hookd-sender-{kind}", {"count": "12", "landlock": "optional"}, **options)


@pytest.fixture(scope="module")
def confined():
    with run_taken_over("compromised") as hookd:
        yield hookd


@pytest.fixture(scope="module")
def confined_as_user():
    with run_taken_over("compromised", user=SOME_USER) as hookd:
        yield hookd


@pytest.fixture(scope="module")
def without_landlock():
    with run_taken_over("compromised", without=NO_LANDLOCK) as hookd:
        yield hookd


@pytest.fixture(scope="module")
def unfiltered():
    with run_taken_over("unfiltered") as hookd:
        yield hookd


@pytest.fixture(scope="module")
def unconfined():
    with run_taken_over("unconfined") as hookd:
        yield hookd


@pytest.fixture(scope="module", autouse=True)
def abstract_socket():
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0hookd-test-{os.getpid()}")
        listener.listen(16)
        yield f"hookd-test-{os.getpid()}"


# What the attacks are aimed at.

def data(h):
    return f"{h.data}/hookd.mdb"


def process(h):
    return h.process.pid


def memory(h):
    return f"{h.process.pid},{h.some_address()}"


def new_file(h):
    return f"{h.directory}/new-{len(os.listdir(h.directory))}"


def own_file(h):
    """One that may go."""
    path = new_file(h)
    with open(path, "w") as file:
        file.write("content")
    if h.user:
        os.chown(path, h.user, h.user)
    return path


REFUSED = {"Operation not permitted", "Permission denied"}
KILLED = {"died"}
NO_MEMORY = {"Cannot allocate memory"}
THROUGH = {"got through"}
# Some kernels are built without it, or keep it from root, and say so.
IF_THERE = THROUGH | {"Function not implemented", "Address family not supported by protocol", "Protocol not supported",
                      "Socket type not supported"}
PERHAPS = IF_THERE | REFUSED
MADE_FILE = {"died, having made the file"}

# attack, at what, what comes of it, what came of it without walls, and in an instrumented build (None: the same;
# "-": it is let through there)
ATTACKS = [
    # files
    ("read_file", data, REFUSED, THROUGH),
    ("read_file", lambda h: f"{h.data}/master.key", REFUSED, THROUGH),
    ("read_file", lambda h: h.config, REFUSED, THROUGH),
    ("read_file", lambda h: h.log_path, REFUSED, THROUGH),
    ("read_file", lambda h: "/etc/passwd", REFUSED, THROUGH),
    ("read_file", lambda h: "/etc/resolv.conf", REFUSED, THROUGH),
    ("read_file", lambda h: "/etc/ssl/certs/ca-certificates.crt", REFUSED, THROUGH),
    ("read_file", lambda h: f"/proc/{h.process.pid}/maps", REFUSED, THROUGH),
    ("read_file", lambda h: f"/proc/{h.process.pid}/environ", REFUSED, THROUGH),
    ("read_file", lambda h: f"/proc/{h.process.pid}/fd/0", REFUSED, {"Success"}),  # nothing is in there
    ("list_directory", lambda h: h.data, REFUSED, THROUGH),
    ("list_directory", lambda h: "/", REFUSED, THROUGH),
    ("list_directory", lambda h: f"/proc/{h.process.pid}/fd", REFUSED, THROUGH, "-"),
    ("write_file", new_file, REFUSED, THROUGH),
    ("write_file", own_file, REFUSED, THROUGH),
    ("write_file", lambda h: "/proc/self/oom_score_adj", REFUSED, {"Invalid argument"}),
    ("truncate_file", own_file, REFUSED, THROUGH),
    ("remove_file", own_file, REFUSED, THROUGH),
    ("rename_file", own_file, REFUSED, THROUGH),
    ("make_directory", new_file, REFUSED, THROUGH),
    ("change_mode", own_file, REFUSED, THROUGH),
    ("look_at_file", data, REFUSED, THROUGH, "-"),
    ("read_link", lambda h: f"/proc/{h.process.pid}/exe", REFUSED, THROUGH, "-"),
    ("watch_file", lambda h: "", REFUSED, THROUGH),
    # programs and processes
    ("load_library", lambda h: "libBrokenLocale.so.1", REFUSED, THROUGH, "-"),
    ("execute", new_file, KILLED, MADE_FILE),
    ("execute_memory", new_file, KILLED, MADE_FILE),
    ("make_process", lambda h: "", KILLED, THROUGH, "-"),
    ("make_process_directly", lambda h: "", KILLED, THROUGH, "-"),
    ("make_thread", lambda h: "", KILLED, THROUGH, "-"),
    ("send_signal", process, REFUSED, THROUGH),
    ("send_signal_to_thread", process, REFUSED, THROUGH),
    ("queue_signal", process, REFUSED, THROUGH),
    ("have_signals_sent", process, REFUSED, THROUGH, "-"),
    ("open_process", process, KILLED, THROUGH),
    ("debug", process, KILLED, THROUGH, REFUSED),
    ("read_memory", memory, KILLED, THROUGH),
    ("read_memory_file", memory, REFUSED, THROUGH),
    ("compare_processes", process, KILLED, PERHAPS),
    ("limit_process", process, REFUSED, THROUGH, "-"),
    ("slow_process", process, REFUSED, THROUGH),
    ("move_process", process, REFUSED, THROUGH),
    # sockets
    ("connect_to_path", lambda h: h.socket_path("submit"), REFUSED, THROUGH),
    ("connect_to_path", lambda h: h.socket_path("manage"), REFUSED, THROUGH),
    ("connect_to_path", lambda h: h.socket_path("admin"), REFUSED, THROUGH),
    ("connect_to_path", lambda h: h.socket_path("metrics"), REFUSED, THROUGH),
    ("connect_to_abstract", lambda h: f"hookd-test-{os.getpid()}", REFUSED, THROUGH),
    ("reach_beside", lambda h: "", REFUSED, THROUGH),
    ("open_packets", lambda h: "", REFUSED, IF_THERE),
    ("open_raw", lambda h: "", REFUSED, THROUGH),
    ("open_firewall", lambda h: "", REFUSED, IF_THERE),
    ("open_kernel_events", lambda h: "", REFUSED, THROUGH),
    ("open_other_stream", lambda h: "", REFUSED, IF_THERE),
    ("change_network", lambda h: "", REFUSED, THROUGH),
    ("listen_at_port", lambda h: "", REFUSED, THROUGH),
    ("filter_packets", lambda h: "", REFUSED, THROUGH),
    # its own powers
    ("be_dumpable", lambda h: "", REFUSED, THROUGH, "-"),
    ("dump_core", lambda h: "", REFUSED, THROUGH),
    ("map_program", lambda h: "", REFUSED, THROUGH),
    ("make_program", lambda h: "", REFUSED, THROUGH),
    ("change_program", lambda h: "", REFUSED, THROUGH),
    ("share_program", lambda h: "", REFUSED, THROUGH),
    ("execute_all_data", lambda h: "", KILLED, THROUGH),
    ("take_memory", lambda h: "8192", NO_MEMORY, THROUGH, "-"),
    ("leave_namespace", lambda h: "", KILLED, THROUGH),
    ("become_root_of_own_world", lambda h: "", KILLED, PERHAPS),
    ("mount_something", lambda h: h.directory, KILLED, None),  # not for real
    ("change_root", lambda h: "/", KILLED, THROUGH),
    # the kernel
    ("use_rings", lambda h: "", KILLED, PERHAPS),
    ("use_keys", lambda h: "", KILLED, PERHAPS),
    ("measure_kernel", lambda h: "", KILLED, PERHAPS),
    ("stop_kernel_at_faults", lambda h: "", KILLED, PERHAPS),
    ("load_into_kernel", lambda h: "", KILLED, PERHAPS),
    ("call_as_32_bit", lambda h: "", KILLED, PERHAPS),
    ("call_as_x32", lambda h: "", KILLED, PERHAPS),
]

IDS = [f"{name}-{n}" for n, (name, *_) in enumerate(ATTACKS)]


def try_attack(hookd, name, aim):
    at = aim(hookd)
    outcome = hookd.attack(name, at)
    if name.startswith("execute_memory") or name == "execute":
        time.sleep(0.2)
        outcome += ", having made the file" if os.path.exists(at) else ""
    return outcome


def expected(row):
    """What a confined sender comes to; None: in this build it is let through."""
    if INSTRUMENTED and len(row) > 4:
        return None if row[4] == "-" else row[4]
    return row[2]


def rows(wanted):
    return [pytest.param(row, id=id) for row, id in zip(ATTACKS, IDS) if wanted(row)]


@pytest.mark.parametrize("row", rows(expected))
def test_a_sender_that_was_taken_over_gets_nowhere(confined, row):
    assert try_attack(confined, *row[:2]) in expected(row)


@pytest.mark.parametrize("row", rows(expected))
def test_nor_does_one_of_an_ordinary_user(confined_as_user, row):
    assert try_attack(confined_as_user, *row[:2]) in expected(row)


@pytest.mark.parametrize("row", rows(lambda row: row[3]))
def test_without_walls_it_would(unconfined, row):
    assert not row[2] & row[3]
    assert try_attack(unconfined, *row[:2]) in row[3]


if not INSTRUMENTED:  # which lets the filter pass what only Landlock can tell apart
    @pytest.mark.parametrize("row", rows(expected))
    def test_where_there_is_no_landlock_the_filter_alone_holds(without_landlock, row):
        assert try_attack(without_landlock, *row[:2]) in row[2]


# From which version on Landlock holds it without help.
LANDLOCKED = {"read_file": 1, "list_directory": 1, "write_file": 1, "remove_file": 1, "rename_file": 1,
              "make_directory": 1, "debug": 1, "read_memory": 1, "read_memory_file": 1, "compare_processes": 1,
              "execute": 1, "truncate_file": 3, "listen_at_port": 4, "connect_to_abstract": 6, "send_signal": 6,
              "send_signal_to_thread": 6, "queue_signal": 6}


@pytest.mark.parametrize("row", rows(
    lambda row: expected(row) and LANDLOCKED.get(row[0], 99) <= landlock_version()))
def test_without_the_filter_landlock_holds_what_it_can(unfiltered, row):
    assert try_attack(unfiltered, *row[:2]) in REFUSED


# ---- What a sender has ------------------------------------------------------------------------


def test_a_sender_inherits_the_standard_streams_and_its_channel_and_nothing_else(confined):
    descriptors = f"/proc/{confined.process.pid}/fd"
    kept = [fd for fd in os.listdir(descriptors) if os.readlink(f"{descriptors}/{fd}") == confined.config]
    with open(f"/proc/{confined.process.pid}/fdinfo/{kept[0]}") as file:
        assert not int(re.search(r"flags:\s+(\d+)", file.read())[1], 8) & os.O_CLOEXEC
    found = confined.attack("inherited")
    log = re.escape(confined.log_path)
    assert re.fullmatch(rf"0=/dev/null 1={log} 2={log} 3=socket:\[\d+\] ", found), found


def test_a_sender_has_no_privilege_left_and_is_the_first_to_go(confined):
    for pid in confined.confined_senders():
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        with open(f"/proc/{pid}/oom_score_adj") as file:
            assert file.read() == "500\n"
        with open(f"/proc/{pid}/limits") as file:
            limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
        assert limits["Max core file size"] == ["0", "0"]
        if not INSTRUMENTED:
            assert limits["Max processes"] == limits["Max file size"] == ["0", "0"]
            assert limits["Max data size"] == [str((256 + 512) << 20)] * 2


def test_a_sender_belongs_to_root_as_far_as_debuggers_are_concerned(confined_as_user):
    for pid in [*confined_as_user.confined_senders(), confined_as_user.process.pid]:
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0


if not INSTRUMENTED:  # where sanitizers complain on standard error
    def test_a_sender_cannot_write_into_the_log(confined, unconfined):
        unconfined.attack("shout", "here-i-am")
        assert "here-i-am" in unconfined.log()
        confined.attack("shout", "here-i-am")
        assert "\nhere-i-am" not in confined.log()


# ---- Where a sender cannot be confined ---------------------------------------------------------


def senders_down(hookd):
    problems = {p["code"]: p["message"] for p in hookd.manage.get("/v1/status").json["problems"]}
    return problems.get("senders_down", "")


def test_without_landlock_senders_do_not_work_until_the_administrator_says_so(receive):
    receiver = receive()
    with run_hookd(without=NO_LANDLOCK) as hookd:
        hookd.admin.add_endpoint("e", receiver.url)
        event = hookd.submit.submit("t", 1)["id"]
        wait_until(lambda: "Landlock: Function not implemented" in senders_down(hookd))
        time.sleep(2.5)  # a few more tries
        assert hookd.log().count("a sender cannot work: Landlock: Function not implemented") == 1
        assert receiver.requests == []
        assert hookd.manage.delivery(event, "e")["attempts"] == 0
        hookd.configure({"senders": {"landlock": "optional"}})
        hookd.reload()
        assert hookd.manage.wait_for(event, "e", "delivered", 30)["attempts"] == 1
        wait_until(lambda: senders_down(hookd) == "")
        assert "senders can start again" in hookd.log()
        assert hookd.metric("hookd_sender_restarts_total") == 0


def test_without_seccomp_senders_do_not_work_whatever_the_administrator_says(receive):
    receiver = receive()
    with run_hookd(senders={"landlock": "optional"}, without=("seccomp", errno.EPERM)) as hookd:
        hookd.admin.add_endpoint("e", receiver.url)
        hookd.submit.submit("t", 1)
        wait_until(lambda: "seccomp: " in senders_down(hookd))
        time.sleep(1)
        assert receiver.requests == []
