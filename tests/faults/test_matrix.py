"""The fault matrix: every fault on `docs/reliability.md` comes to the class that the page says, seed by seed."""

from collections import Counter

import pytest
from support.matrix.classes import Class
from support.matrix.table import ELSEWHERE, FAULTS, ROWS, SEEDS
from support.paths import TESTS

SAMPLE = SEEDS[:2]


def sample(line):
    """Return the seeds that a line is played with: one by default, but none if it is slow, and a second in the gate."""
    return [(SAMPLE[1], pytest.mark.slow)] if line.slow else [(SAMPLE[0], ()), (SAMPLE[1], pytest.mark.slow)]


def runs(seeds):
    """Return the parameters for the runs of the table with some seeds of each line, and their marks."""
    return [
        pytest.param(line, seed, id=f"{line}-{seed:02}", marks=marks) for line in ROWS for seed, marks in seeds(line)
    ]


@pytest.fixture(scope="module")
def tally(request):
    """Count the runs by their classes, and print the sum."""
    played = []
    yield played
    classes = Counter(outcome.name for _, _, outcome in played)
    lines, seeds = {number for number, _, _ in played}, sorted({seed for _, seed, _ in played})
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nfault matrix: {len(played)} runs of {len(lines)} of {len(FAULTS)} faults with the seeds {seeds}: "
            f"{', '.join(f'{name} {classes[name]}' for name in Class.__members__)}; "
            f"elsewhere: {sorted(ELSEWHERE)}"
        )


def test_the_table_has_every_fault_but_those_of_jobs_which_have_tests_of_their_own():
    """Each once, in order."""
    assert [line.number for line in ROWS] == [number for number in FAULTS if number not in ELSEWHERE]
    assert ELSEWHERE.keys() < set(FAULTS)
    assert all((TESTS / f"{test}.py").exists() for _, _, tests in ELSEWHERE.values() for test in tests)


@pytest.mark.parametrize(("line", "seed"), runs(sample))
def test_a_fault_comes_to_what_the_page_says(line, seed, tally, tmp_path):
    """With the same seeds every day."""
    tally.append((line.number, seed, line.play(seed, tmp_path)))


@pytest.mark.full
@pytest.mark.parametrize(("line", "seed"), runs(lambda _: [(seed, ()) for seed in SEEDS]))
def test_every_fault_comes_to_what_the_page_says_with_every_seed(line, seed, tally, tmp_path):
    """The whole matrix."""
    tally.append((line.number, seed, line.play(seed, tmp_path)))
