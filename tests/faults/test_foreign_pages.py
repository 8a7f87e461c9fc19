"""What responds in place of the API: pages of firewalls, proxies and other sites, at the start and later."""

import asyncio
import contextlib
import random

import pytest
from support.outages import FROM, LATENCY, TO, WatchedServer, now
from support.virtual_clock import run_virtually

from profile_history import (
    AuthenticationError,
    CircuitOpened,
    HistoryClient,
    HistoryError,
    Pacing,
    RetryPolicy,
    ServerUnavailable,
    UnexpectedPage,
)
from profile_history.testing import Fault, FaultPlan

FIREWALL = (Fault.PAGE_401, Fault.PAGE_403, Fault.PAGE_511)
WRONG_ADDRESS = (Fault.ERROR_404, Fault.ERROR_405, Fault.PAGE_407, Fault.PAGE_501)
CONCURRENCY = 4
PROFILES = 100


class Course:
    """What became of a fetch.

    Attributes:
        stream: The stream, read to its end.
        error: What ended it, `None` if nothing did.
        opened: How often the circuit opened.
        requests: What the server was sent, in order.
        seconds: How long it took.
    """

    def __init__(self, server, stream, error, opened, seconds):
        self.server, self.stream, self.error, self.opened, self.seconds = server, stream, error, opened, seconds
        self.requests = list(server.log)

    @property
    def failed(self):
        """The numbers of the profiles whose windows failed, with their errors."""
        return {self.server.histories.find(one.profile.body()): one.error for one in self.stream.failures}


def fetch(faults, *, profiles=PROFILES, then=None, patience=60.0, **options):
    """Fetch the histories of all profiles on virtual time.

    Args:
        faults: The plan of the server.
        profiles: How many there are.
        then: A coroutine function that is given the server, and runs meanwhile.
        patience: That of the client.
        options: Others of the client.
    """
    told = []

    async def run():
        random.seed(7)
        async with WatchedServer(profiles, faults=faults) as server:
            options.setdefault("pacing", Pacing(concurrency=CONCURRENCY))
            options["retry"] = RetryPolicy(patience=patience)
            async with server.client(on_event=told.append, **options) as client:
                stream = client.histories(server.profiles(), FROM, TO, on_error="collect")
                meanwhile = asyncio.create_task(then(server)) if then else None
                error = None
                try:
                    await stream.collect()
                except HistoryError as caught:
                    error = caught
                if meanwhile:
                    await meanwhile
                return Course(server, stream, error, sum(isinstance(note, CircuitOpened) for note in told), now())

    return run_virtually(run())


@pytest.mark.parametrize("fault", FIREWALL)
def test_the_page_of_a_firewall_before_anything_worked_ends_the_stream_and_says_whose_it_is(fault):
    """No other profile is asked for but those in flight, and nobody blames the token."""
    course = fetch(FaultPlan.always(fault))
    status = fault.removeprefix("page_")
    assert type(course.error) is UnexpectedPage
    assert not isinstance(course.error, AuthenticationError)
    assert (course.error.fatal, course.error.http_status, course.error.server) == (True, int(status), "nginx/1.28.0")
    assert course.error.title.startswith(status)
    assert f"a page and not the API responded with HTTP {status}" in str(course.error)
    for part in (course.error.server, course.error.title, course.error.hint, str(course.error.profile)):
        assert part in str(course.error)
    assert "the token is missing" not in str(course.error)
    assert len(course.requests) <= CONCURRENCY
    assert course.stream.failures == []


@pytest.mark.parametrize("fault", [*WRONG_ADDRESS, Fault.ERROR_409, Fault.ERROR_413, Fault.ERROR_422])
def test_any_other_page_ends_the_stream_when_five_profiles_have_met_it_and_nothing_ever_worked(fault):
    """It may be about a single profile; the fifth says that it is not."""
    course = fetch(FaultPlan.always(fault))
    assert type(course.error) is UnexpectedPage
    assert course.error.fatal
    assert "5 profiles have met a page, and nothing was ever responded to well; " in str(course.error)
    assert len(course.failed) == 4
    assert len(course.requests) < 5 + CONCURRENCY


@pytest.mark.parametrize("fault", [Fault.ERROR_404, Fault.ERROR_405, Fault.PAGE_501])
def test_a_page_of_a_wrong_address_advises_to_check_the_base_url(fault):
    """In the error that ends the stream, and in those of the windows."""
    course = fetch(FaultPlan.always(fault))
    assert all("check the base URL" in str(error) for error in (course.error, *course.failed.values()))


@pytest.mark.parametrize("fault", WRONG_ADDRESS)
def test_fewer_than_five_profiles_fail_one_by_one(fault):
    """Each after one request, and nothing ends the stream."""
    course = fetch(FaultPlan.always(fault), profiles=4)
    assert course.error is None
    assert sorted(course.failed) == [0, 1, 2, 3]
    assert len(course.requests) == 4


