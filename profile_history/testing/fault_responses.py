"""The response that the faults of an attempt make of a good one, up to the bytes of the body. No I/O."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from email.utils import format_datetime

from profile_history.testing.api import ApiResponse, encode_error, encode_rows, make_error, make_page
from profile_history.testing.attempt import Attempt
from profile_history.testing.encodings import encode
from profile_history.testing.faults import Fault, Stage
from profile_history.testing.malformed_rows import spoil_rows

_API_ERRORS = {
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
# What nginx and others call the statuses that they respond with themselves.
_REFUSALS = {
    Fault.PAGE_401: "401 Authorization Required",
    Fault.PAGE_403: "403 Forbidden",
    Fault.PAGE_407: "407 Proxy Authentication Required",
    Fault.PAGE_501: "501 Not Implemented",
    Fault.PAGE_511: "511 Network Authentication Required",
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
    "1,5",
    "٣",
    "5, 10",
    "5.",
    "soon",
    "Fri, 31 Dec 9999 23:59:60",
    "Sun, 06 Nov 2094 08:49:37",
    "2094-11-06T08:49:37Z",
)
_HUGE = ("3600", "86400", "999999999", "9" * 35)
_DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
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


def spoil(attempt: Attempt, response: ApiResponse) -> ApiResponse:
    """Return what is sent instead of a good response.

    Args:
        attempt: The attempt and its faults.
        response: The good response, which is changed.
    """
    if attempt.fault(Stage.ROWS) or attempt.fault(Stage.RESPONSE):
        response = _respond(attempt, response)
    if fault := attempt.fault(Stage.TEXT):
        response.body = _TEXTS[fault](attempt, response.body)
    if fault := attempt.fault(Stage.HEADERS):
        _HEADERS[fault](attempt, response)
    encode(attempt, attempt.fault(Stage.ENCODING), response)
    return response


def _respond(attempt: Attempt, response: ApiResponse) -> ApiResponse:
    rows = [] if response.history is None else spoil_rows(attempt, attempt.fault(Stage.ROWS), response.history)
    if fault := attempt.fault(Stage.RESPONSE):
        return _respond_with_fault(attempt, fault, rows)
    return response if response.history is None else ApiResponse(200, encode_rows(rows), len(rows))


def _respond_with_fault(attempt: Attempt, fault: Fault, rows: list[bytes]) -> ApiResponse:
    if fault in _API_ERRORS:
        return make_error(attempt.behaviour, int(fault.removeprefix("error_")), _API_ERRORS[fault])
    if fault in _PAGES:
        return make_page(int(fault.removeprefix("error_")), _PAGES[fault])
    if fault in _REFUSALS:
        return _make_refusal(int(fault.removeprefix("page_")), _REFUSALS[fault])
    if fault in _ENVELOPES:
        return ApiResponse(200, _ENVELOPES[fault] % b",".join(rows), len(rows))
    if fault in _WITHOUT_ROWS:
        return ApiResponse(200, _WITHOUT_ROWS[fault])
    if fault.startswith("redirect_"):
        redirect = make_page(int(fault.removeprefix("redirect_")), "Moved")
        redirect.headers["Location"] = attempt.settings(fault).location
        return redirect
    return _RESPONSES[fault](attempt, fault, rows)


def _make_refusal(status: int, title: str) -> ApiResponse:
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return ApiResponse(status, page.encode(), content_type="text/html", headers={"Server": "nginx/1.28.0"})


def _make_throttle(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    response = make_error(attempt.behaviour, 429, "Too many requests")
    chance, seconds = attempt.chance(fault), attempt.settings(fault).retry_after
    if fault is Fault.THROTTLED_WITH_RETRY_AFTER:
        response.headers["Retry-After"] = str(seconds)
    elif fault is Fault.RETRY_AFTER_FRACTION:
        response.headers["Retry-After"] = f"{seconds}.5"
    elif fault is Fault.RETRY_AFTER_BARE_DATE:
        # A second more, for the fraction that the text has no room for.
        then = attempt.behaviour.clock().astimezone(dt.UTC) + dt.timedelta(seconds=seconds + 1)
        response.headers["Date"] = ""
        response.headers["Retry-After"] = then.strftime(chance.one_of(_DATE_FORMS))
    elif fault is Fault.RETRY_AFTER_GARBAGE:
        response.headers["Retry-After"] = chance.one_of(_GARBAGE)
    elif fault is Fault.RETRY_AFTER_HUGE:
        response.headers["Retry-After"] = chance.one_of(_HUGE)
    elif fault is Fault.RETRY_AFTER_DATE:
        now = dt.datetime(chance.one_of((2001, 2094)), 11, 6, 8, 49, chance.between(0, 59), tzinfo=dt.UTC)
        response.headers["Date"] = format_datetime(now, usegmt=True)
        response.headers["Retry-After"] = format_datetime(now + dt.timedelta(seconds=seconds), usegmt=True)
    return response


def _make_gateway_error(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    return make_page(attempt.chance(fault).one_of(range(520, 525)), "Web server is down")


def _make_unavailable(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    response = make_page(503, "Service unavailable")
    response.headers["Retry-After"] = str(attempt.settings(fault).retry_after)
    return response


def _make_maintenance(_: Attempt, __: Fault, ___: list[bytes]) -> ApiResponse:
    return make_page(200, "Maintenance")


def _make_odd_status(attempt: Attempt, fault: Fault, rows: list[bytes]) -> ApiResponse:
    body = encode_rows(rows)
    forms = (
        ApiResponse(200, b""),
        ApiResponse(204, b""),
        ApiResponse(206, body[: len(body) // 2]),
        ApiResponse(304, b""),
        ApiResponse(999, body),
    )
    return attempt.chance(fault).one_of(forms)


def _make_api_error(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    return ApiResponse(200, encode_error(attempt.settings(fault).api_error, "Internal error"))


def _make_any_api_error(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    return ApiResponse(200, encode_error(attempt.chance(fault).one_of(_CODES), "An error"))


def _make_echoed_token(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    text = f"\x1b[31m{attempt.token}\x1b[0m\r\n\x1b]0;{attempt.token}\x07 is wrong: " + "long " * 200_000
    return ApiResponse(200, encode_error(attempt.settings(fault).api_error, text + attempt.token))


def _make_deep(attempt: Attempt, fault: Fault, _: list[bytes]) -> ApiResponse:
    return ApiResponse(200, attempt.chance(fault).one_of(_DEEP) % (b"[" * _DEPTH, b"]" * _DEPTH))


def _add_bom(_: Attempt, body: bytes) -> bytes:
    return b"\xef\xbb\xbf" + body


def _insert_bad_bytes(attempt: Attempt, body: bytes) -> bytes:
    chance = attempt.chance(Fault.BAD_UTF8)
    bad = chance.one_of(_BAD_BYTES)
    places = [found.start() for found in _END_OF_TEXT.finditer(body)] or [len(body)]
    place = places[chance.between(0, len(places) - 1)]
    return body[:place] + bad + body[place:]


def _append_junk(attempt: Attempt, body: bytes) -> bytes:
    return body + attempt.chance(Fault.TRAILING_JUNK).one_of(_JUNK)


def _mislabel(attempt: Attempt, response: ApiResponse) -> None:
    response.content_type = attempt.chance(Fault.WRONG_CONTENT_TYPE).one_of(_TYPES)


def _add_long_line(_: Attempt, response: ApiResponse) -> None:
    response.headers["X-Long"] = "x" * 20_000


def _add_many_headers(_: Attempt, response: ApiResponse) -> None:
    response.headers |= {f"X-{number}": str(number) for number in range(500)}


def _echo_token(attempt: Attempt, response: ApiResponse) -> None:
    response.headers["X \x01 Your Token"] = attempt.token


_RESPONSES: dict[Fault, Callable[[Attempt, Fault, list[bytes]], ApiResponse]] = {
    Fault.THROTTLED: _make_throttle,
    Fault.THROTTLED_WITH_RETRY_AFTER: _make_throttle,
    Fault.RETRY_AFTER_DATE: _make_throttle,
    Fault.RETRY_AFTER_FRACTION: _make_throttle,
    Fault.RETRY_AFTER_BARE_DATE: _make_throttle,
    Fault.RETRY_AFTER_GARBAGE: _make_throttle,
    Fault.RETRY_AFTER_HUGE: _make_throttle,
    Fault.ERROR_503_WITH_RETRY_AFTER: _make_unavailable,
    Fault.GATEWAY_ERROR: _make_gateway_error,
    Fault.HTML_PAGE: _make_maintenance,
    Fault.ODD_STATUS: _make_odd_status,
    Fault.API_ERROR: _make_api_error,
    Fault.ANY_API_ERROR: _make_any_api_error,
    Fault.ECHOED_TOKEN: _make_echoed_token,
    Fault.DEEP_JSON: _make_deep,
}
_TEXTS: dict[Fault, Callable[[Attempt, bytes], bytes]] = {
    Fault.BOM: _add_bom,
    Fault.BAD_UTF8: _insert_bad_bytes,
    Fault.TRAILING_JUNK: _append_junk,
}
_HEADERS: dict[Fault, Callable[[Attempt, ApiResponse], None]] = {
    Fault.WRONG_CONTENT_TYPE: _mislabel,
    Fault.LONG_HEADER_LINE: _add_long_line,
    Fault.MANY_HEADERS: _add_many_headers,
    Fault.TOKEN_IN_HEADER: _echo_token,
}
