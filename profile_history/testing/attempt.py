"""One attempt at one window, with the faults that it meets. No I/O."""

from __future__ import annotations

import attrs

from profile_history.testing.api import Behaviour
from profile_history.testing.fault_plan import Chance, FaultPlan
from profile_history.testing.faults import Fault, Stage
from profile_history.testing.histories import Histories
from profile_history.windows import Window


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt, as far as its faults have to know it.

    Attributes:
        faults: The faults, in the order of their stages.
        plan: Where they come from, and their settings.
        profile: The profile's number, `None` if nobody knows it.
        asked: The days that were asked for.
        window: The same as the request has them.
        index: How many attempts at that profile and window came before.
        histories: What there is to know.
        behaviour: How the server behaves.
        token: The token that is let in.
        accepts: The `Accept-Encoding` of the request.
    """

    faults: tuple[Fault, ...] = ()
    plan: FaultPlan
    profile: int | None = None
    asked: Window
    window: str = ""
    index: int = 0
    histories: Histories
    behaviour: Behaviour
    token: str = attrs.field(repr=False)
    accepts: str = ""

    def fault(self, stage: Stage) -> Fault | None:
        """Return the fault that spoils a stage, `None` if none does."""
        return next((fault for fault in self.faults if fault.stage is stage), None)

    def settings(self, fault: Fault) -> FaultPlan:
        """Return the plan whose settings the fault obeys."""
        return self.plan.source(fault, self.profile, self.window, self.index)

    def chance(self, fault: Fault) -> Chance:
        """Return what the fault leaves to chance at this attempt."""
        return self.settings(fault).chance(fault, self.profile, self.window, self.index)
