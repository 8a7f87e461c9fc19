"""Fewer days are a guess: what it costs where it is wrong, and that nothing is lost where it is right."""

import datetime as dt
import random
from collections import Counter
from typing import NamedTuple

import pytest
from support.change_responses import change_responses
from support.virtual_clock import run_virtually

from profile_history import (
    Limits,
    Pacing,
    ResponseTooLarge,
    RetryPolicy,
    ServerUnavailable,
    TruncatedResponse,
    UnexpectedPage,
)
from profile_history._sending.failure_policy import BAD_DAYS_AFTER_HELP, BAD_DAYS_MEASURED
from profile_history.observing import CircuitOpened, WindowDone
from profile_history.testing import Fault, FaultPlan, HistoryServer

BAD = 7
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2023, 12, 31)
DAY = dt.timedelta(days=1)
ONE_BY_ONE = Pacing(concurrency=1, adaptive=False)
SMALL = Limits(body=100_000)


class Course(NamedTuple):
    """What came of fetching a year of some profiles: by profile, and with what was done when the circuit opened."""

    failed: list
    requests: Counter
    events: dict
    truth: dict
    done_at_openings: list

    @property
    def windows(self):
        """Return the windows that failed, as they were reported."""
        return [str(failure.window) for failure in self.failed]

    @property
    def lost(self):
        """Return the profiles of which an event is missing that is in no failed window."""
        failed = [(failure.profile, failure.window) for failure in self.failed]
        wanted = {
            profile: [
                event
                for event in events
                if not any(profile == one and window.holds(event.datetime.date()) for one, window in failed)
            ]
            for profile, events in self.truth.items()
        }
        return [profile for profile in wanted if wanted[profile] != self.events[profile]]


def always(window):
    """Take in every request."""
    return True


def between(first, last):
    """Return a test for requests that ask for one of some days, each of them for its days more."""

    def asks(window):
        begin, _, end = window.partition("..")
        return begin <= last and first <= end

    return asks


def spoiling(fault, spoils=always, **more):
    """Return a plan by which one profile meets a fault in some of its windows."""

    class Plan(FaultPlan):
        def draw(self, profile, window, attempt):
            return fault if profile == BAD and spoils(window) else None

    return Plan(**more)


def fetch_year(faults, *, profiles=50, **options):
    """Fetch a year of some profiles while a plan of faults is at work."""

    async def fetch():
        done, done_at_openings = [], []

        def note(event):
            if isinstance(event, WindowDone) and event.error is None:
                done.append(event.profile)
            if isinstance(event, CircuitOpened):
                done_at_openings.append(len(done))

        async with (
            HistoryServer(profiles=profiles, faults=faults) as server,
            server.client(on_event=note, **options) as client,
            client.histories(server.profiles(), FIRST, LAST, on_error="collect").windows() as stream,
        ):
            events, failed = {profile: [] for profile in server.profiles()}, []
            async for result in stream:
                events[result.profile] += result.events
                failed += [result] if result.error else []
            truth = {
                profile: [event for event in server.truth(profile) if FIRST <= event.datetime.date() <= LAST]
                for profile in events
            }
        return Course(failed, Counter(entry.profile for entry in server.log), events, truth, done_at_openings)

    random.seed(1)
    return run_virtually(fetch())


@pytest.mark.parametrize(
    ("faults", "most"),
    [
        (spoiling(Fault.ERROR_504), 40),
        (spoiling(Fault.STALL), 40),
        (spoiling(Fault.API_ERROR, api_error=413), 12),
    ],
    ids=["504", "timeouts", "413 of the API"],
)
def test_a_profile_that_always_fails_costs_few_requests_and_fails_as_a_day_and_the_rest(faults, most):
    """The others lose nothing; the circuit opens at most when they are done, and the profile fails alone."""
    course = fetch_year(faults)
    assert course.windows == ["2023-12-31..2023-12-31", "2023-01-01..2023-12-30"]
    assert course.requests[BAD] <= most
    probes = 2 * len(course.done_at_openings)
    assert sum(course.requests.values()) <= 49 + course.requests[BAD] + probes
    assert set(course.done_at_openings) <= {49}
    assert course.lost == []


@pytest.mark.parametrize("other", [Fault.ERROR_502, Fault.ERROR_503, Fault.RESET_BEFORE_RESPONSE])
def test_a_profile_that_fails_in_several_ways_in_turn_costs_as_few(other):
    """A gateway that says 504 of it at first may say something else at the last attempt of each day."""

    class Plan(FaultPlan):
        def draw(self, profile, window, attempt):
            first = attempt % RetryPolicy().attempts == 0
            return None if profile != BAD else Fault.ERROR_504 if first else other

    course = fetch_year(Plan())
    assert course.windows == ["2023-12-31..2023-12-31", "2023-01-01..2023-12-30"]
    assert course.requests[BAD] <= 45
    assert course.lost == []


