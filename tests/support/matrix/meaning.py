"""Responses that mean something odd: their envelope, whose rows they have, of which days, in which order, how many."""

from typing import Any

import attrs
from support.matrix.case import Case, Stage, read
from support.matrix.classes import ACCEPTED, RETRIED
from support.matrix.comparing import and_more, cut, in_any_order_of_a_moment
from support.matrix.dice import PROFILES, Dice
from support.matrix.scenarios import MOST_FAILURES, OneOf, plan, way

from profile_history import AuthenticationError, Limits, RowCapSuspected
from profile_history.testing import Fault, FaultPlan

NO_ENVELOPE = (
    *(Fault.ERROR_MISSING, Fault.ERROR_NULL, Fault.ERROR_FALSE, Fault.ERROR_AS_FLOAT),
    *(Fault.DATA_MISSING, Fault.DATA_NULL, Fault.DATA_OBJECT),
)
PASSING, ENDING = OneOf((408, 429, 500, 502, 503, 504)), OneOf((401, 403))
CALLERS, STRANGE = OneOf((400, 402, 413)), OneOf((440, 1, -1, 10**12))
REVOKED = AuthenticationError
ODD_ROWS = (Fault.UNKNOWN_ACTION, Fault.ODD_TYPES, Fault.MISSING_FIELDS, Fault.NO_ROW)
OVERLAP = {"border": "overlap"}
MORE: dict[str, Any] = {"same": and_more, "whole": True}
NEWER: dict[str, Any] = {"matching": "profile_id", "behaviour": {"rows": "newer"}}
ODD_BUT_GOOD = frozenset({Fault.SLOW_FIRST_BYTE, Fault.UNSORTED, Fault.CHANGED_HISTORY})


def by_rows(rows: int, _: int) -> dict[str, Any]:
    """Cut the responses of the server at so many rows, and tell the client.

    Args:
        rows: How many rows a response has at most.
        _: How many bytes a row has, which does not matter here.
    """
    return {"options": {"limits": Limits(row_cap=rows)}, "behaviour": {"row_cap": rows}}


@way
def server_cuts_responses(dice: Dice) -> Case:
    """Let several responses have the same round number of rows, without saying why."""
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
    return Case(outcome=ACCEPTED, numbers=[longest], behaviour=behaviour, consume=consume, same=cut, check=check)


@way
def bounds_are_read_otherwise(dice: Dice) -> Case:
    """Leave the last day out of the range, or set the server's clock hours off; windows are adjacent."""
    dice.window = dice.any((7, 11, 20))
    behaviour = {"date_to": dice.in_turn(("exclusive", "inclusive")), "offset": dice.in_turn(range(-12, 15))}
    return Case(outcome=ACCEPTED, behaviour=behaviour, options={"border": "overlap"})


@way
def order_differs(dice: Dice) -> Case:
    """Send another order per attempt, the first of which is cut."""
    script = [(Fault.UNSORTED, Fault.RESET_IN_BODY), Fault.UNSORTED]
    faults = FaultPlan(script=script, profiles=dice.some(MOST_FAILURES // dice.windows))
    return Case(outcome=RETRIED, plan=plan(dice, faults), same=in_any_order_of_a_moment, harmless=ODD_BUT_GOOD)


@way
def history_grows(dice: Dice) -> Case:
    """Let the history grow between an attempt that is cut and the next one."""
    dice.whole()
    script = [(Fault.CHANGED_HISTORY, Fault.TRUNCATED_BODY), Fault.CHANGED_HISTORY]
    hit = dice.some(MOST_FAILURES)
    faults = FaultPlan(script=script, profiles=hit)
    return Case(outcome=RETRIED, plan=plan(dice, faults), hit=hit, same=and_more, harmless=ODD_BUT_GOOD)
