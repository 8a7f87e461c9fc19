"""A real server of this API for tests and rehearsals: synthetic histories, their truth, faults by seed, limiters."""

from profile_history.testing.api import Behaviour
from profile_history.testing.fault_plan import FaultPlan
from profile_history.testing.faults import Fault
from profile_history.testing.late_rows import Unfolding
from profile_history.testing.limiters import (
    ConcurrencyLimiter,
    FixedWindow,
    LeakyBucket,
    Limiter,
    SlidingWindow,
    TokenBucket,
)
from profile_history.testing.request_log import LoggedRequest
from profile_history.testing.server import HistoryServer

__all__ = [
    "Behaviour",
    "ConcurrencyLimiter",
    "Fault",
    "FaultPlan",
    "FixedWindow",
    "HistoryServer",
    "LeakyBucket",
    "Limiter",
    "LoggedRequest",
    "SlidingWindow",
    "TokenBucket",
    "Unfolding",
]
