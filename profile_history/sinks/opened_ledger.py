"""The ledger that a sink was opened with."""

from __future__ import annotations

from profile_history.errors import UsageError
from profile_history.sinks.base import LedgerView


class OpenedLedger:
    """The part of a sink that knows which ledger it was opened with, if it is open."""

    __slots__ = ()

    url: str
    _view: LedgerView | None

    @property
    def _ledger(self) -> LedgerView:
        """Return what the ledger tells.

        Raises:
            UsageError: The sink is not open.
        """
        if self._view is None:
            raise UsageError(f"{self.url} is not open")
        return self._view
