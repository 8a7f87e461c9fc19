"""One event of a profile's history. No I/O.

`Event` is stored as a msgspec struct, since that is filled straight from JSON at a fraction of what it costs to fill
another class; attrs then adds all that makes it an attrs class. Instances are no business of the garbage collector:
what they hold came from JSON and refers to nothing that could refer back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Never, TypeAlias

import attrs
import msgspec

from profile_history.actions import Action

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# No object of JSON is that long: a row's own key `extra` must not be taken for the field.
_NotFromJson: TypeAlias = Annotated[Mapping[str, Any], msgspec.Meta(min_length=2**31)]


class _Nothing(dict[str, Any]):
    """The `extra` of an event that has none: empty, shared by all of them, and not to be changed."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError("the extra of an event cannot be changed")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING: Mapping[str, Any] = _Nothing()

if TYPE_CHECKING:
    from attrs import frozen as _attrs_class
else:

    def _attrs_class(struct: type[Event]) -> type[Event]:
        """Makes an attrs class of a struct; its storage and its constructor stay the struct's."""
        fields = {
            field.name: attrs.field(
                default=attrs.NOTHING if field.required else field.default,
                hash=field.name not in {"subscription", "subscriptions", "fields", "extra"},
            )
            for field in msgspec.structs.fields(struct)
        }
        return attrs.frozen(these=fields, init=False, slots=False, unsafe_hash=True, match_args=False)(struct)


@_attrs_class
class Event(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
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
        extra: What else the row holds: keys nobody knows yet, and values that do not fit their field. A value that
            cannot be held stands here as its own JSON, a text: a whole number outside 64 bits, a number that Python
            has not (`1e400`, `NaN`), a text with half of a surrogate pair in a field of text.
    """

    action: Action
    datetime: dt.datetime
    count: Integer | None = None
    email: str | None = None
    list_id: Integer | None = None
    message_id: Integer | None = None
    xxh: str | None = None
    campaign_id: Integer | None = None
    profile_id: str | None = None
    event_id: str | None = None
    smid: str | None = None
    channel: str | None = None
    campaign_name: str | None = None
    message_name: str | None = None
    subscription: Mapping[str, Any] | None = None
    subscriptions: Sequence[Any] | None = None
    fields: Mapping[str, Any] | None = None
    extra: _NotFromJson = NOTHING


def with_db_id(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same struct for rows that call the database `db_id`."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(struct)
    ]
    return msgspec.defstruct(
        f"{struct.__name__}WithDbId", fields, rename={"list_id": "db_id"}, forbid_unknown_fields=True, gc=False
    )
