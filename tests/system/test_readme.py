"""What the README says to type works as it stands there."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import BUILD, ROOT, closed_port, wait_until

HOOKCTL_DIRECTORY = os.path.join(BUILD, "ctl")

with open(os.path.join(ROOT, "README.md")) as readme:
    README = readme.read()


def blocks(language=""):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


# How each language's program is run.
RUN = {"python": ("program.py", ["/usr/bin/python3"]), "go": ("program.go", ["go", "run"]), "php": ("program.php", ["php"]),
       "js": ("program.js", ["node"])}


@pytest.mark.parametrize("language", RUN)
def test_the_program_submits_an_event_once(hookd, receive, directory, language):
    (program,) = blocks(language)
    name, command = RUN[language]
    assert shutil.which(command[0]), f"{command[0]} has to be installed"
    receiver = receive()
    hookd.admin.add_endpoint("billing", receiver.url, tenant="acme", types=["order.*"])
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        assert program.count("/run/hookd/submit.sock") == 1
        file.write(program.replace("/run/hookd/submit.sock", hookd.socket_path("submit")))
    environment = {**os.environ, "GOCACHE": os.path.join(ROOT, "build", "go-cache"), "GOFLAGS": "-mod=mod"}
    ids = set()
    for _ in range(2):
        done = subprocess.run([*command, path], capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        ids |= set(re.findall(r"evt_\w{26}", done.stdout))
    assert len(ids) == 1
    request = receiver.wait_for(1)[0]
    assert json.loads(request.body)["data"] == {"order": 4711}
    assert len(hookd.manage.all("/v1/events")) == 1


def test_the_five_minutes_work(hookd, directory):
    first, second = re.findall(r"^```\n(.*?)^```$", section("Five minutes"), re.DOTALL | re.MULTILINE)
    # A person sees the retries happen and answers questions; a script has to wait and to say yes.
    second = re.sub(r"^(hookctl (?:replay|endpoint remove) .*?)(\s+#.*)?$", r"\1 --yes", second, flags=re.MULTILINE)
    second = second.replace("hookctl list -e", "sleep 8; hookctl list -e").replace("kill %?8901", "kill %?8901; wait %?8901")
    first = first.replace("&\n", "& sleep 1\n").replace("hookctl list", "sleep 8; hookctl list")
    second = second.replace("&\n", "& sleep 1\n").replace("hookctl endpoint remove", "sleep 2; hookctl endpoint remove")
    script = ("set -m\n" + first + "echo ====\n" + second + "kill %?8901").replace("8901", str(closed_port()))
    done = subprocess.run(["bash", "-c", script], cwd=directory, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                          env={**os.environ, "HOOKD_SOCKETS": hookd.sockets,
                               "PATH": HOOKCTL_DIRECTORY + ":" + os.environ["PATH"]})
    retried, outage = done.stdout.split("====\n")
    assert re.search(r"evt_\w{26}  order.paid  acme/demo  delivered .* 3/3 .* 200 OK", retried), done.stdout
    assert retried.count("signature verified") == 3, done.stdout
    assert re.search(r"evt_\w{26}  order.paid  acme/demo  dead .* connection refused", outage), done.stdout
    assert "acme/demo" in outage and "no problems" in outage and "1 replayed" in outage, done.stdout
    assert "signature verified" in outage and "acme/demo removed" in outage, done.stdout
    assert "hookctl: " not in done.stdout and "not found" not in done.stdout


def test_every_command_of_the_night_is_one(hookd, receive):
    receiver = receive(500)
    hookd.admin.add_endpoint("billing", receiver.url, tenant="acme", retry_schedule_s=[])
    event = hookd.submit.submit("t", 1, tenant="acme")["id"]
    hookd.manage.wait_for(event, "billing", "dead")
    (night,) = re.findall(r"^```\n(.*?)^```$", section("At three in the morning"), re.DOTALL | re.MULTILINE)
    commands = [line.split("  ")[0] for line in night.splitlines() if line.startswith("hookctl")]
    assert len(commands) == 7
    for command in commands:
        command = command.replace("EVENT", event)
        done = subprocess.run(command.split() + (["--yes"] if " replay " in command else []), text=True, capture_output=True,
                              env={**os.environ, "HOOKD_SOCKETS": hookd.sockets,
                                   "PATH": HOOKCTL_DIRECTORY + ":" + os.environ["PATH"]})
        assert done.returncode == 0, (command, done.stderr)
    wait_until(lambda: len(receiver.requests) == 2)


def test_every_file_that_is_linked_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or os.path.exists(os.path.join(ROOT, target)), target
