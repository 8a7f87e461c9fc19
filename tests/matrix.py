"""The faults of the reliability document, a row each: how one is brought about, and what has to come of it.

A scenario makes a case of a seed. A case is played on virtual time against a real server on loopback, or as a command,
and is judged in one place by its class. The classes are those of the document and two more:

R  retried, and charged; F  retried on a new connection, free of charge; P  the whole client pauses;
W  the window failed, the rest goes on; J  the stream stops; X  refused before anything is sent;
A  taken as it is, with nothing sent twice; C  ended by its consumer: what was handed out is true, and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import enum
import errno
import functools
import gc
import io
import json
import logging
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import attrs
from outages import WatchedServer
from suspensions import Suspensions, watching
from test_cancellation import NOTHING, descriptors, left_of
from test_cli import Saboteur, read_ndjson, started, truth, until
from test_secrecy import parts, pickled, printed, shown
from virtual import run_virtually

from profile_history import (
    Action,
    ApiError,
    AttemptEnded,
    AttemptStarted,
    AttemptTimeout,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    DecodeError,
    Event,
    GateOpened,
    HistoryClient,
    HistoryError,
    Limits,
    Pacing,
    Profile,
    RateLimited,
    ResponseError,
    ResponseTooLarge,
    RetryPlanned,
    RetryPolicy,
    RowCapSuspected,
    Timeouts,
    TruncatedResponse,
    UnexpectedRedirect,
    UntrustedServer,
    UsageError,
    Window,
    unstructure,
)
from profile_history.cli import main, output, running
from profile_history.cli.formats import line
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer
from profile_history.testing.histories import Histories
from profile_history.testing.wire import reset
from profile_history.windows import Order

SEEDS = range(25)
FAULTS = range(1, 66)
LATER = {59: "a ledger that is corrupt, newer, or of another job", 60: "a commit whose outcome is unknown"}
TOKEN = "canary-5d1e0b"
FROM, TO = dt.date(2024, 3, 1), dt.date(2024, 4, 29)
DAYS = (TO - FROM).days + 1
LIST_ID, PROFILES, FETCHED = 20, 40, 6
TIMEOUTS = Timeouts(connect=5, read=5, attempt=20, window=1000)
NO_FAULTS = FaultPlan()
RETRY = RetryPolicy()
ALL = RETRY.attempts * RETRY.passes
# Below the ten in a row, and the ten of twenty, that open the gate.
MOST_FAILURES = 9
MODES = ("xxh", "email", "email_sub", "phone", "profile_id", "push_sub", "custom", "email_phone")
# Where these come twice, the client asks for fewer days at once.
TOO_MUCH = {Fault.ERROR_504, Fault.STALL, Fault.STALL_IN_BODY, Fault.SLOW_LORIS, Fault.ENDLESS_CONTINUE}
ODD_BUT_GOOD = frozenset({Fault.SLOW_FIRST_BYTE, Fault.UNSORTED, Fault.CHANGED_HISTORY})
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST_MESSAGE = 1200
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)
MANY = [f"user{number}@example.com" for number in range(400)]
EMAILS = MANY[:PROFILES]


class Class(enum.Flag):
    """What a fault comes to."""

    R, F, P, W, J, X, A, C = (enum.auto() for _ in range(8))


R, F, P, W, J, X, A, C = Class


class Dice:
    """What a seed leaves open in a row: the same each time."""

    def __init__(self, number: int, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"{number}/{seed}")
        self.left = seed
        self.histories = Histories(PROFILES, seed, LIST_ID, FROM, TO)
        self.rows = self.any(("seed", "newer"))
        self.numbers = self.random.sample([n for n in range(PROFILES) if self.length(n) < 500], FETCHED)
        self.window = self.any(("auto", None, 20, 30, 45))

    def length(self, number: int) -> int:
        """How many rows a profile has."""
        return len(self.histories.rows(number, self.rows))

    def any(self, choices: Iterable[Any]) -> Any:
        """One of them, by chance."""
        return self.random.choice(list(choices))

    def in_turn(self, choices: Iterable[Any]) -> Any:
        """One of them, the next at the next seed."""
        choices = list(choices)
        self.left, place = divmod(self.left, len(choices))
        return choices[place]

    def whole(self) -> None:
        """A range is asked for in one request, unless it proves too much."""
        self.window = self.any(("auto", None))

    def undivided(self) -> None:
        """No window is halved."""
        self.window = None if self.window == "auto" else self.window

    @property
    def windows(self) -> int:
        """How many windows a range is cut into."""
        return -(-DAYS // self.window) if isinstance(self.window, int) else 1

    def some(self, most: int) -> list[int]:
        """Some of the profiles that are fetched and have rows, one at least."""
        having = [number for number in self.numbers if self.length(number) > 2]
        return self.random.sample(having, min(max(1, most), len(having)))


def exactly(got: list[Event], true: list[Event]) -> bool:
    """The same events in the same order."""
    return got == true


def and_more(got: list[Event], true: list[Event]) -> bool:
    """All of them in their order, and others."""
    rest = iter(got)
    return all(event in rest for event in true)


def in_any_order_of_a_moment(got: list[Event], true: list[Event]) -> bool:
    """The same events; those of one moment in any order."""
    moments = [[event.datetime for event in events] for events in (got, true)]
    return moments[0] == moments[1] and Counter(got) == Counter(true)


def with_more_in_each(got: list[Event], true: list[Event]) -> bool:
    """The same events, which hold more than is known."""
    return all(event.extra for event in got) and [attrs.evolve(event, extra={}) for event in got] == true


def repeated(got: list[Event], true: list[Event]) -> bool:
    """Each of them, some more than once."""
    return set(got) == set(true) and not Counter(true) - Counter(got) and len(got) > len(true)


def cut(got: list[Event], true: list[Event]) -> bool:
    """Some of them and nothing else."""
    return not Counter(got) - Counter(true)


class Seen:
    """All that could be seen of a run from outside, and what nobody should have to see."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.problems: list[str] = []

    def error(self, error: BaseException) -> None:
        """Takes in an error with all that prints of it."""
        message = str(error)
        assert len(message) < LONGEST_MESSAGE, message
        assert not CONTROL.search(message), repr(message)
        self.texts += [shown(error), pickled(error), "".join(getattr(error, "__notes__", []))]

    @contextlib.contextmanager
    def watching(self):
        """Listens to logs and warnings; afterwards there is no problem, no file is open, and nothing has the token."""
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
        assert descriptors() == files
        assert not [text for text in self.texts if TOKEN in text]

    def _unraisable(self, what: Any) -> None:
        self.problems.append(f"{what.exc_value!r} in {what.object!r}")


@functools.cache
def _warm_up() -> None:
    # uvloop opens a pair of sockets once for a process.
    running.run(asyncio.sleep(0))


class _Log(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)} {vars(record)}")


@contextlib.asynccontextmanager
async def nothing(_: Stage) -> AsyncIterator[None]:
    """No more goes wrong than the plan says."""
    yield


def no_more(_: Stage) -> None:
    """There is no more to check than the class says."""


