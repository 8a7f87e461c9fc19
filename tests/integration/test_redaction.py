"""With `redact_profiles`, what identifies a profile is in no text: not in an error, a log, a span or a crash report."""

import copy
import hashlib
import html
import json
import logging
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr
from support.scripts import Script, http
from support.secrecy import QUICK, Listener, logged, shown
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    ConfigurationError,
    HistoryClient,
    HistoryError,
    Matching,
    Profile,
    ServerUnavailable,
    UnexpectedPage,
    UnexpectedRedirect,
)
from profile_history._decoding.event_decoder import EVENTS
from profile_history._redaction import Redactor, make_redactor, redact_error, redact_text
from profile_history.errors import Kind
from profile_history.observing import AttemptStarted
from profile_history.testing import Fault, FaultPlan, HistoryServer
from profile_history.units import Unit
from profile_history.windows import Window

KEY = b"a key that is long enough"
ADDRESS = "John.Canary+7f3a@example.com"
NUMBER = "+7 900 123-45-67"
JOHN = Profile.email(ADDRESS)
# As the documentation says it is made.
HASH = "#" + hashlib.blake2b(ADDRESS.encode(), key=KEY, digest_size=6).hexdigest()
ROW = {"action": "open", "datetime": "2024-01-01T10:00:00Z", "email": ADDRESS}
PROFILES = [
    Profile.xxh("0eb51aefd919f90a"),
    JOHN,
    Profile.email_profile(ADDRESS),
    Profile.email_sub(ADDRESS),
    Profile.phone(NUMBER),
    Profile.phone_sub(NUMBER),
    Profile.profile_id("5d4d4d0a7f4e3a0001234567"),
    Profile.push_sub("android-firebase", "canary-subscription"),
    Profile.custom("card", "canary-card"),
    Profile.custom_sub("card", 10012002),
    Profile.email_phone(ADDRESS, NUMBER),
    Profile.email_phone_sub(phone=NUMBER),
]
SAMPLE = [JOHN, Profile.custom_sub("card", 10012002)]
IDS = [profile.matching.value for profile in PROFILES]


def secrets_of(profile):
    """The values that identify a profile, as texts."""
    return [str(value) for name, value in profile.fields if name not in {"field_name", "provider"}]


def spellings_of(profile):
    """The same in all the ways in which a server may write them."""
    for value in secrets_of(profile):
        yield from (value, value.lower(), value.upper(), quote(value), quote(value, safe=""), html.escape(value))


def assert_redacted(text, profile):
    """Check that no value of the profile is in a text."""
    for value in secrets_of(profile):
        assert value.casefold() not in text.casefold()
        assert quote(value, safe="").casefold() not in text.casefold()


def client_of(server, **options):
    url = f"http://127.0.0.1:{server.port}"
    return HistoryClient(url, **{"token": "t", "list_id": 20, "retry": QUICK, "redact_profiles": KEY, **options})


def test_every_matching_mode_is_among_the_profiles_of_these_tests():
    """One that is added has to be redacted as well."""
    assert {profile.matching for profile in PROFILES} == set(Matching)


@pytest.mark.parametrize("profile", PROFILES, ids=IDS)
def test_a_redacted_profile_is_the_same_profile_with_another_text(profile):
    """It equals the original, is found in sets and dictionaries, is sent as it, and travels."""
    redacted = Redactor(KEY).redact(profile)
    for twin in (redacted, copy.deepcopy(redacted), pickle.loads(pickle.dumps(redacted))):
        assert twin == profile
        assert hash(twin) == hash(profile)
        assert (twin.fields, twin.body(), twin.text) == (profile.fields, profile.body(), profile.text)
        assert twin.text == str(profile)
        assert_redacted(str(twin) + repr(twin) + f"{twin}", profile)
        assert str(twin) == f"{profile.matching}:{redacted.alias}"
        assert len(twin.alias) == 13
        assert repr(twin.with_alias(None)) == repr(profile)


