"""The embedded server misbehaves on demand: faults by script, by rate and by seed."""

import asyncio
import itertools
from collections import Counter

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.history_servers import DELAY, DELAY_SEEN, ask, page, server  # noqa: F401 (fixtures)

from profile_history import RetryPolicy
from profile_history.testing import (
    Behaviour,
    ConcurrencyLimiter,
    Fault,
    FaultPlan,
    FixedWindow,
    LeakyBucket,
)


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status", "right"),
        [
            (Fault.THROTTLED, 429, lambda reply: reply.json["error"] == 429 and "Retry-After" not in reply.headers),
            (Fault.THROTTLED_WITH_RETRY_AFTER, 429, lambda reply: reply.headers["Retry-After"] == "3"),
            (Fault.ERROR_500, 500, lambda reply: reply.json["error"] == 500),
            (Fault.ERROR_502, 502, page),
            (Fault.ERROR_503, 503, page),
            (Fault.HTML_PAGE, 200, page),
            (Fault.API_ERROR, 200, lambda reply: reply.json["error"] == 440 and "data" not in reply.json),
            (Fault.SLOW_FIRST_BYTE, 200, lambda reply: reply.rows),
        ],
    )
    async def test_a_fault_that_answers_answers_as_its_name_says(self, server, fault, status, right):
        """The status, the header and the body are those of the fault."""
        server.faults = FaultPlan(script=[fault], retry_after=3, api_error=440, slow=DELAY)
        began = asyncio.get_running_loop().time()
        reply = await ask(server)
        assert reply.status == status
        assert right(reply)
        assert fault is not Fault.SLOW_FIRST_BYTE or asyncio.get_running_loop().time() - began >= DELAY_SEEN
        assert server.injected == {fault: 1}
        assert server.log[-1].status == status

    @pytest.mark.parametrize("fault", [Fault.RESET_BEFORE_RESPONSE, Fault.STALL])
    async def test_a_fault_before_the_answer_resets_the_connection(self, server, fault):
        """Not one byte comes back; a stall falls silent first, for as long as the plan says."""
        server.faults = FaultPlan(script=[fault], stall=DELAY)
        began = asyncio.get_running_loop().time()
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await ask(server)
        assert fault is not Fault.STALL or asyncio.get_running_loop().time() - began >= DELAY_SEEN

    @pytest.mark.parametrize(("fault", "reset"), [(Fault.RESET_IN_BODY, True), (Fault.TRUNCATED_BODY, False)])
    async def test_a_fault_in_the_body_stops_it_half_way(self, server, fault, reset):
        """Half of the body arrives after a good status; then the connection is reset, or ends as if all were well."""
        server.faults = FaultPlan(script=[fault])
        with pytest.raises(aiohttp.ClientPayloadError, match=r"received \d+ of \d+ bytes") as caught:
            await ask(server)
        assert ("reset by peer" in str(caught.value)) is reset

    async def test_a_client_that_retries_gets_the_truth_through_every_fault(self, server):
        """Half of all attempts fail in all ways, and the streak lets a patient client through."""
        server.faults = FaultPlan.even(0.5, retry_after=0, stall=0.02, slow=0.01)
        profiles = server.profiles()[:100]
        received = {profile: [] for profile in profiles}
        async with (
            server.client(retry=RetryPolicy(base=0.001)) as client,
            client.histories(profiles) as stream,
        ):
            async for profile, event in stream:
                received[profile].append(event)
        assert received == {profile: server.truth(profile) for profile in profiles}
        assert set(server.injected) == set(Fault.transient())

    async def test_only_the_profiles_of_the_plan_are_hit(self, server):
        """The others are answered as ever."""
        server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[1])
        assert (await ask(server)).status == 500
        assert (await ask(server, email="user17@example.com")).rows

    @pytest.mark.parametrize(
        "script",
        [(Fault.ERROR_500, Fault.THROTTLED), (Fault.ERROR_500, None, Fault.THROTTLED), (None, Fault.ERROR_500)],
    )
    async def test_the_server_follows_the_script_of_a_window_to_its_end(self, server, script):
        """The first attempts at a window meet the script's faults in turn, and None among them lets one through."""
        server.faults = FaultPlan(script=script)
        for _ in script:
            await ask(server)
        assert tuple(entry.fault for entry in server.log) == script

    async def test_each_window_of_a_profile_has_a_script_of_its_own(self, server):
        """Other days of the same profile are met by the script from its start."""
        server.faults = FaultPlan(script=[Fault.ERROR_500])
        statuses = [(await ask(server, date_from=day)).status for day in ("2023-01-01", "2024-01-01", "2023-01-01")]
        assert statuses == [500, 500, 200]

    async def test_a_plan_set_while_the_server_runs_begins_at_its_beginning(self, server):
        """Attempts that an earlier plan counted are no attempts of the new one."""
        server.faults = FaultPlan(script=[Fault.ERROR_500])
        assert (await ask(server)).status == 500
        server.faults = FaultPlan(script=[Fault.THROTTLED])
        assert (await ask(server)).status == 429


