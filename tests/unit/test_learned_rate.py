"""The rate that is learned beside the number in flight: what is fed to it, and what it makes of that."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history._sending.concurrency_limit import ConcurrencyLimit
from profile_history._sending.learned_rate import LearnedRate

ROUND_TRIP = 0.05


def longest(low, high):
    """Draw the longest waits, so that each moment is known."""
    return high


class Client:
    """Requests of one client, one after the other unless it is said otherwise, on a clock that is set by hand."""

    def __init__(self, most=math.inf, concurrency=16, uniform=longest):
        self.concurrency = ConcurrencyLimit(concurrency, adaptive=True)
        self.learned = LearnedRate(self.concurrency, uniform, most=most)
        self.now = 0.0
        self.answered_at = -math.inf
        self.learned.begin(0)

    def send(self, in_flight=1):
        """Send as soon as that is allowed."""
        self.now = max(self.now, self.learned.earliest)
        return self.now, self.learned.send(self.now, in_flight)

    def end(self, sent, verdict=200, *, hint=None):
        """End a request."""
        at, ticket = sent
        if verdict == 200:
            self.learned.succeed(self.now, ticket, ticket.in_flight, ROUND_TRIP)
            self.answered_at = self.now
        else:
            self.learned.refuse(
                self.now, ticket, certain=verdict == 429, served=self.answered_at > at, retry_after=hint
            )

    def ask(self, verdict=200, *, in_flight=1, hint=None):
        """Send one request, and end it a round trip later."""
        sent = self.send(in_flight)
        self.now += ROUND_TRIP
        self.end(sent, verdict, hint=hint)

    def learn(self, accepted=10, every=0.1):
        """Be refused alone until a rate is on: so many are let in between two refusals."""
        for _ in range(10):
            for _ in range(accepted):
                self.now += every
                self.ask()
            self.ask(429)
            if self.learned.rate is not None:
                return self.learned.rate
        return pytest.fail("no rate is learned")

    def settle(self):
        """Grow until a refusal, from which on the rate rests."""
        self.learn()
        for _ in range(100):
            self.ask()
        self.ask(429)
        return self.learned.rate


def test_before_anything_is_refused_there_is_no_rate_and_no_pause():
    """The number in flight is all that limits."""
    client = Client()
    for _ in range(100):
        client.ask()
    assert (client.learned.rate, client.learned.earliest, client.learned.reason) == (None, -math.inf, "")


def test_requests_that_are_refused_though_they_are_alone_show_that_a_rate_is_limited():
    """It begins below what was let in, the concurrency limit no longer holds, and the start of requests is spaced."""
    client = Client()
    rate = client.learn(accepted=20)
    assert 0.5 * 20 / (20 * 0.15) <= rate <= 20 / (20 * 0.15)
    assert client.concurrency.limit == 16
    client.ask()
    at, _ = client.send()
    client.send()
    assert client.now == pytest.approx(at + 1 / client.learned.rate, rel=0.1)


def test_a_few_requests_in_the_first_second_say_nothing_about_a_rate():
    """A rate of nearly nothing would take long to get away from."""
    client = Client()
    for _ in range(4):
        client.ask(429)
    assert client.learned.rate is None


def test_a_refusal_of_one_among_many_is_blamed_on_their_number():
    """As long as no rate is on."""
    client = Client()
    for _ in range(12):
        client.ask(in_flight=4)
    client.ask(429, in_flight=16)
    assert client.learned.rate is None
    assert client.concurrency.limit == 11
    assert client.learned.reason == "held at 11 in flight by the server"
    assert client.learned.held_at is None


def test_a_refusal_that_was_sent_before_the_last_one_was_known_is_no_news():
    """A burst of refusals counts once, and its requests as not let in."""
    client = Client()
    for _ in range(12):
        client.ask(in_flight=4)
    burst = [client.send(in_flight) for in_flight in range(1, 17)]
    for sent in reversed(burst):
        client.end(sent, 429)
    assert client.concurrency.limit == 11
    assert client.concurrency.epoch == 1
    assert client.learned.row.length == 1


def test_while_a_rate_is_on_a_refusal_is_blamed_on_it_and_not_on_the_number_in_flight():
    """It is cut a little, and then by more if the next one comes as soon."""
    client = Client()
    before = client.learn()
    client.ask()
    client.ask(429)
    first = client.learned.rate
    assert first < before
    client.ask()
    client.ask(429)
    assert client.learned.rate < first
    assert client.concurrency.limit == 16


def test_a_rate_rests_and_then_grows_slowly_at_first():
    """A rest of at least 60 responses and five seconds; 4 % more after a second, and e times as much after five."""
    client = Client()
    rate = client.settle()
    rested = client.now
    while client.learned.rate == rate:
        client.ask()
    assert client.now - rested >= 5
    began = client.now
    while client.now < began + 1:
        client.ask()
    assert client.learned.rate == pytest.approx(1.04 * rate, rel=0.02)
    while client.now < began + 5:
        client.ask()
    assert client.learned.rate == pytest.approx(math.e * rate, rel=0.1)


def test_a_pause_does_not_age_a_growing_rate():
    """What nobody was answered in proves nothing."""
    client = Client()
    client.learn()
    for _ in range(10):
        client.ask()
    before = client.learned.rate
    client.now += 3600
    client.ask()
    assert client.learned.rate <= 1.3 * before


def test_the_longer_a_growth_was_refused_the_longer_is_the_rest_after_it():
    """About one in a hundred responses is refused, whatever a growth costs."""
    client = Client()
    client.settle()
    while client.learned.rate == client.learned.told:
        client.ask()
    for _ in range(60):
        client.ask()
    burst = [client.send(in_flight) for in_flight in range(1, 6)]
    client.now += ROUND_TRIP
    for sent in burst:
        client.end(sent, 429)
    rate, responses = client.learned.rate, 0
    while client.learned.rate == rate:
        client.ask()
        responses += 1
    assert responses >= 5 * 70


def test_what_was_refused_before_a_growth_lengthens_no_rest():
    """It was the price of another rate; the rest is that of a single refusal."""
    client = Client()
    client.learn()
    for _ in range(3):
        client.ask(429)
    for _ in range(60):
        client.ask()
    client.ask(429)
    rate, responses = client.learned.rate, 0
    while client.learned.rate == rate:
        client.ask()
        responses += 1
    assert responses <= 80


def test_a_rate_never_exceeds_that_of_the_user_and_is_off_where_that_is_what_holds():
    """Five seconds at it are enough."""
    client = Client(most=20.0)
    client.learn()
    for _ in range(400):
        client.ask()
        assert client.learned.rate is None or client.learned.rate <= 20.0
    assert client.learned.rate is None
    assert client.learned.reason == ""


def test_no_reason_is_shown_while_the_rate_of_the_user_is_what_holds():
    """Nor is any server to blame for it."""
    client = Client(most=3.0)
    client.learn(accepted=20)
    assert client.learned.rate == 3.0
    assert (client.learned.held_at, client.learned.reason) == (None, "")


def test_a_rate_is_off_where_the_number_in_flight_is_what_holds():
    """With all that the user allows in flight for five seconds, no rate of the server holds anything back."""
    client = Client(concurrency=4)
    client.settle()
    assert client.learned.told is not None
    while client.learned.rate is not None:
        client.ask(in_flight=4)
    assert client.learned.told is None
    assert client.concurrency.limit == 4


def test_from_the_second_refusal_in_a_row_on_one_request_at_a_time_is_sent_and_the_pauses_double():
    """Up to a quarter of a minute; the next good response ends that."""
    client = Client()
    pauses = []
    for _ in range(14):
        client.ask(429)
        pauses.append(client.learned.earliest - client.now)
    assert pauses[0] < 0
    assert client.learned.row.careful
    assert pauses[-1] == pytest.approx(15 * 1.1)
    for pause, longer in pairwise(pauses[1:9]):
        assert longer == pytest.approx(2 * pause)
    client.ask()
    assert not client.learned.row.careful


@pytest.mark.parametrize("verdict", [429, 503])
def test_a_retry_after_holds_all_requests_where_nobody_was_answered_since(verdict):
    """Until then, and a tenth more; the next good response lifts it."""
    client = Client()
    client.ask()
    before = client.send()
    client.ask(verdict, hint=30.0)
    assert client.learned.earliest == pytest.approx(client.now + 33)
    client.end(before)
    assert client.learned.earliest < client.now


def test_of_several_pauses_that_are_asked_for_the_one_that_ends_last_counts():
    """A shorter one changes nothing."""
    client = Client()
    burst = [client.send(3) for _ in range(3)]
    client.now += ROUND_TRIP
    for sent, hint in zip(burst, (10.0, 20.0, 5.0), strict=True):
        client.end(sent, 429, hint=hint)
    assert client.learned.earliest == pytest.approx(client.now + 22)


def test_a_retry_after_holds_nobody_else_where_somebody_was_answered_since():
    """Its window waits, the others go on."""
    client = Client()
    sent, other = client.send(2), client.send(2)
    client.now += ROUND_TRIP
    client.end(other)
    client.now += ROUND_TRIP
    client.end(sent, 429, hint=30.0)
    assert client.learned.earliest <= client.now


def test_after_a_pause_that_nobody_was_answered_in_requests_begin_one_per_second():
    """There is no telling what a server bears that asked to be left alone."""
    client = Client()
    client.ask()
    client.ask(429, hint=60.0)
    client.ask()
    assert client.learned.rate == pytest.approx(1.0, rel=0.1)
    assert client.concurrency.limit == 16


def test_the_rest_after_a_pause_is_the_shorter_the_less_is_known():
    """Ten times the pause, if what was let in for long and what was let in just now are the same."""
    client = Client()
    client.ask()
    client.ask(429, hint=30.0)
    while client.learned.rate is None or client.learned.rate < 15:
        client.ask()
    client.ask(429)
    rate, since = client.learned.rate, client.now
    while client.learned.rate == rate:
        client.ask()
    assert 30 < client.now - since < 0.6 * 10 * 33


def test_one_503_of_many_says_nothing_until_the_server_is_known_to_be_quiet():
    """Five within 32 results are believed; one, where hardly any came while the client rested."""
    client = Client()
    for _ in range(12):
        client.ask(in_flight=4)
    for _ in range(4):
        client.ask(503, in_flight=16)
    assert client.concurrency.epoch == 0
    client.ask(503, in_flight=16)
    assert client.concurrency.epoch == 1
    for _ in range(100):
        client.ask(in_flight=12)
    client.ask(503, in_flight=12)
    assert client.concurrency.epoch == 2


def test_503_of_a_server_that_says_429_do_not_count_as_refused():
    """It means something else by them, and they have used up what it permits."""
    client = Client()
    client.ask(429, in_flight=8)
    for _ in range(3):
        client.ask(503, in_flight=4)
    _, ticket = client.send()
    # Four were sent, and one refused; the one before that was counted among those in flight.
    assert ticket.accepted == 3


def test_after_an_outage_the_rate_is_what_it_was_and_one_request_is_sent_at_once():
    """What was measured across the outage means nothing."""
    client = Client()
    rate = client.settle()
    for _ in range(8):
        client.ask(503)
    client.learned.restart()
    assert client.concurrency.limit == 1
    assert 0.5 * rate <= client.learned.rate <= rate
    assert not client.learned.row.careful
    for _ in range(20):
        client.ask()
    assert client.concurrency.limit == 16


def test_what_is_told_is_a_rate_that_is_held_and_changes_of_more_than_a_tenth():
    """Neither each refusal nor a rate that still grows."""
    client = Client()
    client.learn()
    assert not client.learned.has_news
    for _ in range(100):
        client.ask()
    client.ask(429)
    assert client.learned.has_news
    assert client.learned.told == client.learned.rate
    assert client.learned.held_at == client.learned.rate
    assert client.learned.reason == f"held at {client.learned.rate:.0f} requests/s by the server"


verdicts = st.lists(
    st.tuples(
        st.sampled_from([200, 200, 200, 200, 429, 503, "late 429", "restart"]),
        st.integers(1, 20),
        st.integers(1, 16),
        st.floats(0, 5),
        st.sampled_from([None, None, 0.5, 30.0]),
    ),
    max_size=40,
)


@given(st.sampled_from([math.inf, 50.0, 2.0]), verdicts, st.floats(0, 1))
def test_whatever_the_server_answers_the_rate_is_within_bounds_and_no_pause_is_too_short(most, course, drawn):
    """It is never above that of the user, epochs only go forward, and a `Retry-After` is kept where it has to be."""
    client = Client(most=most, uniform=lambda low, high: low + drawn * (high - low))
    for verdict, times, in_flight, waited, hint in course:
        client.now += waited
        for _ in range(times):
            epoch = client.concurrency.epoch
            if verdict == "restart":
                client.learned.restart()
            elif verdict == "late 429":
                sent = client.send(in_flight)
                client.ask(429, in_flight=in_flight)
                client.end(sent, 429)
            else:
                client.ask(verdict, in_flight=in_flight, hint=hint)
                if hint and verdict != 200 and client.answered_at < client.now - ROUND_TRIP:
                    assert client.learned.earliest >= client.now + hint
            assert client.concurrency.epoch >= epoch
            assert client.learned.rate is None or 0 < client.learned.rate <= most
            assert 1 <= client.concurrency.limit <= 16
            assert client.send()[1].accepted >= 0
