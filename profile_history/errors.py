"""Everything that can go wrong, as one tree.

HistoryError
├── ConfigurationError          an argument or a setting is wrong; nothing was sent
│   └── UnsupportedSystem       this operating system lacks what a part of the package needs
├── UsageError                  a client or stream used after close, on another loop, or by two consumers
├── TransportError              no complete response arrived
│   ├── AttemptTimeout          the server was reached and did not respond in time
│   └── ConnectionFailed        the server could not be reached, or hung up
│       ├── UntrustedServer     its TLS certificate was refused
│       └── ProxyFailed         the proxy could not be reached, or did not connect to the server
├── ResponseError               a response arrived that is not the documented API's
│   ├── TruncatedResponse       it stops before its end
│   ├── DecodeError             it does not say what it must; `path` tells where
│   ├── ResponseTooLarge        it is longer than the allowed number of bytes
│   ├── UnexpectedPage          a page of a firewall, a proxy or another site; `server` and `title` tell whose
│   └── UnexpectedRedirect      it points to another address
├── ApiError                    the API itself reports an error
│   ├── AuthenticationError     the token is missing, wrong, or has no right to the database
│   └── RateLimited             too many requests
├── ServerUnavailable           the server kept failing for every request
└── DeadlineExceeded            the time given to a stream ran out
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

from profile_history._deprecated import warn_deprecated
from profile_history._error_context import FailedProfile, FailedWindow, as_json_value, can_pickle


class Kind(StrEnum):
    """The meaning of a failure for the next attempt.

    Attributes:
        TRANSIENT: It may pass; it is retried automatically.
        THROTTLED: There are too many requests; it is retried automatically.
        AMBIGUOUS: A hiccup of the network would look like this, and so would a fact; it is retried automatically.
        AUTH: The token is not accepted; nothing else will succeed either.
        CALLER: The request itself is at fault.
        UNKNOWN: Nobody knows what a repetition would do.
    """

    TRANSIENT = "transient"
    THROTTLED = "throttled"
    AMBIGUOUS = "ambiguous"
    SUSPECT = "ambiguous"  # Its old name, which goes in 1.0.
    AUTH = "auth"
    CALLER = "caller"
    UNKNOWN = "unknown"


class HistoryError(Exception):
    """The root of all errors of this package.

    Attributes:
        profile: The profile whose history was asked for, if one was.
        window: The closed range of days that was asked for, if one was.
        attempts: How many requests were sent for that window.
        request_id: The `X-Request-ID` of those requests.
        kind: What the failure means for the next attempt.
        fatal: Whether every other request would meet the same failure.
        splittable: Whether asking for fewer days at once may help.
        stale_connection: Whether the connection was at fault: one that was kept alive died before the response began,
            or the response states its length twice. The request is sent once more on another one, free of charge.
        hint: What to try, or `None` if nothing is known to help.
        retry_after: How many seconds the server asks to wait, or `None` if it does not ask.
    """

    kind: Kind = Kind.UNKNOWN
    fatal: bool = False
    splittable: bool = False
    stale_connection: bool = False
    hint: str | None = None
    retry_after: float | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.profile: FailedProfile | None = None
        self.window: FailedWindow | None = None
        self.attempts: int = 0
        self.request_id: str | None = None

    @property
    def too_much(self) -> bool:
        """Return `splittable`, by its old name."""
        warn_deprecated("HistoryError.too_much", "HistoryError.splittable")
        return self.splittable

    @property
    def stale(self) -> bool:
        """Return `stale_connection`, by its old name."""
        warn_deprecated("HistoryError.stale", "HistoryError.stale_connection")
        return self.stale_connection

    def forget_frames(self) -> None:
        """Drop the traceback and the earlier errors: their frames may hold whole responses, and failures are kept."""
        for name in ("__traceback__", "__context__", "__cause__"):
            setattr(self, name, None)

    def to_dict(self) -> dict[str, Any]:
        """Return all that the error says, as values that JSON holds.

        Returns:
            `type` (the name of the class), `message` (the summary), every attribute by its name, and `cause` if
            another error led to this one. A profile is its text; a window has `date_from` and `date_to`.
        """
        fields = {
            name: getattr(self, name) for name in ("kind", "fatal", "splittable", "stale_connection", "hint")
        } | vars(self)
        if self.window is not None:
            fields["window"] = {end: getattr(self.window, end) for end in ("date_from", "date_to")}
        cause = self.__cause__
        if cause is not None:
            fields["cause"] = cause.to_dict() if isinstance(cause, HistoryError) else cause
        return {"type": type(self).__name__, "message": self.summary(), **as_json_value(fields)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Python leaves the cause behind. One that cannot travel stays, so that the error itself can.
        make, arguments, *state = cast("tuple[Any, ...]", super().__reduce__())
        if self.__cause__ is not None and can_pickle(self.__cause__):
            state = [{**(state[0] if state else {}), "__cause__": self.__cause__}]
        return make, arguments, *state

    def __str__(self) -> str:
        context = {
            "profile": self.profile,
            "window": self.window,
            "attempts": self.attempts or None,
            "request id": self.request_id,
        }
        known = ", ".join(f"{name} {value}" for name, value in context.items() if value is not None)
        message = self.summary() + (f"; {self.hint}" if self.hint else "")
        return f"{message} [{known}]" if known else message

    def summary(self) -> str:
        """Return what went wrong, without the profile and the window that it happened to."""
        return str(self.args[0]) or type(self).__name__


class ConfigurationError(HistoryError, ValueError):
    """An argument or a setting is wrong; the message says what to pass. Nothing was sent."""

    kind = Kind.CALLER


class UnsupportedSystem(ConfigurationError, ImportError):
    """This operating system lacks what a part of the package needs; the message says where that works."""


class UsageError(HistoryError, RuntimeError):
    """A client or stream was used after it was closed, on another event loop, or by two consumers."""

    kind = Kind.CALLER
    fatal = True


class TransportError(HistoryError):
    """No complete response arrived."""

    kind = Kind.TRANSIENT


class AttemptTimeout(TransportError):
    """The server was reached and did not respond in time."""

    splittable = True


class ConnectionFailed(TransportError):
    """The server could not be reached, or closed the connection before it responded.

    Attributes:
        connected: Whether there was a connection, so that it may be this request that the server does not survive.
    """

    connected: bool = False


class UntrustedServer(ConnectionFailed):
    """The server's TLS certificate was refused."""

    kind = Kind.CALLER
    fatal = True


