"""The one function that makes a source from a text, such as an argument of a command line."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, get_args

from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_cells import check_storable
from profile_history.jobs.sources.base import Source
from profile_history.jobs.sources.csv_file import CsvSource
from profile_history.jobs.sources.files import File, Place, Stream
from profile_history.jobs.sources.lines import NdjsonSource, TextSource
from profile_history.jobs.sources.parquet import ParquetSource
from profile_history.jobs.sources.sql import DuckdbSource, PostgresSource
from profile_history.matching import Matching
from profile_history.sinks.postgres_address import hide_secrets, is_server
from profile_history.sinks.schemes import check_path

Format: TypeAlias = Literal["text", "csv", "ndjson", "parquet"]

_FORMATS: dict[str, Format] = {
    "": "text",
    ".txt": "text",
    ".text": "text",
    ".list": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
_PACKED = (".gz", ".zst")
_DUCKDB = "duckdb:"


def source_of(
    text: str,
    *,
    matching: Matching | str | None = None,
    column: str | None = None,
    format: Format | None = None,  # noqa: A002 (it is what everybody calls it)
    query: str | None = None,
    delimiter: str | None = None,
    stdin: BinaryIO | None = None,
) -> Source:
    r"""Return the source that a text means, such as the argument of a command line.

    It is looked at right away, so this blocks: a file has to be there, a database to be up, and their columns to fit.
    stdin and pipes are not read before `Source.lines`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "clients.csv")
    >>> _ = path.write_text("name,email\nJohn,john@example.com\n")
    >>> for line in source_of(str(path), matching="email").lines():
    ...     print(line.number, line.profile)
    2 email:john@example.com

    Args:
        text: "-" for stdin; `postgresql://...`; `duckdb:PATH`, or a path that ends in .duckdb; or the path of a file,
            whose ending tells the format: .csv, .tsv, .ndjson, .jsonl, .parquet, .txt or none. Text, CSV and NDJSON
            may be compressed with gzip or zstd.
        matching: The matching mode, or `custom:FIELD_NAME` if the values are those of that field alone. CSV, Parquet
            and queries can do without if there are columns `matching` and `value`, NDJSON if its objects name theirs.
        column: The column that holds the value, for CSV, Parquet and queries.
        format: How a file is read, whatever its name is; for stdin text, unless CSV or NDJSON is asked for.
        query: The SELECT for DuckDB or PostgreSQL.
        delimiter: What stands between the cells of a CSV file, one character or "tab"; otherwise its first line tells.
        stdin: The stream of bytes that "-" means.

    Returns:
        The source, of which nothing but its first lines was read.

    Raises:
        ConfigurationError: Something is missing, or given in vain, or wrong; the message says what to pass.
        SourceError: It cannot be opened.
    """
    check_storable(matching=matching, column=column, query=query)
    if format not in (None, *get_args(Format)):
        raise ConfigurationError(f"no format {format!r}; there are {', '.join(get_args(Format))}")
    text = hide_secrets(text)
    if is_server(text) or text.startswith(_DUCKDB) or text.endswith(".duckdb"):
        _forbid("a database", format=format, delimiter=delimiter)
        return _database(text, query, matching, column)
    check_path(text, "source")
    _forbid("a file", query=query)
    return _file(text, _place(text, stdin), format, matching, column, delimiter)


def _database(text: str, query: str | None, matching: Matching | str | None, column: str | None) -> Source:
    if query is None:
        raise ConfigurationError("a database needs a query; pass a SELECT whose rows are the profiles")
    if is_server(text):
        return _check_source(PostgresSource(text, query, matching, column))
    return _check_source(DuckdbSource(text.removeprefix(_DUCKDB), query, matching, column))


def _file(
    text: str,
    place: Place,
    format: Format | None,  # noqa: A002 (as in `source_of`)
    matching: Matching | str | None,
    column: str | None,
    delimiter: str | None,
) -> Source:
    suffix = "" if isinstance(place, Stream) else _suffix(text)
    kind = format or _format_of(suffix)
    if kind == "csv":
        mark = "tab" if delimiter is None and suffix == ".tsv" else delimiter
        return _check_source(CsvSource(place, matching, column, mark))
    _forbid(kind, delimiter=delimiter)
    if kind == "parquet":
        return _check_source(ParquetSource(place, matching, column))
    _forbid(kind, column=column)
    if kind == "ndjson":
        return _check_source(NdjsonSource(place, matching))
    if matching is None:
        raise ConfigurationError(
            f"text needs a matching mode (--matching on the command line), one of {', '.join(Matching)}"
        )
    return _check_source(TextSource(place, matching))


def _place(text: str, stdin: BinaryIO | None) -> Place:
    if text != "-":
        file = File(Path(text))
        file.check_exists()
        return file
    if stdin is None:
        raise ConfigurationError("- means stdin, and there is none; pass stdin=, a stream of bytes")
    return Stream(stdin)


def _suffix(text: str) -> str:
    path = Path(text.lower())
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def _format_of(suffix: str) -> Format:
    if suffix not in _FORMATS:
        known = ", ".join(filter(None, _FORMATS))
        raise ConfigurationError(
            f"no format is known for {suffix}; name the file {known} or .duckdb, "
            f"or pass a format, one of {', '.join(get_args(Format))}"
        )
    return _FORMATS[suffix]


def _forbid(what: str, **options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigurationError(f"{what} takes no {name}; leave it out")


def _check_source(
    source: CsvSource | NdjsonSource | TextSource | ParquetSource | DuckdbSource | PostgresSource,
) -> Source:
    # What a look takes out of a pipe is gone.
    if source.repeatable:
        source.check()
    return source
