"""Delete all that a job has written, so that it can begin anew: what the ledger knows of, and nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

from profile_history.errors import ConfigurationError
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.reject_files import quarantine_beside, rejects_beside
from profile_history.jobs.whereabouts import is_same_output
from profile_history.sinks.base import Sink
from profile_history.sinks.disk import DISK
from profile_history.sinks.lock import lock_sink
from profile_history.sinks.urls import sink_of


def discard_job(path: Path, sink: Sink, stop: threading.Event) -> None:
    """Delete the output of a job, its lists and its ledger, in this order: cut short, it can be done again.

    Args:
        path: The ledger, of which the lock is held.
        sink: Where the new job is to write.
        stop: Set when the run is to end soon.

    Raises:
        ConfigurationError: The job fills another output, or that is not as the job left it. Nothing was deleted.
        JobHeld: Another process works on the output.
        LedgerError: The ledger cannot be read.
        SinkError: The output cannot be deleted.
    """
    with Ledger(path, stop=stop) as ledger:
        _discard_output(ledger, _old_sink(ledger, sink), stop)
    for list_ in (rejects_beside(path), quarantine_beside(path), *_find_copies(path)):
        DISK.remove(list_)
    delete_ledger(path)
    DISK.sync_directory(path.parent)


def delete_ledger(path: Path) -> None:
    """Delete a ledger with what SQLite keeps beside it.

    Args:
        path: The ledger.
    """
    path.unlink(missing_ok=True)
    delete_log(path)


def delete_log(path: Path) -> None:
    """Delete what SQLite keeps beside a ledger.

    Args:
        path: The ledger, which nobody has open.
    """
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _old_sink(ledger: Ledger, sink: Sink) -> Sink:
    """Return the sink that the job has filled so far, which may have had other options."""
    old = ledger.plan.sink
    if old == sink.url:
        return sink
    if not is_same_output(old, sink.url):
        raise ConfigurationError(
            f"the job of {ledger.path} fills {old}, not {sink.url}; beginning anew deletes only the output that is "
            "named: name that one, or another ledger"
        )
    return sink_of(old)


def _discard_output(ledger: Ledger, sink: Sink, stop: threading.Event) -> None:
    if not ledger.begun:
        # Nothing at that place was looked at yet, let alone written.
        return
    discard = getattr(sink, "discard", None)
    if discard is None:
        raise ConfigurationError(
            f"what is in {sink.url} cannot be deleted from here; empty it, delete the ledger {ledger.path}, and begin "
            "anew"
        )
    lock = lock_sink(sink, ledger.path, stop)
    try:
        discard(ledger, ledger.publishing)
    finally:
        sink.close()
        if lock is not None:
            lock.release()


def _find_copies(path: Path) -> Iterator[Path]:
    """Yield the copies of the ledger as earlier versions had it."""
    copy = re.compile(rf"{re.escape(path.name)}\.v\d+")
    yield from (found for found in DISK.list(path.parent) if copy.fullmatch(found.name))
