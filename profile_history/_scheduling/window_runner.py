"""Take one window from its first request to its outcome: the loop that sends, judges, decides and acts.

What is decided is in `_sending/failure_policy.py`, which is pure; nothing but this loop acts on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from profile_history._protocol.envelope import Rows
from profile_history._scheduling.scheduler import Assignment, Scheduler
from profile_history._sending.failure_policy import Decision, Step
from profile_history._sending.fetcher import Fetcher, mark_as_end
from profile_history._sending.memory_budget import MemoryExceeded
from profile_history._sending.task import Task
from profile_history.errors import HistoryError
from profile_history.observing import WindowDone, WindowDropped
from profile_history.stats import Stats

# Given the window, how many seconds to wait (0 for not at all), and when the window first asked for its last request;
# returns when it first asks for its next one, which is the same moment if it did not wait.
Sleep: TypeAlias = Callable[[Assignment, float, float], Awaitable[float]]


@attrs.define(eq=False)
class WindowRunner:
    """The work on single windows of one stream, which all its workers share.

    Attributes:
        schedule: Where the windows come from, and where they go.
        fetcher: Sends and judges single requests.
        stats: Written to.
        stopped: Set when the stream is being closed: no further request is sent.
    """

    schedule: Scheduler
    fetcher: Fetcher
    stats: Stats
    stopped: bool = attrs.field(default=False, init=False)

    async def run(self, assignment: Assignment, sleep: Sleep) -> None:
        """Send a window, judge how that ended, decide what follows and do it, until the window is off this worker.

        Args:
            assignment: The window.
            sleep: Waits before a retry; other windows may be sent meanwhile.

        Raises:
            HistoryError: No other window can succeed either.
        """
        task = assignment.task
        if task.started is None:
            task.started = self.stats.seconds
            self.stats.requests += 1
        try:
            await self._send_until_settled(assignment, sleep)
        except MemoryExceeded:
            self.schedule.requeue_first(assignment)
        except HistoryError as error:
            task.sign(error)
            self._note_done(assignment, error)
            raise
        except BaseException:
            self.note_dropped(task)
            raise

    def note_dropped(self, task: Task, *, split: bool = False) -> None:
        """Announce that a window ends without an outcome.

        Args:
            task: The window.
            split: Whether shorter ones take its place.
        """
        observer = self.fetcher.observer
        if observer.enabled:
            observer.emit(WindowDropped(task.profile, task.window, task.request_id, task.log.attempts, split=split))

    async def _send_until_settled(self, assignment: Assignment, sleep: Sleep) -> None:
        """Send, judge, decide, act: all that can happen to a window between two of its requests stands here."""
        fetcher, task = self.fetcher, assignment.task
        since, new_connection = asyncio.get_running_loop().time(), False
        while True:
            permit = await fetcher.admit(self.stats, since)
            sent = await fetcher.send(task, permit, self.stats, assignment.reservation, new_connection=new_connection)
            decision = fetcher.judge(task, sent, self.stats, assignment.can_split)
            new_connection = decision.new_connection
            # A cancellation can be lost in a timeout of aiohttp's own; what is closed sends no more.
            match Step.STOP if self.stopped else decision.step:
                case Step.DONE:
                    return self._settle(assignment, sent.complete_rows)
                case Step.RENEW_TOKEN:
                    if not await fetcher.has_newer_token(sent):
                        raise sent.error
                case Step.RETRY:
                    fetcher.charge_wait(task, sent.error, decision)
                    since = await sleep(assignment, decision.wait, since)
                case Step.REQUEUE:
                    fetcher.charge_wait(task, sent.error, decision)
                    task.log.end_pass()
                    await sleep(assignment, decision.wait, since)
                    return self.schedule.requeue_last(assignment)
                case Step.SPLIT:
                    await sleep(assignment, decision.wait, since)
                    self.stats.windows_split += 1
                    self.note_dropped(task, split=True)
                    return self.schedule.split(assignment)
                case Step.GIVE_UP:
                    return self._give_up(assignment, sent.error, decision)
                case Step.STOP:
                    raise mark_as_end(sent.error, decision.hint)

    def _give_up(self, assignment: Assignment, failure: HistoryError, decision: Decision) -> None:
        failure.hint = decision.hint or failure.hint or (assignment.hint if decision.is_too_long else None)
        assignment.task.sign(failure)
        self._settle(assignment, failure, decision.refuting_days)

    def _settle(self, assignment: Assignment, result: Rows | HistoryError, refuting_days: int = 0) -> None:
        self.stats.profiles_done += self.schedule.complete(assignment, result, refuting_days)
        self._note_done(assignment, result)

    def _note_done(self, assignment: Assignment, result: Rows | HistoryError) -> None:
        observer, task = self.fetcher.observer, assignment.task
        failed = isinstance(result, HistoryError)
        if not failed and not observer.enabled:
            return
        assert task.started is not None
        observer.emit(
            WindowDone(
                task.profile,
                task.window,
                task.request_id,
                attempts=task.log.attempts,
                seconds=self.stats.seconds - task.started,
                rows=0 if isinstance(result, HistoryError) else result.count,
                bytes=0 if isinstance(result, HistoryError) else result.size,
                error=result if isinstance(result, HistoryError) else None,
            )
        )