class ProxyFailed(ConnectionFailed):
    """The proxy could not be reached, or did not connect to the server.

    Attributes:
        proxy: Scheme, host and port of the proxy, without user name and password.
        status: The HTTP status that it responded with, `None` if it did not respond.
    """

    def __init__(self, message: str = "", proxy: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.proxy = proxy
        self.status = status


class ResponseError(HistoryError):
    """A response arrived that does not come from the documented API, such as a maintenance page."""

    kind = Kind.TRANSIENT


class TruncatedResponse(ResponseError):
    """The response stops before its end, or holds exactly as many rows as the server's row cap."""


class DecodeError(ResponseError):
    """The response does not say what the API must say.

    Attributes:
        path: The place of the fault, as a JSON path such as `$.data[3].datetime`.
    """

    kind = Kind.AMBIGUOUS

    def __init__(self, message: str = "", path: str = "$") -> None:
        super().__init__(message)
        self.path = path

    def summary(self) -> str:
        """Return what went wrong, and where in the response."""
        return f"{super().summary()} (at {self.path})"


class ResponseTooLarge(ResponseError):
    """The decoded response is longer than `Limits.body` bytes."""

    kind = Kind.CALLER
    splittable = True


class UnexpectedPage(ResponseError):
    """A page and not the API responded: that of a firewall, a proxy, a login, or another site.

    It stands for every response without the API's envelope, whatever its format, whose status is not one of those that
    are retried, such as 502 or 503; these are an `ApiError`.

    Attributes:
        http_status: The HTTP status of the page.
        server: Its `Server` header, `None` if it has none.
        title: Its title or, without one, how its text begins; `None` if it is empty.
        retry_after: How many seconds it asks to wait, or `None` if it does not ask.
    """

    kind = Kind.UNKNOWN

    def __init__(
        self,
        message: str = "",
        http_status: int | None = None,
        *,
        server: str | None = None,
        title: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.server = server
        self.title = title
        self.retry_after = retry_after


class UnexpectedRedirect(ResponseError):
    """The server points to another address. Redirects are refused: the request carries the token.

    Attributes:
        location: The address that the server points to, or `None` if it names none.
    """

    kind = Kind.CALLER
    fatal = True

    def __init__(self, message: str = "", location: str | None = None) -> None:
        super().__init__(message)
        self.location = location


class ApiError(HistoryError):
    """The API reports an error, or a gateway says in HTTP's own words that it will pass.

    Attributes:
        code: The `error` of the response, or `None` if the response has none.
        text: The `error_text`, with the token and control characters taken out, at most 500 characters.
        http_status: The HTTP status of the response.
        retry_after: How many seconds the server asks to wait, or `None` if it does not ask.
    """

    def __init__(
        self,
        code: int | None = None,
        text: str = "",
        http_status: int | None = None,
        *,
        kind: Kind = Kind.UNKNOWN,
        retry_after: float | None = None,
        splittable: bool = False,
    ) -> None:
        super().__init__()
        self.args: tuple[Any, ...] = (code, text, http_status)
        self.code = code
        self.text = text
        self.http_status = http_status
        self.kind = kind
        self.splittable: bool = splittable
        self.retry_after = retry_after

    def summary(self) -> str:
        """Return what the API reports."""
        reported = f"error {self.code}" if self.code is not None else "no error code"
        text = f": {self.text}" if self.text else ""
        return f"the API responded with HTTP {self.http_status} and {reported}{text}"


class AuthenticationError(ApiError):
    """The API itself says that the token is missing, wrong, revoked, or has no right to the database `list_id`."""

    fatal = True


class RateLimited(ApiError):
    """The server says that there are too many requests."""


class ServerUnavailable(HistoryError):
    """The server kept failing for every request for `RetryPolicy.patience` seconds; try again later."""

    kind = Kind.TRANSIENT
    fatal = True


class DeadlineExceeded(HistoryError):
    """The seconds given as `deadline` ran out before the stream was complete."""

    kind = Kind.CALLER
