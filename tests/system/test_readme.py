"""What the README says to type works as it stands there."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import BUILD, PATIENCE, ROOT, free_port, wait_until

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


def sees(n, text):
    """A shell's condition: so much is on the screen."""
    return f'test "$(grep -c "{text}" screen)" -ge {n}'


def lists(state):
    return f"hookctl list -e acme/demo -s {state} | grep -q order.paid"


def wait_before(commands, command, *conditions):
    """The commands, but before one of them, at most 30 s for each condition. In vain, it is the output that tells."""
    assert commands.count("\n" + command) == 1
    waiting = "".join(f"for i in {{1..{round(300 * PATIENCE)}}}; do {condition} && break; sleep 0.1; done\n"
                      for condition in conditions)
    return commands.replace("\n" + command, "\n" + waiting + command)


def test_the_five_minutes_work(hookd, directory):
    first, second = re.findall(r"^```\n(.*?)^```$", section("Five minutes"), re.DOTALL | re.MULTILINE)
    # A person sees what happens before typing on, and answers questions; a script has to wait and to say yes.
    second = re.sub(r"^(hookctl (?:replay|endpoint remove) .*?)(\s+#.*)?$", r"\1 --yes", second, flags=re.MULTILINE)
    second = second.replace("kill %?8901", "kill %?8901; wait %?8901")
    first = wait_before(first, "echo", sees(1, "listening on"))
    first = wait_before(first, "hookctl list -s", sees(3, "signature verified"), lists("delivered"))
    second = wait_before(second, "hookctl list -e", lists("dead"))
    second = wait_before(second, "hookctl replay", sees(2, "listening on"))
    second = wait_before(second, "hookctl endpoint remove", sees(4, "signature verified"))
    script = ("set -m\n" + first + "echo ====\n" + second + "kill %?8901").replace("8901", str(free_port()))
    with open(os.path.join(directory, "screen"), "w+") as screen:
        subprocess.run(["bash", "-c", script], cwd=directory, stdout=screen, stderr=screen, timeout=200 * PATIENCE,
                       env={**os.environ, "HOOKD_SOCKETS": hookd.sockets,
                            "PATH": HOOKCTL_DIRECTORY + ":" + os.environ["PATH"]})
        screen.seek(0)
        seen = screen.read()
    retried, outage = seen.split("====\n")
    assert re.search(r"evt_\w{26}  order.paid  acme/demo  delivered .* 3/3 .* 200 OK", retried), seen
    assert retried.count("signature verified") == 3, seen
    assert re.search(r"evt_\w{26}  order.paid  acme/demo  dead .* connection refused", outage), seen
    assert "acme/demo" in outage and "no problems" in outage and "1 replayed" in outage, seen
    assert "signature verified" in outage and "acme/demo removed" in outage, seen
    assert "hookctl: " not in seen and "not found" not in seen


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
