"""Old public names: they work until 1.0, warn at the user's own line, and name their successor."""

import datetime as dt
import importlib
from pathlib import Path

import pytest

import profile_history
from profile_history import ConnectionFailed, HistoryClient, ResponseTooLarge, Window
from profile_history.errors import Kind
from profile_history.testing import Fault, FaultPlan
from profile_history.windows import Order

# Module, old name, and where the same thing is now. Whoever renames something public adds a line here.
RENAMED = [
    ("profile_history", "GateClosed", "profile_history.CircuitClosed"),
    ("profile_history", "GateOpened", "profile_history.CircuitOpened"),
    ("profile_history.arrow", "batches", "profile_history.arrow.assemble_batches"),
    ("profile_history.arrow", "tabled", "profile_history.arrow.decode_columns"),
    ("profile_history.observing", "GateClosed", "profile_history.observing.CircuitClosed"),
    ("profile_history.observing", "GateOpened", "profile_history.observing.CircuitOpened"),
    ("profile_history.reading", "OnError", "profile_history.results.OnError"),
    ("profile_history.reading", "QuarantinedRow", "profile_history.QuarantinedRow"),
    ("profile_history.reading", "WindowFailure", "profile_history.WindowFailure"),
    ("profile_history.reading", "WindowResult", "profile_history.WindowResult"),
    ("profile_history.sinks", "Batch", "profile_history.sinks.SinkBatch"),
    ("profile_history.sinks", "Books", "profile_history.sinks.LedgerView"),
]


@pytest.mark.parametrize(("module", "old", "new"), RENAMED, ids=[f"{module}.{old}" for module, old, _ in RENAMED])
def test_an_old_name_is_its_successor_and_says_so(module, old, new):
    """The warning stands at the line of whoever uses the name, and says when it goes."""
    home, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"{old} goes in 1\.0; use ") as warned:
        found = getattr(importlib.import_module(module), old)
    assert found is getattr(importlib.import_module(home), name)
    assert [Path(warning.filename) for warning in warned] == [Path(__file__)]
    assert new in str(warned[0].message)


@pytest.mark.parametrize("module", sorted({module for module, *_ in RENAMED}))
def test_a_name_that_never_was_there_is_an_attribute_error(module):
    """What is not renamed is not there."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        importlib.import_module(module).nothing  # noqa: B018


def test_old_names_are_not_listed():
    """Completion and `import *` show the successors alone."""
    assert not {old for module, old, _ in RENAMED if module == "profile_history"} & set(dir(profile_history))


async def test_an_old_attribute_of_a_client_is_its_successor_and_says_so():
    """The warning stands at the line of whoever uses it."""
    async with HistoryClient("https://history.example", token="secret", list_id=20) as client:
        with pytest.warns(DeprecationWarning, match=r"HistoryClient\.pace goes in 1\.0; use .*pacing_state"):
            assert client.pace == client.pacing_state


def test_old_attributes_of_an_error_are_their_successors_and_say_so():
    """Both say the same as before."""
    with pytest.warns(DeprecationWarning, match=r"HistoryError\.too_much goes in 1\.0; use HistoryError\.splittable"):
        assert ResponseTooLarge("x").too_much
    with pytest.warns(DeprecationWarning, match=r"HistoryError\.stale goes in 1\.0; use .*stale_connection"):
        assert not ConnectionFailed("x").stale


def test_the_old_name_of_a_kind_is_the_same_kind():
    """A member of an enumeration cannot warn; it is an alias that is not listed."""
    assert Kind.SUSPECT is Kind.AMBIGUOUS
    assert "SUSPECT" not in [kind.name for kind in Kind]


class TestFaults:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("CLOSE_BEFORE_ANSWER", "CLOSE_BEFORE_RESPONSE"),
            ("RESET_BEFORE_ANSWER", "RESET_BEFORE_RESPONSE"),
            ("UNASKED_ANSWER", "UNSOLICITED_RESPONSE"),
        ],
    )
    @pytest.mark.parametrize(
        "look_up", [lambda name: getattr(Fault, name), lambda name: Fault[name], lambda name: Fault(name.lower())]
    )
    def test_old_members_are_found_by_name_and_by_value(self, look_up, old, new):
        with pytest.warns(DeprecationWarning, match=rf"^Fault\.{old} is now Fault\.{new}; .* goes in 1\.0$") as warned:
            assert look_up(old) is Fault[new]
        assert warned[0].filename == __file__

    def test_other_names_and_values_are_unknown_as_ever(self):
        with pytest.raises(AttributeError, match="Fault has no member ANSWER"):
            _ = Fault.ANSWER
        with pytest.raises(KeyError):
            Fault["NOTHING"]
        for value in ("nothing", "answer", 7):
            with pytest.raises(ValueError, match="is not a valid Fault"):
                Fault(value)

    def test_a_seed_draws_the_same_faults_as_before(self):
        """The numbers were drawn by 0.5.0."""
        chances = [
            FaultPlan(seed=7).chance(fault, 3, "a..b", 0) for fault in (Fault.STALL, Fault.RESET_BEFORE_RESPONSE)
        ]

        assert [round(chance.random.random(), 6) for chance in chances] == [0.221354, 0.360633]


async def test_old_names_of_a_client_are_its_new_ones_and_say_so():
    """The warning stands at the line of whoever uses them."""
    async with HistoryClient("https://history.example", token="secret", list_id=20) as client:
        with pytest.warns(DeprecationWarning, match=r"\.terms goes in 1\.0; use HistoryClient\.fingerprint") as warned:
            assert client.terms == client.fingerprint
        with pytest.warns(DeprecationWarning, match=r"\.reader goes in 1\.0; use HistoryClient\.read_units"):
            assert type(client.reader([])) is type(client.read_units([]))
    assert Path(warned[0].filename) == Path(__file__)


def test_old_names_of_a_window_are_its_new_ones_and_say_so():
    """They do the same."""
    first, second = dt.date(2024, 1, 1), dt.date(2024, 1, 2)
    window = Window(first, second)
    with pytest.warns(DeprecationWarning, match=r"Window\.tiles goes in 1\.0; use Window\.divide"):
        assert list(window.tiles(1, Order.OLDEST, second)) == [Window(first, first), Window(second, second)]
    with pytest.warns(DeprecationWarning, match=r"Window\.joined goes in 1\.0; use Window\.join"):
        assert Window(first, first).joined(Window(second, second)) == window
