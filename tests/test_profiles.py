"""A profile is named in one of twelve ways, checked when it is built, and read back from what it prints."""

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConfigurationError, Matching, Profile

XXH = "0eb51aefd919f90a"
JOHN, PHONE = "john@example.com", "+79000000000"

BODIES = [
    (Profile.xxh(XXH), {"xxh": XXH}),
    (Profile.email(JOHN), {"matching": "email", "email": JOHN}),
    (Profile.email_profile(JOHN), {"matching": "email_profile", "email": JOHN}),
    (Profile.email_sub(JOHN), {"matching": "email_sub", "email": JOHN}),
    (Profile.phone(PHONE), {"matching": "phone", "phone": PHONE}),
    (Profile.phone_sub(PHONE), {"matching": "phone_sub", "phone": PHONE}),
    (
        Profile.profile_id("66f66973096b3b454bbbccec"),
        {"matching": "profile_id", "profile_id": "66f66973096b3b454bbbccec"},
    ),
    (Profile.push_sub("Firefox", "a:b"), {"matching": "push_sub", "provider": "Firefox", "subscription_id": "a:b"}),
    (
        Profile.custom("CRM_ID", "example123"),
        {"matching": "custom", "field_name": "CRM_ID", "field_value": "example123"},
    ),
    (Profile.custom("CRM_ID", 0), {"matching": "custom", "field_name": "CRM_ID", "field_value": 0}),
    (Profile.custom_sub("tags", "a,b"), {"matching": "custom_sub", "field_name": "tags", "field_value": "a,b"}),
    (Profile.custom_sub("age", -7), {"matching": "custom_sub", "field_name": "age", "field_value": -7}),
    (Profile.email_phone(JOHN), {"matching": "email_phone", "email": JOHN}),
    (Profile.email_phone(phone=PHONE), {"matching": "email_phone", "phone": PHONE}),
    (Profile.email_phone(JOHN, PHONE), {"matching": "email_phone", "email": JOHN, "phone": PHONE}),
    (Profile.email_phone_sub(JOHN), {"matching": "email_phone_sub", "email": JOHN}),
    (Profile.email_phone_sub(phone=PHONE), {"matching": "email_phone_sub", "phone": PHONE}),
    (Profile.email_phone_sub(JOHN, PHONE), {"matching": "email_phone_sub", "email": JOHN, "phone": PHONE}),
]
PROFILES = [profile for profile, _ in BODIES]

EMAIL_MODES = (Profile.email, Profile.email_profile, Profile.email_sub, Profile.email_phone, Profile.email_phone_sub)
PHONE_MODES = (
    Profile.phone,
    Profile.phone_sub,
    lambda phone: Profile.email_phone(phone=phone),
    lambda phone: Profile.email_phone_sub(JOHN, phone),
)
CUSTOM_MODES = (Profile.custom, Profile.custom_sub)

# Every text field, alone in its constructor.
TEXT_FIELDS = [
    *(("email", build) for build in EMAIL_MODES),
    *(("phone", build) for build in PHONE_MODES),
    ("profile_id", Profile.profile_id),
    ("provider", lambda text: Profile.push_sub(text, "id")),
    ("subscription_id", lambda text: Profile.push_sub("Firefox", text)),
    *(("field_name", lambda text, build=build: build(text, 1)) for build in CUSTOM_MODES),
    *(("field_value", lambda text, build=build: build("name", text)) for build in CUSTOM_MODES),
]

PLAIN = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
TEXTS = st.text(PLAIN, min_size=1).filter(str.strip)
WORDS = st.text(PLAIN, min_size=1).filter(lambda text: not any(map(str.isspace, text)))
EMAILS = st.builds("{}@{}".format, WORDS, WORDS.filter(lambda text: "@" not in text))
PHONES = st.builds("{}{}".format, st.text("+0123456789 -()"), st.sampled_from("0123456789")).map(str.strip)


def emails_and_phones(build):
    """Profiles of one of the modes that take an address, a number, or both."""
    return st.builds(build, EMAILS) | st.builds(build, phone=PHONES) | st.builds(build, EMAILS, PHONES)


