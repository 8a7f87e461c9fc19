"""PostgreSQL as a sink whose connection is lost: before, during and after a commit each batch is there once."""

import os
import signal
from collections import Counter

import pytest
from support.databases import (  # noqa: F401 (some are fixtures)
    Clock,
    Ledger,
    batches,
    elephant,
    found,
    noted,
    opened,
    proxy,
    refused,
    replaced,
    row,
    rows_in,
    simple,
    unit_from,
    unit_of,
)

from profile_history.sinks.base import SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.postgresql import PostgresSink


def test_an_error_at_the_commit_itself_leaves_nothing(elephant):
    """Here a trigger refuses at the very end; the sink can be used further."""
    ledger, sink = Ledger(), elephant.sink()
    table = elephant.table
    with opened(sink, ledger, new=True):
        elephant.execute(
            f"CREATE FUNCTION {table}_no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$"
        )
        elephant.execute(
            f"CREATE CONSTRAINT TRIGGER no AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {table}_no()"
        )
        with pytest.raises(SinkError, match=r"not today.*then resume the job"):
            sink.write(SinkBatch(1, [simple(1)]))
        assert (found(elephant), noted(elephant)[0][1]) == (Counter(), 0)
        elephant.execute(f"DROP TRIGGER no ON {table}")
        sink.write(SinkBatch(1, [simple(1)]))
    assert found(elephant) == rows_in(simple(1))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_comes_back_between_batches_is_written_on(elephant, how):
    """Every row is there once, and the lock is held again."""
    ledger, clock = Ledger(), Clock()
    sink = elephant.sink(**clock.options)
    with opened(sink, ledger, new=True):
        for batch in batches(count=2):
            sink.write(batch)
            ledger.apply(batch)
            elephant.server.restart(how)
        assert clock.now < 1
        batch = SinkBatch(3, [simple(99)])
        sink.write(batch)
        ledger.apply(batch)
        with pytest.raises(JobHeld, match=f"another job .*process {os.getpid()} on ") as caught:
            elephant.sink(**Clock().options).open(Ledger(), new=False)
        assert caught.value.pid == os.getpid()
        assert list(sink.verify()) == []


def test_a_server_that_stays_away_for_a_while_is_waited_for(elephant):
    """With growing pauses, and no longer than it takes."""
    server = elephant.server
    clock = Clock(*(lambda: None for _ in range(6)), server.start)
    sink = elephant.sink(**clock.options)
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        server.stop()
        sink.write(SinkBatch(2, [simple(2)]))
    assert 3 < clock.now < 20
    assert found(elephant) == rows_in(simple(1), simple(2))


def test_a_server_that_stays_away_for_good_ends_the_run(elephant):
    """After as many seconds as the caller has patience; what was written stays."""
    clock = Clock()
    sink = elephant.sink(patience=30, **clock.options)
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(1)]))
        elephant.server.stop()
        with pytest.raises(SinkError, match=r"refused.*see to the server"):
            sink.write(SinkBatch(2, [simple(2)]))
        assert clock.now == pytest.approx(30)
        elephant.server.start()
    with opened(elephant.sink(), Ledger(last_batch=1)) as last:
        assert last == 1
    assert found(elephant) == rows_in(simple(1))


@pytest.mark.parametrize("tear", ["before", "after", "silently"])
@pytest.mark.parametrize("word", [b"COMMIT\0", b"here it tears", b"BEGIN", b"UPDATE"])
def test_a_connection_torn_anywhere_loses_nothing_and_doubles_nothing(elephant, proxy, word, tear):
    """Before the server hears of the commit, after it has committed, and while rows flow."""
    ledger, sink = Ledger(), PostgresSink(elephant.server.dsn_at(proxy.port), elephant.table)
    units = [unit_from(number) for number in range(12)]
    torn = unit_of(50, [row(email="here it tears", message_id=number) for number in range(2)])
    with opened(sink, ledger, new=True):
        for number, batch in enumerate(
            [
                SinkBatch(1, units[:6]),
                SinkBatch(2, [*units[6:], torn], replaced(*units[:2])),
                SinkBatch(3, [simple(51)]),
            ],
            1,
        ):
            if number == 2:
                proxy.tear_at(word, tear)
            sink.write(batch)
            ledger.apply(batch)
        assert proxy.torn == 1
        assert list(sink.verify()) == []
    assert found(elephant) == rows_in(*units[2:], torn, simple(51))
    assert noted(elephant)[0][1] == 3


@pytest.mark.slow
def test_a_server_that_crashes_while_rows_flow_is_written_again(elephant):
    """The rows come from a batch that is in the middle of its way."""
    sink = elephant.sink(**Clock().options)

    class Crashing(SinkBatch):
        @property
        def table(self):
            return self

        def to_batches(self, most):
            for number, some in enumerate(SinkBatch(1, self.units).table.to_batches(100)):
                if number == 3 and crashes:
                    crashes.pop()()
                yield some

    units = [unit_from(number) for number in range(20)]
    crashes = [lambda: elephant.server.restart(signal.SIGQUIT), elephant.server.restart]
    with opened(sink, Ledger(), new=True):
        sink.write(SinkBatch(1, [simple(100)]))
        sink.write(Crashing(2, units))
    assert crashes == []
    assert found(elephant) == rows_in(simple(100), *units)


def test_when_the_table_has_changed_hands_meanwhile_nothing_is_written(elephant):
    """Another job has the lock after a restart; the first one gives up when its patience ends."""
    sink, other = elephant.sink(**Clock().options), elephant.sink()
    with opened(sink, Ledger(), new=True):
        elephant.server.restart()
        with opened(other, Ledger()), pytest.raises(JobHeld, match="another job is writing"):
            sink.write(SinkBatch(1, [simple(1)]))
    assert found(elephant) == Counter()