async def read(stage: Stage) -> None:
    """Reads to the end, by events or by windows."""
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
    harmless: frozenset[Fault] = frozenset({Fault.SLOW_FIRST_BYTE})
    limit: float = 3000.0

    @property
    def ends(self) -> tuple[type[Exception], ...]:
        """What may come out of the stream."""
        return (HistoryError, *(self.error if isinstance(self.error, tuple) else (self.error,)))

    def play(self, dice: Dice, seen: Seen, folder: Path) -> None:
        """Plays it on virtual time, and judges."""
        random.seed(dice.random.random())
        run_virtually(Stage(self, dice, seen, folder).play(), limit=self.limit)


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
        """Whose histories are fetched."""
        return list(self.numbers)

    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def told(self, kind: Any) -> list[Any]:
        """What the client told, of one kind."""
        return [note for _, note in self.notes if isinstance(note, kind)]

    def truth(self, profile: Profile) -> list[Event]:
        """What has to be received."""
        newest = self.server.truth(profile, FROM, TO)
        if self.options["order"] == Order.NEWEST:
            return newest
        return sorted(newest, key=lambda event: event.datetime)

    async def play(self) -> None:
        """Plays the case, and judges."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.seen.problems.append(str(context)))
        async with self.server:
            tasks, files = len(asyncio.all_tasks()), descriptors()
            async with self.case.around(self), self._client() as self.client:
                try:
                    await self.case.consume(self)
                except self.case.ends as error:
                    self.error = error
                    self.seen.error(error)
                assert left_of(self.client) == NOTHING
                self.seen.texts.append(printed(*parts(self.client)))
            self._judge()
            self.client = self.error = None
            await self._rest(tasks, files)
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

    def histories(self, profiles: Any = None) -> Any:
        """A stream of all that is fetched."""
        stream = self.client.histories(
            self.profiles if profiles is None else profiles,
            FROM,
            TO,
            on_error="collect" if self.case.outcome is W else self.dice.any(("raise", "collect")),
            strict=self.case.strict,
        )
        self.stats, self.failures, self.quarantined = stream.stats, stream.failures, stream.quarantined
        return stream

    async def read(self, stream: Any, pause: float = 0.0) -> None:
        """Reads a stream to its end."""
        if pause or self.dice.any((False, True)):
            async with stream.windows() as windows:
                async for window in windows:
                    self.events[window.profile] += window.events
                    await asyncio.sleep(pause)
        else:
            async with stream:
                async for profile, event in stream:
                    self.events[profile].append(event)

    def _client(self) -> HistoryClient:
        return HistoryClient(
            self.url or self.server.url,
            token=TOKEN,
            list_id=LIST_ID,
            on_event=self._hear,
            **self.options,
        )

    def _hear(self, note: Any) -> None:
        self.notes.append((self.now(), note))
        shared = self.client._shared
        self.tokens.append(shared.budget.tokens)
        self.memory.append(shared.memory.used)
        if isinstance(note, AttemptEnded):
            assert note.seconds <= self.options["timeouts"].attempt + 1, note
            if note.error is not None:
                self.seen.error(note.error)
        if self.buggy:
            raise ZeroDivisionError("a bug in a hook")

    def _judge(self) -> None:
        if self.stats is not None:
            assert self.stats.in_flight == 0
        self.seen.texts += [printed(self.notes, self.stats, self.failures, self.quarantined), repr(self.server.log)]
        for failure in self.failures:
            self.seen.error(failure.error)
        Judge(self).judge()
        self.case.check(self)

    async def _rest(self, tasks: int, files: int) -> None:
        for _ in range(100):
            if (len(asyncio.all_tasks()), descriptors()) == (tasks, files):
                return
            gc.collect(0)
            await asyncio.sleep(0.5)
        assert [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        assert descriptors() == files


class Judge:
    """Whether a run was of its class: one method each, for all rows."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.case = stage, stage.case
        self.log = [entry for entry in stage.server.log if not _is_probe(entry)]
        self.windows = stage.stats.windows if stage.stats else 0
        self.bad = sum(not set(entry.faults) <= stage.case.harmless for entry in self.log)
        self.ended = [note for note in stage.told(AttemptEnded) if not _is_probe(note)]
        self.failed = [note for note in self.ended if note.error is not None]
        self.freed = len({note.request_id for note in self.failed if note.error.stale})

    def judge(self) -> None:
        """Asserts all that its class says."""
        if self.case.plan != NO_FAULTS and self.case.outcome not in C | X:
            assert self.bad, "the fault did not strike"
        for plan in self.stage.told(RetryPlanned):
            assert 0 <= plan.wait <= max(RETRY.cap, 1.1 * self.stage.options["retry"].patience, 132), plan
        getattr(self, f"_judge_{self.case.outcome.name}")()

    def _judge_R(self) -> None:  # noqa: N802 (named as the class)
        self._whole()
        ended, split = len(self.ended), self.stage.stats.windows_split
        capped = split if self.stage.client._fetcher.limits.row_cap else 0
        assert self.failed or split
        assert ended == self.windows + capped + len(self.failed)
        if self.case.plan == NO_FAULTS:
            assert ended - len(self.failed) <= len(self.log) <= ended
        else:
            assert (len(self.log), self.bad) == (ended, len(self.failed))
        charged = len(self.stage.told(RetryPlanned)) + split - capped
        assert charged <= len(self.failed)
        if not self.stage.told(GateOpened):
            assert charged + self.freed == len(self.failed)

    def _judge_F(self) -> None:  # noqa: N802
        self._whole()
        assert self.freed == len(self.failed) > 0
        assert len(self.log) == self.windows + self.freed
        assert self.stage.told(RetryPlanned) == []
        assert set(self.stage.tokens) == {100}

    def _judge_P(self) -> None:  # noqa: N802
        self._judge_R()
        pauses = [(end, note.error.retry_after) for end, note in self.stage.notes if _asks_to_wait(note)]
        assert pauses
        for end, seconds in pauses:
            assert [when for when in self.stage.server.arrivals if end < when < end + seconds] == []

    def _judge_W(self) -> None:  # noqa: N802
        assert self.stage.error is None
        assert {self.stage.numbers[failure.profile] for failure in self.stage.failures} == self.case.hit
        for failure in self.stage.failures:
            assert isinstance(failure.error, self.case.error), repr(failure.error)
            if self.case.attempts is not None:
                assert failure.error.attempts == self.case.attempts, failure.error
        self._true(set(self.stage.numbers.values()) - self.case.hit)
        asked = Counter(entry.profile for entry in self.log if entry.profile not in self.case.hit)
        assert set(asked.values()) <= {self.stage.dice.windows}

    def _judge_J(self) -> None:  # noqa: N802
        assert isinstance(self.stage.error, self.case.error), repr(self.stage.error)
        self._true_so_far()
        request_id = getattr(self.stage.error, "request_id", None)
        notes = [note for _, note in self.stage.notes]
        ends = [n for n, note in enumerate(notes) if isinstance(note, AttemptEnded) and note.request_id == request_id]
        if ends:
            assert not [note for note in notes[ends[-1] :] if isinstance(note, AttemptStarted)]

    def _judge_X(self) -> None:  # noqa: N802
        assert isinstance(self.stage.error, self.case.error or (ConfigurationError, UsageError))
        assert self.log == []

    def _judge_A(self) -> None:  # noqa: N802
        self._whole()
        assert self.failed == []
        assert len(self.log) == self.windows

    def _judge_C(self) -> None:  # noqa: N802
        assert self.stage.error is None
        self._true_so_far()

    def _whole(self) -> None:
        assert self.stage.error is None, repr(self.stage.error)
        assert self.stage.failures == []
        self._true(set(self.stage.numbers.values()))

    def _true(self, numbers: set[int]) -> None:
        more = len(self.stage.quarantined)
        for profile, number in self.stage.numbers.items():
            if number in numbers:
                got, true = self.stage.events[profile], self.stage.truth(profile)
                hit = self.case.hit and self.case.outcome in A | R
                same = self.case.same if not hit or number in self.case.hit else exactly
                assert same(got, true), f"profile {number} has {len(got)} events of {len(true)}"
                more += len(got) - len(true)
        if self.case.same is and_more:
            assert 0 <= more <= sum(set(entry.faults) != {Fault.SLOW_FIRST_BYTE} for entry in self.log if entry.faults)

    def _true_so_far(self) -> None:
        for profile, events in self.stage.events.items():
            assert events == self.stage.truth(profile)[: len(events)]


def _is_probe(seen: Any) -> bool:
    # It asks whether the server is back, and belongs to no window.
    return (seen.request_id or "").startswith("probe-")


def _asks_to_wait(note: Any) -> bool:
    return isinstance(note, AttemptEnded) and getattr(note.error, "retry_after", None) is not None


@attrs.frozen(kw_only=True)
class Outside:
    """A run that is no stream on virtual time: a command, a value, a process."""

    outcome: Class
    act: Callable[[Bench], None]

    def play(self, dice: Dice, seen: Seen, folder: Path) -> None:
        """Plays it; what it says is seen."""
        self.act(Bench(dice, seen, folder))


