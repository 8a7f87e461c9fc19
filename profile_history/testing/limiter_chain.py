"""The limiters before a server, one behind the other. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from profile_history.testing.api import ApiResponse, Behaviour, make_error, make_page
from profile_history.testing.limiters import Limiter, LimiterState

_TEXTS = {429: "Too many requests", 503: "Service unavailable"}


@attrs.frozen
class Passage:
    """The way of one request through the limiters, until its response is sent.

    Attributes:
        wait: Seconds until it is passed on, or, if it was refused, until one would be let in.
        refused_by: The limiter that refused it, `None` if all of them let it in.
        passed: The states of those that let it in.
    """

    wait: float
    refused_by: Limiter | None
    passed: tuple[LimiterState, ...]

    def release(self) -> None:
        """Give back what the limiters keep for a request in flight; to be called once."""
        for state in self.passed:
            state.release()


class LimiterChain:
    """The running limiters of a plan; each sees only what those before it let in.

    Args:
        limiters: From the outermost to the innermost.
    """

    def __init__(self, limiters: Iterable[Limiter]) -> None:
        self._links: Sequence[tuple[Limiter, LimiterState]] = [(limiter, limiter.start()) for limiter in limiters]

    def admit(self, now: float) -> Passage:
        """Decide on a request that comes now; its `Passage` is to be released when it has its response.

        Args:
            now: Seconds of any clock that never goes back.
        """
        wait = 0.0
        passed: list[LimiterState] = []
        for limiter, state in self._links:
            # Who waits in a queue comes that much later to the next limiter.
            admission = state.admit(now + wait)
            if not admission.granted:
                return Passage(admission.wait, limiter, tuple(passed))
            wait += admission.wait
            passed.append(state)
        return Passage(wait, None, tuple(passed))


def make_refusal(behaviour: Behaviour, limiter: Limiter, wait: float) -> ApiResponse:
    """Return the response to a request that a limiter refused.

    Args:
        behaviour: How the server behaves.
        limiter: The limiter.
        wait: Seconds until a request would be let in.
    """
    text = _TEXTS[limiter.status]
    response = make_error(behaviour, limiter.status, text) if limiter.envelope else make_page(limiter.status, text)
    if (retry_after := limiter.format_retry_after(wait)) is not None:
        response.headers["Retry-After"] = retry_after
    return response
