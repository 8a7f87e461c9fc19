"""A run that is no stream on virtual time: a command, a value, a process."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from support.commands import read_ndjson
from support.matrix.classes import Class
from support.matrix.dice import LIST_ID, PROFILES, Dice
from support.matrix.seen import TOKEN, Seen

from profile_history import HistoryClient
from profile_history.cli import main
from profile_history.testing import Behaviour, HistoryServer

MANY = [f"user{number}@example.com" for number in range(400)]
EMAILS = MANY[:PROFILES]


@attrs.frozen(kw_only=True)
class Outside:
    """A run that is no stream on virtual time: a command, a value, a process."""

    outcome: Class
    act: Callable[[Bench], None]


class Bench:
    """Where commands are run: an empty folder, and a server in a thread to which the environment leads."""

    def __init__(self, dice: Dice, seen: Seen, folder: Path) -> None:
        self.dice, self.seen, self.folder = dice, seen, folder / "here"
        self.folder.mkdir()
        self.path = self.folder / "events"
        self.part = self.folder / "events.part"
        self.words = ["fetch", "--matching", "email", "--format", "ndjson", "--output", str(self.path)]

    @contextlib.contextmanager
    def server(self, **behaviour: Any):
        """Run the server."""
        with HistoryServer(
            profiles=len(MANY), seed=self.dice.seed, token=TOKEN, behaviour=Behaviour(**behaviour)
        ) as server:
            address = {"URL": server.url, "TOKEN": TOKEN, "LIST_ID": str(server.list_id)}
            with mock.patch.dict(os.environ, {f"PROFILE_HISTORY_{name}": value for name, value in address.items()}):
                yield server
            self.seen.texts.append(repr(server.log))

    def run(self, *words: object) -> tuple[int, str, str]:
        """Run a command in this process, and return its exit code, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
        self.note(out.getvalue(), err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def note(self, *texts: str) -> None:
        """Take in what a command said, which is no traceback."""
        assert not [text for text in texts if "Traceback" in text], texts
        self.seen.texts += texts

    def written(self, path: Path) -> dict[str, list[Any]]:
        """Return the histories in a file."""
        self.seen.texts.append(path.read_text("utf-8"))
        return read_ndjson(self.seen.texts[-1])

    def refuses(self, act: Callable[[], Any], *kinds: type[Exception]) -> None:
        """Check that something is refused, and that the error shows nothing.

        Args:
            act: What is tried.
            kinds: The errors by which it may be refused.
        """
        try:
            act()
        except kinds as error:
            self.seen.error(error)
        else:
            raise AssertionError("it was not refused")


def made(**options: Any) -> HistoryClient:
    """Return a client of a server that is asked nothing."""
    return HistoryClient(**{"base_url": "https://127.0.0.1:1", "token": TOKEN, "list_id": LIST_ID, **options})
