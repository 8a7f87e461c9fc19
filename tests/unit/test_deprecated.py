"""Old public names work, and say what took their place and when they go."""

import pytest

from profile_history.testing import Fault, FaultPlan


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
