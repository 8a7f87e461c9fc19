"""The numbers that the API and HTTP have for errors, and what each of them means. No I/O."""

from __future__ import annotations

from enum import StrEnum

import attrs

from profile_history.errors import Kind

# Of any other kind nobody knows that a repetition helps, so there is none.
RETRIED_KINDS = frozenset({Kind.TRANSIENT, Kind.THROTTLED, Kind.AMBIGUOUS})


class Split(StrEnum):
    """The condition under which a failed window is halved.

    Attributes:
        NEVER: Fewer days would not help.
        API: If the API itself says so, in its envelope; a proxy's limit is about the request, which is always short.
        ALWAYS: Whoever says so.
    """

    NEVER = "no"
    API = "if the API says so"
    ALWAYS = "yes"


@attrs.frozen
class ErrorRule:
    """The meaning of one number, as the `error` of a response or as its HTTP status.

    Attributes:
        number: The code or status.
        kind: What kind of failure it is.
        as_code: Whether it is known as a value of `error`.
        as_status: Whether it is known as an HTTP status.
        hint: What to tell the user, in a few words.
        split: When the window is halved.
        overload: Whether servers with too much to do say this, so that many of them lower the concurrency.
        server_wide: Whether it says that nobody is served, whatever is asked for.
        refusal: Whether it says "not now": the server has no room for one more request, or for any.
    """

    number: int
    kind: Kind
    as_code: bool
    as_status: bool
    hint: str
    split: Split = Split.NEVER
    overload: bool = False
    server_wide: bool = False
    refusal: bool = False

    @property
    def retries(self) -> bool:
        """Return whether such a failure is sent again."""
        return self.kind in RETRIED_KINDS


# The vendor documents the codes 400 to 403; the others are HTTP's own meanings (RFC 9110, RFC 6585), which an
# `error` may repeat; 520 to 524 are those of Cloudflare's gateways. A number that is not here is not tried again:
# nobody knows what a repetition would do. Of the gateways' numbers only 504 and 524 say that the response took too
# long, so only these are about the length of a window, and about the load.
ERROR_RULES: tuple[ErrorRule, ...] = (
    ErrorRule(400, Kind.CALLER, True, True, "the request is incorrect"),
    ErrorRule(401, Kind.AUTH, True, True, "the token is missing or wrong"),
    ErrorRule(402, Kind.CALLER, True, True, "the tariff's limit is reached"),
    ErrorRule(403, Kind.AUTH, True, True, "the token has no right to this database"),
    ErrorRule(404, Kind.CALLER, False, True, "nothing is at this address; check the base URL"),
    ErrorRule(405, Kind.CALLER, False, True, "this address takes no POST; check the base URL"),
    ErrorRule(408, Kind.TRANSIENT, True, True, "the server gave up waiting for the request"),
    ErrorRule(409, Kind.CALLER, False, True, "the request conflicts with another"),
    ErrorRule(413, Kind.CALLER, True, True, "too much was asked for at once; ask for fewer days", split=Split.API),
    ErrorRule(422, Kind.CALLER, False, True, "the request is incorrect"),
    ErrorRule(425, Kind.TRANSIENT, False, True, "the server refused an early request"),
    ErrorRule(429, Kind.THROTTLED, True, True, "there are too many requests", refusal=True),
    ErrorRule(500, Kind.TRANSIENT, True, True, "the server failed"),
    ErrorRule(502, Kind.TRANSIENT, True, True, "the server behind the gateway failed"),
    ErrorRule(503, Kind.TRANSIENT, True, True, "the server is unavailable", refusal=True, server_wide=True),
    ErrorRule(
        504,
        Kind.TRANSIENT,
        True,
        True,
        "the server behind the gateway took too long; ask for fewer days",
        split=Split.ALWAYS,
        overload=True,
    ),
    ErrorRule(520, Kind.TRANSIENT, False, True, "the server gave the gateway an odd response"),
    ErrorRule(521, Kind.TRANSIENT, False, True, "the server refused the gateway's connection", server_wide=True),
    ErrorRule(
        522, Kind.TRANSIENT, False, True, "the gateway could not connect to the server in time", server_wide=True
    ),
    ErrorRule(523, Kind.TRANSIENT, False, True, "the gateway found no way to the server", server_wide=True),
    ErrorRule(
        524,
        Kind.TRANSIENT,
        False,
        True,
        "the server took too long for the gateway; ask for fewer days",
        split=Split.ALWAYS,
        overload=True,
    ),
)

