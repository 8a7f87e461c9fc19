"""Helpers of the tests of signals."""

import contextlib
import fcntl
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from support.commands import EMAILS, Terminal, started, until

from profile_history.testing import Fault, FaultPlan

INT, TERM = signal.SIGINT, signal.SIGTERM


CODES = {INT: 130, TERM: 143}


WORDS = {INT: "interrupted", TERM: "terminated"}


MANY = [f"user{number}@example.com" for number in range(40)]


# What a machine with something else to do may take for what takes milliseconds; far below the 5 seconds of grace.
AT_ONCE = 3


BOTH = pytest.mark.parametrize("number", [INT, TERM], ids=["SIGINT", "SIGTERM"])


BOTH_ON_BOTH_LOOPS = pytest.mark.parametrize(
    ("number", "loop"),
    [
        pytest.param(INT, "uvloop", id="SIGINT-uvloop"),
        pytest.param(TERM, "asyncio", id="SIGTERM-asyncio"),
        pytest.param(INT, "asyncio", id="SIGINT-asyncio", marks=pytest.mark.full),
        pytest.param(TERM, "uvloop", id="SIGTERM-uvloop", marks=pytest.mark.full),
    ],
)


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks into /proc")


def program(loop="uvloop", grace=5.0):
    """The command line on one of the event loops, as words to start it with."""
    code = f"""
import sys
from profile_history.cli import main
from profile_history.cli import signals
signals.GRACE = {grace}
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
sys.exit(main())
"""
    return [sys.executable, "-c", code]


@contextlib.contextmanager
def coroutine(body, grace=5.0):
    """A process that runs a coroutine as commands are run; it prints a line, waits, and cleans up as `body` says."""
    code = f"""
import asyncio, sys, time
from profile_history.cli import event_loop
from profile_history.cli import signals
signals.GRACE = {grace}

async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(60)
    finally:
        {body}

try:
    with signals.SignalScope():
        event_loop.run(work())
except signals.Stopped as stop:
    sys.exit(stop.code)
"""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(program=[sys.executable, "-c", code], **streams) as process:
        assert process.stdout.readline() == "working\n"
        yield process


@contextlib.contextmanager
def stalled(server, *words, **more):
    """A fetch of two profiles, of which the first is complete and the second will never be; and its terminal."""
    server.faults = FaultPlan.always(Fault.STALL, profiles=[2])
    words = ["fetch", "--matching", "email", "--format", "ndjson", *words, *EMAILS[:2]]
    with Terminal() as screen, started(*words, **more, stderr=screen.end) as process:
        screen.hand_over()
        screen.read("1/2 profiles")
        until(lambda: server.injected[Fault.STALL])
        yield process, screen


@contextlib.contextmanager
def unread(**more):
    """A fetch that waits for somebody to read its stdout."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started("fetch", "--matching", "email", *MANY, **pipes, **more) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        until(lambda: struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)))[0] > 3000)
        until(lambda: asleep(process))
        yield process


def threads(process):
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def asleep(process):
    """Tell whether the process waits for something, and for longer than its threads wait for each other."""
    state, switches = _account(process)
    time.sleep(0.05)
    return state == "S" and _account(process) == (state, switches)


def _account(process):
    """Return by the kernel's account in which state a process is, and how often it has begun to wait."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return re.search(r"State:\s+(\w)", status)[1], re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[1]
