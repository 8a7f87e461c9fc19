"""The guard on the instruction counts: what it makes of counts that it is given."""

import json
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import Count, Reference, compared, table

REFERENCE = Reference(
    tolerance=0.02,
    wide_tolerance=0.15,
    same={"interpreter": "CPython 3.11", "machine": "x86_64"},
    similar={"python": "3.11.7", "msgspec": "0.23.0"},
    counts={"reading": 5000, "writing": 100},
)


def comparison(now, tolerance=0.02):
    """The comparison of one count whose reference is 5,000."""
    [one] = compared({"reading": 5000}, [Count("reading", now)], tolerance)
    return one


@pytest.mark.parametrize(
    ("now", "failed", "said"),
    [
        (5000, False, ""),
        (5099, False, ""),
        (5101, True, "MORE: if that is meant, --update"),
        (10000, True, "MORE: if that is meant, --update"),
        (4901, False, ""),
        (4899, False, "less: lower the reference by --update"),
    ],
)
def test_only_an_increase_beyond_the_tolerance_fails(now, failed, said):
    """A decrease is told, so that the reference follows it."""
    assert (comparison(now).failed, comparison(now).verdict) == (failed, said)


def test_the_table_names_what_grew():
    """With both counts and the change."""
    shown = table(compared(REFERENCE.counts, [Count("reading", 6000), Count("writing", 100)], 0.02)).splitlines()
    assert shown[1].split()[:5] == ["reading", "5,000", "6,000", "+20.0%", "MORE:"]
    assert shown[2].split() == ["writing", "100", "100", "+0.0%"]


def test_work_that_is_no_longer_counted_fails_and_new_work_does_not():
    """Else a renamed step would not be guarded any more."""
    new, old = compared({"reading": 5000}, [Count("parsing", 1)], 0.02)
    assert (new.name, new.failed, new.verdict) == ("parsing", False, "no reference: --update")
    assert (old.name, old.failed) == ("reading", True)


def test_another_interpreter_is_not_compared():
    """Its counts are others anyway."""
    tolerance, differing = REFERENCE.tolerance_here({**REFERENCE.same, "interpreter": "CPython 3.12"}, {})
    assert tolerance is None
    assert differing == "interpreter (CPython 3.12; the reference's is CPython 3.11)"


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("python", "3.11.9", "python (3.11.9; the reference's is 3.11.7)"),
        ("msgspec", "0.24.0", "msgspec (0.24.0; the reference's is 0.23.0)"),
    ],
)
def test_another_patch_version_or_library_is_compared_with_the_wide_tolerance(name, version, told):
    """It must not fail by itself, and the guard must not go blind on the day when a new version comes out."""
    tolerance, differing = REFERENCE.tolerance_here(REFERENCE.same, {**REFERENCE.similar, name: version})
    assert (tolerance, differing) == (0.15, told)
    assert not comparison(5700, tolerance).failed
    assert comparison(5800, tolerance).failed


def test_the_decoder_is_no_reason_not_to_compare():
    """Its next version is installed as soon as it is there."""
    reference = json.loads(Path(instructions.__file__).with_suffix(".json").read_text(encoding="utf-8"))
    # What is compared with the reference is no part of what the command prints.
    same, similar = instructions._environment()
    assert set(reference["same"]) == set(same) == {"interpreter", "built", "machine"}
    assert set(reference["similar"]) == set(similar)
    assert "msgspec" in similar


def test_the_same_environment_is_compared_with_the_tolerance():
    """Nothing is told then."""
    assert REFERENCE.tolerance_here(REFERENCE.same, REFERENCE.similar) == (0.02, "")
