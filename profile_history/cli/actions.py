"""The command `actions`: the catalogue."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from profile_history.actions import Action, Channel
from profile_history.cli.output import print_json

_WIDTH = 120


def actions(
    *,
    channel: Annotated[Channel | None, Parameter(name_transform=str.lower)] = None,
    lang: Literal["en", "ru"] = "en",
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Print the actions that the API documents.

    Args:
        channel: Only the actions of one channel.
        lang: The language of the descriptions.
        json_: Print a JSON array instead of a table.
    """
    chosen = [action for action in Action if channel in (None, action.channel)]
    if json_:
        rows = [{"action": action, "channel": action.channel, "label": action.label(lang)} for action in chosen]
        print_json(rows, readable=True)
        return
    table = Table("action", "channel", "label", box=None, header_style="bold", pad_edge=False)
    for action in chosen:
        table.add_row(action, action.channel, action.label(lang))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    console.width = _WIDTH
    with console.capture() as printed:
        console.print(table)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))
