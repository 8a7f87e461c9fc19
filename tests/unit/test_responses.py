"""What a request says, what counts as success, and what each error means."""

import datetime as dt
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import (
    ApiError,
    AuthenticationError,
    DecodeError,
    Profile,
    RateLimited,
    ResponseError,
    TruncatedResponse,
    UnexpectedPage,
    UnexpectedRedirect,
)
from profile_history._protocol.error_rules import ERROR_RULES, PAGE_RULES, RETRIED_KINDS, Split
from profile_history._protocol.requests import Requests
from profile_history._protocol.responses import Reply, UnreadReply, retry_after, verify_response
from profile_history._secrets import Token
from profile_history.errors import Kind
from profile_history.windows import Window

CANARY = "canary-token-7f3a"
TOKEN = Token(CANARY)
ROW = {"action": "click", "datetime": "2017-04-05T07:48:44Z"}
DAY = dt.date(2017, 1, 1)
PAGE = "<html>busy</html>"
CLOCK = dt.datetime(2026, 1, 1, 0, 0, 10, tzinfo=dt.UTC)


def read(status, body, **headers):
    """The rows of a response; its body is an object to write as JSON, or the text or bytes themselves."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    text = text.encode() if isinstance(text, str) else text
    return verified(Reply(status, headers, text))


def verified(reply):
    """The rows of a reply."""
    found = []

    def drive():
        found.append((yield from verify_response(reply, TOKEN, lambda: CLOCK)))

    for _ in drive():
        pass
    return found[0]


def refusal(status, body, **headers):
    with pytest.raises((ResponseError, ApiError)) as caught:
        read(status, body, **headers)
    return caught.value


def envelope(**changes):
    return {"data": [ROW], "error": 0, "error_text": "Successful operation", **changes}


@pytest.mark.parametrize(
    ("window", "dates"),
    [
        (Window(), {}),
        (Window(DAY, None), {"date_from": "2017-01-01"}),
        (Window(None, DAY), {"date_to": "2017-01-01"}),
        (Window(DAY, dt.date(2017, 12, 31)), {"date_from": "2017-01-01", "date_to": "2017-12-31"}),
    ],
)
@pytest.mark.parametrize(("auth", "credentials"), [("body", {"token": CANARY}), ("header", {})])
@pytest.mark.parametrize(
    ("profile", "fields"),
    [
        (Profile.xxh("0eb51aefd919f90a"), {"xxh": "0eb51aefd919f90a"}),
        (Profile.custom("ИД", 7), {"matching": "custom", "field_name": "ИД", "field_value": 7}),
    ],
)
def test_a_request_says_what_was_asked_and_no_more(window, dates, auth, credentials, profile, fields):
    """JSON is asked for, only the given dates are sent, and only `auth="body"` puts the token into the body."""
    body = Requests(TOKEN, 20, auth).body(profile, window)
    assert json.loads(bytes(body)) == {"format": "json", "list_id": 20, **credentials, **fields, **dates}


def test_a_request_body_never_shows_the_token():
    """Neither the body nor the writer of bodies gives the token away when printed."""
    requests = Requests(TOKEN, 20, "body")
    body = requests.body(Profile.email("john@example.com"), Window())
    for shown in (repr(body), str(body), f"{body}", repr(vars(requests))):
        assert CANARY not in shown
        assert "secret bytes" in shown


RULES = [
    (400, Kind.CALLER, ApiError, "both"),
    (401, Kind.AUTH, AuthenticationError, "both"),
    (402, Kind.CALLER, ApiError, "both"),
    (403, Kind.AUTH, AuthenticationError, "both"),
    (404, Kind.CALLER, ApiError, "status"),
    (405, Kind.CALLER, ApiError, "status"),
    (408, Kind.TRANSIENT, ApiError, "both"),
    (409, Kind.CALLER, ApiError, "status"),
    (413, Kind.CALLER, ApiError, "both"),
    (422, Kind.CALLER, ApiError, "status"),
    (425, Kind.TRANSIENT, ApiError, "status"),
    (429, Kind.THROTTLED, RateLimited, "both"),
    (500, Kind.TRANSIENT, ApiError, "both"),
    (502, Kind.TRANSIENT, ApiError, "both"),
    (503, Kind.TRANSIENT, ApiError, "both"),
    (504, Kind.TRANSIENT, ApiError, "both"),
    (520, Kind.TRANSIENT, ApiError, "status"),
    (521, Kind.TRANSIENT, ApiError, "status"),
    (522, Kind.TRANSIENT, ApiError, "status"),
    (523, Kind.TRANSIENT, ApiError, "status"),
    (524, Kind.TRANSIENT, ApiError, "status"),
]


def test_every_rule_is_tested():
    """The table of these tests and the table of the rules name the same numbers."""
    assert [rule.number for rule in ERROR_RULES] == [number for number, *_ in RULES]


@pytest.mark.parametrize(("number", "kind", "error", "known_as"), [*RULES, (440, Kind.UNKNOWN, ApiError, "both")])
def test_a_code_with_http_200_means_what_its_rule_says(number, kind, error, known_as):
    """A known `error` has its kind and class; a number known only as a status, or not at all, is unknown as a code."""
    found = refusal(200, envelope(error=number, error_text="said so"))
    assert type(found) is (error if known_as == "both" else ApiError)
    assert found.kind is (kind if known_as == "both" else Kind.UNKNOWN)
    assert (found.code, found.http_status) == (number, 200)
    assert "said so" in found.text
    assert found.splittable == (number in {413, 504})


@pytest.mark.parametrize(("number", "kind", "error", "known_as"), [*RULES, (599, Kind.UNKNOWN, ApiError, "status")])
@pytest.mark.parametrize("body", [PAGE, "", "plain words"])
def test_a_status_without_json_means_what_its_rule_says(number, kind, error, known_as, body):
    """Where the body has no code, the HTTP status speaks: it is a page of something else, or what is retried."""
    found = refusal(number, body)
    if kind not in RETRIED_KINDS:
        error, kind = UnexpectedPage, Kind.UNKNOWN
    assert type(found) is error
    assert found.kind is kind
    assert found.http_status == number
    assert found.splittable == (number in {504, 524})


@pytest.mark.parametrize(
    ("code", "status", "splittable"),
    [
        (413, 413, True),
        (413, 200, True),
        (0, 413, True),
        (400, 413, True),
        (500, 504, True),
        (0, 524, True),
        (0, 522, False),
    ],
)
def test_the_envelope_of_the_api_says_that_a_window_is_too_long_and_so_does_its_status(code, status, splittable):
    """A 413 of something on the way, without an envelope, is about the request, which fewer days do not shorten."""
    assert refusal(status, envelope(error=code)).splittable is splittable


@pytest.mark.parametrize("number", sorted({rule.number for rule in ERROR_RULES}))
def test_hint_split_and_overload_of_a_rule_agree(number):
    """Who is told to ask for fewer days gets a window halved; a gateway that waited in vain has too much to do."""
    (rule,) = [rule for rule in ERROR_RULES if rule.number == number]
    assert ("fewer days" in rule.hint) is (rule.split is not Split.NEVER)
    assert rule.overload is ("took too" in rule.hint)
    assert rule.refusal is (number in (429, 503))
    assert rule.retries is (rule.kind in (Kind.TRANSIENT, Kind.THROTTLED))


@pytest.mark.parametrize(
    ("code", "status", "error", "kind"),
    [
        (401, 500, AuthenticationError, Kind.AUTH),
        (400, 401, ApiError, Kind.CALLER),
        (429, 503, RateLimited, Kind.THROTTLED),
        (500, 403, ApiError, Kind.TRANSIENT),
        (0, 403, AuthenticationError, Kind.AUTH),
        (0, 599, ApiError, Kind.UNKNOWN),
    ],
)
def test_the_code_speaks_before_the_status(code, status, error, kind):
    """The API's own word counts more than that of whatever stands in front of it; a 0 says nothing."""
    found = refusal(status, envelope(error=code))
    assert (type(found), found.kind) == (error, kind)


