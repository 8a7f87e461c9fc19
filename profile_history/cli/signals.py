"""SIGINT and SIGTERM: the first ends a command cleanly, the second at once.

The handlers are those of `signal.signal` and not of the event loop: they are needed before anything else is imported,
while a prompt waits and while the loop is held, too, and Windows has no others. So this module imports next to nothing.
"""

from __future__ import annotations

import _thread
import atexit
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Self

GRACE = 5.0
"""Seconds that a clean end may take."""

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
        self.code: int = _exit_code(number)


class Stopper:
    """The handler of the signals, and what it has to know.

    Attributes:
        number: The signal that came last, `None` if none did.
        cancel: Cancels the coroutine that runs; `None` if none does, or it cannot be cancelled yet.
        running: Whether a coroutine runs, or is about to.
        excuse: What to say if that does not stop in time.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.cancel: Callable[[], object] | None = None
        self.running = False
        self.excuse: str = ""
        self._careful = 0

    def reset(self) -> None:
        """Forget the last command."""
        self.__init__()  # type: ignore[misc]
        self.excuse = "the last lines it wrote may be missing"

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        again, self.number = self.number is not None, number
        # The second signal means now: whoever pressed Ctrl-C twice does not want to wait for a clean end.
        if again or not (self.running or (self._careful and not _is_importing(frame))):
            # With the first signal nothing is open that wants to be closed, and an exception might be swallowed where
            # it is raised, such as in an import or a `__del__`.
            _leave(_exit_code(number), "")
        # No threading.Thread: its locks may be held by the very code that this handler interrupts.
        _thread.start_new_thread(self._insist, (_exit_code(number),))
        if not self.running:
            raise Stopped(number)
        # The clean-up of the coroutine runs before `event_loop.run` raises `Stopped`.
        if self.cancel is not None:
            self.cancel()

    def __enter__(self) -> Self:
        self._careful += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._careful -= 1

    def _insist(self, code: int) -> None:
        time.sleep(GRACE)
        _leave(code, _make_excuse())


stopper: Stopper = Stopper()
"""Used as `with stopper:` it raises `Stopped` in that block, where something has to be put in order first."""


class SignalScope:
    """A block that SIGINT and SIGTERM end, and within `GRACE` seconds the process.

    The first one cancels what `event_loop.run` runs and waits for its clean-up; in synchronous code it ends the process
    at once, but in a block of `stopper` it raises `Stopped`. A second one ends the process there and then. A signal
    that was ignored before is ignored still: the background jobs of a shell rely on that.

    Args:
        for_good: Whether the process ends with the block: until then no signal meets a handler that prints.
    """

    def __init__(self, *, for_good: bool = False) -> None:
        self._for_good = for_good
        self._before: list[tuple[int, Any]] = []
        self._wakeup = self._wakeup_before = -1

    def __enter__(self) -> Self:
        stopper.reset()
        try:
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    signal.signal(number, stopper)
                    self._before.append((number, before or signal.SIG_DFL))
            self._watch()
        except ValueError:
            # Only the main thread of a process may do this.
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        if self._for_good:
            atexit.register(_ignore, [number for number, _ in self._before])
        elif stopper.number is None:
            # After the first signal the second still has to work, whatever the interpreter waits for at its end.
            for number, before in self._before:
                signal.signal(number, before)
            if self._wakeup >= 0:
                signal.set_wakeup_fd(self._wakeup_before)
                os.close(self._wakeup)

    def _watch(self) -> None:
        """Start a thread that handles the signals which the main thread cannot, since a library holds it."""
        reading, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        _thread.start_new_thread(_watch, (reading,))


def get_stop_signal() -> int | None:
    """Return the number of the signal that the command is being ended by, if it is."""
    return stopper.number


def _watch(reading: int) -> None:
    """End the process if a signal came and `stopper` was not called in the time it has, or when another one came."""
    while data := os.read(reading, 100):
        for number in set(data) & set(_SIGNALS):
            # It is called as soon as the main thread runs Python again; then it sees to the rest.
            again, _, _ = select.select([reading], [], [], GRACE)
            if stopper.number is None:
                _leave(_exit_code(number), "" if again else _make_excuse())
    os.close(reading)


def _make_excuse() -> str:
    return f"profile-history: it did not stop within {GRACE:g} s; {stopper.excuse}\n"


def _ignore(numbers: list[int]) -> None:
    """Ignore signals while the interpreter takes itself apart: what the command has come to is decided."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _exit_code(number: int) -> int:
    return 128 + number


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _leave(code: int, words: str) -> None:
    """End the process, with no clean-up but that of the terminal, and wait for nobody."""
    try:
        said = _thread.allocate_lock()
        said.acquire()
        # A terminal that was stopped with Ctrl-S takes no words.
        _thread.start_new_thread(_say, (words, said))
        said.acquire(timeout=_LAST_WORDS)
    finally:
        os._exit(code)


def _say(words: str, said: _thread.LockType) -> None:
    try:  # noqa: SIM105 (contextlib takes time to import)
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}{words}".encode())
    except OSError:
        pass
    said.release()
