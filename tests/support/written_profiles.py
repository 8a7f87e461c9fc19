"""Helpers of the tests of written profiles."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from profile_history import ConfigurationError, Matching, Profile

# For a property of each of a dozen modes, which have most of their code in common.
EACH_MODE = settings(max_examples=settings.default.max_examples // 4)


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


NAMES = st.text(st.characters(exclude_categories=["C", "Z", "P"]) | st.sampled_from("+-._'!#$%&*/=?^`{|}~"), min_size=1)


HOSTS = st.from_regex(r"[a-z0-9_-]{1,9}(\.[\w-]{1,9}){0,3}", fullmatch=True)


EMAILS = st.builds("{}@{}".format, NAMES | NAMES.map('"a, {}; <b>"'.format), HOSTS)


PHONES = st.builds("{}{}".format, st.text("+0123456789 -()"), st.sampled_from("0123456789")).map(str.strip)


def accepted(build, *values):
    """Profiles of a constructor, of all values that it takes."""

    def attempt(*drawn):
        try:
            return build(*drawn)
        except ConfigurationError:
            return None

    return st.builds(attempt, *values).filter(bool)


def emails_and_phones(build):
    """Profiles of one of the modes that take an address, a number, or both."""
    return (
        accepted(build, EMAILS) | accepted(lambda phone: build(phone=phone), PHONES) | accepted(build, EMAILS, PHONES)
    )


WRITTEN = {
    Matching.XXH: st.builds(Profile.xxh, st.text("0123456789abcdefABCDEF", min_size=16, max_size=16)),
    Matching.EMAIL: accepted(Profile.email, EMAILS),
    Matching.EMAIL_PROFILE: accepted(Profile.email_profile, EMAILS),
    Matching.EMAIL_SUB: accepted(Profile.email_sub, EMAILS),
    Matching.PHONE: accepted(Profile.phone, PHONES),
    Matching.PHONE_SUB: accepted(Profile.phone_sub, PHONES),
    Matching.PROFILE_ID: accepted(Profile.profile_id, TEXTS),
    Matching.PUSH_SUB: accepted(Profile.push_sub, TEXTS, TEXTS),
    Matching.CUSTOM: accepted(Profile.custom, TEXTS, TEXTS),
    Matching.CUSTOM_SUB: accepted(Profile.custom_sub, TEXTS, TEXTS),
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


ODD = [
    "plus+tag@example.com",
    "o'brien@example.com",
    '"a b"@x.ru',
    '"a@b; <c>, \\"d"@x.ru',
    "#a@b.c",
    "!def!xyz%abc=1/2?3@example.com",
    "a..b.@docomo.ne.jp",
    "почта@пример.рф",
    "व@उदाहरण.भारत",
    "x@例え。テスト",
    "x@l·l.cat",
    "x@💩.la",
    "x@[192.168.0.1]",
    "x@[IPv6:::1]",
    "root@localhost",
    "x@a_b.example.com.",
    "o’brien@example.com",
]
