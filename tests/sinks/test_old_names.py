"""Names that sinks had until version 0.5: a job still reads them of a user's sink, and says what to write instead."""

import datetime as dt
from pathlib import Path

import pytest

from profile_history.jobs import HistoryJob
from profile_history.sinks import Receipt, Refused, Stored, UnitRows
from profile_history.sinks.ndjson import NdjsonSink


@pytest.mark.parametrize(
    ("old", "new"),
    [("lane", "row_format"), ("keeps_books", "transactional"), ("replaces_at_finish", "compacts_on_finish")],
)
def test_a_sink_of_the_package_has_the_old_attributes(tmp_path, old, new):
    """Whoever reads them gets the value of the successor."""
    sink = NdjsonSink(tmp_path / "history.ndjson")
    with pytest.warns(DeprecationWarning, match=rf"Sink\.{old} goes in 1\.0; use Sink\.{new}"):
        assert getattr(sink, old) == getattr(sink, new)


def test_a_row_has_its_offset_under_the_old_name():
    """Reading it and, where a sink makes the row itself, writing it."""
    with pytest.warns(DeprecationWarning, match=r"Stored\.place goes in 1\.0; use Stored\.row_offset"):
        assert Stored(1, 2, 3, 4).place == 3
    with pytest.warns(
        DeprecationWarning, match=r"Refused\(place=\) goes in 1\.0; use Refused\(row_offset=\)"
    ) as warned:
        refused = Refused(unit=1, place=2, reason="why", raw=b"{}")
    assert refused == Refused(1, 2, "why", b"{}")
    assert Path(warned[0].filename) == Path(__file__)


def test_a_unit_has_its_columns_under_the_old_name():
    """Reading them and, in somebody's test of a sink, writing them."""
    with pytest.warns(
        DeprecationWarning, match=r"UnitRows\(pieces=\) goes in 1\.0; use UnitRows\(column_slices=\)"
    ) as warned:
        unit = UnitRows(1, "email:x@example.com", pieces=())
    assert Path(warned[0].filename) == Path(__file__)
    with pytest.warns(DeprecationWarning, match=r"UnitRows\.pieces goes in 1\.0; use UnitRows\.column_slices"):
        assert unit.pieces == unit.column_slices == ()


class OldSink:
    """A sink as version 0.5.0 described one: it keeps what it is given, and refuses each first row."""

    lane = "raw"
    keeps_books = False
    replaces_at_finish = False
    url = "memory:"

    def __init__(self):
        self.batches = {}

    def open(self, ledger, *, new):
        self.batches = {number: units for number, units in self.batches.items() if number <= ledger.last_batch}
        assert list(ledger.dead()) == []
        return ledger.last_batch

    def check(self, batch):
        return [Refused(unit=batch.units[0].unit, place=0, reason="not that one", raw=batch.units[0].raw[0])]

    def write(self, batch):
        self.batches[batch.number] = {unit.unit: list(unit.raw) for unit in batch.units}
        return Receipt()

    def finish(self):
        return None

    def publish(self, receipt):
        """There is nothing to publish."""

    def drop(self, receipt):
        """There is nothing to drop."""

    def verify(self):
        return iter(())

    def close(self):
        """There is nothing to close."""


async def filled(server, sink, profile, ledger):
    """Fill a sink by a job, and return what `verify` finds."""
    async with server.client() as client:
        job = HistoryJob(
            client,
            [profile],
            sink,
            ledger=ledger,
            date_from="2024-01-01",
            date_to="2024-12-31",
            today=lambda: dt.date(2025, 6, 1),
        )
        async for _ in job.run():
            pass
        return await job.verify()


async def test_a_sink_that_was_written_for_0_5_0_is_filled_and_verified(server, tmp_path):
    """With a warning for each name that is another one now."""
    sink, profile = OldSink(), server.profile(1)
    with pytest.warns(DeprecationWarning, match=r"goes in 1\.0; use ") as warned:
        assert await filled(server, sink, profile, tmp_path / "job.ledger") == []
    assert {str(warning.message).partition(" goes in 1.0; use ")[::2] for warning in warned} == {
        ("OldSink.lane", "OldSink.row_format"),
        ("OldSink.keeps_books", "OldSink.transactional"),
        ("OldSink.replaces_at_finish", "OldSink.compacts_on_finish"),
        ("LedgerView.dead", "LedgerView.tombstones"),
        ("Refused(place=)", "Refused(row_offset=)"),
    }
    expected = len(server.truth(profile, "2024-01-01", "2024-12-31"))
    batches = sink.batches.values()
    assert sum(len(rows) for units in batches for rows in units.values()) == expected - len(batches) > 0