class Bench:
    """Where commands are run: an empty folder, and a server in a thread to which the environment leads."""

    def __init__(self, dice: Dice, seen: Seen, folder: Path) -> None:
        self.dice, self.seen, self.folder = dice, seen, folder / "here"
        self.folder.mkdir()
        self.path = self.folder / "events"
        self.part = self.folder / "events.part"
        self.words = ["fetch", "--matching", "email", "--format", "ndjson", "--output", str(self.path)]

    @contextlib.contextmanager
    def server(self, **behaviour: Any):
        """Runs the server."""
        with HistoryServer(
            profiles=len(MANY), seed=self.dice.seed, token=TOKEN, behaviour=Behaviour(**behaviour)
        ) as server:
            address = {"URL": server.url, "TOKEN": TOKEN, "LIST_ID": str(server.list_id)}
            with mock.patch.dict(os.environ, {f"PROFILE_HISTORY_{name}": value for name, value in address.items()}):
                yield server
            self.seen.texts.append(repr(server.log))

    def run(self, *words: object) -> tuple[int, str, str]:
        """Runs a command in this process; gives its exit code, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
        self.note(out.getvalue(), err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def note(self, *texts: str) -> None:
        """Takes in what a command said; it is no traceback."""
        assert not [text for text in texts if "Traceback" in text], texts
        self.seen.texts += texts

    def written(self, path: Path) -> dict[str, list[Any]]:
        """The histories in a file."""
        self.seen.texts.append(path.read_text("utf-8"))
        return read_ndjson(self.seen.texts[-1])

    def refuses(self, act: Callable[[], Any], *kinds: type[Exception]) -> None:
        """Something is refused, and the error shows nothing."""
        try:
            act()
        except kinds as error:
            self.seen.error(error)
        else:
            raise AssertionError("it was not refused")


@attrs.frozen
class Scenario:
    """One or several ways to bring a fault about, in turn from seed to seed."""

    ways: tuple[Callable[[Dice], Case | Outside], ...]

    def __or__(self, other: Scenario) -> Scenario:
        return Scenario(self.ways + other.ways)

    def __call__(self, dice: Dice) -> Case | Outside:
        return dice.in_turn(self.ways)(dice)


def way(make: Callable[[Dice], Case | Outside]) -> Scenario:
    """A scenario of one way."""
    return Scenario((make,))


def outside(outcome: Class) -> Callable[[Callable[[Bench], None]], Scenario]:
    """A scenario of one way that is no stream."""
    return lambda act: way(lambda dice: Outside(outcome=outcome, act=act))


def plan(dice: Dice, faults: FaultPlan, **settings: Any) -> FaultPlan:
    """A plan with the seed's settings, and sometimes with slow answers besides."""
    faults = attrs.evolve(faults, seed=dice.seed, stall=1000.0, drip=1.0, **settings)
    slow = FaultPlan(seed=dice.seed, rates={Fault.SLOW_FIRST_BYTE: 0.3}, slow=dice.any((0.3, 2.0)), streak=None)
    return dice.any((faults, faults | slow))


def settled(dice: Dice, more: dict[str, Any]) -> dict[str, Any]:
    """Settings of plan and case, those that depend on the seed drawn."""
    return {key: dice.in_turn(value) if isinstance(value, OneOf) else value for key, value in more.items()}


class OneOf(tuple):
    """Values of a setting, in turn from seed to seed."""

    __slots__ = ()


PLANS = {"retry_after", "api_error", "bomb", "row_cap", "variant"}


def heals(*faults: Fault, hits: int = 1, outcome: Class = R, **more: Any) -> Scenario:
    """Some profiles' windows are hit, each at most so often in a row, and then it is over."""

    def make(dice: Dice) -> Case:
        first = dice.in_turn(faults)
        values = {"variant": dice.left, **settled(dice, more)}
        script = [first, *(dice.any(faults) for _ in range(dice.random.randint(1, hits) - 1))]
        if TOO_MUCH.intersection(script) or values.get("api_error") == 504:
            dice.undivided()
        hit = dice.some(MOST_FAILURES // (len(script) * dice.windows))
        settings = {name: values.pop(name) for name in PLANS.intersection(values)}
        return Case(outcome=outcome, plan=plan(dice, FaultPlan(script=script, profiles=hit), **settings), **values)

    return way(make)


def pauses(*faults: Fault, **more: Any) -> Scenario:
    """Some windows are told how long to wait."""
    seconds = OneOf((1, 7, 30, 119, 2))
    return heals(*faults, outcome=P, **{"retry_after": seconds, "hits": 2, **more})


def always(*faults: Fault, outcome: Class, most: int = 1, **more: Any) -> Scenario:
    """All requests for some profiles are hit, and all others are not."""

    def make(dice: Dice) -> Case:
        fault = dice.in_turn(faults)
        values = {"variant": dice.left, **settled(dice, more)}
        if values.pop("whole", False) or values.get("attempts") == ALL:
            dice.whole()
        hit = dice.some(most)
        settings = {name: values.pop(name) for name in PLANS.intersection(values)}
        faults_of_hit = attrs.evolve(FaultPlan.always(fault), profiles=hit)
        return Case(outcome=outcome, plan=plan(dice, faults_of_hit, **settings), hit=hit, **values)

    return way(make)


fails = functools.partial(always, outcome=W)
stops = functools.partial(always, outcome=J)
accepts = functools.partial(always, outcome=A, most=3)


@way
def names_fail_for_now(dice: Dice) -> Case:
    """The name service is down, or slow beyond the time to connect, for the first lookups."""
    wait = dice.in_turn((0.0, TIMEOUTS.connect + 1))
    replies = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")] * dice.random.randint(1, 4)
    return Case(outcome=R, around=functools.partial(names, replies=[*replies, "127.0.0.1"], wait=wait))


@way
def name_is_unknown(dice: Dice) -> Case:
    """There is no such host, ever."""
    number = dice.in_turn((socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)))
    replies = [socket.gaierror(number, "Name or service not known")]

    def check(stage: Stage) -> None:
        assert (stage.error.attempts, "check the address" in str(stage.error)) == (2, True)
        assert list(stage.server.log) == []

    return Case(outcome=J, error=ConnectionFailed, around=functools.partial(names, replies=replies), check=check)


@contextlib.asynccontextmanager
async def names(stage: Stage, replies: list[Any], wait: float = 0.0) -> AsyncIterator[None]:
    """Looking up the host comes to these, one after the other, the last for ever; those that fail take some time."""

    class Names(aiohttp.abc.AbstractResolver):
        def __init__(self, *_, **__):
            pass

        async def resolve(self, host, port=0, family=socket.AF_INET):
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            if isinstance(reply, OSError):
                await asyncio.sleep(wait)
                raise reply
            return [{"hostname": host, "host": reply, "port": port, "family": family, "proto": 0, "flags": 0}]

        async def close(self):
            pass

    stage.url = stage.server.url.replace("127.0.0.1", "history.example")
    stage.options["allow_http"] = True
    with mock.patch("aiohttp.ThreadedResolver", Names):
        yield


@way
def is_down_for_a_while(dice: Dice) -> Case:
    """Connections are refused, from the beginning or from the middle on."""
    start, seconds = dice.in_turn((0.0, 0.12)), dice.random.uniform(0.2, 40.0)

    @contextlib.asynccontextmanager
    async def around(stage: Stage) -> AsyncIterator[None]:
        async def down() -> None:
            await asyncio.sleep(start)
            async with stage.server.outage():
                await asyncio.sleep(seconds)

        outage = asyncio.create_task(down())
        await asyncio.sleep(0 if start else 0.01)
        yield
        await outage

    pacing = Pacing(concurrency=2)
    return Case(outcome=R, around=around, behaviour={"latency": 0.05}, options={"pacing": pacing})


def cannot_connect(*numbers: int, words: str) -> Scenario:
    """The first connections fail with one of these errors, or never come about where there is none."""

    def make(dice: Dice) -> Case:
        number, left = dice.in_turn(numbers) if numbers else None, [dice.random.randint(1, 4)]
        proper = aiohttp.connector.aiohappyeyeballs.start_connection

        async def connect(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                return await proper(*arguments, **options)
            left[0] -= 1
            if number is None:
                await asyncio.sleep(10 * TIMEOUTS.attempt)
            raise OSError(number, os.strerror(number))

        @contextlib.asynccontextmanager
        async def around(_: Stage) -> AsyncIterator[None]:
            with mock.patch.object(aiohttp.connector.aiohappyeyeballs, "start_connection", connect):
                yield

        def check(stage: Stage) -> None:
            errors = [note.error for note in stage.told(AttemptEnded) if note.error]
            assert all(isinstance(error, ConnectionFailed) and re.search(words, str(error)) for error in errors)

        return Case(outcome=R, around=around, check=check)

    return way(make)


def certificate(folder: Path, *, name: str = "IP:127.0.0.1", expired: bool = False) -> Path:
    """A certificate that vouches for itself, with its key."""
    path = folder / "certificate.pem"
    config = folder / "openssl.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\ndefault_md=sha256\n"
        "policy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[req]\ndistinguished_name=n\n[n]\n"
        f"[e]\nsubjectAltName={name}\nbasicConstraints=critical,CA:true\n"
    )
    (folder / "index").write_text("")
    now = dt.datetime.now(dt.UTC)
    days = [now - dt.timedelta(days=2), now + dt.timedelta(days=-1 if expired else 1)]
    start, end = (f"{day:%Y%m%d%H%M%SZ}" for day in days)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key.pem"]
    signed = ["-keyfile", folder / "key.pem", "-startdate", start, "-enddate", end]
    request, made = folder / "request.pem", folder / "made.pem"
    for words in (
        ["req", *key, "-subj", "/CN=history", "-config", config, "-out", request],
        ["ca", "-selfsign", "-batch", "-notext", "-config", config, *signed, "-in", request, "-out", made],
    ):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    path.write_text(made.read_text() + (folder / "key.pem").read_text())
    return path


