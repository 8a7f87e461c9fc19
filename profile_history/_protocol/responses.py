"""Verify responses: what counts as success, and what everything else is reported as. No I/O."""

from __future__ import annotations

import codecs
import datetime as dt
import html
import re
from collections import deque
from collections.abc import Callable, Generator, Mapping

import attrs

from profile_history._protocol.envelope import BOM, BareEnvelope, Envelope, NullEnvelope, Rows, read_envelope
from profile_history._protocol.error_rules import find_page_rule, find_rules, is_about_length
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
    UnexpectedPage,
    UnexpectedRedirect,
)

# Characters of the server's text in a message: of the API's own words, and of a page that is not the API's.
_TEXT_LIMIT = 500
_SNIPPET_LIMIT = 120
# Bytes of such a page that are looked at.
_PAGE_LIMIT = 4096
# What steers a terminal, is not seen, or reorders what is shown beside it.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+"
)
_TITLE = re.compile(r"<title[^>]*>\s*([^<\s][^<]*)", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z/!][^>]*(?:>|\Z)")
# The encodings of pages that are still met beside UTF-8, as a header or the page itself names them.
_CHARSET = re.compile(
    r"charset=[\"' ]*(iso-8859-\d+|windows-\d+|koi8-[ru]|gbk|gb2312|gb18030|big5|shift_jis|euc-jp|euc-kr)\b",
    re.IGNORECASE,
)
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
# Seconds; some thirty years, for whatever is longer.
_LONGEST_WAIT = 1e9
# Seconds; how far a date is believed that only the clock of this machine, which may be wrong, tells from now.
_LONGEST_BY_OWN_CLOCK = 86400.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH, _CLOCK = rf"(?P<month>{'|'.join(_MONTHS)})", r"(?P<clock>\d\d:\d\d:\d\d)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
# RFC 9110, 5.6.7: what is sent today, and two obsolete forms that have to be understood.
_HTTP_DATES = (
    re.compile(rf"{_DAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_CLOCK} GMT", re.ASCII),
    re.compile(rf"{_DAY}[a-z]*day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_CLOCK} GMT", re.ASCII),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})", re.ASCII),
)
# POSIX: the first year that a year of two digits can mean.
_FIRST_SHORT_YEAR = 1969


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


@attrs.frozen
class UnreadReply(Reply):
    """One HTTP response whose body could not be read, though its status says what became of the request.

    Attributes:
        problem: Why its body could not be read.
    """

    problem: str = ""


def is_clear_without_body(status: int, failure: ResponseError) -> bool:
    """Tell whether a status says what became of a request although the body of the response could not be read.

    A body that was cut may be the API's own word on a request that it refuses, so that is asked for again.

    Args:
        status: The HTTP status.
        failure: Why the body could not be read.
    """
    if 200 <= status < 300:
        return False
    return not isinstance(failure, TruncatedResponse) or find_page_rule(status) is None


def verify_response(
    reply: Reply, token: Token, clock: Callable[[], dt.datetime], *, null_means_empty: bool = False
) -> Generator[None, None, Rows]:
    """Verify a whole response, in steps short enough for an event loop.

    Success is HTTP 2xx, a complete JSON object, `error` equal to 0 and `data` an array. Everything else raises.

    Args:
        reply: The response.
        token: The token, to keep it out of messages that quote the server.
        clock: Says what time it is, aware, for a `Retry-After` that is a date where the response has no `Date`.
        null_means_empty: Whether a `data` of null counts as an empty array.

    Returns:
        The rows, verified but not decoded.

    Raises:
        ApiError: The API reports an error.
        ResponseError: The response is not one of the documented API.
    """
    success = 200 <= reply.status < 300
    if not success and reply.status in _REDIRECTS:
        location = _clean(reply.headers.get("location", ""), token, _TEXT_LIMIT)
        raise UnexpectedRedirect(
            f"HTTP {reply.status} points to {location or 'nowhere'}; redirects are refused, "
            "since the request carries the token. Pass the final address as base URL",
            location=location or None,
        )
    try:
        envelope = yield from read_envelope(reply.body, reply.rest)
    except ResponseError as error:
        if success:
            failure = _not_ours(reply, token, clock) or error
            failure.retry_after = retry_after(reply.headers, clock)
            raise failure from None
        if find_page_rule(reply.status):
            raise _page_error(reply, token, clock) from None
        envelope = None
    if envelope is None or not success or envelope.error != 0:
        if isinstance(envelope, BareEnvelope) and find_page_rule(reply.status):
            raise _page_error(reply, token, clock)
        raise api_error(reply, envelope, token, clock)
    if envelope.rows is None:
        if isinstance(envelope, NullEnvelope):
            if null_means_empty:
                return Rows((), len(reply.body))
            raise _refuse_null()
        raise DecodeError("`error` is 0 and `data` is no array, so nothing says what the history is", path="$.data")
    return envelope.rows


def api_error(reply: Reply, envelope: Envelope | None, token: Token, clock: Callable[[], dt.datetime]) -> ApiError:
    """Return the error that a response reports, by `ERROR_RULES`; the API's own code goes before the HTTP status.

    Args:
        reply: The response.
        envelope: Its envelope, or `None` if it has none that can be read.
        token: The token, to keep it out of the message.
        clock: Says what time it is, aware.
    """
    code = envelope.error if envelope else None
    rule = next(iter(find_rules(code, reply.status)), None)
    kind = rule.kind if rule else _kind_of_unknown(reply.status, envelope)
    text = _clean(envelope.error_text, token, _TEXT_LIMIT) if envelope else _quote_page(reply, token)
    if rule:
        text = f"{rule.hint} ({text})" if text else rule.hint
    make = {Kind.AUTH: AuthenticationError, Kind.THROTTLED: RateLimited}.get(kind, ApiError)
    splittable = is_about_length(code, reply.status, from_api=envelope is not None)
    wait = retry_after(reply.headers, clock)
    return make(code, text, reply.status, kind=kind, retry_after=wait, splittable=splittable)


