"""Send one HTTP attempt and read its complete response. The only module that knows aiohttp."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import platform
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import attrs
import yarl

from profile_history._aio import require_loop
from profile_history._protocol.responses import Reply
from profile_history._secrets import SecretBytes, SecretText, Token
from profile_history.errors import (
    AttemptTimeout,
    ConnectionFailed,
    HistoryError,
    Kind,
    ResponseError,
    ResponseTooLarge,
    TransportError,
    TruncatedResponse,
    UntrustedServer,
    UsageError,
)
from profile_history.options import Timeouts
from profile_history.version import __version__

USER_AGENT = f"profile-history/{__version__} (python {platform.python_version()}; aiohttp {aiohttp.__version__})"

_FIXED_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT}

# Bytes; shorter parts are joined, since each one costs the reader of the envelope a step. As much as aiohttp buffers.
_LEAST_PART = 64 * 1024
_UNKNOWN_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_HANDSHAKE_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_OUT_OF_RESOURCES = {
    errno.EMFILE: "this process may open no more files; raise its limit (ulimit -n)",
    errno.ENFILE: "this machine may open no more files",
    errno.EADDRNOTAVAIL: "this machine has no free port to connect from",
    errno.ENOBUFS: "this machine has no memory left for sockets",
}


@attrs.define
class _Wire:
    """The fate of one attempt's connection."""

    reused: bool = False
    responded: bool = False


# By the context of the task that sends, since a connector is not told for whom it connects; a `TraceConfig` would do as
# well, at a tenth of the price of a small request.
_wire: contextvars.ContextVar[_Wire] = contextvars.ContextVar("_wire")


class Transport:
    """One session, made in the event loop that first uses it, or one that the caller keeps and closes.

    Args:
        url: The address that requests are sent to.
        token: The token, or `None` if the caller's session sends it.
        session: The caller's session, or `None` to make one.
    """

    def __init__(self, url: yarl.URL, token: Token | None, session: aiohttp.ClientSession | None) -> None:
        self._url = url
        self._token = token
        self._session = session
        self._owned = session is None
        self._fresh: aiohttp.ClientSession | None = None
        self._client_timeout: tuple[Timeouts, aiohttp.ClientTimeout] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._responded = False
        self.closed: bool = False

    @property
    def url(self) -> yarl.URL:
        """Return the address that requests are sent to."""
        return self._url

    @property
    def unclosed(self) -> bool:
        """Tell whether a session is open that nobody but this transport will close."""
        return self._owned and self._session is not None and not self._session.closed

    def enter(self) -> aiohttp.ClientSession:
        """Return the session, checked to be open and used on its own event loop; make it on the first call.

        Raises:
            UsageError: It is closed, or was first used on another event loop.
        """
        self.check_loop()
        self._loop = asyncio.get_running_loop()
        if self.closed:
            raise UsageError("this client is closed; make a new one")
        if self._session is None:
            self._session = _new_session(fresh=False)
        if self._session.closed:
            raise UsageError("the session given to this client is closed; give it an open one")
        return self._session

    def check_loop(self) -> None:
        """Refuse to be used, or closed, on another event loop than the one that first used it.

        Raises:
            UsageError: It is another one, or none of asyncio's.
        """
        loop = require_loop()
        if self._loop is None or self._loop is loop:
            return
        if self._loop.is_closed():
            raise UsageError(
                "the event loop that this client belongs to has ended; close the client before, and make another"
            )
        raise UsageError(
            "this client belongs to another event loop; use and close it there, and make one client for each loop"
        )

    async def send(
        self,
        body: SecretBytes,
        request_id: str,
        timeouts: Timeouts,
        limit: int,
        *,
        grow: Callable[[int], None],
        fresh: bool = False,
    ) -> Reply:
        """Make one attempt.

        Args:
            body: The request's bytes.
            request_id: Sent as `X-Request-ID`.
            timeouts: How long it may take, in seconds.
            limit: The length of the longest response that is accepted, in bytes after decompression, inclusive.
            grow: Called with the number of bytes of each part that is received; it may raise to end the attempt.
            fresh: Whether to use a new connection, and not one that was kept alive.

        Returns:
            The response, whatever its status.

        Raises:
            TransportError: No complete response arrived.
            ResponseError: What arrived is too long, incomplete, or no HTTP.
            UsageError: The session is closed or belongs to another loop.
        """
        outcome = await self._exchange(self._session_for(fresh=fresh), body, request_id, timeouts, limit, grow)
        # Raised here: the frames over there hold the headers of the request and of the response.
        if isinstance(outcome, HistoryError):
            raise outcome
        return outcome

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        body: SecretBytes,
        request_id: str,
        timeouts: Timeouts,
        limit: int,
        grow: Callable[[int], None],
    ) -> Reply | HistoryError:
        wire = _Wire()
        _wire.set(wire)
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with session.post(
                self._url,
                data=aiohttp.BytesPayload(body),
                headers=self._headers(request_id),
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout(timeouts),
            ) as response:
                first_byte = clock() - started
                wire.responded = self._responded = True
                parts = await _read(response.content, limit, grow)
                if isinstance(parts, ResponseTooLarge):
                    response.close()
                    return parts
                return Reply(response.status, response.headers, parts.popleft(), first_byte, parts)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, UnicodeError) as error:
            failure = _translate(error, self._url, timeouts)
            failure.stale_connection = wire.reused and not wire.responded and _is_hang_up(error)
            if _is_unknown_host(error) and not self._responded:
                # A name that was never found will not be found by trying harder.
                failure.kind, failure.fatal = Kind.AMBIGUOUS, True
            return failure

    async def aclose(self) -> None:
        """Close the sessions that were made here; safe to call twice."""
        self.closed = True
        for session in (self._session if self._owned else None, self._fresh):
            if session is not None:
                await session.close()

    def _session_for(self, *, fresh: bool) -> aiohttp.ClientSession:
        session = self.enter()
        if not fresh or not self._owned:
            return session
        # One of its own: a session cannot be told for a single request not to use what it kept alive.
        if self._fresh is None:
            self._fresh = _new_session(fresh=True)
        return self._fresh

    def _timeout(self, timeouts: Timeouts) -> aiohttp.ClientTimeout:
        if self._client_timeout is None or self._client_timeout[0] is not timeouts:
            # `connect` takes in the host's lookup, but also the wait for a place in the pool, which a caller's session
            # may have few of.
            made = aiohttp.ClientTimeout(
                total=timeouts.attempt,
                connect=timeouts.connect if self._owned else None,
                sock_connect=timeouts.connect,
                sock_read=timeouts.read,
            )
            self._client_timeout = timeouts, made
        return self._client_timeout[1]

    def _headers(self, request_id: str) -> Mapping[str, str]:
        # Our own session adds the fixed ones.
        headers = {**({} if self._owned else _FIXED_HEADERS), "X-Request-ID": request_id}
        if self._token is not None:
            headers["Authorization"] = SecretText(f"Bearer {self._token.reveal()}")
        return headers


