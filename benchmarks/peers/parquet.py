"""Counting what was written to Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet


def parquet_rows(folder: Path) -> int:
    """Return how many rows the Parquet files of a folder hold."""
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))
