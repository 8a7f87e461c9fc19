"""A line of the table, and how it is played."""

from pathlib import Path

import attrs
from support.matrix.bench import Bench, Outside
from support.matrix.classes import Class
from support.matrix.dice import Dice
from support.matrix.judging import play
from support.matrix.scenarios import Scenario
from support.matrix.seen import Seen


@attrs.frozen
class Line:
    """A line of the table.

    Attributes:
        number: The fault's.
        name: What it is.
        expected: The classes that it comes to, by its ways.
        scenario: How it is brought about.
        slow: Whether a run takes a process.
    """

    number: int
    name: str
    expected: Class
    scenario: Scenario
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.number:02}"

    def play(self, seed: int, folder: Path) -> Class:
        """Play it for a seed, and return the class that it came to.

        Args:
            seed: The seed.
            folder: Where files may be made.
        """
        dice, seen = Dice(self.number, seed), Seen()
        case = self.scenario(dice)
        assert case.outcome in self.expected
        with seen.watching():
            if isinstance(case, Outside):
                case.act(Bench(dice, seen, folder))
            else:
                play(case, dice, seen, folder)
        return case.outcome


def row(number: int, name: str, expected: Class, scenario: Scenario, **more: bool) -> Line:
    """Return a line of the table.

    Args:
        number: As in `Line`.
        name: Likewise.
        expected: Likewise.
        scenario: Likewise.
        more: `slow`, likewise.
    """
    return Line(number, name, expected, scenario, **more)
