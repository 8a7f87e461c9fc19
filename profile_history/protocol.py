"""The API's rules: what a request says, what counts as success, and what each error means. No I/O."""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Generator, Mapping
from typing import Literal

import attrs
import msgspec

from profile_history._text import storable
from profile_history.envelope import BOM, Envelope, Rows, read_envelope
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
from profile_history.profiles import Profile
from profile_history.secrecy import SecretBytes, Token
from profile_history.windows import Window

PATH = "/api/v1.1/subscribers/history_get"

_TEXT_LIMIT = 500
_SNIPPET_LIMIT = 120
_PAGE_LIMIT = 4096
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_DATE = dt.timedelta(days=3650)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (" + "|".join(_MONTHS) + r") (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


@attrs.frozen
class ErrorRule:
    """What one number means, as the `error` of an answer or as its HTTP status.

    Attributes:
        number: The code or status.
        kind: What to do about it.
        as_code: Whether it is known as a value of `error`.
        as_status: Whether it is known as an HTTP status.
        hint: What to tell the user, in a few words.
    """

    number: int
    kind: Kind
    as_code: bool
    as_status: bool
    hint: str


# The vendor documents the codes 400 to 403; the others are HTTP's own meanings (RFC 9110, RFC 6585), which an
# `error` may repeat; 520 to 524 are those of Cloudflare's gateways. A number that is not here is not tried again:
# nobody knows what a repetition would do.
ERROR_RULES: tuple[ErrorRule, ...] = (
    ErrorRule(400, Kind.CALLER, True, True, "the request is incorrect"),
    ErrorRule(401, Kind.AUTH, True, True, "the token is missing or wrong"),
    ErrorRule(402, Kind.CALLER, True, True, "the tariff's limit is reached"),
    ErrorRule(403, Kind.AUTH, True, True, "the token has no right to this database"),
    ErrorRule(404, Kind.CALLER, False, True, "nothing is at this address; check the base URL"),
    ErrorRule(405, Kind.CALLER, False, True, "this address takes no POST; check the base URL"),
    ErrorRule(408, Kind.TRANSIENT, True, True, "the server gave up waiting for the request"),
    ErrorRule(409, Kind.CALLER, False, True, "the request conflicts with another"),
    ErrorRule(413, Kind.CALLER, True, True, "too much was asked for at once; ask for fewer days"),
    ErrorRule(422, Kind.CALLER, False, True, "the request is incorrect"),
    ErrorRule(425, Kind.TRANSIENT, False, True, "the server refused an early request"),
    ErrorRule(429, Kind.THROTTLED, True, True, "there are too many requests"),
    ErrorRule(500, Kind.TRANSIENT, True, True, "the server failed"),
    ErrorRule(502, Kind.TRANSIENT, True, True, "the server behind the gateway failed"),
    ErrorRule(503, Kind.TRANSIENT, True, True, "the server is unavailable"),
    ErrorRule(504, Kind.TRANSIENT, True, True, "the server behind the gateway took too long; ask for fewer days"),
    ErrorRule(520, Kind.TRANSIENT, False, True, "the server gave the gateway an odd answer"),
    ErrorRule(521, Kind.TRANSIENT, False, True, "the server refused the gateway's connection"),
    ErrorRule(522, Kind.TRANSIENT, False, True, "the gateway could not connect to the server in time"),
    ErrorRule(523, Kind.TRANSIENT, False, True, "the gateway found no way to the server"),
    ErrorRule(524, Kind.TRANSIENT, False, True, "the server took too long for the gateway; ask for fewer days"),
)

_BY_CODE = {rule.number: rule for rule in ERROR_RULES if rule.as_code}
_BY_STATUS = {rule.number: rule for rule in ERROR_RULES if rule.as_status}


@attrs.frozen
class Reply:
    """One complete HTTP answer, the body decompressed.

    Attributes:
        status: The HTTP status.
        headers: Its headers, found by their names in lower case.
        body: Its bytes, or if they are many, some first ones.
        first_byte: Seconds until it began.
        rest: The other bytes, in pieces as they arrived; `reading` uses them up.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    first_byte: float = 0.0
    rest: deque[bytes] = attrs.field(factory=deque, repr=False)

    @property
    def size(self) -> int:
        """How many bytes the body has."""
        return len(self.body) + sum(map(len, self.rest))


class Requests:
    """Writes request bodies for one token and one database."""

    def __init__(self, token: Token, list_id: int, auth: Literal["body", "header"]) -> None:
        self._token = token if auth == "body" else None
        self._list_id = list_id
        self._generation = token.generation
        self._fixed = self._make_fixed()

    def body(self, profile: Profile, asked: Window) -> SecretBytes:
        """The request body for one profile and the days to name; an open end is left out."""
        if self._token is not None and self._token.generation != self._generation:
            self._generation = self._token.generation
            self._fixed = self._make_fixed()
        variable = profile.body()
        if asked.date_from is not None:
            variable["date_from"] = asked.date_from.isoformat()
        if asked.date_to is not None:
            variable["date_to"] = asked.date_to.isoformat()
        return SecretBytes(self._fixed + b"," + msgspec.json.encode(variable)[1:])

    def _make_fixed(self) -> SecretBytes:
        fixed = {"format": "json", "list_id": self._list_id}
        if self._token is not None:
            fixed["token"] = self._token.reveal()
        return SecretBytes(msgspec.json.encode(fixed)[:-1])


def reading(reply: Reply, token: Token) -> Generator[None, None, Rows]:
    """Verifies a whole answer, in steps short enough for an event loop.

    Success is HTTP 2xx, a complete JSON object, `error` equal to 0 and `data` an array. Everything else raises.

    Args:
        reply: The answer.
        token: The token, to keep it out of messages that quote the server.

    Returns:
        The rows, verified but not decoded.

    Raises:
        ApiError: The API reports an error.
        ResponseError: The answer is not the documented API's.
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
        raise DecodeError("`error` is 0 and `data` is no array, so nothing says what the history is", path="$.data")
    return envelope.rows


def api_error(reply: Reply, envelope: Envelope | None, token: Token) -> ApiError:
    """The error an answer reports, by `ERROR_RULES`; the API's own code speaks before the HTTP status."""
    code = envelope.error if envelope else None
    rule = _BY_CODE.get(code) if code else None
    rule = rule or _BY_STATUS.get(reply.status)
    kind = rule.kind if rule else _kind_of_unknown(reply.status, envelope)
    said = envelope.error_text if envelope else reply.body[:_PAGE_LIMIT].decode("utf-8", "replace")
    text = _clean(said, token, _TEXT_LIMIT if envelope else _SNIPPET_LIMIT)
    if rule:
        text = f"{rule.hint} ({text})" if text else rule.hint
    make = {Kind.AUTH: AuthenticationError, Kind.THROTTLED: RateLimited}.get(kind, ApiError)
    return make(code, text, reply.status, kind=kind, retry_after=retry_after(reply.headers))


def _kind_of_unknown(status: int, envelope: Envelope | None) -> Kind:
    # What is neither the API's word nor a proper error of HTTP, such as 204, 304 or 999, is something on the way.
    said = envelope is not None and envelope.error != 0
    return Kind.UNKNOWN if said or 400 <= status < 600 else Kind.SUSPECT


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How many seconds `Retry-After` asks to wait (RFC 9110, 10.2.3); None where it is absent or no such value.

    A date is measured against the answer's own `Date`, so that a wrong clock on either side does not matter; without
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
    """Return the moment that a header such as `Date` names (RFC 9110, 5.6.7), or None if the text names none."""
    if not (parts := _HTTP_DATE.fullmatch(text)):
        return None
    day, month, year, *clock = parts.groups()
    hour, minute, second = map(int, clock)
    try:
        return dt.datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=dt.UTC)
    except ValueError:
        return None


def _not_ours(reply: Reply, token: Token) -> ResponseError | None:
    head = reply.body[:_PAGE_LIMIT].removeprefix(BOM).lstrip()
    if not head and reply.size <= _PAGE_LIMIT:
        return _suspect(TruncatedResponse(f"HTTP {reply.status} with an empty body is not the same as no events"))
    if not head.startswith(b"<"):
        return None
    snippet = _clean(head.decode("utf-8", "replace"), token, _SNIPPET_LIMIT)
    return ResponseError(f"HTTP {reply.status} with a page instead of the API's JSON: {snippet}")


def _suspect(error: ResponseError) -> ResponseError:
    error.kind = Kind.SUSPECT
    return error


def _clean(text: str, token: Token, limit: int) -> str:
    text = storable(_CONTROL.sub(" ", token.redact(text)).strip())
    return text if len(text) <= limit else text[:limit] + "…"