def _kind_of_unknown(status: int, envelope: Envelope | None) -> Kind:
    # What is neither the API's word nor a proper error of HTTP, such as 204, 304 or 999, is something on the way.
    said = envelope is not None and envelope.error != 0
    return Kind.UNKNOWN if said or 400 <= status < 600 else Kind.AMBIGUOUS


def retry_after(headers: Mapping[str, str], clock: Callable[[], dt.datetime]) -> float | None:
    """Return how many seconds `Retry-After` asks to wait (RFC 9110, 10.2.3), or `None` if it says nothing of the kind.

    A date is measured against the response's own `Date`, so that a wrong clock on either side does not matter. Without
    one it is measured by the clock of this machine, and counts as a day ahead at most. Some servers send fractions of
    seconds.

    Args:
        headers: The headers of the response, by their names in lower case.
        clock: Says what time it is, aware.
    """
    # Of several lines, as when a proxy adds its own, the longest is kept.
    stated = [value for name, value in headers.items() if name.lower() == "retry-after"]
    waits = [wait for value in stated if (wait := _read_wait(value.strip(" \t"), headers, clock)) is not None]
    return max(waits, default=None)


def _read_wait(text: str, headers: Mapping[str, str], clock: Callable[[], dt.datetime]) -> float | None:
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST_WAIT)
    if (then := http_date(text)) is None:
        return None
    now, longest = http_date(headers.get("date", "")), _LONGEST_WAIT
    if now is None:
        now, longest = clock(), _LONGEST_BY_OWN_CLOCK
    return min(max(0.0, (then - now).total_seconds()), longest)


def http_date(text: str) -> dt.datetime | None:
    """Return the moment that a header such as `Date` names (RFC 9110, 5.6.7), or `None` if the text names none."""
    for form in _HTTP_DATES:
        if parts := form.fullmatch(text):
            break
    else:
        return None
    year, month = int(parts["year"]), _MONTHS.index(parts["month"]) + 1
    if len(parts["year"]) == 2:
        year = _FIRST_SHORT_YEAR + (year - _FIRST_SHORT_YEAR) % 100
    hour, minute, second = map(int, parts["clock"].split(":"))
    leap = second == 60
    try:
        moment = dt.datetime(year, month, int(parts["day"]), hour, minute, second - leap, tzinfo=dt.UTC)
        return moment + dt.timedelta(seconds=leap)
    except (ValueError, OverflowError):
        return None


def _refuse_null() -> DecodeError:
    error = DecodeError("`error` is 0 and `data` is null, so nothing says what the history is", path="$.data")
    error.hint = 'if that is how your server says that there are no events, set empty_data="empty" (--empty-data empty)'
    return error


def _not_ours(reply: Reply, token: Token, clock: Callable[[], dt.datetime]) -> ResponseError | None:
    head = reply.body[:_PAGE_LIMIT].removeprefix(BOM).lstrip()
    if not head and reply.size <= _PAGE_LIMIT:
        return _suspect(TruncatedResponse(f"HTTP {reply.status} with an empty body is not the same as no events"))
    if not head.startswith(b"<"):
        return None
    error = _page_error(reply, token, clock)
    error.kind = Kind.TRANSIENT
    return error


def _page_error(reply: Reply, token: Token, clock: Callable[[], dt.datetime]) -> UnexpectedPage:
    problem = reply.problem if isinstance(reply, UnreadReply) else None
    title = _quote_page(reply, token) if problem is None else ""
    server = _clean(reply.headers.get("server", ""), token, _SNIPPET_LIMIT)
    whose = [problem or (f'"{title}"' if title else "empty"), f"Server: {server}" if server else "no Server header"]
    rule = find_page_rule(reply.status)
    error = UnexpectedPage(
        f"a page and not the API responded with HTTP {reply.status} ({', '.join(whose)})",
        reply.status,
        server=server or None,
        title=title or None,
        retry_after=retry_after(reply.headers, clock),
    )
    error.hint = rule.hint if rule else None
    return error


def _quote_page(reply: Reply, token: Token) -> str:
    """Return the title of a page or, if it has none, how its text begins."""
    if isinstance(reply, UnreadReply):
        return reply.problem
    text = _decode_page(reply.body[:_PAGE_LIMIT], reply.headers.get("content-type", ""))
    if title := _TITLE.search(_COMMENT.sub("", text)):
        text = html.unescape(title[1])
    elif not _TAG.sub("", text).strip():
        text = ""
    return _clean(" ".join(text.split()), token, _SNIPPET_LIMIT)


def _decode_page(page: bytes, content_type: str) -> str:
    charset = "utf-8-sig"
    if page.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        charset = "utf-16"
    elif named := _CHARSET.search(content_type) or _CHARSET.search(page.decode("latin-1")):
        charset = named[1]
    try:
        return page.decode(charset, "replace")
    except LookupError:
        return page.decode("utf-8", "replace")


def _suspect(error: ResponseError) -> ResponseError:
    error.kind = Kind.AMBIGUOUS
    return error


def _clean(text: str, token: Token, limit: int) -> str:
    text = escape_surrogates(_CONTROL.sub(" ", token.redact(text)).strip())
    return text if len(text) <= limit else text[:limit] + "…"
