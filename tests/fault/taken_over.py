"""A hookd that starts another executable as its senders."""

import json
import os
import shutil

from harness import BUILD, Hookd


def is_instrumented():
    """Sanitizers and coverage counts need calls and files; such a build has lower walls."""
    with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json")) as file:
        options = {option["name"]: option["value"] for option in json.load(file)}
    return options["b_sanitize"] != "none" or options["b_coverage"]


INSTRUMENTED = is_instrumented()


class HookdWithSender(Hookd):
    """Started from a directory of its own, with this sender beside it; perhaps as another user, perhaps on a kernel
    without a certain system call (call, error)."""

    def __init__(self, directory, sender="daemon/hookd-sender", config=None, user=None, without=None):
        super().__init__(directory, config)
        self.user, self.without = user, without
        self.binaries = os.path.join(directory, "bin")
        os.mkdir(self.binaries)
        shutil.copy(os.path.join(BUILD, "daemon", "hookd"), self.binaries)
        shutil.copy(os.path.join(BUILD, sender), os.path.join(self.binaries, "hookd-sender"))
        if user:
            os.chmod(directory, 0o755)
            os.chown(directory, user, user)

    def command(self):
        without = []
        if self.without:
            without = [os.path.join(BUILD, "tests", "fault", "without"), *map(str, self.without)]
        return [*without, os.path.join(self.binaries, "hookd"), *super().command()[1:]]

    def start(self, wait=True, **popen):
        if self.user:
            popen.update(user=self.user, group=self.user, extra_groups=[])
        # A file that hookd has open without close-on-exec, as libraries do.
        with open(self.config) as kept:
            return super().start(wait, pass_fds=[kept.fileno()], **popen)
