"""Compares what a sink holds with what the ledger of its job says."""

from __future__ import annotations

import threading
from pathlib import Path

from profile_history.jobs.keeping import Keeper
from profile_history.sinks.base import Sink
from profile_history.sinks.pgaddress import hidden
from profile_history.sinks.urls import sink_of


def verify(ledger: Path | str, sink: Sink | str | None = None) -> list[str]:
    """Reads a sink back, and says in one sentence each what differs from the ledger. It blocks, and needs no server.

    Args:
        ledger: The file in which the job keeps its books.
        sink: The sink, or the text that names it; None for the one that the ledger names.

    Raises:
        ConfigurationError: There is no such job, or it fills another sink.
        JobHeld: Another process works on the job.
        LedgerError: The ledger cannot be used.
        SinkError: The database that is the sink cannot be used; what is wrong with files is said in a sentence.
    """
    sink = hidden(sink) if isinstance(sink, str) else sink
    keeper = Keeper(Path(ledger), threading.Event())
    try:
        return keeper.open_and_verify(sink_of(sink) if isinstance(sink, str) else sink)
    finally:
        keeper.close()
