"""A ledger keeps profiles as text, and gets equal profiles back."""

import datetime as dt
import json
import uuid
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.written_profiles import EACH_MODE, JOHN, PHONE, PROFILES, WRITTEN, XXH

from profile_history import ConfigurationError, Matching, Profile
from profile_history.jobs import profile_text
from profile_history.jobs.profile_cells import clean_text
from profile_history.jobs.profile_text import (
    build_profile,
    profile_of,
    profile_of_words,
    read_printed,
    read_value,
    text_of,
    words_of,
)


@pytest.mark.parametrize("matching", list(Matching))
@EACH_MODE
@given(data=st.data())
def test_a_profile_of_every_mode_comes_back_equal(matching, data):
    """Whatever the values are, and it is the readable form as long as no whole number is lost by it."""
    profile = data.draw(WRITTEN[matching])
    assert text_of(profile) == str(profile)
    assert profile_of(text_of(profile)) == profile


@given(build=st.sampled_from([Profile.custom, Profile.custom_sub]), value=st.integers(-(2**63), 2**64 - 1))
@example(build=Profile.custom, value=2**64 - 1)
def test_a_whole_number_in_a_custom_field_stays_one(build, value):
    """5 and "5" are two profiles, and both come back as they were."""
    number, text = build("CRM_ID", value), build("CRM_ID", str(value))
    assert text_of(number) != text_of(text)
    assert type(profile_of(text_of(number)).fields[1][1]) is int
    assert (profile_of(text_of(number)), profile_of(text_of(text))) == (number, text)


def test_two_profiles_never_share_a_text():
    """A text can stand for the profile where duplicates are told apart."""
    assert len({text_of(profile) for profile in PROFILES}) == len(PROFILES)
    assert all("\n" not in text_of(profile) for profile in PROFILES)


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_request_body_names_its_profile(profile):
    """The API's own words are read, as JSON text and as words; keys of other things are passed over."""
    assert profile_of(json.dumps(profile.body())) == profile
    assert profile_of_words({**profile.body(), "list_id": 20}) == profile


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (JOHN, "a profile is written MATCHING:VALUE, such as email:john@example.com, not 'john@example.com'"),
        ("fax:1", "no matching mode 'fax'; there are xxh, email"),
        ("email:john", "email is an address such as"),
        ("{", "it is no JSON: "),
        ("{" + '"a":[' * 100_000, "it is no JSON: "),
        ('{"email": "john@example.com"}', '"matching" is missing; name the mode, such as "matching": "email"'),
        ('{"matching": 5}', "no matching mode '5'"),
        ('{"matching": []}', "matching is a text or a whole number, not []"),
        ('{"matching": "push_sub", "provider": "a"}', "subscription_id is missing; push_sub takes provider and subsc"),
        ('{"matching": "email_phone", "phone": null}', "email_phone takes an email, a phone, or both"),
        ('{"matching": "email", "email": 1.5}', "email is a text or a whole number, not 1.5"),
        ('{"matching": "custom", "field_name": "a", "field_value": true}', "field_value is a text or a whole number"),
    ],
)
def test_a_text_that_names_no_profile_is_refused(text, complaint):
    """The message says what is wrong with it."""
    with pytest.raises(ConfigurationError) as refused:
        read_printed(text)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize("text", [b'{"xxh": "\xff"}', b'{"\xed\xa0\x80": 1}', b'"\xc3', '{"xxh": "\ud800"}'])
def test_a_json_text_that_is_no_utf8_is_told_without_the_library(text, monkeypatch):
    """Versions of msgspec differ in the error that they raise for it, and some read past it."""
    # Stands for other versions of msgspec.
    monkeypatch.setattr(profile_text, "_decode", lambda _: {"xxh": "0eb51aefd919f90a"})
    with pytest.raises(ConfigurationError) as refused:
        words_of(text)
    assert str(refused.value) == "it is no UTF-8"


