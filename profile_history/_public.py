"""The public names of the package, and where each comes from; `profile_history` hands them out."""

from profile_history._decoding.event_decoder import unstructure
from profile_history._deprecated import deprecated_names
from profile_history.actions import Action, Channel
from profile_history.client import HistoryClient
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    DeadlineExceeded,
    DecodeError,
    HistoryError,
    ProxyFailed,
    RateLimited,
    ResponseError,
    ResponseTooLarge,
    ServerUnavailable,
    TransportError,
    TruncatedResponse,
    UnexpectedPage,
    UnexpectedRedirect,
    UntrustedServer,
    UsageError,
)
from profile_history.events import Event
from profile_history.matching import Matching
from profile_history.observing import (
    AttemptEnded,
    AttemptStarted,
    CircuitClosed,
    CircuitOpened,
    Observation,
    RateLearned,
    RetryPlanned,
    RowCapSuspected,
    Throttled,
    WindowDone,
    WindowDropped,
)
from profile_history.options import Limits, Pacing, RetryPolicy, Timeouts
from profile_history.profiles import Profile
from profile_history.results import QuarantinedRow, WindowFailure, WindowResult
from profile_history.stats import Stats
from profile_history.streams import HistoryStream
from profile_history.version import __version__
from profile_history.windows import Window

# Old name: the module of the new one, and the new name. `profile_history.__getattr__` stands between.
get_deprecated = deprecated_names(
    "profile_history",
    {
        "GateClosed": ("profile_history", "CircuitClosed"),
        "GateOpened": ("profile_history", "CircuitOpened"),
    },
    frames=1,
)

__all__ = [
    "Action",
    "ApiError",
    "AttemptEnded",
    "AttemptStarted",
    "AttemptTimeout",
    "AuthenticationError",
    "Channel",
    "CircuitClosed",
    "CircuitOpened",
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
    "Observation",
    "Pacing",
    "Profile",
    "ProxyFailed",
    "QuarantinedRow",
    "RateLearned",
    "RateLimited",
    "ResponseError",
    "ResponseTooLarge",
    "RetryPlanned",
    "RetryPolicy",
    "RowCapSuspected",
    "ServerUnavailable",
    "Stats",
    "Throttled",
    "Timeouts",
    "TransportError",
    "TruncatedResponse",
    "UnexpectedPage",
    "UnexpectedRedirect",
    "UntrustedServer",
    "UsageError",
    "Window",
    "WindowDone",
    "WindowDropped",
    "WindowFailure",
    "WindowResult",
    "__version__",
    "unstructure",
]
