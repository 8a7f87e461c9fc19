"""A profile is named in one of twelve ways, checked when it is built, and read back from what it prints."""

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.written_profiles import (
    BODIES,
    CUSTOM_MODES,
    EACH_MODE,
    EMAIL_MODES,
    JOHN,
    ODD,
    PHONE,
    PHONE_MODES,
    PROFILES,
    TEXT_FIELDS,
    TEXTS,
    WRITTEN,
    XXH,
    read_back,
    refusal,
)

from profile_history import ConfigurationError, Matching, Profile


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


@pytest.mark.parametrize("value", ["", XXH[1:], XXH + "0", "g" + XXH[1:], f"0 {XXH[2:]}", "٠" * 16, None, 14])
def test_an_xxh_of_anything_but_16_hexadecimal_digits_is_refused(value):
    """The message shows the right form and the wrong value."""
    assert refusal(Profile.xxh, value) == f"xxh is 16 hexadecimal digits, such as {XXH}, not {value!r}"


@pytest.mark.parametrize("build", EMAIL_MODES)
@pytest.mark.parametrize(
    "value",
    ["john", "john@", "@example.com", "@", "john smith@example.com", f"{JOHN} x", "a\u00a0b@x.ru", "john＠x.ru"],
)
def test_an_email_that_is_no_address_is_refused(build, value):
    """The message shows the right form and the wrong value."""
    assert refusal(build, value) == f"email is an address such as {JOHN}, not {value!r}"


@pytest.mark.parametrize("build", EMAIL_MODES)
@pytest.mark.parametrize("value", ODD)
def test_an_odd_address_that_somebody_may_have_passes(build, value):
    """It goes out as it is."""
    assert build(value).body()["email"] == value


@pytest.mark.parametrize("build", EMAIL_MODES)
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (f"{JOHN};", "email ends with ';', which is no part of it: "),
        (f"{JOHN},", "email ends with ',', which is no part of it: "),
        (f'"{JOHN}"', 'email stands in " ", which are no part of it: '),
        (f"'{JOHN}'", "email stands in ' ', which are no part of it: "),
        (f"<{JOHN}>", "email stands in < >, which are no part of it: "),
        (f"“{JOHN}”", "email stands in “ ”, which are no part of it: "),
        (f"„{JOHN}“", "email stands in „ “, which are no part of it: "),
        (f"‘{JOHN}’", "email stands in ‘ ’, which are no part of it: "),
        (f"«{JOHN}»", "email stands in « », which are no part of it: "),
        (f"mailto:{JOHN}", "email holds ':', which no address holds outside of quotes: "),
        (f"John<{JOHN}>", "email holds '<', which no address holds outside of quotes: "),
        (f"1;{JOHN}", "email holds ';', which no address holds outside of quotes: "),
        (f"Anna,{JOHN}", "email holds ',', which no address holds outside of quotes: "),
        (f"{JOHN};jane@x.ru", "email holds more than one '@', and takes one address: "),
        (f"{JOHN},jane@x.ru", "email holds more than one '@', and takes one address: "),
        ("john@@example.com", "email holds more than one '@', and takes one address: "),
        (f"'{JOHN}", "email holds a quote or bracket that is no part of it: "),
        (f"«{JOHN}", "email holds a quote or bracket that is no part of it: "),
        (f"x»{JOHN}", "email holds a quote or bracket that is no part of it: "),
        (f"{JOHN}'", "email has no host name behind its '@': "),
        (f"{JOHN}|Anna", "email has no host name behind its '@': "),
        (f"{JOHN};Anna", "email has no host name behind its '@': "),
        (f"{JOHN}?subject=x", "email has no host name behind its '@': "),
        (f"{JOHN}；", "email has no host name behind its '@': "),
        ("john@.ru", "email has no host name behind its '@': "),
        ("john@пример..рф", "email has no host name behind its '@': "),
        ("john@。", "email has no host name behind its '@': "),
        ("jos\ufffd@example.com", "email holds a character that is not seen, or was lost in decoding: "),
        ("john\u3164@example.com", "email holds a character that is not seen, or was lost in decoding: "),
    ],
)
def test_an_email_that_cannot_be_right_is_refused(build, value, complaint):
    """What spreadsheets, mail programs and wrong delimiters leave; the message says what it is, and shows the value."""
    message = refusal(build, value)
    assert message.startswith(complaint)
    assert message[len(complaint) :] in (repr(value), ascii(value))


