"""Times: moments, zones, days, and clocks."""

import contextlib
import datetime as dt
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest import mock

from support.matrix.bench import Bench
from support.matrix.case import Case, Stage
from support.matrix.classes import ACCEPTED, RETRIED
from support.matrix.dice import FROM, TO, Dice
from support.matrix.scenarios import outside, plan, way
from support.outages import now

from profile_history import Window
from profile_history.testing import Fault, FaultPlan
from profile_history.windows import Order


def asking(*days: Any) -> Callable[[Stage], Any]:
    """Return what asks for days."""
    return lambda stage: stage.client.history(stage.profiles[0], *days)


MOMENTS = (
    asking(dt.datetime(2024, 3, 31, 2, 30)),  # noqa: DTZ001 (naive is the point)
    asking(FROM, dt.datetime(2024, 10, 27, 1, 30, fold=1, tzinfo=dt.UTC)),
    asking("2024-03-31T02:30:00"),
    asking("2024-02-30"),
    asking(TO, FROM),
    asking(1711843200),
)


@way
def zone_of_this_machine_differs(dice: Dice) -> Case:
    """Set another zone: the days are those of the server's labels, whatever the changes of the clock here."""
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

    return Case(outcome=ACCEPTED, around=around)


@outside(ACCEPTED)
def windows_tile_the_range(bench: Bench) -> None:
    """Check that no day is missing or doubled, in either order, however long the windows are."""
    draw = bench.dice.random
    for order in Order:
        first = dt.date(2000, 1, 1) + dt.timedelta(days=draw.randrange(12_000))
        last = first + dt.timedelta(days=draw.randrange(800))
        windows = list(Window(first, last).divide(draw.randint(1, 400), order, last))
        days = [window.date_from.toordinal() + day for window in sorted(windows) for day in range(window.days(last))]
        assert days == list(range(first.toordinal(), last.toordinal() + 1))
        assert windows == sorted(windows, reverse=order is Order.NEWEST)


@way
def clock_jumps(dice: Dice) -> Case:
    """Set the wall clock forth and back by years while the client waits and measures."""
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
        assert now() < 300
        assert 0 <= stage.stats.seconds <= now()

    return Case(outcome=RETRIED, plan=plan(dice, faults), around=around, check=check)
