"""Which attempt is met by which faults, decided by a seed. No I/O."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import attrs

from profile_history.testing.faults import Fault, together

T = TypeVar("T")
Drawn = Fault | tuple[Fault, ...] | None


@attrs.frozen
class Chance:
    """What a fault leaves to chance: which of its forms it takes, and where it strikes."""

    random: random.Random
    variant: int | None

    def one_of(self, forms: Sequence[T]) -> T:
        """One of several forms."""
        return self.random.choice(forms) if self.variant is None else forms[self.variant % len(forms)]

    def between(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`; `least` where that is more."""
        return self.random.randint(least, max(least, most))


def _as_drawn(entry: Fault | Iterable[Fault] | None) -> Drawn:
    faults = together(entry)
    return faults if len(faults) > 1 else faults[0] if faults else None


def _script(entries: Iterable[Fault | Iterable[Fault] | None]) -> tuple[Drawn, ...]:
    return tuple(map(_as_drawn, entries))


@attrs.frozen(kw_only=True)
class FaultPlan:
    """Decides which attempt at which window fails, and how.

    Everything that is chosen, namely whether a fault meets an attempt, which form it takes and where it cuts, is a pure
    function of the seed, the profile, the window and the number of the attempt: the same whatever the timing, and
    whatever else is asked for.

    Several faults can meet one attempt if each spoils another stage of the answer (`Fault.stage`), such as
    `(Fault.SLOW_FIRST_BYTE, Fault.HTML_PAGE)`. Plans are combined with `|`: see `__or__`.

    Attributes:
        seed: Makes the draws.
        rates: How likely each fault, or tuple of faults, is to meet an attempt, from 0 to 1; together at most 1.
        script: The faults of the first attempts at every window, in turn, None for no fault, a tuple or set for
            several at once; read before `rates`.
        streak: From this attempt at a window on, counted from 0, `rates` do no harm, so that a client that tries
            often enough gets through. None for no such mercy.
        profiles: The numbers of the profiles that are hit; None for all.
        variant: Which of its forms a fault takes, by number, beyond the last from the first again; None lets the seed
            choose.
        retry_after: Seconds; what the faults with a sensible `Retry-After` ask for.
        stall: Seconds of silence before a stalled request is cut off.
        slow: Seconds of silence before a slow one is answered.
        drip: Seconds between two bytes of `SLOW_LORIS`, and between two lines of `ENDLESS_CONTINUE`.
        api_error: The `error` that `API_ERROR` answers with HTTP 200.
        location: Where the redirects point to.
        row_cap: How many rows `ROW_CAP` leaves.
        bomb: Bytes; how long the body of `HUGE_BODY` is at least, and that of `GZIP_BOMB` when it is decompressed.
        parts: The plans that this one is combined of; they draw, and what else is set here is not used.
    """

    seed: int = 7
    rates: Mapping[Fault | tuple[Fault, ...], float] = attrs.field(factory=dict)
    script: tuple[Drawn, ...] = attrs.field(default=(), converter=_script)
    streak: int | None = 2
    profiles: frozenset[int] | None = attrs.field(default=None, converter=attrs.converters.optional(frozenset))
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
            together(faults)
        if min(rates.values(), default=0) < 0 or sum(rates.values()) > 1 + 1e-9:
            raise ValueError(f"rates are from 0 to 1, and together at most 1, not {dict(rates)}")

    @classmethod
    def even(cls, rate: float, *, seed: int = 7, without: Iterable[Fault] = (), **more: object) -> FaultPlan:
        """A plan by which `rate` of the attempts fail, by all kinds of faults that pass (`Fault.transient()`) alike.

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
        """The plan behind a word: "none", "light" (a tenth of the attempts fail) or "heavy" (three tenths).

        Raises:
            ValueError: There is no such plan.
        """
        rates = {"none": 0.0, "light": 0.1, "heavy": 0.3}
        if name not in rates:
            raise ValueError(f"the fault plans are {', '.join(rates)}, not {name!r}")
        return cls.even(rates[name], seed=seed)

    @classmethod
    def always(cls, fault: Fault, *more: Fault, profiles: Iterable[int] | None = None) -> FaultPlan:
        """A plan by which every attempt at the given profiles, or at all, meets one fault, or several at once."""
        return cls(rates={(fault, *more) if more else fault: 1.0}, streak=None, profiles=profiles)  # type: ignore[arg-type]

    def __or__(self, other: FaultPlan) -> FaultPlan:
        """Both plans at once: each draws for every attempt as it would alone, with its own seed, script and settings.

        Where both draw a fault of the same stage for one attempt, that of the left plan stands. Plans that draw from
        different faults are independent of each other even under one seed.
        """
        return FaultPlan(parts=(*(self.parts or (self,)), *(other.parts or (other,))))

    def draw(self, profile: int | None, window: str, attempt: int) -> Drawn:
        """The fault that meets an attempt, a tuple of them in the order of their stages, or None.

        Args:
            profile: The profile's number, None for an unknown one.
            window: The request's dates, as one text.
            attempt: How often that profile and window were asked for before.
        """
        if self.parts:
            return _merged(part.draw(profile, window, attempt) for part in self.parts)
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
                return _as_drawn(faults)
        return None

    def chance(self, fault: Fault, profile: int | None, window: str, attempt: int) -> Chance:
        """What the fault leaves to chance at that attempt; the arguments are those of `draw`."""
        return Chance(random.Random(f"{self.seed}/{fault.seed_name}/{profile}/{window}/{attempt}"), self.variant)

    def source(self, fault: Fault, profile: int | None, window: str, attempt: int) -> FaultPlan:
        """The plan whose settings the fault obeys at that attempt: of combined plans the one that drew it."""
        drew = (part for part in self.parts if fault in together(part.draw(profile, window, attempt)))
        return next(drew, self)

    @property
    def scripted(self) -> int:
        """How many attempts at a window the script has a word on."""
        return max((len(self.script), *(part.scripted for part in self.parts)))

    @functools.cached_property
    def _names(self) -> str:
        return "+".join(fault.seed_name for faults in self.rates for fault in together(faults))


def _merged(draws: Iterable[Drawn]) -> Drawn:
    taken: dict[object, Fault] = {}
    for drawn in draws:
        for fault in together(drawn):
            taken.setdefault(fault.stage, fault)
    return _as_drawn(taken.values())
