"""The numbers that the API and HTTP have for errors, and what each of them means. No I/O."""

from __future__ import annotations

import attrs

from profile_history.errors import Kind


@attrs.frozen
class ErrorRule:
    """What one number means, as the `error` of an answer or as its HTTP status.

    Attributes:
        number: The code or status.
        kind: What to do about it.
        as_code: Whether it is known as a value of `error`.
        as_status: Whether it is known as an HTTP status.
        hint: What to tell the user, in a few words.
    """

    number: int
    kind: Kind
    as_code: bool
    as_status: bool
    hint: str


# The vendor documents the codes 400 to 403; the others are HTTP's own meanings (RFC 9110, RFC 6585), which an
# `error` may repeat; 520 to 524 are those of Cloudflare's gateways. A number that is not here is not tried again:
# nobody knows what a repetition would do.
ERROR_RULES: tuple[ErrorRule, ...] = (
    ErrorRule(400, Kind.CALLER, True, True, "the request is incorrect"),
    ErrorRule(401, Kind.AUTH, True, True, "the token is missing or wrong"),
    ErrorRule(402, Kind.CALLER, True, True, "the tariff's limit is reached"),
    ErrorRule(403, Kind.AUTH, True, True, "the token has no right to this database"),
    ErrorRule(404, Kind.CALLER, False, True, "nothing is at this address; check the base URL"),
    ErrorRule(405, Kind.CALLER, False, True, "this address takes no POST; check the base URL"),
    ErrorRule(408, Kind.TRANSIENT, True, True, "the server gave up waiting for the request"),
    ErrorRule(409, Kind.CALLER, False, True, "the request conflicts with another"),
    ErrorRule(413, Kind.CALLER, True, True, "too much was asked for at once; ask for fewer days"),
    ErrorRule(422, Kind.CALLER, False, True, "the request is incorrect"),
    ErrorRule(425, Kind.TRANSIENT, False, True, "the server refused an early request"),
    ErrorRule(429, Kind.THROTTLED, True, True, "there are too many requests"),
    ErrorRule(500, Kind.TRANSIENT, True, True, "the server failed"),
    ErrorRule(502, Kind.TRANSIENT, True, True, "the server behind the gateway failed"),
    ErrorRule(503, Kind.TRANSIENT, True, True, "the server is unavailable"),
    ErrorRule(504, Kind.TRANSIENT, True, True, "the server behind the gateway took too long; ask for fewer days"),
    ErrorRule(520, Kind.TRANSIENT, False, True, "the server gave the gateway an odd answer"),
    ErrorRule(521, Kind.TRANSIENT, False, True, "the server refused the gateway's connection"),
    ErrorRule(522, Kind.TRANSIENT, False, True, "the gateway could not connect to the server in time"),
    ErrorRule(523, Kind.TRANSIENT, False, True, "the gateway found no way to the server"),
    ErrorRule(524, Kind.TRANSIENT, False, True, "the server took too long for the gateway; ask for fewer days"),
)

RULES_BY_CODE = {rule.number: rule for rule in ERROR_RULES if rule.as_code}
RULES_BY_STATUS = {rule.number: rule for rule in ERROR_RULES if rule.as_status}
