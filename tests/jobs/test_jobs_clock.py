"""Jobs under clocks that are wrong: nothing is lost and nothing doubled, and each night says what it did."""

import datetime as dt
import random
import re
from contextlib import closing
from unittest import mock

import pytest
from support.job_truth import known_to, rows_in

from profile_history import ConfigurationError, RetryPolicy
from profile_history.jobs import HistoryJob
from profile_history.jobs.clock import LONGEST_LOOKBACK, JobClock
from profile_history.jobs.ledger import Ledger
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer, Unfolding

DAY = dt.timedelta(days=1)
PROFILES = 25
FIRST, START = dt.date(2024, 1, 1), dt.date(2024, 2, 1)
SINKS = ("history.ndjson", "lake.parquet", "history.duckdb")


class Nights:
    """A job that is gone on with night after night, by a machine whose clock is off by some days.

    Attributes:
        day: The day it really is, and by the server's clock.
        off: By how many days the machine's clock is ahead.
    """

    def __init__(self, server, directory, *, sink="history.ndjson", seed=0, dated=True):
        self.server, self.directory, self.sink = server, directory, str(directory / sink)
        self.random = random.Random(seed)
        self.day, self.off = START, 0
        unfolding = Unfolding(late=0.4, deleted=0.2, days=2.0)
        self.behaviour = Behaviour(clock=self.now, unfolding=unfolding, date_header=dated)
        server.behaviour = self.behaviour

    def now(self):
        """The moment it really is: it stands still while a night is at work."""
        return dt.datetime.combine(self.day, dt.time(2, 17), dt.UTC)

    @property
    def today(self):
        """What the machine takes for today."""
        return self.day + DAY * self.off

    def job(self, client, *, new=False, **options):
        """The job as it is made each night."""
        given = (self.server.profiles(), self.sink) if new else ()
        days = {"date_from": FIRST, "date_to": options.pop("date_to", self.today)} if new else {}
        # The two clocks of a machine agree; a job takes the second one when it is made.
        with mock.patch("time.time", (self.now() + DAY * self.off).timestamp):
            return HistoryJob(
                client,
                *given,
                ledger=self.directory / "job.ledger",
                today=lambda: self.today,
                commit_seconds=0.05,
                **days,
                **options,
            )

    async def night(self, client, *, new=False, refetch_from=None, **options):
        """One night, as `export --since-last` does it; gives what it said."""
        job = self.job(client, new=new, **options)
        until = None if new else self.today
        async for _ in job.run(until=until, refetch_from=refetch_from):
            pass
        assert await job.verify() == []
        return list(job.warnings)

    def last(self):
        """The last day of the job."""
        with Ledger(self.directory / "job.ledger") as ledger:
            return ledger.plan.date_to

    def right(self):
        """Tell whether the sink holds what the server knows of all days of the job."""
        return rows_in(self.sink) == known_to(self.server, FIRST, self.last())

    def jump(self, most, least=1):
        """In many nights the clock jumps, and in half of the nights after that it is set right."""
        draw = self.random.random()
        if self.off and draw < 0.5:
            self.off = 0
        elif draw < 0.25:
            self.off = self.random.choice((1, -1)) * self.random.randint(least, most)

    def expected(self):
        """The kinds of warning of a night, by the state of the clocks."""
        kinds = {"ahead": self.off > 1, "behind": self.off < -1, "future": self.last() > max(self.day, self.today)}
        return {kind for kind, said in kinds.items() if said}


WORDS = {
    "ahead": "this machine's clock is ahead of the server's",
    "behind": "this machine's clock is behind the server's",
    "future": "lies in the future",
    "undated": "the server does not say what day it is",
    "early": "days were taken as final before they were over",
}


def kinds(warnings):
    """What kinds of warning there are; each is there once."""
    found = [kind for warning in warnings for kind, words in WORDS.items() if words in warning]
    assert len(found) == len(set(found)) == len(warnings)
    return set(found)


async def a_year(directory, sink, seed, nights):
    """Nights with a clock that jumps; every one of them ends with the server's rows, and says what was wrong."""
    async with HistoryServer(profiles=5, seed=seed, first_day=FIRST, last_day=START + DAY * nights) as server:
        year = Nights(server, directory, sink=sink, seed=seed)
        met = set()
        async with server.client() as client:
            for number in range(nights):
                year.jump(365)
                said = await year.night(client, new=number == 0)
                assert kinds(said) == year.expected()
                met |= kinds(said)
                assert year.right()
                year.day += DAY
            year.off = 0
            year.day = max(year.day, year.last()) + 3 * DAY
            assert kinds(await year.night(client)) == set()
            assert year.right()
            with Ledger(directory / "job.ledger") as ledger:
                assert ledger.doubtful_from is None
        return met


