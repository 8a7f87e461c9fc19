"""One event of a profile's history, and the one list of its fields. No I/O.

`Event` is stored as a msgspec struct, since that is filled straight from JSON at a fraction of what it costs to fill
another class; attrs then adds all that makes it an attrs class. Instances are no business of the garbage collector:
what they hold came from JSON and refers to nothing that could refer back.

To add a field, add one line to `Event`: its name, with the alias for what it holds. The decoders, the flat rows, the
Arrow columns and with them those of every sink are made from `FIELDS`, which is read from `Event`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Never, TypeAlias, get_args

import attrs
import msgspec

from profile_history.actions import Action


class FieldKind(Enum):
    """The kind of value that a field holds."""

    MOMENT = "moment"
    INTEGER = "integer"
    TEXT = "text"
    WORD = "word"
    OBJECT = "object"
    ARRAY = "array"
    EXTRA = "extra"

    @property
    def nested(self) -> bool:
        """Tell whether a value is an object or an array, which has no hash and stays JSON in a flat row."""
        return self in (FieldKind.OBJECT, FieldKind.ARRAY, FieldKind.EXTRA)


Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1), FieldKind.INTEGER]
Text: TypeAlias = Annotated[str, FieldKind.TEXT]
# One of few texts, which many rows share; an Arrow column keeps each of them once.
Word: TypeAlias = Annotated[str, FieldKind.WORD]
Object: TypeAlias = Annotated[Mapping[str, Any], FieldKind.OBJECT]
Array: TypeAlias = Annotated[Sequence[Any], FieldKind.ARRAY]
_Action: TypeAlias = Annotated[Action, FieldKind.WORD]
_Moment: TypeAlias = Annotated[dt.datetime, FieldKind.MOMENT]
# No object of JSON is that long: a row's own key `extra` must not be taken for the field.
_Extra: TypeAlias = Annotated[Mapping[str, Any], msgspec.Meta(min_length=2**31), FieldKind.EXTRA]


class _Nothing(dict[str, Any]):
    """The `extra` of an event that has none: empty, shared by all of them, and not to be changed."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError("the extra of an event cannot be changed")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING: Mapping[str, Any] = _Nothing()


@attrs.frozen
class EventField:
    """One field of an event.

    Attributes:
        name: Its name: the key in a row of the API, the attribute of `Event` and the column of a table.
        kind: What it holds.
        type: Its type in `Event`.
        default: Its value in an event that does not have it.
        required: Whether a row without it is not an event.
        newer: Whether only newer installations of the API send it.
    """

    name: str
    kind: FieldKind
    type: Any
    default: Any
    required: bool
    newer: bool


# The API's first rows end before this field. Newer installations send it and those after it.
_FIRST_NEWER = "profile_id"


def read_fields(struct: type[msgspec.Struct]) -> tuple[EventField, ...]:
    """Return the fields of an event's class, in order."""
    fields: list[EventField] = []
    newer = False
    for info in msgspec.structs.fields(struct):
        newer = newer or info.name == _FIRST_NEWER
        annotated = next(one for one in (info.type, *get_args(info.type)) if hasattr(one, "__metadata__"))
        kind = next(one for one in annotated.__metadata__ if isinstance(one, FieldKind))
        fields.append(EventField(info.name, kind, info.type, info.default, info.required, newer))
    return tuple(fields)


if TYPE_CHECKING:
    from attrs import frozen as _attrs_class
else:

    def _attrs_class(struct: type[Event]) -> type[Event]:
        """Make an attrs class of a struct; its storage and its constructor stay the struct's."""
        fields = {
            field.name: attrs.field(
                default=attrs.NOTHING if field.required else field.default, hash=not field.kind.nested
            )
            for field in read_fields(struct)
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
            the server writes `Z` behind the account's local time: see `docs/events.md`.
        count: How often, by the server's count.
        email: The address of the subscription.
        list_id: The database; rows that call it `db_id` are read the same.
        message_id: The message template.
        xxh: The xxHash id; it may differ from the one asked for.
        campaign_id: The campaign.
        profile_id: The profile.
        event_id: The row's own id, if the server sends one.
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

    Example:
        >>> event = Event(Action.CLICK, dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC), message_id=7)
        >>> event.action, event.action.channel, event.message_id
        (<Action.CLICK: 'click'>, <Channel.EMAIL: 'email'>, 7)
        >>> event.campaign_id is None
        True
        >>> event == Event(Action.CLICK, event.datetime, message_id=7)
        True
    """

    action: _Action
    datetime: _Moment
    count: Integer | None = None
    email: Text | None = None
    list_id: Integer | None = None
    message_id: Integer | None = None
    xxh: Text | None = None
    campaign_id: Integer | None = None
    profile_id: Text | None = None
    event_id: Text | None = None
    smid: Text | None = None
    channel: Word | None = None
    campaign_name: Text | None = None
    message_name: Text | None = None
    subscription: Object | None = None
    subscriptions: Array | None = None
    fields: Object | None = None
    # The last one, behind which nothing is added.
    extra: _Extra = NOTHING


FIELDS: tuple[EventField, ...] = read_fields(Event)
"""All fields of an event, in order: the one list from which decoders, flat rows and columns are made."""


def rename_list_id(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the same struct for rows that call the database `db_id`."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(struct)
    ]
    return msgspec.defstruct(
        f"{struct.__name__}WithDbId", fields, rename={"list_id": "db_id"}, forbid_unknown_fields=True, gc=False
    )
