"""Bring settled units into the sink and then into the ledger, in an order that a crash anywhere leaves in step.

The sink goes first, so that the ledger never counts what is not there. Everything here blocks.
"""

from __future__ import annotations

import logging

from profile_history.errors import HistoryError
from profile_history.jobs.batch_builder import PendingCommit, place_rows, quarantine_refused
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.records import LedgerWrite
from profile_history.sinks.base import Sink, checksums_of

_log = logging.getLogger("profile_history")


def commit_units(ledger: Ledger, sink: Sink, pending: PendingCommit) -> None:
    """Commit settled units.

    What nobody expects, such as a value that a library stumbles over, costs the profile it belongs to and not the job:
    its units fail with the reason.

    Args:
        ledger: The open ledger.
        sink: The open sink.
        pending: The units.

    Raises:
        LedgerError: The ledger cannot be written.
        SinkError: The sink cannot be written. The units stay pending.
    """
    known = ledger.last_batch
    try:
        _write(ledger, sink, pending)
    except HistoryError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a library raises)
        _log.exception("units cannot be stored")
        _restore_sink(ledger, sink)
        if ledger.last_batch > known:
            # The sink has them, and the ledger has now as well.
            return
        parts = pending.split()
        if len(parts) > 1:
            for part in parts:
                commit_units(ledger, sink, part)
            return
        _write(ledger, sink, pending.failed(f"it cannot be stored: {type(error).__name__}: {error}"))


def _write(ledger: Ledger, sink: Sink, pending: PendingCommit) -> None:
    batch = pending.batch(ledger.last_batch + 1)
    refused = sink.check(batch) if batch else []
    if batch and refused:
        batch = batch.without(refused)
        batch = batch if batch.units or batch.replaced else None
    checksums = checksums_of(sink, batch) if batch else {}
    write = LedgerWrite(
        batch.number if batch else None,
        place_rows(pending.records, batch, checksums),
        list(pending.rests.items()),
        pending.replaced,
        pending.quarantined + quarantine_refused(refused),
    )
    if batch is None:
        ledger.apply(write)
        return
    # A crash before `apply` leaves rows that the ledger does not know: files are cut back to their parts when the sink
    # is opened again, and a database, which has committed them, says by its last batch that the intent has become true.
    if sink.transactional:
        ledger.record_intent(write)
    receipt = sink.write(batch)
    ledger.apply(write, receipt, keep_tombstones=sink.compacts_on_finish)
    # Only now: until the ledger knows the new files, the old ones are what it can go back to.
    sink.drop(receipt)


def _restore_sink(ledger: Ledger, sink: Sink) -> None:
    """Open the sink anew, so that it holds what the ledger knows and nothing else."""
    sink.close()
    last = sink.open(ledger, new=False)
    if sink.transactional:
        ledger.recover(last)


def finish_sink(ledger: Ledger, sink: Sink) -> None:
    """Give the sink its final form; safe to call again after a crash.

    Args:
        ledger: The open ledger, in which nothing is pending.
        sink: The open sink.

    Raises:
        LedgerError: The ledger cannot be written.
        SinkError: The sink cannot be written.
    """
    receipt = sink.finish()
    if receipt is not None:
        # Written down first: a crash while files get their final names is made good by the next opening.
        ledger.intend_to_publish(receipt)
        publish(ledger, sink)


def publish(ledger: Ledger, sink: Sink) -> None:
    """Give files their final names, as the ledger intends.

    Args:
        ledger: The open ledger, which holds the intent.
        sink: The sink, open or not.

    Raises:
        LedgerError: The ledger cannot be written.
        SinkError: The sink cannot be written.
    """
    receipt = ledger.publishing
    assert receipt is not None
    sink.publish(receipt)
    ledger.record_published(receipt)
    sink.drop(receipt)
