"""How many requests may be in flight at once."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history._sending.concurrency_limit import ConcurrencyLimit, LatencyGradient


def grown(successes, *, most=64):
    """A concurrency after so many successes of a server with capacity for everything."""
    concurrency = ConcurrencyLimit(most, adaptive=True)
    succeed(concurrency, successes)
    return concurrency


def succeed(concurrency, times, first_byte=0.1):
    """Every request that may be in flight is; gives the highest limit that was seen."""
    limits = [concurrency.limit]
    for _ in range(times):
        concurrency.succeeded(concurrency.limit, first_byte)
        limits.append(concurrency.limit)
    return max(limits)


def strain(concurrency, times):
    """So many 503s or timeouts of requests that were just sent; gives the limit after them."""
    for _ in range(times):
        concurrency.on_overload(concurrency.epoch)
    return concurrency.limit


def lowered(limit):
    """The most that a cut may leave of a limit; of 2.9 there is 2.03."""
    return limit - 1 if limit > 2 else limit


def meet(concurrency, answers, *, bears=10**6, first_byte=lambda in_use: 0.1):
    """A server that refuses what is beyond its capacity; gives the share refused, and the mean number accepted."""
    on_their_way, refused, used = deque(), 0, 0
    for _ in range(answers):
        while len(on_their_way) < concurrency.limit:
            on_their_way.append((concurrency.epoch, sum(good for _, good in on_their_way) < bears))
        in_use = len(on_their_way)
        used += sum(good for _, good in on_their_way)
        epoch, good = on_their_way.popleft()
        if good:
            concurrency.succeeded(in_use, first_byte(in_use))
        else:
            concurrency.on_throttle(epoch)
        refused += not good
    return refused / answers, used / answers


def test_it_starts_at_four_and_grows_by_one_a_success_up_to_the_most():
    """Slow start, until the server first refuses."""
    concurrency = ConcurrencyLimit(16, adaptive=True)
    seen = []
    for _ in range(20):
        seen.append(concurrency.limit)
        concurrency.succeeded(in_use=1, first_byte=0.1)
    assert seen == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_small_most_is_never_exceeded_at_the_start(most):
    """concurrency=2 means two."""
    concurrency = ConcurrencyLimit(most, adaptive=True)
    assert concurrency.limit == most
    assert succeed(concurrency, 10) == most


def test_a_refusal_cuts_it_to_seven_tenths_once_for_all_requests_sent_before_the_cut():
    """Sixteen refusals of one burst count once."""
    concurrency = grown(12)
    assert concurrency.limit == 16
    for _ in range(16):
        concurrency.on_throttle(epoch=0)
    assert (concurrency.limit, concurrency.epoch) == (11, 1)
    concurrency.on_throttle(epoch=1)
    assert (concurrency.limit, concurrency.epoch) == (7, 2)


def test_after_a_cut_it_returns_by_one_a_success_to_what_was_borne_and_rests_there():
    """For 200 responses; the accepted number is one less than what was refused."""
    concurrency = grown(6)
    assert concurrency.limit == 10
    concurrency.on_throttle(0)
    assert concurrency.limit == 7
    succeed(concurrency, 2)
    assert concurrency.limit == 9
    assert succeed(concurrency, 200) == 9


def test_the_rest_lasts_for_two_hundred_answers_where_the_ceiling_is_low():
    """And the next one more takes a round."""
    concurrency = grown(2)
    concurrency.on_throttle(0)
    succeed(concurrency, 1)
    assert concurrency.limit == 5
    assert succeed(concurrency, 200 + 5) == 5
    assert succeed(concurrency, 1) == 6


def test_the_rest_lasts_for_twenty_rounds_where_these_are_more_than_two_hundred_answers():
    """A wide concurrency proves itself over as many rounds as a low one."""
    concurrency = grown(27)
    assert concurrency.limit == 31
    concurrency.on_throttle(0)
    succeed(concurrency, 9)
    assert concurrency.limit == 30
    assert succeed(concurrency, 600 + 29) == 30
    assert succeed(concurrency, 2) == 31


def test_after_the_rest_it_tries_one_more_a_round_until_the_next_cut():
    """A server that has grown is found out in some rounds, and need not be rested at on every step."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2 + 200)
    assert succeed(concurrency, 8) == 9
    assert succeed(concurrency, 2) == 10
    assert succeed(concurrency, 9) == 10
    assert succeed(concurrency, 2) == 11
    assert succeed(concurrency, 10) == 11
    assert succeed(concurrency, 2) == 12
    for cut in (concurrency.on_throttle, lambda epoch: strain(concurrency, 5)):
        cut(concurrency.epoch)
        succeed(concurrency, 10)
        before = concurrency.limit
        assert succeed(concurrency, 190) == before
        succeed(concurrency, 200)