@pytest.mark.parametrize("build", PHONE_MODES)
@pytest.mark.parametrize(
    "value",
    [
        "+7 (999) 123-45-67",
        "8(800)555 35 35 доб. 123",
        "+49 30/123456 ext 5",
        "06.12.34.56.78",
        "+7\u00a0999\u2011123\u201345\u201467",
        "0012",
        "112",
    ],
)
def test_a_phone_goes_out_as_it_is_grouped(build, value):
    """How numbers are compared is for the server to say."""
    assert build(value).body()["phone"] == value


@pytest.mark.parametrize("build", PHONE_MODES)
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("7.9E+10", "phone is written with an exponent, '7.9E+10', so digits of it may be lost"),
        ("7,9E+10", "phone is written with an exponent, '7,9E+10', so digits of it may be lost"),
        ("+7.9991e10", "phone is written with an exponent, "),
        ("7E+10", "phone is written with an exponent, "),
        ("john7@example.com", "phone holds '@', as an address does: 'john7@example.com'"),
        (f"{PHONE};", f"phone ends with ';', which is no part of it: '{PHONE};'"),
        (f"{PHONE},", f"phone ends with ',', which is no part of it: '{PHONE},'"),
        (f'"{PHONE}"', "phone stands in "),
        ("79991234567.0", "phone has decimals: '79991234567.0'; keep phone numbers as text or as whole numbers"),
        ("79991234567.5", "phone has decimals: "),
        (f"tel:{PHONE}", "phone is a number such as "),
        (f"'{PHONE}", "phone is a number such as "),
        (f'="{PHONE}"', "phone is a number such as "),
        (f"{PHONE};Anna", "phone is a number such as "),
        (f"{PHONE}|Anna", "phone is a number such as "),
        ("Anna 5", "phone is a number such as "),
        (XXH, "phone is a number such as "),
        ("+７９９９１２３４５６７", "phone is a number such as "),
        ("+7\ufffd999", "phone holds a character that is not seen, or was lost in decoding: "),
    ],
)
def test_a_phone_that_cannot_be_right_is_refused(build, value, complaint):
    """Nor do words of other columns leave the machine as one."""
    assert refusal(build, value).startswith(complaint)


@pytest.mark.parametrize("build", [Profile.profile_id, lambda text: Profile.push_sub("Firefox", text)])
@pytest.mark.parametrize("value", ["abc;", "abc,", '"abc"', "<abc>", "a\ufffdbc", "6.6E+23", "6E+23"])
def test_an_id_that_cannot_be_right_is_refused(build, value):
    """But one that looks like an exponent to a spreadsheet only is an id."""
    assert "id " in refusal(build, value)
    assert build("66e669730960301450001112")


@pytest.mark.parametrize(("name", "build"), [field for field in TEXT_FIELDS if field[0] != "field_value"])
@EACH_MODE
@given(data=st.data())
def test_constructors_drop_format_marks_and_outer_blanks_and_nothing_else(name, build, data):
    """Zero-width characters, marks of direction, soft hyphens and a byte order mark, wherever they stand."""
    value = {"email": JOHN, "phone": PHONE}.get(name, "word")
    marks = st.text("\u200b\u200e\u202a\u2060\u2066\ufeff\u00ad", max_size=3)
    blanks = st.text(" \t\r\n\u00a0\u2009\u3000\u0085\u2028", max_size=3)
    drawn = [data.draw(marks) for _ in value]
    messy = "".join(mark + character for mark, character in zip(drawn, value, strict=True))
    assert build(data.draw(blanks) + data.draw(marks) + messy + data.draw(blanks)) == build(value)


def test_an_xxh_is_put_into_lower_case():
    """So that one profile is one, however its hash is written."""
    assert Profile.xxh(f" {XXH.upper()}\n") == Profile.xxh(XXH)


@given(build=st.sampled_from(CUSTOM_MODES), value=TEXTS)
def test_the_value_of_a_custom_field_is_never_cleaned(build, value):
    """Blanks, marks and quotes may be part of it."""
    for kept in (value, f" {value} ", f"\ufeff{value}", f'"{value}"', f"{value};"):
        assert build("CRM_ID", kept).body()["field_value"] == kept
        assert Profile.parse("custom", f"CRM_ID={kept}").body()["field_value"] == kept


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
@EACH_MODE
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


@pytest.mark.parametrize("make", [Profile.xxh, Profile.email, Profile.phone, Profile.profile_id])
def test_a_number_too_long_to_be_written_is_refused_like_any_other(make):
    """Python writes no whole number of more than 4,300 digits, and the message must not stumble over it."""
    with pytest.raises(ConfigurationError, match="not a value of the class int"):
        make(10**5000)
