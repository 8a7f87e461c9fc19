"""What a client shares with its copies."""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from profile_history._aio import Turns
from profile_history._scheduling.worker_pool import Run
from profile_history._sending.fetcher import Canary
from profile_history._sending.memory_budget import Memory
from profile_history._sending.pacer import Pacer
from profile_history._sending.retry_budget import Budget
from profile_history._sending.row_cap import RowCounts
from profile_history._sending.transport import Transport
from profile_history.observing import Observer


@attrs.frozen
class Shared:
    """What a client and its copies have in common."""

    transport: Transport
    pacer: Pacer
    observer: Observer
    budget: Budget = attrs.field(factory=Budget)
    memory: Memory = attrs.field(factory=Memory)
    row_counts: RowCounts = attrs.field(factory=RowCounts)
    canary: Canary = attrs.field(factory=Canary)
    turns: Turns = attrs.field(factory=Turns)
    runs: weakref.WeakSet[Run] = attrs.field(factory=weakref.WeakSet)
    clients: weakref.WeakSet[Any] = attrs.field(factory=weakref.WeakSet)
