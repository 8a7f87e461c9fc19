"""The way to the server: straight or through a proxy, and trusting whom. No I/O."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit

import attrs

from profile_history._certificates import Certificates
from profile_history._secrets import SecretText
from profile_history._text import NOT_IN_A_URL
from profile_history.errors import ConfigurationError

DIRECT = "direct"
"""The word for no proxy, where the environment names one."""

_EXAMPLE = "http://proxy.example:3128"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class ProxyAddress:
    """The address of an HTTP proxy; it is told without the credentials.

    Attributes:
        scheme: How one speaks with the proxy itself, "http" or "https".
        host: Its host.
        port: Its port.
        authorization: The value of `Proxy-Authorization`, `None` if the proxy asks nobody who they are.
    """

    scheme: str
    host: str
    port: int
    authorization: SecretText | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return scheme, host and port."""
        return f"{self.scheme}://{self}"


@attrs.frozen
class Route:
    """The way that the connections of a client take.

    Attributes:
        proxy: The proxy that they go through, `None` for none.
        certificates: Whom they trust, `None` for the system's store.
        ignored_variable: The environment's variable that names a proxy to other programs, `None` if there is none.
    """

    proxy: ProxyAddress | None = None
    certificates: Certificates | None = attrs.field(default=None, eq=False)
    ignored_variable: str | None = None


def parse_proxy(name: str, value: object) -> ProxyAddress | None:
    """Return the address of a proxy, `None` for "direct".

    Args:
        name: The argument or variable that it stands in.
        value: Scheme, host and port, perhaps with a user name and a password in front of the host.

    Raises:
        ConfigurationError: It is no such address. The message holds nothing of it.
    """
    if value == DIRECT:
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f'{name} is the URL of a proxy, such as "{_EXAMPLE}", not {type(value).__name__}')
    text = SecretText(value)
    address = _parse(text)
    # Raised here and not where the parts are seen: they may hold a password.
    if isinstance(address, str):
        raise ConfigurationError(f"{name} {address}")
    return address


def _parse(text: SecretText) -> ProxyAddress | str:
    """Return the address, or what is wrong with the text."""
    if NOT_IN_A_URL.search(text):
        return (
            "holds a blank, a line end, a control character or a backslash; leave it out, or write it as %XX if it "
            "belongs to a user name or a password"
        )
    try:
        parts = urlsplit(str(text))
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        return (
            f'cannot be read; pass scheme, host and port, such as "{_EXAMPLE}", with any of :/?#[]@% in a user name or '
            "a password as %XX"
        )
    if parts.scheme.startswith("socks"):
        return f'names a SOCKS proxy, which is not supported; pass an HTTP proxy, such as "{_EXAMPLE}"'
    if parts.scheme not in _PORTS or not host or not parts.netloc:
        return f'is no URL of an HTTP proxy; pass scheme, host and port, such as "{_EXAMPLE}"'
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        return f'holds more than scheme, host and port; pass them alone, as in "{_EXAMPLE}"'
    if port == 0:
        return f'holds the port 0, where nothing listens; pass a URL such as "{_EXAMPLE}"'
    authorization = None
    if parts.username or parts.password:
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        # RFC 7617, section 2: the first colon ends the user name, and neither has control characters.
        if ":" in user:
            return "holds a user name with a colon, which HTTP cannot send; use another one"
        if _CONTROL.search(user + password):
            return "holds a control character, such as %0A, in its user name or password; leave it out"
        # Bytes of the environment that are no UTF-8 go out as they are (PEP 383).
        pair = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
        authorization = SecretText(f"Basic {pair}")
    return ProxyAddress(parts.scheme, host, port or _PORTS[parts.scheme], authorization)
