"""Find a client's address, token and database: in an argument, else in the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import attrs

from profile_history._certificates import read_certificates
from profile_history._checks import MOST, check_choice, check_flag, describe, expect
from profile_history._protocol.requests import PATH
from profile_history._route import DIRECT, Route, parse_proxy
from profile_history._secrets import SecretText, Token
from profile_history._text import NOT_IN_A_URL
from profile_history._token_file import FileToken
from profile_history.errors import ConfigurationError
from profile_history.options import Limits, RetryPolicy, Timeouts, WindowRule, parse_window_rule
from profile_history.windows import Border, Order

URL = "PROFILE_HISTORY_URL"
TOKEN = "PROFILE_HISTORY_TOKEN"
TOKEN_FILE = "PROFILE_HISTORY_TOKEN_FILE"
LIST_ID = "PROFILE_HISTORY_LIST_ID"
PROXY = "PROFILE_HISTORY_PROXY"
CA = "PROFILE_HISTORY_CA"
# What curl and others read, and what a variable of this kind may be called; ours have names of their own, so that a
# proxy for something else never gets to see the token.
_PROXIES_OF_OTHERS = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")

# An address may hold a password by mistake.
_SECRETS = frozenset({TOKEN, PROXY, URL})

_EXAMPLE = "https://ru.altkraft.com"


class Variables(Protocol):
    """The part of a mapping from names to texts that is asked of an environment."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a variable, `None` if it is not set."""


class Environment:
    """The process' environment, which holds the token.

    It is no mapping: crash reporters such as Sentry's print mappings among the local variables item by item.
    """

    def get(self, name: str, /) -> str | None:
        """Return the value of a variable, `None` if it is not set."""
        value = os.environ.get(name)
        return SecretText(value) if value is not None and name in _SECRETS else value

    def __repr__(self) -> str:
        return "<environment>"


def resolve_endpoint(base_url: str | None, environ: Variables, *, allow_http: bool) -> str:
    """Return the address that requests go to.

    Args:
        base_url: Scheme and host, perhaps a port and a path in front of the API's own; `None` for the environment's.
        environ: The environment.
        allow_http: Whether plain `http` may leave this machine.

    Raises:
        ConfigurationError: There is none, or it is not fit to carry a token.
    """
    check_flag("allow_http", allow_http)
    base_url = base_url if base_url is not None else environ.get(URL)
    if not base_url or not isinstance(base_url, str):
        raise ConfigurationError(f'the base URL is missing; pass one such as "{_EXAMPLE}", or set {URL}')
    base_url = SecretText(base_url)
    # Raised here and not where the parts are seen: a refused address may hold a password.
    if (objection := _objection(base_url, allow_http=allow_http)) is not None:
        raise ConfigurationError(objection)
    parts = urlsplit(str(base_url))
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{PATH}"


def _objection(text: str, *, allow_http: bool) -> str | None:
    try:
        parts = urlsplit(str(text))
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        return f'the base URL cannot be read; pass one such as "{_EXAMPLE}"'
    if "@" in parts.netloc:
        return "the base URL holds a user name or password; pass the token as token="
    if NOT_IN_A_URL.search(text):
        return f'the base URL holds a blank, a line end or a backslash; pass one such as "{_EXAMPLE}"'
    if parts.scheme not in ("http", "https") and text.startswith(f"{parts.scheme}://"):
        return f'the base URL begins with https://, not {parts.scheme}://; pass one such as "{_EXAMPLE}"'
    if parts.scheme not in ("http", "https") or not host:
        return f'the base URL is no scheme and host; pass one such as "{_EXAMPLE}"'
    if parts.query or parts.fragment or "?" in text or "#" in text:
        return f'the base URL holds a query or fragment; pass scheme and host, as in "{_EXAMPLE}"'
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        return f"http would send the token to {host} in the clear; use https, or pass allow_http=True if that is meant"
    if "/api/v" in parts.path:
        return f"the base URL ends before {PATH}, which is added; leave it out"
    return None


