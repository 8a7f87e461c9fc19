"""The address of a PostgreSQL server, read as libpq reads it, and told without a password. No I/O.

An address in which a character of the password was not escaped can be read in two ways, and would show a part of the
password as the name of a host or a database. So one that is not plain is refused, and no message repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import attrs

from profile_history._secrets import SecretText
from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError

_SCHEMES = ("postgresql", "postgres")
_HOST = re.compile(r"(?:\[([^\[\]@]+)\]|([^\[\]:@]*))(?::(\d*))?")
_HALF_ESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_FIELDS = ("user", "host", "port", "dbname")
_SECRETS = re.compile("password|secret|scram_(client|server)_key", re.IGNORECASE)
_UNREADABLE: Final = (
    "the address of PostgreSQL cannot be read; write postgresql://user@host:5432/database, with any of :/?#[]@% in a "
    "name or a password as %XX"
)

# What may be typed by mistake where an address is asked for.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_PARAMETERS = re.compile(r"\s*(host|hostaddr|port|dbname|user|service|passfile|ssl\w*|\w*password)\s*=", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"(?:^|[\s?&])(?:\w*password|\w*secret|scram_\w+_key)\s*=", re.IGNORECASE)


@attrs.frozen
class ServerAddress:
    """The address of a database.

    Attributes:
        user: Who asks, or "".
        host: The host or the directory of the socket, several with commas between them, or "".
        port: The port, likewise.
        dbname: The database, or "".
        parameters: All other parameters but secrets.
        secrets: The secrets, such as the password.
    """

    user: str
    host: str
    port: str
    dbname: str
    parameters: Mapping[str, str]
    secrets: Mapping[str, SecretText] = attrs.field(repr=False)

    @property
    def url(self) -> str:
        """Return the address without parameters and secrets."""
        hosts, ports = self.host.split(","), self.port.split(",")
        if len(ports) != len(hosts):
            ports = ports[:1] * len(hosts)
        places = ",".join(map(_join_host, hosts, ports))
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"postgresql://{user}{places}/{quote(self.dbname, safe='')}"

    def settings(self) -> dict[str, str]:
        """Return all parameters as libpq takes them, with the secrets."""
        named = {name: getattr(self, name) for name in _FIELDS}
        return {**{name: value for name, value in named.items() if value}, **self.parameters, **self.secrets}


def is_server(text: str) -> bool:
    """Return whether a text is an address of PostgreSQL, and no path."""
    return text.partition("://")[0].lower() in _SCHEMES and "://" in text


def hide_secrets(text: str) -> str:
    """Return a text that prints as nothing if it may hold a password: a traceback shows local variables.

    Args:
        text: A path or an address.
    """
    return SecretText(text) if "://" in text else text


def read_address(text: str) -> ServerAddress:
    """Return an address, taken apart.

    Args:
        text: A URL, or parameters as libpq takes them, for which psycopg is needed.

    Raises:
        ConfigurationError: It cannot be read, or in two ways. The message holds nothing of it.
    """
    text = SecretText(text)
    found = None
    if text == escape_surrogates(text):
        found = _read_url(text) if is_server(text) else _read_parameters(text)
    if found is None:
        # No frame that holds a part of the text is left by now.
        raise ConfigurationError(_UNREADABLE)
    return found


def holds_secret(text: str) -> bool:
    """Return whether a text holds the password of a database, or may hold one.

    Args:
        text: What somebody typed where a path or an address is asked for.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() not in {"http", "https"}:
        rest = text[scheme.end() :]
        before, at, _ = rest.lstrip("/").rpartition("@")
        if at and ":" in unquote(before) and (rest.startswith("/") or scheme[1].lower().startswith("postgres")):
            return True
        return rest.startswith("/") and _SECRET_PARAMETER.search(unquote(rest)) is not None
    return _PARAMETERS.match(text) is not None and _SECRET_PARAMETER.search(text) is not None


def without_secrets(error: BaseException) -> BaseException:
    """Return an error of psycopg without the frames that it came through: their local variables hold the password.

    Args:
        error: The error; what caused it loses its frames, too.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        if (found := pending.pop()) is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            pending += [found.__cause__, found.__context__]
    return error


def _read_url(text: str) -> ServerAddress | None:
    rest = text.partition("://")[2]
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    if rest.count("@") != authority.count("@") or "@" in userinfo or _HALF_ESCAPED.search(rest) or "#" in database:
        return None
    user, has_password, password = userinfo.partition(":")
    matches = [_HOST.fullmatch(host) for host in hosts.split(",")]
    pairs = [parameter.partition("=") for parameter in query.split("&") if parameter]
    if not all(matches) or not all(mark for _, mark, _ in pairs):
        return None
    ports = [match[3] or "" for match in matches if match]
    given = {
        "user": unquote(user),
        "host": ",".join(unquote(match[1] or match[2]) for match in matches if match),
        "port": ",".join(ports) if any(ports) else "",
        "dbname": unquote(database),
        **({"password": unquote(password)} if has_password else {}),
        **{unquote(name): unquote(value) for name, _, value in pairs},
    }
    if given.get("ssl") == "true":
        # As other drivers write it, and libpq takes it.
        del given["ssl"]
        given.setdefault("sslmode", "require")
    return _build_address(given)


def _read_parameters(text: str) -> ServerAddress | None:
    import psycopg  # noqa: PLC0415 (it comes with an extra)
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        given = conninfo_to_dict(text)
    except psycopg.Error:
        # What the library says may repeat the password.
        return None
    return _build_address({name: str(value) for name, value in given.items() if value is not None})


def _build_address(given: Mapping[str, str]) -> ServerAddress | None:
    user, host, port, dbname = (given.get(name, "") for name in _FIELDS)
    if "@" in host.lstrip("@") or "@" in dbname:
        return None
    others = {name: value for name, value in given.items() if name not in _FIELDS}
    secrets = {name: SecretText(value) for name, value in others.items() if _SECRETS.search(name)}
    parameters = {name: value for name, value in others.items() if name not in secrets}
    return ServerAddress(user, host, port, dbname, parameters, secrets)


def _join_host(host: str, port: str) -> str:
    shown = f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
    return f"{shown}:{port}" if port else shown
