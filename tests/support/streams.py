"""What the tests of streams share."""

from profile_history.testing import server as server_module

FIRST, LAST = "2023-01-01", "2024-12-31"
DEAD = 5


def busiest(server, count=1):
    """The profiles with the most events."""
    return sorted(server.profiles(), key=lambda profile: -len(server.truth(profile)))[:count]


def poison(monkeypatch, rows):
    """Make the server put rows in front of every response."""
    respond = server_module.respond

    def poisoned(*arguments):
        number, good = respond(*arguments)
        good.body = good.body.replace(b'{"data":[', b'{"data":[' + b",".join(rows) + b",", 1).replace(b",]", b"]", 1)
        return number, good

    monkeypatch.setattr(server_module, "respond", poisoned)
