"""Limit the retries of a client to what it can afford: a bucket of tokens, shared by all its streams. No I/O, no clock.

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
        """Return what is left, from 0 to 100."""
        return self._tokens

    def affords(self, cost: int) -> bool:
        """Tell whether the bucket holds that many tokens."""
        return cost <= self._tokens

    def spend(self, cost: int) -> None:
        """Take tokens for one retry; `affords` has to hold."""
        self._tokens -= cost

    def succeeded(self, spent: int | None) -> None:
        """Record a success: a retry that was paid for gets its price back, a first try earns one token.

        Args:
            spent: What the retry cost, `None` for a first try.
        """
        self._tokens = min(CAPACITY, self._tokens + (INCOME if spent is None else spent))
