"""What could be seen of a run from outside: nothing shows the token, and nothing is left open."""

import asyncio
import contextlib
import functools
import gc
import logging
import re
import sys
import warnings
from typing import Any
from unittest import mock

from support.commands import until
from support.leftovers import descriptors
from support.secrecy import pickled, shown

from profile_history.cli import event_loop

TOKEN = "canary-5d1e0b"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST_MESSAGE = 1200


class Seen:
    """All that could be seen of a run from outside, and what nobody should have to see."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.problems: list[str] = []

    def error(self, error: BaseException) -> None:
        """Take in an error with all that prints of it."""
        message = str(error)
        assert len(message) < LONGEST_MESSAGE, message
        assert not CONTROL.search(message), repr(message)
        self.texts += [shown(error), pickled(error), "".join(getattr(error, "__notes__", []))]

    @contextlib.contextmanager
    def watching(self):
        """Listen to logs and warnings; afterwards there is no problem, no file is open, and nothing has the token."""
        _warm_up()
        gc.collect()
        files = descriptors()
        log = _Log(self.texts)
        root = logging.getLogger()
        level = root.level
        with warnings.catch_warnings(record=True) as warned, mock.patch.object(sys, "unraisablehook", self._unraisable):
            warnings.simplefilter("always")
            root.addHandler(log)
            root.setLevel(logging.DEBUG)
            try:
                yield
            finally:
                root.removeHandler(log)
                root.setLevel(level)
            gc.collect()
        assert [str(warning) for warning in warned] == []
        assert self.problems == []
        # A thread of an earlier run may still hold one for a moment.
        until(lambda: descriptors() == files)
        assert not [text for text in self.texts if TOKEN in text]

    def _unraisable(self, what: Any) -> None:
        self.problems.append(f"{what.exc_value!r} in {what.object!r}")


@functools.cache
def _warm_up() -> None:
    # uvloop opens a pair of sockets once for a process.
    event_loop.run(asyncio.sleep(0))


class _Log(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)} {vars(record)}")
