"""The faults there are, by the stage of a response that they spoil. No I/O."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from enum import EnumMeta, StrEnum
from typing import Any, Self

# Old names, which go in 1.0, and those that took their place. The values of members are the same in small letters.
_SUCCESSORS = {
    "ANSWER": "RESPONSE",
    "CLOSE_BEFORE_ANSWER": "CLOSE_BEFORE_RESPONSE",
    "RESET_BEFORE_ANSWER": "RESET_BEFORE_RESPONSE",
    "UNASKED_ANSWER": "UNSOLICITED_RESPONSE",
}


class _Renamed(EnumMeta):
    """The class of enums that know old names of their members."""

    def __getattr__(cls, name: str) -> Any:
        return cls._find_renamed(name, stacklevel=3)

    def __getitem__(cls, name: str) -> Any:
        return cls._find_renamed(name, stacklevel=3) if name in _SUCCESSORS else cls.__members__[name]

    def _find_renamed(cls, name: str, *, stacklevel: int) -> Any:
        """Return the member that has an old name, and warn."""
        successor = _SUCCESSORS.get(name)
        if successor is None or successor not in cls.__members__:
            raise AttributeError(f"{cls.__name__} has no member {name}")
        warnings.warn(
            f"{cls.__name__}.{name} is now {cls.__name__}.{successor}; the old name goes in 1.0",
            DeprecationWarning,
            stacklevel=stacklevel,
        )
        return cls.__members__[successor]


class Stage(StrEnum, metaclass=_Renamed):
    """The part of a response that a fault spoils; one attempt can meet one fault of each, in this order.

    Attributes:
        ROWS: Which rows there are, and what they hold.
        RESPONSE: What is said: the status and the envelope.
        TEXT: The bytes of the body.
        HEADERS: What stands above the body.
        ENCODING: How the body is compressed.
        DELAY: When the response begins.
        DELIVERY: How the bytes are put on the connection.
    """

    ROWS = "rows"
    RESPONSE = "response"
    TEXT = "text"
    HEADERS = "headers"
    ENCODING = "encoding"
    DELAY = "delay"
    DELIVERY = "delivery"


class Fault(StrEnum, metaclass=_Renamed):
    """One way for a request to fail, to be slow, or to get an odd response.

    Example:
        >>> from profile_history.testing import Fault
        >>> Fault.TRUNCATED_BODY.description
        'The connection is closed in the middle of the body.'
        >>> Fault.TRUNCATED_BODY in Fault.transient()
        True

    A fault that comes in several forms, such as `RETRY_AFTER_GARBAGE`, takes one by the plan's seed, or the one that
    the plan names with `variant`.

    Attributes:
        stage: What it spoils.
        description: What it does, in a sentence.
    """

    _value_: str
    stage: Stage
    description: str

    def __new__(cls, value: str, stage: Stage = Stage.RESPONSE, description: str = "") -> Self:
        """Make a member of the table below; called with a value alone, the class looks that member up.

        Args:
            value: Its text.
            stage: What it spoils.
            description: What it does, in a sentence.
        """
        fault = str.__new__(cls, value)
        fault._value_ = value
        fault.stage = stage
        fault.description = description
        return fault

    ROWS_OUTSIDE = "rows_outside", Stage.ROWS, "Two rows more, ten days before and after the days that were asked for."
    REPEATED_ROWS = "repeated_rows", Stage.ROWS, "Some rows come twice, one after the other."
    UNSORTED = "unsorted", Stage.ROWS, "The rows come in an order that differs from attempt to attempt."
    ROW_CAP = "row_cap", Stage.ROWS, "Silently, only the first `row_cap` rows come."
    CHANGED_HISTORY = "changed_history", Stage.ROWS, "The history grows: one row more at each further attempt."
    OTHER_PROFILE = "other_profile", Stage.ROWS, "All rows are those of another profile."
    UNKNOWN_FIELDS = "unknown_fields", Stage.ROWS, "All rows have keys that nobody knows."
    UNKNOWN_ACTION = "unknown_action", Stage.ROWS, "A row more, with an `action` that nobody knows."
    ODD_TYPES = "odd_types", Stage.ROWS, "A row more, with a text for a number, a number for a text, true, or null."
    ODD_DATETIMES = "odd_datetimes", Stage.ROWS, "A row more, of 23:59:60, 24:00, an epoch number, the year 9999..."
    MISSING_FIELDS = "missing_fields", Stage.ROWS, "A row more, without `action`, without `datetime`, or empty."
    NO_ROW = "no_row", Stage.ROWS, "Among the rows is something that is no object."
    HUGE_INTEGER = "huge_integer", Stage.ROWS, "A row more, with a number of 4,301 digits."
    BIG_NUMBERS = "big_numbers", Stage.ROWS, "A row more, with 2**63, 2**64, 1e400, NaN or Infinity."
    POISON_TEXT = (
        "poison_text",
        Stage.ROWS,
        "A row more, with a lone surrogate, NUL, CR/LF, ESC or a formula in a text.",
    )

    THROTTLED = "throttled", Stage.RESPONSE, "429, without a word on how long to wait."
    THROTTLED_WITH_RETRY_AFTER = (
        "throttled_with_retry_after",
        Stage.RESPONSE,
        "429, with `Retry-After` in seconds: `retry_after`.",
    )
    RETRY_AFTER_DATE = (
        "retry_after_date",
        Stage.RESPONSE,
        "429, with `Retry-After` as a date, `retry_after` seconds after a `Date` that is years off.",
    )
    RETRY_AFTER_FRACTION = (
        "retry_after_fraction",
        Stage.RESPONSE,
        "429, with `Retry-After` in seconds: `retry_after` and a half.",
    )
    RETRY_AFTER_BARE_DATE = (
        "retry_after_bare_date",
        Stage.RESPONSE,
        "429, with `Retry-After` as a date, `retry_after` seconds ahead, in any of its three forms, and no `Date`.",
    )
    RETRY_AFTER_GARBAGE = "retry_after_garbage", Stage.RESPONSE, "429, with a `Retry-After` that is no such value."
    RETRY_AFTER_HUGE = (
        "retry_after_huge",
        Stage.RESPONSE,
        "429, with a `Retry-After` of an hour up to ages.",
    )
    ERROR_400 = "error_400", Stage.RESPONSE, "400, as the API says it: the request is incorrect."
    ERROR_401 = "error_401", Stage.RESPONSE, "401, as the API says it: the token is gone."
    ERROR_402 = "error_402", Stage.RESPONSE, "402, as the API says it: the tariff's limit is reached."
    ERROR_403 = "error_403", Stage.RESPONSE, "403, as the API says it: the token has lost its right."
    ERROR_404 = "error_404", Stage.RESPONSE, "HTTP 404 with a page."
    ERROR_405 = "error_405", Stage.RESPONSE, "HTTP 405 with a page."
    ERROR_408 = "error_408", Stage.RESPONSE, "HTTP 408 with a page: the server gave up waiting."
    ERROR_409 = "error_409", Stage.RESPONSE, "HTTP 409 with a page."
    ERROR_413 = "error_413", Stage.RESPONSE, "HTTP 413 with a page: too much was asked for."
    ERROR_422 = "error_422", Stage.RESPONSE, "HTTP 422 with a page."
    ERROR_425 = "error_425", Stage.RESPONSE, "HTTP 425 with a page: too early."
    ERROR_500 = "error_500", Stage.RESPONSE, "500, as the API says it."
    ERROR_502 = "error_502", Stage.RESPONSE, "HTTP 502 with a page."
    ERROR_503 = "error_503", Stage.RESPONSE, "HTTP 503 with a page."
    ERROR_503_WITH_RETRY_AFTER = (
        "error_503_with_retry_after",
        Stage.RESPONSE,
        "The same, with `Retry-After` in seconds.",
    )
    ERROR_504 = "error_504", Stage.RESPONSE, "HTTP 504 with a page: the gateway waited too long."
    PAGE_401 = "page_401", Stage.RESPONSE, "HTTP 401 with a page of nginx: something before the API wants a login."
    PAGE_403 = "page_403", Stage.RESPONSE, "HTTP 403 with a page of nginx: a firewall refuses the client."
    PAGE_407 = "page_407", Stage.RESPONSE, "HTTP 407 with a page of nginx: a proxy wants a password."
    PAGE_501 = "page_501", Stage.RESPONSE, "HTTP 501 with a page of nginx: the method is not known."
    PAGE_511 = "page_511", Stage.RESPONSE, "HTTP 511 with a page of nginx: the network wants a login."
    GATEWAY_ERROR = "gateway_error", Stage.RESPONSE, "HTTP 520 to 524 with a page, as a content network says it."
    REDIRECT_301 = "redirect_301", Stage.RESPONSE, "HTTP 301 to another host: `location`."
    REDIRECT_302 = "redirect_302", Stage.RESPONSE, "HTTP 302 to another host."
    REDIRECT_303 = "redirect_303", Stage.RESPONSE, "HTTP 303 to another host."
    REDIRECT_307 = "redirect_307", Stage.RESPONSE, "HTTP 307 to another host, which asks for the body again."
    REDIRECT_308 = "redirect_308", Stage.RESPONSE, "HTTP 308 to another host, which asks for the body again."
    HTML_PAGE = "html_page", Stage.RESPONSE, "HTTP 200 with a page: maintenance, or a proxy's login."
    ODD_STATUS = "odd_status", Stage.RESPONSE, "An empty 200, 204, 206 with half of the body, 304, or 999."
    API_ERROR = "api_error", Stage.RESPONSE, "HTTP 200 with the `error` of the plan's `api_error`."
    ANY_API_ERROR = "any_api_error", Stage.RESPONSE, "HTTP 200 with an `error` of any kind, known or not."
    ECHOED_TOKEN = "echoed_token", Stage.RESPONSE, "An error whose `error_text` is the token, ANSI escapes, and 1 MB."
    ERROR_WITH_ROWS = "error_with_rows", Stage.RESPONSE, "`error` is not 0, and the rows are there all the same."
    ERROR_MISSING = "error_missing", Stage.RESPONSE, "The rows, without `error`."
    ERROR_NULL = "error_null", Stage.RESPONSE, "The rows, with an `error` of null."
    ERROR_AS_TEXT = "error_as_text", Stage.RESPONSE, 'The rows, with an `error` of "0".'
    ERROR_AS_FLOAT = "error_as_float", Stage.RESPONSE, "The rows, with an `error` of 0.0."
    ERROR_FALSE = "error_false", Stage.RESPONSE, "The rows, with an `error` of false."
    DATA_MISSING = "data_missing", Stage.RESPONSE, "`error` is 0, and there is no `data`."
    DATA_NULL = "data_null", Stage.RESPONSE, "`error` is 0, and `data` is null."
    DATA_OBJECT = "data_object", Stage.RESPONSE, "`error` is 0, and `data` is an object."
    DUPLICATE_KEYS = "duplicate_keys", Stage.RESPONSE, "The rows, with an `error` of 1 first and of 0 last."
    TOP_LEVEL_LIST = "top_level_list", Stage.RESPONSE, "The bare rows, without an envelope."
    TOP_LEVEL_NULL = "top_level_null", Stage.RESPONSE, "null."
    DEEP_JSON = "deep_json", Stage.RESPONSE, "Brackets 100,000 deep: in a row, in the encode_error, or in its place."

    BOM = "bom", Stage.TEXT, "A byte order mark comes before the body."
    BAD_UTF8 = "bad_utf8", Stage.TEXT, "Somewhere in a text stand bytes that are no UTF-8."
    TRAILING_JUNK = "trailing_junk", Stage.TEXT, "Something follows the end of the JSON."

    WRONG_CONTENT_TYPE = "wrong_content_type", Stage.HEADERS, "The right body, with a false, odd or no Content-Type."
    LONG_HEADER_LINE = "long_header_line", Stage.HEADERS, "A header line of 20 kB."
    MANY_HEADERS = "many_headers", Stage.HEADERS, "500 headers."
    TOKEN_IN_HEADER = "token_in_header", Stage.HEADERS, "A header that is no proper one, and echoes the token."

    TRUNCATED_GZIP = "truncated_gzip", Stage.ENCODING, "The compressed body ends early, in perfect framing."
    GZIP_BOMB = "gzip_bomb", Stage.ENCODING, "The body is small, and `bomb` bytes long when it is decompressed."
    CHAINED_GZIP = "chained_gzip", Stage.ENCODING, 'The body is compressed twice: "gzip, gzip".'
    UNKNOWN_ENCODING = "unknown_encoding", Stage.ENCODING, "The body is compressed in a way nobody asked for."
    EMPTY_GZIP_MEMBERS = "empty_gzip_members", Stage.ENCODING, "10,000 empty gzip members come before the real one."

    SLOW_FIRST_BYTE = "slow_first_byte", Stage.DELAY, "`slow` seconds of silence, and then the response."

    STALE_CONNECTION = (
        "stale_connection",
        Stage.DELIVERY,
        "A kept-alive connection is closed on its next request; on a new connection nothing happens.",
    )
    CLOSE_BEFORE_RESPONSE = "close_before_response", Stage.DELIVERY, "The connection is closed before the response."
    RESET_BEFORE_RESPONSE = "reset_before_response", Stage.DELIVERY, "The connection is reset before the response."
    RESET_IN_BODY = "reset_in_body", Stage.DELIVERY, "The connection is reset in the middle of the body."
    TRUNCATED_BODY = "truncated_body", Stage.DELIVERY, "The connection is closed in the middle of the body."
    CLOSE_DELIMITED_CUT = "close_delimited_cut", Stage.DELIVERY, "As above, and no Content-Length gives it away."
    CHUNKED_WITHOUT_END = "chunked_without_end", Stage.DELIVERY, "The body is chunked, and the last chunk never comes."
    CONTENT_LENGTH_TOO_LONG = "content_length_too_long", Stage.DELIVERY, "The whole body, which is to be longer."
    CONTENT_LENGTH_TOO_SHORT = "content_length_too_short", Stage.DELIVERY, "The body goes on after its announced end."
    DUPLICATE_CONTENT_LENGTH = "duplicate_content_length", Stage.DELIVERY, "Two Content-Lengths, only one of them true."
    LENGTH_AND_CHUNKED = "length_and_chunked", Stage.DELIVERY, "A chunked body, with a Content-Length as well."
    BAD_CHUNK_SIZE = "bad_chunk_size", Stage.DELIVERY, "A chunk whose size is no number, or beyond all numbers."
    UNSOLICITED_RESPONSE = (
        "unsolicited_response",
        Stage.DELIVERY,
        "Behind the response comes another, empty one.",
    )
    STALL = "stall", Stage.DELIVERY, "`stall` seconds of silence, and then a reset."
    STALL_IN_BODY = "stall_in_body", Stage.DELIVERY, "The same, in the middle of the body."
    HUGE_BODY = "huge_body", Stage.DELIVERY, "The body is `bomb` bytes long, and nothing announces it."
    SLOW_LORIS = "slow_loris", Stage.DELIVERY, "The body comes a byte every `drip` seconds."
    ENDLESS_CONTINUE = "endless_continue", Stage.DELIVERY, "100 Continue every `drip` seconds, until the client leaves."
    SSH_BANNER = "ssh_banner", Stage.DELIVERY, "Another service responds: SSH, SMTP, or a database."
    TLS_BYTES = "tls_bytes", Stage.DELIVERY, "The response is TLS, on a connection that is not."

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return the member with an old value, and warn."""
        old = value.upper() if isinstance(value, str) else ""
        if _SUCCESSORS.get(old) not in cls.__members__:
            return None
        # Between here and the caller's line are two functions of the library.
        return cls._find_renamed(old, stacklevel=5)  # type: ignore[no-any-return]

    @property
    def seed_name(self) -> str:
        """Return the text by which a seed draws this fault.

        It stays the one of 0.5, so that a plan injects the same faults as ever although members got other names.
        """
        return _SEED_NAMES.get(self, self.value)

    @classmethod
    def transient(cls) -> tuple[Fault, ...]:
        """Return the faults that pass: a client that tries again gets the whole history; `FaultPlan.even` uses them."""
        return tuple(fault for fault in cls if fault in _TRANSIENT)


