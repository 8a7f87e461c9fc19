"""Put a client together: the parts that its copies share, its fetcher, and the pool of a stream."""

from __future__ import annotations

import datetime as dt
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import attrs

from profile_history._aio import CooperativeRunner
from profile_history._config import ClientOptions
from profile_history._protocol.requests import Requests
from profile_history._scheduling.scheduler import Outcome, Scheduler
from profile_history._scheduling.window_plan import WindowPlan
from profile_history._scheduling.worker_pool import Profiles, Units, WorkerPool
from profile_history._secrets import Token
from profile_history._sending.fetcher import Fetcher
from profile_history._sending.health_probe import HealthProbe
from profile_history._sending.memory_budget import MemoryBudget, StreamBudget
from profile_history._sending.pacer import Pacer
from profile_history._sending.page_evidence import PageEvidence
from profile_history._sending.request_ids import make_request_ids
from profile_history._sending.retrier import Retrier
from profile_history._sending.retry_budget import RetryBudget
from profile_history._sending.row_cap import RowCapDetector
from profile_history._sending.transport import Transport
from profile_history.observing import Observer
from profile_history.options import Pacing
from profile_history.units import Unit
from profile_history.windows import Window

# Where requests are few, twice as many workers: verifying a response overlaps with waiting for the next. Where they are
# many, the others wait meanwhile, and handing each place over would cost more.
_WORKERS_PER_REQUEST = 2
_MANY_WORKERS = 32
_AHEAD_PER_REQUEST = 4
_SUSPENDED_PER_REQUEST = 64


@attrs.frozen
class SharedParts:
    """The parts that a client and its copies have in common."""

    transport: Transport
    pacer: Pacer
    observer: Observer
    concurrency: int
    budget: RetryBudget = attrs.field(factory=RetryBudget)
    memory: MemoryBudget = attrs.field(factory=MemoryBudget)
    row_cap_detector: RowCapDetector = attrs.field(factory=RowCapDetector)
    health_probe: HealthProbe = attrs.field(factory=HealthProbe)
    page_evidence: PageEvidence = attrs.field(factory=PageEvidence)
    runner: CooperativeRunner = attrs.field(factory=CooperativeRunner)
    pools: weakref.WeakSet[WorkerPool] = attrs.field(factory=weakref.WeakSet)
    cores: weakref.WeakSet[Any] = attrs.field(factory=weakref.WeakSet)


def make_shared_parts(transport: Transport, pacing: Pacing, observer: Observer) -> SharedParts:
    """Return what a client shares with the copies that will be made of it.

    Args:
        transport: Sends.
        pacing: How many requests are in flight at once.
        observer: Is told what the client does.
    """
    return SharedParts(transport, Pacer(pacing, observer=observer), observer, pacing.concurrency)


def make_fetcher(token: Token, auth: Literal["body", "header"], options: ClientOptions, shared: SharedParts) -> Fetcher:
    """Return what fetches single windows for a client.

    Args:
        token: The API token.
        auth: Where it goes.
        options: How the client asks.
        shared: What it shares with its copies.
    """
    return Fetcher(
        transport=shared.transport,
        requests=Requests(token, options.list_id, auth),
        token=token,
        pacer=shared.pacer,
        retrier=Retrier(options.retry, shared.budget, time_budget=options.timeouts.window),
        observer=shared.observer,
        row_cap_detector=shared.row_cap_detector,
        health_probe=shared.health_probe,
        page_evidence=shared.page_evidence,
        runner=shared.runner,
        border=options.border,
        timeouts=options.timeouts,
        limits=options.limits,
        null_means_empty=options.empty_data == "empty",
    )


def make_planner(options: ClientOptions) -> Callable[[Window], WindowPlan[Outcome]]:
    """Return what plans the windows of a range; it refuses a range that the window rule cannot divide.

    Args:
        options: How the client asks.
    """
    rule, order, today = options.window, options.order, dt.date.today()
    return lambda window: WindowPlan(window, rule=rule, order=order, today=today)


def make_pool(
    wanted: Profiles | Units,
    make_unit: Callable[[Any], Unit],
    fetcher: Fetcher,
    options: ClientOptions,
    shared: SharedParts,
    *,
    deadline: float | None,
) -> WorkerPool:
    """Return the worker pool of one stream.

    Args:
        wanted: What is to be fetched, read only as fast as that goes.
        make_unit: Makes a unit of each of them.
        fetcher: Fetches single windows.
        options: How the client asks.
        shared: What it shares with its copies.
        deadline: Seconds from the first step after which the stream ends; `None` for no limit.
    """
    concurrency = shared.concurrency
    scheduler = Scheduler(
        make_plan=make_planner(options),
        make_request_id=partial(next, make_request_ids()),
        stream_budget=StreamBudget(shared.memory, options.limits.in_flight),
        windows_ahead=_AHEAD_PER_REQUEST * concurrency,
        suspended_ahead=_SUSPENDED_PER_REQUEST * concurrency,
        profiles_ahead=_AHEAD_PER_REQUEST * concurrency,
    )
    workers = max(concurrency, min(_WORKERS_PER_REQUEST * concurrency, _MANY_WORKERS))
    return WorkerPool(wanted, make_unit, scheduler, fetcher, workers, deadline)
