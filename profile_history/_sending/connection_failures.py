"""Make an error of ours of what aiohttp raises: who failed, the server or the proxy, and with what."""

from __future__ import annotations

import datetime as dt
import errno
import re
import socket
import ssl

import aiohttp
import yarl

from profile_history._protocol.error_rules import find_rules
from profile_history._protocol.responses import retry_after
from profile_history._route import ProxyAddress, Route
from profile_history.errors import (
    AttemptTimeout,
    ConnectionFailed,
    HistoryError,
    Kind,
    ProxyFailed,
    ResponseError,
    TransportError,
    TruncatedResponse,
    UntrustedServer,
)
from profile_history.options import Timeouts

_UNKNOWN_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
# What aiohttp says of the head of a response that is longer than it was told to accept.
_LONG_HEADERS = ("Got more than", "Too many headers")
_HANDSHAKE_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
# Of those that proxies ask for (RFC 9110, 11.1; RFC 4559), so that no text of a proxy has to be repeated.
_OTHER_SCHEMES = ("NTLM", "Negotiate", "Digest")
# RFC 9110, 11.6.1: the names of schemes are words that no "=" follows, outside quotes, as in
# `Digest realm="of Basic users", NTLM`.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCHEME = re.compile(r"(?:^|,)\s*([\w-]+)(?![\w-]|\s*=)")
_OUT_OF_RESOURCES = {
    errno.EMFILE: "this process may open no more files; raise its limit (ulimit -n)",
    errno.ENFILE: "this machine may open no more files",
    errno.EADDRNOTAVAIL: "this machine has no free port to connect from",
    errno.ENOBUFS: "this machine has no memory left for sockets",
}


def translate(error: Exception, url: yarl.URL, timeouts: Timeouts, route: Route, *, connected: bool) -> HistoryError:
    """Return the error of ours for one that aiohttp raised.

    Args:
        error: What it raised.
        url: The address of the request.
        timeouts: How long it could take, in seconds.
        route: The way to the server.
        connected: Whether there was a connection to the server when it failed.
    """
    proxy = route.proxy
    where = f"{_tell(url)}" + (f" through the proxy {proxy}" if proxy else "")
    kind = type(error).__name__
    match error:
        case UnicodeError() | aiohttp.InvalidURL():
            return _no_host(error, url, proxy)
        case aiohttp.ConnectionTimeoutError():
            late = f"no connection to {where} within {timeouts.connect:g} s"
            # It may be the server that is silent, but whoever waits for it is the proxy.
            return ProxyFailed(late, proxy.url) if proxy else _mention_variable(ConnectionFailed(late), route)
        case TimeoutError():
            return AttemptTimeout(
                f"{where} did not respond in time: {timeouts.read:g} s of silence or {timeouts.attempt:g} s in all"
            )
        case aiohttp.ClientHttpProxyError():
            return _refused_by_proxy(error, url, proxy)
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return _not_connected(error, url, where, route)
        case _ if proxy is not None and not connected:
            return _no_tunnel(error, url, proxy)
        case aiohttp.ClientPayloadError():
            return TruncatedResponse(f"the connection to {where} ended in the middle of the response")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            failure = ConnectionFailed(f"{where} closed the connection before its response was complete ({kind})")
            failure.connected = True
            return failure
        case aiohttp.ClientResponseError():
            long = any(words in error.message for words in _LONG_HEADERS)
            what = ": its headers are too long" if long else ""
            no_http = ResponseError(f"{where} responded with something that is no proper HTTP{what} ({kind})")
            no_http.kind = Kind.AMBIGUOUS
            return no_http
    return TransportError(f"the request to {where} failed ({kind})")


def is_hang_up(error: Exception) -> bool:
    """Tell whether the connection ended before a byte of a response arrived."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Otherwise it is the part of the response's head that did arrive.
        return isinstance(error.message, str)
    connecting = isinstance(error, aiohttp.ClientConnectorError)
    return isinstance(error, (aiohttp.ClientOSError, ConnectionError)) and not connecting


def final_kind(error: Exception) -> Kind | None:
    """Return the kind of a failure that does not pass if nothing ever worked, `None` for any other.

    An unknown host may be a hiccup of the name service. A proxy that refuses (403, 407) means what it says.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        passes = any(rule.retries for rule in find_rules(None, error.status))
        return None if passes else Kind.CALLER
    unknown = isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno in _UNKNOWN_HOST
    return Kind.AMBIGUOUS if unknown else None


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, url: yarl.URL, proxy: ProxyAddress | None) -> ProxyFailed:
    status = error.status
    # A session of the caller may have a proxy of its own, which we do not know.
    who = "the proxy of the session" if proxy is None else f"the proxy {proxy}"
    if status != 407:
        reason = f" when it was asked to connect to {_tell(url)}"
    elif (scheme := _unknown_scheme(error)) is not None:
        reason = f": it asks for {scheme}, and Basic is the only scheme that is known here"
    elif proxy is None or proxy.authorization is None:
        reason = ": it asks for a user name and a password; put them into the URL in PROFILE_HISTORY_PROXY"
    else:
        reason = ": it did not accept the user name and the password in its URL"
    failure = ProxyFailed(f"{who} responded with HTTP {status}{reason}", "" if proxy is None else proxy.url, status)
    failure.retry_after = retry_after(error.headers or {}, lambda: dt.datetime.now(dt.UTC))
    return failure


