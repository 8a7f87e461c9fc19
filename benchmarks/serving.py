"""A server of ours as a process, on the servers' core, for the length of a `with`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import machine
from benchmarks.nginx import free_port, wait_for_port
from benchmarks.sides import environment


@contextlib.contextmanager
def serving(module: str, *arguments: object) -> Iterator[str]:
    """Run a module with a port and some arguments; give the base URL."""
    port = free_port()
    command = [sys.executable, "-m", f"benchmarks.{module}", str(port), *map(str, arguments)]
    process = subprocess.Popen(command, env=environment())
    try:
        machine.pin(process.pid, machine.server_core())
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
