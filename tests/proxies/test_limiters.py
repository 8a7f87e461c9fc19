"""A client before the limiters of real proxies, with its usual settings: it is refused little, and misses little."""

import pytest
from support.proxies import require_proxies

from benchmarks.limited import FINDING, LIMITED_SERVERS, read_limited

require_proxies()
pytestmark = pytest.mark.proxies

SHORT, LONG = 30.0, 100.0


def check_share(limited, reading, end):
    """From the time for finding the rate on, nearly all that is permitted is used, and hardly anything is refused."""
    rate, refused = reading.rate(FINDING, end), reading.refused(FINDING, end)
    print(f"{limited.name}: {rate:.1f} of {limited.rate:g} per second, {refused:.2%} refused, {reading.statuses()}")
    assert reading.error is None
    assert reading.failed == []
    assert rate >= 0.85 * limited.rate
    assert refused <= 0.02


@pytest.mark.parametrize("seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "name",
    [
        "sliding-429",
        "limit_req-429",
        "limit_req-503",
        "limit_req-retry-after",
    ],
)
async def test_a_limit_on_the_rate_is_found_within_twenty_seconds_and_held(name, seconds):
    """At least 85 % of what is permitted is used from then on, and at most 2 % of the responses are refusals."""
    limited = LIMITED_SERVERS[name]
    # More than it can let in, so that there is something to ask for until the end.
    reading = await read_limited(limited, int(limited.rate * seconds * 1.2), seconds=seconds)
    check_share(limited, reading, seconds)


@pytest.mark.parametrize("profiles", [600, pytest.param(1500, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "name",
    [
        "limit_conn-503",
        "limit_conn-429",
    ],
)
async def test_a_limit_on_concurrency_is_found_without_an_outage(name, profiles):
    """The proxy refuses the fourth request in flight: at most 5 % more requests than windows, and none fails."""
    reading = await read_limited(LIMITED_SERVERS[name], profiles, seconds=120.0)
    print(f"{name}: {len(reading.responses)} requests, {reading.statuses()}, {reading.openings} outages")
    assert (reading.error, reading.failed, reading.openings) == (None, [], 0)
    assert reading.done == profiles
    assert reading.requests_per_window <= 1.05
