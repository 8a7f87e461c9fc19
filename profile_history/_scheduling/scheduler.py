"""Decide which window of which profile is fetched next, and which outcome is handed out next. No I/O, no tasks.

Profiles take turns, so that a huge one delays no other, and a window that waits before a retry is suspended, so that it
delays none either. How far the fetching runs ahead of the consumer is bounded in windows and in bytes. The bound can
never stop everything: while nothing is ready, read, suspended or in flight, one window may always start, and it is the
head of a profile's plan, so its outcome can be handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from profile_history._protocol.envelope import Rows
from profile_history._scheduling.window_plan import Segment, WindowPlan
from profile_history._sending.memory_budget import Reservation, StreamBudget
from profile_history._sending.task import Task
from profile_history.errors import HistoryError
from profile_history.profiles import Profile
from profile_history.units import Unit
from profile_history.windows import Window

# One of so many windows is one that failed: often enough to get through, too seldom to slow the others down.
_TURNS_BEFORE_A_RETRY = 64


@attrs.frozen
class Outcome:
    """The end of one window: its verified rows, or the error for which it was given up."""

    task: Task
    reservation: Reservation
    unit: Unit
    rows: Rows | None = None
    error: HistoryError | None = None

    @property
    def profile(self) -> Profile:
        """Return whose history was asked for."""
        return self.task.profile

    @property
    def window(self) -> Window:
        """Return the days that were asked for."""
        return self.task.window


@attrs.define(eq=False)
class _ProfileQueue:
    unit: Unit
    plan: WindowPlan[Outcome]
    queued: bool = True


@attrs.define(eq=False)
class Assignment:
    """A window that was given to a worker.

    Attributes:
        task: What is requested.
        reservation: The memory that its response may take.
        queue: The profile that it belongs to.
        segment: Its place in the plan of that profile.
    """

    task: Task
    reservation: Reservation
    queue: _ProfileQueue
    segment: Segment[Outcome]

    def can_split(self) -> bool:
        """Tell whether the window can be halved."""
        return self.queue.plan.can_split(self.segment)

    @property
    def hint(self) -> str:
        """Return what to try when the window, as it is, proved too much."""
        if self.queue.plan.adaptive:
            return (
                "not even a single day could be fetched; raise Timeouts or Limits, or ask the vendor about this profile"
            )
        return 'ask for shorter windows, or leave their length to window="auto"'


class Scheduler:
    """The windows of all profiles of one stream, from waiting over in flight to handed out.

    Args:
        make_plan: Makes the plan for the days of one profile.
        make_request_id: Makes a new `X-Request-ID`.
        stream_budget: The memory of the stream.
        windows_ahead: How many windows may be in flight or wait for the consumer.
        suspended_ahead: How many windows may wait before a retry; beyond it no other window starts.
        profiles_ahead: How many profiles are worked on at once. One whose window waits before a retry does not count.
    """

    def __init__(
        self,
        *,
        make_plan: Callable[[Window], WindowPlan[Outcome]],
        make_request_id: Callable[[], str],
        stream_budget: StreamBudget,
        windows_ahead: int,
        suspended_ahead: int,
        profiles_ahead: int,
    ) -> None:
        self._make_plan = make_plan
        self._make_request_id = make_request_id
        self._stream_budget = stream_budget
        self._windows_ahead = windows_ahead
        self._suspended_ahead = suspended_ahead
        self._profiles_ahead = profiles_ahead
        self._ready_profiles: deque[_ProfileQueue] = deque()
        self._priority_queue: deque[Assignment] = deque()
        self._retry_queue: deque[Assignment] = deque()
        self._ready: deque[Outcome] = deque()
        self._profiles = 0
        self._in_flight = 0
        self._suspended = 0
        self._held_windows = 0
        self._taken = 0
        self._with_consumer = 0
        self._all_added = False

    @property
    def wants_profiles(self) -> bool:
        """Tell whether another profile should be added."""
        waiting = min(self._suspended + len(self._retry_queue), self._suspended_ahead)
        return self._profiles - waiting < self._profiles_ahead

    @property
    def exhausted(self) -> bool:
        """Tell whether every window of every profile was handed out and no profile will come."""
        return self._all_added and not self._profiles and not self._ready

    @property
    def available(self) -> bool:
        """Tell whether `take` would return a window."""
        if not (self._ready_profiles or self._retry_queue or self._priority_queue):
            return False
        return self.has_room or self._is_stalled

    def add(self, unit: Unit) -> None:
        """Put a profile's days in the queue."""
        self._ready_profiles.append(_ProfileQueue(unit, self._make_plan(unit.window)))
        self._profiles += 1

    def finish_adding(self) -> None:
        """Record that no profile will be added any more."""
        self._all_added = True

    def take(self) -> Assignment | None:
        """Return the next window to fetch; `None` if there is none or the consumer is too far behind."""
        if not self.available:
            return None
        assignment = self._next() if self.has_room else self._next_head()
        assert assignment is not None, "available says that there is one"
        self._taken += 1
        assignment.reservation.renew(urgent=self._is_stalled)
        self._in_flight += 1
        return assignment

    def suspend(self, assignment: Assignment) -> None:
        """Record that a window in flight waits before a retry, and uses no memory meanwhile."""
        assignment.reservation.release()
        self._in_flight -= 1
        self._suspended += 1

    def resume(self, assignment: Assignment) -> None:
        """Record that the wait before a retry is over."""
        assignment.reservation.renew()
        self._in_flight += 1
        self._suspended -= 1

    def complete(self, assignment: Assignment, result: Rows | HistoryError, refuting_days: int = 0) -> bool:
        """Record the end of a window.

        Args:
            assignment: The window.
            result: Its verified rows, or the error for which it is given up.
            refuting_days: How many single days that fail like this refute that fewer days help; 0 if none do.

        Returns:
            Whether that was the last window of its profile.
        """
        queue = assignment.queue
        if isinstance(result, HistoryError):
            outcome = Outcome(assignment.task, assignment.reservation, queue.unit, error=result)
            assignment.reservation.release()
        else:
            outcome = Outcome(assignment.task, assignment.reservation, queue.unit, rows=result)
            assignment.reservation.settle(result.size)
        self._in_flight -= 1
        self._held_windows += 1
        for segment in queue.plan.complete(
            assignment.segment, outcome, success=outcome.error is None, refuting_days=refuting_days
        ):
            assert segment.outcome is not None
            self._ready.append(segment.outcome)
        finished = queue.plan.finished
        if not finished:
            self._refresh(queue)
        self._profiles -= finished
        return finished

    def split(self, assignment: Assignment) -> None:
        """Put back a window that proved too much, to be asked for in shorter ones."""
        assignment.reservation.release()
        self._in_flight -= 1
        queue = assignment.queue
        queue.plan.split(assignment.segment)
        self._refresh(queue)

    def requeue_last(self, assignment: Assignment) -> None:
        """Put a window that failed behind all others."""
        assignment.reservation.release()
        self._in_flight -= 1
        self._retry_queue.append(assignment)

    def requeue_first(self, assignment: Assignment) -> None:
        """Put a window whose response found no room before all others, for when there is."""
        assignment.reservation.release()
        self._in_flight -= 1
        self._priority_queue.append(assignment)

    def next_ready(self) -> Outcome | None:
        """Return the next outcome to hand out; `None` if there is none yet."""
        if not self._ready:
            return None
        self._with_consumer += 1
        return self._ready.popleft()

    def release(self, outcome: Outcome) -> None:
        """Record that the consumer is through with an outcome."""
        self._with_consumer -= 1
        self._held_windows -= 1
        outcome.reservation.release()

    def close(self) -> list[Task]:
        """Give back the memory of all that is still held, and return the windows that wait for another pass."""
        self._stream_budget.close()
        waiting = [assignment.task for assignment in (*self._priority_queue, *self._retry_queue)]
        self._priority_queue.clear()
        self._retry_queue.clear()
        return waiting

    @property
    def _is_stalled(self) -> bool:
        return not (self._ready or self._with_consumer or self._in_flight or self._suspended)

    @property
    def has_room(self) -> bool:
        """Tell whether the consumer is near enough for another window to start."""
        return (
            self._held_windows + self._in_flight < self._windows_ahead
            and self._suspended < self._suspended_ahead
            and self._stream_budget.has_room
        )

    def _next_in_rotation(self, *, held_back: bool = False) -> Assignment | None:
        if not self._ready_profiles:
            return None
        queue = self._ready_profiles.popleft()
        queue.queued = False
        segment = queue.plan.take(held_back=held_back)
        assert segment is not None, "only profiles with waiting windows are queued"
        if queue.plan.waiting:
            self._enqueue(queue)
        task = Task(queue.unit.profile, segment.window, self._make_request_id())
        if queue.plan.was_split:
            task.log.unproven_split = queue.plan.unproven_length is not None
            task.log.split_helped = queue.plan.split_helped
        return Assignment(task, self._stream_budget.reservation(), queue, segment)

    def _next(self) -> Assignment | None:
        if self._priority_queue:
            return self._priority_queue.popleft()
        # In a long job new profiles keep coming; windows that failed must not wait for the last of them.
        if self._taken % _TURNS_BEFORE_A_RETRY == 0 and self._retry_queue:
            return self._next_retry()
        return self._next_in_rotation() or self._next_retry()

    def _next_head(self) -> Assignment | None:
        for waiting in (self._priority_queue, self._retry_queue):
            for assignment in waiting:
                if assignment.queue.plan.is_head(assignment.segment):
                    waiting.remove(assignment)
                    return assignment
        return self._next_in_rotation() or self._next_held_back()

    def _next_held_back(self) -> Assignment | None:
        # No head waits in a queue, but other windows do. They hold back the head of their profile, which was split: it
        # is taken all the same, since nothing is in flight and nothing else may start.
        self._enqueue((self._priority_queue or self._retry_queue)[0].queue)
        return self._next_in_rotation(held_back=True)

    def _next_retry(self) -> Assignment | None:
        return self._retry_queue.popleft() if self._retry_queue else None

    def _refresh(self, queue: _ProfileQueue) -> None:
        """Let a profile take part in the rotation exactly while it has a window to take."""
        if queue.queued and not queue.plan.waiting:
            self._ready_profiles.remove(queue)
            queue.queued = False
        elif not queue.queued and queue.plan.waiting:
            self._enqueue(queue)

    def _enqueue(self, queue: _ProfileQueue) -> None:
        queue.queued = True
        self._ready_profiles.append(queue)
