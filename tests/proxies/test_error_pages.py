"""What proxies say instead of the API: pages without its envelope, which tell nothing of days, profiles or tokens."""

import asyncio
import time

import pytest
from support.commands import run  # noqa: F401 (a fixture)
from support.proxies import require_proxies

from benchmarks.limited import DEAD_PROFILE, read_through, read_with_dead_profile, read_without_bodies, upstream_of
from benchmarks.proxies import haproxy, nginx
from profile_history import AuthenticationError, Pacing, ResponseError, ServerUnavailable
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

require_proxies()
pytestmark = pytest.mark.proxies

# A port that nobody listens on, for proxies that pass nothing on.
NOBODY = "127.0.0.1:9"


@pytest.fixture
async def server():
    """A server of 20 profiles."""
    async with HistoryServer(profiles=20) as running:
        yield running


async def test_a_proxy_that_takes_no_body_costs_one_window_of_each_profile():
    """Or the stream stops with the reason; a year of 20 profiles is not asked for day by day."""
    reading = await read_without_bodies()
    print(reading.statuses(), reading.error, len(reading.failed))
    assert reading.statuses().keys() == {413}
    assert reading.error is not None or len(reading.failed) == 20
    assert len(reading.responses) <= 20


async def test_a_profile_that_always_times_out_behind_a_proxy_disturbs_no_other():
    """One of 50 gets 504 whatever is asked for: at most 40 requests for it, and the other 49 are read once each.

    Once they are done it fails alone, which looks like an outage until a probe repeats a request that succeeded.
    """
    reading = await read_with_dead_profile()
    statuses = reading.statuses()
    print(f"{statuses[504]} requests for the dead profile, {statuses[200]} for the others, {reading.openings} outages")
    assert reading.error is None
    assert set(reading.failed) == {str(HistoryServer(profiles=50).profile(DEAD_PROFILE, "email"))}
    assert statuses[504] <= 40
    assert 49 <= statuses[200] <= 49 + reading.openings
    assert reading.openings <= 2


@pytest.mark.parametrize(
    ("rules", "title"),
    [
        ("deny all;", "403 Forbidden"),
        ('auth_basic "staff"; auth_basic_user_file /dev/null;', "401 Authorization Required"),
    ],
    ids=["403", "401"],
)
async def test_a_page_that_denies_access_is_not_the_word_of_the_api(server, rules, title):
    """Before anything has worked it ends the stream, and says that a page came, from whom, and its title."""
    with nginx(upstream_of(server), location=rules) as proxy:
        reading = await read_through(proxy, server, seconds=30)
    assert isinstance(reading.error, ResponseError)
    assert "nginx" in str(reading.error)
    assert title in str(reading.error)
    assert len(server.log) == 0


def test_a_page_that_denies_access_is_exit_code_75(run, monkeypatch):
    """The operator is not sent to look at the token, of which nobody said a word."""
    with nginx(NOBODY, location="deny all;") as proxy:
        monkeypatch.setenv("PROFILE_HISTORY_TOKEN", "a-token")
        code, out, err = run("fetch", "--matching", "email", "--url", proxy.url, "--list-id", 20, "user1@example.com")
    assert (code, out) == (75, "")
    assert "token" not in err


async def test_a_firewall_that_closes_for_a_moment_is_an_outage():
    """HAProxy denies all for two seconds in the middle of a stream: what met ten pages fails, the rest arrives."""
    async with HistoryServer(profiles=800, behaviour=Behaviour(latency=0.2)) as server:
        closes = int(time.time()) + 2
        denied = f"http-request deny deny_status 403 if {{ date ge {closes} }} {{ date lt {closes + 2} }}"
        with haproxy(upstream_of(server), frontend=denied) as proxy:
            reading = await read_through(proxy, server, seconds=30)
    print(reading.statuses(), reading.openings, len(reading.failed))
    assert reading.statuses()[403] > 0
    assert reading.error is None
    assert reading.openings == 1
    assert reading.done == 800
    # Those of the row that opens the circuit; while it is open, nobody is charged.
    assert len(reading.failed) < 20


async def test_what_the_api_says_of_a_token_goes_through_a_proxy(server):
    """Its envelope is what tells it from a page, not who stands between."""
    with nginx(upstream_of(server)) as proxy:
        server.token = "another"
        wrong = HistoryServer(profiles=20)
        reading = await read_through(proxy, wrong, seconds=30)
    assert isinstance(reading.error, AuthenticationError)


@pytest.mark.parametrize("status", [404, 405, 407, 501])
async def test_a_page_that_everybody_gets_stops_the_stream_after_five_profiles(server, status):
    """The token is not sent twenty times to an address at which there is no API."""
    with nginx(upstream_of(server), location=f"return {status};") as proxy:
        reading = await read_through(proxy, server, seconds=30, pacing=Pacing(concurrency=1))
    assert reading.error is not None
    assert str(status) in str(reading.error)
    assert len(reading.responses) <= 5


async def test_a_proxy_without_a_server_behind_it_is_an_outage(server):
    """HAProxy says 503 for everything: the client asks hardly ever, and gives up when its patience is over."""
    with haproxy(None) as proxy:
        reading = await read_through(proxy, server, seconds=30, patience=1.0)
    assert isinstance(reading.error, ServerUnavailable)
    assert reading.statuses().keys() == {503}
    assert len(reading.responses) <= 20


async def test_a_server_that_comes_back_behind_its_proxy_costs_no_window(server):
    """Meanwhile nginx says 502, which is an outage and no failure of a window."""
    server.faults = FaultPlan.always(Fault.RESET_BEFORE_RESPONSE)
    with nginx(upstream_of(server)) as proxy:
        asyncio.get_running_loop().call_later(1.0, setattr, server, "faults", FaultPlan())
        reading = await read_through(proxy, server, seconds=30)
    assert (reading.error, reading.failed, reading.done) == (None, [], 20)
    assert reading.statuses()[502] > 0