@pytest.mark.slow
@pytest.mark.parametrize("sink", SINKS)
async def test_a_clock_that_jumps_by_up_to_a_year_loses_and_doubles_nothing(tmp_path, sink):
    """Rows come late and are deleted meanwhile; a sample of twelve nights."""
    assert await a_year(tmp_path, sink, 3, 12) >= {"ahead", "behind", "future"}


@pytest.mark.full
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("seed", [1, 2, 4])
async def test_a_year_of_nights_with_a_clock_that_jumps_loses_and_doubles_nothing(tmp_path, sink, seed):
    """The same for 365 nights."""
    await a_year(tmp_path, sink, seed, 365)


async def undated(directory, seed, nights, window):
    """Nights with a clock that jumps, and a server that does not say what day it is; what the nights advise is done.

    A clock that is ahead by a single day is right again when the next night looks. The advice is to begin earlier if it
    was wrong for longer, which a ledger cannot know.
    """
    healed, wrong = 0, None
    async with HistoryServer(profiles=4, seed=seed, first_day=FIRST, last_day=START + DAY * nights) as server:
        year = Nights(server, directory, seed=seed, dated=False)
        async with server.client(window=window) as client:
            for number in range(nights):
                year.jump(40, least=2)
                wrong = wrong or (year.day if year.off else None)
                said = await year.night(client, new=number == 0)
                assert "undated" in kinds(said)
                if not year.off and "early" in kinds(said):
                    [advised] = re.findall(r"--refetch-from (\S+)`", " ".join(said))
                    day = min(dt.date.fromisoformat(advised), wrong - 3 * DAY)
                    assert "early" not in kinds(await year.night(client, refetch_from=day))
                    assert year.right()
                    healed, wrong = healed + 1, None
                year.day += DAY
    return healed


@pytest.mark.slow
@pytest.mark.parametrize("window", ["auto", 1])
async def test_what_a_clock_ahead_took_too_early_is_found_and_healed(tmp_path, window):
    """The nights after it name the day from which on to fetch again, and that brings every row."""
    assert await undated(tmp_path, 5, 25, window) > 0


@pytest.mark.full
@pytest.mark.parametrize("window", ["auto", 1, 7])
@pytest.mark.parametrize("seed", range(6))
async def test_what_a_clock_ahead_took_too_early_is_healed_in_a_hundred_nights(tmp_path, seed, window):
    """Many times over."""
    assert await undated(tmp_path, seed, 100, window) > 3


@pytest.fixture
async def nights(tmp_path):
    """A job and its server."""
    async with HistoryServer(profiles=PROFILES, first_day=FIRST, last_day=START + 20 * DAY) as server:
        yield Nights(server, tmp_path)


@pytest.mark.slow
async def test_a_doubt_is_said_every_night_until_the_days_are_fetched_again(nights):
    """Also when by the calendar nothing looks wrong any more, and by a run that has nothing to do."""
    nights.server.behaviour = Behaviour(clock=nights.now, unfolding=nights.behaviour.unfolding, date_header=False)
    async with nights.server.client(window=1) as client:
        await nights.night(client, new=True)
        nights.off, nights.day = 5, nights.day + DAY
        await nights.night(client)
        nights.off = 0
        for _ in range(9):
            nights.day += DAY
            said = await nights.night(client)
            assert "early" in kinds(said)
        assert kinds(said) == {"early", "undated"}
        job = nights.job(client)
        async for _ in job.run():
            pass
        assert kinds(job.warnings) == {"early"}
        assert not nights.right()
        [day] = re.findall(r"--refetch-from (\S+)`", job.warnings[0])
        later = dt.date.fromisoformat(day) + 2 * DAY
        assert "early" in kinds(await nights.night(client, refetch_from=later))
        assert kinds(await nights.night(client, refetch_from=day)) == {"undated"}
        assert nights.right()


async def test_what_one_night_took_too_early_is_doubted_until_it_is_fetched_again(tmp_path):
    """From the first such day on: to fetch only later days again does not end the doubt."""
    async with HistoryServer(profiles=3, first_day=FIRST, last_day=START + 20 * DAY) as server:
        nights = Nights(server, tmp_path, dated=False)
        async with server.client() as client:
            nights.off = 5
            assert "early" not in kinds(await nights.night(client, new=True))
            nights.off, nights.day = 0, nights.day + DAY
            said = await nights.night(client)
            assert "early" in kinds(said)
            [day] = [dt.date.fromisoformat(day) for day in re.findall(r"--refetch-from (\S+)`", " ".join(said))]
            assert "early" in kinds(await nights.night(client))
            assert "early" in kinds(await nights.night(client, refetch_from=day + DAY))
            assert "early" not in kinds(await nights.night(client, refetch_from=day))
            assert nights.right()


