"""When nothing is sent but one probe at a time, and when everything again."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from profile_history._sending.circuit_breaker import CircuitBreaker


def highest(low, high):
    return high


def breaker_after(course, *, step=0.0, start=0.0, certain=False):
    """A breaker, and why it opened: `+` is a success, a letter is a failure of that window, `step` seconds apart."""
    breaker, reason = CircuitBreaker(highest), None
    breaker.certain = certain
    for place, what in enumerate(course):
        now = start + place * step
        if what == "+":
            breaker.succeeded(now)
        else:
            reason = breaker.failed(what, now) or reason
    return breaker, reason


@pytest.mark.parametrize(
    ("course", "opens"),
    [
        ("abcabcabc", False),
        ("abcabcabca", True),
        ("abababababababab", False),
        ("aaaaaaaabb" + "a" * 300, False),
        ("aaaaaaaaabc", True),
        ("abcabcabc+abcabcabc+", False),
        ("abcabcabc+abcabcabc+a", True),
        ("abc+aaaaaaaaaaaa", False),
        ("+++++++++++abcabcabc", False),
        ("+++++++++++abcabcabca", True),
        ("++++++++++++++++++++" + "abc+" * 6, False),
        ("abcd+" * 4 + "a", True),
        ("aabb+" * 9, False),
    ],
)
def test_it_opens_after_ten_failures_in_a_row_or_where_half_of_twenty_results_are_failures(course, opens):
    """And only where three different windows failed: a profile that nobody can fetch is no outage."""
    breaker, reason = breaker_after(course)
    assert breaker.open is opens
    assert (reason is not None) is opens


@pytest.mark.parametrize(
    ("course", "opens"),
    [
        ("aaaaaaaaa", False),
        ("aaaaaaaaaa", True),
        ("aaaaaaaaa+aaaaaaaaa", False),
        ("+++++++++++aaaaaaaa", False),
        ("+a" * 9 + "++", False),
        ("+a" * 10, True),
    ],
)
def test_once_a_request_was_answered_well_the_failures_of_one_window_are_enough(course, opens):
    """The probes repeat what was answered before, so they tell an ill window from a dead server by themselves."""
    breaker, reason = breaker_after(course, certain=True)
    assert breaker.open is opens
    assert (reason is not None) is opens
    assert not breaker_after(course)[0].open


def test_what_was_seen_before_it_was_certain_counts_from_then_on():
    """The first good response may come in the midst of it, from a window that fails otherwise."""
    breaker, _ = breaker_after("a" * 15)
    breaker.certain = True
    assert breaker.failed("a", 0.0) == "16 failures in a row"


def test_it_is_not_certain_by_itself():
    """An error that lies in the request shows the server at work, and is nothing that a probe could repeat."""
    assert not CircuitBreaker(highest).certain
    assert not breaker_after("+++")[0].certain


def test_what_it_says_of_its_opening_names_the_rule():
    """Whoever reads the log learns what was seen."""
    _, row = breaker_after("abcabcabca")
    assert row == "10 failures in a row"
    _, share = breaker_after("+ab+cd" * 3 + "+a")
    assert share == "13 failures in 20 results within 30 s"


def test_half_of_the_results_is_enough_and_less_is_not():
    """Nineteen results say nothing, whatever they are."""
    assert not breaker_after("+a+b+c+a+b+c+a+b+c+")[0].open
    assert breaker_after("+a+b+c+a+b+c+a+b+c+a")[0].open
    assert not breaker_after("++a+b+c+a+b+c+a+b+c+a")[0].open


def test_old_results_fade_so_that_a_fault_now_and_then_is_no_outage():
    """Twenty results within half a minute are wanted; the same ones over a minute are none."""
    course = "+abc" * 8
    assert breaker_after(course, step=1.0)[1]
    assert breaker_after(course, step=2.0)[1] is None


@pytest.mark.parametrize(("now", "opens"), [(129.9, True), (130.0, False)])
def test_results_of_thirty_seconds_count_together(now, opens):
    """By whole seconds."""
    breaker, _ = breaker_after("+a+b+c+a+b+c+a+b+c+", start=100.0)
    assert (breaker.failed("a", now) is not None) is opens


def test_long_good_times_do_not_hide_an_outage():
    """What was answered more than half a minute ago does not count."""
    breaker, _ = breaker_after("+" * 5000)
    reasons = []
    for place in range(20):
        now = 35.0 + place * 0.1
        reasons.append(breaker.failed("abc"[place // 2 % 3], now) if place % 2 else breaker.succeeded(now))
    assert reasons[:-1] == [None] * 19
    assert reasons[-1] == "10 failures in 20 results within 30 s"


def test_the_windows_of_failures_that_faded_do_not_count_either():
    """Three different ones must have failed within the half minute, where the share is what opens it."""
    breaker, _ = breaker_after("c+c+")
    for place in range(60):
        if place % 2:
            breaker.failed("ab"[place % 4 // 2], 40.0 + place * 0.1)
        else:
            breaker.succeeded(40.0 + place * 0.1)
    assert not breaker.open


def test_the_probes_are_sent_after_waits_that_double_from_two_seconds_to_thirty():
    """With the jitter at its upper end; where a probe ends soon, the next one is as late as where it takes long."""
    breaker, _ = breaker_after("abcabcabca", start=100.0)
    moments = [breaker.opened_at]
    for _ in range(6):
        moments.append(breaker.probe_at)
        breaker.probe(breaker.probe_at)
        assert breaker.probing
        breaker.probed()
        assert not breaker.probing
    assert moments[0] == 100.0
    assert [after - before for before, after in pairwise(moments)] == [2, 4, 8, 16, 30, 30]


def test_the_wait_for_the_next_probe_begins_when_one_is_sent_and_its_end_changes_nothing():
    """A probe may hang for two minutes before it fails; the next one is then due at once."""
    breaker, _ = breaker_after("abcabcabca", start=100.0)
    breaker.probe(150.0)
    assert breaker.probe_at == 154.0
    breaker.probed()
    assert breaker.probe_at == 154.0


def test_each_wait_is_drawn_from_two_thirds_to_its_whole():
    """Many clients of one server must not probe in step, and none of them at half of the time."""
    drawn = []

    def uniform(low, high):
        drawn.append((low, high))
        return low

    breaker = CircuitBreaker(uniform)
    for place in range(10):
        breaker.failed("abc"[place % 3], 50.0)
    assert breaker.probe_at == pytest.approx(50 + 2 * 2 / 3)
    breaker.probe(60.0)
    assert breaker.probe_at == pytest.approx(60 + 4 * 2 / 3)
    assert drawn == [(2 / 3, 1.0)] * 2


def test_any_success_closes_it_and_tells_how_long_it_was_open():
    """A request that was sent before is as good as a probe."""
    breaker, _ = breaker_after("abcabcabca", start=10.0)
    assert breaker.succeeded(73.5) == 63.5
    assert not breaker.open
    assert breaker.succeeded(74.0) is None


def test_once_closed_it_asks_for_all_of_its_evidence_anew_and_waits_two_seconds_again():
    """Neither the failures from before nor the doubled waits are held against the server."""
    breaker, _ = breaker_after("abcabcabca")
    for _ in range(5):
        breaker.probe(breaker.probe_at)
        breaker.probed()
    breaker.succeeded(100.0)
    for place in range(9):
        assert breaker.failed("abc"[place % 3], 100.0) is None
    assert breaker.failed("a", 100.0)
    assert breaker.probe_at == 102.0


def test_failures_while_it_is_open_change_nothing():
    """They are expected; the next probe's moment stays."""
    breaker, _ = breaker_after("abcabcabca")
    before = breaker.probe_at
    for _ in range(50):
        assert breaker.failed("d", 1.0) is None
    assert (breaker.probe_at, breaker.opened_at) == (before, 0.0)


