"""Which window of which profile is fetched next, and which outcome is handed out next. No I/O, no tasks.

Profiles take turns, so that a huge one holds up nobody, and a window that waits before a retry is parked, so that it
holds up nobody either. How far the fetching runs ahead of the consumer is bounded in windows and in bytes. The bound
can never stop everything: while nothing is ready, read, parked or on its way, one window may always start, and it is
one that a profile waits for, so its outcome can be handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from profile_history._protocol.envelope import Rows
from profile_history._scheduling.window_plan import Piece, Walk
from profile_history._sending.fetcher import Task
from profile_history._sending.memory_budget import Reservation, StreamBudget
from profile_history.errors import HistoryError
from profile_history.profiles import Profile
from profile_history.units import Unit
from profile_history.windows import Window

_TURNS_BEFORE_ANOTHER_PASS = 64


@attrs.frozen
class Outcome:
    """What became of one window: its verified rows, or the error for which it was given up."""

    task: Task
    reservation: Reservation
    unit: Unit
    rows: Rows | None = None
    error: HistoryError | None = None

    @property
    def profile(self) -> Profile:
        """Whose history was asked for."""
        return self.task.profile

    @property
    def window(self) -> Window:
        """Of which days."""
        return self.task.window


@attrs.define(eq=False)
class _Lane:
    unit: Unit
    walk: Walk[Outcome]
    queued: bool = True


@attrs.define(eq=False)
class Assignment:
    """A window that was given to a worker; `started` is when, in seconds of the stream."""

    task: Task
    reservation: Reservation
    _lane: _Lane
    _piece: Piece[Outcome]
    started: float | None = None

    @property
    def divisible(self) -> bool:
        """Whether the window can be halved."""
        return self._lane.walk.divisible(self._piece)

    @property
    def hint(self) -> str:
        """What to try when the window, as it is, proved too much."""
        if self._lane.walk.adaptive:
            return (
                "not even a single day could be fetched; raise Timeouts or Limits, or ask the vendor about this profile"
            )
        return 'ask for shorter windows, or leave their length to window="auto"'


class Schedule:
    """The windows of all profiles of one stream, from waiting over on their way to handed out."""

    def __init__(
        self,
        *,
        make_walk: Callable[[Window], Walk[Outcome]],
        make_request_id: Callable[[], str],
        stream_budget: StreamBudget,
        windows_ahead: int,
        parked_ahead: int,
        profiles_ahead: int,
    ) -> None:
        self._make_walk = make_walk
        self._make_request_id = make_request_id
        self._stream_budget = stream_budget
        self._windows_ahead = windows_ahead
        self._parked_ahead = parked_ahead
        self._profiles_ahead = profiles_ahead
        self._turns: deque[_Lane] = deque()
        self._first: deque[Assignment] = deque()
        self._again: deque[Assignment] = deque()
        self._ready: deque[Outcome] = deque()
        self._profiles = 0
        self._on_their_way = 0
        self._parked = 0
        self._held_windows = 0
        self._taken = 0
        self._with_consumer = 0
        self._complete = False

    @property
    def wants_profiles(self) -> bool:
        """Whether another profile should be added."""
        waiting = min(self._parked + len(self._again), self._parked_ahead)
        return self._profiles - waiting < self._profiles_ahead

    @property
    def exhausted(self) -> bool:
        """Whether every window of every profile was handed out and no profile will come."""
        return self._complete and not self._profiles and not self._ready

    @property
    def available(self) -> bool:
        """Whether `take` would give a window."""
        if not (self._turns or self._again or self._first):
            return False
        return self._has_room or self._stands_still

    def add(self, unit: Unit) -> None:
        """Puts a profile's days in the queue."""
        self._turns.append(_Lane(unit, self._make_walk(unit.window)))
        self._profiles += 1

    def complete(self) -> None:
        """Takes note that no profile will be added any more."""
        self._complete = True

    def take(self) -> Assignment | None:
        """The next window to fetch; None while there is none or the consumer is too far behind."""
        if not self.available:
            return None
        assignment = self._next() if self._has_room else self._next_leading()
        assert assignment is not None, "available says that there is one"
        self._taken += 1
        assignment.reservation.renew(urgent=self._stands_still)
        self._on_their_way += 1
        return assignment

    def park(self, assignment: Assignment) -> None:
        """Takes note that a window on its way waits before a retry, and uses nothing meanwhile."""
        assignment.reservation.release()
        self._on_their_way -= 1
        self._parked += 1

    def unpark(self, assignment: Assignment) -> None:
        """Takes note that the wait is over."""
        assignment.reservation.renew()
        self._on_their_way += 1
        self._parked -= 1

    def settle(self, assignment: Assignment, result: Rows | HistoryError) -> bool:
        """Takes a window's rows, or the error for which it is given up; says whether that ends its profile."""
        lane = assignment._lane
        if isinstance(result, HistoryError):
            outcome = Outcome(assignment.task, assignment.reservation, lane.unit, error=result)
            assignment.reservation.release()
        else:
            outcome = Outcome(assignment.task, assignment.reservation, lane.unit, rows=result)
            assignment.reservation.settle(result.size)
        self._on_their_way -= 1
        self._held_windows += 1
        for piece in lane.walk.settle(assignment._piece, outcome, success=outcome.error is None):
            assert piece.outcome is not None
            self._ready.append(piece.outcome)
        self._profiles -= lane.walk.finished
        return lane.walk.finished

    def split(self, assignment: Assignment) -> None:
        """Puts back a window that proved too much, to be asked for in shorter ones."""
        assignment.reservation.release()
        self._on_their_way -= 1
        lane = assignment._lane
        lane.walk.shorten(assignment._piece)
        if not lane.queued:
            self._queue(lane)

    def postpone(self, assignment: Assignment) -> None:
        """Puts a window that failed behind all others."""
        assignment.reservation.release()
        self._on_their_way -= 1
        self._again.append(assignment)

    def put_back(self, assignment: Assignment) -> None:
        """Puts a window whose answer found no room before all others, for when there is."""
        assignment.reservation.release()
        self._on_their_way -= 1
        self._first.append(assignment)

    def next_ready(self) -> Outcome | None:
        """The next outcome to hand out, if there is one."""
        if not self._ready:
            return None
        self._with_consumer += 1
        return self._ready.popleft()

    def release(self, outcome: Outcome) -> None:
        """Takes note that the consumer is through with an outcome."""
        self._with_consumer -= 1
        self._held_windows -= 1
        outcome.reservation.release()

    def close(self) -> None:
        """Gives back the memory of all that is still held."""
        self._stream_budget.close()

    @property
    def _stands_still(self) -> bool:
        return not (self._ready or self._with_consumer or self._on_their_way or self._parked)

    @property
    def _has_room(self) -> bool:
        return (
            self._held_windows + self._on_their_way < self._windows_ahead
            and self._parked < self._parked_ahead
            and self._stream_budget.has_room
        )

    def _next_in_turn(self) -> Assignment | None:
        if not self._turns:
            return None
        lane = self._turns.popleft()
        lane.queued = False
        piece = lane.walk.take()
        assert piece is not None, "only lanes with waiting windows are queued"
        if lane.walk.waiting:
            self._queue(lane)
        task = Task(lane.unit.profile, piece.window, self._make_request_id())
        return Assignment(task, self._stream_budget.reservation(), lane, piece)

    def _next(self) -> Assignment | None:
        if self._first:
            return self._first.popleft()
        # Where the turns never end, those behind them have their turn as well.
        if self._taken % _TURNS_BEFORE_ANOTHER_PASS == 0 and self._again:
            return self._next_again()
        return self._next_in_turn() or self._next_again()

    def _next_leading(self) -> Assignment | None:
        for waiting in (self._first, self._again):
            for assignment in waiting:
                if assignment._lane.walk.leads(assignment._piece):
                    waiting.remove(assignment)
                    return assignment
        return self._next_in_turn()

    def _next_again(self) -> Assignment | None:
        return self._again.popleft() if self._again else None

    def _queue(self, lane: _Lane) -> None:
        lane.queued = True
        self._turns.append(lane)
