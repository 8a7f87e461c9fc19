"""A directory of Parquet files: one per batch and partition, and fewer and bigger ones at the end.

They have the columns of `profile_history.arrow.SCHEMA`, `unit` and `row`; a dataset that version 0.4.0 has begun goes
on without `row`. A file never changes: rows that are replaced go with the file that holds them, and another one, of a
higher revision, takes its place. What is not finished has a name that begins with a dot, which readers pass over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from profile_history.errors import ConfigurationError
from profile_history.sinks.base import LedgerView, Part, Receipt, RowFormat, SinkError, list_some
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import UnitTally, digests_of, unit_checksums
from profile_history.sinks.disk import DISK, Disk
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.opened_ledger import OpenedLedger
from profile_history.sinks.parquet_file import StoredFile, drop_units, write_file
from profile_history.sinks.parquet_names import is_name_of_ours, is_unfinished, part_name, successor_name, temporary_of
from profile_history.sinks.partitions import Partitioning
from profile_history.sinks.row_text import lines_of
from profile_history.sinks.unit_rows import Refused

if TYPE_CHECKING:
    import pyarrow as pa

_LOCK = ".profile_history.lock"
_SUFFIXES, _MAGIC = (".parquet", ".parq", ".pq"), b"PAR1"
# Fewer and larger files are read faster; DuckDB's guide advises 100 MB to 10 GB.
_PART_BYTES = 128 * 1024 * 1024


class ParquetSink(OpenedLedger, OldSinkNames):
    """A dataset of Parquet files.

    Args:
        directory: Where it is.
        partition: How its rows are divided into directories: "none", "month" or "day" of their `datetime`, or "hash:N"
            of the profile, into N buckets. More partitions mean more, and smaller, files per batch.
        part_bytes: About how many bytes a file has when small ones are put together at the end.
        disk: The file system.

    Raises:
        ConfigurationError: There is no such partitioning.

        >>> from profile_history.sinks.parquet import ParquetSink
        >>> ParquetSink("/data/lake", partition="month").url
        '/data/lake/?partition=month'
    """

    row_format: RowFormat = "arrow"
    transactional = False
    compacts_on_finish = False

    def __init__(
        self, directory: str | Path, *, partition: str = "none", part_bytes: int = _PART_BYTES, disk: Disk = DISK
    ) -> None:
        self._directory = Path(directory)
        self.lock_path: Path = self._directory / _LOCK
        self._partitioning = Partitioning(partition)
        self._part_bytes = part_bytes
        self._disk = disk
        self._view: LedgerView | None = None
        self._schema: pa.Schema | None = None
        path = self._directory.absolute().as_posix()
        self.url: str = path if path.endswith(".parquet") else f"{path}/"
        if partition != "none":
            self.url += f"?partition={partition}"

    def open(self, ledger: LedgerView, *, new: bool) -> int:
        """Compare the files with the ledger, and delete those of this job that it does not know.

        Args:
            ledger: What the ledger tells.
            new: Whether the job has not begun yet: the directory must then be empty or not be there.

        Returns:
            The number of the last batch that the ledger knows.

        Raises:
            ConfigurationError: The directory holds something that is not this job's. Nothing was written.
            SinkError: A file is not as large as the ledger says, or cannot be used.
        """
        if self._directory.exists() and not self._directory.is_dir():
            raise ConfigurationError(f"{self._directory} is a file; a Parquet dataset is a directory")
        there = [name for name in self._files(self._directory) if name != _LOCK]
        if new and there:
            raise ConfigurationError(
                f"{self._directory} is not empty: it holds {list_some(there)}; empty it, or choose another directory"
            )
        known = {part.name: part.size for part in ledger.parts()}
        for name, size in known.items():
            if (found := self._disk.size(self._directory / name)) != size:
                raise SinkError(
                    f"{_describe_size(self._directory / name, found, size)}; put it back, and resume the job"
                )
        # What a run that died has written and the ledger never knew; whatever else is in the directory stays.
        for name in there:
            if name not in known and self._is_ours(name):
                self._disk.remove(self._directory / name)
        self._begin(ledger)
        return ledger.last_batch

    def open_to_read(self, ledger: LedgerView) -> int:
        """Prepare for `verify` alone, and return the number of the last batch; nothing is written."""
        self._begin(ledger)
        return ledger.last_batch

    def _begin(self, ledger: LedgerView) -> None:
        """Go on with the columns of the files that are there; all have the same."""
        self._view = ledger
        first = next(
            (part for part in ledger.parts() if self._disk.size(self._directory / part.name) is not None), None
        )
        self._schema = None if first is None else self._file(first).schema()

    @property
    def _columns(self) -> tuple[pa.Schema, ...]:
        return () if self._schema is None else (self._schema,)

    def _table(self, batch: SinkBatch) -> pa.Table:
        return batch.table if self._schema is None else batch.table.select(self._schema.names)

    def _files(self, directory: Path) -> Iterator[str]:
        for path in self._disk.list(directory):
            # A link may lead out of the dataset, to files of somebody else, or in a circle.
            if path.is_dir() and not path.is_symlink():
                yield from self._files(path)
            else:
                yield path.relative_to(self._directory).as_posix()

    def _is_ours(self, name: str) -> bool:
        path = PurePosixPath(name)
        return bool(self._partitioning.directories.fullmatch(str(path.parent))) and is_name_of_ours(path.name)

    def check(self, batch: SinkBatch) -> list[Refused]:  # noqa: ARG002 (the columns of any row have a place)
        """Return no rows: the columns hold any."""
        return []

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """Return the checksum of the values in the columns of each unit, by the unit's number."""
        return unit_checksums(batch.units, lines_of(self._table(batch)))

    def write(self, batch: SinkBatch) -> Receipt:
        """Write a file per partition, and another one for each that loses rows, and return both.

        Files that lose rows are left as they are until `drop`: a run that is killed before the ledger takes note finds
        them as the ledger knows them.

        Raises:
            SinkError: A file cannot be written, or one of that name is there already.
        """
        added: list[Part] = []
        removed: list[Part] = []
        if batch.rows:
            for directory, table in self._partitioning.divide(self._table(batch).unify_dictionaries()):
                name = part_name(directory, batch.number, batch.number)
                added.append(self._prepare(name, batch.number, batch.number, [table]))
        units = {stored.unit for stored in batch.replaced}
        for part in self._parts({stored.batch for stored in batch.replaced}):
            # Only the column `unit` is read; most files of the batch need not be written again.
            gone = sum(rows for unit, rows in self._file(part).count_units() if unit in units)
            if gone:
                removed.append(part)
            if 0 < gone < part.rows:
                left = drop_units(self._read(part), units)
                added.append(self._prepare(successor_name(part, batch.number), part.first, part.last, left))
        # All contents are synced before the first gets its name: a reader of the dataset meets whole files only.
        self._refuse_foreign(added)
        for part in added:
            self._disk.replace(self._temporary(part), self._directory / part.name)
        self._sync(added)
        return Receipt(added, removed)

    def _refuse_foreign(self, parts: Iterable[Part]) -> None:
        for path in (self._directory / part.name for part in parts):
            if self._disk.size(path) is not None:
                raise SinkError(f"{path} is there already, and is not this job's; move it away, and resume the job")

    def _parts(self, batches: Iterable[int] | None = None) -> list[Part]:
        return list(self._ledger.parts(batches))

    def _prepare(self, name: str, first: int, last: int, tables: Iterable[pa.Table]) -> Part:
        temporary = temporary_of(self._directory / name)
        self._disk.make_directory(temporary.parent)
        written = write_file(self._disk, temporary, tables, *self._columns)
        return Part(name, first, last, 0, written.size, written.rows, written.checksum)

    def _temporary(self, part: Part) -> Path:
        return temporary_of(self._directory / part.name)

    def _sync(self, parts: Iterable[Part]) -> None:
        for directory in sorted({(self._directory / part.name).parent for part in parts}):
            self._disk.sync_directory(directory)

    def finish(self) -> Receipt | None:
        """Put small neighbours together, and return what takes the place of what; `None` if no file is small.

        Raises:
            SinkError: A file cannot be read or written.
        """
        added: list[Part] = []
        removed: list[Part] = []
        for run in self._small_neighbours():
            # Read as they are written: a file of 128 MiB may hold a multiple of that in memory.
            rows = (table for part in run for table in self._read(part))
            name = successor_name(run[0], self._ledger.last_batch)
            added.append(self._prepare(name, run[0].first, max(part.last for part in run), rows))
            removed += run
        self._sync(added)
        return Receipt(added, removed) if added else None

    def _file(self, part: Part) -> StoredFile:
        return StoredFile(self._disk, self._directory / part.name)

    def _read(self, part: Part) -> Iterator[pa.Table]:
        for table in self._file(part).read(*self._columns):
            self._ledger.check_stop()
            yield table

    def _small_neighbours(self) -> Iterator[list[Part]]:
        """Yield files of one directory that stand beside one another, and are better put together."""
        for _, parts in groupby(self._parts(), lambda part: PurePosixPath(part.name).parent):
            run: list[Part] = []
            for part in sorted(parts, key=attrgetter("first")):
                # One that is half as large as it may be is left alone, so that no run copies it again.
                small = part.size < self._part_bytes // 2
                if not small or sum(other.size for other in run) + part.size > self._part_bytes:
                    yield from (run for _ in run[1:2])
                    run = []
                if small:
                    run.append(part)
            yield from (run for _ in run[1:2])

    def publish(self, receipt: Receipt) -> None:
        """Give the files that `finish` prepared their names; safe to call twice.

        Raises:
            SinkError: A file is missing or is not what was written, or cannot be renamed.
        """
        prepared = [part for part in receipt.added if self._disk.size(self._temporary(part)) is not None]
        self._refuse_foreign(prepared)
        for part in prepared:
            self._disk.refuse_link(self._temporary(part))
        # Everything is compared before the first gets its name; those without a temporary file have it already.
        for part in receipt.added:
            self._compare(part, self._temporary(part) if part in prepared else self._directory / part.name)
        for part in prepared:
            self._disk.replace(self._temporary(part), self._directory / part.name)
        self._sync(receipt.added)

    def _compare(self, part: Part, path: Path) -> None:
        """Refuse a file that is not, byte for byte, what the ledger says of it."""
        if (size := self._disk.size(path)) is None:
            raise SinkError(f"{self._temporary(part)} is missing; put it back, and resume the job")
        if size != part.size:
            raise SinkError(f"{_describe_size(path, size, part.size)}; put it back as it was, and resume the job")
        if StoredFile(self._disk, path).hash(part.size) != part.checksum:
            raise SinkError(f"{path} is not what was written; put it back as it was, and resume the job")

    def drop(self, receipt: Receipt) -> None:
        """Delete the files that a receipt removed."""
        for part in receipt.removed:
            self._disk.remove(self._directory / part.name)

    def verify(self) -> Iterator[str]:
        """Read all files back, and yield what differs from the ledger, a sentence each."""
        ledger = self._ledger
        tally = UnitTally(ledger)
        known: set[str] = set()
        for part in self._parts():
            known.add(part.name)
            if fault := self._find_fault(part):
                yield fault
            else:
                self._count_part(part, tally)
        yield from tally.differences()
        for name in self._files(self._directory):
            if name not in known and self._would_be_read(name):
                yield (
                    f"{self._directory / name} is not in the ledger, and who reads the directory reads it: a run that "
                    "was killed has left it, and the next run deletes it, or it is not this job's; then move it away"
                )

    def _find_fault(self, part: Part) -> str | None:
        file = self._file(part)
        if (size := self._disk.size(file.path)) != part.size:
            return _describe_size(file.path, size, part.size)
        if file.hash(part.size) != part.checksum:
            return f"{file.path} is not what was written"
        if (rows := file.count_rows()) != part.rows:
            return f"{file.path} has {rows} rows, and the ledger counts {part.rows}"
        return None

    def _count_part(self, part: Part, tally: UnitTally) -> None:
        """Count the rows of each unit that a file holds."""
        if not tally.knows_content:
            for unit, rows in self._file(part).count_units():
                tally.count(unit, rows)
            return
        for table in self._read(part):
            tally.add(table["unit"].to_pylist(), digests_of(lines_of(table)))

    def _would_be_read(self, name: str) -> bool:
        """Tell whether a file is one for those who read the directory as a dataset: they pass over hidden ones."""
        path = self._directory / name
        if any(part.startswith((".", "_")) for part in PurePosixPath(name).parts):
            return False
        if path.suffix.lower() in _SUFFIXES or path.is_dir():
            return True
        return path.is_file() and self._disk.read(path, 0, len(_MAGIC)) == _MAGIC

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:
        """Delete the files of a job, also those that it was writing when it ended; others stay.

        Args:
            ledger: What the ledger tells.
            publishing: The final files that were being put in place; `None` if there are none.

        Raises:
            ConfigurationError: A file is not as the job left it. Nothing was deleted.
        """
        known = {part.name: part.size for part in (*ledger.parts(), *(publishing.added if publishing else ()))}
        for name, size in known.items():
            if (there := self._disk.size(self._directory / name)) not in {None, size}:
                raise ConfigurationError(
                    f"{_describe_size(self._directory / name, there, size)}; move it away, and run the same again"
                )
        for name in list(self._files(self._directory)):
            if name in known or (self._is_ours(name) and is_unfinished(name, ledger.last_batch)):
                self._disk.remove(self._directory / name)
        # Partitions that are empty now; a directory with files of somebody else stays with them.
        for directory in self._disk.list(self._directory):
            if self._partitioning.directories.fullmatch(directory.name) and not self._disk.list(directory):
                directory.rmdir()
        if self._directory.is_dir():
            self._disk.sync_directory(self._directory)

    def close(self) -> None:
        """Do nothing: no file stays open between two calls."""


def _describe_size(path: Path, size: int | None, known: int) -> str:
    there = "is not there" if size is None else f"has {size} bytes"
    return f"{path} {there}, and by the ledger it has {known}"
