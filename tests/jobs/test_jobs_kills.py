"""Jobs that are killed by SIGKILL again and again: in the end every row is there, once."""

import datetime as dt
import random
from collections import Counter

import attrs
import pytest
from support.job_truth import differences_after_a_start, files_in, known_files, rows_in, truth_of
from support.job_worker import PHASES, Order, Worker

from profile_history.jobs import HistoryJob, LedgerError
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.schema import connect
from profile_history.testing import HistoryServer

SINKS = (
    "history.ndjson",
    "history.ndjson.gz",
    "history.csv",
    "lake.parquet",
    "lake.parquet?partition=month",
    "history.duckdb",
)
BY_DEFAULT = ("history.ndjson", "lake.parquet")
POSTGRES = "postgresql"
KILLS, MANY = 5, 1000
# After so many kills a stage of a job is let be.
PATIENCE = {KILLS: 3, MANY: 20}
FIRST = dt.date(2023, 1, 1)
# The last days of a job and of its continuations, and how many profiles there are by then.
STAGES = ((dt.date(2023, 12, 31), 24), (dt.date(2024, 2, 29), 32), (dt.date(2024, 6, 30), 40))
# Phases that a moment drawn at random would seldom meet.
SHORT = tuple(phase for phase in PHASES if phase not in {"starting", "fetching", "planning", "extending"})


@pytest.fixture(scope="module")
def served():
    """A server, and a process that forks workers for it."""
    with HistoryServer(profiles=STAGES[-1][1], seed=5) as server, Worker(server) as worker:
        yield server, worker


@attrs.define
class Killing:
    """Jobs of one kind, one after the other, until there were enough kills.

    Attributes:
        kills: How many there were, by the phase.
    """

    server: HistoryServer
    worker: Worker
    chance: random.Random
    patience: int
    kills: Counter = attrs.field(factory=Counter)
    jobs: int = 0
    rows: int = 0

    def job(self, url, directory, names):
        """One job with its continuations; each is killed until it comes to its end, and then looked through."""
        directory.mkdir(exist_ok=True)
        for place, (last, profiles) in enumerate(STAGES):
            order = Order(
                sink=url,
                ledger=str(directory / "job.ledger"),
                profiles=[str(self.server.profile(number)) for number in range(profiles)],
                date_from=str(FIRST),
                date_to=str(STAGES[0][0]),
                until=str(last) if place else None,
            )
            most = self.kills.total() + self.patience
            while phase := self.worker.run(self._doomed(order) if self.kills.total() < most else order):
                self.kills[phase] += 1
                if self.chance.random() < 0.3:
                    self._looked_through(url, directory, names)
            truth = truth_of(self.server.histories, range(profiles), FIRST, last)
            held = rows_in(url)
            assert (truth - held, held - truth) == (Counter(), Counter()), f"lost, and doubled, after {self.kills}"
            assert self._looked_through(url, directory, names)
            self.rows += held.total()
        self.jobs += 1

    def _doomed(self, order):
        if self.chance.random() < 0.5:
            return attrs.evolve(order, after=self.chance.uniform(0.005, 0.25))
        phase = self.chance.choice((*SHORT, "extending" if order.until else "planning"))
        nth = self.chance.choice((1, 1, 2, 3))
        return attrs.evolve(order, phase=phase, nth=nth, delay=self.chance.choice((0, self.chance.uniform(0, 0.006))))

    def _looked_through(self, url, directory, names):
        """Start once more, and hold against the ledger what is there; return False if there is no job yet."""
        if not (directory / "job.ledger").exists():
            return False
        assert differences_after_a_start(directory / "job.ledger", url) == []
        with Ledger(directory / "job.ledger") as ledger:
            known = known_files(directory, ledger, names)
        assert files_in(directory) == known
        return True


def killed(served, tmp_path, kind, wanted, postgres=None):
    """Kill jobs of one kind so often."""
    server, worker = served
    killing = Killing(server, worker, random.Random(f"{kind} {wanted}"), PATIENCE[wanted])
    while killing.kills.total() < wanted:
        directory = tmp_path / str(killing.jobs)
        names = ["history.duckdb"] if kind == "history.duckdb" else []
        table = f"kills_{wanted}_{killing.jobs}"
        url = str(directory / kind) if postgres is None else f"{postgres.dsn}?table={table}"
        killing.job(url, directory, names)
        if postgres is not None:
            postgres.execute(f"DROP TABLE {table}, {table}_job")
    print(
        f"\n{kind}: {killing.kills.total()} kills in {killing.jobs} jobs, {dict(killing.kills.most_common())}, "
        f"{killing.rows:,} rows read back: 0 lost, 0 doubled"
    )
    return killing.kills


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in BY_DEFAULT else pytest.mark.slow) for kind in SINKS]
)
def test_a_job_that_is_killed_anywhere_and_resumed_loses_nothing_and_doubles_nothing(kind, served, tmp_path):
    """Nor does it leave a file behind that is not its own after the next start."""
    assert killed(served, tmp_path, kind, KILLS).total() >= KILLS


@pytest.mark.slow
def test_a_job_into_postgresql_that_is_killed_anywhere_loses_nothing_and_doubles_nothing(served, tmp_path, postgres):
    """Whatever the server was doing for it just then."""
    assert killed(served, tmp_path, POSTGRES, KILLS, postgres).total() >= KILLS


@pytest.mark.parametrize("tables", [False, True])
def test_a_job_that_was_killed_while_it_made_its_ledger_begins_anew(tables, served, tmp_path):
    """What stands under the name of a draft, empty or not, stands for nothing yet."""
    server, worker = served
    ledger = tmp_path / "job.ledger.planning"
    if tables:
        connect(ledger, new=True).close()
    else:
        ledger.touch()
    Killing(server, worker, random.Random(), 0).job(str(tmp_path / "history.ndjson"), tmp_path, [])


@pytest.mark.slow
async def test_a_file_that_is_something_else_is_not_taken_for_a_ledger_that_was_not_made(served, tmp_path):
    """It stays as it is."""
    server, _ = served
    ledger = tmp_path / "job.ledger"
    ledger.write_text("my notes\n")
    async with server.client() as client:
        sink = str(tmp_path / "history.ndjson")
        job = HistoryJob(client, server.profiles(), sink, ledger=ledger, date_from=FIRST, date_to=FIRST)
        with pytest.raises(LedgerError, match="damaged"):
            async for _ in job.run():
                pass

    assert ledger.read_text() == "my notes\n"


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SINKS)
def test_a_thousand_kills_lose_nothing_and_double_nothing(kind, served, tmp_path):
    """They meet every phase of a job."""
    assert killed(served, tmp_path, kind, MANY).total() >= MANY


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_thousand_kills_lose_nothing_and_double_nothing_in_postgresql(served, tmp_path, postgres):
    """They meet every phase of a job."""
    assert killed(served, tmp_path, POSTGRES, MANY, postgres).total() >= MANY