@pytest.mark.parametrize(
    "error",
    [
        msgspec.DecodeError("Invalid UTF-8 encoded string"),
        msgspec.ValidationError("Expected `object`"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError("JSON is malformed"),
        RecursionError("maximum recursion depth exceeded"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_json_text_is_refused_whatever_the_library_raises(error, monkeypatch):
    """A later version of msgspec may well choose another of these."""

    def fail(_):
        raise error

    # Stands for other versions of msgspec.
    monkeypatch.setattr(profile_text, "_decode", fail)
    with pytest.raises(ConfigurationError) as refused:
        words_of("{}")
    assert str(refused.value) == f"it is no JSON: {error}"


@pytest.mark.parametrize(
    "text",
    [
        JOHN,
        "fax:1",
        "email:",
        "push_sub:Firefox",
        "push_sub::id",
        "email_phone:,",
        "{",
        '{"matching": "fax"}',
        '{"matching": "custom", "field_name": "a"}',
        '{"matching": "custom", "field_name": "a", "field_value": []}',
    ],
)
def test_a_text_that_no_profile_was_written_as_is_refused(text):
    """Such as that of a ledger that somebody has edited."""
    with pytest.raises(ConfigurationError):
        profile_of(text)


@pytest.mark.parametrize(
    "text",
    [
        f"xxh:{XXH.upper()}",
        f"email:{JOHN};",
        f"email:<{JOHN}>",
        f"email:\u200b{JOHN}\u200e",
        f"email:mailto:{JOHN}",
        "email:a@x.ru;b@y.ru",
        "phone:7.9E+10",
        "phone:john7@example.com",
        "profile_id: 66f6 ",
        "push_sub: Firefox:a;",
        "custom: CRM_ID= 5 ",
        f"email_phone:{JOHN};,7.9E+10",
        "email_phone:,john7@example.com",
        '{"matching":"custom","field_name":" a ","field_value":5}',
    ],
)
def test_what_an_older_version_took_comes_back_as_it_was(text):
    """A ledger is never read with the eyes of a later version: it would name other profiles than were fetched."""
    assert text_of(profile_of(text)) == text
    assert profile_of("xxh:ABC;").body() == {"xxh": "ABC;"}


@pytest.mark.parametrize("matching", list(Matching))
@EACH_MODE
@given(data=st.data())
def test_cleaning_twice_is_cleaning_once(matching, data):
    """What a source has made of a text, it takes again, and leaves as it is; so does the constructor."""
    value = str(data.draw(WRITTEN[matching])).partition(":")[2]
    wrap = data.draw(
        st.sampled_from(['"{}"', "'{}'", "<{}>", "“{}”", "«{}»", "mailto:{}", "tel:{}", " {}\u200b ", "{}.0"])
    )
    try:
        profile = read_value(matching, wrap.format(value))
    except ConfigurationError:
        return
    assert read_value(matching, str(profile).partition(":")[2]) == profile
    assert Profile.parse(matching, str(profile).partition(":")[2]) == profile


@given(name=st.sampled_from(["email", "phone", "profile_id", "xxh", "provider", "field_value"]), text=st.text())
@example(name="email", text='""a@b.c""')
@example(name="email", text='"mailto:<a@b.c>"')
@example(name="email", text="mailto:mailto:a@b.c")
@example(name="phone", text="'tel:''1.0''")
def test_cleaning_any_text_is_idempotent(name, text):
    """Also one that no constructor takes."""
    assert clean_text(name, clean_text(name, text)) == clean_text(name, text)


@pytest.mark.parametrize(
    ("matching", "text", "profile"),
    [
        *(
            ("email", wrap.format(JOHN), Profile.email(JOHN))
            for wrap in (
                '"{}"',
                "'{}'",
                "“{}”",
                "„{}“",
                "‘{}’",
                "«{}»",
                "‹{}›",
                "<{}>",
                "< {} >",
                "mailto:{}",
                "MailTo: {}",
                "<mailto:{}>",
                "\ufeff{}",
                " \u200b{}\u200e\u00a0",
                "\u2068{}\u2069",
                "\t{}\r",
            )
        ),
        ("email", '"a b"@x.ru', Profile.email('"a b"@x.ru')),
        ("phone", "tel:+7-999", Profile.phone("+7-999")),
        ("phone", '"79991234567.0"', Profile.phone("79991234567")),
        ("phone", "\u202a+79991234567\u202c", Profile.phone("+79991234567")),
        ("profile_id", "12.0", Profile.profile_id("12")),
        ("profile_id", "0012", Profile.profile_id("0012")),
        ("xxh", f'"{XXH.upper()}"', Profile.xxh(XXH)),
        ("push_sub", '"Firefox:a:b"', Profile.push_sub("Firefox", "a:b")),
        ("push_sub", " Firefox : a ", Profile.push_sub("Firefox", "a")),
        ("email_phone", f'"{JOHN}","{PHONE}"', Profile.email_phone(JOHN, PHONE)),
        ("email_phone", f'"{JOHN},{PHONE}"', Profile.email_phone(JOHN, PHONE)),
        ("email_phone", f"mailto:{JOHN}, tel:{PHONE}", Profile.email_phone(JOHN, PHONE)),
        ("email_phone", f"\u200b,{PHONE}", Profile.email_phone(phone=PHONE)),
        ("email_phone", f"{JOHN},", Profile.email_phone(JOHN)),
        ("custom", ' A =" 5.0 "\u200b', Profile.custom("A", '" 5.0 "\u200b')),
    ],
)
def test_what_stands_around_a_value_is_cleaned_off_by_a_source(matching, text, profile):
    """Quotes of many countries, schemes, marks, blanks, and the end of a float; but nothing of a custom value."""
    assert read_value(Matching(matching), text) == profile


@pytest.mark.parametrize(
    "text", [f'""{JOHN}""', f'"<{JOHN}>"', f"mailto:mailto:{JOHN}", f'mailto:"{JOHN}"', f"\"{JOHN}'"]
)
def test_what_stands_around_a_value_twice_is_refused(text):
    """One pair is a habit of programs, two are a mistake in a file."""
    with pytest.raises(ConfigurationError):
        read_value(Matching.EMAIL, text)


def test_words_without_a_mode_take_the_one_that_is_given():
    """And xxh is the mode that the API itself does not name."""
    assert profile_of_words({"email": JOHN}, Matching.EMAIL_SUB) == Profile.email_sub(JOHN)
    assert profile_of_words({"xxh": XXH}) == Profile.xxh(XXH)


def test_values_of_a_database_are_written_out():
    """A number of a phone column, an id of type UUID and bytes in UTF-8 are texts all the same."""
    some = uuid.UUID(int=5)
    assert build_profile(Matching.PHONE, 79000000000) == Profile.phone("79000000000")
    assert build_profile(Matching.PROFILE_ID, some) == Profile.profile_id(str(some))
    assert build_profile(Matching.EMAIL, JOHN.encode()) == Profile.email(JOHN)
    assert build_profile(Matching.EMAIL_PHONE, None, PHONE) == Profile.email_phone(phone=PHONE)
    assert build_profile(Matching.CUSTOM, "CRM_ID", some) == Profile.custom("CRM_ID", str(some))
    assert build_profile(Matching.PHONE, 79991234567.0) == Profile.phone("79991234567")
    assert build_profile(Matching.PHONE, Decimal("79991234567.00")) == Profile.phone("79991234567")
    assert build_profile(Matching.PROFILE_ID, Decimal(10**19)) == Profile.profile_id("1" + "0" * 19)
    assert build_profile(Matching.PROFILE_ID, memoryview(b" 0012 ")) == Profile.profile_id("0012")
    assert build_profile(Matching.EMAIL, bytearray(f"{JOHN}      ".encode())) == Profile.email(JOHN)
    for nothing in (float("nan"), Decimal("nan"), Decimal("sNaN"), " ", None):
        assert build_profile(Matching.EMAIL_PHONE, JOHN, nothing) == Profile.email_phone(JOHN)
    for number in (5.0, Decimal(5), 5):
        assert build_profile(Matching.CUSTOM, "A", number).body()["field_value"] == 5
    assert build_profile(Matching.CUSTOM, "A", " 5.0 ") == Profile.custom("A", " 5.0 ")
    with pytest.raises(ConfigurationError, match=r"email is no UTF-8: b'\\xff@"):
        build_profile(Matching.EMAIL, b"\xff@example.com")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (1.5, "phone is a text or a whole number, not 1.5"),
        (Decimal("1.5"), "phone is a text or a whole number, not Decimal"),
        (float("inf"), "phone is a text or a whole number, not inf"),
        (Decimal("-Infinity"), "phone is a text or a whole number, not Decimal"),
        (1e16, "phone is the float 1e+16, of which the last digits are lost; store it as text or as an integer"),
        (10**1000, "phone is a number of more than 100 digits"),
        (Decimal("1E+5000"), "phone is a number of more than 100 digits"),
        (True, "phone is a text or a whole number, not True"),
        (dt.date(2024, 1, 1), "phone is a text or a whole number, not datetime.date"),
        (b"\xff", "phone is no UTF-8: b'"),
    ],
)
def test_a_typed_value_that_is_neither_text_nor_whole_number_is_refused(value, complaint):
    """And so is one that has lost digits."""
    with pytest.raises(ConfigurationError) as refused:
        build_profile(Matching.PHONE, value)
    assert str(refused.value).startswith(complaint)
