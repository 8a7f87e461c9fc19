"""Bodies: too many bytes, odd encodings, bad JSON, poison."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from support.matrix.case import Case, Stage
from support.matrix.classes import ACCEPTED, RETRIED
from support.matrix.comparing import and_more
from support.matrix.dice import FROM, PROFILES, TO, Dice
from support.matrix.scenarios import Scenario, way
from support.matrix.seen import CONTROL

from profile_history import Limits, unstructure
from profile_history.cli.event_text import format_event
from profile_history.testing import Fault, FaultPlan

PACKED = (Fault.CHAINED_GZIP, Fault.UNKNOWN_ENCODING)
NO_JSON = (Fault.BAD_UTF8, Fault.TRAILING_JUNK, Fault.TOP_LEVEL_LIST, Fault.TOP_LEVEL_NULL)
# The faults themselves compress, or count on a body that is not.
PLAIN: dict[str, Any] = {"gzip": False}
LONG: dict[str, Any] = {"bomb": 3 * 2**20, "behaviour": PLAIN, "options": {"limits": Limits(body=2**20)}}


def in_extra(stage: Stage) -> None:
    """Check that no row was lost to an odd number, which stands in `extra` as it was written."""
    assert stage.quarantined == []
    odd = [event for events in stage.events.values() for event in events if event.extra]
    assert odd
    assert all(event.count is None and isinstance(event.extra["count"], str) for event in odd)


IN_EXTRA: dict[str, Any] = {"check": in_extra, "whole": True, "same": and_more}


def in_four_days(dice: Dice, numbers: list[int]) -> int:
    """Return how many rows any four days of some profiles have at most: a request for one day asks for four.

    Args:
        dice: The values of the seed.
        numbers: The numbers of the profiles.
    """
    histories = [dice.histories.rows(number, dice.rows) for number in numbers]
    days = [Counter(row.label.toordinal() for row in rows) for rows in histories]
    first, last = FROM.toordinal() - 3, TO.toordinal()
    return max(sum(count[day + more] for more in range(4)) for count in days for day in range(first, last + 1))


def halves(limited: Callable[[int, int], dict[str, Any]]) -> Scenario:
    """Make a range too much for one request, and shorter ones not: by rows, or by bytes at so many per row."""

    def make(dice: Dice) -> Case:
        dice.window = "auto"
        longest = max(range(PROFILES), key=lambda number: (dice.length(number) < 800, dice.length(number)))
        numbers = [longest, *(number for number in dice.numbers if number != longest)]
        size = max(len(row.json) for number in numbers for row in dice.histories.rows(number, dice.rows))
        return Case(outcome=RETRIED, numbers=numbers, **limited(in_four_days(dice, numbers) + 1, size + 1))

    return way(make)


def by_bytes(rows: int, size: int) -> dict[str, Any]:
    """Allow a response so many bytes.

    Args:
        rows: How many rows fit into a response.
        size: How many bytes a row has at most.
    """
    return {"options": {"limits": Limits(body=rows * size + 100)}}


@way
def rows_are_poison(dice: Dice) -> Case:
    """Send a text that steers a terminal, is half a character, or a formula: it is kept, and every format holds it."""

    def check(stage: Stage) -> None:
        assert stage.quarantined == []
        for profile, events in stage.events.items():
            for event in events:
                written = json.loads(format_event("ndjson", profile, event))
                assert written == {"profile": str(profile), "event": json.loads(json.dumps(unstructure(event)))}
                assert not CONTROL.search(format_event("table", profile, event)[:-1])

    dice.whole()
    hit = dice.some(3)
    faults = attrs.evolve(FaultPlan.always(Fault.POISON_TEXT), variant=dice.left, profiles=hit)
    return Case(outcome=ACCEPTED, plan=faults, hit=hit, same=and_more, check=check)
