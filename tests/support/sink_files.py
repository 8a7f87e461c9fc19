"""File sinks by name, a plan that fills them, and what is in their files by the formats' own tools."""

import csv
import datetime as dt
import gzip
import io
import json
from collections import Counter

import pyarrow.parquet as pq
import zstandard
from support.sink_ledger import FINISH, real_units

from profile_history.sinks.csv_file import CsvSink
from profile_history.sinks.disk import DISK
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.testing.histories import Histories

HISTORIES = Histories(profiles=60, seed=3, list_id=7, first_day=dt.date(2024, 1, 1), last_day=dt.date(2024, 3, 31))
SINGLE = (
    "history.ndjson",
    "history.ndjson.gz",
    "history.ndjson.zst",
    "history.csv",
    "history.csv.gz",
    "history.csv.zst",
)
DATASETS = ("none", "month", "day", "hash:3")
KEYS = ("action", "message_id", "event_id", "email", "campaign_id", "smid")


def sink_at(directory, kind, disk=DISK, **options):
    """Return a sink of some kind below a directory."""
    if kind in DATASETS:
        return ParquetSink(directory / "lake", partition=kind, disk=disk, **options)
    return (NdjsonSink if "ndjson" in kind else CsvSink)(directory / kind, disk=disk, **options)


def lane_of(kind):
    return "raw" if "ndjson" in kind else "arrow"


def plan_of(row_format):
    """Return batches with units that later ones replace or empty, over two runs."""

    def units(first, last, most):
        return real_units(HISTORIES, row_format, first, last, most=most)

    return [
        (units(0, 6, 4), ()),
        (units(6, 12, 3), ()),
        (units(3, 9, 2), (2,)),
        FINISH,
        (units(12, 15, 3) + units(0, 4, 3), (7,)),
        (units(15, 17, 2), ()),
        FINISH,
    ]


def truth_of(plan):
    """Return what has to be there at the end: the latest rows of each unit."""
    latest = {}
    for units, emptied in filter(None, plan):
        latest |= {unit.unit: unit for unit in units} | dict.fromkeys(emptied)
    rows = Counter()
    for unit in filter(None, latest.values()):
        for row in HISTORIES.rows(unit.unit - 1, "newer")[: len(unit)]:
            rows[cells(unit.profile, row.fields)] += 1
    return rows


def cells(profile, row):
    return (str(profile), *("" if row.get(key) is None else str(row[key]) for key in KEYS))


def text_of(path):
    """Return what a file holds, unpacked."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        data = reader.read()
    return data.decode()


def read_back(directory, kind):
    """Return the rows that a sink holds, counted."""
    if kind in DATASETS:
        rows = [
            row for path in (directory / "lake").rglob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()
        ]
    elif not (directory / kind).exists():
        rows = []
    elif "ndjson" in kind:
        lines = map(json.loads, text_of(directory / kind).splitlines())
        rows = [line["event"] | {"profile": line["profile"]} for line in lines]
    else:
        rows = list(csv.DictReader(io.StringIO(text_of(directory / kind), newline="")))
    return Counter(cells(row["profile"], row) for row in rows)


def files_in(directory):
    """Return all files below a directory, by name."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def known_files(ledger, kind):
    """Return the files that there have to be."""
    return sorted({("lake/" if kind in DATASETS else "") + part.name for part in ledger.parts()})
