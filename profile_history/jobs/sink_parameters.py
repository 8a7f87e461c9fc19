"""Parameters of the address of a sink that is a server, such as sslmode: the ledger keeps them for the next run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from profile_history.errors import ConfigurationError
from profile_history.jobs.ledger_reader import LedgerReader
from profile_history.sinks.base import Sink


def recall_parameters(ledger: LedgerReader, sink: Sink, *, pointed: bool) -> list[str]:
    """Hand a sink that is a server the parameters of its address that the ledger has kept.

    Args:
        ledger: The ledger.
        sink: The sink.
        pointed: Whether the sink was named, and not only taken from the ledger.

    Returns:
        A sentence for each by which the connection is protected less than before.

    Raises:
        ConfigurationError: The ledger has kept none, and nobody has named them.
    """
    recall: Callable[[Mapping[str, str]], list[str]] | None = getattr(sink, "recall", None)
    if recall is None:
        return []
    kept = ledger.sink_parameters
    if kept is not None:
        return recall(kept)
    if pointed:
        return []
    raise ConfigurationError(
        f"the ledger {ledger.path} does not hold the parameters of the database's address, such as sslmode; name "
        f"the output with all of them: {ledger.whereabouts.command('resume')}"
    )


def parameters_of(sink: Sink) -> Mapping[str, str] | None:
    """Return with what a sink is reached, but for secrets; `None` if it is no server."""
    parameters: Mapping[str, str] | None = getattr(sink, "parameters", None)
    return parameters
