"""A client behind an HTTP proxy: the tunnel, what the proxy gets to see, and its failures."""

import asyncio
import contextlib

import aiohttp
import attrs
import pytest
from support.connect_proxy import BASIC, Proxy
from support.matrix.peers import listening
from support.scripts import NO_SUCH_NAME, Script, hang_up, http, names, reset, send, silence  # noqa: F401 (a fixture)
from support.tls import authority, behind_proxy, behind_tls  # noqa: F401 (a fixture)
from support.virtual_clock import run_virtually

from profile_history import (
    ConnectionFailed,
    HistoryClient,
    Pacing,
    Profile,
    ProxyFailed,
    RetryPolicy,
    ServerUnavailable,
    Timeouts,
    UntrustedServer,
)
from profile_history._config import resolve_route
from profile_history._sending.transport import Transport
from profile_history.errors import Kind
from profile_history.testing import HistoryServer

TOKEN = "canary-token-5d1e"
ONE = Profile.email("user1@example.com")
ONCE = RetryPolicy(attempts=1, passes=1)


def client_of(url, proxy, authority, **options):
    """A client of a server behind TLS and a proxy with password."""
    options = {"token": TOKEN, "list_id": 20, "ca": authority.file, **options}
    return HistoryClient(url, proxy=proxy.url_with_password, **options)


def transport_of(url, proxy, ca=None):
    """What sends single requests through a proxy."""
    route = resolve_route(proxy.url_with_password, ca, {}, url=str(url), allow_http=False)
    return Transport(url, None, None, route)


class TestTunnel:
    """An https server behind a proxy with a password."""

    async def test_all_histories_arrive_and_the_proxy_sees_neither_token_nor_address(self, authority):
        """It sees the host and port of the server, our name, and its own password."""
        async with (
            behind_proxy(authority, token=TOKEN) as (server, url, proxy),
            client_of(url, proxy, authority) as client,
        ):
            pairs = await client.histories(server.profiles()).collect()
            assert len(pairs) == sum(len(server.truth(profile)) for profile in server.profiles())
        assert set(proxy.connects) == {url.removeprefix("https://")}
        assert f"Proxy-Authorization: {BASIC}".encode() in proxy.heads[0]
        assert b"User-Agent: profile-history/" in proxy.heads[0]
        assert TOKEN.encode() not in proxy.seen
        assert b"history_get" not in proxy.seen

    async def test_tunnels_are_kept_as_connections_are(self, authority):
        """One for as many requests as there are one after the other."""
        async with (
            behind_proxy(authority, token=TOKEN) as (server, url, proxy),
            client_of(url, proxy, authority, pacing=Pacing(concurrency=1)) as client,
        ):
            await client.histories(server.profiles()).collect()
            await client.with_options(order="oldest").histories(server.profiles()).collect()
        assert len(proxy.connects) == 1
        assert len(server.log) == 60

    async def test_a_proxy_that_is_spoken_with_in_tls_works_likewise(self, authority):
        """The same certificates are trusted, and TLS goes through TLS."""
        async with (
            HistoryServer(profiles=3, token=TOKEN) as server,
            behind_tls(server, authority.server_context()) as url,
            Proxy(password=True, ssl=authority.server_context()) as proxy,
            client_of(url, proxy, authority) as client,
        ):
            assert await client.history(server.profile(1)).collect() == server.truth(server.profile(1))
        assert proxy.connects

    async def test_a_name_is_looked_up_by_the_proxy(self, authority):
        """A host that only the proxy knows is reached, and its certificate is checked for that name."""
        context = authority.server_context("history.internal")
        async with (
            HistoryServer(profiles=3, token=TOKEN) as server,
            behind_tls(server, context) as url,
            Proxy(password=True, hosts={"history.internal": int(url.rpartition(":")[2])}) as proxy,
        ):
            async with client_of("https://history.internal", proxy, authority) as client:
                assert await client.history(server.profile(1)).collect()
            async with client_of("https://localhost", proxy, authority, retry=ONCE) as client:
                proxy.hosts["localhost"] = proxy.hosts["history.internal"]
                with pytest.raises(UntrustedServer, match=r"certificate of localhost:443 through the proxy 127"):
                    await client.history(ONE).collect()
        assert proxy.connects == ["history.internal:443", "localhost:443"]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
