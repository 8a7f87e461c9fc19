"""Where a job puts what it fetches: files, databases, or a place of your own."""

from profile_history.sinks.base import LedgerView, Part, Receipt, Sink, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.unit_rows import Refused, Stored, UnitRows
from profile_history.sinks.urls import sink_of

__all__ = [
    "LedgerView",
    "Part",
    "Receipt",
    "Refused",
    "Sink",
    "SinkBatch",
    "SinkError",
    "Stored",
    "UnitRows",
    "sink_of",
]
