"""A certificate authority of our own, and servers behind TLS that it vouches for."""

import contextlib
import ssl
from pathlib import Path

import pytest
import trustme
from support.connect_proxy import Proxy
from support.matrix.peers import listening, passing_on

from profile_history.testing import HistoryServer
from profile_history.testing.loop_thread import LoopThread


class Authority:
    """A private CA.

    Args:
        folder: Where its certificate is put as a file.
    """

    def __init__(self, folder):
        self.ca = trustme.CA()
        self.file = Path(folder) / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def server_context(self, *names):
        """Return what a server on this machine shows, under one of these names or its address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1", *names).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A private CA."""
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.asynccontextmanager
async def behind_tls(server, context):
    """Put TLS before a server on this machine; yield the URL."""
    async with listening(passing_on(int(str(server.url).rstrip("/x").rpartition(":")[2])), ssl=context) as port:
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def in_thread(make):
    """Run an asynchronous context manager on an event loop of its own, for a test that runs a command."""
    thread, stack, entered = LoopThread(), contextlib.AsyncExitStack(), []

    async def enter():
        entered.append(await stack.enter_async_context(make()))

    try:
        thread.run(enter())
        try:
            yield entered[0]
        finally:
            thread.run(stack.aclose())
    finally:
        thread.close()


@contextlib.asynccontextmanager
async def behind_proxy(authority, **options):
    """Run a history server behind TLS, and a proxy with password on the way; yield server, URL and proxy."""
    async with (
        HistoryServer(profiles=30, **options) as server,
        behind_tls(server, authority.server_context()) as url,
        Proxy(password=True) as proxy,
    ):
        yield server, url, proxy