class TestConnections:
    """What holds for straight connections holds for those through a proxy."""

    @contextlib.asynccontextmanager
    async def reach(self, script, authority, tls):
        async with script, Proxy(password=True) as proxy, contextlib.AsyncExitStack() as stack:
            url = script.url
            if tls:
                context = authority.server_context()
                secure = await stack.enter_async_context(behind_tls(script, context))
                url = url.with_scheme("https").with_port(int(secure.rpartition(":")[2]))
            transport = transport_of(url, proxy, authority.file)
            stack.push_async_callback(transport.aclose)
            yield transport, proxy

    @pytest.mark.parametrize("death", [hang_up, reset], ids=["closed", "reset"])
    async def test_a_kept_connection_that_dies_is_stale(self, authority, tls, death):
        """The request may be sent again for free; one on a new connection may not."""
        async with self.reach(Script(http(b"{}"), death, death), authority, tls) as (transport, _):
            await send(transport)
            with pytest.raises(ConnectionFailed) as reused:
                await send(transport)
            with pytest.raises(ConnectionFailed) as new:
                await send(transport, fresh=True)
        assert reused.value.stale_connection
        assert not new.value.stale_connection

    async def test_unrequested_bytes_never_pass_for_a_response(self, authority, tls):
        """The connection that they came on is discarded."""
        script = Script(http(b"first"), rest=http(b"second"))
        async with self.reach(script, authority, tls) as (transport, _):
            assert (await send(transport)).body == b"first"
            (writer,) = script.writers
            writer.write(http(b"poisoned"))
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionFailed) as caught:
                await send(transport)
            assert caught.value.stale_connection
            assert (await send(transport, fresh=True)).body == b"second"

    async def test_a_fresh_request_has_a_tunnel_of_its_own(self, authority, tls):
        """The ordinary requests go on with theirs."""
        script = Script(rest=http(b"{}"))
        async with self.reach(script, authority, tls) as (transport, proxy):
            for fresh in (False, True, True, False):
                await send(transport, fresh=fresh)
        assert script.connections == [1, 2, 3, 1]
        assert len(proxy.heads) == 3


