"""Rows that a server puts in front of every response."""

from profile_history.testing import server as module
from profile_history.testing.api import respond


def poison(monkeypatch, rows):
    """Make every embedded server put some rows in front of those of each good response."""

    def respond_poisoned(*arguments):
        number, good = respond(*arguments)
        good.body = good.body.replace(b'{"data":[', b'{"data":[' + b",".join(rows) + b",", 1).replace(b",]", b"]", 1)
        return number, good

    monkeypatch.setattr(module, "respond", respond_poisoned)
