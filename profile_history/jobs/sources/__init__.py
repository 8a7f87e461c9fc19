"""Profile sources: where the profiles of a job come from."""

from profile_history.jobs.sources.base import Line, Source, SourceError
from profile_history.jobs.sources.csv_file import CsvSource
from profile_history.jobs.sources.factory import Format, source_of
from profile_history.jobs.sources.lines import NdjsonSource, TextSource
from profile_history.jobs.sources.memory import MemorySource
from profile_history.jobs.sources.parquet import ParquetSource
from profile_history.jobs.sources.sql import DuckdbSource, PostgresSource

__all__ = [
    "CsvSource",
    "DuckdbSource",
    "Format",
    "Line",
    "MemorySource",
    "NdjsonSource",
    "ParquetSource",
    "PostgresSource",
    "Source",
    "SourceError",
    "TextSource",
    "source_of",
]
