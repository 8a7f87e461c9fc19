"""Profiles from a query to DuckDB or PostgreSQL; they need the extras `duckdb` and `postgres`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import attrs

from profile_history._extras import require
from profile_history._secrets import SecretText
from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_cells import check_storable
from profile_history.jobs.sources.base import SourceError, format_url
from profile_history.jobs.sources.columns import Mode, mode_or_none
from profile_history.jobs.sources.files import File, file_of
from profile_history.jobs.sources.table import TableSource
from profile_history.sinks.postgres_address import read_address, without_secrets
from profile_history.sinks.postgres_settings import READING, apply_settings

# Rows that are fetched at once: one trip to the server each.
_ROWS = 1 << 13
_SECONDS_TO_CONNECT = 10
_TIMES = ("date", "timestamp", "timestamptz", "time", "timetz", "interval")


@attrs.frozen
class DuckdbSource(TableSource):
    """The rows of a query to a DuckDB file, which is opened for reading only.

    Attributes:
        place: The file, a path when it is passed.
        query: One SELECT.
        mode: The matching mode; `None` if each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none is given.
    """

    place: File = attrs.field(converter=file_of)
    query: str
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    @property
    def url(self) -> str:
        """Return the file, the query, and how its rows are read."""
        return format_url(f"duckdb:{self.place}", matching=self.mode, column=self.column, query=self.query)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        duckdb = require("duckdb", "duckdb", "DuckDB files need duckdb")
        self.place.check_exists()
        check_storable(**{"the path of the DuckDB file": str(self.place.path)})
        try:
            with closing(duckdb.connect(self.place.path, read_only=True)) as connection:
                # A table in the query is never a variable of this program.
                connection.execute("SET python_enable_replacements = false")
                yield connection
        except duckdb.ProgrammingError as error:
            raise ConfigurationError(f"{self.place} does not take the query: {_on_one_line(error)}") from None
        except duckdb.Error as error:
            raise SourceError(f"{self.place} cannot be read: {_on_one_line(error)}") from None

    def _columns_of(self, opened: Any) -> Sequence[str]:
        # Of statements, DESCRIBE takes queries only, and runs none.
        return [row[0] for row in opened.execute(f"DESCRIBE {self.query}").fetchall()]

    def _read(self, opened: Any, places: Sequence[int]) -> Iterator[Sequence[object]]:
        return _fetch_rows(opened.execute(self.query), places)


@attrs.frozen
class PostgresSource(TableSource):
    """The rows of a query to a PostgreSQL database, in a transaction for reading only, some thousands at a time.

    Attributes:
        dsn: Where, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; what is left out comes from the environment, as
            for psql.
        query: One SELECT.
        mode: The matching mode; `None` if each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none is given.
    """

    dsn: str = attrs.field(repr=False)
    query: str
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    def __init__(self, dsn: str, query: str, matching: Mode | str | None = None, column: str | None = None) -> None:
        # What prints local variables, as crash reporters do, does not see it.
        dsn = SecretText(dsn)
        self.__attrs_init__(dsn, query, matching, column)  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """Return the database without its password, the query, and how its rows are read."""
        return format_url(self._place(), matching=self.mode, column=self.column, query=self.query)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        psycopg = require("psycopg", "postgres", "PostgreSQL needs psycopg")
        place = self._place()
        try:
            given = {**self._connect_timeout(), **read_address(self.dsn).settings(), "client_encoding": "utf8"}
            with closing(psycopg.connect(**given, autocommit=True)) as connection:
                apply_settings(connection, READING)
                connection.autocommit = False
                connection.read_only = True
                for kind in _TIMES:
                    # As they are written: Python has no infinity of days, and hardly a query needs them.
                    connection.adapters.register_loader(kind, psycopg.types.string.TextLoader)
                # A cursor with a name stands in the server, which sends its rows as they are fetched.
                with connection.cursor("profile_history_source") as cursor:
                    cursor.execute(self.query)
                    yield cursor
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise ConfigurationError(f"{place} does not take the query: {_on_one_line(error)}") from None
        except psycopg.Error as error:
            raise SourceError(f"{place} cannot be read: {_on_one_line(error)}") from None

    def _columns_of(self, opened: Any) -> Sequence[str]:
        return [column.name for column in opened.description]

    def _read(self, opened: Any, places: Sequence[int]) -> Iterator[Sequence[object]]:
        return _fetch_rows(opened, places)

    def _connect_timeout(self) -> dict[str, int]:
        given = "connect_timeout" in read_address(self.dsn).parameters
        return {} if given else {"connect_timeout": _SECONDS_TO_CONNECT}

    def _place(self) -> str:
        found = read_address(self.dsn)
        rest = "&".join(f"{key}={value}" for key, value in sorted(found.parameters.items()))
        return f"{found.url}{rest and '?' + rest}"


def _on_one_line(error: Exception) -> str:
    # Databases show the place in the query by lines of their own, each version in another form.
    return " ".join(str(without_secrets(error)).split())


def _fetch_rows(result: Any, places: Sequence[int]) -> Iterator[Sequence[object]]:
    while rows := result.fetchmany(_ROWS):
        yield from ([row[place] for place in places] for row in rows)
