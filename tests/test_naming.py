"""A ledger keeps profiles as text, and gets equal profiles back."""

import json
import uuid

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_profiles import JOHN, PHONE, PROFILES, WRITTEN, XXH

from profile_history import ConfigurationError, Matching, Profile
from profile_history.jobs import naming
from profile_history.jobs.naming import built, profile_of, profile_of_words, text_of, words_of


@pytest.mark.parametrize("matching", list(Matching))
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
        profile_of(text)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize("text", [b'{"xxh": "\xff"}', b'{"\xed\xa0\x80": 1}', b'"\xc3', '{"xxh": "\ud800"}'])
def test_a_json_text_that_is_no_utf8_is_told_without_the_library(text, monkeypatch):
    """Versions of msgspec differ in the error that they raise for it, and some read past it."""
    monkeypatch.setattr(naming, "_decode", lambda _: {"xxh": "0eb51aefd919f90a"})
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

    monkeypatch.setattr(naming, "_decode", fail)
    with pytest.raises(ConfigurationError) as refused:
        words_of("{}")
    assert str(refused.value) == f"it is no JSON: {error}"


def test_words_without_a_mode_take_the_one_that_is_given():
    """And xxh is the mode that the API itself does not name."""
    assert profile_of_words({"email": JOHN}, Matching.EMAIL_SUB) == Profile.email_sub(JOHN)
    assert profile_of_words({"xxh": XXH}) == Profile.xxh(XXH)


def test_values_of_a_database_are_written_out():
    """A number of a phone column, an id of type UUID and bytes in UTF-8 are texts all the same."""
    some = uuid.UUID(int=5)
    assert built(Matching.PHONE, 79000000000) == Profile.phone("79000000000")
    assert built(Matching.PROFILE_ID, some) == Profile.profile_id(str(some))
    assert built(Matching.EMAIL, JOHN.encode()) == Profile.email(JOHN)
    assert built(Matching.EMAIL_PHONE, None, PHONE) == Profile.email_phone(phone=PHONE)
    assert built(Matching.CUSTOM, "CRM_ID", some) == Profile.custom("CRM_ID", str(some))
    with pytest.raises(ConfigurationError, match=r"email is no UTF-8: b'\\xff@"):
        built(Matching.EMAIL, b"\xff@example.com")
