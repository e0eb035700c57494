"""Who may do what is decided by who may open which socket."""

import errno
import pwd
import socket
import subprocess

import pytest

from machine import fork_as, metrics, metrics_enabled, run

ROLES = ["submit", "manage", "admin"]
# A user for each group, and one that is in none.
USERS = {"app": "submit", "desk": "manage", "boss": "admin", "stranger": None}


@pytest.fixture(scope="module", autouse=True)
def users():
    for user, role in USERS.items():
        run("adduser", "--quiet", "--disabled-password", "--gecos", "", user)
        if role:
            run("adduser", "--quiet", user, f"hookd-{role}")


def connect_error(path):
    """0, or why a socket cannot be opened."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("role", ROLES)
def test_a_socket_opens_to_its_own_group_alone(hookd, user, role):
    expected = 0 if USERS[user] == role else errno.EACCES
    assert fork_as(user, lambda: connect_error(hookd.socket_path(role))) == expected


@pytest.mark.parametrize("role", ROLES)
def test_root_opens_every_socket(hookd, role):
    assert connect_error(hookd.socket_path(role)) == 0


def asks(hookd, role, method, target, body=None):
    """The status that a user of a role's group gets."""
    user = next(user for user, its in USERS.items() if its == role)
    return fork_as(user, lambda: getattr(hookd, role).call(method, target, body).status)


@pytest.mark.parametrize("method, target, body, weakest", [
    ("POST", "/v1/events", {"type": "t", "data": 1}, "submit"),
    ("GET", "/v1/health", None, "submit"),
    ("GET", "/v1/status", None, "manage"),
    ("GET", "/v1/events", None, "manage"),
    ("POST", "/v1/endpoints", {"name": "e", "url": "https://hooks.example/"}, "manage"),
    ("POST", "/v1/deliveries/hold", {"all": True}, "manage"),
    ("POST", "/v1/deliveries/purge", {"all": True}, "admin"),
    ("POST", "/v1/endpoints", {"name": "e", "url": "https://hooks.example/", "allow_private": ["10.0.0.0/8"]}, "admin"),
    ("POST", "/v1/pause", {}, "admin"),
    ("POST", "/v1/backup", {}, "admin"),
    ("GET", "/metrics", None, "admin"),
])
def test_a_role_may_do_what_weaker_ones_may_and_nothing_of_stronger_ones(hookd, method, target, body, weakest):
    for role in reversed(ROLES):
        status = asks(hookd, role, method, target, body)
        if ROLES.index(role) < ROLES.index(weakest):
            assert status == 403, role
        else:
            assert status in (200, 201, 202, 409), role


def test_an_event_tells_who_submitted_it(hookd):
    id = fork_as("app", lambda: hookd.submit.submit("t", 1)["id"])
    assert hookd.manage.get(f"/v1/events/{id}").json["uid"] == pwd.getpwnam("app").pw_uid


def test_metrics_once_enabled_are_for_everybody_and_are_all_that_is_there(hookd):
    with pytest.raises(ConnectionRefusedError):
        metrics()
    with metrics_enabled():
        status, text = fork_as("stranger", metrics)
        assert status == 200 and text.endswith("# EOF\n") and "hookd_build_info" in text
        for target in ["/v1/status", "/v1/events", "/v1/endpoints", "/v1/health"]:
            assert fork_as("stranger", lambda: metrics(target))[0] == 403, target


def test_hookctl_tells_a_stranger_which_group_is_needed(hookd):
    def status():
        done = subprocess.run(["hookctl", "status"], capture_output=True, text=True, cwd="/")
        return done.returncode, done.stderr

    code, said = fork_as("stranger", status)
    assert code == 3 and "be root or in group hookd-" in said, said
    code, said = fork_as("boss", status)
    assert code == 0, said
