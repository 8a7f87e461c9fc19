"""How many retries a client can afford."""

from hypothesis import given
from hypothesis import strategies as st

from profile_history._sending.retry_budget import CAPACITY, THROTTLED_COST, TRANSIENT_COST, RetryBudget


def pay(budget, *, throttled):
    """What a retry cost; `None` if it is too much."""
    cost = THROTTLED_COST if throttled else TRANSIENT_COST
    if not budget.affords(cost):
        return None
    budget.spend(cost)
    return cost


def spent_to_the_last(budget, *, throttled):
    """How many retries in a row are affordable."""
    retries = 0
    while pay(budget, throttled=throttled) is not None:
        retries += 1
    return retries


def test_a_full_bucket_pays_for_ten_retries_and_no_more():
    """A total outage costs ten requests beyond the first tries, however many windows there are."""
    budget = RetryBudget()
    assert spent_to_the_last(budget, throttled=False) == 10
    assert budget.tokens == 0


def test_a_retry_after_a_throttle_costs_half():
    """The server is alive and has said what it wants, so twice as many are affordable."""
    assert spent_to_the_last(RetryBudget(), throttled=True) == 20


def test_what_is_too_little_for_a_retry_is_kept():
    """A denial takes nothing, so a cheaper retry stays affordable."""
    budget = RetryBudget()
    pay(budget, throttled=True)
    while budget.tokens > 5:
        pay(budget, throttled=False)
    assert pay(budget, throttled=False) is None
    assert budget.tokens == 5
    assert pay(budget, throttled=True) == 5


def test_ten_first_tries_that_succeed_pay_for_one_retry():
    """Each brings one token, and none goes above the brim."""
    budget = RetryBudget()
    spent_to_the_last(budget, throttled=False)
    for _ in range(9):
        budget.succeeded(None)
        assert pay(budget, throttled=False) is None
    budget.succeeded(None)
    assert pay(budget, throttled=False) == 10


@given(st.lists(st.booleans(), max_size=300))
def test_while_every_retry_succeeds_none_is_denied(throttles):
    """What was paid comes back, no more and no less."""
    budget = RetryBudget()
    for throttled in throttles:
        spent = pay(budget, throttled=throttled)
        assert spent is not None
        assert budget.tokens == CAPACITY - spent
        budget.succeeded(spent)
        assert budget.tokens == CAPACITY


@given(st.lists(st.sampled_from(["first try", "retry", "throttled retry", "retry succeeds"]), max_size=300))
def test_the_bucket_never_holds_less_than_nothing_nor_more_than_a_hundred(course):
    """Whatever the order of payments, refunds and income."""
    budget, owed = RetryBudget(), []
    for step in course:
        before = budget.tokens
        match step:
            case "first try":
                budget.succeeded(None)
                assert budget.tokens == min(100, before + 1)
            case "retry succeeds" if owed:
                spent = owed.pop()
                budget.succeeded(spent)
                assert budget.tokens == min(100, before + spent)
            case "retry" | "throttled retry":
                spent = pay(budget, throttled=step == "throttled retry")
                assert budget.tokens == before - (spent or 0)
                owed += [spent] if spent else []
        assert 0 <= budget.tokens <= 100