def test_a_profile_whose_every_response_is_too_large_costs_few_requests():
    """It may be the days, of which some are tried, before the rest fails as one window."""
    course = fetch_year(spoiling(Fault.HUGE_BODY, bomb=SMALL.body + 1), profiles=BAD + 1, limits=SMALL)
    assert len(course.failed) == BAD_DAYS_MEASURED + 1
    days = [str(LAST - DAY * number) for number in range(BAD_DAYS_MEASURED)]
    assert course.windows == [*(f"{day}..{day}" for day in days), f"{FIRST}..{LAST - DAY * BAD_DAYS_MEASURED}"]
    assert all(isinstance(failure.error, ResponseTooLarge) for failure in course.failed)
    assert max(course.requests.values()) <= 25


def test_days_with_as_many_rows_as_the_row_cap_never_give_up_the_days_before_them(monkeypatch):
    """Each of them is reported by itself, since a cut response says nothing about other days."""
    rows = b",".join([b'{"action":"send","datetime":"2023-06-01T10:00:00Z"}'] * 3)
    change_responses(monkeypatch, lambda _: b'{"data":[' + rows + b'],"error":0,"error_text":""}')
    course = fetch_year(FaultPlan(), profiles=1, limits=Limits(row_cap=3))
    assert course.windows == [f"{day}..{day}" for day in (LAST - DAY * number for number in range(365))]
    assert all(isinstance(failure.error, TruncatedResponse) for failure in course.failed)


@pytest.mark.parametrize("pacing", [Pacing(), ONE_BY_ONE], ids=["many", "one"])
@pytest.mark.parametrize(
    ("fault", "options"),
    [(Fault.ERROR_504, {}), (Fault.API_ERROR, {"api_error": 413}), (Fault.HUGE_BODY, {"bomb": SMALL.body + 1})],
    ids=["504", "413 of the API", "too large"],
)
def test_a_bad_day_in_the_middle_of_a_year_costs_the_days_whose_requests_take_it_in(fault, options, pacing):
    """Fewer days have helped before, so the year is fetched around them."""
    course = fetch_year(spoiling(fault, between("2023-05-05", "2023-05-05"), **options), pacing=pacing, limits=SMALL)
    assert course.windows == [f"2023-05-0{day}..2023-05-0{day}" for day in (6, 5, 4, 3)]
    assert course.lost == []


@pytest.mark.parametrize(
    ("fault", "options"), [(Fault.ERROR_504, {}), (Fault.API_ERROR, {"api_error": 413})], ids=["504", "413 of the API"]
)
def test_where_half_of_a_year_fails_for_good_some_days_are_tried_and_the_rest_is_one_window(fault, options):
    """Not each of 180 days a dozen times."""
    course = fetch_year(spoiling(fault, between("0000", "2023-06-30"), **options), pacing=ONE_BY_ONE)
    days = [str(dt.date(2023, 7, 1) - DAY * number) for number in range(BAD_DAYS_AFTER_HELP)]
    assert course.windows == [*(f"{day}..{day}" for day in days), "2023-01-01..2023-06-26"]
    assert course.requests[BAD] < 100
    assert course.lost == []


def test_a_newest_day_that_is_too_large_does_not_cost_the_year():
    """How large it is says nothing about the days before it."""
    course = fetch_year(
        spoiling(Fault.HUGE_BODY, between("2023-12-31", "2023-12-31"), bomb=SMALL.body + 1), limits=SMALL
    )
    assert course.windows == [f"2023-12-{day}..2023-12-{day}" for day in (31, 30, 29)]
    assert course.lost == []


def test_a_413_that_a_proxy_says_to_a_profile_is_one_failed_window():
    """Its page is about the request, which is always short, and not about the days."""
    course = fetch_year(FaultPlan.always(Fault.ERROR_413), profiles=4)
    assert course.windows == [f"{FIRST}..{LAST}"] * 4
    assert set(course.requests.values()) == {1}
    assert all(isinstance(failure.error, UnexpectedPage) for failure in course.failed)


def test_a_profile_that_always_fails_and_is_all_there_is_ends_as_an_outage():
    """Nothing was ever responded to well, so nothing tells it from one; the stream ends with patience."""
    with pytest.raises(ServerUnavailable):
        fetch_year(FaultPlan.always(Fault.ERROR_504), profiles=1, retry=RetryPolicy(patience=60))