@contextlib.asynccontextmanager
async def listening(serve: Callable[..., Any], **options: Any) -> AsyncIterator[int]:
    """A socket server; gives its port, and leaves no connection."""
    tasks: set[asyncio.Task[Any]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(served, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))
        await server.wait_closed()


def passing_on(port: int) -> Callable[..., Any]:
    """What joins a connection to a port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()

    return serve


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what comes until its end."""
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def behind_tls(
    stage: Stage, resets: int = 0, end: str = "reset", trusting: bool = True, plain: bool = False, **made: Any
) -> AsyncIterator[None]:
    """The server behind TLS, whose first handshakes are cut, and a session that trusts its certificate or does not."""
    pem = certificate(stage.folder, **made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    left = [resets]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not left[0]:
            await passing_on(port)(reader, writer)
            return
        left[0] -= 1
        await reader.read(100)
        if end == "reset":
            reset(writer.transport)

    own = int(stage.server.url.rpartition(":")[2])
    async with contextlib.AsyncExitStack() as stack:
        port = own if plain else await stack.enter_async_context(listening(passing_on(own), ssl=context))
        stage.url = f"https://127.0.0.1:{await stack.enter_async_context(listening(serve))}"
        trust = ssl.create_default_context(cafile=pem if trusting else None)
        connector = aiohttp.TCPConnector(ssl=trust)
        stage.options["session"] = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield


@way
def handshakes_are_cut(dice: Dice) -> Case:
    """By a reset, or by an end."""
    cut_by = {"end": dice.in_turn(("reset", "close")), "resets": dice.random.randint(1, 4)}
    return Case(outcome=R, around=functools.partial(behind_tls, **cut_by))


@way
def server_is_not_trusted(dice: Dice) -> Case:
    """Its certificate is of an unknown authority, of another host, or over; or it speaks no TLS at all."""
    reasons = ({"trusting": False}, {"name": "DNS:elsewhere.invalid"}, {"expired": True}, {"plain": True})

    def check(stage: Stage) -> None:
        assert (stage.error.attempts, stage.error.fatal, list(stage.server.log)) == (1, True, [])

    around = functools.partial(behind_tls, **dice.in_turn(reasons))
    return Case(outcome=J, error=UntrustedServer, around=around, check=check)


def dies_in_use(*then: Fault, outcome: Class) -> Scenario:
    """A connection is closed on its second request; on the new one something else happens, or nothing."""

    def make(dice: Dice) -> Case:
        dice.window = dice.any((20, 30))
        faults = plan(dice, FaultPlan(script=[Fault.STALE_CONNECTION, *then]))
        return Case(outcome=outcome, plan=faults, options={"pacing": Pacing(concurrency=1)})

    return way(make)


@way
def connection_idles(dice: Dice) -> Case:
    """For about as long as a silence of the server may last, or the connection is kept on either side."""
    seconds = dice.in_turn((4.9, 5.1, 14.9, 15.1, 74.9, 75.1, 4000.0))

    async def consume(stage: Stage) -> None:
        await asyncio.gather(*(stage.client.history(profile, FROM, TO).collect() for profile in stage.profiles))
        stage.server.log.clear()
        await asyncio.sleep(seconds)
        await read(stage)

    return Case(outcome=A, consume=consume, limit=10_000)


def in_four_days(dice: Dice, numbers: list[int]) -> int:
    """How many rows any four days of some profiles have at most: as many as a request for one day asks for."""
    histories = [dice.histories.rows(number, dice.rows) for number in numbers]
    days = [Counter(row.label.toordinal() for row in rows) for rows in histories]
    first, last = FROM.toordinal() - 3, TO.toordinal()
    return max(sum(count[day + more] for more in range(4)) for count in days for day in range(first, last + 1))


def halves(limited: Callable[[int, int], dict[str, Any]]) -> Scenario:
    """A range is too much for one request, and shorter ones are not: by rows, or by bytes at so many a row."""

    def make(dice: Dice) -> Case:
        dice.window = "auto"
        longest = max(range(PROFILES), key=lambda number: (dice.length(number) < 800, dice.length(number)))
        numbers = [longest, *(number for number in dice.numbers if number != longest)]
        size = max(len(row.json) for number in numbers for row in dice.histories.rows(number, dice.rows))
        return Case(outcome=R, numbers=numbers, **limited(in_four_days(dice, numbers) + 1, size + 1))

    return way(make)


def by_bytes(rows: int, size: int) -> dict[str, Any]:
    """An answer may have so many bytes."""
    return {"options": {"limits": Limits(body=rows * size + 100)}}


def by_rows(rows: int, _: int) -> dict[str, Any]:
    """The server cuts its answers, and the client knows where."""
    return {"options": {"limits": Limits(row_cap=rows)}, "behaviour": {"row_cap": rows}}


@way
def server_cuts_answers(dice: Dice) -> Case:
    """Several have the same round number of rows, and nobody said why."""
    dice.window, dice.histories = None, attrs.evolve(dice.histories, seed=5)
    longest = max(range(PROFILES), key=dice.length)

    async def consume(stage: Stage) -> None:
        for _ in range(2):
            await stage.client.history(stage.profiles[0]).collect()
        stage.server.log.clear()
        await read(stage)

    def check(stage: Stage) -> None:
        assert [note.rows for note in stage.told(RowCapSuspected)] == [100]

    behaviour = {"row_cap": 100}
    return Case(outcome=A, numbers=[longest], behaviour=behaviour, consume=consume, same=cut, check=check)


@way
def bounds_are_read_otherwise(dice: Dice) -> Case:
    """The last day is no part of the range, or the server's clock is hours off; windows are adjacent."""
    dice.window = dice.any((7, 11, 20))
    behaviour = {"date_to": dice.in_turn(("exclusive", "inclusive")), "offset": dice.in_turn(range(-12, 15))}
    return Case(outcome=A, behaviour=behaviour, options={"border": "overlap"})


@way
def order_differs(dice: Dice) -> Case:
    """From attempt to attempt, the first of which is cut."""
    script = [(Fault.UNSORTED, Fault.RESET_IN_BODY), Fault.UNSORTED]
    faults = FaultPlan(script=script, profiles=dice.some(MOST_FAILURES // dice.windows))
    return Case(outcome=R, plan=plan(dice, faults), same=in_any_order_of_a_moment, harmless=ODD_BUT_GOOD)


@way
def history_grows(dice: Dice) -> Case:
    """Between an attempt that is cut and the next one."""
    dice.whole()
    script = [(Fault.CHANGED_HISTORY, Fault.TRUNCATED_BODY), Fault.CHANGED_HISTORY]
    hit = dice.some(MOST_FAILURES)
    faults = FaultPlan(script=script, profiles=hit)
    return Case(outcome=R, plan=plan(dice, faults), hit=hit, same=and_more, harmless=ODD_BUT_GOOD)


class Elsewhere:
    """Where a redirect points to: whoever gets there is counted."""

    def __init__(self) -> None:
        self.visitors = 0

    async def serve(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        """Counts a visitor."""
        self.visitors += 1
        await reader.read(1000)


@way
def server_points_elsewhere(dice: Dice) -> Case:
    """To another server, which must not see the request again, or to a file."""
    elsewhere = Elsewhere()
    fault = dice.in_turn(fault for fault in Fault if fault.startswith("redirect"))
    target, hit = dice.in_turn(("http://127.0.0.1:{}/there", "file:///etc/passwd")), dice.some(1)

    @contextlib.asynccontextmanager
    async def around(stage: Stage) -> AsyncIterator[None]:
        async with listening(elsewhere.serve) as port:
            always = attrs.evolve(FaultPlan.always(fault), profiles=hit, location=target.format(port))
            stage.server.faults = always
            yield

    def check(stage: Stage) -> None:
        assert (stage.error.location[:9], elsewhere.visitors) == (target[:9], 0)
        assert stage.error.location in str(stage.error)

    return Case(outcome=J, plan=FaultPlan.always(fault), error=UnexpectedRedirect, around=around, check=check)


@way
def clock_jumps(dice: Dice) -> Case:
    """The wall clock goes forth and back by years while the client waits and measures."""
    real = time.time

    def jumping() -> float:
        return real() + dice.random.uniform(-3e8, 3e8)

    @contextlib.asynccontextmanager
    async def around(_: Stage) -> AsyncIterator[None]:
        with mock.patch("time.time", new=jumping):
            yield

    faults = FaultPlan(script=[dice.in_turn((Fault.THROTTLED, Fault.STALL, Fault.ERROR_500))], profiles=dice.some(2))
    dice.undivided()

    def check(stage: Stage) -> None:
        assert stage.now() < 300
        assert 0 <= stage.stats.seconds <= stage.now()

    return Case(outcome=R, plan=plan(dice, faults), around=around, check=check)


@way
def zone_of_this_machine_differs(dice: Dice) -> Case:
    """The days are those of the server's labels, whatever the zone here and its changes of the clock."""
    zone = dice.in_turn(("America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "Europe/Moscow", "Asia/Kathmandu"))

    @contextlib.asynccontextmanager
    async def around(_: Stage) -> AsyncIterator[None]:
        with mock.patch.dict(os.environ, {"TZ": zone}):
            time.tzset()
            try:
                yield
            finally:
                del os.environ["TZ"]
                time.tzset()

    return Case(outcome=A, around=around)


@outside(A)
def windows_tile_the_range(bench: Bench) -> None:
    """No day is missing or doubled, in either order, however long the windows are."""
    draw = bench.dice.random
    for order in Order:
        first = dt.date(2000, 1, 1) + dt.timedelta(days=draw.randrange(12_000))
        last = first + dt.timedelta(days=draw.randrange(800))
        tiles = list(Window(first, last).tiles(draw.randint(1, 400), order, last))
        days = [tile.date_from.toordinal() + day for tile in sorted(tiles) for day in range(tile.days(last))]
        assert days == list(range(first.toordinal(), last.toordinal() + 1))
        assert tiles == sorted(tiles, reverse=order is Order.NEWEST)


def refused(*calls: Callable[[Stage], Any]) -> Scenario:
    """Something is refused before anything is sent."""

    def make(dice: Dice) -> Case:
        call = dice.in_turn(calls)

        async def consume(stage: Stage) -> None:
            result = call(stage)
            if asyncio.iscoroutine(result):
                await result

        return Case(outcome=X, consume=consume)

    return way(make)


def asking(*days: Any) -> Callable[[Stage], Any]:
    """Asks for days."""
    return lambda stage: stage.client.history(stage.profiles[0], *days)


MOMENTS = (
    asking(dt.datetime(2024, 3, 31, 2, 30)),  # noqa: DTZ001 (naive is the point)
    asking(FROM, dt.datetime(2024, 10, 27, 1, 30, fold=1, tzinfo=dt.UTC)),
    asking("2024-03-31T02:30:00"),
    asking("2024-02-30"),
    asking(TO, FROM),
    asking(1711843200),
)


def faulty(dice: Dice) -> FaultPlan:
    """A third of all requests fail, in every way that passes."""
    return FaultPlan.even(0.3, seed=dice.seed, retry_after=2, stall=10.0)


class Enough(Exception):
    """What a consumer raises of its own."""


def left_by(leave: Callable[[Stage, Any], Any]) -> Scenario:
    """The consumer leaves the stream behind one of its items."""

    def make(dice: Dice) -> Case:
        async def consume(stage: Stage) -> None:
            await leave(stage, dice.random.randrange(60))
            gc.collect()
            await asyncio.sleep(5)

        return Case(outcome=C, plan=faulty(dice), consume=consume)

    return way(make)


async def some_of(stage: Stage, stream: Any, count: int) -> None:
    """Reads a few events, and breaks."""
    async for profile, event in stream:
        stage.events[profile].append(event)
        if not count:
            break
        count -= 1


async def by_break(stage: Stage, count: int) -> None:
    """In a block."""
    async with stage.histories() as stream:
        await some_of(stage, stream, count)


async def by_raising(stage: Stage, count: int) -> None:
    """Out of a block."""
    with contextlib.suppress(Enough):
        async with stage.histories() as stream:
            await some_of(stage, stream, count)
            raise Enough


async def by_closing(stage: Stage, count: int) -> None:
    """Without a block, and twice."""
    stream = stage.histories()
    await some_of(stage, stream, count)
    await stream.aclose()
    await stream.aclose()


async def by_dropping(stage: Stage, count: int) -> None:
    """Without a word."""
    await some_of(stage, stage.histories(), count)


def cancelled(*, storm: bool) -> Scenario:
    """The consumer is cancelled at some await of its stream, or at that and all that follow."""

    def make(dice: Dice) -> Case:
        index = dice.random.randrange(250)

        async def consume(stage: Stage) -> None:
            asyncio.get_running_loop().set_task_factory(watching)
            told: list[bool] = []
            strike = range(index, sys.maxsize if storm else index + 1)
            resuming = dice.any((True, False))
            watch = Suspensions(strike, lambda: told.append(reading.cancel()), resuming=resuming)
            reading = watch.start(stage.read(stage.histories()))
            await asyncio.wait([reading])
            assert reading.cancelled() == any(told)
            if not reading.cancelled():
                await reading
            assert watch.alive == []
            asyncio.get_running_loop().set_task_factory(None)
            await works_on(stage)

        return Case(outcome=C, plan=faulty(dice), consume=consume)

    return way(make)


async def works_on(stage: Stage) -> None:
    """The client is as good as ever."""
    stage.server.faults = FaultPlan()
    profile = stage.profiles[0]
    assert await stage.client.history(profile, FROM, TO).collect() == stage.truth(profile)


@way
def source_swallows_a_cancellation(dice: Dice) -> Case:
    """The source of the profiles goes on when it is told to end, and yet the stream ends."""

    async def consume(stage: Stage) -> None:
        async def source() -> AsyncIterator[Profile]:
            for profile in stage.profiles:
                yield profile
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)
            await asyncio.sleep(1000)

        async with stage.histories(source()) as stream:
            await some_of(stage, stream, dice.random.randrange(10))
            began = stage.now()
        assert stage.now() - began < 5
        await works_on(stage)

    return Case(outcome=C, plan=faulty(dice), consume=consume)


@way
def consumer_runs_out_of_time(dice: Dice) -> Case:
    """By its own clock: the timeout comes out as one."""

    async def consume(stage: Stage) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(dice.random.uniform(0.01, 5.0)):
                await stage.read(stage.histories(), pause=0.3)
        await works_on(stage)

    return Case(outcome=C, plan=faulty(dice), consume=consume)


@way
def consumer_is_slow(dice: Dice) -> Case:
    """Far slower than the server; what is held stays within its limit, and the requests do not run ahead."""
    dice.window = dice.any((7, 20))
    concurrency = dice.any((1, 2, 4))
    largest = max(sum(len(row.json) + 1 for row in dice.histories.rows(n, dice.rows)) for n in dice.numbers) + 100
    options = {"pacing": Pacing(concurrency=concurrency), "limits": Limits(in_flight=4 * largest)}

    async def consume(stage: Stage) -> None:
        stream, ahead = stage.histories(), []
        async with stream.windows() as windows:
            handed = 0
            async for window in windows:
                stage.events[window.profile] += window.events
                handed += 1
                await asyncio.sleep(3)
                ahead.append(stage.stats.requests - handed)
        assert max(ahead) <= 4 * concurrency
        assert max(stage.memory) <= 5 * largest

    return Case(outcome=A, options=options, consume=consume)


@way
def source_has_a_bug(dice: Dice) -> Case:
    """Its own error comes out, and not a group."""

    async def consume(stage: Stage) -> None:
        async def source() -> AsyncIterator[Profile]:
            for profile in stage.profiles[: dice.random.randrange(FETCHED)]:
                yield profile
                await asyncio.sleep(0.1)
            raise ZeroDivisionError("a bug in a source")

        await read_from(stage, source())

    return Case(outcome=J, error=ZeroDivisionError, consume=consume)


async def read_from(stage: Stage, source: Any) -> None:
    """Reads the histories of what a source gives."""
    await stage.read(stage.histories(source))


@way
def hook_has_a_bug(dice: Dice) -> Case:
    """The fetch goes on, and the log tells once."""

    async def consume(stage: Stage) -> None:
        stage.buggy = True
        await read(stage)
        assert sum("on_event raised ZeroDivisionError" in text for text in stage.seen.texts) == 1

    return Case(outcome=A, consume=consume)


@way
def rows_are_poison(dice: Dice) -> Case:
    """A text steers a terminal, is half a character, or a formula: it is kept, and every format bears it."""

    def check(stage: Stage) -> None:
        assert stage.quarantined == []
        for profile, events in stage.events.items():
            for event in events:
                written = json.loads(line("ndjson", profile, event))
                assert written == {"profile": str(profile), "event": json.loads(json.dumps(unstructure(event)))}
                assert not CONTROL.search(line("table", profile, event)[:-1])

    dice.whole()
    hit = dice.some(3)
    faults = attrs.evolve(FaultPlan.always(Fault.POISON_TEXT), variant=dice.left, profiles=hit)
    return Case(outcome=A, plan=faults, hit=hit, same=and_more, check=check)


@outside(A)
def texts_are_formulas(bench: Bench) -> None:
    """NDJSON is exact to the character; a table shows on one line, escaped, what would steer a terminal."""
    draw = bench.dice.random
    for start in "=+-@\t\r\n\0＝＋－＠\u202e\x1b\ud800":
        text = start + "".join(draw.choices("=1+A@\t\r\n\0\x9b'\"", k=draw.randrange(12)))
        action = Action(f"import{text}!")
        event = Event(action, dt.datetime(2024, 3, 1, tzinfo=dt.UTC), campaign_name=text, extra={text: text})
        profile = Profile.custom("CRM_ID", "=1+1")
        written = json.loads(line("ndjson", profile, event))["event"]
        assert (written["action"], written["campaign_name"], written[text]) == (action, text, text)
        assert not CONTROL.search(line("table", profile, event)[:-1])


@outside(J)
def process_is_told_to_stop(bench: Bench) -> None:
    """By SIGINT or SIGTERM, once or twice: it is over in seconds, and what it wrote is whole windows."""
    number = bench.dice.in_turn((signal.SIGINT, signal.SIGTERM))
    twice, requests = bench.dice.in_turn((False, True)), bench.dice.random.randint(1, 60)
    with bench.server(latency=0.05) as server:
        words = [*bench.words, "--concurrency", "4", *MANY]
        with started(*words, stderr=subprocess.PIPE) as process:
            until(lambda: len(server.log) >= requests)
            bench.note(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
            os.kill(process.pid, number)
            if twice:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            err = process.communicate(timeout=10)[1]
        bench.note(err)
        assert (process.returncode, bench.path.exists()) == (128 + number, False)
        # The second signal ends it wherever it is, in the middle of a line as well.
        if bench.part.exists() and not twice:
            got, true = bench.written(bench.part), truth(server, MANY)
            assert got == {name: true[name] for name in got}
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *EMAILS)[0] == 0
        assert bench.written(bench.path) == truth(server, EMAILS)


@outside(J)
def process_is_killed(bench: Bench) -> None:
    """At any moment: there is no file of that name, and the same command run again has everything once."""
    requests = bench.dice.random.randint(0, len(EMAILS) - 5)
    with bench.server(latency=0.05) as server:
        with started(*bench.words, "--concurrency", "2", *EMAILS, stderr=subprocess.PIPE) as process:
            until(lambda: len(server.log) >= requests)
            time.sleep(bench.dice.random.uniform(0, 0.05))
            process.kill()
            bench.note(process.communicate()[1])
        assert not bench.path.exists()
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *EMAILS)[0] == 0
        assert bench.written(bench.path) == truth(server, EMAILS)
        assert list(bench.folder.iterdir()) == [bench.path]


@outside(A)
def power_may_fail(bench: Bench) -> None:
    """What is written is on the disk before it has its name, and the name before the command says that it is done."""
    calls: list[Any] = []
    sync, replace = os.fsync, Path.replace
    emails = bench.dice.random.sample(EMAILS, 5)

    def fsync(file: int) -> None:
        calls.append((os.fstat(file).st_ino, bench.path.exists()))
        sync(file)

    def renamed(old: Path, new: Path) -> None:
        calls.append("rename")
        replace(old, new)

    with bench.server() as server, mock.patch("os.fsync", fsync), mock.patch.object(Path, "replace", renamed):
        assert bench.run(*bench.words, *emails)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)
    assert calls == [(bench.path.stat().st_ino, False), "rename", (bench.folder.stat().st_ino, True)]


@outside(J)
def disk_fails(bench: Bench) -> None:
    """Once or for good, at any call: the file is named, the old one stays or the new one is whole, a new run works."""
    error = bench.dice.in_turn((errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS))
    lasting, emails = bench.dice.in_turn((True, False)), bench.dice.random.sample(EMAILS, 5)
    words = [*bench.words, *emails, "--overwrite"]
    bench.path.write_text("old")
    with bench.server() as server, mock.patch.object(output, "_CHUNK", 1000):
        while True:
            saboteur = Saboteur(bench.dice.random.randint(1, 12), error, lasting=lasting)
            replace = saboteur.wrapped("replace", Path.replace)
            with mock.patch.object(output, "os", saboteur), mock.patch.object(Path, "replace", replace):
                code, _, err = bench.run(*words)
            if code:
                break
        assert (code, saboteur.struck != []) == (code if code in (2, 74) else None, True)
        assert (str(bench.path) in err, os.strerror(error) in err) == (True, True)
        if bench.path.read_text() != "old":
            assert bench.written(bench.path) == truth(server, emails)
        assert bench.run(*words)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)


@outside(X)
def two_write_one_file(bench: Bench) -> None:
    """The second stops at once, names the file, sends nothing, and does not disturb the first."""
    with bench.server(latency=60.0) as server:
        emails = bench.dice.random.sample(EMAILS, 5)
        with started(*bench.words, *emails, stderr=subprocess.PIPE) as process:
            until(bench.part.exists)
            until(lambda: server._busy)
            began = time.monotonic()
            code, _, err = bench.run(*bench.words, *emails)
            assert (code, time.monotonic() - began < 2, process.poll()) == (2, True, None)
            assert f"another process is writing {bench.part}" in err
            assert list(server.log) == []
            process.kill()
            bench.note(process.communicate()[1])
        server.behaviour = Behaviour()
        assert bench.run(*bench.words, *emails)[0] == 0
        assert bench.written(bench.path) == truth(server, emails)


def made(**options: Any) -> HistoryClient:
    """A client of a server that is asked nothing."""
    return HistoryClient(**{"base_url": "https://127.0.0.1:1", "token": TOKEN, "list_id": LIST_ID, **options})


@outside(X)
def loop_is_another(bench: Bench) -> None:
    """A client used on a second loop, one after the other or in a thread, or after a fork, says so."""

    async def enter(client: HistoryClient) -> None:
        async with client:
            await client.history(Profile.email(EMAILS[0])).collect()

    async def first(client: HistoryClient) -> None:
        await client.__aenter__()

    async def last(client: HistoryClient) -> None:
        await client.aclose()

    def in_a_child() -> None:
        if (child := os.fork()) == 0:
            code = 1
            with contextlib.suppress(BaseException):
                bench.refuses(again, UsageError)
                code = 0
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0

    def in_a_thread() -> None:
        thread = threading.Thread(target=bench.refuses, args=(again, UsageError))
        thread.start()
        thread.join()

    client = made()
    again = functools.partial(lambda client: asyncio.run(enter(client)), client)
    with asyncio.Runner() as runner:
        runner.run(first(client))
        bench.dice.in_turn((in_a_thread, in_a_child))()
        runner.run(last(client))
        runner.run(last(client))
    bench.refuses(again, UsageError)


async def after_closing(stage: Stage) -> None:
    """Closing twice is once, and then the client is over."""
    await stage.client.aclose()
    await stage.client.aclose()
    await stage.client.history(stage.profiles[0]).collect()


async def entered_after_closing(stage: Stage) -> None:
    """It cannot be opened again."""
    await stage.client.aclose()
    async with stage.client:
        raise AssertionError("it is closed")


async def a_stream_that_is_closed(stage: Stage) -> None:
    """Neither can a stream."""
    stream = stage.histories()
    await stream.aclose()
    await stage.read(stream)


async def a_session_that_is_closed(stage: Stage) -> None:
    """Nor a session of the caller."""
    session = aiohttp.ClientSession()
    await session.close()
    async with stage.server.client(token=TOKEN, session=session) as client:
        await client.history(stage.profiles[0]).collect()


@outside(X)
def token_lies_open(bench: Bench) -> None:
    """On the command line, or in a file that others can read."""
    file = bench.folder / "token"
    file.write_text(TOKEN)
    file.chmod(bench.dice.in_turn((0o644, 0o640, 0o604, 0o660, 0o666, 0o620)))
    with bench.server() as server:
        for words in (["--token", TOKEN], [f"--token={TOKEN}"], ["--token-file", str(file)]):
            code, out, err = bench.run("fetch", "--matching", "email", *words, EMAILS[0])
            assert (code, out, len(err.splitlines())) == (2, "", 1)
        with mock.patch.dict(os.environ, {"PROFILE_HISTORY_TOKEN_FILE": str(file)}):
            del os.environ["PROFILE_HISTORY_TOKEN"]
            bench.refuses(lambda: made(token=None), ConfigurationError)
        assert list(server.log) == []


EVIL = ("../x", "..\\x", "CON", "nul.txt", "x" * 300, "a/../../b", "EVENTS", "events", "/etc/passwd", "~root", "%2e%2e")


@outside(A)
def ids_look_like_paths(bench: Bench) -> None:
    """There is one file, of the name that was asked for."""
    words = ["fetch", "--matching", "profile_id", "--format", "ndjson", "--output", str(bench.path)]
    with bench.server() as server:
        ids = [dict(server.profile(number, "profile_id").fields)["profile_id"] for number in range(5)]
        chosen = [*bench.dice.random.sample(EVIL, 5), *ids]
        assert bench.run(*words, *chosen)[0] == 0
        true = [len(server.truth(server.profile(number))) for number in range(5)]
        assert sum(map(len, bench.written(bench.path).values())) == sum(true)
    assert [path for path in bench.folder.parent.rglob("*") if path.is_file()] == [bench.path]


@outside(X)
def address_is_not_safe(bench: Bench) -> None:
    """Plain http to another machine, by whatever name, is refused; so is what is no such address."""
    addresses = (
        "http://ru.altkraft.com",
        "http://169.254.169.254",
        "http://2130706433",
        "http://0x7f000001",
        "http://127.0.0.1.nip.example",
        "http://[fe80::1]",
        "ftp://ru.altkraft.com",
        f"https://user:{TOKEN}@ru.altkraft.com",
        f"https://ru.altkraft.com/?token={TOKEN}",
    )
    bench.refuses(lambda: made(base_url=bench.dice.in_turn(addresses)), ConfigurationError)


@way
def surroundings_name_a_proxy(dice: Dice) -> Case:
    """And a password: neither is used."""
    elsewhere = Elsewhere()

    @contextlib.asynccontextmanager
    async def around(stage: Stage) -> AsyncIterator[None]:
        netrc = stage.folder / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password secret")
        async with listening(elsewhere.serve) as port:
            proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), f"http://127.0.0.1:{port}")
            with mock.patch.dict(os.environ, {**proxies, "NETRC": str(netrc)}):
                yield

    def check(stage: Stage) -> None:
        assert elsewhere.visitors == 0
        assert {entry.auth for entry in stage.server.log} == {stage.options["auth"]}

    return Case(outcome=A, around=around, check=check)


