"""One file that grows by a part per batch, under a working name until nothing is left to fetch.

The working file is `<name>.partial`. Behind what the ledger knows of it may stand the rest of a batch that was never
committed; that is cut off. `finish` makes the final file of it, and of the final file of an earlier run, without the
rows that were replaced: in `.<name>.<batch>.tmp`, which takes the final name in one step. A file exists only if it has
rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import attrs

from profile_history.errors import ConfigurationError
from profile_history.sinks.base import LedgerView, Part, Receipt, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import unit_checksums
from profile_history.sinks.compression import packing_of
from profile_history.sinks.disk import DISK, Disk, OpenFile, lock_beside
from profile_history.sinks.file_parts import (
    CHANGED,
    PUT_BACK,
    FileFormat,
    PartReader,
    describe_size,
    digest,
    group_by_batch,
    sizes_of,
)
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.opened_ledger import OpenedLedger


class SingleFileSink(OpenedLedger, OldSinkNames):
    """A sink that is one file, however rows stand in it.

    Args:
        path: The final file.
        format: How rows stand in it.
        disk: The file system.

    Raises:
        ConfigurationError: A library is missing, or the path names no file.
    """

    def __init__(self, path: Path, format: FileFormat, disk: Disk = DISK) -> None:  # noqa: A002 (it is one)
        if not path.name:
            raise ConfigurationError(f"{path} names no file")
        self._path = path
        self.lock_path: Path = lock_beside(path)
        self._partial = path.with_name(f"{path.name}.partial")
        self._format = format
        self._packing = packing_of(path)
        self._disk = disk
        self._parts = PartReader(path, format, self._packing, disk)
        self._view: LedgerView | None = None
        self._length = 0
        self._only_reads = False
        self._encoded: tuple[SinkBatch, list[bytes]] | None = None

    def open(self, ledger: LedgerView, *, new: bool) -> int:
        """Compare the files with the ledger, and cut off what it does not know.

        Args:
            ledger: What the ledger tells.
            new: Whether the job has not begun yet: then no file may be there.

        Returns:
            The number of the last batch that the ledger knows.

        Raises:
            ConfigurationError: A file is there that is not this job's, or somebody changed the final file.
            SinkError: The working file has lost rows, or cannot be used.
        """
        sizes = sizes_of(ledger.parts())
        committed = sizes.pop(self._partial.name, 0)
        final = sizes.pop(self._path.name, None)
        there, partial = self._disk.size(self._path), self._disk.size(self._partial)
        # The final file never grows, so its size has to be that of the ledger. The working file may be longer, by a
        # batch that was never committed, but not shorter: what the ledger counts was synced before it was counted.
        if new:
            self._refuse_what_is_there()
        elif there != final:
            self._refuse_changed(there, final)
        elif (partial or 0) < committed:
            raise SinkError(
                f"{self._partial} has {partial or 0} bytes, and the ledger counts {committed}: rows are missing; put "
                "the file back as it was, or begin a new job with a new ledger"
            )
        else:
            self._adopt_heading(ledger)
            if partial is not None:
                self._cut(committed)
        self._sweep()
        self._view, self._length = ledger, committed
        return ledger.last_batch

    def open_to_read(self, ledger: LedgerView) -> int:
        """Prepare for `verify` alone, and return the number of the last batch; nothing is written."""
        self._view, self._only_reads = ledger, True
        return ledger.last_batch

    def _adopt_heading(self, ledger: LedgerView) -> None:
        part = next(iter(ledger.parts()), None)
        if part is not None:
            path = self._parts.file_of(part)
            if (heading := self._parts.find_heading(path, part)) is None:
                raise SinkError(f"the heading of {path} {CHANGED}; {PUT_BACK}")
            self._format.adopt(heading)

    def _refuse_what_is_there(self) -> None:
        for path in (self._path, self._partial):
            if self._disk.size(path) is not None:
                raise ConfigurationError(
                    f"{path} is there already, and does not belong to this job; move it away, or choose another name"
                )

    def _refuse_changed(self, there: int | None, known: int | None) -> None:
        raise ConfigurationError(
            f"{self._path} {describe_size(there)}, and by the ledger it {describe_size(known)}: somebody changed it; "
            "put it back as it was, or begin a new job with a new ledger and another name"
        )

    def _cut(self, length: int) -> None:
        if length:
            with self._disk.append(self._partial, length) as file:
                file.sync()
        else:
            self._disk.remove(self._partial)

    def _sweep(self) -> None:
        """Delete final files that were never published."""
        stale = re.compile(rf"\.{re.escape(self._path.name)}\.\d+\.tmp")
        for path in self._disk.list(self._path.parent):
            if stale.fullmatch(path.name):
                self._disk.remove(path)

    def write(self, batch: SinkBatch) -> Receipt:
        """Append the rows of a batch to the working file, and return the part that they are.

        Raises:
            SinkError: They cannot be written; `open` cuts off what is there of them.
        """
        if not batch.rows:
            return Receipt()
        data = self._packing.pack(b"".join(self._lines(batch)))
        self._encoded = None
        # The ledger takes note only when this has returned, so the bytes have to be on the disk by then.
        with self._open_partial() as file:
            offset = self._length or self._begin(file)
            file.write(data)
            file.sync()
        if not self._length:
            # The file is new: without this a loss of power could take its name, and with it what was synced.
            self._disk.sync_directory(self._path.parent)
        self._length = offset + len(data)
        name = self._partial.name
        return Receipt([Part(name, batch.number, batch.number, offset, len(data), batch.rows, digest(data))])

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """Return the checksum of the lines of each unit as they stand in the unpacked file, by the unit's number."""
        return unit_checksums(batch.units, self._lines(batch))

    def _lines(self, batch: SinkBatch) -> list[bytes]:
        # Encoded once for the checksums and the file.
        if self._encoded is None or self._encoded[0] is not batch:
            self._encoded = batch, self._format.encode(batch)
        return self._encoded[1]

    def _open_partial(self) -> OpenFile:
        if self._length:
            return self._disk.append(self._partial, self._length)
        self._disk.make_directory(self._path.parent)
        return self._disk.create(self._partial)

    def _begin(self, file: OpenFile) -> int:
        """Write the heading, and return how long it is."""
        heading = self._format.heading
        data = self._packing.pack(heading) if heading else b""
        file.write(data)
        return len(data)

    def finish(self) -> Receipt | None:
        """Prepare the final file, and return what it consists of; `None` if the final file is there as it has to be.

        Raises:
            SinkError: It cannot be written, or the working file is not what was written.
        """
        old = sorted(self._ledger.parts(), key=attrgetter("first"))
        tombstone = next(self._ledger.tombstones(), None)
        # Nothing was replaced, and nothing new has come: the final file of an earlier run is as it has to be.
        if tombstone is None and all(part.name == self._path.name for part in old):
            return None
        renamed = self._rename_parts(old)
        return Receipt(renamed if renamed is not None and tombstone is None else self._rewrite(old), old)

    def _rename_parts(self, old: Sequence[Part]) -> list[Part] | None:
        """Return the parts of the working file under the final name; `None` if renaming is not enough."""
        if any(part.name != self._partial.name for part in old):
            return None
        return [attrs.evolve(part, name=self._path.name) for part in old]

    def _rewrite(self, old: Sequence[Part]) -> list[Part]:
        """Write all rows that were not replaced into a temporary file, and return its parts."""
        temporary = self._temporary(old)
        new: list[Part] = []
        with self._disk.create(temporary) as file:
            offset = self._begin(file)
            for part, tombstones in group_by_batch(old, self._ledger.tombstones(), attrgetter("batch")):
                self._ledger.check_stop()
                data, rows = self._parts.without(part, tombstones)
                if rows:
                    file.write(data)
                    new.append(Part(self._path.name, part.first, part.last, offset, len(data), rows, digest(data)))
                    offset += len(data)
            file.sync()
        if not new:
            self._disk.remove(temporary)
        self._disk.sync_directory(self._path.parent)
        return new

    def _temporary(self, old: Sequence[Part]) -> Path:
        return self._path.with_name(f".{self._path.name}.{max((part.last for part in old), default=0)}.tmp")

    def publish(self, receipt: Receipt) -> None:
        """Give the file that `finish` prepared its final name; safe to call twice.

        Raises:
            SinkError: A file is missing or is not what was written, or cannot be renamed.
        """
        source = self._source(receipt) if receipt.added else None
        there = self._disk.size(self._path)
        if source is None:
            # All rows were replaced by none, and a file exists only if it has rows.
            if there is not None:
                self._refuse_foreign(there, receipt)
                self._disk.remove(self._path)
        elif self._disk.size(source) is not None:
            self._refuse_foreign(there, receipt)
            self._parts.compare(source, receipt.added, self._check_stop)
            self._disk.replace(source, self._path)
        elif there is None:
            raise SinkError(f"{source} is missing; put it back, and resume the job")
        else:
            # An earlier run has renamed it, and was ended before the ledger took note.
            self._parts.compare(self._path, receipt.added, self._check_stop)
        self._disk.sync_directory(self._path.parent)

    def _check_stop(self) -> None:
        # After a run that ended before the ledger took note, this is called before `open`.
        if self._view is not None:
            self._view.check_stop()

    def _refuse_foreign(self, there: int | None, receipt: Receipt) -> None:
        if there != sizes_of(receipt.removed).get(self._path.name):
            raise SinkError(f"{self._path} is not as this job left it; move it away, and resume the job")

    def _source(self, receipt: Receipt) -> Path:
        """Return the file that the final one is made of."""
        if self._rename_parts(receipt.removed) == list(receipt.added):
            return self._partial
        return self._temporary(receipt.removed)

    def drop(self, receipt: Receipt) -> None:
        """Delete the working file, if it was removed."""
        if any(part.name == self._partial.name for part in receipt.removed):
            self._disk.remove(self._partial)
            self._length = 0

    def verify(self) -> Iterator[str]:
        """Read the file back, and yield what differs from the ledger, a sentence each."""
        return self._parts.verify(self._ledger, self._partial if self._only_reads else None)

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:
        """Delete the files of a job; one that is not as the job left it may be somebody else's.

        Args:
            ledger: What the ledger tells.
            publishing: The final files that were being put in place; `None` if there are none.

        Raises:
            ConfigurationError: The final file is not as the job left it. Nothing was deleted.
        """
        left = {sizes_of(ledger.parts()).get(self._path.name)}
        if publishing is not None:
            left.add(sizes_of(publishing.added).get(self._path.name))
        if (there := self._disk.size(self._path)) not in {None, *left}:
            raise ConfigurationError(
                f"{self._path} {describe_size(there)}, and is not as this job left it; move it away, and run the same "
                "again"
            )
        # The working file is not compared: a run that died may have left more in it than the ledger knows.
        for path in (self._path, self._partial):
            self._disk.remove(path)
        self._sweep()
        self._disk.sync_directory(self._path.parent)

    def close(self) -> None:
        """Do nothing: no file stays open between two calls."""