WRITTEN = {
    Matching.XXH: st.builds(Profile.xxh, st.text("0123456789abcdefABCDEF", min_size=16, max_size=16)),
    Matching.EMAIL: st.builds(Profile.email, EMAILS),
    Matching.EMAIL_PROFILE: st.builds(Profile.email_profile, EMAILS),
    Matching.EMAIL_SUB: st.builds(Profile.email_sub, EMAILS),
    Matching.PHONE: st.builds(Profile.phone, PHONES),
    Matching.PHONE_SUB: st.builds(Profile.phone_sub, PHONES),
    Matching.PROFILE_ID: st.builds(Profile.profile_id, TEXTS),
    Matching.PUSH_SUB: st.builds(Profile.push_sub, TEXTS.filter(lambda name: ":" not in name), TEXTS),
    Matching.CUSTOM: st.builds(Profile.custom, TEXTS.filter(lambda name: "=" not in name), TEXTS),
    Matching.CUSTOM_SUB: st.builds(Profile.custom_sub, TEXTS.filter(lambda name: "=" not in name), TEXTS),
    Matching.EMAIL_PHONE: emails_and_phones(Profile.email_phone),
    Matching.EMAIL_PHONE_SUB: emails_and_phones(Profile.email_phone_sub),
}


def read_back(profile):
    """The profile that `parse` makes of what the other prints after its first colon."""
    matching, _, text = str(profile).partition(":")
    return Profile.parse(matching, text)


def refusal(build, *values):
    """The message with which a constructor refuses the values."""
    with pytest.raises(ConfigurationError) as refused:
        build(*values)
    return str(refused.value)


@pytest.mark.parametrize(("profile", "body"), BODIES, ids=str)
def test_the_request_body_holds_exactly_what_the_mode_needs(profile, body):
    """The fields are the vendor's, `matching` stands next to them, and `xxh` goes without it."""
    assert profile.body() == body
    assert all(type(value) in (str, int) for value in profile.body().values())


def test_there_is_one_constructor_for_each_mode():
    """The table of bodies covers all twelve modes."""
    assert {profile.matching for profile in PROFILES} == set(Matching) == set(WRITTEN)
    assert len(Matching) == 12


@pytest.mark.parametrize(("name", "build"), TEXT_FIELDS)
@pytest.mark.parametrize("value", ["", " ", "\n\t", "\u00a0"])
def test_an_empty_or_blank_value_is_refused(name, build, value):
    """The message names the field and asks for a value."""
    assert refusal(build, value) == f"{name} is empty; pass a value"


