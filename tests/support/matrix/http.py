"""Odd statuses and headers of HTTP."""

import contextlib
from collections.abc import AsyncIterator

import attrs
from support.matrix.case import Case, Stage
from support.matrix.classes import STREAM_STOPPED
from support.matrix.dice import Dice
from support.matrix.peers import Elsewhere, listening
from support.matrix.scenarios import OneOf, way
from support.outages import now

from profile_history import RetryPolicy, UnexpectedPage, UnexpectedRedirect
from profile_history.testing import Fault, FaultPlan

DOWN = (Fault.ERROR_500, Fault.ERROR_502, Fault.ERROR_503, Fault.ERROR_504, Fault.ERROR_408, Fault.ERROR_425)
REJECTED = (Fault.ERROR_400, Fault.ERROR_402, Fault.ERROR_404, Fault.ERROR_405, Fault.ERROR_413, Fault.ERROR_422)
ASKING = (Fault.THROTTLED_WITH_RETRY_AFTER, Fault.ERROR_503_WITH_RETRY_AFTER)
EMPTY, HALF = OneOf((0, 1, 3, 4)), 2
ENDURING = {"retry": RetryPolicy(patience=7200)}


def waits_hours(stage: Stage) -> None:
    """Check that a pause was waited for."""
    assert now() > 3600


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

    return Case(
        outcome=STREAM_STOPPED, plan=FaultPlan.always(fault), error=UnexpectedRedirect, around=around, check=check
    )


@way
def page_for_everyone(dice: Dice) -> Case:
    """From the first request on: a firewall stops the stream at once, a wrong address after five profiles."""
    firewall = Fault.PAGE_401, Fault.PAGE_403, Fault.PAGE_511
    address = Fault.PAGE_407, Fault.PAGE_501, Fault.ERROR_404, Fault.ERROR_405, Fault.ERROR_413
    fault = dice.in_turn((*firewall, *address))

    def check(stage: Stage) -> None:
        assert "a page and not the API responded" in str(stage.error)
        met = {entry.profile for entry in stage.server.log}
        # Those that were in flight by then.
        assert len(met) <= (1 if fault in firewall else 5) + 3
        assert stage.error.hint

    return Case(outcome=STREAM_STOPPED, plan=FaultPlan.always(fault), error=UnexpectedPage, check=check, collects=True)
