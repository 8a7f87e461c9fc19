"""Downloads the action histories of many marketing profiles: completely, fast, without blocking its host."""

from profile_history.actions import Action, Channel
from profile_history.client import HistoryClient
from profile_history.decoding import unstructure
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    DeadlineExceeded,
    DecodeError,
    HistoryError,
    RateLimited,
    ResponseError,
    ResponseTooLarge,
    ServerUnavailable,
    TransportError,
    TruncatedResponse,
    UnexpectedRedirect,
    UntrustedServer,
    UsageError,
)
from profile_history.events import Event
from profile_history.options import Limits, Pacing, RetryPolicy, Timeouts
from profile_history.profiles import Matching, Profile
from profile_history.stats import Stats
from profile_history.streams import HistoryStream, QuarantinedRow, WindowFailure, WindowResult
from profile_history.version import __version__
from profile_history.windows import Window

__all__ = [
    "Action",
    "ApiError",
    "AttemptTimeout",
    "AuthenticationError",
    "Channel",
    "ConfigurationError",
    "ConnectionFailed",
    "DeadlineExceeded",
    "DecodeError",
    "Event",
    "HistoryClient",
    "HistoryError",
    "HistoryStream",
    "Limits",
    "Matching",
    "Pacing",
    "Profile",
    "QuarantinedRow",
    "RateLimited",
    "ResponseError",
    "ResponseTooLarge",
    "RetryPolicy",
    "ServerUnavailable",
    "Stats",
    "Timeouts",
    "TransportError",
    "TruncatedResponse",
    "UnexpectedRedirect",
    "UntrustedServer",
    "UsageError",
    "Window",
    "WindowFailure",
    "WindowResult",
    "__version__",
    "unstructure",
]
