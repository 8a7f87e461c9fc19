"""Durable jobs: many histories into a sink, killed anywhere, resumed, with nothing lost and nothing doubled."""

from profile_history.jobs.job import HistoryJob
from profile_history.jobs.locking import JobHeld
from profile_history.jobs.progress import Progress
from profile_history.jobs.schema import LedgerError
from profile_history.jobs.sources import Line, Source, SourceError, source_of

__all__ = [
    "HistoryJob",
    "JobHeld",
    "LedgerError",
    "Line",
    "Progress",
    "Source",
    "SourceError",
    "source_of",
]