def test_what_prints_attributes_instead_of_the_text_prints_the_hash_as_well():
    """Rich does so, and structlog's tracebacks with it, also for what holds a profile."""
    redacted = Redactor(KEY).redact(JOHN)
    for value in (redacted, [Unit(redacted, Window())], {redacted: AttemptStarted(redacted, Window(), "an id", 1)}):
        assert_redacted(pretty_repr(value), JOHN)
        assert HASH in pretty_repr(value)
    assert ADDRESS in pretty_repr(JOHN)


def test_hashes_are_those_of_the_key():
    """The same key finds the same hash in another process; another one does not, nor does the address without a key."""
    one, two = Redactor(KEY), Redactor(bytes(16))
    assert str(one.redact(JOHN)) == str(Redactor(KEY).redact(Profile.email(ADDRESS))) == f"email:{HASH}"
    assert one.redact(JOHN).alias == one.redact(Profile.email_sub(ADDRESS)).alias
    assert one.redact(JOHN).alias != two.redact(JOHN).alias
    assert two.redact(one.redact(JOHN)).alias == two.redact(JOHN).alias
    random = make_redactor(True)
    assert random.redact(JOHN).alias == make_redactor(True).redact(JOHN).alias != one.redact(JOHN).alias
    assert KEY.decode() not in repr(one) + str(one)


@pytest.mark.parametrize("option", ["yes", 1, None, b"short", bytes(15), bytes(65), KEY.decode()])
def test_another_option_is_refused(option):
    """A text is no key, and a short key is soon found."""
    with pytest.raises(ConfigurationError, match="redact_profiles takes True"):
        HistoryClient("https://history.example", token="t", list_id=20, redact_profiles=option)


def texts(spelling):
    """Responses in which a server repeats a text where it can."""
    as_json = json.dumps(spelling).encode()
    plain = spelling.encode()
    return {
        "error_text": http(b'{"data":[],"error":400,"error_text":%b}' % as_json),
        "a long error_text": http(b'{"data":[],"error":400,"error_text":"%b"}' % (b"x " * 247 + plain)),
        "a page": http(b"<html>no %b</html>" % plain),
        "a long page": http(b"<html>" + b"x" * (110 - len(spelling) // 2) + plain, status=500),
        "a redirect": http(b"", f"Location: https://elsewhere.example/?p={quote(spelling, safe='')}", status=307),
        "a header": http(b"no", f"X-Echo: {quote(spelling)}", status=500),
        "a row": http(b'{"data":[{"action":"open","datetime":%b}],"error":0,"error_text":""}' % as_json),
        "a key": http(b'{%b:1,%b:2,"error":0}' % (as_json, as_json)),
        "no envelope": http(b"[%b]" % as_json),
        "half of it": http(b'{"data":[{"action":%b' % as_json),
    }


@pytest.mark.parametrize("place", texts(""))
@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(profile, id=profile.matching.value, marks=() if profile in SAMPLE else pytest.mark.slow)
        for profile in PROFILES
    ],
)
def test_no_text_has_what_identifies_a_profile_wherever_a_server_repeats_it(profile, place, caplog):
    """Messages, arguments, notes, dictionaries, local variables, logs, and what hooks are told; raised or collected."""
    caplog.set_level(logging.DEBUG)
    told, errors = Listener(), []

    async def fetch(response, view, on_error):
        async with Script(rest=response) as server, client_of(server, on_event=told) as client:
            stream = client.histories([profile], on_error=on_error, strict=True)
            try:
                told.extend(await view(stream))
            except HistoryError as error:
                errors.append(error)
            errors.extend(failure.error for failure in stream.failures)
            told.append((stream.stats, stream.failures))
            assert all(failure.profile == profile for failure in stream.failures)
            assert_redacted(repr(client), profile)

    views = (lambda stream: stream.collect(), "raise"), (lambda stream: stream.windows().collect(), "collect")
    for spelling in list(dict.fromkeys(spellings_of(profile)))[:3]:
        for view in views:
            run_virtually(fetch(texts(spelling)[place], *view))
    assert errors
    # A pickle is made for another process of the program, and has the values.
    assert_redacted("".join(str(one) + repr(one) for one in told) + told.shown + logged(caplog), profile)
    for error in errors:
        error.add_note(f"seen for {error.profile}")
        assert_redacted(shown(error) + json.dumps(error.to_dict()), profile)
        assert error.profile == profile
        assert error.profile.alias in str(error)


