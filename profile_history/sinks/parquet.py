"""A directory of Parquet files: one a batch and partition, and fewer and bigger ones at the end.

They have the columns of `profile_history.arrow.SCHEMA`, `unit` and `row`; a dataset that version 0.4.0 has begun goes
on without `row`. A file never changes: rows that are replaced go with the file that holds them, and another one, of a
higher revision, takes its place. What is not finished has a name that begins with a dot, which readers pass over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from profile_history.errors import ConfigurationError
from profile_history.sinks import parquet_file
from profile_history.sinks.base import LedgerView, Part, Receipt, RowFormat, SinkError, list_some
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import Tally, digests_of, unit_checksums
from profile_history.sinks.disk import DISK, Disk
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.partitions import Partitioning
from profile_history.sinks.row_text import lines_of
from profile_history.sinks.unit_rows import Refused

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"part-(\d{8,})-(\d+)\.parquet")
_TEMPORARY = re.compile(rf"\.{_NAME.pattern}\.tmp")
_LOCK = ".profile_history.lock"
_SUFFIXES, _MAGIC = (".parquet", ".parq", ".pq"), b"PAR1"
_PART_BYTES = 128 * 1024 * 1024


class ParquetSink(OldSinkNames):
    """A dataset of Parquet files.

    Args:
        directory: Where it is.
        partition: How its rows are divided into directories: "none", "month" or "day" of their label, or "hash:N" of
            the profile, into N buckets. More partitions mean more, and smaller, files a batch.
        part_bytes: About how large a file becomes when small ones are put together at the end.
        disk: The file system.

    Raises:
        ConfigurationError: There is no such partitioning.
    """

    row_format: RowFormat = "arrow"
    transactional = False
    compacts_on_finish = False

    def __init__(
        self, directory: str | Path, *, partition: str = "none", part_bytes: int = _PART_BYTES, disk: Disk = DISK
    ) -> None:
        self._directory = Path(directory)
        self.lock_path = self._directory / _LOCK
        self._partitioning = Partitioning(partition)
        self._part_bytes = part_bytes
        self._disk = disk
        self._ledger: LedgerView | None = None
        self._schema: pa.Schema | None = None
        path = self._directory.absolute().as_posix()
        self.url = path if path.endswith(".parquet") else f"{path}/"
        if partition != "none":
            self.url += f"?partition={partition}"

    def open(self, ledger: LedgerView, *, new: bool) -> int:
        """See `Sink.open`."""
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
                raise SinkError(f"{_sized(self._directory / name, found, size)}; put it back, and resume the job")
        for name in there:
            if name not in known and self._is_ours(name):
                self._disk.remove(self._directory / name)
        self._begin(ledger)
        return ledger.last_batch

    def open_to_read(self, ledger: LedgerView) -> int:
        """See `Sink`: nothing is written."""
        self._begin(ledger)
        return ledger.last_batch

    def _begin(self, ledger: LedgerView) -> None:
        """Go on with the columns of the files that are there; all have the same."""
        self._ledger = ledger
        first = next(
            (part for part in ledger.parts() if self._disk.size(self._directory / part.name) is not None), None
        )
        self._schema = None if first is None else parquet_file.schema_of(self._disk, self._directory / first.name)

    @property
    def _columns(self) -> tuple[pa.Schema, ...]:
        return () if self._schema is None else (self._schema,)

    def _table(self, batch: SinkBatch) -> pa.Table:
        return batch.table if self._schema is None else batch.table.select(self._schema.names)

    def _files(self, directory: Path) -> Iterator[str]:
        for path in self._disk.list(directory):
            if path.is_dir() and not path.is_symlink():
                yield from self._files(path)
            else:
                yield path.relative_to(self._directory).as_posix()

    def _is_ours(self, name: str) -> bool:
        path = PurePosixPath(name)
        return bool(
            self._partitioning.directories.fullmatch(str(path.parent))
            and (_NAME.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name))
        )

    def check(self, batch: SinkBatch) -> list[Refused]:  # noqa: ARG002 (the columns of any row have a place)
        """See `Sink.check`."""
        return []

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """See `Sink`: of the values in the columns."""
        return unit_checksums(batch.units, lines_of(self._table(batch)))

    def write(self, batch: SinkBatch) -> Receipt:
        """See `Sink.write`."""
        added: list[Part] = []
        removed: list[Part] = []
        if batch.rows:
            for directory, table in self._partitioning.divide(self._table(batch).unify_dictionaries()):
                name = _name(directory, batch.number, batch.number)
                added.append(self._prepared(name, batch.number, batch.number, [table]))
        units = {stored.unit for stored in batch.replaced}
        for part in self._parts({stored.batch for stored in batch.replaced}):
            path = self._directory / part.name
            gone = sum(rows for unit, rows in parquet_file.counts(self._disk, path) if unit in units)
            if gone:
                removed.append(part)
            if 0 < gone < part.rows:
                left = parquet_file.without(self._read(part), units)
                added.append(self._prepared(_next_name(part, batch.number), part.first, part.last, left))
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
        assert self._ledger is not None
        return list(self._ledger.parts(batches))

    def _prepared(self, name: str, first: int, last: int, tables: Iterable[pa.Table]) -> Part:
        temporary = _temporary(self._directory / name)
        self._disk.make_directory(temporary.parent)
        written = parquet_file.write(self._disk, temporary, tables, *self._columns)
        return Part(name, first, last, 0, written.size, written.rows, written.checksum)

    def _temporary(self, part: Part) -> Path:
        return _temporary(self._directory / part.name)

    def _sync(self, parts: Iterable[Part]) -> None:
        for directory in sorted({(self._directory / part.name).parent for part in parts}):
            self._disk.sync_directory(directory)

    def finish(self) -> Receipt | None:
        """See `Sink.finish`."""
        assert self._ledger is not None
        added: list[Part] = []
        removed: list[Part] = []
        for run in self._small_neighbours():
            rows = (table for part in run for table in self._read(part))
            name = _next_name(run[0], self._ledger.last_batch)
            added.append(self._prepared(name, run[0].first, max(part.last for part in run), rows))
            removed += run
        self._sync(added)
        return Receipt(added, removed) if added else None

    def _read(self, part: Part) -> Iterator[pa.Table]:
        assert self._ledger is not None
        for table in parquet_file.read(self._disk, self._directory / part.name, *self._columns):
            self._ledger.check_stop()
            yield table

    def _small_neighbours(self) -> Iterator[list[Part]]:
        """Files of one directory that stand beside one another, and are better put together."""
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
        """See `Sink.publish`."""
        prepared = [part for part in receipt.added if self._disk.size(self._temporary(part)) is not None]
        self._refuse_foreign(prepared)
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
            raise SinkError(f"{_sized(path, size, part.size)}; put it back as it was, and resume the job")
        if parquet_file.checksum(self._disk, path, part.size) != part.checksum:
            raise SinkError(f"{path} is not what was written; put it back as it was, and resume the job")

    def drop(self, receipt: Receipt) -> None:
        """See `Sink.drop`."""
        for part in receipt.removed:
            self._disk.remove(self._directory / part.name)

    def verify(self) -> Iterator[str]:
        """See `Sink.verify`."""
        ledger = self._ledger
        assert ledger is not None
        tally = Tally(ledger)
        known: set[str] = set()
        for part in self._parts():
            known.add(part.name)
            if fault := self._fault(part):
                yield fault
            else:
                self._tell(part, tally)
        yield from tally.differences()
        for name in self._files(self._directory):
            if name not in known and self._would_be_read(name):
                yield (
                    f"{self._directory / name} is not in the ledger, and who reads the directory reads it: a run that "
                    "was killed has left it, and the next run deletes it, or it is not this job's; then move it away"
                )

    def _fault(self, part: Part) -> str | None:
        path = self._directory / part.name
        if (size := self._disk.size(path)) != part.size:
            return _sized(path, size, part.size)
        if parquet_file.checksum(self._disk, path, part.size) != part.checksum:
            return f"{path} is not what was written"
        if (rows := parquet_file.rows_of(self._disk, path)) != part.rows:
            return f"{path} has {rows} rows, and the ledger counts {part.rows}"
        return None

    def _tell(self, part: Part, tally: Tally) -> None:
        """Tell which rows of which units a file holds."""
        path = self._directory / part.name
        if not tally.knows_content:
            for unit, rows in parquet_file.counts(self._disk, path):
                tally.count(unit, rows)
            return
        for table in self._read(part):
            tally.add(table["unit"].to_pylist(), digests_of(lines_of(table)))

    def _would_be_read(self, name: str) -> bool:
        """Return whether a file is one for those who read the directory as a dataset: they pass over hidden ones."""
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
            publishing: The final files that were being put in place, or None.

        Raises:
            ConfigurationError: A file is not as the job left it. Nothing was deleted.
        """
        known = {part.name: part.size for part in (*ledger.parts(), *(publishing.added if publishing else ()))}
        for name, size in known.items():
            if (there := self._disk.size(self._directory / name)) not in {None, size}:
                raise ConfigurationError(
                    f"{_sized(self._directory / name, there, size)}; move it away, and run the same again"
                )
        for name in list(self._files(self._directory)):
            if name in known or (self._is_ours(name) and _is_unfinished(name, ledger.last_batch)):
                self._disk.remove(self._directory / name)
        for directory in self._disk.list(self._directory):
            if self._partitioning.directories.fullmatch(directory.name) and not self._disk.list(directory):
                directory.rmdir()
        if self._directory.is_dir():
            self._disk.sync_directory(self._directory)

    def close(self) -> None:
        """See `Sink.close`."""


def _name(directory: str, first: int, revision: int) -> str:
    return str(PurePosixPath(directory, f"part-{first:08}-{revision}.parquet"))


def _next_name(part: Part, batch: int) -> str:
    """A name for what takes the place of a file, which may be of the same batch."""
    path = PurePosixPath(part.name)
    match = _NAME.fullmatch(path.name)
    assert match
    return _name(str(path.parent), part.first, max(batch, int(match[2]) + 1))


def _is_unfinished(name: str, last_batch: int) -> bool:
    """Return whether a file is temporary, or of a batch that the ledger does not know yet."""
    match = _NAME.fullmatch(PurePosixPath(name).name)
    return match is None or int(match[2]) > last_batch


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _sized(path: Path, size: int | None, known: int) -> str:
    there = "is not there" if size is None else f"has {size} bytes"
    return f"{path} {there}, and by the ledger it has {known}"