async def test_a_first_last_day_in_the_future_locks_nobody_out(nights):
    """Each night goes on to that day, fetches what lies ahead again, and says so."""
    async with nights.server.client() as client:
        assert kinds(await nights.night(client, new=True, date_to=START + 30 * DAY)) == {"future"}
        for _ in range(4):
            nights.day += DAY
            assert kinds(await nights.night(client)) == {"future"}
            assert nights.right()
        nights.day = START + 40 * DAY
        assert kinds(await nights.night(client)) == set()
        assert nights.right()
        assert nights.last() == nights.day


async def test_what_is_over_is_not_asked_for_as_the_last_day(nights):
    """A day before the job's last one is somebody's mistake, unless that lies in the future."""
    async with nights.server.client() as client:
        await nights.night(client, new=True)
        job = nights.job(client)
        with pytest.raises(ConfigurationError, match="lies before the last day of this job, 2024-02-01"):
            async for _ in job.run(until=START - 5 * DAY):
                pass
        nights.off = -20
        assert kinds(await nights.night(client)) == {"behind"}
        assert nights.right()


async def test_the_server_may_be_wrong_about_the_day_as_well(nights):
    """What it says of a later day counts for nothing, and of an earlier one it keeps days provisional."""
    async with nights.server.client() as client:
        nights.server.behaviour = Behaviour(clock=lambda: dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
        assert kinds(await nights.night(client, new=True)) == {"behind"}
        assert provisional(nights) == {("2024-01-30", "2024-02-01")}
        nights.day += DAY
        nights.server.behaviour = Behaviour(clock=lambda: dt.datetime(1, 1, 1, tzinfo=dt.UTC))
        assert kinds(await nights.night(client)) == {"ahead"}
        assert provisional(nights) == {("2024-01-30", "2024-02-02")}
        nights.day += DAY
        nights.server.behaviour = nights.behaviour
        assert kinds(await nights.night(client)) == set()


def provisional(nights):
    """The days of the provisional units."""
    with Ledger(nights.directory / "job.ledger") as ledger:
        query = "SELECT DISTINCT date_from, date_to FROM unit WHERE status = 'provisional'"
        return set(ledger.connection.execute(query).fetchall())


async def test_units_know_when_they_were_fetched(nights):
    """By the earlier of the two clocks; those that failed were not fetched."""
    nights.server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[2])
    nights.off = 3
    async with nights.server.client(retry=RetryPolicy(base=0.001, cap=0.002)) as client:
        await nights.night(client, new=True)
        found = fetched_at(nights)
        assert found == {("done", nights.now().timestamp()), ("empty", nights.now().timestamp()), ("failed", None)} | {
            ("provisional", nights.now().timestamp())
        }
        nights.day, nights.off = nights.day + DAY, -3
        nights.server.faults = FaultPlan()
        await nights.night(client)
        earlier = (nights.now() - 3 * DAY).timestamp()
        assert {when for _, when in fetched_at(nights) - found} == {earlier}


def fetched_at(nights):
    """The status of each unit, and when it was fetched."""
    with Ledger(nights.directory / "job.ledger") as ledger:
        query = "SELECT unit.status, units.fetched_at FROM units JOIN unit ON unit.number = units.number"
        return set(ledger.connection.execute(query).fetchall())


@pytest.mark.virtual
async def test_days_are_fetched_again_whole_and_the_old_rows_stay_until_then(nights):
    """Final units too, and those of profiles that cannot be had stay as they are."""
    async with nights.server.client(window=10) as client:
        await nights.night(client, new=True)
        nights.day += 20 * DAY
        await nights.night(client)
        known = rows_in(nights.sink)
        nights.server.log.clear()
        nights.server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[3])
        await nights.night(client, refetch_from="2024-02-05")
        asked = {entry.date_from for entry in nights.server.log}
        # Windows of ten days; the one that reaches the day begins before it.
        assert min(asked) <= "2024-02-04"
        assert rows_in(nights.sink) == known
        nights.server.faults = FaultPlan()
        await nights.night(client)
        assert nights.right()


