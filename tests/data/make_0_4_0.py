"""Make the ledgers and sinks in this directory; it was run once, with version 0.4.0 and its lowest dependencies."""

import asyncio
import datetime as dt
import sys
from pathlib import Path

import dlt

from profile_history import Pacing, RetryPolicy
from profile_history.jobs import HistoryJob, source_of
from profile_history.sinks import sink_of
from profile_history.sinks.dlt import DltSink
from profile_history.testing import Fault, FaultPlan, HistoryServer

FIRST, LAST = "2023-01-01", "2024-11-30"
DEAD = 3


async def make(directory, name, sink, *, stop_after=None):
    """One job: a profile that fails, a line that names nobody, and days that are still recent on its last day."""
    async with HistoryServer(profiles=8, seed=7) as server:
        profiles = directory / "clients.txt"
        values = [str(server.profile(number)).partition(":")[2] for number in range(8)]
        profiles.write_text("\n".join([*values[:4], "nobody", *values[4:]]) + "\n")
        server.faults = FaultPlan(rates={Fault.API_ERROR: 1.0}, streak=None, profiles={DEAD})
        retry = RetryPolicy(base=0.001, cap=0.002)
        pacing = Pacing(concurrency=1, adaptive=False) if stop_after else Pacing()
        async with server.client(window=150, retry=retry, pacing=pacing) as client:
            job = HistoryJob(
                client,
                source_of(str(profiles), matching="xxh"),
                sink,
                ledger=directory / f"{name}.ledger",
                date_from=FIRST,
                date_to=LAST,
                today=lambda: dt.date(2024, 11, 30),
                commit_seconds=0.01,
                commit_bytes=1 if stop_after else 2**25,
            )
            steps = job.run()
            async for _ in steps:
                if stop_after is not None and job.progress.done + job.progress.provisional >= stop_after:
                    break
            await steps.aclose()
            print(name, job.progress, file=sys.stderr)


async def main():
    root = Path("/srv/histories")
    for name in ("history.ndjson", "history.ndjson.gz", "history.csv", "history.duckdb"):
        await make(root, name, sink_of(str(root / name)))
    await make(root, "lake", sink_of(str(root / "lake") + "/"))
    await make(root, "months.parquet", sink_of(str(root / "months.parquet") + "?partition=month"))
    await make(root, "unfinished.ndjson", sink_of(str(root / "unfinished.ndjson")), stop_after=4)
    await make(root, "unfinished.duckdb", sink_of(str(root / "unfinished.duckdb")), stop_after=4)
    await make(root, "postgres.history", sink_of(sys.argv[1]))
    pipeline = dlt.pipeline(
        "histories",
        destination=dlt.destinations.duckdb(str(root / "warehouse.duckdb")),
        dataset_name="crm",
        pipelines_dir=str(root / "pipelines"),
    )
    await make(root, "crm", DltSink(pipeline, table="history"))


asyncio.run(main())
