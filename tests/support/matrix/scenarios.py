"""The ways in which faults are brought about: a scenario makes a case of a seed, in one way or in several."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import attrs
from support.matrix.bench import Bench, Outside
from support.matrix.case import ALL, Case, Stage
from support.matrix.classes import ACCEPTED, PAUSED, REFUSED, RETRIED, STREAM_STOPPED, WINDOW_FAILED, Class
from support.matrix.dice import Dice

from profile_history.testing import Fault, FaultPlan

# Below the ten in a row, and the ten of twenty, that open the circuit.
MOST_FAILURES = 9
# Where these come twice, the client asks for fewer days at once.
TOO_MUCH = {
    Fault.ERROR_504,
    Fault.GATEWAY_ERROR,
    Fault.STALL,
    Fault.STALL_IN_BODY,
    Fault.SLOW_LORIS,
    Fault.ENDLESS_CONTINUE,
}
PLANS = {"retry_after", "api_error", "bomb", "row_cap", "variant"}


@attrs.frozen
class Scenario:
    """One or several ways to bring a fault about, in turn from seed to seed."""

    ways: tuple[Callable[[Dice], Case | Outside], ...]

    def __or__(self, other: Scenario) -> Scenario:
        return Scenario(self.ways + other.ways)

    def __call__(self, dice: Dice) -> Case | Outside:
        return dice.in_turn(self.ways)(dice)


def way(make: Callable[[Dice], Case | Outside]) -> Scenario:
    """Return a scenario of one way."""
    return Scenario((make,))


def outside(outcome: Class) -> Callable[[Callable[[Bench], None]], Scenario]:
    """Return a scenario of one way that is no stream."""
    return lambda act: way(lambda dice: Outside(outcome=outcome, act=act))


def plan(dice: Dice, faults: FaultPlan, **settings: Any) -> FaultPlan:
    """Return a plan with the seed's settings, and sometimes with slow responses besides.

    Args:
        dice: The values of the seed.
        faults: The faults.
        settings: Further settings of the plan.
    """
    faults = attrs.evolve(faults, seed=dice.seed, stall=1000.0, drip=1.0, **settings)
    slow = FaultPlan(seed=dice.seed, rates={Fault.SLOW_FIRST_BYTE: 0.3}, slow=dice.any((0.3, 2.0)), streak=None)
    return dice.any((faults, faults | slow))


def settled(dice: Dice, more: dict[str, Any]) -> dict[str, Any]:
    """Return settings of plan and case, those that depend on the seed drawn.

    Args:
        dice: The values of the seed.
        more: The settings; a `OneOf` stands for one of its values.
    """
    return {key: dice.in_turn(value) if isinstance(value, OneOf) else value for key, value in more.items()}


class OneOf(tuple):
    """Values of a setting, in turn from seed to seed."""

    __slots__ = ()


def passes(*faults: Fault, hits: int = 1, outcome: Class = RETRIED, **more: Any) -> Scenario:
    """Hit the windows of some profiles, each at most so often in a row; then it is over.

    Args:
        faults: The faults; one of them hits at first, any of them later.
        hits: How many attempts in a row are hit at most.
        outcome: The class that it comes to.
        more: Settings of the plan, and attributes of the case.
    """

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
    """Tell some windows how long to wait.

    Args:
        faults: As for `passes`.
        more: Likewise.
    """
    seconds = OneOf((1, 7, 30, 119, 2))
    return passes(*faults, outcome=PAUSED, **{"retry_after": seconds, "hits": 2, **more})


def always(*faults: Fault, outcome: Class, most: int = 1, **more: Any) -> Scenario:
    """Hit all requests for some profiles, and no others.

    Args:
        faults: The faults, of which a seed takes one.
        outcome: The class that it comes to.
        most: How many profiles are hit at most.
        more: Settings of the plan, attributes of the case, and `whole`: each history is one window.
    """

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


fails = functools.partial(always, outcome=WINDOW_FAILED)
stops = functools.partial(always, outcome=STREAM_STOPPED)
accepts = functools.partial(always, outcome=ACCEPTED, most=3)


def refused(*calls: Callable[[Stage], Any]) -> Scenario:
    """Call what is refused before anything is sent."""

    def make(dice: Dice) -> Case:
        call = dice.in_turn(calls)

        async def consume(stage: Stage) -> None:
            result = call(stage)
            if asyncio.iscoroutine(result):
                await result

        return Case(outcome=REFUSED, consume=consume)

    return way(make)
