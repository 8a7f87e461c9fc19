"""Send one HTTP attempt and read its complete response."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import cast

import aiohttp
import yarl
from aiohttp.abc import AbstractStreamWriter

from profile_history._aio import require_loop
from profile_history._protocol.responses import Reply, UnreadReply, is_clear_without_body, retry_after
from profile_history._route import Route
from profile_history._secrets import SecretBytes, SecretText, Token
from profile_history._sending.connection_failures import final_kind, is_hang_up, translate
from profile_history._sending.connector import FIXED_HEADERS, Connector, Wire, make_session, refuse_407, wire
from profile_history._sending.repeated_length import is_about_length
from profile_history._sending.response_body import read_body
from profile_history.errors import HistoryError, ResponseError, TruncatedResponse, UsageError
from profile_history.options import Timeouts

# Of a response: bytes of a line, and lines. aiohttp's own limits are 8 KiB and 128 lines, which many cookies or a long
# security policy exceed. So many lines are 64 KiB as well where they are 34 bytes long, as the shortest cookies are.
MOST_HEADER_BYTES = 64 * 1024
MOST_HEADER_LINES = 1920


class SecretPayload(aiohttp.BytesPayload):
    """A body that is sent as it is; aiohttp would send a copy, which prints what it holds."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002
        """Send all of it. aiohttp calls this.

        Args:
            writer: Where to.
            content_length: Its length, as the header says.
        """
        await writer.write(self._value)


class Transport:
    """One session, made in the event loop that first uses it, or one that the caller keeps and closes.

    Args:
        url: The address that requests are sent to.
        token: The token, or `None` if the caller's session sends it.
        session: The caller's session, or `None` to make one.
        route: The way that the connections of a session made here take.
    """

    def __init__(
        self, url: yarl.URL, token: Token | None, session: aiohttp.ClientSession | None, route: Route = Route()
    ) -> None:
        self._url = url
        self._token = token
        self._session = session
        self._owned = session is None
        self._route = route
        # A session of the caller may raise for statuses, which are the protocol's business.
        self._raise_for_status = False if route.proxy is None else refuse_407
        self._fresh: aiohttp.ClientSession | None = None
        self._client_timeout: tuple[Timeouts, aiohttp.ClientTimeout] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._responded = False
        self._unifies_lengths = False
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
            self._session = make_session(self._route, fresh=False)
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
        connection = Wire()
        wire.set(connection)
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with session.post(
                self._url,
                data=SecretPayload(body),
                headers=self._headers(request_id),
                allow_redirects=False,
                raise_for_status=self._raise_for_status,
                timeout=self._timeout(timeouts),
                auto_decompress=False,
                max_line_size=MOST_HEADER_BYTES,
                max_field_size=MOST_HEADER_BYTES,
                max_headers=MOST_HEADER_LINES,
            ) as response:
                first_byte = clock() - started
                connection.responded = self._responded = True
                parts = await read_body(response, limit, grow)
                if isinstance(parts, ResponseError):
                    response.close()
                    return _without_body(response, parts, first_byte)
                return Reply(response.status, response.headers, parts.popleft(), first_byte, parts)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, UnicodeError) as error:
            connected = connection.reused is not None
            failure = translate(error, self._url, timeouts, self._route, connected=connected or not self._owned)
            failure.stale_connection = connection.reused is True and not connection.responded and is_hang_up(error)
            if self._owned and connected and not connection.unifies_lengths and is_about_length(error):
                self._unify_lengths()
                failure.stale_connection = True
            if connection.responded and isinstance(failure, TruncatedResponse):
                return _without_body(response, failure, first_byte)
            if not self._responded and (kind := final_kind(error)) is not None:
                # What never worked will not work by trying harder.
                failure.kind, failure.fatal = kind, True
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
            self._fresh = make_session(self._route, fresh=True)
            if self._unifies_lengths:
                self._unify_lengths()
        return self._fresh

    def _unify_lengths(self) -> None:
        self._unifies_lengths = True
        for session in (self._session, self._fresh):
            if session is not None:
                cast("Connector", session.connector).unify_lengths()

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
        headers = {**({} if self._owned else FIXED_HEADERS), "X-Request-ID": request_id}
        if self._token is not None:
            headers["Authorization"] = SecretText(f"Bearer {self._token.reveal()}")
        return headers


def _without_body(response: aiohttp.ClientResponse, failure: ResponseError, first_byte: float) -> Reply | ResponseError:
    """Return what a response says by its head alone, since its body could not be read."""
    if is_clear_without_body(response.status, failure):
        problem = failure.args[0].partition(";")[0]
        return UnreadReply(response.status, response.headers, b"", first_byte, problem=problem)
    failure.retry_after = retry_after(response.headers, lambda: dt.datetime.now(dt.UTC))
    return failure