class TestRefusals:
    """What the proxy says instead of connecting."""

    @pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
    @pytest.mark.parametrize("known", [False, True], ids=["no password", "a wrong one"])
    async def test_a_password_that_is_missing_or_wrong_stops_the_stream_at_once(self, authority, tls, known):
        """The error names the proxy and says which of the two it is."""
        async with behind_proxy(authority) as (server, url, proxy):
            address = proxy.url.replace("://", "://robot:wrong@") if known else proxy.url
            options = {"token": server.token, "list_id": 20, "ca": authority.file}
            async with HistoryClient(url if tls else server.url, proxy=address, **options) as client:
                with pytest.raises(ProxyFailed) as caught:
                    await client.histories(server.profiles(), on_error="collect").collect()
        words = "did not accept the user name and the password" if known else "asks for a user name and a password"
        assert f"the proxy 127.0.0.1:{proxy.port} responded with HTTP 407: it {words}" in str(caught.value)
        assert (caught.value.status, caught.value.proxy, caught.value.fatal) == (407, proxy.url, True)
        assert caught.value.attempts == 1

    @pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
    @pytest.mark.parametrize(
        ("challenges", "words"),
        [
            (["NTLM"], "it asks for NTLM, and Basic is the only scheme"),
            (["Negotiate abc==", "NTLM"], "it asks for NTLM, and"),
            (['Digest realm="of, Basic users", qop="auth"'], "it asks for Digest, and"),
            (['Bearer realm="x"'], "it asks for another scheme, and"),
            (['NTLM, Basic realm="x"'], "it did not accept the user name"),
            (["Negotiate", 'BASIC realm="\\"NTLM", charset="UTF-8"'], "it did not accept the user name"),
        ],
    )
    async def test_a_scheme_that_is_not_known_is_named(self, authority, tls, challenges, words):
        """As proxies of companies ask for; where Basic is offered besides, the password is to blame."""
        lines = "".join(f"Proxy-Authenticate: {challenge}\r\n" for challenge in challenges)
        page = f"HTTP/1.1 407 No\r\nContent-Length: 0\r\n{lines}\r\n".encode()
        url = "https://history.example" if tls else "http://127.0.0.1:9"
        async with Proxy(rest=page) as proxy, client_of(url, proxy, authority) as client:
            with pytest.raises(ProxyFailed, match=words):
                await client.history(ONE).collect()

    @pytest.mark.parametrize("status", [302, 400, 403, 404, 405, 501])
    async def test_a_refused_tunnel_stops_a_stream_in_which_nothing_worked(self, authority, status):
        """It names proxy, status and server, and is not tried again."""
        async with Proxy(rest=status) as proxy, client_of("https://history.example", proxy, authority) as client:
            with pytest.raises(
                ProxyFailed, match=rf"127\.0\.0\.1:\d+ responded with HTTP {status} when .* history\."
            ) as caught:
                await client.history(ONE).collect()
        assert len(proxy.heads) == 1
        assert (caught.value.kind, caught.value.fatal, caught.value.status) == (Kind.CALLER, True, status)

    async def test_an_ipv6_address_is_told_in_brackets(self, authority):
        """Otherwise nobody could tell where the port begins."""
        async with Proxy(rest=403) as proxy, client_of("https://[::1]:8443", proxy, authority) as client:
            with pytest.raises(ProxyFailed, match=r"asked to connect to \[::1\]:8443"):
                await client.history(ONE).collect()

    @pytest.mark.parametrize("status", [403, 407])
    async def test_a_refusal_after_something_worked_is_tried_again(self, authority, status, swift):
        """Proxies are reloaded, and what they look users up in fails now and then."""
        async with (
            behind_proxy(authority, token=TOKEN) as (server, url, proxy),
            client_of(url, proxy, authority, retry=swift, pacing=Pacing(concurrency=1)) as client,
        ):
            await client.history(server.profile(1)).collect()
            proxy.cut()
            proxy.turns = [status, status]
            assert await client.history(server.profile(2)).collect() == server.truth(server.profile(2))
        assert len(proxy.connects) == 4

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    async def test_a_proxy_that_fails_for_now_is_tried_again(self, authority, status, swift):
        """From the first request on."""
        async with (
            behind_proxy(authority, token=TOKEN) as (server, url, proxy),
            client_of(url, proxy, authority, retry=swift) as client,
        ):
            proxy.turns = [status, status]
            assert await client.history(server.profile(1)).collect()
        assert len(proxy.connects) == 3

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_proxy_that_asks_to_wait_is_not_asked_a_second_early(self, status):
        """As a server that says `Retry-After` is not."""
        busy = f"HTTP/1.1 {status} Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n".encode()
        asked = []

        async def fetch():
            async def look(reader, writer):
                asked.append(asyncio.get_running_loop().time())
                writer.write(busy if len(asked) == 1 else busy.replace(b"30", b"600"))

            async with (
                Proxy(rest=look) as proxy,
                HistoryClient("https://history.example", token=TOKEN, list_id=20, proxy=proxy.url) as client,
            ):
                with pytest.raises(ProxyFailed, match=rf"HTTP {status} when ") as caught:
                    await client.history(ONE).collect()
                return caught.value

        error = run_virtually(fetch())
        assert asked[1] - asked[0] >= 30
        assert (len(asked), error.retry_after, error.fatal) == (2, 600, True)

    async def test_one_that_speaks_no_http_is_named(self, authority, swift):
        """As a SOCKS proxy or a database would respond."""
        async with (
            Proxy(rest=b"\x05\xff and more\r\n\r\n") as proxy,
            client_of("https://history.example", proxy, authority, retry=swift) as client,
        ):
            with pytest.raises(ProxyFailed, match=r"the proxy .* responded with something that is no proper HTTP"):
                await client.history(ONE).collect()
        assert len(proxy.heads) > 1

    @pytest.mark.parametrize("turn", [hang_up, reset], ids=["closed", "reset"])
    async def test_one_that_hangs_up_is_named(self, authority, turn):
        """No server was reached yet, so no connection is stale."""
        async with (
            Proxy(rest=turn) as proxy,
            client_of("https://history.example", proxy, authority, retry=ONCE) as client,
        ):
            with pytest.raises(
                ProxyFailed, match=r"the proxy .* closed the connection before it had one to history\."
            ) as caught:
                await client.history(ONE).collect()
        assert not caught.value.stale_connection
        assert (caught.value.kind, caught.value.fatal, caught.value.status) == (Kind.TRANSIENT, False, None)

    async def test_one_that_is_silent_is_left_after_the_time_to_connect(self, authority):
        """The text names both, since nobody knows which of them does not respond."""
        options = {"retry": ONCE, "timeouts": Timeouts(connect=0.2)}
        async with (
            Proxy(rest=silence) as proxy,
            client_of("https://history.example", proxy, authority, **options) as client,
        ):
            within = r"history\.example:443 through the proxy 127.* within 0\.2 s"
            with pytest.raises(ProxyFailed, match=within) as caught:
                await client.history(ONE).collect()
        assert (caught.value.proxy, caught.value.status, caught.value.fatal) == (proxy.url, None, False)

    async def test_a_dead_proxy_is_named_and_tried_again(self, authority):
        """As a dead server is."""
        async with Proxy() as proxy:
            pass
        retry = RetryPolicy(attempts=3, passes=1, base=0.001, cap=0.002)
        async with client_of("https://history.example", proxy, authority, retry=retry) as client:
            with pytest.raises(ProxyFailed, match=rf"no connection to the proxy 127\.0\.0\.1:{proxy.port}: ") as caught:
                await client.history(ONE).collect()
        assert (caught.value.attempts, caught.value.fatal, caught.value.status) == (3, False, None)

    async def test_a_proxy_that_nobody_knows_is_fatal(self, names):
        """The text says that it is the proxy's host that was not found."""
        names([NO_SUCH_NAME])
        async with HistoryClient(
            "https://history.example", token=TOKEN, list_id=20, proxy="http://proxy.invalid:3128", retry=ONCE
        ) as client:
            with pytest.raises(ProxyFailed, match=r"the host proxy\.invalid of the proxy was not found") as caught:
                await client.history(ONE).collect()
        assert caught.value.fatal

    @pytest.mark.parametrize(
        ("url", "proxy", "words"),
        [
            ("https://999.0.0.1", "direct", r"999\.0\.0\.1 can be no host's name"),
            ("https://history.example", "http://127.1:3128", r"127\.1, the host of the proxy, can be no host's name"),
        ],
    )
    async def test_digits_that_are_no_address_of_a_host_stop_the_stream_at_once(self, url, proxy, words):
        """Nobody is asked; the text says whose they are."""
        async with HistoryClient(url, token=TOKEN, list_id=20, proxy=proxy) as client:
            with pytest.raises(ConnectionFailed, match=words) as caught:
                await client.history(ONE).collect()
        assert (caught.value.attempts, caught.value.fatal) == (1, True)

    async def test_a_tls_proxy_that_is_not_trusted_is_named(self, authority):
        """Nothing is asked of it."""
        async with (
            Proxy(ssl=authority.server_context()) as proxy,
            HistoryClient("https://history.example", token=TOKEN, list_id=20, proxy=proxy.url) as client,
        ):
            refused = rf"certificate of the proxy 127\.0\.0\.1:{proxy.port} was refused"
            with pytest.raises(UntrustedServer, match=refused):
                await client.history(ONE).collect()
        assert proxy.heads == []

    async def test_a_proxy_of_the_callers_session_is_told_by_its_status(self):
        """Its address is the session's affair."""
        async with Proxy(rest=403) as proxy, aiohttp.ClientSession(proxy=proxy.url) as session:
            client = HistoryClient("https://history.example", token=TOKEN, list_id=20, session=session)
            async with client:
                with pytest.raises(ProxyFailed, match="the proxy of the session responded with HTTP 403"):
                    await client.history(ONE).collect()


