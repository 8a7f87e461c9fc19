"""The request that tells an outage from a window that always fails. No I/O, no clock."""

from __future__ import annotations

import sys

import attrs

from profile_history._sending.request_ids import make_probe_id
from profile_history._sending.task import Task, WriteBody


@attrs.define(eq=False)
class HealthProbe:
    """The request to probe a server with that failed: the one with the shortest good response so far.

    After a probe that failed only every other one sends it, since it may be what fails by now.
    """

    _known: tuple[Task, WriteBody] | None = None
    _size: int = 0
    _turn: bool = False

    def learn(self, task: Task, write: WriteBody, size: int) -> None:
        """Record a request that succeeded.

        Args:
            task: Its window.
            write: What writes it.
            size: Bytes of its response.
        """
        self._turn = False
        if self._known is None or size < self._size:
            self._known, self._size = (task, write), size

    def confirm(self) -> None:
        """Record that it was responded to once more, so that the next probe sends it first."""
        self._turn = False

    def suggest(self, task: Task, write: WriteBody) -> None:
        """Take a request that should succeed, until one has.

        Args:
            task: Its window.
            write: What writes it.
        """
        if self._known is None:
            self._known, self._size = (task, write), sys.maxsize

    @property
    def known(self) -> bool:
        """Tell whether there is a request to probe with."""
        return self._known is not None

    def request(self) -> tuple[Task, WriteBody] | None:
        """Return what to send; `None` if nothing is known, and at every second call without a success."""
        self._turn = not self._turn
        if self._known is None or not self._turn:
            return None
        task, write = self._known
        return Task(task.profile, task.window, make_probe_id(task.request_id)), write
