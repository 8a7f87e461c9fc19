"""Which certificates a client trusts: the system's, those of a file, or what a TLS context of the caller says."""

import asyncio
import datetime as dt
import ssl
import threading

import pytest
import trustme
from support.matrix.peers import listening
from support.tls import authority, behind_tls  # noqa: F401 (a fixture)

from profile_history import ConnectionFailed, HistoryClient, Profile, RetryPolicy, UntrustedServer
from profile_history._certificates import read_certificates
from profile_history.testing import HistoryServer

ONE = Profile.email("user1@example.com")
ONCE = RetryPolicy(attempts=1, passes=1)


@pytest.fixture
async def secure(authority):
    """A server behind TLS, with a certificate of a private CA, and its URL."""
    async with HistoryServer(profiles=5) as server, behind_tls(server, authority.server_context("localhost")) as url:
        yield server, url


def client_of(server, url, **options):
    return HistoryClient(url, token=server.token, list_id=server.list_id, **options)


async def test_a_private_ca_is_trusted_when_it_is_named_and_only_then(secure, authority, monkeypatch):
    """By argument, as text or path, or by the environment; a copy of the client trusts it, too."""
    server, url = secure
    truth = server.truth(server.profile(1))
    async with client_of(server, url) as client:
        with pytest.raises(UntrustedServer, match=r"certificate of 127.* was refused .* pass its CA as ca="):
            await client.history(server.profile(1)).collect()
    for ca in (authority.file, str(authority.file)):
        async with client_of(server, url, ca=ca) as client:
            assert await client.history(server.profile(1)).collect() == truth
            assert await client.with_options(order="newest").history(server.profile(1)).collect() == truth
    monkeypatch.setenv("PROFILE_HISTORY_CA", str(authority.file))
    async with client_of(server, url) as client:
        assert await client.history(server.profile(1)).collect() == truth


async def test_another_ca_does_not_vouch_for_the_server(secure, tmp_path):
    """Not every certificate will do."""
    server, url = secure
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    async with client_of(server, url, ca=tmp_path / "other.pem") as client:
        with pytest.raises(UntrustedServer):
            await client.history(ONE).collect()
    assert list(server.log) == []


async def test_the_name_is_checked_with_a_private_ca_as_well(authority):
    """A certificate of that CA for another host is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("elsewhere.example").configure_cert(context)
    async with (
        HistoryServer(profiles=5) as server,
        behind_tls(server, context) as url,
        client_of(server, url, ca=authority.file) as client,
    ):
        with pytest.raises(UntrustedServer):
            await client.history(ONE).collect()
    assert list(server.log) == []


async def test_the_reason_why_a_certificate_is_refused_is_told(authority, tmp_path):
    """Each asks for another step: an authority to trust, another address, a new certificate."""
    elsewhere, expired = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    authority.ca.issue_cert("elsewhere.example").configure_cert(elsewhere)
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    authority.ca.issue_cert("127.0.0.1", not_before=past, not_after=past).configure_cert(expired)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    for context, ca, reason in (
        (authority.server_context(), tmp_path / "other.pem", "unable to get local issuer certificate"),
        (elsewhere, authority.file, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (expired, authority.file, "certificate has expired"),
    ):
        async with (
            HistoryServer() as server,
            behind_tls(server, context) as url,
            client_of(server, url, ca=ca) as client,
        ):
            with pytest.raises(UntrustedServer) as caught:
                await client.history(ONE).collect()
            assert f"was refused ({reason}); " in str(caught.value)


async def test_a_connection_that_is_closed_in_the_middle_of_tls_says_so():
    """The library's error has no text of its own then."""

    async def close(reader, writer):
        await reader.read(1)
        writer.close()

    async with (
        listening(close) as port,
        HistoryClient(f"https://127.0.0.1:{port}", token="a-token", list_id=20, retry=ONCE) as client,
    ):
        with pytest.raises(ConnectionFailed, match="it was closed while TLS was agreed on"):
            await client.history(ONE).collect()


async def test_the_systems_store_stays_trusted_beside_a_file(secure, authority, monkeypatch, tmp_path):
    """Here the store has the server's CA, and the file has another one."""
    server, url = secure
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    # OpenSSL reads it when a context loads its defaults.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with client_of(server, url, ca=tmp_path / "other.pem") as client:
        assert await client.history(server.profile(1)).collect()


async def test_the_systems_store_is_loaded_once_and_beside_the_event_loop(secure, authority, monkeypatch):
    """It takes a tenth of a second; the file itself is read once, and may go then."""
    server, url = secure
    loaded = []
    load = ssl.SSLContext.load_default_certs

    def watched(context, *words):
        loaded.append(threading.current_thread())
        load(context, *words)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", watched)
    async with client_of(server, url, ca=authority.file) as client:
        assert loaded == []
        await client.histories(server.profiles()).collect()
        await asyncio.gather(*(client.history(profile).collect() for profile in server.profiles()))
    assert len(loaded) == 1
    assert loaded[0] is not threading.main_thread()


async def test_requests_that_begin_together_wait_for_one_loading_of_the_store(authority, monkeypatch):
    """The second finds it done."""
    loaded = []

    def load(context):
        loaded.append(context)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    certificates = read_certificates("ca", authority.file)
    await asyncio.gather(certificates.load_system(), certificates.load_system())
    assert loaded == [certificates.context]


async def test_a_context_of_the_caller_shows_a_client_certificate(authority):
    """A server that asks for one responds to whoever has it, and to nobody else."""
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    mine = ssl.create_default_context(cafile=authority.file)
    authority.ca.issue_cert("job@example.com").configure_cert(mine)
    async with HistoryServer(profiles=5) as server, behind_tls(server, context) as url:
        async with client_of(server, url, ca=mine) as client:
            assert await client.history(server.profile(1)).collect() == server.truth(server.profile(1))
        requests = len(server.log)
        async with client_of(server, url, ca=authority.file, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed, match="closed the connection"):
                await client.history(ONE).collect()
    assert len(server.log) == requests