@pytest.mark.parametrize("status", [200, 201, 206, 299])
@pytest.mark.parametrize("data", [[], [ROW, ROW]])
def test_a_whole_envelope_with_a_2xx_status_is_a_success(status, data):
    """Any HTTP 2xx will do, and an empty array is an empty history."""
    assert read(status, envelope(data=data)).count == len(data)


@pytest.mark.parametrize(
    ("status", "body", "error", "kind", "path"),
    [
        (204, "", TruncatedResponse, Kind.AMBIGUOUS, None),
        (206, "", TruncatedResponse, Kind.AMBIGUOUS, None),
        (200, "", TruncatedResponse, Kind.AMBIGUOUS, None),
        (200, " \r\n", TruncatedResponse, Kind.AMBIGUOUS, None),
        (206, json.dumps(envelope())[:-1], TruncatedResponse, Kind.TRANSIENT, None),
        (200, json.dumps(envelope())[:-1], TruncatedResponse, Kind.TRANSIENT, None),
        (200, PAGE, UnexpectedPage, Kind.TRANSIENT, None),
        (200, "\n <?xml version='1.0'?>", UnexpectedPage, Kind.TRANSIENT, None),
        (200, "\ufeff" + PAGE, UnexpectedPage, Kind.TRANSIENT, None),
        (200, "null", DecodeError, Kind.AMBIGUOUS, "$"),
        (200, [ROW], DecodeError, Kind.AMBIGUOUS, "$"),
        (200, {"data": [ROW]}, DecodeError, Kind.AMBIGUOUS, "$.error"),
        (200, {"error": 0}, DecodeError, Kind.AMBIGUOUS, "$.data"),
        (200, json.dumps(envelope()) + "}", DecodeError, Kind.AMBIGUOUS, "$"),
        (200, envelope(data=None), DecodeError, Kind.AMBIGUOUS, "$.data"),
        (200, envelope(data={}), DecodeError, Kind.AMBIGUOUS, "$.data"),
        (200, envelope(error=400), ApiError, Kind.CALLER, None),
        (200, {"error": 400}, ApiError, Kind.CALLER, None),
        (206, envelope(error=440), ApiError, Kind.UNKNOWN, None),
        (500, envelope(), ApiError, Kind.TRANSIENT, None),
        (304, "", ApiError, Kind.AMBIGUOUS, None),
        (199, "", ApiError, Kind.AMBIGUOUS, None),
        (199, envelope(), ApiError, Kind.AMBIGUOUS, None),
        (999, PAGE, ApiError, Kind.AMBIGUOUS, None),
        (999, envelope(), ApiError, Kind.AMBIGUOUS, None),
        (999, {"error": 0}, ApiError, Kind.AMBIGUOUS, None),
        (999, envelope(error=440), ApiError, Kind.UNKNOWN, None),
        (418, "", UnexpectedPage, Kind.UNKNOWN, None),
        (418, envelope(), ApiError, Kind.UNKNOWN, None),
        (599, PAGE, UnexpectedPage, Kind.UNKNOWN, None),
        (600, PAGE, ApiError, Kind.AMBIGUOUS, None),
    ],
)
def test_anything_else_is_a_failure_with_a_reason(status, body, error, kind, path):
    """An empty response, a page, a code with rows and an envelope without rows are never "no events"."""
    found = refusal(status, body)
    assert (type(found), found.kind, getattr(found, "path", None)) == (error, kind, path)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_its_target_named(status):
    """No redirect is followed, not even one with a good envelope, and a token in its target is masked."""
    found = refusal(status, envelope(), location=f"https://elsewhere.example/?token={CANARY}\x1b[31m\n")
    assert type(found) is UnexpectedRedirect
    assert found.location == "https://elsewhere.example/?token=[token]"
    assert found.location in str(found)
    assert CANARY not in str(found)


