"""Runs a command, and ends it on SIGINT or SIGTERM: cleanly on the first, at once on the second.

The handlers are those of `signal.signal` and not of the event loop: they are needed while a prompt waits and while the
loop is held, too, and Windows has no others.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

import attrs

T = TypeVar("T")

GRACE = 5.0
_LAST_WORDS = 0.2
_SHOW_CURSOR = "\x1b[?25h"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal asked the command to end.

    Attributes:
        code: The exit code that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = _code(number)


@attrs.define(eq=False)
class _Stopper:
    """The handler of the signals, and what it has to know."""

    number: int | None = None
    holding: bool = False
    excuse: str = ""
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[Any] | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            _leave(_code(number), "")
        self.number = number
        # No threading.Thread: its locks may be held by the very code that this handler interrupts.
        _thread.start_new_thread(_insist, (_code(number),))
        if not self.holding:
            raise Stopped(number)
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def watch(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits some work, which a signal cancels."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self.number is not None and self._task is not None:
            self._task.cancel()
        try:
            return await work
        finally:
            self._loop = self._task = None


_stopper = _Stopper()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Has SIGINT and SIGTERM end what runs in this block, and the process within `GRACE` seconds.

    The first one cancels what `run` runs and waits for its clean-up; in synchronous code, such as a prompt, it raises
    `Stopped` at once. A second one ends the process there and then. A signal that was ignored before is ignored still:
    the background jobs of a shell rely on that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stopper.number = None
    _stopper.excuse = "the last lines it wrote may be missing"
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, _stopper)
    try:
        yield
    finally:
        # After the first signal the second still has to work, whatever the interpreter waits for at its end.
        if _stopper.number is None:
            for number in ours:
                signal.signal(number, before[number] or signal.SIG_DFL)


def stopped_by() -> int | None:
    """The number of the signal that the command is being ended by, if it is."""
    return _stopper.number


def run(work: Coroutine[Any, Any, T], *, excuse: str | None = None) -> T:
    """Runs it to its end, on uvloop where that is installed.

    Args:
        work: What to run.
        excuse: What to say where it does not stop in time.

    Raises:
        Stopped: A signal has cancelled it, and its clean-up is done.
    """
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        make_loop = uvloop.new_event_loop
    _stopper.holding = True
    _stopper.excuse = excuse or _stopper.excuse
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(_stopper.watch(work))
    except asyncio.CancelledError:
        if _stopper.number is None:
            raise
        raise Stopped(_stopper.number) from None
    finally:
        _stopper.holding = False


def _code(number: int) -> int:
    return 128 + number


def _insist(code: int) -> None:
    time.sleep(GRACE)
    _leave(code, f"profile-history: it did not stop within {GRACE:g} s; {_stopper.excuse}\n")


def _leave(code: int, words: str) -> None:
    """Ends the process, with no clean-up but that of the terminal, and waits for nobody."""
    with contextlib.suppress(Exception):
        said = _thread.allocate_lock()
        said.acquire()
        # A terminal that was stopped with Ctrl-S takes no words.
        _thread.start_new_thread(_say, (words, said))
        said.acquire(timeout=_LAST_WORDS)
    os._exit(code)


def _say(words: str, said: _thread.LockType) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}{words}".encode())
    said.release()
