"""Sinks: where a job puts what it fetches, be it files, a database, or a class of your own."""

from typing import TYPE_CHECKING

from profile_history._deprecated import deprecated_names
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

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(__name__, {"Batch": (__name__, "SinkBatch"), "Books": (__name__, "LedgerView")})
