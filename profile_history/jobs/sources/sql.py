"""Profiles from a query to DuckDB or PostgreSQL; they need the extras `duckdb` and `postgres`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import attrs

from profile_history._secrets import SecretText
from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_cells import check_storable
from profile_history.jobs.sources.base import Line, SourceError, format_url, parse_line
from profile_history.jobs.sources.columns import Mode, cells_of, mode_or_none
from profile_history.jobs.sources.files import File, file_of
from profile_history.sinks.postgres_address import read_address, without_secrets
from profile_history.sinks.postgres_settings import READING, apply_settings

_ROWS = 1 << 13
_SECONDS_TO_CONNECT = 10
_TIMES = ("date", "timestamp", "timestamptz", "time", "timetz", "interval")

Rows: TypeAlias = Iterator[Sequence[object]]


@attrs.frozen
class DuckdbSource:
    """The rows of a query to a DuckDB file, which is opened for reading only.

    Attributes:
        place: The file, a path when it is passed.
        query: One SELECT.
        mode: The matching mode; None where each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none
            is given.
    """

    place: File = attrs.field(converter=file_of)
    query: str
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    repeatable = True

    @property
    def url(self) -> str:
        """The file, the query, and how its rows are read."""
        return format_url(f"duckdb:{self.place}", matching=self.mode, column=self.column, query=self.query)

    def check(self) -> None:
        """Looks at the columns of the query.

        Raises:
            ConfigurationError: It is wrong, or the columns that are needed are not there.
            SourceError: The file cannot be opened.
        """
        with self._open() as connection:
            cells_of(self._columns(connection), self.mode, self.column)

    def lines(self) -> Iterator[Line]:
        """The entries by the number of their row."""
        with self._open() as connection:
            columns = self._columns(connection)
            yield from _entries(columns, _fetch_rows(connection.execute(self.query)), self.mode, self.column)

    def _columns(self, connection: Any) -> list[str]:
        # Of statements, DESCRIBE takes queries only, and runs none.
        return [row[0] for row in connection.execute(f"DESCRIBE {self.query}").fetchall()]

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            import duckdb  # noqa: PLC0415 (it comes with an extra)
        except ModuleNotFoundError:
            raise ConfigurationError(
                'DuckDB files need duckdb: python -m pip install "profile-history[duckdb]"'
            ) from None
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


@attrs.frozen
class PostgresSource:
    """The rows of a query to a PostgreSQL database, in a transaction for reading only, some thousands at a time.

    Attributes:
        dsn: Where, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; what is left out comes from the environment, as
            for psql.
        query: One SELECT.
        mode: The matching mode; None where each row names its own in a column `matching`, beside `value`.
        column: The column that holds the value; `columns.cells_of` says which it is if none
            is given.
    """

    dsn: str = attrs.field(repr=False)
    query: str
    mode: Mode | None = attrs.field(default=None, converter=mode_or_none, alias="matching")
    column: str | None = None

    repeatable = True

    def __init__(self, dsn: str, query: str, matching: Mode | str | None = None, column: str | None = None) -> None:
        # What prints local variables, as crash reporters do, does not see it.
        dsn = SecretText(dsn)
        self.__attrs_init__(dsn, query, matching, column)  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """The database without its password, the query, and how its rows are read."""
        return format_url(self._place(), matching=self.mode, column=self.column, query=self.query)

    def check(self) -> None:
        """Looks at the columns of the query.

        Raises:
            ConfigurationError: It is wrong, or the columns that are needed are not there.
            SourceError: The database cannot be reached.
        """
        with self._run_query() as cursor:
            cells_of(_names(cursor), self.mode, self.column)

    def lines(self) -> Iterator[Line]:
        """The entries by the number of their row."""
        with self._run_query() as cursor:
            yield from _entries(_names(cursor), _fetch_rows(cursor), self.mode, self.column)

    @contextmanager
    def _run_query(self) -> Iterator[Any]:
        psycopg = _psycopg()
        place = self._place()
        try:
            given = {**self._patience(), **read_address(self.dsn).settings(), "client_encoding": "utf8"}
            with closing(psycopg.connect(**given, autocommit=True)) as connection:
                apply_settings(connection, READING)
                connection.autocommit = False
                connection.read_only = True
                for kind in _TIMES:
                    # As they are written: Python has no infinity of days, and hardly a query needs them.
                    connection.adapters.register_loader(kind, psycopg.types.string.TextLoader)
                with connection.cursor("profile_history_source") as cursor:
                    cursor.execute(self.query)
                    yield cursor
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise ConfigurationError(f"{place} does not take the query: {_on_one_line(error)}") from None
        except psycopg.Error as error:
            raise SourceError(f"{place} cannot be read: {_on_one_line(error)}") from None

    def _patience(self) -> dict[str, int]:
        given = "connect_timeout" in read_address(self.dsn).parameters
        return {} if given else {"connect_timeout": _SECONDS_TO_CONNECT}

    def _place(self) -> str:
        found = read_address(self.dsn)
        rest = "&".join(f"{key}={value}" for key, value in sorted(found.parameters.items()))
        return f"{found.url}{rest and '?' + rest}"


def _psycopg() -> Any:
    try:
        import psycopg  # noqa: PLC0415 (it comes with an extra)
    except ModuleNotFoundError:
        raise ConfigurationError(
            'PostgreSQL needs psycopg: python -m pip install "profile-history[postgres]"'
        ) from None
    return psycopg


def _on_one_line(error: Exception) -> str:
    # Databases show the place in the query by lines of their own, each version in another form.
    return " ".join(str(without_secrets(error)).split())


def _names(cursor: Any) -> list[str]:
    return [column.name for column in cursor.description]


def _fetch_rows(result: Any) -> Rows:
    while rows := result.fetchmany(_ROWS):
        yield from rows


def _entries(columns: Sequence[str], rows: Rows, mode: Mode | None, column: str | None) -> Iterator[Line]:
    cells = cells_of(columns, mode, column)
    for number, row in enumerate(rows, 1):
        values = [row[place] for place in cells.places]
        yield parse_line(number, values, cells.build, *values)
