"""The connections of a session: none with unrequested bytes is used, and all go the way that the client was told."""

from __future__ import annotations

import asyncio
import contextvars
import platform
import ssl
import weakref
from functools import partial
from typing import Any, cast

import aiohttp
import attrs
import yarl
from aiohttp.client_proto import ResponseHandler

from profile_history._route import ProxyAddress, Route
from profile_history._sending.repeated_length import UnifyingProtocol
from profile_history.version import __version__

USER_AGENT = f"profile-history/{__version__} (python {platform.python_version()}; aiohttp {aiohttp.__version__})"

FIXED_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT}


@attrs.define
class Wire:
    """The fate of one attempt's connection.

    Attributes:
        reused: Whether it had served before, `None` as long as there is none.
        unifies_lengths: Whether a response on it may state the same length more than once.
        responded: Whether a response has begun on it.
    """

    reused: bool | None = None
    unifies_lengths: bool = False
    responded: bool = False


# By the context of the task that sends, since a connector is not told for whom it connects; a `TraceConfig` would do as
# well, at a tenth of the price of a small request.
wire: contextvars.ContextVar[Wire] = contextvars.ContextVar("wire")


class Connector(aiohttp.TCPConnector):
    """A connector that discards a connection on which unrequested bytes arrived: they would pass for a response."""

    def __init__(self, *, force_close: bool, context: ssl.SSLContext | None = None) -> None:
        # The number of connections is the pacer's business; a limit here would count waiting as connecting.
        super().__init__(
            limit=0,
            force_close=force_close,
            resolver=aiohttp.ThreadedResolver(),
            ssl=True if context is None else context,
        )
        self._given_out: weakref.WeakSet[asyncio.Protocol] = weakref.WeakSet()

    def unify_lengths(self) -> None:
        """Accept equal lengths on the connections that are made from now on."""
        self._factory = cast("partial[ResponseHandler]", partial(UnifyingProtocol, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        assert protocol is not None
        fate = wire.get()
        fate.reused = protocol in self._given_out
        fate.unifies_lengths = isinstance(protocol, UnifyingProtocol)
        self._given_out.add(protocol)
        if protocol.should_close:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        return connection


class RoutedConnector(Connector):
    """A connector that goes through a proxy, or trusts certificates of its own.

    The proxy is told to the request here and not to the session, so that its credentials stand in no frame above, and
    so that requests without a proxy cost nothing more.
    """

    def __init__(self, route: Route, *, force_close: bool) -> None:
        certificates = route.certificates
        super().__init__(force_close=force_close, context=None if certificates is None else certificates.context)
        self._certificates = certificates
        self._proxy = route.proxy
        self._proxy_url = None if route.proxy is None else yarl.URL(route.proxy.url)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        if self._certificates is not None:
            await self._certificates.load_system()
        if self._proxy is not None:
            _lead_through(req, self._proxy, self._proxy_url)
        return await super().connect(req, traces, timeout)


def _lead_through(request: aiohttp.ClientRequest, proxy: ProxyAddress, url: yarl.URL | None) -> None:
    credentials = {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
    # These are the headers of CONNECT, which asks for a tunnel; there is none for plain http, where the proxy reads the
    # request itself (RFC 9112, 3.2.2). For a connection that is not kept aiohttp would say "close" here, too, which a
    # proxy could take for the tunnel's end.
    request.update_proxy(url, None, {"User-Agent": USER_AGENT, "Connection": "keep-alive", **credentials})
    if not request.is_ssl():
        request.headers.update(credentials)


async def refuse_407(response: aiohttp.ClientResponse) -> None:
    """Raise what a refused CONNECT raises, for a proxy that refuses a request of plain http.

    Raises:
        aiohttp.ClientHttpProxyError: The proxy asks for credentials, or for others.
    """
    if response.status == 407:
        response.close()
        raise aiohttp.ClientHttpProxyError(response.request_info, (), status=407, headers=response.headers)


def make_session(route: Route, *, fresh: bool) -> aiohttp.ClientSession:
    """Return a session whose connections take a route.

    Args:
        route: The way to the server.
        fresh: Whether each request gets a connection of its own.
    """
    straight = route.proxy is None and route.certificates is None
    return aiohttp.ClientSession(
        connector=Connector(force_close=fresh) if straight else RoutedConnector(route, force_close=fresh),
        headers=FIXED_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
