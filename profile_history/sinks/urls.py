"""The text that names a sink, such as `lake.parquet?partition=month`, and the ledger that stands beside it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, unquote_plus

import attrs

from profile_history._extras import require
from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError
from profile_history.sinks.base import Sink, list_some
from profile_history.sinks.postgres_address import hide_secrets, holds_secret, is_server, read_address
from profile_history.sinks.schemes import check_path

# The table if the address names none.
_TABLE = "history"


@attrs.frozen
class _SinkKind:
    """A kind of sink: its class, what it needs, and which options it takes."""

    module: str
    name: str
    extra: str = "arrow"
    options: tuple[str, ...] = ()
    is_file: bool = False

    def make(self, place: str, options: Mapping[str, str]) -> Sink:
        if unknown := sorted(options.keys() - set(self.options)):
            there = f"there is {' and '.join(self.options)}" if self.options else "it has none"
            raise ConfigurationError(f"{place}: unknown option {list_some(unknown)}; {there}")
        module = require(f"profile_history.sinks.{self.module}", self.extra)
        return cast("Sink", getattr(module, self.name)(place, **options))


_NDJSON = _SinkKind("ndjson", "NdjsonSink", extra="", is_file=True)
_CSV = _SinkKind("csv_file", "CsvSink", options=("formulas",), is_file=True)
_PARQUET = _SinkKind("parquet", "ParquetSink", options=("partition",))
_DUCKDB = _SinkKind("duckdb", "DuckDBSink", "duckdb", options=("table",))
_POSTGRESQL = _SinkKind("postgresql", "PostgresSink", "postgres", options=("table",))

_SUFFIXES = {
    ".ndjson": _NDJSON,
    ".jsonl": _NDJSON,
    ".csv": _CSV,
    ".parquet": _PARQUET,
    "/": _PARQUET,
    ".duckdb": _DUCKDB,
}
_PACKED = (".gz", ".zst")


def sink_of(url: str) -> Sink:
    """Return the sink that a text names.

    | text | what it is |
    |---|---|
    | `history.ndjson`, `history.jsonl` | rows as the server wrote them, one per line |
    | `history.csv` | CSV; `?formulas=keep` leaves texts as they are that a spreadsheet takes for formulas |
    | `lake.parquet`, `lake/` | a directory of Parquet files; `?partition=month`, `day`, or `hash:N` of the profile |
    | `history.duckdb` | a table of a DuckDB database; `?table=NAME` |
    | `postgresql://host/database` | a table of a PostgreSQL database; `?table=NAME` |

    `.gz` or `.zst` behind `.ndjson`, `.jsonl` or `.csv` compresses.

        >>> from profile_history.sinks import sink_of
        >>> type(sink_of("lake.parquet?partition=month")).__name__
        'ParquetSink'
        >>> sink_of("/data/history.duckdb").url
        '/data/history.duckdb?table=history'

    Args:
        url: The text.

    Raises:
        ConfigurationError: It names no sink, an option is unknown, or a library is missing.
    """
    url = hide_secrets(url)
    if is_server(url):
        dsn, table = table_on_server(url)
        _check_utf8("table", table)
        return _POSTGRESQL.make(dsn, {"table": table})
    path, _, query = url.partition("?")
    _check_utf8("output", Path(path).name + query)
    return _kind(path).make(path, _options(query, url))


def _check_utf8(what: str, name: str) -> None:
    """Check a name that ledgers and databases keep as UTF-8.

    Args:
        what: What is named, for the message.
        name: The name.

    Raises:
        ConfigurationError: It is no UTF-8.
    """
    if name != escape_surrogates(name):
        raise ConfigurationError(f"the name of the {what} is no UTF-8: {name!r}; choose another one")


def ledger_beside(url: str) -> Path:
    """Return where the ledger of a job is that fills a file or directory: beside it.

    Args:
        url: The text that names the sink, which is no server.

    Raises:
        ConfigurationError: It names no sink.
    """
    place = url.partition("?")[0]
    _kind(place)
    path = Path(place)
    return path.with_name(f"{path.name}.ledger")


def identity(url: str) -> Hashable:
    """Return what a text means, however it is spelled: two texts of one sink have one identity.

    Args:
        url: The `url` of a sink.
    """
    if is_server(url):
        dsn, table = table_on_server(url)
        _check_utf8("table", table)
        return "server", read_address(dsn).url, table
    if (kind := _kind_or_none(url)) is None:
        return url
    place, _, query = url.partition("?")
    path = Path(place).absolute()
    # The name itself may be a link: it is the name that the sink writes to.
    return kind, os.path.realpath(path.parent), path.name, _option_set(query, url)


def shape(url: str) -> Hashable | None:
    """Return what has to stay the same when another place takes that of a sink; `None` if no other place can.

    These are the kind and the options. The name of a single file stands in the ledger's list of parts, too.

    Args:
        url: The `url` of a sink.
    """
    if is_server(url):
        return "server", table_on_server(url)[1]
    if (kind := _kind_or_none(url)) is None:
        return None
    place, _, query = url.partition("?")
    return kind, Path(place).name if kind.is_file else None, _option_set(query, url)


def directory_of(url: str) -> Path | None:
    """Return the directory to which the names of a sink's parts are relative; `None` for a sink without files of ours.

    Args:
        url: The `url` of a sink.
    """
    kind = None if is_server(url) else _kind_or_none(url)
    path = Path(url.partition("?")[0])
    return path.parent if kind is not None and kind.is_file else path if kind is _PARQUET else None


def is_single_file(url: str) -> bool:
    """Return whether a sink is one file, which has another name until nothing is left to fetch.

    Args:
        url: The `url` of a sink.
    """
    kind = None if is_server(url) else _kind_or_none(url)
    return kind is not None and kind.is_file


def has_columns(url: str) -> bool:
    """Return whether the files of a sink have columns, which stay as they were begun.

    Args:
        url: The text that names it.
    """
    return _kind_or_none(url) in {_CSV, _PARQUET}


def _kind_or_none(url: str) -> _SinkKind | None:
    try:
        return _kind(url.partition("?")[0])
    except ConfigurationError:
        return None


def _option_set(query: str, place: str) -> frozenset[tuple[str, str]]:
    return frozenset(_options(query, place).items())


def table_on_server(url: str) -> tuple[str, str]:
    """Return the address of a server without our own option, and the name of the table.

    Args:
        url: The address, with the table.
    """
    place, _, query = url.partition("?")
    options = [option.partition("=") for option in query.split("&") if option]
    tables = [unquote_plus(value) for name, mark, value in options if name == "table" and mark]
    rest = "&".join(name + mark + value for name, mark, value in options if name != "table" or not mark)
    return hide_secrets(f"{place}?{rest}" if rest else place), (tables or [_TABLE])[-1]


def _options(query: str, place: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ConfigurationError(f"{place}: options are written as ?name=value, with & between them") from None


def _kind(path: str) -> _SinkKind:
    check_path(path, "sink")
    # A compressed file is the kind of what is in it; a directory is never compressed as a whole.
    bare = path.removesuffix(Path(path).suffix) if path.endswith(_PACKED) else path
    for suffix, kind in _SUFFIXES.items():
        if (bare if kind.is_file else path).endswith(suffix) and Path(path).name not in {"", suffix, ".", ".."}:
            return kind
    if _is_dataset(Path(path)):
        return _PARQUET
    shown = "this text" if holds_secret(path) else repr(path)
    raise ConfigurationError(
        f"{shown} names no sink; a name ends in .ndjson, .jsonl or .csv, or one of these and {' or '.join(_PACKED)}, "
        "in .parquet or / for a directory of Parquet files, or in .duckdb; or it is postgresql://host/database"
    )


def _is_dataset(path: Path) -> bool:
    """Return whether a name without a slash behind it means a directory of Parquet files, as that with one does."""
    if path.name in {"", ".", ".."} or path.suffix:
        return False
    # Unlike the methods of a path, these say no to a name that is too long for the system.
    return os.path.isdir(path) or os.path.isfile(f"{path}.ledger")  # noqa: PTH112, PTH113