# How many profiles have to meet the same before it counts as the same for all, where a status may be about one of them.
_DIFFERENT_PROFILES = 5


@attrs.frozen
class PageRule:
    """The meaning of an HTTP status that comes as a page, without the API's envelope, and is not retried.

    Attributes:
        status: The HTTP status.
        hint: What to tell the user, in a few words.
        profiles: How many profiles have to meet such pages to end a stream to which nothing was ever responded well.
    """

    status: int
    hint: str
    profiles: int = _DIFFERENT_PROFILES


# RFC 9110, RFC 6585, RFC 7725; what firewalls, proxies and networks say whoever is asked about, stops at once. Every
# other page may be about its profile as well. A 413 is among these: the requests are short, so fewer days are no cure.
PAGE_RULES: tuple[PageRule, ...] = (
    PageRule(401, "something before the API wants a login of its own; ask who runs it", profiles=1),
    PageRule(403, "a firewall or proxy before the API refuses this client; ask who runs it to let it in", profiles=1),
    PageRule(404, "nothing is at this address; check the base URL"),
    PageRule(405, "this address takes no POST; check the base URL"),
    PageRule(407, "a proxy before the API wants a user name and a password"),
    PageRule(410, "nothing is at this address any more; check the base URL"),
    PageRule(413, "a proxy before the API takes only shorter requests than this, which is short; raise its limit"),
    PageRule(451, "access is barred by law in this network; ask who runs it", profiles=1),
    PageRule(501, "this address takes no POST; check the base URL"),
    PageRule(511, "this network wants a login first; open any page in a browser", profiles=1),
)

_PAGE_RULES_BY_STATUS = {rule.status: rule for rule in PAGE_RULES}
_PAGE_HINT = "check the base URL, and what stands before the API"

RULES_BY_CODE = {rule.number: rule for rule in ERROR_RULES if rule.as_code}
RULES_BY_STATUS = {rule.number: rule for rule in ERROR_RULES if rule.as_status}


def find_rules(code: int | None, status: int | None) -> tuple[ErrorRule, ...]:
    """Return the rules of a response, at most two, that of the API's own code first.

    Args:
        code: The `error` of the response, `None` if it has none.
        status: Its HTTP status, `None` if there is none.
    """
    rules = (RULES_BY_CODE.get(code) if code else None, RULES_BY_STATUS.get(status) if status else None)
    return tuple(rule for rule in rules if rule is not None)


def find_page_rule(status: int | None) -> PageRule | None:
    """Return what a status means that comes without the API's envelope; `None` if a repetition may cure it.

    Args:
        status: The HTTP status.
    """
    if status is None or not 400 <= status < 600 or any(rule.retries for rule in find_rules(None, status)):
        return None
    return _PAGE_RULES_BY_STATUS.get(status) or PageRule(status, _PAGE_HINT)


def is_about_length(code: int | None, status: int | None, *, from_api: bool) -> bool:
    """Tell whether a response says that fewer days at once may be fetched where these could not.

    Args:
        code: The `error` of the response, `None` if it has none.
        status: Its HTTP status, `None` if there is none.
        from_api: Whether the response is an envelope of the API, and not a page of something on the way.
    """
    splits = {rule.split for rule in find_rules(code, status)}
    return Split.ALWAYS in splits or (from_api and Split.API in splits)