class TestLimiters:
    async def test_what_a_limiter_refuses_is_a_page_at_once_and_is_logged(self, server):
        """Neither latency nor a fault meets it, and its Retry-After is the limiter's; one let in is as ever."""
        server.faults = FaultPlan.always(Fault.SLOW_FIRST_BYTE) | FaultPlan(
            limiters=[FixedWindow(1, seconds=60, status=503, retry_after="exact")]
        )
        let_in, refused = await ask(server), await ask(server)
        assert let_in.rows
        assert (refused.status, page(refused), refused.headers["Retry-After"]) == (503, True, "60")
        assert [(entry.status, entry.fault) for entry in server.log] == [(200, Fault.SLOW_FIRST_BYTE), (503, None)]

    async def test_a_place_is_free_when_the_response_is_sent_and_when_the_client_has_gone(self, server):
        """Requests one after the other get through one place, also after one that nobody waited for."""
        server.behaviour, server.faults = Behaviour(latency=0.1), FaultPlan(limiters=[ConcurrencyLimiter(1)])
        both = await asyncio.gather(ask(server), ask(server))
        assert sorted(reply.status for reply in both) == [200, 429]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(server), 0.05)
        async with asyncio.timeout(5):
            while (await ask(server)).status != 200:
                pass

    async def test_a_leaky_bucket_delays_what_comes_too_early(self, server):
        """Three at once are served 50 ms apart, and one too many for the queue is refused."""
        server.faults = FaultPlan(limiters=[LeakyBucket(1 / DELAY, queue=2)])
        began = asyncio.get_running_loop().time()
        statuses = [reply.status for reply in await asyncio.gather(*(ask(server) for _ in range(4)))]
        assert sorted(statuses) == [200, 200, 200, 429]
        assert asyncio.get_running_loop().time() - began >= 2 * DELAY_SEEN

    async def test_a_plan_that_is_set_anew_begins_with_fresh_limiters(self, server):
        """What an earlier plan counted is forgotten, even where it is the same plan."""
        plan = FaultPlan(limiters=[FixedWindow(1, seconds=60)])
        for _ in range(2):
            server.faults = plan
            assert [(await ask(server)).status for _ in range(2)] == [200, 429]


class TestFaultPlan:
    @staticmethod
    def draws(plan, attempts=range(2)):
        """What a plan draws for two hundred profiles, three windows and some attempts."""
        places = itertools.product(range(200), ("..", "2024-01-01..", "2024-01-01..2024-01-31"), attempts)
        return {place: plan.draw(*place) for place in places}

    def test_the_same_seed_draws_the_same_whatever_the_order(self):
        """A draw depends on profile, window and attempt, and on nothing that happened before."""
        plan = FaultPlan.even(0.5, seed=1)
        drawn = self.draws(plan)
        assert drawn == self.draws(FaultPlan.even(0.5, seed=1))
        assert drawn == {place: plan.draw(*place) for place in reversed(drawn)}
        assert drawn != self.draws(FaultPlan.even(0.5, seed=2))

    @pytest.mark.parametrize(("name", "rate"), [("none", 0.0), ("light", 0.1), ("heavy", 0.3)])
    def test_a_named_plan_fails_as_many_attempts_as_it_says(self, name, rate):
        """Of 1200 draws the share that fails is the rate, within five standard deviations, and of all kinds alike."""
        faults = Counter(self.draws(FaultPlan.named(name)).values())
        failed = 1200 - faults.pop(None)
        assert abs(failed / 1200 - rate) <= 5 * (rate * (1 - rate) / 1200) ** 0.5
        assert set(faults) == (set(Fault.transient()) if rate else set())

    def test_a_plan_without_a_fault_never_draws_it(self):
        """What is left out leaves its share to the others."""
        drawn = set(self.draws(FaultPlan.even(1.0, without=[Fault.STALL, Fault.SLOW_FIRST_BYTE])).values())
        assert drawn == set(Fault.transient()) - {Fault.STALL, Fault.SLOW_FIRST_BYTE}

    def test_an_unknown_name_is_refused_with_the_known_ones(self):
        """The message lists the plans there are."""
        with pytest.raises(ValueError, match="none, light, heavy, not 'medium'"):
            FaultPlan.named("medium")

    @pytest.mark.parametrize("rates", [{Fault.STALL: 1.1}, {Fault.STALL: -0.1}, dict.fromkeys(Fault, 0.1)], ids=len)
    def test_rates_below_zero_or_over_one_together_are_refused(self, rates):
        """Nothing fails more often than always or less often than never."""
        with pytest.raises(ValueError, match="rates are from 0 to 1"):
            FaultPlan(rates=rates)

    @pytest.mark.parametrize(("streak", "then"), [(None, Fault.STALL), (3, Fault.STALL), (2, None), (0, None)])
    def test_the_script_comes_first_then_the_rates_while_the_streak_lasts(self, streak, then):
        """The script is played whatever the streak; the third attempt meets the rates if the streak is longer."""
        plan = FaultPlan(script=[None, Fault.ERROR_500], rates={Fault.STALL: 1.0}, streak=streak)
        assert [plan.draw(1, "..", attempt) for attempt in range(3)] == [None, Fault.ERROR_500, then]

    def test_the_profiles_of_a_plan_bound_script_and_rates(self):
        """Other numbers, and profiles nobody knows, are let through."""
        scripted = FaultPlan(script=[Fault.STALL], rates={Fault.STALL: 1.0}, streak=None, profiles=[3])
        drawn = [[scripted.draw(number, "..", attempt) for attempt in (0, 1)] for number in (3, 4, None)]
        assert drawn == [[Fault.STALL, Fault.STALL], [None, None], [None, None]]

    def test_always_is_always(self):
        """There is no mercy in it, however often one tries."""
        assert set(self.draws(FaultPlan.always(Fault.HTML_PAGE), range(0, 100, 33)).values()) == {Fault.HTML_PAGE}

    @given(st.integers(), st.floats(0, 1), st.integers(0, 5), st.integers(0, 9999), st.integers(0, 100))
    def test_a_streak_ends_every_run_of_failures(self, seed, rate, streak, profile, more):
        """From the streak's attempt on, no draw of any plan does harm."""
        assert FaultPlan.even(rate, seed=seed, streak=streak).draw(profile, "..", streak + more) is None
