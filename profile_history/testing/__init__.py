"""A real server of this API for tests and rehearsals: synthetic histories, their truth, and faults by seed."""

from profile_history.testing.api import Behaviour
from profile_history.testing.faults import Fault
from profile_history.testing.log import LoggedRequest
from profile_history.testing.plans import FaultPlan
from profile_history.testing.server import HistoryServer
from profile_history.testing.unfolding import Unfolding

__all__ = ["Behaviour", "Fault", "FaultPlan", "HistoryServer", "LoggedRequest", "Unfolding"]
