"""Count the profiles for which pages responded, as long as nothing was responded to well. No I/O, no clock."""

from __future__ import annotations

import attrs

from profile_history._protocol.error_rules import PAGE_RULES
from profile_history._sending.failure_signals import is_refusing_page
from profile_history.errors import HistoryError
from profile_history.profiles import Profile

_MOST = max(rule.profiles for rule in PAGE_RULES)


@attrs.define(eq=False)
class PageEvidence:
    """The profiles of a client for which a page responded, up to as many as any rule asks for."""

    _profiles: set[Profile] = attrs.field(factory=set)

    def observe(self, failure: HistoryError, profile: Profile, successes: int) -> int:
        """Record a failure.

        Args:
            failure: Why a request failed.
            profile: Whose history it asked for.
            successes: How many requests of the client have succeeded so far.

        Returns:
            How many different profiles have met a page; 0 if this is none, or if any request has succeeded.
        """
        if successes or not is_refusing_page(failure):
            return 0
        if len(self._profiles) < _MOST:
            self._profiles.add(profile)
        return len(self._profiles)
