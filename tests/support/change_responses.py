"""Changes to what every embedded server responds."""

from profile_history.testing import server as module
from profile_history.testing.api import respond


def change_responses(monkeypatch, change):
    """Have a function change the body of each good response before it is sent."""

    def respond_changed(*arguments):
        number, response = respond(*arguments)
        response.body = change(response.body)
        return number, response

    monkeypatch.setattr(module, "respond", respond_changed)


def poison(monkeypatch, rows):
    """Put some rows in front of those of each good response."""
    head = b'{"data":['
    more = head + b",".join(rows)

    def put_in_front(body):
        return body.replace(head, more + (b"" if body.startswith(head + b"]") else b","), 1)

    change_responses(monkeypatch, put_in_front)
