"""What a client shares with its copies."""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from profile_history._aio import CooperativeRunner
from profile_history._scheduling.worker_pool import WorkerPool
from profile_history._sending.fetcher import HealthProbe
from profile_history._sending.memory_budget import MemoryBudget
from profile_history._sending.pacer import Pacer
from profile_history._sending.retry_budget import RetryBudget
from profile_history._sending.row_cap import RowCapDetector
from profile_history._sending.transport import Transport
from profile_history.observing import Observer


@attrs.frozen
class SharedParts:
    """What a client and its copies have in common."""

    transport: Transport
    pacer: Pacer
    observer: Observer
    budget: RetryBudget = attrs.field(factory=RetryBudget)
    memory: MemoryBudget = attrs.field(factory=MemoryBudget)
    row_cap_detector: RowCapDetector = attrs.field(factory=RowCapDetector)
    health_probe: HealthProbe = attrs.field(factory=HealthProbe)
    runner: CooperativeRunner = attrs.field(factory=CooperativeRunner)
    runs: weakref.WeakSet[WorkerPool] = attrs.field(factory=weakref.WeakSet)
    clients: weakref.WeakSet[Any] = attrs.field(factory=weakref.WeakSet)
