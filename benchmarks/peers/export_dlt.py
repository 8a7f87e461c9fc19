"""A whole export to Parquet by dlt: pages from awaitables, through a pipeline, into a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dlt

from benchmarks.peers.base import Peer
from benchmarks.peers.dlt_resource import Fetching
from benchmarks.peers.parquet import parquet_rows


class Export(Peer):
    """The filesystem destination, `loader_file_format="parquet"`."""

    def fetch(self, requests: int) -> int:
        """Run a pipeline, and count the rows in what it has written."""
        with tempfile.TemporaryDirectory() as folder:
            pipeline = dlt.pipeline(
                pipeline_name="histories",
                pipelines_dir=str(Path(folder) / "pipelines"),
                destination=dlt.destinations.filesystem(bucket_url=(Path(folder) / "out").as_uri()),
                dataset_name="histories",
            )
            history = Fetching(self.url, requests, self.site.in_flight).resource()
            pipeline.run(history, loader_file_format="parquet").raise_on_failed_jobs()
            return parquet_rows(Path(folder) / "out" / "histories" / "history")
