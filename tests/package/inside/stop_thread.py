"""Stops one thread until it is told to end, or the thread ends: stop_thread.py THREAD"""

import ctypes
import os
import signal
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

thread = int(sys.argv[1])
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in [PTRACE_SEIZE, PTRACE_INTERRUPT]:
    if ptrace(request, thread, None, None) < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, WALL)
print("stopped", flush=True)
# A traced thread that ends has to be waited for, or its process stays. Signals wait as long as it is stopped.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    _, status = os.waitpid(thread, WALL)
    if os.WIFEXITED(status) or os.WIFSIGNALED(status):
        break