def test_a_redirect_to_nowhere_is_refused_too():
    """Without a Location there is nothing to name."""
    found = refusal(302, "")
    assert found.location is None
    assert "nowhere" in str(found)


UGLY = f"\x1b[31mred\x1b[0m {CANARY}\x00\r\nnext\u2028line\x9b "


@pytest.mark.parametrize(
    ("status", "body", "limit"),
    [
        (200, envelope(error=440, error_text=UGLY + "x" * 9000), 500),
        (600, UGLY + "x" * 9000, 120),
        (403, UGLY + "x" * 9000, 120),
        (403, f"<title>{UGLY}{'x' * 200}</title>", 120),
    ],
    ids=["error_text", "status", "page", "title"],
)
def test_what_an_error_quotes_is_clean_and_short(status, body, limit):
    """The token is masked, escapes and control characters are gone, and the rest is cut."""
    found = refusal(status, body)
    text = found.title if status == 403 else found.text
    assert text in str(found)
    start = "red  [token] next line xxx"
    assert " ".join(text.split()).startswith(" ".join(start.split()))
    assert text.isprintable()
    assert len(text) == limit + len("…")


def test_a_page_with_200_is_quoted_clean_and_short():
    """The reason for refusing a page shows its beginning, without the token."""
    text = str(refusal(200, "<html>" + UGLY + "x" * 9000))
    assert "<html>" in text
    assert CANARY not in text
    assert text.isprintable()
    assert text.count("x" * 50) <= 2


