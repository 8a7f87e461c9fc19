"""The limiters of `profile_history.testing` let in what the real ones do that they are named after."""

import asyncio
from collections import Counter

import aiohttp
import pytest
from support.history_servers import ask
from support.proxies import require_proxies

from benchmarks.limited import upstream_of
from benchmarks.proxies import haproxy, nginx
from profile_history.testing import (
    Behaviour,
    ConcurrencyLimiter,
    FaultPlan,
    HistoryServer,
    LeakyBucket,
    SlidingWindow,
    TokenBucket,
)

require_proxies()
pytestmark = pytest.mark.proxies

# Slow rates, so that nothing depends on how long it takes to send a burst.
ZONE = "limit_req_zone $binary_remote_addr zone=all:1m rate=6r/m; limit_req_status 429;"
PLACES = "limit_conn_zone $binary_remote_addr zone=all:1m; limit_conn_status 503;"
WINDOW = """stick-table type ip size 1k expire 1m store http_req_rate(20s)
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 7 }"""
PAIRS = {
    "token bucket": (
        lambda to: nginx(to, http=ZONE, location="limit_req zone=all burst=5 nodelay;"),
        TokenBucket(0.1, burst=6),
        {200: 6, 429: 14},
    ),
    "concurrency": (
        lambda to: nginx(to, http=PLACES, location="limit_conn all 3;"),
        ConcurrencyLimiter(3, status=503),
        {200: 3, 503: 17},
    ),
    "sliding window": (
        lambda to: haproxy(to, frontend=WINDOW),
        SlidingWindow(7, seconds=20, count_refused=True),
        {200: 7, 429: 13},
    ),
    "leaky bucket": (
        lambda to: nginx(to, http=ZONE.replace("6r/m", "10r/s"), location="limit_req zone=all burst=3;"),
        LeakyBucket(10, queue=3),
        None,
    ),
}


class Through:
    """A server by way of a proxy, as `ask` takes it."""

    def __init__(self, url, server):
        self.url, self.token, self.list_id = url, server.token, server.list_id


async def burst(target):
    """Send twenty requests at once; return the statuses and the seconds that the last good response took."""
    loop = asyncio.get_running_loop()
    began, ends = loop.time(), []

    async def one(session):
        reply = await ask(target, session=session)
        if reply.status == 200:
            ends.append(loop.time() - began)
        return reply.status

    async with aiohttp.ClientSession() as session:
        statuses = Counter(await asyncio.gather(*(one(session) for _ in range(20))))
    return statuses, max(ends)


@pytest.mark.parametrize("name", PAIRS)
async def test_a_burst_meets_the_same_behind_the_real_limiter_and_behind_ours(name):
    """As many are let in, with the same status for the others; in a queue the last one waits as long."""
    real, ours, expected = PAIRS[name]
    behaviour = Behaviour(latency=0.5 if name == "concurrency" else 0.0)
    async with HistoryServer(profiles=20, behaviour=behaviour) as server:
        with real(upstream_of(server)) as proxy:
            met, last = await burst(Through(proxy.url, server))
        server.faults = FaultPlan(limiters=[ours])
        rehearsed, rehearsed_last = await burst(server)
    print(name, met, f"{last:.2f} s", rehearsed, f"{rehearsed_last:.2f} s")
    if expected is not None:
        assert met == rehearsed == expected
    else:
        # Four at the least, and one more for each tenth of a second that it took to send them.
        assert 4 <= met[200] <= 8
        assert 4 <= rehearsed[200] <= 8
        assert min(last, rehearsed_last) >= 0.3