def test_a_probe_that_outlives_the_outage_is_still_the_only_one_of_the_next():
    """Another request's success came first; the first probe of the next outage waits for two seconds and for it."""
    breaker, _ = breaker_after("abcabcabca")
    breaker.probe(2.0)
    breaker.succeeded(3.0)
    for place in range(10):
        breaker.failed("abc"[place % 3], 10.0)
    assert breaker.open
    assert breaker.probing
    assert breaker.probe_at == 12.0
    breaker.probed()
    assert not breaker.probing
    assert breaker.probe_at == 12.0


class Outages(RuleBasedStateMachine):
    """The circuit against a plain list of everything that happened since it last closed."""

    @initialize(start=st.floats(0, 1e6), jitter=st.floats(0, 1))
    def begin(self, start, jitter):
        self.breaker = CircuitBreaker(lambda low, high: low + (high - low) * jitter)
        self.now = start
        self.results = []
        self.row = []
        self.wait = 2.0
        self.planned = None

    @precondition(lambda self: not self.breaker.certain)
    @rule()
    def becomes_certain(self):
        self.breaker.certain = True

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 3.0, 10.0, 29.0, 31.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(times=st.integers(1, 12))
    def succeeds(self, times):
        for _ in range(times):
            was_open = self.breaker.open
            open_for = self.breaker.succeeded(self.now)
            assert (open_for is not None) is was_open
            assert not self.breaker.open
            self.row = []
            if was_open:
                assert open_for == self.now - self.breaker.opened_at
                self.results, self.wait = [], 2.0
            else:
                self.results.append((int(self.now), None))

    @rule(windows=st.lists(st.sampled_from("aaabcd"), min_size=1, max_size=9))
    def fails(self, windows):
        for window in windows:
            if self.breaker.open:
                assert self.breaker.failed(window, self.now) is None
                continue
            self.results.append((int(self.now), window))
            self.row.append(window)
            recent = [failed for second, failed in self.results if second > int(self.now) - 30]
            failures = [failed for failed in recent if failed]
            needed = 1 if self.breaker.certain else 3
            in_a_row = len(self.row) >= 10 and len(set(self.row)) >= needed
            share = len(recent) >= 20 and 2 * len(failures) >= len(recent) and len(set(failures)) >= needed
            reason = self.breaker.failed(window, self.now)
            assert (reason is not None) is self.breaker.open is (in_a_row or share)
            if reason:
                assert self.breaker.opened_at == self.now
                self.check_plan()

    @precondition(lambda self: self.breaker.open and not self.breaker.probing)
    @rule(seconds=st.floats(0, 40))
    def probes(self, seconds):
        self.now = max(self.now, self.breaker.probe_at)
        self.breaker.probe(self.now)
        self.check_plan()
        self.now += seconds

    @precondition(lambda self: self.breaker.probing)
    @rule()
    def probe_ends(self):
        self.breaker.probed()
        assert not self.breaker.probing

    def check_plan(self):
        assert self.now + self.wait * 2 / 3 - 1e-9 <= self.breaker.probe_at <= self.now + self.wait
        self.planned = self.breaker.probe_at
        self.wait = min(30.0, 2 * self.wait)

    @invariant()
    def a_probe_is_planned_when_it_opens_and_when_one_is_sent_and_never_else(self):
        if self.breaker.open:
            assert self.breaker.probe_at == self.planned
            assert self.breaker.opened_at + 4 / 3 - 1e-9 <= self.breaker.probe_at <= self.now + 30


