"""A side of a comparison: a peer in a process of its own, told from here what to do.

So no side pays for what another has imported or left behind, and only one works at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import attrs

from benchmarks import machine
from benchmarks.bodies import Prepared

_ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen
class Site:
    """What a peer is to read.

    Attributes:
        base_url: The address in front of the API's path.
        in_flight: How many requests are in flight at once.
        rows: How many rows each response has.
        size: How many bytes each response has, uncompressed.
        body: The file with those bytes.
        loop: The event loop, "asyncio" or "uvloop".
    """

    base_url: str
    in_flight: int
    rows: int = 0
    size: int = 0
    body: str = ""
    loop: str = "asyncio"

    @classmethod
    def serving(cls, prepared: Prepared, base_url: str, in_flight: int, loop: str) -> Site:
        """Return the site of a prepared body."""
        return cls(base_url, in_flight, prepared.body.rows, prepared.size, str(prepared.plain), loop)


@attrs.frozen
class Sample:
    """One turn of one side.

    Attributes:
        seconds: How long it took.
        cpu: Seconds of processor time that the side's process spent.
        requests: How many requests were made.
        events: How many events came.
        before: Resident bytes before.
        peak: The most resident bytes.
    """

    seconds: float
    cpu: float
    requests: int
    events: int
    before: int
    peak: int

    @property
    def request(self) -> float:
        """Return the seconds per request."""
        return self.seconds / self.requests

    @property
    def event(self) -> float:
        """Return the seconds per event."""
        return self.seconds / self.events


class Unavailable(Exception):
    """A peer cannot do this here, and why."""


class SideFailed(RuntimeError):
    """A peer did something wrong; a figure that rests on it would be worth nothing."""


class Side:
    """A peer at work, for the length of a `with`.

    Raises:
        Unavailable: It cannot work here.
    """

    def __init__(self, peer: str, site: Site) -> None:
        self.peer = peer
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-side-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", peer, json.dumps(attrs.asdict(site))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
            env={**environment(), "DLT_DATA_DIR": self._folder.name, "DLT_PROJECT_DIR": self._folder.name},
            text=True,
        )
        try:
            machine.pin(self._process.pid, machine.client_core())
            self._hear()
        except BaseException:
            self.close()
            raise

    def fetch(self, requests: int) -> Sample:
        """Make some requests, and check that all events came."""
        return Sample(**self.ask("fetch", requests=requests))

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Have the peer do something, and wait for what it says."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SideFailed(f"{self.peer} ended without a result")
        result: dict[str, Any] = json.loads(line)
        if "unavailable" in result:
            raise Unavailable(result["unavailable"])
        if "failed" in result:
            raise SideFailed(f"{self.peer}: {result['failed']}")
        return result


def environment() -> dict[str, str]:
    """Return the environment of all processes that are measured, or serve."""
    # Bytecode may be written: where a package is installed, it is there.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PYTHONPATH": str(_ROOT),
        "PYTHONHASHSEED": "0",
        # Nothing calls home.
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
