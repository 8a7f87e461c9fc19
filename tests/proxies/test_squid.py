"""Squid as the tests run it: a forward proxy, for plain requests and for CONNECT, with and without a password."""

import asyncio
import base64

import aiohttp
import pytest
from support.proxies import require_proxies

from benchmarks.limited import upstream_of
from benchmarks.proxies import squid

require_proxies()
pytestmark = pytest.mark.proxies

USER, PASSWORD = "reader", "open sesame, please"


def credentials(password):
    """The header that names the user."""
    return {"Proxy-Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()}


KNOWN, WRONG = credentials(PASSWORD), credentials("close sesame")


@pytest.fixture(scope="module")
def proxy():
    """A Squid that knows one user."""
    with squid(USER, PASSWORD) as running:
        yield running


async def connect(proxy, target, headers):
    """Ask for a tunnel; return the status line, and the two ends of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), reader, writer


@pytest.mark.parametrize(("headers", "status"), [({}, 407), (WRONG, 407), (KNOWN, 405)], ids=["none", "wrong", "right"])
async def test_a_plain_request_needs_the_password(proxy, server, headers, status):
    """Without it Squid says 407; with it the API responds, here with 405 to a GET."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/api/v1.1/subscribers/history_get", proxy=proxy.url, headers=headers) as response,
    ):
        assert response.status == status
        assert ("Proxy-Authenticate" in response.headers) is (status == 407)


@pytest.mark.parametrize(("headers", "status"), [({}, 407), (WRONG, 407), (KNOWN, 200)], ids=["none", "wrong", "right"])
async def test_a_tunnel_needs_the_password(proxy, server, headers, status):
    """With it the bytes reach the server as they are, and the log has nothing but the server's name."""
    line, reader, writer = await connect(proxy, upstream_of(server), headers)
    assert line.split()[1] == str(status)
    if status == 200:
        writer.write(b"GET /secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()
    assert "secret" not in proxy.log.read_text()


async def test_one_without_a_password_lets_everybody_through(server):
    """For what has nothing to do with passwords."""
    with squid() as proxy:
        line, _, writer = await connect(proxy, upstream_of(server), {})
        writer.close()
        assert line.split()[1] == "200"
        assert proxy.responses() == [] or proxy.responses()[-1].rest.startswith("CONNECT ")
