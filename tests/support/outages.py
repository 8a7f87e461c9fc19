"""What the tests of outages and overload share: a server that notes times, outages of all kinds, and a whole fetch."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

import attrs

from profile_history import Event, HistoryError, Pacing, Profile, RetryPolicy, Stats, WindowFailure
from profile_history.observing import AttemptEnded, AttemptStarted, CircuitClosed, CircuitOpened
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

FROM, TO = "2024-05-01", "2024-05-30"
LATENCY = 0.1

OUTAGES: dict[str, FaultPlan | None] = {
    "503": FaultPlan.always(Fault.ERROR_503),
    "reset": FaultPlan.always(Fault.RESET_BEFORE_RESPONSE),
    "stall": FaultPlan.always(Fault.STALL),
    "page": FaultPlan.always(Fault.HTML_PAGE),
    "refused": None,
}
# A 504 is about time, so it halves windows as well.
_KINDS = {**OUTAGES, "504": FaultPlan.always(Fault.ERROR_504)}

SEVERAL = (Fault.ERROR_500, Fault.RESET_BEFORE_RESPONSE, Fault.TRUNCATED_BODY)


def now() -> float:
    """The time of the event loop."""
    return asyncio.get_running_loop().time()


def patient(concurrency: int = 16, **pacing: Any) -> dict[str, Any]:
    """Options of a client that waits for a server as long as the command line does."""
    return {"pacing": Pacing(concurrency=concurrency, **pacing), "retry": RetryPolicy(patience=900)}


class WatchedServer(HistoryServer):
    """A server that notes when each request arrives, and when each response is ready, with its status.

    Args:
        profiles: How many there are.
        latency: Seconds before each response.
        capacity: More requests at once than this are answered 429.
        options: Those of `HistoryServer`.
    """

    def __init__(self, profiles: int, *, latency: float = LATENCY, capacity: int | None = None, **options: Any) -> None:
        super().__init__(profiles=profiles, behaviour=Behaviour(latency=latency, capacity=capacity), **options)
        self.arrivals: list[float] = []
        self.answers: list[tuple[float, int | None]] = []

    async def _serve(self, request):
        self.arrivals.append(now())
        return await super()._serve(request)

    def _record(self, *attempt):
        super()._record(*attempt)
        self.answers.append((now(), self.log[-1].status))

    def answered(self, start: float, end: float) -> tuple[int, int]:
        """How many answers were good, and how many were 429, from `start` to `end`."""
        statuses = [status for when, status in self.answers if start <= when < end]
        return statuses.count(200), statuses.count(429)

    def used(self, start: float, end: float, capacity: int) -> tuple[float, float]:
        """Which part of a capacity was used from `start` to `end`, and which part of the responses was 429."""
        good, refused = self.answered(start, end)
        return good / ((end - start) * capacity / self.behaviour.latency), refused / (good + refused)

    @contextlib.asynccontextmanager
    async def down(self, kind: str):
        """An outage of a kind of `OUTAGES`, or "504", as long as the block."""
        plan = _KINDS[kind]
        if plan is None:
            async with self.outage():
                yield
        else:
            before, self.faults = self.faults, plan
            try:
                yield
            finally:
                self.faults = before

    async def fails(self, kind: str, start: float, seconds: float) -> None:
        """An outage of a kind of `OUTAGES` from a moment on."""
        await asyncio.sleep(start - now())
        async with self.down(kind):
            await asyncio.sleep(seconds)


class QueueingServer(WatchedServer):
    """A server that lets requests wait, first come first served, where there are more than it can work on at once."""

    def __init__(self, profiles: int, *, places: int, **options: Any) -> None:
        super().__init__(profiles, **options)
        self._places = asyncio.Semaphore(places)

    async def _serve(self, request):
        async with self._places:
            return await super()._serve(request)


@attrs.define
class Fetched:
    """What became of a stream that was read to its end.

    Attributes:
        stats: Its counters.
        failures: The windows that were given up.
        events: The events of each profile of which a window was handed out.
        done: When the last window of each profile was handed out.
        error: What ended the stream, `None` if it came to its end.
        sends: When requests were sent.
        limits: How many were allowed to be in flight then, one for each of `sends`.
        good: When good responses were complete.
        delays: Seconds from the sending to the good response, one for each of `good`.
        bad: Seconds from the sending to the failure of each request that failed.
        opened: When the circuit opened.
        closed: When it closed.
        seconds: How long it all took.
    """

    stats: Stats
    failures: list[WindowFailure]
    events: dict[Profile, list[Event]] = attrs.field(factory=dict)
    done: dict[Profile, float] = attrs.field(factory=dict)
    error: HistoryError | None = None
    sends: list[float] = attrs.field(factory=list)
    limits: list[int] = attrs.field(factory=list)
    good: list[float] = attrs.field(factory=list)
    delays: list[float] = attrs.field(factory=list)
    bad: list[float] = attrs.field(factory=list)
    opened: list[float] = attrs.field(factory=list)
    closed: list[float] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> set[Profile]:
        """The profiles of the windows that were given up."""
        return {failure.profile for failure in self.failures}

    def sent(self, start: float, end: float) -> int:
        """How many requests were sent from `start` to `end`."""
        return sum(start <= when < end for when in self.sends)

    def first_good(self, start: float) -> float:
        """Seconds from `start` to the first good response after it."""
        return min(when for when in self.good if when >= start) - start

    def mean_limit(self, start: float) -> float:
        """How many requests were allowed in flight, on average over those sent from `start` on."""
        return statistics.mean(limit for when, limit in zip(self.sends, self.limits, strict=True) if when >= start)

    def median_delay(self, start: float) -> float:
        """The median of the seconds to a good response, from `start` on."""
        return statistics.median(delay for when, delay in zip(self.good, self.delays, strict=True) if when >= start)

    def hear(self, note: object, limit: int) -> None:
        """Take in what the client tells, and how many requests it allows."""
        match note:
            case AttemptStarted():
                self.sends.append(now())
                self.limits.append(limit)
            case AttemptEnded(error=None, seconds=seconds):
                self.good.append(now())
                self.delays.append(seconds)
            case AttemptEnded(seconds=seconds):
                self.bad.append(seconds)
            case CircuitOpened():
                self.opened.append(now())
            case CircuitClosed():
                self.closed.append(now())


async def fetched(
    server: HistoryServer,
    profiles: Iterable[Profile] | AsyncIterable[Profile] | None = None,
    *,
    until: float | None = None,
    slow: float = 0.0,
    deadline: float | None = None,
    hear: Callable[[object], object] = lambda _: None,
    **options: Any,
) -> Fetched:
    """Read the histories of all profiles of a server, or of those given, with on_error="collect".

    Args:
        server: The server.
        profiles: Whose histories.
        until: The time at which the reading is ended, None to go on to the end.
        slow: Seconds that the reader spends on each window.
        deadline: That of the stream.
        hear: Is told of all that the client tells as well.
        options: Those of the client.
    """
    began, notes = now(), _Notes()
    async with server.client(on_event=notes, **options) as client:
        chosen = server.profiles() if profiles is None else profiles
        stream = client.histories(chosen, FROM, TO, on_error="collect", deadline=deadline)
        result = Fetched(stream.stats, stream.failures)
        notes.hear = lambda note: (result.hear(note, client.pacing_state.limit), hear(note))
        try:
            async with asyncio.timeout_at(until), stream.windows() as windows:
                async for window in windows:
                    if window.error is None:
                        result.events.setdefault(window.profile, []).extend(window.events)
                    result.done[window.profile] = now()
                    await asyncio.sleep(slow)
        except HistoryError as error:
            result.error = error
        except TimeoutError:
            assert until is not None
    result.seconds = now() - began
    return result


class _Notes:
    hear: Callable[[object], None]

    def __call__(self, note: object) -> None:
        self.hear(note)


def assert_whole(server: HistoryServer, result: Fetched, profiles: Iterable[Profile] | None = None) -> None:
    """Assert that the stream came to its end, and that every profile's events are the truth, each once."""
    chosen = server.profiles() if profiles is None else list(profiles)
    assert (result.error, result.failures) == (None, [])
    assert result.events == {profile: server.truth(profile, FROM, TO) for profile in chosen}
    assert any(result.events.values())
