"""What the tests of secrets share: endpoints whose secrets are known, and the question whether hookd still has them."""

import os
import shutil
import subprocess

from harness import BUILD, PATIENCE, Hookd, is_signed, wait_until

HOOKD = os.path.join(BUILD, "daemon", "hookd")
EDIT_DATA = os.path.join(BUILD, "tests", "fault", "edit_data")


def make_secrets(hookd, receiver, n, prefix="e"):
    """Registers n endpoints that take everything; returns {name: secret}."""
    return {name: hookd.admin.add_endpoint(name, receiver.url + name, headers={"X-Token": f"token-of-{name}"})["secret"]
            for name in (f"{prefix}{i}" for i in range(n))}


def assert_all_sign(hookd, receiver, secrets):
    """An event goes to each endpoint, signed with the secret that it had, with the value of its header."""
    id = hookd.submit.submit("t", "who signs?")["id"]
    came = wait_until(lambda: (lambda found: found if len(found) >= len(secrets) else None)(
        {r.path.strip("/"): r for r in receiver.requests if r.id == id}), what=f"{id} at {sorted(secrets)}")
    assert sorted(came) == sorted(secrets)
    for name, secret in secrets.items():
        assert is_signed(came[name], secret), name
        assert came[name].headers["X-Token"] == f"token-of-{name}"


def master_key(hookd):
    return hookd.manage.get("/v1/status").json["master_key"]


def wait_for_change(hookd):
    """Waits until only one master key is needed; returns what status says of it."""
    return wait_until(lambda: (lambda key: key if key["previous_id"] is None and key["sealed_with_previous"] == 0 else None)(
        master_key(hookd)), 20, "the change of the master key ends")


def run_to_its_end(hookd, **popen):
    """Starts a hookd that is to refuse to start; returns its exit status and what it said."""
    before = len(hookd.log()) if os.path.exists(hookd.log_path) else 0
    hookd.start(wait=False, **popen)
    status = hookd.process.wait(20 * PATIENCE)
    hookd.process = None
    return status, hookd.log()[before:]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def copy_of(hookd, directory, data=None):
    """A hookd of its own on a copy of what another one, which is stopped, has; data: another data file."""
    os.mkdir(directory)
    copy = Hookd(directory)
    shutil.copytree(hookd.data, copy.data)
    if data:
        shutil.copy(data, os.path.join(copy.data, "hookd.mdb"))
    return copy


def edit_data(hookd, *what):
    """Changes the data file of a hookd that is stopped, with every checksum right; see edit_data.c."""
    done = subprocess.run([EDIT_DATA, os.path.join(hookd.data, "hookd.mdb"), *map(str, what)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
