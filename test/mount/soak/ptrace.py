"""Ends a process right before or after one of its system calls.

A kill at a random time nearly always hits a worker while it waits or works; the moments that matter are those between a change
and its note, or between a note and its answer. Each of them lies next to a system call, so the worker is led from call to call by
ptrace(2) and killed there. At the entry of a call it dies without having done it.
"""
import ctypes
import os
import signal
import time

from syscalls import checked, libc

SEIZE, INTERRUPT, SYSCALL, DETACH = 0x4206, 0x4207, 24, 17
TRACE_SYSCALLS, KILL_WITH_TRACER = 1, 0x100000
WALL = 0x40000000
PATIENCE = 0.5  # seconds for a worker that nobody asks anything

libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def kill_at_call(pid, calls):
    """Kills after as many stops at an entry or an exit of a system call."""
    checked(libc.ptrace(SEIZE, pid, None, TRACE_SYSCALLS | KILL_WITH_TRACER))
    deadline = time.monotonic() + PATIENCE
    try:
        libc.ptrace(INTERRUPT, pid, None, None)
        while calls >= 0 and time.monotonic() < deadline:
            ended, status = os.waitpid(pid, WALL | os.WNOHANG)
            if ended == 0:
                continue
            if os.WIFSIGNALED(status) or os.WIFEXITED(status):
                raise ChildProcessError(f'the worker {pid} ended with status {status}')
            calls -= 1
            if calls >= 0:
                # A signal that stopped it is handed on; a stop of ours is none.
                received = os.WSTOPSIG(status)
                libc.ptrace(SYSCALL, pid, None, received if received < 32 and received != signal.SIGTRAP else 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        # Its parent hears of its end only when its tracer has.
        while os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
            pass