def test_the_windows_of_one_profile_count_once():
    """They say nothing about other profiles; ten in a row are an outage."""
    course = fetch(FaultPlan.always(Fault.ERROR_404), profiles=1, window=1, patience=20.0)
    assert isinstance(course.error, ServerUnavailable)
    assert "HTTP 404" in str(course.error)
    assert len(course.stream.failures) == 10
    assert course.seconds < 21


def test_a_copy_of_the_client_knows_what_others_have_met():
    """What five profiles met before ends its stream at the first page."""

    async def run():
        async with WatchedServer(20, faults=FaultPlan.always(Fault.ERROR_404)) as server, server.client() as client:
            for asked in (5, 1):
                with pytest.raises(UnexpectedPage) as caught:
                    profiles = list(server.profiles())[:asked]
                    await client.with_options().histories(profiles, FROM, TO, on_error="collect").collect()
                assert caught.value.fatal

    run_virtually(run())


def later(fault, profiles=None):
    """Return what makes a server respond with a page when ten profiles have been fetched."""

    async def turn(server):
        while len(server.log) < 10:
            await asyncio.sleep(LATENCY / 4)
        server.faults = FaultPlan(rates={fault: 1.0}, streak=None, profiles=profiles)

    return turn


@pytest.mark.parametrize("fault", [*FIREWALL, *WRONG_ADDRESS, Fault.ERROR_413])
def test_a_page_after_something_worked_fails_its_window_alone(fault):
    """It costs one request, and the others do not notice."""
    course = fetch(FaultPlan(), then=later(fault, profiles=[50, 70]))
    assert course.error is None
    assert sorted(course.failed) == [50, 70]
    assert {type(error) for error in course.failed.values()} == {UnexpectedPage}
    assert len(course.requests) == PROFILES
    assert course.opened == 0


def test_a_firewall_that_lets_every_other_profile_through_is_no_outage():
    """However many of the responses are its pages."""
    every_other = list(range(20, PROFILES, 2))
    course = fetch(FaultPlan(), then=later(Fault.PAGE_403, profiles=every_other))
    assert sorted(course.failed) == every_other
    assert len(course.requests) == PROFILES
    assert course.opened == 0


@pytest.mark.parametrize("fault", [Fault.PAGE_403, Fault.ERROR_404, Fault.ERROR_413])
def test_ten_pages_in_a_row_are_an_outage_that_is_waited_out(fault):
    """The windows after the tenth are held, and fetched when it is over."""

    async def down_for_a_while(server):
        await later(fault)(server)
        await asyncio.sleep(30)
        server.faults = FaultPlan()

    course = fetch(FaultPlan(), then=down_for_a_while)
    assert course.error is None
    assert course.opened == 1
    assert 10 <= len(course.failed) < 10 + CONCURRENCY
    assert course.stream.stats.windows == PROFILES


def test_pages_that_do_not_end_are_a_server_that_is_down_and_say_what_responds():
    """After the patience of the client."""
    course = fetch(FaultPlan(), then=later(Fault.PAGE_403), patience=20.0)
    assert isinstance(course.error, ServerUnavailable)
    assert 'a page and not the API responded with HTTP 403 ("403 Forbidden", Server: nginx' in str(course.error)
    # Ten of each, those in flight, and probes after 2, 4, 8 and 16 s, of which two thirds may be enough.
    assert len(course.requests) <= 10 + 10 + 2 * CONCURRENCY + 5


def test_a_page_does_not_end_an_outage():
    """A probe that meets one shows nothing of the server at work."""

    async def down_and_then_refused(server):
        await later(Fault.ERROR_503)(server)
        await asyncio.sleep(10)
        server.faults = FaultPlan.always(Fault.PAGE_403)
        await asyncio.sleep(20)
        server.faults = FaultPlan()

    course = fetch(FaultPlan(), then=down_and_then_refused)
    assert course.error is None
    assert course.failed == {}
    assert course.opened == 1


def test_a_page_does_not_make_the_client_read_the_file_of_its_token_again(tmp_path):
    """Only the API's own word is about the token."""
    file = tmp_path / "token"

    async def run():
        async with WatchedServer(3, faults=FaultPlan(script=[Fault.PAGE_401])) as server:
            file.touch(0o600)
            file.write_text(server.token)
            async with HistoryClient(server.url, token_file=file, list_id=server.list_id) as client:
                file.unlink()
                for fault in (Fault.PAGE_401, None):
                    server.faults = FaultPlan(script=[fault])
                    with pytest.raises(UnexpectedPage) if fault else contextlib.nullcontext():
                        await client.history(server.profile(0), FROM, TO).collect()

    run_virtually(run())
