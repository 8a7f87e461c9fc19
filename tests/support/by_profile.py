"""A server that decides by the profile that is asked for, and clients for tests of whole windows."""

import asyncio
import json

from support.scripts import Script, http

from profile_history import HistoryClient, Pacing, Profile, RetryPolicy

PROFILES = [Profile.email(f"number-{number}@example.com") for number in range(40)]
ONE = PROFILES[0]
QUICK = RetryPolicy(base=0.001, cap=0.002)
NO_RETRY = RetryPolicy(attempts=1, passes=1)
SINGLE = Pacing(concurrency=1, adaptive=False)


def envelope(rows=0, **changes):
    row = {"action": "click", "datetime": "2024-05-01 10:00:00"}
    return json.dumps({"data": [row] * rows, "error": 0, "error_text": "", **changes}).encode()


GOOD = http(envelope(1))


class ByProfile(Script):
    """A server that does at the n-th request for a profile what the n-th of its turns says, and then what `rest` does.

    Args:
        turns: By the number of the profile.
        rest: What comes after them, and for the other profiles.
    """

    def __init__(self, turns, rest=GOOD):
        super().__init__(rest=rest)
        self.asked = []
        self._left = {number: list(some) for number, some in turns.items()}

    def choose(self, body):
        number = int(json.loads(body)["email"].partition("@")[0].partition("-")[2])
        self.asked.append(number)
        left = self._left.get(number)
        return left.pop(0) if left else self.rest


def failing(status, *headers, body=b"<html>busy</html>"):
    return http(body, *headers, status=status)


def said(code):
    """An error in the API's own words, with its HTTP status."""
    return http(json.dumps({"error": code, "error_text": "so it is"}).encode(), status=code)


def client_of(server, **options):
    settings = {"token": "token", "list_id": 20, "window": None, "retry": QUICK, "pacing": SINGLE, **options}
    return HistoryClient(f"http://127.0.0.1:{server.port}", **settings)


def those(events, kind):
    return [event for event in events if isinstance(event, kind)]


def now():
    return asyncio.get_running_loop().time()