def test_a_rule_explains_what_the_server_left_unsaid():
    """With an empty `error_text` the hint stands alone, and an unknown error without words has none."""
    assert refusal(200, envelope(error=402, error_text="")).text == "the tariff's limit is reached"
    assert refusal(600, "").text == ""


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 407, 409, 410, 411, 413, 414, 415, 418, 422, 431, 451]
)
@pytest.mark.parametrize(
    "text", ["<html><head><TITLE>\n Who &amp; what?\n</TITLE></head></html>", '{"message": "no"}', ""]
)
def test_a_refusal_without_the_envelope_of_the_api_says_whose_page_it_is(status, text):
    """Its status, its `Server`, its title or how it begins, and a hint; a token in any of these is masked."""
    found = refusal(status, text, server=f"edge/1.2 {CANARY}")
    assert type(found) is UnexpectedPage
    title = "Who & what?" if "TITLE" in text else text or None
    assert (found.http_status, found.server, found.title) == (status, "edge/1.2 [token]", title)
    assert str(found).startswith(f"a page and not the API responded with HTTP {status} (")
    assert (title or "empty") in str(found)
    assert "Server: edge/1.2 [token]" in str(found)
    assert found.hint
    assert (found.fatal, found.splittable, found.retry_after) == (False, False, None)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<html><!-- <title>template</title> --><title lang=de>real</title>", "real"),
        ("<html><title>  </title><h1>Request Rejected</h1>", "<html><title> </title><h1>Request Rejected</h1>"),
        ("<title>Access\r\n\t  denied", "Access denied"),
        ("<title>a\u202eb\u200bc\ufeff&#8238;d&#27;[31m</title>", "a b c d[31m"),
        ("<html><body></body></html>", None),
        ("&lt;b&gt; is no tag", "&lt;b&gt; is no tag"),
    ],
)
def test_the_title_of_a_page_is_found_and_made_fit_to_be_shown(page, title):
    """Or else how its text begins; without marks that reorder what is beside them, and on one line."""
    found = refusal(403, page)
    assert found.title == title
    assert str(found).isprintable()


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ("<title>Доступ ограничен</title>".encode("windows-1251"), "text/html; charset=windows-1251"),
        ('<meta charset="KOI8-R"><title>Доступ ограничен</title>'.encode("koi8-r"), ""),
        ("<title>Доступ ограничен</title>".encode("utf-16"), "text/html"),
        ("<title>Доступ ограничен</title>".encode("utf-8-sig"), "text/html; charset=iso-8859-99"),
        ("<title>Доступ ограничен</title>".encode(), "text/html; charset=unicode_escape"),
    ],
)
def test_a_page_is_read_in_its_own_encoding(text, content_type):
    """Of those that pages have; any other is not looked for."""
    found = refusal(403, text, **{"content-type": content_type})
    assert found.title == "Доступ ограничен"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_that_is_retried_quotes_the_title_of_its_page(status):
    """As that of a proxy, and not how its markup begins."""
    found = refusal(status, f"<html>\r\n<head><title>{status} &amp; so on</title></head>")
    assert found.text.endswith(f"({status} & so on)")