@pytest.mark.parametrize(("name", "build"), TEXT_FIELDS)
@pytest.mark.parametrize("bad", ["\x00", "\n", "\x1f", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", chr(0xDFFF)])
def test_a_control_character_or_half_of_a_surrogate_pair_is_refused(name, build, bad):
    """Neither can be part of a name, and the message can be printed on any terminal."""
    message = refusal(build, f"john{bad}1@example.com")
    assert message.startswith(f"{name} holds a control character or half of a surrogate pair")
    assert message.isprintable()


@pytest.mark.parametrize(("name", "build"), TEXT_FIELDS)
@pytest.mark.parametrize("value", [True, 1.5, b"john@example.com", ["john@example.com"], Matching])
def test_a_value_of_another_type_is_refused(name, build, value):
    """A bool is no whole number, and bytes are no text; the message says which kinds are taken."""
    kinds = "a text or a whole number" if name == "field_value" else "a text"
    assert refusal(build, value) == f"{name} is {kinds}, not {value!r}"


@pytest.mark.parametrize(
    ("name", "build"), [field for field in TEXT_FIELDS if field[0] not in {"field_value", "email", "phone"}]
)
@pytest.mark.parametrize("value", [None, 5])
def test_a_number_or_nothing_is_refused_where_a_text_belongs(name, build, value):
    """Only a field's value may be a whole number."""
    assert refusal(build, value) == f"{name} is a text, not {value!r}"


@pytest.mark.parametrize("value", ["", XXH[1:], XXH + "0", "g" + XXH[1:], f" {XXH}", f"{XXH}\n", "٠" * 16, None, 14])
def test_an_xxh_of_anything_but_16_hexadecimal_digits_is_refused(value):
    """The message shows the right form and the wrong value."""
    assert refusal(Profile.xxh, value) == f"xxh is 16 hexadecimal digits, such as {XXH}, not {value!r}"


@pytest.mark.parametrize("build", EMAIL_MODES)
@pytest.mark.parametrize("value", ["john", "john@", "@example.com", "@", "john smith@example.com", f"{JOHN} "])
def test_an_email_that_is_no_address_is_refused(build, value):
    """The message shows the right form and the wrong value."""
    assert refusal(build, value) == f"email is an address such as {JOHN}, not {value!r}"


@pytest.mark.parametrize("build", PHONE_MODES)
@pytest.mark.parametrize("value", ["+", "john", "()-"])
def test_a_phone_without_a_digit_is_refused(build, value):
    """The message shows the right form and the wrong value."""
    assert refusal(build, value) == f"phone is a number such as {PHONE}, not {value!r}"


@pytest.mark.parametrize("mode", ["email_phone", "email_phone_sub"])
def test_an_address_or_a_number_is_needed_where_either_will_do(mode):
    """Nothing at all is refused, and the message says what to pass."""
    message = f"{mode} takes an email, a phone, or both; pass at least one"
    assert refusal(getattr(Profile, mode)) == message
    assert refusal(Profile.parse, mode, ",") == message
    assert refusal(Profile.parse, mode, " , ") == message


@pytest.mark.parametrize("matching", list(Matching))
@given(data=st.data())
def test_a_profile_is_read_back_from_what_it_prints(matching, data):
    """Every mode's printed form is the form a command line or a file holds."""
    profile = data.draw(WRITTEN[matching])
    assert str(profile).startswith(f"{matching.value}:")
    assert read_back(profile) == profile


@given(build=st.sampled_from(CUSTOM_MODES), value=st.integers(-(2**63), 2**64 - 1))
def test_a_whole_number_is_read_back_as_its_text(build, value):
    """A line of text cannot tell 5 from "5", and the API takes either."""
    assert read_back(build("CRM_ID", value)) == build("CRM_ID", str(value))


@pytest.mark.parametrize(
    ("name", "build", "value"),
    [
        ("provider", lambda text: Profile.push_sub(text, "c"), "a:b"),
        ("field_name", lambda text: Profile.custom(text, "c"), "a=b"),
        ("field_name", lambda text: Profile.custom_sub(text, 5), "a=b"),
        *(("phone", build, f"{PHONE},{PHONE}") for build in PHONE_MODES),
        *(("phone", build, f" {PHONE}") for build in PHONE_MODES),
        *(("phone", build, f"{PHONE}\u00a0") for build in PHONE_MODES),
    ],
)
def test_a_value_whose_printed_form_would_name_another_profile_is_refused(name, build, value):
    """A ledger or a file never leads to the history of somebody else."""
    message = refusal(build, value)
    assert message.startswith(name)
    assert repr(value) in message


@pytest.mark.parametrize(
    ("matching", "text", "message"),
    [
        ("push_sub", "Firefox", "push_sub takes PROVIDER:SUBSCRIPTION_ID, not 'Firefox'"),
        ("push_sub", ":id", "provider is empty; pass a value"),
        ("push_sub", "Firefox:", "subscription_id is empty; pass a value"),
        ("custom", "CRM_ID", "custom takes FIELD_NAME=FIELD_VALUE, not 'CRM_ID'"),
        ("custom", "=5", "field_name is empty; pass a value"),
        ("custom_sub", "CRM_ID", "custom_sub takes FIELD_NAME=FIELD_VALUE, not 'CRM_ID'"),
        ("custom_sub", "CRM_ID=", "field_value is empty; pass a value"),
        ("email_phone", JOHN, f"email_phone takes EMAIL,PHONE, not '{JOHN}'"),
        ("email_phone_sub", PHONE, f"email_phone_sub takes EMAIL,PHONE, not '{PHONE}'"),
        ("email_phone_sub", f"john,{PHONE}", f"email is an address such as {JOHN}, not 'john'"),
        ("email", "", "email is empty; pass a value"),
        ("email", None, "email is a text, not None"),
        ("xxh", JOHN, f"xxh is 16 hexadecimal digits, such as {XXH}, not '{JOHN}'"),
        ("name", JOHN, f"no matching mode 'name'; there are {', '.join(Matching)}"),
        (None, JOHN, f"no matching mode None; there are {', '.join(Matching)}"),
    ],
)
def test_a_text_that_does_not_fit_its_mode_is_refused(matching, text, message):
    """The message names the mode or the field, and the form it takes."""
    assert refusal(Profile.parse, matching, text) == message


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_profile_is_a_value(profile):
    """It equals its like, is a key of mappings, crosses process borders, and does not change."""
    twin = pickle.loads(pickle.dumps(profile))
    assert twin is not profile
    assert twin == profile
    assert hash(twin) == hash(profile)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        profile.matching = Matching.XXH


def test_profiles_of_different_modes_or_values_differ():
    """The same address looked up in two ways is two profiles."""
    assert len(set(PROFILES)) == len(PROFILES)


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_the_repr_is_the_call_that_builds_the_profile(profile):
    """What a log shows can be pasted into Python."""
    assert repr(profile).startswith(f"Profile.{profile.matching.value}(")
    assert eval(repr(profile)) == profile
