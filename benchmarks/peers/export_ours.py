"""A whole export to Parquet by this library: Arrow batches into a writer with its defaults."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet

from benchmarks.peers.parquet import parquet_rows
from benchmarks.peers.streams import BATCH, Arrow


class Export(Arrow):
    """One file, one row group a batch."""

    async def work(self, requests: int) -> int:  # noqa: ARG002 - the profiles were made for as many
        """Write all events, and count them in the file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "events.parquet"
            writer = None
            async for batch in self.client.histories(self.profiles).batches(rows=BATCH):
                writer = writer or pyarrow.parquet.ParquetWriter(path, batch.schema)
                writer.write_batch(batch)
            assert writer is not None
            writer.close()
            return parquet_rows(Path(folder))