@pytest.mark.parametrize("single", [True, False])
async def test_no_frame_of_ours_has_rows_or_profiles_when_an_error_reaches_the_user(single):
    """A crash reporter that prints local variables sees neither the last row nor what was asked for."""
    good, bad = http(json.dumps({"data": [ROW], "error": 0, "error_text": ""}).encode()), http(b"no", status=400)
    views = [
        lambda stream: stream,
        lambda stream: stream.windows(),
        lambda stream: stream.raw(),
        lambda stream: stream.ndjson(),
        lambda stream: stream.batches(rows=1),
    ]
    for view in views:
        async with Script(good, rest=bad) as server, client_of(server, window=1, border="exact") as client:
            days = "2024-01-01", "2024-01-03"
            stream = client.history(JOHN, *days) if single else client.histories([JOHN], *days)
            with pytest.raises(HistoryError) as caught:
                async for item in view(stream):
                    if getattr(item, "error", None):
                        raise item.error
            assert_redacted(shown(caught.value), JOHN)
    for read in ("collect", "to_arrow"):
        async with Script(good, rest=bad) as server, client_of(server, window=1, border="exact") as client:
            stream = client.history(JOHN, *days) if single else client.histories([JOHN], *days)
            with pytest.raises(HistoryError) as caught:
                await getattr(stream, read)()
            assert stream.stats.events == 1
            assert_redacted(shown(caught.value), JOHN)


async def test_data_are_never_redacted():
    """Rows, lines, tables and the values of profiles are what the program asked for."""
    response = http(json.dumps({"data": [ROW], "error": 0, "error_text": ""}).encode())
    async with Script(rest=response) as server, client_of(server) as client:
        ((profile, event),) = await client.histories([JOHN]).collect()
        assert (profile, event.email) == (JOHN, ADDRESS)
        assert {JOHN: 1}[profile] == 1
        (line,) = await client.histories([JOHN]).ndjson().collect()
        assert json.loads(line)["profile"] == str(JOHN)
        table = await client.history(JOHN).to_arrow()
        assert table["profile"].to_pylist() == [str(JOHN)]
        async for results, _ in client.read_units([Unit(JOHN, Window())]).unit_results(lambda window, _: [window]):
            assert [(result.unit.profile, str(result.unit)) for result in results] == [(JOHN, str(results[0].unit))]
            assert_redacted(repr(results[0].unit), JOHN)


async def test_copies_redact_as_their_original():
    """Whatever else they do otherwise."""
    async with Script(rest=http(b"no", status=400)) as server, client_of(server) as client:
        for twin in (client.with_options(order="oldest"), copy.copy(client)):
            assert twin.redacts_profiles
            with pytest.raises(UnexpectedPage, match=f"profile email:{HASH}"):
                await twin.history(JOHN).collect()
        assert not HistoryClient("https://history.example", token="t", list_id=20).redacts_profiles


def test_an_outage_that_quotes_another_window_quotes_its_hash():
    """The last failure stands in the text of `ServerUnavailable`."""

    async def fetch():
        faults = FaultPlan(rates={Fault.ERROR_503: 1.0}, streak=None)
        async with (
            HistoryServer(profiles=30, faults=faults) as server,
            server.client(redact_profiles=KEY) as client,
        ):
            profiles = server.profiles("email")
            with pytest.raises(ServerUnavailable) as caught:
                await client.histories(profiles).collect()
            return profiles, caught.value

    profiles, error = run_virtually(fetch())
    assert "The last failure: " in str(error)
    for profile in profiles:
        assert_redacted(shown(error), profile)


async def test_a_row_in_quarantine_is_told_without_the_address_in_its_reason(server):
    """Its bytes are data."""
    rows = [{"action": "open", "datetime": ADDRESS, "email": ADDRESS}]
    response = http(json.dumps({"data": rows, "error": 0, "error_text": ""}).encode())
    async with Script(rest=response) as script, client_of(script) as client:
        stream = client.history(JOHN)
        assert await stream.collect() == []
        (row,) = stream.quarantined
        assert_redacted(f"{row.reason} {row.profile}", JOHN)
        assert ADDRESS.encode() in row.raw


