"""What a ledger tells a sink, in memory, for the tests of sinks; and rows to fill them with."""

import attrs

from profile_history._decoding.arrow_decoder import decode_columns
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.response_decoder import ResponseDecoder
from profile_history._protocol.chunking import verify_chunk
from profile_history._protocol.envelope import Rows
from profile_history.sinks.base import checksums_of
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.unit_rows import Stored, UnitRows
from profile_history.testing.histories import Histories
from profile_history.windows import Order, Window


@attrs.define
class FakeLedger:
    """A ledger without a disk: it applies receipts as the ledger would."""

    job: str = "job"
    last_batch: int = 0
    known: list = attrs.field(factory=list)
    gone: list = attrs.field(factory=list)
    live: dict = attrs.field(factory=dict)
    checksums: dict = attrs.field(factory=dict)
    location: str = "/somewhere/job.ledger"

    def parts(self, batches=None):
        wanted = None if batches is None else set(batches)
        for part in sorted(self.known, key=lambda part: (part.name, part.offset)):
            if wanted is None or wanted & set(range(part.first, part.last + 1)):
                yield part

    def tombstones(self):
        yield from sorted(self.gone, key=lambda stored: (stored.batch, stored.row_offset))

    def units(self):
        for unit, stored in sorted(self.live.items()):
            yield unit, stored.rows

    def unit_checksums(self):
        for unit, rows in self.units():
            yield unit, rows, self.checksums.get(unit)

    def stored(self):
        for stored in sorted(self.live.values(), key=lambda stored: (stored.batch, stored.row_offset)):
            yield stored, self.checksums.get(stored.unit)

    def check_stop(self):
        """Do nothing: nobody interrupts it."""

    def batch(self, units, replaced=()):
        """Return the next batch, of some units, and without what is there of others."""
        there = [self.live[number] for number in (*replaced, *(unit.unit for unit in units)) if number in self.live]
        return SinkBatch(self.last_batch + 1, list(units), there)

    def apply(self, receipt, batch=None, *, compacts_on_finish=False):
        """Take note of what a sink did."""
        for part in receipt.removed:
            self.known.remove(part)
        self.known += receipt.added
        if batch is None:
            if compacts_on_finish:
                self.live = {unit: self._moved_up(stored) for unit, stored in self.live.items()}
                self.gone = []
            return
        self.last_batch = batch.number
        for stored in batch.replaced:
            del self.live[stored.unit]
            if compacts_on_finish:
                self.gone.append(stored)
        place = 0
        for unit in batch.units:
            self.live[unit.unit] = Stored(unit.unit, batch.number, place, len(unit))
            place += len(unit)

    def _moved_up(self, stored):
        before = [dead for dead in self.gone if dead.batch == stored.batch and dead.row_offset < stored.row_offset]
        return attrs.evolve(stored, row_offset=stored.row_offset - sum(dead.rows for dead in before))


def fill(sink, ledger, batch):
    """Bring one batch into a sink and into the ledger, as a job does."""
    batch = batch.without(sink.check(batch))
    ledger.checksums |= checksums_of(sink, batch)
    receipt = sink.write(batch)
    ledger.apply(receipt, batch, compacts_on_finish=sink.compacts_on_finish)
    sink.drop(receipt)


def finish(sink, ledger):
    """Bring the files into their final form, as a job does."""
    receipt = sink.finish()
    if receipt is not None:
        sink.publish(receipt)
        ledger.apply(receipt, compacts_on_finish=sink.compacts_on_finish)
        sink.drop(receipt)


def pieces_of(texts):
    """Return the rows of a response in columns, and those that are quarantined."""
    apart = []
    unpacking = ResponseDecoder(FLAT, Window(), Order.NEWEST, "", False, apart.append)
    rows = Rows([verify_chunk(b",".join(texts))] if texts else [], sum(map(len, texts)))
    return [piece for piece in decode_columns(unpacking, rows) if len(piece)], apart


def unit_of(number, profile, texts, row_format):
    """Return one unit of some rows, as the server writes them."""
    if row_format == "raw":
        return UnitRows(number, profile, raw=texts)
    return UnitRows(number, profile, column_slices=pieces_of(texts)[0])


def real_units(histories: Histories, row_format, first, last, *, most=40):
    """Return one unit per profile, of up to so many of its rows; those without rows are left out."""
    units = []
    for number in range(first, last):
        texts = [row.json for row in histories.rows(number, "newer")][:most]
        if texts:
            units.append(unit_of(number + 1, str(histories.profile(number)), texts, row_format))
    return units


FINISH = None


@attrs.define
class FakeJob:
    """A job that fills a sink by a plan, can die anywhere, and goes on where it stood.

    Attributes:
        plan: What it does, one after the other: a batch as (units, numbers of units that become empty), or FINISH.
        ledger: What it knows to be done.
    """

    plan: list
    ledger: FakeLedger = attrs.field(factory=FakeLedger)
    done: int = 0
    begun: bool = False
    intended: object = None

    def run(self, sink, disk):
        """Open the sink and do what is left of the plan."""
        self.open(sink, disk)
        while self.done < len(self.plan):
            if self.plan[self.done] is FINISH:
                self._finish(sink, disk)
            else:
                self._fill(sink, disk)
        sink.close()

    def open(self, sink, disk):
        """Make good what a run that died left undone, and open the sink."""
        if self.intended is not None:
            self._publish(sink, disk)
        sink.open(self.ledger, new=not self.begun)
        self.begun = True

    def _fill(self, sink, disk):
        units, emptied = self.plan[self.done]
        batch = self.ledger.batch(units, emptied)
        checksums = checksums_of(sink, batch)
        receipt = sink.write(batch)
        disk.before("note", None)
        self.ledger.checksums |= checksums
        self.ledger.apply(receipt, batch, compacts_on_finish=sink.compacts_on_finish)
        self.done += 1
        disk.before("note", None)
        sink.drop(receipt)

    def _finish(self, sink, disk):
        receipt = sink.finish()
        disk.before("note", None)
        if receipt is None:
            self.done += 1
            return
        self.intended = receipt
        disk.before("note", None)
        self._publish(sink, disk)

    def _publish(self, sink, disk):
        receipt = self.intended
        sink.publish(receipt)
        disk.before("note", None)
        self.ledger.apply(receipt, compacts_on_finish=sink.compacts_on_finish)
        self.intended, self.done = None, self.done + 1
        disk.before("note", None)
        sink.drop(receipt)