def test_a_number_that_was_borne_for_three_rounds_is_returned_to_after_a_refusal():
    """A single refusal there is a hiccup; one that comes earlier shows that it was too much."""
    for rounds, returned_to in ((3, 9), (2, 8)):
        concurrency = grown(6)
        concurrency.on_throttle(0)
        succeed(concurrency, 2 + rounds * 9)
        concurrency.on_throttle(1)
        assert concurrency.limit == 6
        assert succeed(concurrency, 100) == returned_to


def test_a_refusal_of_what_was_tried_beyond_leads_back_to_what_was_borne():
    """The try costs one refusal, and the rest begins anew."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2 + 200 + 10)
    assert concurrency.limit == 10
    concurrency.on_throttle(1)
    assert concurrency.limit == 7
    assert succeed(concurrency, 202) == 9
    assert succeed(concurrency, 10) == 10


def rested(*, tries=True):
    """A concurrency that has rested at nine, and may try one more."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2 + 200 + (10 if tries else 0))
    assert concurrency.limit == (10 if tries else 9)
    return concurrency


def fill(concurrency, in_flight):
    """Send what may be sent; gives how many are in flight then."""
    while in_flight < concurrency.limit:
        in_flight += 1
        concurrency.sent(in_flight)
    return in_flight


def test_only_one_request_beyond_what_was_borne_is_in_flight_until_its_result_is_known():
    """Those that end meanwhile are replaced up to nine, so that a server that is slow to refuse refuses one."""
    concurrency = rested()
    assert fill(concurrency, 8) == 10
    assert concurrency.limit == 9
    for _ in range(5):
        concurrency.succeeded(in_use=10, first_byte=0.1)
        assert fill(concurrency, 8) == 9
    concurrency.on_throttle(concurrency.epoch)
    assert succeed(concurrency, 50) == 9


def test_a_further_one_is_tried_once_the_first_has_succeeded_thrice():
    """It may have been let in by luck; further ones take a round trip each, up to the most."""
    concurrency = rested()
    for wanted in (10, 10, 10, 11, 12):
        assert fill(concurrency, 8) == wanted
        concurrency.bore(wanted - 1)
        assert concurrency.limit == wanted - 1
        concurrency.bore(wanted)
    concurrency.on_throttle(concurrency.epoch)
    assert succeed(concurrency, 50) == 12
    most = grown(0, most=4)
    most.on_throttle(0)
    succeed(most, 300)
    for _ in range(4):
        fill(most, 0)
        most.bore(4)
    assert most.limit == 4


def test_what_was_refused_beyond_is_the_only_thing_that_was_too_much():
    """After a try that reached twelve, eleven are returned to."""
    concurrency = rested()
    for wanted in (10, 10, 10, 11):
        fill(concurrency, 8)
        concurrency.bore(wanted)
    assert fill(concurrency, 8) == 12
    concurrency.on_throttle(concurrency.epoch)
    assert succeed(concurrency, 50) == 11


def test_a_try_whose_result_tells_nothing_is_repeated_after_two_rounds():
    """A connection that was cut says nothing of the capacity."""
    concurrency = rested()
    fill(concurrency, 8)
    assert succeed(concurrency, 17) == 9
    assert succeed(concurrency, 2) == 10
    assert (fill(concurrency, 8), concurrency.limit) == (10, 9)


def test_a_limit_that_is_lifted_is_so_once_three_beyond_it_have_succeeded_one_by_one():
    """Until then it does not count as what holds the requests."""
    concurrency = rested(tries=False)
    concurrency.lift()
    for _ in range(3):
        assert fill(concurrency, 9) == 10
        assert not concurrency.binds(10)
        assert concurrency.limit == 9
        concurrency.bore(10)
    assert fill(concurrency, 9) == 64
    assert concurrency.binds(64)


def test_a_refusal_that_lowers_something_else_lifts_it_at_once():
    """It was not the number in flight."""
    concurrency = rested(tries=False)
    concurrency.lift()
    assert fill(concurrency, 9) == 10
    concurrency.begin_epoch()
    assert fill(concurrency, 9) == 64


def test_room_that_is_not_used_proves_nothing():
    """After a cut it grows only while at least half of it is in flight."""
    concurrency = grown(12)
    concurrency.on_throttle(0)
    assert concurrency.limit == 11
    for _ in range(100):
        concurrency.succeeded(in_use=5, first_byte=0.1)
    assert concurrency.limit == 11
    concurrency.succeeded(in_use=6, first_byte=0.1)
    assert concurrency.limit == 12