def resolve_token(explicit: str | None, file: Path | str | None, environ: Variables) -> Token:
    """Return the token: from an argument, `PROFILE_HISTORY_TOKEN`, or the file that `..._TOKEN_FILE` names.

    Args:
        explicit: The token itself.
        file: The file that holds it.
        environ: The environment.

    Raises:
        ConfigurationError: There is none, there are two, or the file is not fit to hold one.
    """
    if explicit is not None and file is not None:
        raise ConfigurationError("pass token= or token_file=, not both")
    if file is not None:
        return FileToken(_path("token_file", file))
    if explicit is not None:
        return Token(explicit)
    if (token := environ.get(TOKEN)) is not None:
        return Token(SecretText(token))
    if (named := environ.get(TOKEN_FILE)) is not None:
        return FileToken(_path(TOKEN_FILE, named))
    raise ConfigurationError(f"the token is missing; pass token= or token_file=, or set {TOKEN} or {TOKEN_FILE}")


def _path(name: str, value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value).strip():
        raise ConfigurationError(f"{name} is the path of the file that holds the token, not {describe(value)}")
    return Path(value)


def resolve_list_id(explicit: int | None, environ: Variables) -> int:
    """Return the number of the database.

    Args:
        explicit: The argument; `None` for the environment's.
        environ: The environment.

    Raises:
        ConfigurationError: There is none, or it is no whole number above 0.
    """
    value: object = explicit
    if value is None:
        text = environ.get(LIST_ID)
        if text is None:
            raise ConfigurationError(f"the list_id is missing; pass list_id=, or set {LIST_ID}")
        value = int(text) if re.fullmatch(r"[0-9]{1,18}", text.strip()) else text
    return check_list_id(value)


def check_list_id(value: Any) -> int:
    """Return the number of a database.

    Raises:
        ConfigurationError: It is no whole number above 0.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < MOST:
        raise ConfigurationError(f"list_id is a whole number above 0, such as 20, not {describe(value)}")
    return value


def resolve_route(
    proxy: str | None,
    ca: object,
    environ: Variables,
    *,
    url: str,
    allow_http: bool,
    own_session: bool = True,
) -> Route:
    """Return the way that connections take: from arguments, else from the environment.

    Args:
        proxy: The URL of a proxy, or "direct"; `None` for the environment's.
        ca: The path of a PEM file or a TLS context; `None` for the environment's file.
        environ: The environment.
        url: The address that requests go to.
        allow_http: Whether plain `http` may leave this machine.
        own_session: Whether the client makes its session; the caller's has connections of its own, whatever the
            environment says.

    Raises:
        ConfigurationError: An argument or variable is wrong, or goes with no session of the caller.
    """
    if not own_session:
        given = [name for name, value in (("proxy", proxy), ("ca", ca)) if value is not None and value != DIRECT]
        if given:
            raise ConfigurationError(
                f"session= and {' and '.join(f'{name}=' for name in given)} exclude each other; leave out session=, or "
                "make a session that connects so by itself"
            )
        return Route()
    address = None
    if proxy is not None:
        address = parse_proxy("proxy", proxy)
    elif named := environ.get(PROXY):
        address = parse_proxy(PROXY, SecretText(named))
    certificates = None
    if ca is not None:
        certificates = read_certificates("ca", ca)
    elif named := environ.get(CA):
        certificates = read_certificates(CA, named)
    if address is not None and url.startswith("http:") and not allow_http and not _is_loopback(address.host):
        raise ConfigurationError(
            f"http would send the token to the proxy {address} in the clear; use https, or pass allow_http=True if "
            "that is meant"
        )
    ignored = next((name for name in _PROXIES_OF_OTHERS if environ.get(name)), None)
    return Route(address, certificates, ignored)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_border(value: str) -> Border:
    border: Border = check_choice("border", value, Border)
    return border


def _check_order(value: str) -> Order:
    order: Order = check_choice("order", value, Order)
    return order


def _check_empty_data(value: str) -> Literal["error", "empty"]:
    meaning: Literal["error", "empty"] = check_choice("empty_data", value, ("error", "empty"))
    return meaning


@attrs.frozen
class ClientOptions:
    """The checked options of a client."""

    list_id: int = attrs.field(converter=check_list_id)
    window: WindowRule = attrs.field(converter=parse_window_rule)
    border: Border = attrs.field(converter=_check_border)
    order: Order = attrs.field(converter=_check_order)
    retry: RetryPolicy = attrs.field()
    timeouts: Timeouts = attrs.field()
    limits: Limits = attrs.field()
    empty_data: Literal["error", "empty"] = attrs.field(converter=_check_empty_data)

    @retry.validator
    @timeouts.validator
    @limits.validator
    def _check(self, attribute: attrs.Attribute[Any], value: object) -> None:
        wanted = {"retry": RetryPolicy, "timeouts": Timeouts, "limits": Limits}[attribute.name]
        expect(attribute.name, value, wanted)
