"""What a hookd that had been taken over might try. Writes what came of each attempt, "done" or the name of an error, as
JSON to try_to_leave.json in the directory given.

It runs twice: in the place of hookd, in all that hookd.service puts around it, where nothing may be done; and as root,
outside, which shows that the attempts are real ones.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """A function of libc that returns -1 when it fails."""
    function = getattr(libc, name)
    function.restype = ctypes.c_long
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def write(path):
    with open(path, "w"):
        pass
    os.remove(path)


def write_into(path, text):
    with open(path, "w") as file:
        file.write(text)


def make_setuid(directory):
    path = os.path.join(directory, "setuid")
    write_into(path, "")
    try:
        os.chmod(path, 0o4755)
    finally:
        os.remove(path)


def open_socket(family, type, protocol=0):
    socket.socket(family, type, protocol).close()


def attempts(directory):
    place = ctypes.create_string_buffer(b"/mnt")
    yield "write to /etc", lambda: write("/etc/hookd-was-here")
    yield "write to /etc/hookd", lambda: write("/etc/hookd/hookd-was-here")
    yield "write to /usr", lambda: write("/usr/hookd-was-here")
    yield "write to /opt", lambda: write("/opt/hookd-was-here")
    yield "write to /run", lambda: write("/run/hookd-was-here")
    yield "write to the sockets' directory", lambda: write("/run/hookd/hookd-was-here")
    yield "write to /var/lib", lambda: write("/var/lib/hookd-was-here")
    yield "write to /var/log", lambda: write("/var/log/hookd-was-here")
    yield "write to /dev/shm", lambda: write("/dev/shm/hookd-was-here")
    yield "look into /root", lambda: os.listdir("/root")
    yield "look at process 1", lambda: os.listdir("/proc/1")
    yield "look at the kernel's symbols", lambda: open("/proc/kallsyms").close()
    yield "read the kernel's log", lambda: call("klogctl", 10, None, 0)
    yield "make a file setuid", lambda: make_setuid(directory)
    yield "become root", lambda: os.setuid(0)
    yield "change the root directory", lambda: os.chroot("/")
    yield "mount", lambda: call("mount", None, place, ctypes.c_char_p(b"tmpfs"), 0, None)
    yield "make a user namespace", lambda: call("unshare", 0x10000000)
    yield "make a mount namespace", lambda: call("unshare", 0x00020000)
    yield "change the host's name", lambda: call("sethostname", ctypes.c_char_p(socket.gethostname().encode()),
                                                 len(socket.gethostname()))
    yield "change what the machine seems to be", lambda: call("personality", ctypes.c_ulong(0x40000))
    yield "run before everybody else", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield "raise its own priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)
    yield "trace its parent", lambda: call("ptrace", 0x4206, os.getppid(), None, None)
    yield "open a raw socket", lambda: open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    yield "open a packet socket", lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW)
    yield "open a Bluetooth socket", lambda: open_socket(31, socket.SOCK_RAW)
    yield "have memory to write and execute", lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    yield "write to its state directory", lambda: write(os.path.join(directory, "hookd-was-here"))


def come_of(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def main():
    directory = sys.argv[1]
    results = {}
    for name, attempt in attempts(directory):
        child, (reader, writer) = None, os.pipe()
        child = os.fork()  # each in a process of its own: some cannot be taken back
        if child == 0:
            os.write(writer, come_of(attempt).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            results[name] = file.read() or "killed"
        os.waitpid(child, 0)
    with open(os.path.join(directory, "try_to_leave.json"), "w") as file:
        json.dump(results, file)


main()
