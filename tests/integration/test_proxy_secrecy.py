"""The password of a proxy stays where it belongs."""

import asyncio
import logging
import pickle
from pathlib import Path

import attrs
import pytest
from support.connect_proxy import BASIC, CREDENTIALS, PASSWORD, Proxy
from support.paths import TESTS
from support.scripts import hang_up, silence
from support.secrecy import ONE, QUICK, Listener, chain, logged, parts, pickled, printed, shown
from support.tls import authority, behind_proxy  # noqa: F401 (a fixture)

from profile_history import ConfigurationError, HistoryClient, HistoryError, Timeouts
from profile_history.testing import HistoryServer

# As it is, as it stands in a URL, and as it is sent; a part of each, in case that it is cut or escaped.
SECRETS = (PASSWORD[:10], CREDENTIALS.partition(":")[2], BASIC.partition(" ")[2])


def found(*texts):
    """The secrets that texts show."""
    return [secret for secret in SECRETS for text in texts if secret in text]


# An outage, as which a proxy that fails counts, is over as soon as it is one.
AT_ONCE = attrs.evolve(QUICK, patience=0.1)
FAILURES = {
    "407": 407,
    "403": 403,
    "502": 502,
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "an echo": f"HTTP/1.1 403 {PASSWORD}\r\nX: {BASIC}\r\nContent-Length: {len(BASIC)}\r\n\r\n{BASIC}".encode(),
    "gone": hang_up,
    "silent": silence,
    "dead": None,
    "tunnel to nowhere": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "http://127.0.0.1:9"], ids=["https", "http"])
@pytest.mark.parametrize("name", FAILURES)
async def test_no_failure_of_a_proxy_shows_its_password(caplog, name, url):
    """No message, representation, note, local variable, pickle, log line or event has it."""
    caplog.set_level(logging.DEBUG)
    told = Listener()
    options = {"token": "a-token", "list_id": 20, "retry": AT_ONCE, "timeouts": Timeouts(connect=0.05, read=0.05)}
    async with Proxy(rest=FAILURES[name]) as proxy:
        if name == "dead":
            await proxy.__aexit__()
        async with HistoryClient(url, proxy=proxy.url_with_password, on_event=told, **options) as client:
            with pytest.raises(HistoryError) as caught:
                await client.history(ONE).collect()
            assert found(printed(*parts(client))) == []
    assert told
    texts = (shown(caught.value), pickled(caught.value), repr(pickle.loads(pickle.dumps(caught.value)).to_dict()))
    assert found(*texts, printed(*told), told.shown, logged(caplog)) == []


async def test_a_client_and_its_parts_do_not_print_the_password(caplog, authority, monkeypatch):
    """Before, between and after requests, and with a loop in debug mode, which prints what it runs."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "slow_callback_duration", 0.0)
    async with behind_proxy(authority) as (server, url, proxy):
        monkeypatch.setenv("PROFILE_HISTORY_PROXY", proxy.url_with_password)
        client = HistoryClient(url, token=server.token, list_id=server.list_id, ca=authority.file)
        assert found(printed(*parts(client))) == []
        loop.set_debug(True)
        try:
            async with client:
                await client.history(server.profile(1)).collect()
                transport = client._core.shared.transport
                connector = transport.enter().connector
                assert found(printed(*parts(client), *parts(client.with_options(window=7)))) == []
                assert found(printed(connector, *vars(connector).values())) == []
        finally:
            loop.set_debug(False)
    assert proxy.connects
    assert any(record.name == "asyncio" for record in caplog.records)
    assert found(printed(*parts(client)), logged(caplog)) == []


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_request_under_way_has_the_password_in_no_local_variable_that_prints_it(tls):
    """In our frames, and in those of the library, while the proxy is asked and does not respond."""
    async with Proxy(rest=silence) as proxy:
        url = "https://127.0.0.1:9" if tls else "http://127.0.0.1:9"
        async with HistoryClient(url, token="a-token", list_id=20, proxy=proxy.url_with_password) as client:
            reading = asyncio.create_task(client.history(ONE).collect())
            while not proxy.heads:
                await asyncio.sleep(0.001)
            frames = [frame for task in asyncio.all_tasks() for frame in chain(task.get_coro())]
            ours = [frame for frame in frames if TESTS not in Path(frame.f_code.co_filename).parents]
            assert {"send", "_request"} <= {frame.f_code.co_name for frame in ours}
            assert found(*(repr(frame.f_locals) for frame in ours)) == []
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    "address",
    [
        "http://{}@proxy.example:eighty",
        "http://{}@proxy.example/path",
        "http://{}@proxy.example?x",
        "http://{}@",
        "http://{}@[::1",
        "socks5://{}@proxy.example:1080",
        "ftp://{}@proxy.example",
        "{}@proxy.example:3128",
        "http://a%3A{}@proxy.example",
        "http://robot:canary-pass/7f@proxy.example",
    ],
)
@pytest.mark.parametrize("by_variable", [False, True], ids=["argument", "environment"])
def test_an_address_that_is_refused_is_not_repeated(monkeypatch, address, by_variable):
    """Neither in the message nor in a local variable of a frame that refuses it."""
    address = address.format(CREDENTIALS)
    if by_variable:
        monkeypatch.setenv("PROFILE_HISTORY_PROXY", address)
    with pytest.raises(ConfigurationError) as caught:
        HistoryClient("https://history.example", token="a-token", list_id=20, proxy=None if by_variable else address)
    assert str(caught.value).startswith("PROFILE_HISTORY_PROXY " if by_variable else "proxy ")
    assert "canary" not in shown(caught.value)


async def test_plain_http_shows_the_password_to_the_proxy_alone(monkeypatch):
    """The proxy takes its header away; a server that is asked straight never gets one."""
    async with HistoryServer(profiles=2) as server, Proxy(password=True) as proxy:
        options = {"token": server.token, "list_id": server.list_id}
        async with HistoryClient(server.url, proxy=proxy.url_with_password, **options) as client:
            await client.history(server.profile(1)).collect()
        assert f"Proxy-Authorization: {BASIC}".encode() in proxy.heads[0]
        assert proxy.heads[0].startswith(f"POST {server.url}/".encode())
        monkeypatch.setenv("PROFILE_HISTORY_PROXY", proxy.url_with_password)
        async with HistoryClient(server.url, proxy="direct", **options) as client:
            await client.history(server.profile(1)).collect()
    assert len(proxy.heads) == 1