def test_it_never_falls_below_one():
    """From there a refusal is no news about how many are too many."""
    concurrency, limits = grown(4), []
    while concurrency.limit > 1:
        limits.append(concurrency.limit)
        concurrency.on_throttle(concurrency.epoch)
    assert limits == [8, 5, 3, 2]
    assert concurrency.limit == 1
    concurrency.on_throttle(concurrency.epoch)
    assert concurrency.limit == 1


def test_after_an_outage_it_begins_at_one_and_forgets_what_was_borne():
    """The server has just come back, perhaps with more behind it: it grows by one a success until a new refusal."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2 + 200)
    concurrency.restart()
    assert concurrency.limit == 1
    for limit in range(2, 31):
        concurrency.succeeded(in_use=1, first_byte=0.1)
        assert concurrency.limit == limit


def test_a_refusal_or_a_strain_of_a_request_sent_before_the_outage_is_old_news():
    """The end of an outage is a new epoch, as a cut is."""
    concurrency = grown(12)
    sent = concurrency.epoch
    concurrency.restart()
    assert concurrency.epoch == sent + 1
    concurrency.on_throttle(sent)
    for _ in range(9):
        concurrency.on_overload(sent)
    for limit in (2, 3):
        concurrency.succeeded(in_use=1, first_byte=0.1)
        assert concurrency.limit == limit
    assert concurrency.epoch == sent + 1


def test_five_strained_answers_among_thirty_two_cut_it_to_seven_tenths():
    """Four 503s or timeouts among as many results say nothing about how many are too many."""
    concurrency = grown(12, most=16)
    assert strain(concurrency, 4) == 16
    succeed(concurrency, 28)
    assert strain(concurrency, 1) == 16
    succeed(concurrency, 27)
    assert strain(concurrency, 3) == 16
    assert concurrency.epoch == 0
    assert strain(concurrency, 1) == 11
    assert concurrency.epoch == 1


def test_a_fault_now_and_then_never_cuts_it():
    """One in ten, for hours."""
    concurrency = grown(12, most=16)
    for _ in range(500):
        strain(concurrency, 1)
        succeed(concurrency, 9)
    assert (concurrency.limit, concurrency.epoch) == (16, 0)


def test_after_a_cut_the_strained_answers_are_counted_anew_and_those_sent_before_it_not_at_all():
    """A burst of timeouts counts once, as a burst of refusals is."""
    concurrency = grown(12)
    for _ in range(16):
        concurrency.on_overload(epoch=0)
    assert (concurrency.limit, concurrency.epoch) == (11, 1)
    assert strain(concurrency, 4) == 11
    assert strain(concurrency, 1) == 7
    for count in (4, 4):
        strain(concurrency, count)
        concurrency.on_throttle(concurrency.epoch)
    assert concurrency.limit == 3
    strain(concurrency, 4)
    concurrency.restart()
    succeed(concurrency, 4)
    assert strain(concurrency, 4) == 5


def test_what_was_borne_stays_borne_after_a_strain():
    """It returns there by one a success, and rests; where nothing was refused yet, it goes on growing."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2)
    assert strain(concurrency, 5) == 6
    assert succeed(concurrency, 3) == 9
    assert succeed(concurrency, 200) == 9
    concurrency = grown(6)
    assert strain(concurrency, 5) == 7
    assert succeed(concurrency, 40) == 47


def test_a_number_that_was_held_before_a_strain_has_to_be_held_anew():
    """Otherwise a refusal right after it would be taken for a hiccup."""
    concurrency = grown(6)
    concurrency.on_throttle(0)
    succeed(concurrency, 2 + 199)
    strain(concurrency, 5)
    succeed(concurrency, 3)
    concurrency.on_throttle(concurrency.epoch)
    assert succeed(concurrency, 100) == 8


def test_a_strain_never_lowers_it_below_one():
    """The last one stays, so that there is always something to find out with."""
    concurrency = grown(4)
    strain(concurrency, 100)
    assert concurrency.limit == 1


def test_after_an_outage_answers_may_take_longer_than_before():
    """The server is a new one, perhaps with cold caches."""
    concurrency = grown(6)
    concurrency.restart()
    succeed(concurrency, 5, first_byte=2.0)
    assert concurrency.limit == 6


