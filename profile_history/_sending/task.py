"""One window as it is sent: its request id, and what its attempts have cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from profile_history._redaction import redact_error
from profile_history._secrets import SecretBytes
from profile_history._sending.failure_policy import AttemptLog
from profile_history.errors import HistoryError
from profile_history.profiles import Profile
from profile_history.windows import Window

# Writes the same request with the token that counts by then.
WriteBody: TypeAlias = Callable[[], SecretBytes]


@attrs.define(eq=False)
class Task:
    """One window to fetch, and what it has cost so far.

    Attributes:
        profile: Whose history.
        window: Which days.
        request_id: The same for all its attempts.
        log: What was spent on it.
        started: When the first worker took it, in seconds of the stream; `None` if none has.
        date: The `Date` header of its good response, or "".
    """

    profile: Profile
    window: Window
    request_id: str
    log: AttemptLog = attrs.field(factory=AttemptLog)
    started: float | None = None
    date: str = ""

    def sign(self, error: HistoryError) -> None:
        """Write onto an error which window it belongs to, and what was spent on it, when it leaves for the user."""
        redact_error(error, self.profile)
        error.profile = self.profile
        error.window = self.window
        error.attempts = self.log.attempts
        error.request_id = self.request_id
