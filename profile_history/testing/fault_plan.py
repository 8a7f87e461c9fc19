"""The choice, by a seed, of the faults that an attempt meets. No I/O."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import attrs

from profile_history._checks import describe, expect
from profile_history.errors import ConfigurationError
from profile_history.testing.faults import Fault, sort_by_stage
from profile_history.testing.limiters import Limiter

T = TypeVar("T")
Draw = Fault | tuple[Fault, ...] | None


@attrs.frozen
class Chance:
    """The random choices of a fault: which of its forms it takes, and where it strikes."""

    random: random.Random
    variant: int | None

    def one_of(self, forms: Sequence[T]) -> T:
        """Choose one of several forms."""
        return self.random.choice(forms) if self.variant is None else forms[self.variant % len(forms)]

    def between(self, least: int, most: int) -> int:
        """Draw a whole number.

        Args:
            least: The smallest one, inclusive.
            most: The largest one, inclusive; `least` is drawn if this is smaller.
        """
        return self.random.randint(least, max(least, most))


def _to_draw(entry: Fault | Iterable[Fault] | None) -> Draw:
    faults = sort_by_stage(entry)
    return faults if len(faults) > 1 else faults[0] if faults else None


def _to_script(entries: Iterable[Fault | Iterable[Fault] | None]) -> tuple[Draw, ...]:
    return tuple(map(_to_draw, entries))


def _to_limiters(limiters: Iterable[Limiter]) -> tuple[Limiter, ...]:
    if not isinstance(limiters, Iterable):
        raise ConfigurationError(f"FaultPlan(limiters=...) is a list of limiters, not {describe(limiters)}")
    return tuple(limiters)


@attrs.frozen(kw_only=True)
class FaultPlan:
    """A plan that decides which attempt at which window fails, and how, and which limiters stand before the server.

    Example:
        >>> from profile_history.testing import Fault, FaultPlan
        >>> plan = FaultPlan(script=[Fault.ERROR_503, None])
        >>> plan.draw(0, "2024-01-01..2024-01-31", 0)
        <Fault.ERROR_503: 'error_503'>
        >>> plan.draw(0, "2024-01-01..2024-01-31", 1) is None
        True
        >>> slow_and_dead = FaultPlan.always(Fault.SLOW_FIRST_BYTE) | FaultPlan.always(Fault.ERROR_500, profiles=[3])
        >>> slow_and_dead.draw(3, "2024-01-01..2024-01-31", 0)
        (<Fault.ERROR_500: 'error_500'>, <Fault.SLOW_FIRST_BYTE: 'slow_first_byte'>)

    Everything that is chosen, namely whether a fault meets an attempt, which form it takes and where it cuts, is a pure
    function of the seed, the profile, the window and the number of the attempt: the same whatever the timing, and
    whatever else is asked for.

    What limiters refuse depends on the timing, and on nothing else; what they let in meets the faults of the plan.

    Several faults can meet one attempt if each spoils another stage of the response (`Fault.stage`), such as
    `(Fault.SLOW_FIRST_BYTE, Fault.HTML_PAGE)`. Plans are combined with `|`: see `__or__`.

    Attributes:
        seed: Makes the draws.
        rates: How likely each fault, or tuple of faults, is to meet an attempt, from 0 to 1; together at most 1.
        script: The faults of the first attempts at every window, in turn, `None` for no fault, a tuple or set for
            several at once; read before `rates`.
        streak: From this attempt at a window on, counted from 0, `rates` do no harm, so that a client that tries
            often enough gets through. `None` for no such mercy.
        profiles: The numbers of the profiles that are hit; `None` for all.
        limiters: What limits the requests of all profiles, from the outermost to the innermost: `ConcurrencyLimiter`,
            `TokenBucket`, `LeakyBucket`, `SlidingWindow` or `FixedWindow`. Those of combined plans stand one behind
            the other. Not together with `profiles`.
        variant: Which of its forms a fault takes, by number, beyond the last from the first again; `None` lets the
            seed choose.
        retry_after: Seconds; what the faults with a sensible `Retry-After` ask for.
        stall: Seconds of silence before a stalled request is cut off.
        slow: Seconds of silence before a slow response begins.
        drip: Seconds between two bytes of `SLOW_LORIS`, and between two lines of `ENDLESS_CONTINUE`.
        api_error: The `error` that `API_ERROR` sends with HTTP 200.
        location: Where the redirects point to.
        row_cap: How many rows `ROW_CAP` leaves.
        bomb: Bytes; how long the body of `HUGE_BODY` is at least, and that of `GZIP_BOMB` when it is decompressed.
        parts: The plans that this one is combined of; they draw, and what else is set here is not used.
    """

    seed: int = 7
    rates: Mapping[Fault | tuple[Fault, ...], float] = attrs.field(factory=dict)
    script: tuple[Draw, ...] = attrs.field(default=(), converter=_to_script)
    streak: int | None = 2
    profiles: frozenset[int] | None = attrs.field(default=None, converter=attrs.converters.optional(frozenset))
    limiters: tuple[Limiter, ...] = attrs.field(default=(), converter=_to_limiters)
    variant: int | None = None
    retry_after: int = 1
    stall: float = 60.0
    slow: float = 0.2
    drip: float = 0.3
    api_error: int = 500
    location: str = "http://elsewhere.invalid/api/v1.1/subscribers/history_get"
    row_cap: int = 10
    bomb: int = 2**30
    parts: tuple[FaultPlan, ...] = ()

    @rates.validator
    def _check_rates(self, _: object, rates: Mapping[Fault | tuple[Fault, ...], float]) -> None:
        for faults in rates:
            sort_by_stage(faults)
        if min(rates.values(), default=0) < 0 or sum(rates.values()) > 1 + 1e-9:
            raise ValueError(f"rates are from 0 to 1, and together at most 1, not {dict(rates)}")

    @limiters.validator
    def _check_limiters(self, _: object, limiters: tuple[Limiter, ...]) -> None:
        for limiter in limiters:
            expect("FaultPlan(limiters=...): each", limiter, Limiter)
        if limiters and self.profiles is not None:
            raise ConfigurationError(
                "limiters count the requests of all profiles: give them a plan without profiles, and join both with |"
            )

    @classmethod
    def even(cls, rate: float, *, seed: int = 7, without: Iterable[Fault] = (), **more: object) -> FaultPlan:
        """Return a plan by which `rate` of the attempts fail, by each of the faults that pass (`Fault.transient()`).

        Example:
            >>> from profile_history.testing import Fault, FaultPlan
            >>> plan = FaultPlan.even(0.2, seed=1, without=[Fault.STALL])
            >>> round(sum(plan.rates.values()), 9), Fault.STALL in plan.rates
            (0.2, False)

        Args:
            rate: From 0 to 1.
            seed: Makes the draws.
            without: The faults to leave out.
            more: Other attributes of the plan.
        """
        faults = [fault for fault in Fault.transient() if fault not in set(without)]
        return cls(seed=seed, rates=dict.fromkeys(faults, rate / len(faults)), **more)  # type: ignore[arg-type]

    @classmethod
    def named(cls, name: str, *, seed: int = 7) -> FaultPlan:
        """Return the plan behind a word.

        Args:
            name: "none", "light" (a tenth of the attempts fail) or "heavy" (three tenths).
            seed: Makes the draws.

        Raises:
            ValueError: There is no such plan.
        """
        rates = {"none": 0.0, "light": 0.1, "heavy": 0.3}
        if name not in rates:
            raise ValueError(f"the fault plans are {', '.join(rates)}, not {name!r}")
        return cls.even(rates[name], seed=seed)

    @classmethod
    def always(cls, fault: Fault, *more: Fault, profiles: Iterable[int] | None = None) -> FaultPlan:
        """Return a plan by which every attempt meets the same faults.

        Args:
            fault: The fault.
            more: Others that it meets at once, each of another stage.
            profiles: The numbers of the profiles that are hit; `None` for all.
        """
        return cls(rates={(fault, *more) if more else fault: 1.0}, streak=None, profiles=profiles)  # type: ignore[arg-type]

    def __or__(self, other: FaultPlan) -> FaultPlan:
        """Return both plans in one; each draws as it would alone, with its own seed, script and settings.

        Where both draw a fault of the same stage for one attempt, that of the left plan stands. Plans that draw from
        different faults are independent of each other even under one seed.
        """
        return FaultPlan(parts=(*(self.parts or (self,)), *(other.parts or (other,))))

    def draw(self, profile: int | None, window: str, attempt: int) -> Draw:
        """Return the fault that an attempt meets: a tuple if they are several, in the order of their stages, or `None`.

        Args:
            profile: The profile's number, `None` if nobody knows it.
            window: The request's dates, as one text.
            attempt: How many attempts at that profile and window came before.
        """
        if self.parts:
            return _merge_draws(part.draw(profile, window, attempt) for part in self.parts)
        if self.profiles is not None and profile not in self.profiles:
            return None
        if attempt < len(self.script):
            return self.script[attempt]
        if not self.rates or (self.streak is not None and attempt >= self.streak):
            return None
        left = random.Random(f"{self.seed}/{self._names}/{profile}/{window}/{attempt}").random()
        for faults, rate in self.rates.items():
            left -= rate
            if left < 0:
                return _to_draw(faults)
        return None

    def chance(self, fault: Fault, profile: int | None, window: str, attempt: int) -> Chance:
        """Return what a fault leaves to chance at an attempt.

        Args:
            fault: The fault.
            profile: The profile's number, as for `draw`.
            window: The request's dates, likewise.
            attempt: How many attempts came before.
        """
        return Chance(random.Random(f"{self.seed}/{fault.seed_name}/{profile}/{window}/{attempt}"), self.variant)

    def source(self, fault: Fault, profile: int | None, window: str, attempt: int) -> FaultPlan:
        """Return the plan whose settings a fault obeys at an attempt: of combined plans the one that drew it.

        Args:
            fault: The fault.
            profile: The profile's number, as for `draw`.
            window: The request's dates, likewise.
            attempt: How many attempts came before.
        """
        drew = (part for part in self.parts if fault in sort_by_stage(part.draw(profile, window, attempt)))
        return next(drew, self)

    @property
    def scripted(self) -> int:
        """Return how many attempts at a window the script decides."""
        return max((len(self.script), *(part.scripted for part in self.parts)))

    @property
    def all_limiters(self) -> tuple[Limiter, ...]:
        """Return the limiters of this plan and of those that it is combined of, from the outermost to the innermost."""
        return (*self.limiters, *(limiter for part in self.parts for limiter in part.all_limiters))

    @functools.cached_property
    def _names(self) -> str:
        return "+".join(fault.seed_name for faults in self.rates for fault in sort_by_stage(faults))


def _merge_draws(draws: Iterable[Draw]) -> Draw:
    taken: dict[object, Fault] = {}
    for drawn in draws:
        for fault in sort_by_stage(drawn):
            taken.setdefault(fault.stage, fault)
    return _to_draw(taken.values())
