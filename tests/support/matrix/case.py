"""A case, and the stage on which it is played: a server, a client, and all that is told of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
from support.matrix.classes import WINDOW_FAILED, Class
from support.matrix.comparing import exactly
from support.matrix.dice import FROM, LIST_ID, PROFILES, TO, Dice
from support.matrix.seen import TOKEN, Seen
from support.outages import WatchedServer, now

from profile_history import AttemptEnded, Event, HistoryClient, HistoryError, Pacing, Profile, RetryPolicy, Timeouts
from profile_history.testing import Behaviour, Fault, FaultPlan
from profile_history.windows import Order

TIMEOUTS = Timeouts(connect=5, read=5, attempt=20, window=1000)
NO_FAULTS = FaultPlan()
RETRY = RetryPolicy()
ALL = RETRY.attempts * RETRY.passes
# Of what may be a fact as well as a hiccup: all of the first pass, and one in each later pass.
OFTEN = RETRY.attempts + RETRY.passes - 1
MODES = ("xxh", "email", "email_sub", "phone", "profile_id", "push_sub", "custom", "email_phone")


@contextlib.asynccontextmanager
async def nothing(_: Stage) -> AsyncIterator[None]:
    """Let no more go wrong than the plan says."""
    yield


def no_more(_: Stage) -> None:
    """Check no more than the class says."""


async def read(stage: Stage) -> None:
    """Read to the end, by events or by windows."""
    await stage.read(stage.histories())


@attrs.frozen(kw_only=True)
class Case:
    """One run.

    Attributes:
        outcome: Its class.
        plan: What the server does.
        behaviour: How the server behaves besides.
        options: Those of the client.
        numbers: Whose histories are fetched.
        hit: The profiles that fail.
        error: With what a profile or the stream fails.
        attempts: How many requests a window that fails takes.
        same: Whether what was received is what it has to be.
        around: What is set up around the client.
        consume: Reads.
        check: What else has to hold.
        matching: How profiles are named.
        strict: Whether a row that cannot be read fails its window.
        collects: Whether a window that fails never ends the stream; else that is left to the seed.
        harmless: The faults of the plan that no request fails for.
        limit: Virtual seconds for the whole run.
    """

    outcome: Class
    plan: FaultPlan = NO_FAULTS
    behaviour: dict[str, Any] = attrs.field(factory=dict)
    options: dict[str, Any] = attrs.field(factory=dict)
    numbers: list[int] | None = None
    hit: frozenset[int] = attrs.field(default=frozenset(), converter=frozenset)
    error: Any = ()
    attempts: int | None = None
    same: Callable[[list[Event], list[Event]], bool] = exactly
    around: Callable[[Stage], Any] = nothing
    consume: Callable[[Stage], Any] = read
    check: Callable[[Stage], None] = no_more
    matching: str | None = None
    strict: bool = False
    collects: bool = False
    harmless: frozenset[Fault] = frozenset({Fault.SLOW_FIRST_BYTE})
    limit: float = 3000.0

    @property
    def ends(self) -> tuple[type[Exception], ...]:
        """Return the errors that may come out of the stream."""
        return (HistoryError, *(self.error if isinstance(self.error, tuple) else (self.error,)))


class Stage:
    """A server, a client, and all that is told of them while a case is played."""

    def __init__(self, case: Case, dice: Dice, seen: Seen, folder: Path) -> None:
        self.case, self.dice, self.seen, self.folder = case, dice, seen, folder
        self.server = WatchedServer(
            PROFILES,
            seed=dice.histories.seed,
            token=TOKEN,
            list_id=LIST_ID,
            first_day=FROM,
            last_day=TO,
            faults=case.plan,
        )
        self.server.behaviour = Behaviour(
            **{"rows": dice.rows, "latency": dice.any((0.0, 0.05)), "gzip": dice.any((False, True)), **case.behaviour}
        )
        self.url: str | None = None
        self.options = {
            "auth": dice.any(("body", "header")),
            "window": dice.window,
            "border": dice.any(("overlap", "exact")),
            "order": dice.any(Order),
            "pacing": Pacing(concurrency=dice.any((1, 2, 4, 16)), adaptive=dice.any((True, False))),
            "timeouts": TIMEOUTS,
            "retry": RETRY,
            **case.options,
        }
        numbers = dice.numbers if case.numbers is None else case.numbers
        mode = case.matching or dice.any(MODES)
        self.numbers = {self.server.profile(number, mode): number for number in numbers}
        self.events: dict[Profile, list[Event]] = {profile: [] for profile in self.numbers}
        self.notes: list[tuple[float, Any]] = []
        self.tokens: list[int] = []
        self.memory: list[int] = []
        self.error: BaseException | None = None
        self.buggy = False
        self.stats: Any = None
        self.failures: list[Any] = []
        self.quarantined: list[Any] = []
        self.client: HistoryClient | None = None

    @property
    def profiles(self) -> list[Profile]:
        """Return the profiles whose histories are fetched."""
        return list(self.numbers)

    def told(self, kind: Any) -> list[Any]:
        """Return what the client told, of one kind."""
        return [note for _, note in self.notes if isinstance(note, kind)]

    def truth(self, profile: Profile) -> list[Event]:
        """Return what has to be received."""
        newest = self.server.truth(profile, FROM, TO)
        if self.options["order"] == Order.NEWEST:
            return newest
        return sorted(newest, key=lambda event: event.datetime)

    def histories(self, profiles: Any = None) -> Any:
        """Return a stream of all that is fetched."""
        collects = self.case.collects or self.case.outcome is WINDOW_FAILED
        stream = self.client.histories(
            self.profiles if profiles is None else profiles,
            FROM,
            TO,
            on_error="collect" if collects else self.dice.any(("raise", "collect")),
            strict=self.case.strict,
        )
        self.stats, self.failures, self.quarantined = stream.stats, stream.failures, stream.quarantined
        return stream

    async def read(self, stream: Any, pause: float = 0.0) -> None:
        """Read a stream to its end.

        Args:
            stream: The stream.
            pause: Seconds to wait behind each window.
        """
        if pause or self.dice.any((False, True)):
            async with stream.windows() as windows:
                async for window in windows:
                    self.events[window.profile] += window.events
                    await asyncio.sleep(pause)
        else:
            async with stream:
                async for profile, event in stream:
                    self.events[profile].append(event)

    def connect(self) -> HistoryClient:
        """Return a client of the server, with a hook."""
        return HistoryClient(
            self.url or self.server.url,
            token=TOKEN,
            list_id=LIST_ID,
            on_event=self._hear,
            **self.options,
        )

    def _hear(self, note: Any) -> None:
        self.notes.append((now(), note))
        shared = self.client._core.shared
        self.tokens.append(shared.budget.tokens)
        self.memory.append(shared.memory.used)
        if isinstance(note, AttemptEnded):
            assert note.seconds <= self.options["timeouts"].attempt + 1, note
            if note.error is not None:
                self.seen.error(note.error)
        if self.buggy:
            raise ZeroDivisionError("a bug in a hook")
