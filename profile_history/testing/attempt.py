"""One attempt at one window, and the faults that meet it. No I/O."""

from __future__ import annotations

import attrs

from profile_history.testing.api import Behaviour
from profile_history.testing.fault_plan import Chance, FaultPlan
from profile_history.testing.faults import Fault, Stage
from profile_history.testing.histories import Histories
from profile_history.windows import Window


@attrs.frozen(kw_only=True)
class Meeting:
    """What a fault has to know of the attempt that it meets.

    Attributes:
        faults: The faults, in the order of their stages.
        plan: Where they come from, and their settings.
        number: The profile's number, None for an unknown one.
        asked: The days that were asked for.
        window: The same as the request has them.
        attempt: How often that profile and window were asked for before.
        histories: What there is to know.
        behaviour: How the server behaves.
        token: The token that is let in.
        accepts: The `Accept-Encoding` of the request.
    """

    faults: tuple[Fault, ...] = ()
    plan: FaultPlan
    number: int | None = None
    asked: Window
    window: str = ""
    attempt: int = 0
    histories: Histories
    behaviour: Behaviour
    token: str = attrs.field(repr=False)
    accepts: str = ""

    def fault(self, stage: Stage) -> Fault | None:
        """The fault that spoils a stage, if one does."""
        return next((fault for fault in self.faults if fault.stage is stage), None)

    def settings(self, fault: Fault) -> FaultPlan:
        """The plan whose settings the fault obeys."""
        return self.plan.source(fault, self.number, self.window, self.attempt)

    def chance(self, fault: Fault) -> Chance:
        """What the fault leaves to chance at this attempt."""
        return self.settings(fault).chance(fault, self.number, self.window, self.attempt)
