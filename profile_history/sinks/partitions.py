"""By what the rows of a dataset are divided into directories; it needs the extra `arrow`."""

from __future__ import annotations

import datetime as dt
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from profile_history.errors import ConfigurationError

_MOST_BUCKETS = 10_000


@attrs.frozen
class Partitioning:
    """The rule that divides rows: "none", "month" or "day" of their `datetime`, or "hash:N", N buckets of profiles.

    Attributes:
        name: Which of these.
        buckets: How many there are with "hash:N", else 0.
    """

    name: str
    buckets: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        known = re.fullmatch(r"none|month|day|hash:([1-9]\d*)", self.name)
        buckets = int((known and known[1]) or 0)
        if known is None or buckets > _MOST_BUCKETS:
            raise ConfigurationError(
                f"a dataset is divided by none, month, day or hash:N with N up to {_MOST_BUCKETS}, not {self.name!r}"
            )
        object.__setattr__(self, "buckets", buckets)

    @property
    def directories(self) -> re.Pattern[str]:
        """Return what the directories are called, relative to the dataset."""
        date = {"none": r"\.", "month": r"month=\d{4}-\d\d", "day": r"day=\d{4}-\d\d-\d\d"}
        return re.compile(date.get(self.name, r"bucket=\d+"))

    def divide(self, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Yield the name of each directory, in order, and its rows in the order of the table.

        Args:
            table: Rows whose dictionaries are the same all through.
        """
        if self.name == "none":
            yield ".", table
            return
        keys = self._buckets(table) if self.buckets else self._days(table)
        order = pc.sort_indices(keys)
        ordered, table = keys.take(order), table.take(order)
        runs = pc.run_end_encode(ordered.combine_chunks())
        for key, (start, end) in zip(runs.values.to_pylist(), pairwise([0, *runs.run_ends.to_pylist()]), strict=True):
            yield self._directory(key), table.slice(start, end - start)

    def _days(self, table: pa.Table) -> pa.ChunkedArray:
        return pc.floor_temporal(table["datetime"], unit=self.name)

    def _buckets(self, table: pa.Table) -> pa.ChunkedArray:
        return pa.chunked_array([self._buckets_of(chunk) for chunk in table["profile"].chunks], pa.int32())

    def _buckets_of(self, profiles: pa.DictionaryArray) -> pa.Array:
        texts: Sequence[str] = profiles.dictionary.to_pylist()
        # A checksum that is the same on every machine and in every version.
        return pa.array([zlib.crc32(text.encode()) % self.buckets for text in texts], pa.int32()).take(profiles.indices)

    def _directory(self, key: Any) -> str:
        if isinstance(key, dt.datetime):
            return f"day={key.isoformat()[:10]}" if self.name == "day" else f"month={key.isoformat()[:7]}"
        return f"bucket={key:0{len(str(self.buckets - 1))}}"
