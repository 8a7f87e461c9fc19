"""How many retries a client can afford: a bucket of tokens, shared by all its streams. No I/O, no clock.

While most requests succeed there is always enough. Where most fail it runs dry within ten retries, and from then on new
windows go first and failed ones wait behind them. Source of the figures: the retry quota of the AWS SDKs.
"""

from __future__ import annotations

CAPACITY = 100
TRANSIENT_COST = 10
THROTTLED_COST = 5
INCOME = 1


class RetryBudget:
    """A bucket of 100 tokens: a retry takes 10, or 5 after a throttle; a first try that succeeds brings 1."""

    def __init__(self) -> None:
        self._tokens = CAPACITY

    @property
    def tokens(self) -> int:
        """What is left, from 0 to 100."""
        return self._tokens

    def spend(self, *, throttled: bool) -> int | None:
        """Pays for one retry.

        Returns:
            What it cost, to be given to `succeeded` if the retry succeeds; None where the bucket holds too little.
        """
        cost = THROTTLED_COST if throttled else TRANSIENT_COST
        if cost > self._tokens:
            return None
        self._tokens -= cost
        return cost

    def succeeded(self, spent: int | None) -> None:
        """Takes note of a success: a retry that was paid for gets its price back, a first try earns one token."""
        self._tokens = min(CAPACITY, self._tokens + (INCOME if spent is None else spent))
