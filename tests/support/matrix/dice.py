"""The choices of a seed: which histories there are, which of them are fetched, and in which windows."""

import datetime as dt
import random
from collections.abc import Iterable
from typing import Any

from profile_history.testing.histories import Histories

FROM, TO = dt.date(2024, 3, 1), dt.date(2024, 4, 29)
DAYS = (TO - FROM).days + 1
LIST_ID, PROFILES, FETCHED = 20, 40, 6


class Dice:
    """The draws of one seed for one row: the same each time."""

    def __init__(self, number: int, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"{number}/{seed}")
        self.left = seed
        self.histories = Histories(PROFILES, seed, LIST_ID, FROM, TO)
        self.rows = self.any(("seed", "newer"))
        self.numbers = self.random.sample([n for n in range(PROFILES) if self.length(n) < 500], FETCHED)
        self.window = self.any(("auto", None, 20, 30, 45))

    def length(self, number: int) -> int:
        """Return how many rows a profile has."""
        return len(self.histories.rows(number, self.rows))

    def any(self, choices: Iterable[Any]) -> Any:
        """Return one of them, by chance."""
        return self.random.choice(list(choices))

    def in_turn(self, choices: Iterable[Any]) -> Any:
        """Return one of them, the next at the next seed."""
        choices = list(choices)
        self.left, place = divmod(self.left, len(choices))
        return choices[place]

    def whole(self) -> None:
        """Ask for a range in one request, unless it proves too much."""
        self.window = self.any(("auto", None))

    def undivided(self) -> None:
        """Let no window be halved."""
        self.window = None if self.window == "auto" else self.window

    @property
    def windows(self) -> int:
        """Return how many windows a range is cut into."""
        return -(-DAYS // self.window) if isinstance(self.window, int) else 1

    def some(self, most: int) -> list[int]:
        """Return some of the profiles that are fetched and have rows, one at least."""
        having = [number for number in self.numbers if self.length(number) > 2]
        return self.random.sample(having, min(max(1, most), len(having)))
