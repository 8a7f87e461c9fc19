"""The protocol of a sink, which a job fills batch by batch.

A job hands a sink one batch at a time, from one thread, and goes on when the batch cannot be lost any more. Then it
writes down in its ledger what the batch holds. When the process dies in between, the next run either finds that the
batch is there, which only a transactional sink can tell, or fetches its units again and writes another batch under the
same number. So a sink has one duty: whatever it holds of batches that the ledger does not know has to go, at the latest
when the next batch of that number is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from profile_history.errors import HistoryError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.unit_rows import Refused, Stored

RowFormat: TypeAlias = Literal["raw", "arrow"]


class SinkError(HistoryError):
    """A sink cannot be opened, written or read; the message names the place and says what to do.

    What the ledger counts as done is there all the same.
    """

    fatal = True


@attrs.frozen
class Part:
    """A stretch of a file that holds rows of some batches.

    Attributes:
        name: The file, relative to where the sink stands.
        first: The number of the first of its batches.
        last: The number of the last of them; all between are in it as well.
        offset: The number of its first byte in the file, from 0.
        size: How many bytes it has.
        rows: How many rows.
        checksum: The SHA-256 of its bytes, in hexadecimal digits.
    """

    name: str
    first: int
    last: int
    offset: int
    size: int
    rows: int
    checksum: str


@attrs.frozen
class Receipt:
    """The state of the files of a sink. A database has none, and returns an empty one.

    Attributes:
        added: The parts that are there now.
        removed: The parts whose place these take. Their files stay until `Sink.drop`.
    """

    added: Sequence[Part] = ()
    removed: Sequence[Part] = ()


class LedgerView(Protocol):
    """The part of the ledger of its job that a sink may see."""

    @property
    def job(self) -> str:
        """Return the job's own id, which no other job has."""

    @property
    def last_batch(self) -> int:
        """Return the number of the last batch that the ledger knows; 0 before the first."""

    @property
    def location(self) -> str:
        """Return the path of the ledger, for those who find that a place belongs to this job."""

    def parts(self, batches: Iterable[int] | None = None) -> Iterator[Part]:
        """Yield parts by name and offset.

        Args:
            batches: The numbers of batches: only parts that hold rows of one of them; `None` for all parts.
        """

    def tombstones(self) -> Iterator[Stored]:
        """Yield the rows that were replaced and are still in the files, by batch and offset.

        Only a sink with `compacts_on_finish` has such rows.
        """

    def units(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each unit that has rows, in order, and how many it has."""

    def unit_checksums(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield the number of each unit that has rows, in order, how many it has, and their checksum if it is known."""

    def stored(self) -> Iterator[tuple[Stored, int | None]]:
        """Yield what the sink holds of each unit, by batch and offset, and its checksum if that is known."""

    def check_stop(self) -> None:
        """Return if the run goes on; what takes long calls this at least once per second.

        Raises:
            HistoryError: The run is being interrupted; the next one does the same again.
        """


class Sink(Protocol):
    """A place that a job fills.

    All methods may block; they are called from one thread, never two at once. A `SinkError` from any of them ends the
    run; the job can be resumed.

    A sink may have some things besides. `lock_path` is a file that only one job at a time holds locked, before anything
    else is done with the sink; `None` if another lock keeps two jobs apart. `checksums(batch)` returns, by the numbers
    of the units of a batch, a checksum of their rows as the sink will hold them, in 64 bits with a sign; the ledger
    keeps them for `verify`. `open_to_read(ledger)` opens for `verify` alone, without writing anything, and returns what
    `open` does; a sink without it is opened by `open`. One that is reached by an address with `parameters` that are no
    secrets has a method `recall(kept)`, which takes those that the ledger has kept where the address leaves them out.
    `discard(ledger, publishing)` deletes what the job of this ledger has written and nothing else, and refuses with a
    `ConfigurationError` before it deletes anything if it cannot tell; only a sink that has it can be begun anew.

    Attributes:
        url: The place as text, without a password. It is part of the plan of a job.
        row_format: What it takes: rows as the server wrote them ("raw"), or tables ("arrow").
        transactional: Whether it writes the number of each batch together with the rows, in one transaction, so that it
            can tell which was the last. A database does.
        compacts_on_finish: Whether rows of replaced units stay until `finish`, and not only until `write`.
    """

    url: str
    row_format: RowFormat
    transactional: bool
    compacts_on_finish: bool

    def open(self, ledger: LedgerView, /, *, new: bool) -> int:
        """Make ready, and clear away what batches that the ledger does not know have left behind.

        Args:
            ledger: What the ledger tells.
            new: Whether the job has not begun yet: the place must then be empty or not be there.

        Returns:
            The number of the last batch that it holds; for a sink that is not transactional, that of the ledger.

        Raises:
            ConfigurationError: The place holds something that is not this job's. Nothing was written.
            SinkError: It cannot be opened.
        """

    def check(self, batch: SinkBatch, /) -> list[Refused]:
        """Return the rows of a batch that this sink cannot hold. Nothing is written yet.

        Args:
            batch: The batch.
        """

    def write(self, batch: SinkBatch, /) -> Receipt:
        """Write a batch; when this returns, nothing can lose it.

        Args:
            batch: The batch, with those rows only that `check` let pass.

        Returns:
            Which parts of files came and went.

        Raises:
            SinkError: It cannot be written; nothing of it is left, or `open` will find it.
        """

    def finish(self) -> Receipt | None:
        """Prepare the final form of the files when nothing is left to fetch.

        Returns:
            Which parts take the place of which, for `publish`; `None` if there is nothing to do.

        Raises:
            SinkError: It cannot be written.
        """

    def publish(self, receipt: Receipt, /) -> None:
        """Put in place what `finish` prepared, after the ledger has taken note; safe to call twice.

        If a run ended before the ledger applied the receipt, the next one calls this, applies it, and only then calls
        `open`, which clears away what the ledger does not know.

        Args:
            receipt: What `finish` has returned.

        Raises:
            SinkError: It cannot be written, or is no longer there.
        """

    def drop(self, receipt: Receipt, /) -> None:
        """Delete the files that a receipt removed, after the ledger has taken note.

        Args:
            receipt: What `write` or `finish` has returned.
        """

    def verify(self) -> Iterator[str]:
        """Read everything back, and yield what differs from the ledger, a sentence each."""

    def close(self) -> None:
        """Let go of everything; safe to call twice."""


def checksums_of(sink: Sink, batch: SinkBatch) -> dict[int, int]:
    """Return the checksum of each unit's content as a sink will hold it; nothing if the sink has no `checksums`.

    Args:
        sink: The sink.
        batch: A batch that it is about to be given.
    """
    compute = getattr(sink, "checksums", None)
    return {} if compute is None else compute(batch)


def open_to_read(sink: Sink, ledger: LedgerView) -> int:
    """Open a sink for `verify` alone, without writing anything if the sink can do that.

    Args:
        sink: The sink.
        ledger: What the ledger of a job tells that has opened the sink before.

    Returns:
        The number of the last batch that it holds.

    Raises:
        ConfigurationError: The place holds something that is not this job's.
        SinkError: It cannot be opened.
    """
    reading = getattr(sink, "open_to_read", None)
    return int(sink.open(ledger, new=False) if reading is None else reading(ledger))


def list_some(values: Iterable[Any]) -> str:
    """Return some values for a message, at most three of them, and how many more there are."""
    listed = list(values)
    return ", ".join(map(str, listed[:3])) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
