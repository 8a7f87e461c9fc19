"""One file that grows by a stretch a batch, under a working name until nothing is left to fetch.

The working file is `<name>.partial`. Behind what the ledger knows of it may stand the rest of a batch that was never
committed; that is cut off. `finish` makes the final file of it, and of the final file of an earlier run, without the
rows that were replaced: in `.<name>.<batch>.tmp`, which takes the final name in one step. A file exists only where it
has rows.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from profile_history.errors import ConfigurationError
from profile_history.sinks.base import LedgerView, Part, Receipt, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import Tally, digests_of, unit_checksums
from profile_history.sinks.compression import packing_of
from profile_history.sinks.disk import DISK, Disk, File, lock_beside
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.unit_rows import Stored

_T = TypeVar("_T")

_CHANGED = "is not what was written"
_PUT_BACK = "put the file back as it was, and resume the job"


class Format(Protocol):
    """How rows stand in a file."""

    @property
    def heading(self) -> bytes:
        """What stands before the first row."""

    @property
    def headings(self) -> Collection[bytes]:
        """What may stand there: that, or what an earlier version has written."""

    def adopt(self, heading: bytes) -> None:
        """Go on with the columns of a file that is there.

        Args:
            heading: What stands before its first row, one of `headings`.
        """

    def encode(self, batch: SinkBatch) -> list[bytes]:
        """Return the rows of a batch as they stand in the file, each with what ends it."""

    def split(self, data: bytes) -> list[bytes]:
        """Return the same of what stands in a file."""


class Appending(OldSinkNames):
    """The file work of a sink of one file.

    Args:
        path: The final file.
        format: How rows stand in it.
        disk: The file system.

    Raises:
        ConfigurationError: A library is missing, or the path names no file.
    """

    def __init__(self, path: Path, format: Format, disk: Disk = DISK) -> None:  # noqa: A002 (it is one)
        if not path.name:
            raise ConfigurationError(f"{path} names no file")
        self._path = path
        self.lock_path = lock_beside(path)
        self._partial = path.with_name(f"{path.name}.partial")
        self._format = format
        self._packing = packing_of(path)
        self._disk = disk
        self._ledger: LedgerView | None = None
        self._length = 0
        self._only_reads = False
        self._encoded: tuple[SinkBatch, list[bytes]] | None = None

    def open(self, ledger: LedgerView, *, new: bool) -> int:
        """See `Sink.open`."""
        sizes = _sizes(ledger.parts())
        committed = sizes.pop(self._partial.name, 0)
        final = sizes.pop(self._path.name, None)
        there, partial = self._disk.size(self._path), self._disk.size(self._partial)
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
        self._ledger, self._length = ledger, committed
        return ledger.last_batch

    def open_to_read(self, ledger: LedgerView) -> int:
        """See `Sink`: nothing is written."""
        self._ledger, self._only_reads = ledger, True
        return ledger.last_batch

    def _adopt_heading(self, ledger: LedgerView) -> None:
        part = next(iter(ledger.parts()), None)
        if part is not None:
            if (heading := self._heading_before(self._path.with_name(part.name), part)) is None:
                raise SinkError(f"the heading of {self._path.with_name(part.name)} {_CHANGED}; {_PUT_BACK}")
            self._format.adopt(heading)

    def _heading_before(self, path: Path, part: Part) -> bytes | None:
        """Return what stands before the first part of a file; None if this program has not written that."""
        data = self._disk.read(path, 0, part.offset)
        try:
            heading = self._packing.unpack(data) if data else b""
        except self._packing.errors:
            return None
        return heading if heading in self._format.headings else None

    def _refuse_what_is_there(self) -> None:
        for path in (self._path, self._partial):
            if self._disk.size(path) is not None:
                raise ConfigurationError(
                    f"{path} is there already, and does not belong to this job; move it away, or choose another name"
                )

    def _refuse_changed(self, there: int | None, known: int | None) -> None:
        raise ConfigurationError(
            f"{self._path} {_sized(there)}, and by the ledger it {_sized(known)}: somebody changed it; put it back as "
            "it was, or begin a new job with a new ledger and another name"
        )

    def _cut(self, length: int) -> None:
        if length:
            with self._disk.append(self._partial, length) as file:
                file.sync()
        else:
            self._disk.remove(self._partial)

    def _sweep(self) -> None:
        stale = re.compile(rf"\.{re.escape(self._path.name)}\.\d+\.tmp")
        for path in self._disk.list(self._path.parent):
            if stale.fullmatch(path.name):
                self._disk.remove(path)

    def write(self, batch: SinkBatch) -> Receipt:
        """See `Sink.write`."""
        if not batch.rows:
            return Receipt()
        data = self._packing.pack(b"".join(self._lines(batch)))
        self._encoded = None
        with self._opened() as file:
            offset = self._length or self._begin(file)
            file.write(data)
            file.sync()
        if not self._length:
            self._disk.sync_directory(self._path.parent)
        self._length = offset + len(data)
        name = self._partial.name
        return Receipt([Part(name, batch.number, batch.number, offset, len(data), batch.rows, _digest(data))])

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """See `Sink`: of the lines as they stand in the unpacked file."""
        return unit_checksums(batch.units, self._lines(batch))

    def _lines(self, batch: SinkBatch) -> list[bytes]:
        # Encoded once for the checksums and the file.
        if self._encoded is None or self._encoded[0] is not batch:
            self._encoded = batch, self._format.encode(batch)
        return self._encoded[1]

    def _opened(self) -> File:
        if self._length:
            return self._disk.append(self._partial, self._length)
        self._disk.make_directory(self._path.parent)
        return self._disk.create(self._partial)

    def _begin(self, file: File) -> int:
        heading = self._heading()
        file.write(heading)
        return len(heading)

    def _heading(self) -> bytes:
        heading = self._format.heading
        return self._packing.pack(heading) if heading else b""

    def finish(self) -> Receipt | None:
        """See `Sink.finish`."""
        assert self._ledger is not None
        old = sorted(self._ledger.parts(), key=attrgetter("first"))
        dead = next(self._ledger.tombstones(), None)
        if dead is None and all(part.name == self._path.name for part in old):
            return None
        moved = self._moved(old)
        return Receipt(moved if moved is not None and dead is None else self._rewritten(old), old)

    def _moved(self, old: Sequence[Part]) -> list[Part] | None:
        """The parts of the working file, where it has only to be renamed."""
        if any(part.name != self._partial.name for part in old):
            return None
        return [attrs.evolve(part, name=self._path.name) for part in old]

    def _rewritten(self, old: Sequence[Part]) -> list[Part]:
        assert self._ledger is not None
        temporary = self._temporary(old)
        new: list[Part] = []
        with self._disk.create(temporary) as file:
            offset = self._begin(file)
            for part, dead in _by_batch(old, self._ledger.tombstones(), attrgetter("batch")):
                self._ledger.check_stop()
                data, rows = self._living(part, dead)
                if rows:
                    file.write(data)
                    new.append(Part(self._path.name, part.first, part.last, offset, len(data), rows, _digest(data)))
                    offset += len(data)
            file.sync()
        if not new:
            self._disk.remove(temporary)
        self._disk.sync_directory(self._path.parent)
        return new

    def _temporary(self, old: Sequence[Part]) -> Path:
        return self._path.with_name(f".{self._path.name}.{max((part.last for part in old), default=0)}.tmp")

    def _living(self, part: Part, dead: Sequence[Stored]) -> tuple[bytes, int]:
        """The bytes of a part without its dead rows, and how many rows are left."""
        data = self._read(part)
        if _digest(data) != part.checksum:
            raise SinkError(f"{_where(self._path.with_name(part.name), part)} {_CHANGED}; {_PUT_BACK}")
        if not dead:
            return data, part.rows
        rows = self._format.split(self._packing.unpack(data))
        living: list[bytes] = []
        place = 0
        for stretch in dead:
            living += rows[place : stretch.row_offset]
            place = stretch.row_offset + stretch.rows
        living += rows[place:]
        return self._packing.pack(b"".join(living)), len(living)

    def _read(self, part: Part) -> bytes:
        return self._disk.read(self._path.with_name(part.name), part.offset, part.size)

    def publish(self, receipt: Receipt) -> None:
        """See `Sink.publish`."""
        source = self._source(receipt) if receipt.added else None
        there = self._disk.size(self._path)
        if source is None:
            if there is not None:
                self._refuse_foreign(there, receipt)
                self._disk.remove(self._path)
        elif self._disk.size(source) is not None:
            self._refuse_foreign(there, receipt)
            self._compare(source, receipt.added)
            self._disk.replace(source, self._path)
        elif there is None:
            raise SinkError(f"{source} is missing; put it back, and resume the job")
        else:
            self._compare(self._path, receipt.added)
        self._disk.sync_directory(self._path.parent)

    def _compare(self, path: Path, parts: Sequence[Part]) -> None:
        """Refuse a file that is not, byte for byte, what the ledger says of it.

        Args:
            path: The file.
            parts: What the ledger says.

        Raises:
            SinkError: It differs; the error says in what.
        """
        size = _sizes(parts)[self._path.name]
        if (there := self._disk.size(path)) != size:
            raise SinkError(f"{path} {_sized(there)}, and by the ledger it {_sized(size)}; {_PUT_BACK}")
        if self._heading_before(path, parts[0]) is None:
            raise SinkError(f"the heading of {path} {_CHANGED}; {_PUT_BACK}")
        for fault in filter(None, (self._difference(path, part) for part in parts)):
            raise SinkError(f"{fault}; {_PUT_BACK}")

    def _difference(self, path: Path, part: Part) -> str | None:
        if self._ledger is not None:
            self._ledger.check_stop()
        data = self._disk.read(path, part.offset, part.size)
        return None if _digest(data) == part.checksum else f"{_where(path, part)} {_CHANGED}"

    def _refuse_foreign(self, there: int | None, receipt: Receipt) -> None:
        if there != _sizes(receipt.removed).get(self._path.name):
            raise SinkError(f"{self._path} is not as this job left it; move it away, and resume the job")

    def _source(self, receipt: Receipt) -> Path:
        if self._moved(receipt.removed) == list(receipt.added):
            return self._partial
        return self._temporary(receipt.removed)

    def drop(self, receipt: Receipt) -> None:
        """See `Sink.drop`."""
        if any(part.name == self._partial.name for part in receipt.removed):
            self._disk.remove(self._partial)
            self._length = 0

    def verify(self) -> Iterator[str]:
        """See `Sink.verify`."""
        ledger = self._ledger
        assert ledger is not None
        parts = sorted(ledger.parts(), key=attrgetter("first"))
        sizes = _sizes(parts)
        if not sizes[self._path.name] and self._disk.size(self._path) is not None:
            yield f"{self._path} is there, and the ledger knows nothing of it"
        unreadable: set[int] = set()
        for name, size in sizes.items():
            if fault := self._file_fault(self._path.with_name(name), size, parts):
                yield fault
        tally = Tally(ledger)
        stored = _by_batch(parts, ledger.stored(), lambda found: found[0].batch)
        dead = _by_batch(parts, ledger.tombstones(), attrgetter("batch"))
        for (part, units), (_, gone) in zip(stored, dead, strict=True):
            ledger.check_stop()
            path = self._path.with_name(part.name)
            if (rows := self._rows_of(part)) is None:
                if self._disk.size(path) is not None:
                    yield f"{_where(path, part)} {_CHANGED}"
                unreadable.update(unit.unit for unit, _ in units)
            else:
                yield from self._unit_faults(part, rows, [unit for unit, _ in units], gone, tally)
        yield from tally.differences(but=unreadable)

    def _file_fault(self, path: Path, size: int, parts: Sequence[Part]) -> str | None:
        there = self._disk.size(path)
        # Behind what the ledger knows of a working file may stand what a run that was killed has left.
        if there is None or there < size or (there > size and not (self._only_reads and path == self._partial)):
            return f"{path} {_sized(there)}, and by the ledger it {_sized(size)}"
        first = min((part for part in parts if part.name == path.name), key=attrgetter("offset"))
        return None if self._heading_before(path, first) is not None else f"the heading of {path} {_CHANGED}"

    def _rows_of(self, part: Part) -> list[bytes] | None:
        """Return the rows of a part, or None if it is not what was written."""
        if self._disk.size(self._path.with_name(part.name)) is None:
            return None
        data = self._read(part)
        return self._format.split(self._packing.unpack(data)) if _digest(data) == part.checksum else None

    def _unit_faults(
        self, part: Part, rows: Sequence[bytes], units: Sequence[Stored], gone: Sequence[Stored], tally: Tally
    ) -> Iterator[str]:
        """Count the rows of each unit of a part, and say whether it has rows of none."""
        there = f"{_where(self._path.with_name(part.name), part)} has {len(rows)} rows"
        if len(rows) != part.rows:
            yield f"{there}, and the ledger counts {part.rows}"
        if len(rows) != (known := sum(unit.rows for unit in (*units, *gone))):
            yield f"{there}, and the units of the ledger have {known}"
        digests = digests_of(rows)
        for unit in units:
            found = digests[unit.row_offset : unit.row_offset + unit.rows]
            tally.add([unit.unit] * len(found), found)

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:
        """Delete the files of a job; one that is not as the job left it may be somebody else's.

        Args:
            ledger: What the ledger tells.
            publishing: The final files that were being put in place, or None.

        Raises:
            ConfigurationError: The final file is not as the job left it. Nothing was deleted.
        """
        left = {_sizes(ledger.parts()).get(self._path.name)}
        if publishing is not None:
            left.add(_sizes(publishing.added).get(self._path.name))
        if (there := self._disk.size(self._path)) not in {None, *left}:
            raise ConfigurationError(
                f"{self._path} {_sized(there)}, and is not as this job left it; move it away, and run the same again"
            )
        for path in (self._path, self._partial):
            self._disk.remove(path)
        self._sweep()
        self._disk.sync_directory(self._path.parent)

    def close(self) -> None:
        """See `Sink.close`."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sizes(parts: Iterable[Part]) -> Counter[str]:
    """How long each file is by its parts."""
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.name] = max(sizes[part.name], part.offset + part.size)
    return sizes


def _where(path: Path, part: Part) -> str:
    return f"{path}, bytes {part.offset} to {part.offset + part.size},"


def _sized(size: int | None) -> str:
    return "is not there" if size is None else f"has {size} bytes"


def _by_batch(
    parts: Iterable[Part], items: Iterator[_T], batch_of: Callable[[_T], int]
) -> Iterator[tuple[Part, list[_T]]]:
    """Yield each part with what belongs to its batch; parts and items come by batch."""
    groups = groupby(items, batch_of)
    batch, group = 0, list[_T]()
    for part in parts:
        while batch < part.first:
            batch, found = next(groups, (sys.maxsize, iter(())))
            group = list(found)
        yield part, group if batch == part.first else []
