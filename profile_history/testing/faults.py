"""What can go wrong on purpose: which request is met by which fault, decided by a seed. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum

import attrs


class Fault(StrEnum):
    """One way for a request to fail, or to be slow."""

    THROTTLED = "throttled"
    THROTTLED_WITH_RETRY_AFTER = "throttled_with_retry_after"
    ERROR_500 = "error_500"
    ERROR_502 = "error_502"
    ERROR_503 = "error_503"
    RESET_BEFORE_ANSWER = "reset_before_answer"
    RESET_IN_BODY = "reset_in_body"
    TRUNCATED_BODY = "truncated_body"
    STALL = "stall"
    HTML_PAGE = "html_page"
    API_ERROR = "api_error"
    SLOW_FIRST_BYTE = "slow_first_byte"


@attrs.frozen(kw_only=True)
class FaultPlan:
    """Decides which attempt at which window fails, and how. The same seed decides the same, whatever the timing.

    Attributes:
        seed: Makes the draws.
        rates: How likely each fault is to meet an attempt, from 0 to 1; together at most 1.
        script: The faults of the first attempts at every window, in turn, None for no fault; read before `rates`.
        streak: From this attempt at a window on, counted from 0, `rates` do no harm, so that a client that tries
            often enough gets through. None for no such mercy.
        profiles: The numbers of the profiles that are hit; None for all.
        retry_after: Seconds; what `THROTTLED_WITH_RETRY_AFTER` asks for.
        stall: Seconds of silence before a stalled request is cut off.
        slow: Seconds of silence before a slow one is answered.
        api_error: The `error` that `API_ERROR` answers with HTTP 200.
    """

    seed: int = 7
    rates: Mapping[Fault, float] = attrs.field(factory=dict)
    script: tuple[Fault | None, ...] = attrs.field(default=(), converter=tuple)
    streak: int | None = 2
    profiles: frozenset[int] | None = attrs.field(default=None, converter=attrs.converters.optional(frozenset))
    retry_after: int = 1
    stall: float = 60.0
    slow: float = 0.2
    api_error: int = 500

    @rates.validator
    def _check_rates(self, _: object, rates: Mapping[Fault, float]) -> None:
        if min(rates.values(), default=0) < 0 or sum(rates.values()) > 1 + 1e-9:
            raise ValueError(f"rates are from 0 to 1, and together at most 1, not {dict(rates)}")

    @classmethod
    def even(cls, rate: float, *, seed: int = 7, without: Iterable[Fault] = (), **more: object) -> FaultPlan:
        """A plan by which `rate` of the attempts fail, by all kinds of faults alike.

        Args:
            rate: From 0 to 1.
            seed: Makes the draws.
            without: The faults to leave out.
            more: Other attributes of the plan.
        """
        faults = [fault for fault in Fault if fault not in set(without)]
        return cls(seed=seed, rates=dict.fromkeys(faults, rate / len(faults)), **more)  # type: ignore[arg-type]

    @classmethod
    def named(cls, name: str, *, seed: int = 7) -> FaultPlan:
        """The plan behind a word: "none", "light" (a tenth of the attempts fail) or "heavy" (three tenths).

        Raises:
            ValueError: There is no such plan.
        """
        rates = {"none": 0.0, "light": 0.1, "heavy": 0.3}
        if name not in rates:
            raise ValueError(f"the fault plans are {', '.join(rates)}, not {name!r}")
        return cls.even(rates[name], seed=seed)

    @classmethod
    def always(cls, fault: Fault, *, profiles: Iterable[int] | None = None) -> FaultPlan:
        """A plan by which every attempt at the given profiles, or at all, meets one fault."""
        return cls(rates={fault: 1.0}, streak=None, profiles=profiles)  # type: ignore[arg-type]

    def draw(self, profile: int | None, window: str, attempt: int) -> Fault | None:
        """The fault that meets an attempt, if one does.

        Args:
            profile: The profile's number, None for an unknown one.
            window: The request's dates, as one text.
            attempt: How often that profile and window were asked for before.
        """
        if self.profiles is not None and profile not in self.profiles:
            return None
        if attempt < len(self.script):
            return self.script[attempt]
        if not self.rates or (self.streak is not None and attempt >= self.streak):
            return None
        left = random.Random(f"{self.seed}/{profile}/{window}/{attempt}").random()
        for fault, rate in self.rates.items():
            left -= rate
            if left < 0:
                return fault
        return None