@attrs.frozen
class Line:
    """A line of the table.

    Attributes:
        number: The fault's.
        name: What it is.
        scenario: How it is brought about.
        expected: The classes that it comes to, by its ways.
        slow: Whether a run takes a process.
    """

    number: int
    name: str
    scenario: Scenario
    expected: Class
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.number:02}"

    def play(self, seed: int, folder: Path) -> Class:
        """Plays it for a seed; gives the class that it came to."""
        dice, seen = Dice(self.number, seed), Seen()
        case = self.scenario(dice)
        assert case.outcome in self.expected
        with seen.watching():
            case.play(dice, seen, folder)
        return case.outcome


def row(number: int, name: str, scenario: Scenario, expected: Class, **more: bool) -> Line:
    """A line of the table."""
    return Line(number, name, scenario, expected, **more)


def times_out(after: float) -> Callable[[Stage], None]:
    """A check that what failed did so by the clock, within so many seconds."""

    def check(stage: Stage) -> None:
        failed = [note for note in stage.told(AttemptEnded) if note.error is not None]
        assert all(isinstance(note.error, AttemptTimeout) and note.seconds <= after for note in failed)

    return check


def set_apart(stage: Stage) -> None:
    """A check that the odd rows are no events, and are told of."""
    assert stage.quarantined


