"""A whole job through a real Squid with a password, to a server with a certificate of a private CA."""

import pytest
from support.commands import lead_to, run  # noqa: F401 (a fixture)
from support.exports import DAYS, listed, stored, truth
from support.proxies import require_proxies
from support.tls import authority, behind_tls, in_thread  # noqa: F401 (a fixture)

from benchmarks.proxies import squid
from profile_history import HistoryClient, ProxyFailed, RetryPolicy
from profile_history.testing import HistoryServer

require_proxies()
pytestmark = pytest.mark.proxies

TOKEN, PASSWORD = "canary-token-81c2", "canary pass: w@rd/81"
WRITTEN = "canary%20pass%3A%20w%40rd%2F81"


@pytest.fixture(scope="module")
def proxy():
    """A Squid that knows one user."""
    with squid("robot", PASSWORD) as running:
        yield running


@pytest.fixture
def secure(authority):
    """A server, and its URL behind TLS."""
    with (
        HistoryServer(profiles=30, token=TOKEN) as server,
        in_thread(lambda: behind_tls(server, authority.server_context())) as url,
    ):
        yield server, url


def with_password(proxy, password=WRITTEN):
    """The URL of the proxy, as the environment may hold it."""
    return proxy.url.replace("://", f"://robot:{password}@")


def test_the_output_of_a_job_is_the_truth_and_no_log_of_the_proxy_has_the_token(
    proxy, secure, authority, run, monkeypatch, tmp_path
):
    """Nor has it the password, an address or the path; it names the tunnels, and nothing in them."""
    server, url = secure
    monkeypatch.chdir(tmp_path)
    lead_to(server, monkeypatch)
    monkeypatch.setenv("PROFILE_HISTORY_URL", url)
    monkeypatch.setenv("PROFILE_HISTORY_PROXY", with_password(proxy))
    monkeypatch.setenv("PROFILE_HISTORY_CA", str(authority.file))
    words = ["--matching", "email", *DAYS, "--into=history.ndjson"]
    assert run("export", listed(20), *words)[0] == 0
    assert stored("history.ndjson") == truth(server)
    logs = b"".join(path.read_bytes() for path in proxy.log.parent.glob("*.log"))
    assert f"CONNECT {url.removeprefix('https://')}".encode() in logs
    for secret in (TOKEN, PASSWORD, WRITTEN, "history_get", "example.com"):
        assert secret.encode() not in logs


@pytest.mark.parametrize("password", ["wrong", None], ids=["wrong", "none"])
@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_a_password_that_it_does_not_accept_is_a_407_that_names_it(proxy, secure, authority, password, tls):
    """At the first request, by CONNECT and by plain http."""
    server, url = secure
    address = with_password(proxy, password) if password else proxy.url
    options = {"token": TOKEN, "list_id": server.list_id, "ca": authority.file}
    async with HistoryClient(url if tls else server.url, proxy=address, **options) as client:
        with pytest.raises(ProxyFailed, match=rf"the proxy {proxy.url[7:]} responded with HTTP 407") as caught:
            await client.history(server.profile(1)).collect()
    assert (caught.value.status, caught.value.attempts, caught.value.fatal) == (407, 1, True)


async def test_a_server_that_it_cannot_reach_is_its_503(proxy, secure, authority):
    """It is tried again, since servers come back."""
    options = {"token": TOKEN, "list_id": 20, "ca": authority.file, "proxy": with_password(proxy)}
    retry = RetryPolicy(attempts=2, passes=1, base=0.001, cap=0.002)
    async with HistoryClient("https://127.0.0.1:9", retry=retry, **options) as client:
        with pytest.raises(ProxyFailed, match=r"responded with HTTP 503 when it was asked to connect to 127") as caught:
            await client.history(secure[0].profile(1)).collect()
    assert (caught.value.status, caught.value.attempts, caught.value.fatal) == (503, 2, False)


async def test_plain_http_goes_through_it_as_well(proxy, secure):
    """With the same password; the server gets no header of the proxy's."""
    server, _ = secure
    async with server.client(proxy=with_password(proxy)) as client:
        assert await client.history(server.profile(1)).collect() == server.truth(server.profile(1))
