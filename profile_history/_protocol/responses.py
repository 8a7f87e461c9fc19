"""Verify responses: what counts as success, and what everything else is reported as. No I/O."""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Generator, Mapping

import attrs

from profile_history._protocol.envelope import BOM, Envelope, NullEnvelope, Rows, read_envelope
from profile_history._protocol.error_rules import find_rules, is_about_length
from profile_history._secrets import Token
from profile_history._text import escape_surrogates
from profile_history.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    Kind,
    RateLimited,
    ResponseError,
    TruncatedResponse,
    UnexpectedRedirect,
)

# Characters of the server's text in a message: of the API's own words, and of a page that is not the API's.
_TEXT_LIMIT = 500
_SNIPPET_LIMIT = 120
# Bytes of such a page that are looked at.
_PAGE_LIMIT = 4096
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_SECONDS = re.compile(r"[0-9]{1,9}")
# Beyond it a date is a mistake, and no wait that anybody means.
_LONGEST_DATE = dt.timedelta(days=3650)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (" + "|".join(_MONTHS) + r") (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


@attrs.frozen
class Reply:
    """One complete HTTP response, its body decompressed.

    Attributes:
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The body, or the beginning of a long one.
        first_byte: Seconds from sending the request to the first byte of the response.
        rest: What follows of a long body, in parts as they arrived; `verify_response` uses them up.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    first_byte: float = 0.0
    rest: deque[bytes] = attrs.field(factory=deque, repr=False)

    @property
    def size(self) -> int:
        """Return the length of the body in bytes."""
        return len(self.body) + sum(map(len, self.rest))


def verify_response(reply: Reply, token: Token, *, null_means_empty: bool = False) -> Generator[None, None, Rows]:
    """Verify a whole response, in steps short enough for an event loop.

    Success is HTTP 2xx, a complete JSON object, `error` equal to 0 and `data` an array. Everything else raises.

    Args:
        reply: The response.
        token: The token, to keep it out of messages that quote the server.
        null_means_empty: Whether a `data` of null counts as an empty array.

    Returns:
        The rows, verified but not decoded.

    Raises:
        ApiError: The API reports an error.
        ResponseError: The response is not one of the documented API.
    """
    if reply.status in _REDIRECTS:
        location = _clean(reply.headers.get("location", ""), token, _TEXT_LIMIT)
        raise UnexpectedRedirect(
            f"HTTP {reply.status} points to {location or 'nowhere'}; redirects are refused, "
            "since the request carries the token. Pass the final address as base URL",
            location=location or None,
        )
    success = 200 <= reply.status < 300
    try:
        envelope = yield from read_envelope(reply.body, reply.rest)
    except ResponseError as error:
        if success:
            raise _not_ours(reply, token) or error from None
        envelope = None
    if envelope is None or not success or envelope.error != 0:
        raise api_error(reply, envelope, token)
    if envelope.rows is None:
        if isinstance(envelope, NullEnvelope):
            if null_means_empty:
                return Rows((), len(reply.body))
            raise _refuse_null()
        raise DecodeError("`error` is 0 and `data` is no array, so nothing says what the history is", path="$.data")
    return envelope.rows


def api_error(reply: Reply, envelope: Envelope | None, token: Token) -> ApiError:
    """Return the error that a response reports, by `ERROR_RULES`; the API's own code goes before the HTTP status.

    Args:
        reply: The response.
        envelope: Its envelope, or `None` if it has none that can be read.
        token: The token, to keep it out of the message.
    """
    code = envelope.error if envelope else None
    rule = next(iter(find_rules(code, reply.status)), None)
    kind = rule.kind if rule else _kind_of_unknown(reply.status, envelope)
    said = envelope.error_text if envelope else reply.body[:_PAGE_LIMIT].decode("utf-8", "replace")
    text = _clean(said, token, _TEXT_LIMIT if envelope else _SNIPPET_LIMIT)
    if rule:
        text = f"{rule.hint} ({text})" if text else rule.hint
    make = {Kind.AUTH: AuthenticationError, Kind.THROTTLED: RateLimited}.get(kind, ApiError)
    splittable = is_about_length(code, reply.status, from_api=envelope is not None)
    return make(code, text, reply.status, kind=kind, retry_after=retry_after(reply.headers), splittable=splittable)


def _kind_of_unknown(status: int, envelope: Envelope | None) -> Kind:
    # What is neither the API's word nor a proper error of HTTP, such as 204, 304 or 999, is something on the way.
    said = envelope is not None and envelope.error != 0
    return Kind.UNKNOWN if said or 400 <= status < 600 else Kind.AMBIGUOUS


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds `Retry-After` asks to wait (RFC 9110, 10.2.3), or `None` if it says nothing of the kind.

    A date is measured against the response's own `Date`, so that a wrong clock on either side does not matter; without
    one, or more than ten years ahead, it counts as not said.
    """
    text = headers.get("retry-after", "").strip(" \t")
    if _SECONDS.fullmatch(text):
        return float(text)
    then, now = http_date(text), http_date(headers.get("date", ""))
    if then is None or now is None or then - now > _LONGEST_DATE:
        return None
    return max(0.0, (then - now).total_seconds())


def http_date(text: str) -> dt.datetime | None:
    """Return the moment that a header such as `Date` names (RFC 9110, 5.6.7), or `None` if the text names none."""
    if not (parts := _HTTP_DATE.fullmatch(text)):
        return None
    day, month, year, *clock = parts.groups()
    hour, minute, second = map(int, clock)
    try:
        return dt.datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=dt.UTC)
    except ValueError:
        return None


def _refuse_null() -> DecodeError:
    error = DecodeError("`error` is 0 and `data` is null, so nothing says what the history is", path="$.data")
    error.hint = 'if that is how your server says that there are no events, set empty_data="empty" (--empty-data empty)'
    return error


def _not_ours(reply: Reply, token: Token) -> ResponseError | None:
    head = reply.body[:_PAGE_LIMIT].removeprefix(BOM).lstrip()
    if not head and reply.size <= _PAGE_LIMIT:
        return _suspect(TruncatedResponse(f"HTTP {reply.status} with an empty body is not the same as no events"))
    if not head.startswith(b"<"):
        return None
    snippet = _clean(head.decode("utf-8", "replace"), token, _SNIPPET_LIMIT)
    return ResponseError(f"HTTP {reply.status} with a page instead of the API's JSON: {snippet}")


def _suspect(error: ResponseError) -> ResponseError:
    error.kind = Kind.AMBIGUOUS
    return error


def _clean(text: str, token: Token, limit: int) -> str:
    text = escape_surrogates(_CONTROL.sub(" ", token.redact(text)).strip())
    return text if len(text) <= limit else text[:limit] + "…"