@pytest.mark.parametrize(("bears", "most"), [(5, 16), (10, 16), (25, 64)])
def test_a_server_that_refuses_loses_hardly_any_of_its_capacity_and_refuses_hardly_anything(bears, most):
    """One response in two hundred is what the rest is made for; a saw-tooth would leave a seventh unused."""
    concurrency = ConcurrencyLimit(most, adaptive=True)
    meet(concurrency, 1000, bears=bears)
    refused, used = meet(concurrency, 20_000, bears=bears)
    assert 0 < refused < 1 / 150
    assert used > 0.95 * bears


def test_a_server_that_bears_all_that_is_allowed_gets_it():
    """Not one refusal, and sixteen in flight nearly from the start."""
    refused, used = meet(ConcurrencyLimit(16, adaptive=True), 1000)
    assert refused == 0
    assert used > 15.5


def test_it_does_not_grow_to_the_most_at_a_server_that_queues_instead_of_refusing():
    """Eight are served at a time; beyond that each one only makes the others wait for their first byte."""
    concurrency = ConcurrencyLimit(64, adaptive=True)
    meet(concurrency, 300, first_byte=lambda in_use: 0.1 * max(1, in_use / 8))
    assert 8 <= concurrency.limit <= 20


def test_growth_goes_on_when_answers_begin_as_early_as_before():
    """A queue that has passed is forgotten after some responses."""
    concurrency = grown(6)
    succeed(concurrency, 3, first_byte=3.0)
    assert concurrency.limit == 10
    assert succeed(concurrency, 40) > 10


def test_a_quick_server_may_be_noisy():
    """Two hundredths of a second more prove nothing on a local network."""
    concurrency = ConcurrencyLimit(64, adaptive=True)
    succeed(concurrency, 5, first_byte=0.0005)
    succeed(concurrency, 55, first_byte=0.02)
    assert concurrency.limit == 64


def test_a_server_that_is_slower_for_good_is_the_new_normal_after_some_hundred_answers():
    """The base follows slowly upwards, and at once downwards."""
    delay = LatencyGradient()
    delay.observe(0.1)
    for _ in range(100):
        delay.observe(0.2)
    assert delay.increasing
    for _ in range(600):
        delay.observe(0.2)
    assert not delay.increasing
    for _ in range(40):
        delay.observe(0.1)
    for _ in range(10):
        delay.observe(0.2)
    assert delay.increasing


def test_nothing_is_said_of_delays_before_there_is_one():
    """Nor by the first one, which is the base."""
    delay = LatencyGradient()
    assert not delay.increasing
    delay.observe(5.0)
    assert not delay.increasing


def test_without_adaptation_it_is_the_concurrency_whatever_happens():
    """adaptive=False is a fixed number, which no refusal can lower."""
    concurrency = ConcurrencyLimit(16, adaptive=False)
    concurrency.on_throttle(0)
    concurrency.succeeded(16, 0.1)
    strain(concurrency, 40)
    concurrency.restart()
    assert (concurrency.limit, concurrency.epoch) == (16, 0)


@given(
    st.integers(1, 70),
    st.lists(
        st.tuples(
            st.sampled_from(["success", "success", "success", "refusal", "strain", "old news", "restart"]),
            st.integers(1, 60),
            st.floats(0, 10),
        ),
        max_size=60,
    ),
)
def test_it_stays_between_one_and_the_most_whatever_the_server_answers(most, course):
    """Only a refusal, five overloaded responses in 32, of requests sent after the last cut, or a restart lower it."""
    concurrency, results = ConcurrencyLimit(most, adaptive=True), []
    for step, times, first_byte in course:
        before = concurrency.limit
        match step:
            case "success":
                for _ in range(times):
                    concurrency.succeeded(concurrency.limit, first_byte)
                    assert before <= concurrency.limit <= before + 1
                    before = concurrency.limit
                results += [0] * times
            case "refusal":
                epoch = concurrency.epoch
                concurrency.on_throttle(epoch)
                assert max(1, int(before * 0.7)) <= concurrency.limit <= lowered(before)
                assert concurrency.epoch == epoch + 1
                results = []
            case "strain":
                epoch = concurrency.epoch
                concurrency.on_overload(epoch)
                results.append(1)
                cut = sum(results[-32:]) == 5
                assert concurrency.epoch == epoch + cut
                assert max(1, int(before * 0.7)) <= concurrency.limit <= (lowered(before) if cut else before)
                results = [] if cut else results
            case "old news":
                concurrency.on_throttle(concurrency.epoch - 1)
                concurrency.on_overload(concurrency.epoch - 1)
                assert concurrency.limit == before
            case "restart":
                epoch = concurrency.epoch
                concurrency.restart()
                assert (concurrency.limit, concurrency.epoch) == (1, epoch + 1)
                results = []
        assert 1 <= concurrency.limit <= most
