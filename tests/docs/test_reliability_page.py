"""The page on reliability lists every fault of the fault matrix, with the class that the matrix holds it to."""

import re

from support.matrix.classes import Class
from support.matrix.table import ELSEWHERE, FAULTS, ROWS
from support.pages import text_of

SECTION = text_of("docs/reliability.md").split("\n## Fault by fault\n", 1)[1].split("\n## ", 1)[0]


def describe(number, name, classes):
    """Return a fault as the page shows it: its number, its name, and its classes in the order of `Class`."""
    return str(number), name, ", ".join(f"`{one.name}`" for one in Class if one in classes)


def test_the_page_lists_every_fault_of_the_matrix_with_its_class():
    """In order, and each with what the client does."""
    shown = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| .+ \|$", SECTION, re.MULTILINE)
    held = {line.number: describe(line.number, line.name, line.expected) for line in ROWS}
    held |= {number: describe(number, name, classes) for number, (name, classes, _) in ELSEWHERE.items()}
    assert shown == [held[number] for number in FAULTS]


def test_the_page_explains_every_class():
    """In the words of the matrix, in their order."""
    assert re.findall(r"^\| `([A-Z_]+)` \|", SECTION, re.MULTILINE) == list(Class.__members__)


def test_the_page_names_the_tests_of_the_faults_that_are_met_elsewhere():
    """For each of them."""
    tests = [test.rpartition("/")[2] for _, _, tests in ELSEWHERE.values() for test in tests]
    assert [test for test in tests if f"`{test}.py`" not in SECTION] == []