@pytest.mark.parametrize(("status", "error"), [(503, ApiError), (429, RateLimited), (403, UnexpectedPage)])
def test_an_error_whose_body_cannot_be_read_means_what_its_status_says(status, error):
    """And its text says what was wrong with the body."""
    problem = "the body is not gzip, as its Content-Encoding says it is"
    with pytest.raises(error, match=problem) as caught:
        verified(UnreadReply(status, {"retry-after": "7"}, b"", problem=problem))
    assert type(caught.value) is error
    assert (caught.value.http_status, caught.value.retry_after) == (status, 7.0)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [{"error": 401}, {"error": 403, "message": "blocked"}, {"error": 0}])
def test_a_number_alone_is_not_the_word_of_the_api(status, body):
    """Its envelope has a text, or data; other programs say `error` as well."""
    assert type(refusal(status, body)) is UnexpectedPage
    assert type(refusal(status, {**body, "error_text": ""})) is AuthenticationError
    assert type(refusal(status, {**body, "data": None})) is AuthenticationError


def test_a_page_without_a_server_header_says_so():
    """Nothing is made up."""
    found = refusal(403, "<title></title>")
    assert (found.server, found.title) == (None, None)
    assert str(found).startswith("a page and not the API responded with HTTP 403 (empty, no Server header); a firewall")


@pytest.mark.parametrize("rule", PAGE_RULES, ids=lambda rule: str(rule.status))
def test_a_page_is_explained_by_its_rule(rule):
    """Each rule is about a status that is not retried when a page says it."""
    found = refusal(rule.status, PAGE)
    assert (type(found), found.hint) == (UnexpectedPage, rule.hint)


def test_an_error_carries_the_wait_the_server_asks_for():
    """Retry-After is read on every error of the API."""
    assert refusal(429, "", **{"retry-after": "7"}).retry_after == 7.0


@pytest.mark.parametrize("status", [200, 403, 413])
def test_a_page_carries_the_wait_it_asks_for(status):
    """It is obeyed where a page is retried."""
    assert refusal(status, PAGE, **{"retry-after": "7.5"}).retry_after == 7.5


