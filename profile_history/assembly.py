"""What a client is made of: its options, checked, and the parts that it shares with its copies."""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from profile_history import settings
from profile_history._scheduling.window_plan import WindowRule, checked_rule
from profile_history._scheduling.worker_pool import Run
from profile_history._sending.fetcher import Canary
from profile_history._sending.memory_budget import Memory
from profile_history._sending.pacer import Pacer
from profile_history._sending.retry_budget import Budget
from profile_history._sending.row_cap import RowCounts
from profile_history._sending.transport import Transport
from profile_history.checks import expect
from profile_history.observing import Observer
from profile_history.options import Limits, RetryPolicy, Timeouts
from profile_history.turns import Turns
from profile_history.windows import Border, Order


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


def _list_id(explicit: int | None) -> int:
    return settings.list_id(explicit, settings.Environment())


@attrs.frozen
class Options:
    """How a client asks, checked."""

    list_id: int = attrs.field(converter=_list_id)
    window: WindowRule = attrs.field(converter=checked_rule)
    border: Border
    order: Order
    retry: RetryPolicy = attrs.field()
    timeouts: Timeouts = attrs.field()
    limits: Limits = attrs.field()

    @retry.validator
    @timeouts.validator
    @limits.validator
    def _check(self, attribute: attrs.Attribute[Any], value: object) -> None:
        wanted = {"retry": RetryPolicy, "timeouts": Timeouts, "limits": Limits}[attribute.name]
        expect(attribute.name, value, wanted)
