"""What the faults of an attempt make of its answer, up to the bytes of the body. No I/O."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from email.utils import format_datetime

from profile_history.testing.api import Answer, envelope, error_answer, success
from profile_history.testing.attempt import Meeting
from profile_history.testing.encodings import encode
from profile_history.testing.faults import Fault, Stage
from profile_history.testing.malformed_rows import spoil_rows

_SAID_BY_THE_API = {
    Fault.ERROR_400: "Incorrect request",
    Fault.ERROR_401: "Token required",
    Fault.ERROR_402: "Tariff limit",
    Fault.ERROR_403: "No access",
    Fault.ERROR_500: "Internal error",
}
_PAGES = {
    Fault.ERROR_404: "Not found",
    Fault.ERROR_405: "Method not allowed",
    Fault.ERROR_408: "Request timeout",
    Fault.ERROR_409: "Conflict",
    Fault.ERROR_413: "Request entity too large",
    Fault.ERROR_422: "Unprocessable entity",
    Fault.ERROR_425: "Too early",
    Fault.ERROR_502: "Bad gateway",
    Fault.ERROR_503: "Service unavailable",
    Fault.ERROR_504: "Gateway timeout",
}
_ENVELOPES = {
    Fault.ERROR_WITH_ROWS: b'{"data":[%b],"error":500,"error_text":"Internal error"}',
    Fault.ERROR_MISSING: b'{"data":[%b],"error_text":"Successful operation"}',
    Fault.ERROR_NULL: b'{"data":[%b],"error":null,"error_text":"Successful operation"}',
    Fault.ERROR_AS_TEXT: b'{"data":[%b],"error":"0","error_text":"Successful operation"}',
    Fault.ERROR_AS_FLOAT: b'{"data":[%b],"error":0.0,"error_text":"Successful operation"}',
    Fault.ERROR_FALSE: b'{"data":[%b],"error":false,"error_text":"Successful operation"}',
    Fault.DATA_OBJECT: b'{"data":{"rows":[%b]},"error":0,"error_text":"Successful operation"}',
    Fault.DUPLICATE_KEYS: b'{"error":1,"data":[%b],"error":0,"error_text":"Successful operation"}',
    Fault.TOP_LEVEL_LIST: b"[%b]",
}
_WITHOUT_ROWS = {
    Fault.DATA_MISSING: b'{"error":0,"error_text":"Successful operation"}',
    Fault.DATA_NULL: b'{"data":null,"error":0,"error_text":"Successful operation"}',
    Fault.TOP_LEVEL_NULL: b"null",
}
_GARBAGE = (
    "",
    "-5",
    "+5",
    "nan",
    "inf",
    "1e3",
    "12_0",
    "0x10",
    "1.5",
    "٣",
    "5, 10",
    "9" * 35,
    "soon",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Sun, 06 Nov 2094 08:49:37",
    "2094-11-06T08:49:37Z",
)
_HUGE = ("3600", "86400", "999999999")
_CODES = (400, 401, 402, 403, 408, 413, 429, 500, 502, 503, 504, 440, 1, -1, 10**12)
_DEPTH = 100_000
_DEEP = (b'{"data":[{"deep":%b%b}],"error":0}', b'{"data":[],"deep":%b%b,"error":0}', b"%b%b")
_BAD_BYTES = (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80")
_END_OF_TEXT = re.compile(rb'"(?=[,}\]])')
_JUNK = (b"}", b"]", b"\x00", b"{}", b"\r\n<!-- cached by a proxy -->", b",")
_TYPES = (
    None,
    "",
    "text/html",
    "text/plain; charset=x-none",
    "application/json; charset=utf-16",
    "application/octet-stream",
    "multipart/form-data",
)


def spoil(meeting: Meeting, answer: Answer) -> Answer:
    """What is sent instead of a good answer.

    Args:
        meeting: The attempt and its faults.
        answer: The good answer.
    """
    if meeting.fault(Stage.ROWS) or meeting.fault(Stage.RESPONSE):
        answer = _said(meeting, answer)
    if fault := meeting.fault(Stage.TEXT):
        answer.body = _TEXTS[fault](meeting, answer.body)
    if fault := meeting.fault(Stage.HEADERS):
        _HEADERS[fault](meeting, answer)
    encode(meeting, meeting.fault(Stage.ENCODING), answer)
    return answer


def _said(meeting: Meeting, answer: Answer) -> Answer:
    rows = [] if answer.history is None else spoil_rows(meeting, meeting.fault(Stage.ROWS), answer.history)
    if fault := meeting.fault(Stage.RESPONSE):
        return _answer(meeting, fault, rows)
    return answer if answer.history is None else Answer(200, success(rows), len(rows))


def _answer(meeting: Meeting, fault: Fault, rows: list[bytes]) -> Answer:
    if fault in _SAID_BY_THE_API:
        return error_answer(meeting.behaviour, int(fault.removeprefix("error_")), _SAID_BY_THE_API[fault])
    if fault in _PAGES:
        return _page(int(fault.removeprefix("error_")), _PAGES[fault])
    if fault in _ENVELOPES:
        return Answer(200, _ENVELOPES[fault] % b",".join(rows), len(rows))
    if fault in _WITHOUT_ROWS:
        return Answer(200, _WITHOUT_ROWS[fault])
    if fault.startswith("redirect_"):
        redirect = _page(int(fault.removeprefix("redirect_")), "Moved")
        redirect.headers["Location"] = meeting.settings(fault).location
        return redirect
    return _ANSWERS[fault](meeting, fault, rows)


def _page(status: int, text: str) -> Answer:
    return Answer(status, f"<html><h1>{text}</h1></html>".encode(), content_type="text/html")


def _throttled(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    answer = error_answer(meeting.behaviour, 429, "Too many requests")
    chance, seconds = meeting.chance(fault), meeting.settings(fault).retry_after
    if fault is Fault.THROTTLED_WITH_RETRY_AFTER:
        answer.headers["Retry-After"] = str(seconds)
    elif fault is Fault.RETRY_AFTER_GARBAGE:
        answer.headers["Retry-After"] = chance.one_of(_GARBAGE)
    elif fault is Fault.RETRY_AFTER_HUGE:
        answer.headers["Retry-After"] = chance.one_of(_HUGE)
    elif fault is Fault.RETRY_AFTER_DATE:
        now = dt.datetime(chance.one_of((2001, 2094)), 11, 6, 8, 49, chance.between(0, 59), tzinfo=dt.UTC)
        answer.headers["Date"] = format_datetime(now, usegmt=True)
        answer.headers["Retry-After"] = format_datetime(now + dt.timedelta(seconds=seconds), usegmt=True)
    return answer


def _gateway_error(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    return _page(meeting.chance(fault).one_of(range(520, 525)), "Web server is down")


def _unavailable(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    answer = _page(503, "Service unavailable")
    answer.headers["Retry-After"] = str(meeting.settings(fault).retry_after)
    return answer


def _maintenance(_: Meeting, __: Fault, ___: list[bytes]) -> Answer:
    return _page(200, "Maintenance")


def _odd_status(meeting: Meeting, fault: Fault, rows: list[bytes]) -> Answer:
    body = success(rows)
    forms = (
        Answer(200, b""),
        Answer(204, b""),
        Answer(206, body[: len(body) // 2]),
        Answer(304, b""),
        Answer(999, body),
    )
    return meeting.chance(fault).one_of(forms)


def _api_error(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    return Answer(200, envelope(meeting.settings(fault).api_error, "Internal error"))


def _any_api_error(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    return Answer(200, envelope(meeting.chance(fault).one_of(_CODES), "An error"))


def _echoed_token(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    text = f"\x1b[31m{meeting.token}\x1b[0m\r\n\x1b]0;{meeting.token}\x07 is wrong: " + "long " * 200_000
    return Answer(200, envelope(meeting.settings(fault).api_error, text + meeting.token))


def _deep(meeting: Meeting, fault: Fault, _: list[bytes]) -> Answer:
    return Answer(200, meeting.chance(fault).one_of(_DEEP) % (b"[" * _DEPTH, b"]" * _DEPTH))


def _with_bom(_: Meeting, body: bytes) -> bytes:
    return b"\xef\xbb\xbf" + body


def _with_bad_bytes(meeting: Meeting, body: bytes) -> bytes:
    chance = meeting.chance(Fault.BAD_UTF8)
    bad = chance.one_of(_BAD_BYTES)
    places = [found.start() for found in _END_OF_TEXT.finditer(body)] or [len(body)]
    place = places[chance.between(0, len(places) - 1)]
    return body[:place] + bad + body[place:]


def _with_junk(meeting: Meeting, body: bytes) -> bytes:
    return body + meeting.chance(Fault.TRAILING_JUNK).one_of(_JUNK)


def _mislabel(meeting: Meeting, answer: Answer) -> None:
    answer.content_type = meeting.chance(Fault.WRONG_CONTENT_TYPE).one_of(_TYPES)


def _add_long_line(_: Meeting, answer: Answer) -> None:
    answer.headers["X-Long"] = "x" * 20_000


def _add_many(_: Meeting, answer: Answer) -> None:
    answer.headers |= {f"X-{number}": str(number) for number in range(500)}


def _echo(meeting: Meeting, answer: Answer) -> None:
    answer.headers["X \x01 Your Token"] = meeting.token


_ANSWERS: dict[Fault, Callable[[Meeting, Fault, list[bytes]], Answer]] = {
    Fault.THROTTLED: _throttled,
    Fault.THROTTLED_WITH_RETRY_AFTER: _throttled,
    Fault.RETRY_AFTER_DATE: _throttled,
    Fault.RETRY_AFTER_GARBAGE: _throttled,
    Fault.RETRY_AFTER_HUGE: _throttled,
    Fault.ERROR_503_WITH_RETRY_AFTER: _unavailable,
    Fault.GATEWAY_ERROR: _gateway_error,
    Fault.HTML_PAGE: _maintenance,
    Fault.ODD_STATUS: _odd_status,
    Fault.API_ERROR: _api_error,
    Fault.ANY_API_ERROR: _any_api_error,
    Fault.ECHOED_TOKEN: _echoed_token,
    Fault.DEEP_JSON: _deep,
}
_TEXTS: dict[Fault, Callable[[Meeting, bytes], bytes]] = {
    Fault.BOM: _with_bom,
    Fault.BAD_UTF8: _with_bad_bytes,
    Fault.TRAILING_JUNK: _with_junk,
}
_HEADERS: dict[Fault, Callable[[Meeting, Answer], None]] = {
    Fault.WRONG_CONTENT_TYPE: _mislabel,
    Fault.LONG_HEADER_LINE: _add_long_line,
    Fault.MANY_HEADERS: _add_many,
    Fault.TOKEN_IN_HEADER: _echo,
}
