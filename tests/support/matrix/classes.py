"""The classes that a fault can come to, by the words of docs/reliability.md."""

import enum


class Class(enum.Flag):
    """The class that a fault comes to.

    RETRIED: the request is repeated, and the retry is charged.
    FREE: the request is repeated on a new connection, and nothing is charged.
    PAUSED: the request is repeated when the server allows it; the others wait with it if nobody is served.
    WINDOW_FAILED: the window is given up and reported; all others arrive.
    STREAM_STOPPED: the stream or the command ends with an error; what was handed out before is true.
    REFUSED: an error is raised before anything is sent.
    ACCEPTED: the response is read as it is, with nothing sent twice.
    CONSUMER_ENDED: the consumer ends the stream: what was handed out is true, and nothing is left.
    """

    RETRIED, FREE, PAUSED, WINDOW_FAILED, STREAM_STOPPED, REFUSED, ACCEPTED, CONSUMER_ENDED = (
        enum.auto() for _ in range(8)
    )


RETRIED, FREE, PAUSED, WINDOW_FAILED, STREAM_STOPPED, REFUSED, ACCEPTED, CONSUMER_ENDED = Class