async def test_a_refetch_that_was_interrupted_is_not_begun_anew(nights):
    """The same line asks only for what is missing; one that reaches further back is planned after that."""
    async with nights.server.client() as client:
        await nights.night(client, new=True)
        nights.day += DAY
        nights.server.faults = FaultPlan.always(Fault.ERROR_401, profiles=[5])
        with pytest.raises(Exception, match="401"):
            await nights.night(client, refetch_from=FIRST)
        nights.server.faults = FaultPlan()
        with Ledger(nights.directory / "job.ledger") as ledger:
            pending = ledger.totals.pending
        assert 0 < pending <= PROFILES
        nights.server.log.clear()
        await nights.night(client, refetch_from=FIRST)
        assert len(nights.server.log) == pending
        assert nights.right()
        await nights.night(client, refetch_from=FIRST)
        assert len(nights.server.log) == pending + PROFILES
        assert nights.right()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refetch_from": "2024-01-05"}, "refetch_from goes with until"),
        ({"refetch_from": "yesterday", "until": START}, "refetch_from is a day"),
        ({"refetch_from": dt.datetime(2024, 1, 5, tzinfo=dt.UTC), "until": START}, "refetch_from is a day"),
        ({"refetch_from": "2024-03-01", "until": START}, "lies after until 2024-02-01"),
        ({"refetch_from": "2023-12-31", "until": START}, "none of the days of this job, 2024-01-01 to 2024-02-01"),
        ({"until": "soon"}, "until is a day"),
    ],
)
async def test_days_that_cannot_be_are_refused_before_anything_is_sent(nights, options, words):
    """The message says which can."""
    async with nights.server.client() as client:
        await nights.night(client, new=True)
        nights.server.log.clear()
        with pytest.raises(ConfigurationError, match=words):
            async for _ in nights.job(client).run(**options):
                pass
    assert not nights.server.log


@pytest.mark.parametrize("lookback", [LONGEST_LOOKBACK + 1, 800_000, 10**400, -1, True, 2.0, "2"])
async def test_a_look_back_that_cannot_be_is_refused_before_anything_is_stored(nights, lookback):
    """The calendar ends somewhere."""
    async with nights.server.client() as client:
        with pytest.raises(ConfigurationError, match="lookback takes a whole number of days, 0 to 36,500"):
            nights.job(client, new=True, lookback=lookback)
    assert not list(nights.directory.iterdir())


async def test_the_longest_look_back_keeps_all_provisional_and_a_longer_one_of_old_counts_as_that(nights):
    """Earlier versions stored any number, and failed at each start after that."""
    async with nights.server.client() as client:
        await nights.night(client, new=True, lookback=LONGEST_LOOKBACK)
        assert provisional(nights) == {("2024-01-01", "2024-02-01")}
        with Ledger(nights.directory / "job.ledger") as ledger, closing(ledger.connection.cursor()) as cursor:
            cursor.execute("UPDATE job SET value = 800000 WHERE key = 'lookback'")
        nights.day += DAY
        await nights.night(client)
        assert nights.right()
        await nights.night(client, lookback=2)
        assert provisional(nights) == {("2024-01-31", "2024-02-02")}


def test_a_clock_that_is_set_back_in_mid_run_was_wrong_before():
    """And one that goes on does not make days final that were asked for earlier."""
    days = iter([dt.date(2024, 5, 10), dt.date(2024, 5, 11), dt.date(2024, 3, 1), dt.date(2024, 5, 12)])
    clock = JobClock(lambda: next(days), lambda: 0.0, 2, [].append)
    assert [clock.provisional_from(None) for _ in range(3)] == [
        dt.date(2024, 5, 8),
        dt.date(2024, 2, 28),
        dt.date(2024, 2, 28),
    ]


@pytest.mark.parametrize(
    ("lookback", "served", "expected"),
    [
        (0, None, "2024-05-10"),
        (0, "2024-05-10T00:00:01", "2024-05-09"),
        (0, "2024-05-09T23:59:59", "2024-05-08"),
        (1, "2024-05-10T00:00:01", "2024-05-09"),
        (2, "2024-05-10T12:00:00", "2024-05-08"),
        (2, "2024-04-01T12:00:00", "2024-03-30"),
        (2, "2031-04-01T12:00:00", "2024-05-08"),
        (7, "0001-01-02T00:00:00", "0001-01-01"),
    ],
)
def test_final_is_what_both_clocks_agree_to_be_over(lookback, served, expected):
    """By the server's one day more at least, since its response may have been made before midnight."""
    clock = JobClock(lambda: dt.date(2024, 5, 10), lambda: 0.0, lookback, [].append)
    served_at = None if served is None else dt.datetime.fromisoformat(served).replace(tzinfo=dt.UTC)
    assert str(clock.provisional_from(served_at)) == expected
