"""Durable jobs: many histories into a sink, killed anywhere, resumed, with nothing lost and nothing doubled.

On a system without file locks, asking for any of these names raises `profile_history.errors.UnsupportedSystem`, which
is an `ImportError`; reading profiles, which other commands do as well, needs no locks.
"""

from profile_history.errors import UnsupportedSystem as _UnsupportedSystem

try:
    from profile_history.jobs.job import HistoryJob
    from profile_history.jobs.progress import Progress
    from profile_history.jobs.schema import LedgerError
    from profile_history.jobs.sources import Line, Source, SourceError, source_of
    from profile_history.jobs.status import Failure, JobStatus, status_of
    from profile_history.jobs.verification import Verification, verification_of, verify
    from profile_history.sinks.base import SinkError
    from profile_history.sinks.lock import JobHeld
except _UnsupportedSystem as _error:
    _reason = str(_error)

    def __getattr__(name: str) -> object:
        """Raise for a name of `__all__` why it is not there."""
        if name in __all__:
            raise _UnsupportedSystem(_reason)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Failure",
    "HistoryJob",
    "JobHeld",
    "JobStatus",
    "LedgerError",
    "Line",
    "Progress",
    "SinkError",
    "Source",
    "SourceError",
    "Verification",
    "source_of",
    "status_of",
    "verification_of",
    "verify",
]
