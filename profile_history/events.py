"""One event of a profile's history. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from profile_history.actions import Action


@attrs.frozen
class Event:
    """One row of a history.

    Only `action` and `datetime` are always there. Events compare by all their values; two equal events are two
    events, since the API gives rows no identity of their own.

    Attributes:
        action: What happened.
        datetime: When, as the server labels it, to the microsecond. A `Z` is read as UTC, but there is evidence that
            the server writes `Z` behind the account's local time: see the README on time.
        count: How often, by the server's count.
        email: The address of the subscription.
        list_id: The database; rows that call it `db_id` are read the same.
        message_id: The message template.
        xxh: The xxHash id; it may differ from the one asked for.
        campaign_id: The campaign.
        profile_id: The profile.
        event_id: The row's own id, where the server sends one.
        smid: The id of one sent message.
        channel: The channel as the row names it; `action.channel` is there on every event.
        campaign_name: The campaign's name.
        message_name: The message template's name.
        subscription: The subscription the event belongs to.
        subscriptions: All subscriptions of the profile.
        fields: Fields of the profile.
        extra: What else the row holds: keys nobody knows yet, and values that do not fit their field.
    """

    action: Action
    datetime: dt.datetime
    count: int | None = None
    email: str | None = None
    list_id: int | None = None
    message_id: int | None = None
    xxh: str | None = None
    campaign_id: int | None = None
    profile_id: str | None = None
    event_id: str | None = None
    smid: str | None = None
    channel: str | None = None
    campaign_name: str | None = None
    message_name: str | None = None
    subscription: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    subscriptions: Sequence[Any] | None = attrs.field(default=None, hash=False)
    fields: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