def waits_hours(stage: Stage) -> None:
    """A check that a pause was waited for."""
    assert stage.now() > 3600


DOWN = (Fault.ERROR_500, Fault.ERROR_502, Fault.ERROR_503, Fault.ERROR_504, Fault.ERROR_408, Fault.ERROR_425)
REFUSED = (Fault.ERROR_400, Fault.ERROR_402, Fault.ERROR_404, Fault.ERROR_405, Fault.ERROR_413, Fault.ERROR_422)
CUT = (Fault.RESET_IN_BODY, Fault.TRUNCATED_BODY, Fault.CONTENT_LENGTH_TOO_LONG, Fault.CHUNKED_WITHOUT_END)
FRAMING = (Fault.DUPLICATE_CONTENT_LENGTH, Fault.LENGTH_AND_CHUNKED, Fault.BAD_CHUNK_SIZE)
NO_HTTP = (Fault.LONG_HEADER_LINE, Fault.MANY_HEADERS, Fault.SSH_BANNER, Fault.TLS_BYTES)
ASKING = (Fault.THROTTLED_WITH_RETRY_AFTER, Fault.ERROR_503_WITH_RETRY_AFTER)
PACKED = (Fault.CHAINED_GZIP, Fault.UNKNOWN_ENCODING)
NO_JSON = (Fault.BAD_UTF8, Fault.TRAILING_JUNK, Fault.TOP_LEVEL_LIST, Fault.TOP_LEVEL_NULL)
NO_ENVELOPE = (
    *(Fault.ERROR_MISSING, Fault.ERROR_NULL, Fault.ERROR_FALSE, Fault.ERROR_AS_FLOAT),
    *(Fault.DATA_MISSING, Fault.DATA_NULL, Fault.DATA_OBJECT),
)
SLOW = (Fault.SLOW_LORIS, Fault.ENDLESS_CONTINUE)
ODD_ROWS = (Fault.UNKNOWN_ACTION, Fault.ODD_TYPES, Fault.MISSING_FIELDS, Fault.NO_ROW)
HEALING, ENDING = OneOf((408, 429, 500, 502, 503, 504)), OneOf((401, 403))
CALLERS, STRANGE = OneOf((400, 402, 413)), OneOf((440, 1, -1, 10**12))
REVOKED = AuthenticationError
EMPTY, HALF = OneOf((0, 1, 3, 4)), 2
# The faults themselves compress, or count on a body that is not.
PLAIN: dict[str, Any] = {"gzip": False}
LONG: dict[str, Any] = {"bomb": 3 * 2**20, "behaviour": PLAIN, "options": {"limits": Limits(body=2**20)}}
ENDURING = {"retry": RetryPolicy(patience=7200)}
OVERLAP = {"border": "overlap"}
APART: dict[str, Any] = {"check": set_apart, "whole": True}
MORE: dict[str, Any] = {"same": and_more, "whole": True}
MISUSED = (after_closing, entered_after_closing, a_stream_that_is_closed, a_session_that_is_closed)
NEWER: dict[str, Any] = {"matching": "profile_id", "behaviour": {"rows": "newer"}}