async def test_the_embedded_server_is_reached_straight_unless_a_proxy_is_passed(monkeypatch, server):
    """A proxy of the environment would not find the way to this machine."""
    async with Proxy() as proxy:
        monkeypatch.setenv("PROFILE_HISTORY_PROXY", proxy.url)
        async with server.client() as client:
            assert await client.history(server.profile(1)).collect()
        assert proxy.heads == []
        async with server.client(proxy=proxy.url) as client:
            assert await client.history(server.profile(1)).collect()
        assert proxy.heads


async def test_an_outage_names_the_variable_that_changes_nothing_as_well(monkeypatch, swift):
    """Whoever has set only that meets no server at all, and waits for it until patience is used up."""
    async with Script(rest=silence) as script:
        pass
    monkeypatch.setenv("HTTPS_PROXY", "http://robot:canary@proxy.example:3128")
    retry = attrs.evolve(swift, patience=0.1)
    async with HistoryClient(f"http://127.0.0.1:{script.port}", token=TOKEN, list_id=20, retry=retry) as client:
        with pytest.raises(
            ServerUnavailable, match=r"HTTPS_PROXY is set and changes nothing here; .* proxy="
        ) as caught:
            await client.history(ONE).collect()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("dead", [True, False], ids=["refused", "silent"])
async def test_a_failed_connection_names_the_variable_that_changes_nothing(monkeypatch, dead):
    """Where it is set, no proxy is in use, and the client connects by itself; its value is not told."""
    async with Proxy() as proxy, Script(rest=silence) as script:
        pass
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    options = {"token": TOKEN, "list_id": 20, "retry": ONCE, "timeouts": Timeouts(connect=0.1)}
    async with contextlib.AsyncExitStack() as stack:
        url = f"https://127.0.0.1:{script.port}"
        if not dead:
            # It accepts, and never says a word of TLS.
            url = f"https://127.0.0.1:{await stack.enter_async_context(listening(silence))}"
        client = await stack.enter_async_context(HistoryClient(url, **options))
        with pytest.raises(ConnectionFailed, match=r"HTTPS_PROXY is set and changes nothing here; .* proxy=") as caught:
            await client.history(ONE).collect()
        assert "canary" not in str(caught.value)
        through = await stack.enter_async_context(HistoryClient(url, proxy=proxy.url, **options))
        with pytest.raises(ProxyFailed) as caught:
            await through.history(ONE).collect()
        assert "HTTPS_PROXY" not in str(caught.value)
        own = await stack.enter_async_context(aiohttp.ClientSession())
        borrowed = await stack.enter_async_context(HistoryClient(url, session=own, **options))
        with pytest.raises(ConnectionFailed) as caught:
            await borrowed.history(ONE).collect()
        assert "HTTPS_PROXY" not in str(caught.value)