TestOutages = Outages.TestCase
TestOutages.settings = settings(deadline=None, stateful_step_count=40)


@pytest.mark.parametrize("failures", [9, 10])
def test_ten_failures_of_one_window_that_cannot_lie_in_it_are_enough(failures):
    """Where no connection can be made, it is not for the profile that is asked for."""
    breaker = CircuitBreaker(highest)
    for second in range(failures):
        breaker.failed("a", float(second), server_wide=True)
    assert breaker.open is (failures == 10)


@pytest.mark.parametrize(("windows", "opens"), [("aa", False), ("abc", True)])
@pytest.mark.parametrize("late", [1.9, 2.0])
def test_failures_that_are_as_far_apart_as_patience_are_enough(windows, opens, late):
    """Of three windows, unless they cannot lie in them; the first alone never is."""
    breaker = CircuitBreaker(highest)
    for window in windows[:-1]:
        assert breaker.failed(window, 5.0, patience=2.0) is None
    breaker.failed(windows[-1], 5.0 + late, patience=2.0)
    assert breaker.open is (opens and late == 2.0)
    assert breaker.failing_since == 5.0


def test_what_counts_only_in_a_row_is_no_share_of_the_results():
    """However many there are, if a success comes between."""
    breaker = CircuitBreaker(highest)
    breaker.certain = True
    for second in range(50):
        for _ in range(9):
            assert breaker.failed("a", second / 10, only_in_a_row=True) is None
        breaker.succeeded(second / 10)
    for _ in range(10):
        breaker.failed("a", 6.0, only_in_a_row=True)
    assert breaker.open


def test_a_success_of_a_request_from_before_the_failures_closes_nothing():
    """A firewall refuses at once what the server behind it takes a while to respond to."""
    breaker = CircuitBreaker(highest)
    breaker.certain = True
    for _ in range(10):
        breaker.failed("a", 5.0)
    assert breaker.succeeded(5.5, 0.6) is None
    assert breaker.open
    assert breaker.succeeded(5.5, 0.4) == 0.5
    assert not breaker.open


@pytest.mark.parametrize(("sent", "opens"), [(-0.1, True), (0.1, False)])
@pytest.mark.parametrize("pages", [True, False])
def test_a_row_of_pages_is_broken_by_what_was_sent_after_it_began(sent, opens, pages):
    """A firewall refuses at once, while the responses that were under way come one by one; each page costs a window."""
    breaker = CircuitBreaker(highest)
    breaker.certain = True
    for place in range(10):
        breaker.failed("a", 1.0 + place / 20, only_in_a_row=pages)
        if place == 4:
            breaker.succeeded(1.2, seconds=0.2 - sent)
    assert breaker.open is (opens and pages)


def test_a_row_that_is_not_of_pages_alone_is_broken_by_any_success():
    """A server that also fails by itself is at work as long as it responds to anything."""
    breaker = CircuitBreaker(highest)
    breaker.certain = True
    for place in range(9):
        breaker.failed("a", 1.0, only_in_a_row=place > 0)
    breaker.succeeded(1.0, seconds=1.0)
    assert breaker.failed("a", 1.0, only_in_a_row=True) is None
