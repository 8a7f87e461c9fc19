"""One HTTP attempt: a body out, one complete answer in. The only module that knows aiohttp."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping

import aiohttp
import yarl

from profile_history.errors import (
    AttemptTimeout,
    ConnectionFailed,
    HistoryError,
    ResponseError,
    ResponseTooLarge,
    TransportError,
    TruncatedResponse,
    UntrustedServer,
    UsageError,
)
from profile_history.options import Timeouts
from profile_history.protocol import Reply
from profile_history.secrecy import SecretBytes, Token
from profile_history.version import __version__

USER_AGENT = f"profile-history/{__version__} (python {platform.python_version()}; aiohttp {aiohttp.__version__})"


class Transport:
    """Holds one session, made in the event loop that first uses it, or one that the caller keeps and closes."""

    def __init__(self, url: yarl.URL, token: Token | None, session: aiohttp.ClientSession | None) -> None:
        self._url = url
        self._token = token
        self._session = session
        self._owned = session is None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    @property
    def url(self) -> yarl.URL:
        """Where the requests go."""
        return self._url

    @property
    def unclosed(self) -> bool:
        """Whether a session is open that nobody but this transport will close."""
        return self._owned and self._session is not None and not self._session.closed

    def enter(self) -> aiohttp.ClientSession:
        """The session, checked to be open and used on its own event loop.

        Raises:
            UsageError: It is closed, or was first used on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise UsageError("this client belongs to another event loop; make one client for each loop")
        if self.closed:
            raise UsageError("this client is closed; make a new one")
        if self._session is None:
            # The number of connections is the pacer's business; a limit here would count waiting as connecting.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        if self._session.closed:
            raise UsageError("the session given to this client is closed; give it an open one")
        return self._session

    async def send(self, body: SecretBytes, request_id: str, timeouts: Timeouts, limit: int) -> Reply:
        """Makes one attempt.

        Args:
            body: The request's bytes.
            request_id: Sent as `X-Request-ID`.
            timeouts: How long it may take.
            limit: Bytes; the longest answer taken, after decompression.

        Raises:
            TransportError: No complete answer arrived.
            ResponseError: What arrived is too long, incomplete, or no HTTP.
            UsageError: The session is closed or belongs to another loop.
        """
        session = self.enter()
        failure: HistoryError
        try:
            async with session.post(
                self._url,
                data=body,
                headers=self._headers(request_id),
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout(timeouts),
            ) as response:
                body_read = await _read(response, limit)
                if not isinstance(body_read, ResponseTooLarge):
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Reply(response.status, headers, body_read)
                response.close()
                failure = body_read
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            failure = _translated(error, self._url, timeouts)
        # Raised outside the handler: the chained exception's frames hold the request's headers.
        raise failure

    async def aclose(self) -> None:
        """Closes the session if it was made here."""
        self.closed = True
        if self._owned and self._session is not None:
            await self._session.close()

    def _timeout(self, timeouts: Timeouts) -> aiohttp.ClientTimeout:
        # `connect` takes in the host's lookup, but also the wait for a place in the pool, which a caller's session may
        # have few of.
        return aiohttp.ClientTimeout(
            total=timeouts.attempt,
            connect=timeouts.connect if self._owned else None,
            sock_connect=timeouts.connect,
            sock_read=timeouts.read,
        )

    def _headers(self, request_id: str) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "X-Request-ID": request_id,
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return headers


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | bytearray | ResponseTooLarge:
    body: bytes | bytearray = await response.content.readany()
    size = len(body)
    while size <= limit and (part := await response.content.readany()):
        # Grown in place: putting a long body together in one go would hold the loop.
        body = body if isinstance(body, bytearray) else bytearray(body)
        body += part
        size += len(part)
    if size > limit:
        return ResponseTooLarge(f"the answer is longer than {limit} bytes; ask for fewer days or raise Limits.body")
    return body


def _translated(error: Exception, url: yarl.URL, timeouts: Timeouts) -> HistoryError:
    where = f"{url.host}:{url.port}"
    kind = type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ConnectionFailed(f"no connection to {where} within {timeouts.connect:g} s")
        case TimeoutError():
            return AttemptTimeout(
                f"{where} did not answer in time: {timeouts.read:g} s of silence or {timeouts.attempt:g} s in all"
            )
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return UntrustedServer(f"the TLS certificate of {where} was refused ({kind}); check the address and its CA")
        case aiohttp.ClientConnectorError():
            return ConnectionFailed(f"no connection to {where}: {error.os_error.strerror or kind}")
        case aiohttp.ClientPayloadError():
            return TruncatedResponse(f"the connection to {where} ended in the middle of the answer")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return ConnectionFailed(f"{where} closed the connection before its answer was complete ({kind})")
        case aiohttp.ClientResponseError():
            return ResponseError(f"{where} answered with something that is no proper HTTP ({kind})")
    return TransportError(f"the request to {where} failed ({kind})")
