"""The parts that a single file consists of, one a batch: how they are read back, and compared with the ledger."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from profile_history.sinks.base import LedgerView, Part, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import UnitTally, digests_of
from profile_history.sinks.compression import Packing
from profile_history.sinks.disk import Disk
from profile_history.sinks.unit_rows import Stored

_T = TypeVar("_T")

CHANGED = "is not what was written"
PUT_BACK = "put the file back as it was, and resume the job"


class FileFormat(Protocol):
    """The format of rows in a file."""

    @property
    def heading(self) -> bytes:
        """Return what stands before the first row."""

    @property
    def headings(self) -> Collection[bytes]:
        """Return what may stand there: that, or what an earlier version has written."""

    def adopt(self, heading: bytes) -> None:
        """Go on with the columns of a file that is there.

        Args:
            heading: What stands before its first row, one of `headings`.
        """

    def encode(self, batch: SinkBatch) -> list[bytes]:
        """Return the rows of a batch as they stand in the file, each with what ends it."""

    def split(self, data: bytes) -> list[bytes]:
        """Return the same of what stands in a file."""


@attrs.frozen
class PartReader:
    """The parts of one file, which may stand in its working file or in its final file.

    Attributes:
        path: The final file; the names of parts are relative to its directory.
        format: How rows stand in it.
        packing: How the file is compressed.
        disk: The file system.
    """

    path: Path
    format: FileFormat
    packing: Packing
    disk: Disk

    def file_of(self, part: Part) -> Path:
        """Return the file that a part stands in."""
        return self.path.with_name(part.name)

    def read(self, part: Part) -> bytes:
        """Return the bytes of a part."""
        return self.disk.read(self.file_of(part), part.offset, part.size)

    def rows_of(self, part: Part) -> list[bytes] | None:
        """Return the rows of a part; `None` if it is not what was written."""
        if self.disk.size(self.file_of(part)) is None:
            return None
        data = self.read(part)
        return self.format.split(self.packing.unpack(data)) if digest(data) == part.checksum else None

    def without(self, part: Part, tombstones: Sequence[Stored]) -> tuple[bytes, int]:
        """Return the bytes of a part without replaced rows, and how many rows are left.

        Args:
            part: The part.
            tombstones: The replaced rows, by their offset.

        Raises:
            SinkError: The part is not what was written.
        """
        data = self.read(part)
        if digest(data) != part.checksum:
            raise SinkError(f"{describe_part(self.file_of(part), part)} {CHANGED}; {PUT_BACK}")
        if not tombstones:
            return data, part.rows
        rows = self.format.split(self.packing.unpack(data))
        # What stands between two replaced units lives; the offsets count rows, replaced ones as well.
        living: list[bytes] = []
        end = 0
        for stored in tombstones:
            living += rows[end : stored.row_offset]
            end = stored.row_offset + stored.rows
        living += rows[end:]
        return self.packing.pack(b"".join(living)), len(living)

    def find_heading(self, path: Path, part: Part) -> bytes | None:
        """Return what stands before the first part of a file; `None` if this program has not written that.

        Args:
            path: The file.
            part: Its first part.
        """
        data = self.disk.read(path, 0, part.offset)
        try:
            heading = self.packing.unpack(data) if data else b""
        except self.packing.errors:
            return None
        return heading if heading in self.format.headings else None

    def compare(self, path: Path, parts: Sequence[Part], check_stop: Callable[[], None]) -> None:
        """Return if a file is, byte for byte, what the ledger says of it.

        Args:
            path: The file.
            parts: What the ledger says of the final file.
            check_stop: Called before each part, to break off.

        Raises:
            SinkError: It differs; the error says in what.
        """
        size = sizes_of(parts)[self.path.name]
        if (there := self.disk.size(path)) != size:
            raise SinkError(f"{path} {describe_size(there)}, and by the ledger it {describe_size(size)}; {PUT_BACK}")
        if self.find_heading(path, parts[0]) is None:
            raise SinkError(f"the heading of {path} {CHANGED}; {PUT_BACK}")
        for part in parts:
            check_stop()
            if digest(self.disk.read(path, part.offset, part.size)) != part.checksum:
                raise SinkError(f"{describe_part(path, part)} {CHANGED}; {PUT_BACK}")

    def verify(self, ledger: LedgerView, partial: Path | None) -> Iterator[str]:
        """Yield what differs from the ledger, a sentence each.

        Args:
            ledger: What the ledger tells.
            partial: The working file if it may be longer than the ledger knows, as a run that was killed leaves it.
        """
        parts = sorted(ledger.parts(), key=attrgetter("first"))
        sizes = sizes_of(parts)
        if not sizes[self.path.name] and self.disk.size(self.path) is not None:
            yield f"{self.path} is there, and the ledger knows nothing of it"
        unreadable: set[int] = set()
        for name, size in sizes.items():
            path = self.path.with_name(name)
            if fault := self._find_file_fault(path, size, parts, may_be_longer=path == partial):
                yield fault
        # Units of parts that cannot be read are named by their file, not each on its own.
        tally = UnitTally(ledger)
        stored = group_by_batch(parts, ledger.stored(), lambda found: found[0].batch)
        tombstones = group_by_batch(parts, ledger.tombstones(), attrgetter("batch"))
        for (part, units), (_, gone) in zip(stored, tombstones, strict=True):
            ledger.check_stop()
            if (rows := self.rows_of(part)) is None:
                if self.disk.size(self.file_of(part)) is not None:
                    yield f"{describe_part(self.file_of(part), part)} {CHANGED}"
                unreadable.update(unit.unit for unit, _ in units)
            else:
                yield from self._count_units(part, rows, [unit for unit, _ in units], gone, tally)
        yield from tally.differences(but=unreadable)

    def _find_file_fault(self, path: Path, size: int, parts: Sequence[Part], *, may_be_longer: bool) -> str | None:
        there = self.disk.size(path)
        if there is None or there < size or (there > size and not may_be_longer):
            return f"{path} {describe_size(there)}, and by the ledger it {describe_size(size)}"
        first = min((part for part in parts if part.name == path.name), key=attrgetter("offset"))
        return None if self.find_heading(path, first) is not None else f"the heading of {path} {CHANGED}"

    def _count_units(
        self, part: Part, rows: Sequence[bytes], units: Sequence[Stored], gone: Sequence[Stored], tally: UnitTally
    ) -> Iterator[str]:
        """Count the rows of each unit of a part, and yield whether it has rows of none."""
        there = f"{describe_part(self.file_of(part), part)} has {len(rows)} rows"
        if len(rows) != part.rows:
            yield f"{there}, and the ledger counts {part.rows}"
        if len(rows) != (known := sum(unit.rows for unit in (*units, *gone))):
            yield f"{there}, and the units of the ledger have {known}"
        digests = digests_of(rows)
        for unit in units:
            found = digests[unit.row_offset : unit.row_offset + unit.rows]
            tally.add([unit.unit] * len(found), found)


def digest(data: bytes) -> str:
    """Return the checksum that a part has in the ledger: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sizes_of(parts: Iterable[Part]) -> Counter[str]:
    """Return how many bytes each file has by its parts."""
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.name] = max(sizes[part.name], part.offset + part.size)
    return sizes


def describe_part(path: Path, part: Part) -> str:
    """Return which bytes of a file a part is, for a message.

    Args:
        path: The file.
        part: The part.
    """
    return f"{path}, bytes {part.offset} to {part.offset + part.size},"


def describe_size(size: int | None) -> str:
    """Return how large a file is, as the end of a sentence; `None` stands for a file that is not there."""
    return "is not there" if size is None else f"has {size} bytes"


def group_by_batch(
    parts: Iterable[Part], items: Iterator[_T], batch_of: Callable[[_T], int]
) -> Iterator[tuple[Part, list[_T]]]:
    """Yield each part with what belongs to its batch.

    Args:
        parts: The parts, by batch.
        items: What belongs to batches, by batch.
        batch_of: Returns the number of the batch of an item.
    """
    # Both are walked once, side by side: the units of a large job do not fit into memory.
    groups = groupby(items, batch_of)
    batch, group = 0, list[_T]()
    for part in parts:
        while batch < part.first:
            batch, found = next(groups, (sys.maxsize, iter(())))
            group = list(found)
        yield part, group if batch == part.first else []