# fmt: off
TABLE = (
    row(1, "DNS: temporary failure, slow resolver", names_fail_for_now, R),
    row(2, "NXDOMAIN on the first ever request", name_is_unknown, J),
    row(3, "refused, connect timeout", is_down_for_a_while | cannot_connect(words="no connection to .* within 5 s"), R),
    row(4, "TLS: expired, wrong host, unknown CA, downgrade", server_is_not_trusted, J),
    row(5, "TLS handshake reset", handshakes_are_cut, R),
    row(6, "stale keep-alive", dies_in_use(outcome=F) | dies_in_use(Fault.RESET_BEFORE_ANSWER, outcome=R), F | R),
    row(7, "idle pooled connection", connection_idles, A),
    row(8, "reset or end in the body, Content-Length too long, chunks without end", heals(*CUT, hits=3), R),
    row(9, "body cut without a length, truncated gzip",
        heals(Fault.CLOSE_DELIMITED_CUT, Fault.TRUNCATED_GZIP, behaviour=PLAIN), R),
    row(10, "Content-Length too short or twice, both framings, bad chunk size, bytes nobody asked for",
        heals(Fault.CONTENT_LENGTH_TOO_SHORT, *FRAMING) | fails(*FRAMING, error=ResponseError, attempts=2)
        | accepts(Fault.UNASKED_ANSWER), R | W | A),
    row(11, "never answers", heals(Fault.STALL, Fault.STALL_IN_BODY, check=times_out(TIMEOUTS.read + 3)), R),
    row(12, "slow-loris, endless 100 Continue", heals(*SLOW, check=times_out(TIMEOUTS.attempt + 1)), R),
    row(13, "20 kB header line, 500 headers, SSH banner, TLS bytes",
        heals(*NO_HTTP) | fails(*NO_HTTP, error=ResponseError, attempts=2), R | W),
    row(14, "no more files, no more ports", cannot_connect(*EXHAUSTED, words="files|port|memory"), R),

    row(15, "429 or 503 with Retry-After in seconds", pauses(*ASKING), P),
    row(16, "Retry-After as a date, clocks apart", pauses(Fault.RETRY_AFTER_DATE), P),
    row(17, "Retry-After is garbage", heals(Fault.RETRY_AFTER_GARBAGE, hits=3), R),
    row(18, "Retry-After is huge", stops(Fault.RETRY_AFTER_HUGE, error=RateLimited)
        | pauses(Fault.RETRY_AFTER_HUGE, variant=0, options=ENDURING, check=waits_hours, limit=90_000), J | P),
    row(19, "500, 502, 503, 504, 520 to 524, 408, 425", heals(*DOWN, Fault.GATEWAY_ERROR, hits=3), R),
    row(20, "400, 402, 404, 405, 413, 422", fails(*REFUSED, error=ApiError, attempts=1), W),
    row(21, "401 or 403 in the middle of a job", stops(Fault.ERROR_401, Fault.ERROR_403, error=AuthenticationError), J),
    row(22, "301, 302, 303, 307, 308", server_points_elsewhere, J),
    row(23, "a page with 200",
        heals(Fault.HTML_PAGE, hits=3) | fails(Fault.HTML_PAGE, error=ResponseError, attempts=ALL), R | W),
    row(24, "the right JSON under a wrong label", accepts(Fault.WRONG_CONTENT_TYPE), A),
    row(25, "an empty 200, 204, 206, 304, 999",
        heals(Fault.ODD_STATUS) | fails(Fault.ODD_STATUS, variant=HALF, error=TruncatedResponse, attempts=ALL)
        | fails(Fault.ODD_STATUS, variant=EMPTY, error=(ApiError, TruncatedResponse), attempts=2), R | W),
    row(26, "409", fails(Fault.ERROR_409, error=ApiError, attempts=1), W),

    row(27, "a huge body, a bomb",
        fails(Fault.HUGE_BODY, Fault.GZIP_BOMB, error=ResponseTooLarge, **LONG) | halves(by_bytes), W | R),
    row(28, "gzip twice, unknown encodings, empty members",
        heals(*PACKED, Fault.EMPTY_GZIP_MEMBERS) | fails(*PACKED, error=ResponseError, attempts=2)
        | fails(Fault.EMPTY_GZIP_MEMBERS, error=TruncatedResponse, attempts=ALL), R | W),
    row(29, "100,000 levels deep",
        heals(Fault.DEEP_JSON) | fails(Fault.DEEP_JSON, error=DecodeError, attempts=2), R | W),
    row(30, "an integer of 4,301 digits", accepts(Fault.HUGE_INTEGER, **APART), A),
    row(31, "2^63, 2^64, 1e400, NaN, Infinity", accepts(Fault.BIG_NUMBERS, **APART), A),
    row(32, "duplicate keys",
        heals(Fault.DUPLICATE_KEYS) | fails(Fault.DUPLICATE_KEYS, error=DecodeError, attempts=2), R | W),
    row(33, "BOM; bad UTF-8, trailing junk, a list, null",
        accepts(Fault.BOM) | heals(*NO_JSON) | fails(*NO_JSON, error=DecodeError, attempts=2), A | R | W),
    row(34, "lone surrogate, NUL, CR/LF, control bytes", rows_are_poison, A),

    row(35, "error is not 0, with 200",
        heals(Fault.API_ERROR, api_error=HEALING, hits=2) | stops(Fault.API_ERROR, api_error=ENDING, error=REVOKED)
        | fails(Fault.API_ERROR, api_error=CALLERS, error=ApiError, attempts=1)
        | fails(Fault.API_ERROR, api_error=STRANGE, error=ApiError, attempts=1), R | J | W),
    row(36, '`error` missing, null, "0", false, 0.0; `data` missing, null, an object',
        accepts(Fault.ERROR_AS_TEXT) | heals(*NO_ENVELOPE) | fails(*NO_ENVELOPE, error=DecodeError, attempts=2),
        A | R | W),
    row(37, "error is not 0, and there are rows",
        heals(Fault.ERROR_WITH_ROWS, hits=3) | fails(Fault.ERROR_WITH_ROWS, error=ApiError, attempts=ALL), R | W),
    row(38, "the token echoed, with escapes and 1 MB",
        heals(Fault.ECHOED_TOKEN, Fault.TOKEN_IN_HEADER) | fails(Fault.TOKEN_IN_HEADER, error=ResponseError, attempts=2)
        | fails(Fault.ECHOED_TOKEN, api_error=440, error=ApiError, attempts=1), R | W),
    row(39, "events outside the days asked for", accepts(Fault.ROWS_OUTSIDE, options=OVERLAP), A),
    row(40, "duplicates in a window, and at the edges of windows",
        accepts(Fault.REPEATED_ROWS, same=repeated, whole=True) | bounds_are_read_otherwise, A),
    row(41, "unsorted, another order at each attempt",
        accepts(Fault.UNSORTED, same=in_any_order_of_a_moment) | order_differs, A | R),
    row(42, "a number of rows at a cap", halves(by_rows) | server_cuts_answers, R | A),
    row(43, "rows of another profile", fails(Fault.OTHER_PROFILE, error=ResponseError, attempts=1, **NEWER), W),
    row(44, "unknown action, odd, missing or new fields",
        accepts(*ODD_ROWS, **MORE) | accepts(Fault.UNKNOWN_FIELDS, same=with_more_in_each)
        | fails(Fault.MISSING_FIELDS, Fault.NO_ROW, error=DecodeError, attempts=1, strict=True, whole=True), A | W),
    row(45, "the history changes between attempts", history_grows, R),

    row(46, "naive moments, changes of the clock",
        refused(*MOMENTS) | zone_of_this_machine_differs | windows_tile_the_range, X | A),
    row(47, "23:59:60, 24:00, epochs, far future", accepts(Fault.ODD_DATETIMES, **MORE), A),
    row(48, "the wall clock jumps", clock_jumps, R),

    row(49, "the consumer breaks, raises, drops the iterator",
        left_by(by_break) | left_by(by_raising) | left_by(by_closing) | left_by(by_dropping), C),
    row(50, "cancelled at any await", cancelled(storm=False), C),
    row(51, "a cancellation swallowed",
        cancelled(storm=True) | source_swallows_a_cancellation | consumer_runs_out_of_time, C),
    row(52, "a slow consumer", consumer_is_slow, A),
    row(53, "a bug in a source, in a hook", source_has_a_bug | hook_has_a_bug, J | A),
    row(54, "SIGINT or SIGTERM, once, twice", process_is_told_to_stop, J, slow=True),
    row(55, "kill -9 anywhere", process_is_killed, J, slow=True),
    row(56, "power loss", power_may_fail, A),
    row(57, "ENOSPC, EIO, EDQUOT, read-only", disk_fails, J),
    row(58, "two processes, one output", two_write_one_file, X, slow=True),
    row(61, "fork, another loop, double close, use after close", loop_is_another | refused(*MISUSED), X),

    row(62, "the token on argv, in a file for all to read", token_lies_open, X),
    row(63, "formula cells and control characters", texts_are_formulas | rows_are_poison, A),
    row(64, "a profile id like a path", ids_look_like_paths, A),
    row(65, "http, link-local hosts, proxies, .netrc", address_is_not_safe | surroundings_name_a_proxy, X | A),
)
# fmt: on