async def test_what_nobody_expects_is_logged_without_its_frames(caplog, monkeypatch):
    """They hold rows, and the text of somebody's error may quote one."""

    def fail(*_, **__):
        raise ValueError(f"what is {ADDRESS}")

    monkeypatch.setattr(type(EVENTS), "decode", fail)
    response = http(json.dumps({"data": [ROW], "error": 0, "error_text": ""}).encode())
    async with Script(rest=response) as server:
        for redact in (True, False):
            async with client_of(server, redact_profiles=redact) as client:
                reader = client.read_units([Unit(JOHN, Window())])
                ((results, _),) = [one async for one in reader.unit_results(lambda window, _: [window])]
            (record,) = caplog.records
            caplog.clear()
            assert "a window cannot be read: ValueError" in record.getMessage()
            assert (record.exc_info is None) == redact
            assert (ADDRESS in str(results[0].error)) != redact


def ways_of(character):
    """The ways in which a server may write one character, whatever it does to the next."""
    number, quoted = ord(character), "".join(f"%{byte:02X}" for byte in character.encode())
    return st.sampled_from(
        [character, character.lower(), character.upper(), quoted, quoted.lower(), quoted.replace("%", "%25"),
         html.escape(character), f"&#{number};", f"&#x{number:X};", json.dumps(character)[1:-1], f"\\u{number:04x}"]
    )  # fmt: skip


@given(before=st.text(), after=st.text(), profile=st.sampled_from(PROFILES), data=st.data())
def test_a_text_with_a_value_anywhere_in_it_is_redacted(before, after, profile, data):
    """However each character of it is spelled, and where the text was cut off behind a part of it."""
    redacted = Redactor(KEY).redact(profile)
    value = data.draw(st.sampled_from(secrets_of(profile)))
    spelled = [data.draw(ways_of(character)) for character in value]
    assert_redacted(redact_text(before + "".join(spelled) + after, redacted), profile)
    assert redact_text(f"({''.join(spelled)})", redacted) == f"({redacted.alias})"
    size = data.draw(st.integers(4, len(spelled) - 1))
    part = "".join(spelled[:size]) + (data.draw(st.sampled_from(["", "%", "%4", "&", "&#6", "\\", "\\u00"])))
    assert redact_text(f"({part}…", redacted) == f"({redacted.alias}…"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no +79001234567 here", "no +{} here"),
        ("no +7 (900) 123-45-67 here", "no +{} here"),
        ("no 8 900 123.45.67 here", "no 8 {} here"),
        ("no 9001234567 here", "no {} here"),
        ("phone=%2B7%20900%201234567", "phone=%2B{}"),
        ("no 7900123 here", "no 7900123 here"),
    ],
)
def test_a_phone_number_is_found_by_its_digits(text, left):
    """Servers write it in a form of their own, and may leave the code of the country out."""
    redacted = Redactor(KEY).redact(Profile.phone(NUMBER))
    assert redact_text(text, redacted) == left.format(redacted.alias)


def test_a_short_value_is_left_where_it_stands():
    """It may be part of any word or number."""
    redacted = Redactor(KEY).redact(Profile.custom("tier", 5))
    assert redact_text("HTTP 500, error 5", redacted) == "HTTP 500, error 5"


def test_only_texts_of_an_error_are_changed():
    """Its kind, its numbers and its window stay what they are."""
    redacted = Redactor(KEY).redact(JOHN)
    error = ApiError(400, f"{ADDRESS} is unknown", 400, kind=Kind.CALLER, retry_after=1.5)
    error.window, error.hint = Window(), f"not {ADDRESS}"
    redact_error(error, JOHN)
    assert ADDRESS in str(error)
    redact_error(error, redacted)
    assert_redacted(str(error) + repr(error.args), JOHN)
    assert (error.code, error.http_status, error.kind, error.retry_after) == (400, 400, Kind.CALLER, 1.5)
    assert type(error.kind) is Kind
    moved = UnexpectedRedirect(f"to {ADDRESS}", location=f"https://a.example/{ADDRESS}")
    moved.add_note(f"asked for {ADDRESS}")
    redact_error(moved, redacted)
    assert_redacted(str(moved) + moved.location + "".join(moved.__notes__), JOHN)