class _Connector(aiohttp.TCPConnector):
    """A connector that discards a connection on which unrequested bytes arrived: they would pass for a response."""

    def __init__(self, *, force_close: bool) -> None:
        # The number of connections is the pacer's business; a limit here would count waiting as connecting.
        super().__init__(limit=0, force_close=force_close, resolver=aiohttp.ThreadedResolver())
        self._given_out: weakref.WeakSet[asyncio.Protocol] = weakref.WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        assert protocol is not None
        _wire.get().reused = protocol in self._given_out
        self._given_out.add(protocol)
        if protocol.should_close:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        return connection


def _new_session(*, fresh: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(force_close=fresh),
        headers=_FIXED_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def _read(
    content: aiohttp.StreamReader, limit: int, grow: Callable[[int], None]
) -> deque[bytes] | ResponseTooLarge:
    parts = deque([await content.readany()])
    size = len(parts[0])
    grow(size)
    while size <= limit and not content.at_eof():
        part = await content.readany()
        size += len(part)
        grow(len(part))
        if len(parts[-1]) < _LEAST_PART:
            part = parts.pop() + part
        parts.append(part)
    if size > limit:
        return ResponseTooLarge(f"the response is longer than {limit} bytes; ask for fewer days or raise Limits.body")
    return parts


def _translate(error: Exception, url: yarl.URL, timeouts: Timeouts) -> HistoryError:
    where = f"{url.host}:{url.port}"
    kind = type(error).__name__
    match error:
        case UnicodeError():
            failure = ConnectionFailed(f"{url.host} can be no host's name; check the address")
            failure.kind, failure.fatal = Kind.CALLER, True
            return failure
        case aiohttp.ConnectionTimeoutError():
            return ConnectionFailed(f"no connection to {where} within {timeouts.connect:g} s")
        case TimeoutError():
            return AttemptTimeout(
                f"{where} did not respond in time: {timeouts.read:g} s of silence or {timeouts.attempt:g} s in all"
            )
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return _not_connected(error, url, where)
        case aiohttp.ClientPayloadError():
            return TruncatedResponse(f"the connection to {where} ended in the middle of the response")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return ConnectionFailed(f"{where} closed the connection before its response was complete ({kind})")
        case aiohttp.ClientResponseError():
            no_http = ResponseError(f"{where} responded with something that is no proper HTTP ({kind})")
            no_http.kind = Kind.AMBIGUOUS
            return no_http
    return TransportError(f"the request to {where} failed ({kind})")


def _not_connected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, url: yarl.URL, where: str
) -> ConnectionFailed:
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UntrustedServer(f"the TLS certificate of {where} was refused ({kind}); check the address and its CA")
    cause = error.os_error
    if isinstance(error, aiohttp.ClientSSLError) and not isinstance(cause, _HANDSHAKE_CUT):
        return UntrustedServer(f"no TLS with {where} ({kind}); check the address, and the versions both sides allow")
    if cause.errno in _OUT_OF_RESOURCES:
        return ConnectionFailed(f"no connection to {where}: {_OUT_OF_RESOURCES[cause.errno]}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectionFailed(f"the host {url.host} was not found ({cause.strerror}); check the address")
    return ConnectionFailed(f"no connection to {where}: {cause.strerror or kind}")


def _is_hang_up(error: Exception) -> bool:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Otherwise it is the part of the response's head that did arrive.
        return isinstance(error.message, str)
    connecting = isinstance(error, aiohttp.ClientConnectorError)
    return isinstance(error, (aiohttp.ClientOSError, ConnectionError)) and not connecting


def _is_unknown_host(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno in _UNKNOWN_HOST