def _unknown_scheme(error: aiohttp.ClientHttpProxyError) -> str | None:
    headers = () if error.headers is None else error.headers.items()
    asked = ", ".join(value for name, value in headers if name.lower() == "proxy-authenticate")
    schemes = {scheme.lower() for scheme in _SCHEME.findall(_QUOTED.sub("", asked))}
    if not schemes or "basic" in schemes:
        return None
    return next((scheme for scheme in _OTHER_SCHEMES if scheme.lower() in schemes), "another scheme")


def _tell(url: yarl.URL) -> str:
    """Return host and port of an address as people write them."""
    host = url.host or ""
    return f"[{host}]:{url.port}" if ":" in host else f"{host}:{url.port}"


def _no_host(error: UnicodeError | aiohttp.InvalidURL, url: yarl.URL, proxy: ProxyAddress | None) -> ConnectionFailed:
    """Return the error of an address that looks like that of a host and can be none, such as 127.1 or 999.0.0.1."""
    wrong = "can be no host's name; check the address"
    failure = ConnectionFailed(f"{url.host} {wrong}")
    if proxy is not None and isinstance(error, aiohttp.InvalidURL) and str(error.url) == proxy.host:
        failure = ProxyFailed(f"{proxy.host}, the host of the proxy, {wrong}", proxy.url)
    failure.kind, failure.fatal = Kind.CALLER, True
    return failure


def _no_tunnel(error: Exception, url: yarl.URL, proxy: ProxyAddress) -> ProxyFailed:
    kind = type(error).__name__
    if not isinstance(error, aiohttp.ClientResponseError):
        message = f"the proxy {proxy} closed the connection before it had one to {_tell(url)} ({kind})"
        return ProxyFailed(message, proxy.url)
    no_http = ProxyFailed(f"the proxy {proxy} responded with something that is no proper HTTP ({kind})", proxy.url)
    no_http.kind = Kind.AMBIGUOUS
    return no_http


def _not_connected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError,
    url: yarl.URL,
    where: str,
    route: Route,
) -> ConnectionFailed:
    kind = type(error).__name__
    proxy = route.proxy
    if proxy is not None and _is_about(error, proxy):
        where = f"the proxy {proxy}"
    else:
        proxy = None
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "").rstrip(".") or kind
        return UntrustedServer(
            f"the TLS certificate of {where} was refused ({reason}); check the address, and pass its CA as ca= if that "
            "is a private one"
        )
    cause = error.os_error
    if isinstance(error, aiohttp.ClientSSLError) and not isinstance(cause, _HANDSHAKE_CUT):
        return UntrustedServer(f"no TLS with {where} ({kind}); check the address, and the versions both sides allow")
    if cause.errno in _OUT_OF_RESOURCES:
        return ConnectionFailed(f"no connection to {where}: {_OUT_OF_RESOURCES[cause.errno]}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        host = url.host if proxy is None else proxy.host
        message = (
            f"the host {host}{' of the proxy' if proxy else ''} was not found ({cause.strerror}); check the address"
        )
    else:
        cut = "it was closed while TLS was agreed on" if isinstance(cause, ConnectionResetError) else kind
        message = f"no connection to {where}: {cause.strerror or cut}"
    return _mention_variable(ConnectionFailed(message), route) if proxy is None else ProxyFailed(message, proxy.url)


def _is_about(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, proxy: ProxyAddress
) -> bool:
    url = yarl.URL(proxy.url)
    return (error.host, error.port) == (url.raw_host, url.port)


def _mention_variable(failure: ConnectionFailed, route: Route) -> ConnectionFailed:
    if route.proxy is None and route.ignored_variable is not None:
        failure.hint = (
            f"{route.ignored_variable} is set and changes nothing here; if the server is behind that proxy, pass it as "
            "proxy= (--proxy), or set PROFILE_HISTORY_PROXY"
        )
    return failure
