"""A task factory that counts every suspension of the tasks under watch, and strikes at a given one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any

_watch: contextvars.ContextVar[Suspensions | None] = contextvars.ContextVar("watch", default=None)


class Suspensions:
    """Counts the suspensions of one task and of all tasks that it starts, those of libraries included.

    Args:
        at: The numbers of the suspensions, counted from 0, at which `strike` is called.
        strike: What is called then, before anything else can happen.
        each: Called at each suspension.
        resuming: Whether to count what is about to go on instead of what has just stopped; in between, the loop has
            turned, so that what was waited for may be there already.
    """

    def __init__(
        self,
        at: range = range(0),
        strike: Callable[[], object] = lambda: None,
        *,
        each: Callable[[], object] = lambda: None,
        resuming: bool = False,
    ) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._suspended = self._resumed = 0
        self._at = at
        self._strike = strike
        self._each = each
        self._resuming = resuming

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Make a task of `work`, under watch."""
        context = contextvars.copy_context()
        context.run(_watch.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def suspended(self) -> None:
        """Take note that a task waits."""
        if not self._resuming and self._suspended in self._at:
            self._strike()
        self._suspended += 1
        self._each()

    def resumes(self) -> None:
        """Take note that a task is about to go on."""
        if self._resuming and self._resumed in self._at:
            self._strike()
        self._resumed += 1

    @property
    def alive(self) -> list[str]:
        """What is not over of all that was started."""
        return [repr(task) for task in self.tasks if not task.done()]


def watching(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """The task factory to be given to the loop."""
    context = options.get("context")
    watch = _watch.get() if context is None else context.get(_watch)
    task = asyncio.Task(work if watch is None else _Counted(work, watch), loop=loop, **options)
    if watch is not None:
        watch.tasks.add(task)
    return task


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each time that it is stopped, or goes on."""

    def __init__(self, work: Coroutine[Any, Any, Any], watch: Suspensions) -> None:
        self._work = work
        self._watch = watch
        self._begun = False
        self.__name__ = getattr(work, "__name__", repr(work))
        self.__qualname__ = getattr(work, "__qualname__", repr(work))

    def send(self, value: Any) -> Any:
        return self._step(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._work.throw, *error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def _step(self, go_on: Callable[..., Any], *what: Any) -> Any:
        if self._begun:
            self._watch.resumes()
        self._begun = True
        awaited = go_on(*what)
        self._watch.suspended()
        return awaited
