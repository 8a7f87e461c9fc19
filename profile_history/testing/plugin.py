"""The pytest plugin: the fixture `history_server`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from profile_history.testing.server import HistoryServer


@pytest.fixture
def history_server() -> Iterator[HistoryServer]:
    """Yield a `HistoryServer` in a thread of its own, new for each test; its `client()` makes a client of it."""
    from profile_history.testing.server import HistoryServer  # noqa: PLC0415 (only tests that use it pay for it)

    with HistoryServer() as server:
        yield server
