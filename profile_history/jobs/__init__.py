"""Durable jobs: many histories into a sink, killed anywhere, resumed, with nothing lost and nothing doubled."""

from profile_history.jobs.job import HistoryJob
from profile_history.jobs.progress import Progress
from profile_history.jobs.schema import LedgerError
from profile_history.jobs.sources import Line, Source, SourceError, source_of
from profile_history.jobs.status import Failure, JobStatus, status_of
from profile_history.jobs.verifying import Verification, verification_of, verify
from profile_history.sinks.base import SinkError
from profile_history.sinks.lock import JobHeld

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
