#!/usr/bin/env python3
"""Crashes each process that another one forks when it comes to one system call: crash_at_call.py PID CALL TEXT

Traces the process PID and all its children by ptrace(2). A child that comes to the system call CALL (a number) with TEXT as
its second argument (a path relative to a folder) gets SIGSEGV when it has done it. Prints `ready`, then one line for each crash. Ends with
PID, or when it is killed: then all go on without it.
"""
import ctypes
import os
import signal
import struct
import sys

SEIZE, CONT, SYSCALL, GET_SYSCALL_INFO, INTERRUPT = 0x4206, 7, 24, 0x420E, 0x4207
SYSGOOD, TRACE_FORK = 1, 2
ENTRY, WALL = 1, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

holder, call, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()


def is_wanted(pid):
    """Whether it stands right before that call."""
    info = ctypes.create_string_buffer(88)
    if libc.ptrace(GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info)) <= 0 or info.raw[0] != ENTRY:
        return False
    number, _first, path = struct.unpack_from('<QQQ', info.raw, 24)
    if number != call:
        return False
    with open(f'/proc/{pid}/mem', 'rb') as memory:
        memory.seek(path)
        return memory.read(len(text) + 1) == text + b'\0'


def children():
    with open(f'/proc/{holder}/task/{holder}/children') as f:
        return [int(pid) for pid in f.read().split()]


for traced in (holder, *children()):
    if libc.ptrace(SEIZE, traced, None, SYSGOOD | TRACE_FORK) < 0:
        sys.exit(f'cannot trace {traced}: {os.strerror(ctypes.get_errno())}')
    if traced != holder:
        libc.ptrace(INTERRUPT, traced, None, None)
print('ready', flush=True)
while True:
    pid, status = os.waitpid(-1, WALL)
    if not os.WIFSTOPPED(status):
        if pid == holder:
            break
        continue
    stop = os.WSTOPSIG(status)
    received = stop if status >> 16 == 0 and stop < 64 and stop != signal.SIGTRAP else 0
    if stop == signal.SIGTRAP | 0x80 and is_wanted(pid):
        print(f'crashed {pid}', flush=True)
        received = signal.SIGSEGV
    # The holder only waits; what matters are the calls of its children.
    libc.ptrace(CONT if pid == holder else SYSCALL, pid, None, received)