_TRANSIENT = frozenset(
    {
        Fault.THROTTLED,
        Fault.THROTTLED_WITH_RETRY_AFTER,
        Fault.RETRY_AFTER_DATE,
        Fault.ERROR_408,
        Fault.ERROR_425,
        Fault.ERROR_500,
        Fault.ERROR_502,
        Fault.ERROR_503,
        Fault.CLOSE_BEFORE_RESPONSE,
        Fault.RESET_BEFORE_RESPONSE,
        Fault.RESET_IN_BODY,
        Fault.TRUNCATED_BODY,
        Fault.CLOSE_DELIMITED_CUT,
        Fault.CHUNKED_WITHOUT_END,
        Fault.CONTENT_LENGTH_TOO_LONG,
        Fault.STALL,
        Fault.HTML_PAGE,
        Fault.API_ERROR,
        Fault.SLOW_FIRST_BYTE,
    }
)

_SEED_NAMES = {Fault[new]: old.lower() for old, new in _SUCCESSORS.items() if new in Fault.__members__}


def sort_by_stage(drawn: Fault | Iterable[Fault] | None) -> tuple[Fault, ...]:
    """Return the faults that meet one attempt, in the order of their stages.

    Raises:
        ValueError: Two of them spoil the same stage.
    """
    if drawn is None:
        return ()
    stages = list(Stage)
    faults = [Fault(drawn)] if isinstance(drawn, str) else [Fault(fault) for fault in drawn]
    faults.sort(key=lambda fault: stages.index(fault.stage))
    for first, second in itertools.pairwise(faults):
        if first.stage is second.stage:
            raise ValueError(f"{first} and {second} contradict each other: both spoil the {first.stage.value}")
    return tuple(faults)