NOW = "Thu, 01 Jan 2026 00:00:00 GMT"
AGES = "9" * 5000
SECONDS = [
    *[("0", 0.0), ("1", 1.0), ("007", 7.0), ("120", 120.0), (" 5\t", 5.0), ("999999999", 999999999.0)],
    *[("1.5", 1.5), ("0.250", 0.25), ("00.0", 0.0), ("1000000000", 1e9), ("1767225630", 1e9), (AGES, 1e9)],
    (f"{AGES}.{AGES}", 1e9),
]
NO_SECONDS = """
|-1|-0|-1.5|+5|.5|5.|1,5|1.2.3|1e3|12_0|nan|inf|-inf|Infinity|٣|٣٠|٣.٥|５|²|\u00a05
5, 10|5 10|5;q=1|5s|0x10|1,000|five|null|true|[5]|2026-01-01T00:00:30Z|1767225630 GMT|GMT| GMT
"""
DATES = [
    ("Thu, 01 Jan 2026 00:00:30 GMT", NOW, 30.0),
    ("Thu, 01 Jan 2026 00:00:00 GMT", NOW, 0.0),
    ("Wed, 31 Dec 2025 23:59:59 GMT", NOW, 0.0),
    ("Mon, 01 Jan 0001 00:00:00 GMT", NOW, 0.0),
    ("Fri, 02 Jan 2026 00:00:00 GMT", NOW, 86400.0),
    ("Mon, 01 Jan 2026 00:00:30 GMT", NOW, 30.0),
    ("Sun, 30 Dec 2035 00:00:00 GMT", NOW, 3650 * 86400.0),
    ("Fri, 31 Dec 9999 00:00:00 GMT", NOW, 1e9),
    ("Thu, 01 Jan 2026 00:00:30 GMT", "", 20.0),
    ("Thu, 01 Jan 2026 00:00:30 GMT", "yesterday", 20.0),
    ("Thu, 01 Jan 2026 00:00:30 GMT", "Thu, 01 Jan 2026 00:00:00", 20.0),
    ("Thu, 01 Jan 2026 00:00:09 GMT", "", 0.0),
    ("Fri, 02 Jan 2026 00:00:10 GMT", "", 86400.0),
    ("Fri, 31 Dec 9999 00:00:00 GMT", "", 86400.0),
    ("Thu, 01 Jan 2026 00:00:30", NOW, None),
    ("Thu, 01 Jan 2026 00:00:30 +0000", NOW, None),
    ("Thu, 01 Jan 2026 00:00:30 MSK", NOW, None),
    ("Xyz, 01 Jan 2026 00:00:30 GMT", NOW, None),
    ("Thu, 01 Foo 2026 00:00:30 GMT", NOW, None),
    ("Thu, 32 Jan 2026 00:00:30 GMT", NOW, None),
    ("Thu, 29 Feb 2026 00:00:30 GMT", NOW, None),
    ("Thu, 01 Jan 2026 24:00:00 GMT", NOW, None),
    ("Thu, 01 Jan 2026 00:00:61 GMT", NOW, None),
    ("Thu, 01 Jan 2026 00:00:60 GMT", NOW, 60.0),
    ("Fri, 31 Dec 9999 23:59:60 GMT", NOW, None),
    ("Thu, 01 Jan 0000 00:00:30 GMT", NOW, None),
    ("Thu, 01 Jan 10000 00:00:30 GMT", NOW, None),
    ("Thursday, 01-Jan-26 00:00:30 GMT", NOW, 30.0),
    ("Thursday, 01-Jan-26 00:00:30 GMT", "Thursday, 01-Jan-26 00:00:00 GMT", 30.0),
    ("Sunday, 06-Nov-94 08:49:37 GMT", NOW, 0.0),
    ("Thursday, 01-Jan-2026 00:00:30 GMT", NOW, None),
    ("Thu Jan  1 00:00:30 2026", NOW, 30.0),
    ("Thu Jan 15 00:00:00 2026", "Wed Jan 14 23:59:30 2026", 30.0),
    ("Thu Jan  1 00:00:30 2026 GMT", NOW, None),
]


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        *((value, NOW, seconds) for value, seconds in SECONDS),
        *((value, NOW, None) for line in NO_SECONDS.splitlines() for value in line.split("|")),
        *DATES,
    ],
)
def test_a_wait_is_seconds_or_a_date_against_the_own_date_of_the_response(value, date, seconds):
    """ASCII digits with a fraction or without, or an HTTP date in any of its three forms; all else says nothing.

    Without a `Date` the clock of this machine counts, for a day at most.
    """
    assert retry_after({"retry-after": value, "date": date}, lambda: CLOCK) == seconds


def test_no_header_asks_for_no_wait():
    """Without Retry-After there is nothing to read."""
    assert retry_after({}, lambda: CLOCK) is None


@given(
    st.fixed_dictionaries(
        {}, optional={name: st.text() | st.sampled_from([NOW, "7"]) for name in ("retry-after", "date")}
    )
)
def test_no_header_can_break_the_wait(headers):
    """Whatever the headers hold, the result is `None` or a finite number of seconds that is not negative."""
    seconds = retry_after(headers, lambda: CLOCK)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
