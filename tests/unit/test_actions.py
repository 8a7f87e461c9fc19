"""The catalogue of actions is the vendor's, and open; an event is a frozen value."""

import copy
import datetime as dt
import pickle
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import Action, Channel, Event, actions

DOCUMENTED = {
    Channel.EMAIL: """send deliv undeliv open read click confirm subscribe_email unsubscribe_email reply complain
        hbounce""",
    Channel.SMS: "send_sms deliv_sms undeliv_sms click_sms subscribe_sms unsubscribe_sms",
    Channel.PUSH: "send_push deliv_push open_push click_push undeliv_push subscribe_push unsubscribe_push",
    Channel.TELEGRAM_BOT: """telegram_bot_send telegram_bot_deliv telegram_bot_undeliv telegram_bot_click
        telegram_bot_subscribe""",
    Channel.WHATSAPP: """whatsapp_send whatsapp_deliv whatsapp_undeliv whatsapp_click whatsapp_read
        whatsapp_subscribe""",
    Channel.VIBER: "viber_send viber_deliv viber_undeliv viber_click viber_read viber_subscribe",
    Channel.ANY: "offence suppress",
    Channel.IMPORT: "import_manual import_api import_file import_form import_push import_popup",
    Channel.UNSUBSCRIBE: "unsub_api unsub_manual",
    Channel.PIXEL: "pixel_open",
    Channel.PROMOCODE: "promocode_attach promocode_detach promocode_activate",
    Channel.SEGMENT: "segs_add segs_remove",
    Channel.RELATION: "rel_attach rel_detach rel_strengthen",
    Channel.FORM: "form_load form_page_show form_post form_abandon form_bounce",
}
ROWS = [(value, channel) for channel, values in DOCUMENTED.items() for value in values.split()]
CYRILLIC = re.compile("[А-Яа-яЁё]")
BLANKS = st.text(" \t\r\n\u00a0", max_size=3)


def invented():
    """Draw names that no vendor page lists."""
    return st.text(min_size=1).filter(lambda name: name == name.strip() and name not in dict(ROWS))


def message():
    """Return an event whose values are of every kind that a row can hold."""
    return Event(
        action=Action("send"),
        datetime=dt.datetime(2017, 4, 5, 7, 48, 44, 4000, tzinfo=dt.UTC),
        email="john@example.com",
        subscription={"resource_id": 1, "cats": ["a"]},
        subscriptions=[{"resource_id": 1}],
        fields={"city": "Tver"},
        extra={"new": None},
    )


@pytest.fixture
def no_unknowns_yet(monkeypatch):
    """Make the process one in which no unknown action was met."""
    # A private name, since nothing that users call forgets an action.
    monkeypatch.setattr(actions, "_UNKNOWNS", {})


def test_the_members_are_the_66_values_that_the_vendor_lists():
    """No documented value is missing, and no member is made up."""
    assert sorted(Action) == sorted(value for value, _ in ROWS)
    assert len(Action) == 66


@pytest.mark.parametrize(("value", "channel"), ROWS)
def test_a_documented_action_is_known_and_has_the_channel_the_vendor_lists_it_under(value, channel):
    """The text makes the member, the member is the text, and its channel is the table's heading."""
    action = Action(value)
    assert action == value == str(action)
    assert hash(action) == hash(value)
    assert action is Action[value.upper()]
    assert action.known
    assert action.channel is channel


@pytest.mark.parametrize("value", [value for value, _ in ROWS])
def test_a_documented_action_is_described_in_english_and_in_russian(value):
    """Neither language stands in for the other."""
    english, russian = Action(value).label("en"), Action(value).label("ru")
    assert english == Action(value).label()
    assert english.strip()
    assert not CYRILLIC.search(english)
    assert CYRILLIC.search(russian)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_two_actions_share_a_label(language):
    """Two actions in one report can be told apart by their labels."""
    assert len({action.label(language) for action in Action}) == len(Action)


@pytest.mark.parametrize("action", ["send", "made_up"])
@pytest.mark.parametrize("language", ["de", "EN", "", None])
def test_a_label_in_another_language_is_refused(action, language):
    """Nobody gets English for German, not even for an action that has no labels."""
    with pytest.raises(ValueError, match="'en' or 'ru'"):
        Action(action).label(language)


@given(name=invented())
def test_an_unknown_value_is_an_action_that_is_its_text(name):
    """It compares, hashes, prints and describes itself as the text the server sent."""
    action = Action(name)
    assert isinstance(action, Action)
    assert action == name == str(action) == action.value == action.label("en") == action.label("ru")
    assert hash(action) == hash(name)
    assert {action: 1}[name] == 1
    assert not action.known
    assert action.channel is Channel.UNKNOWN
    assert action not in list(Action)


@pytest.mark.usefixtures("no_unknowns_yet")
def test_the_same_unknown_value_is_the_same_action():
    """`is` works for actions of any name, as it does for documented ones."""
    assert Action("made_up") is Action("made_up") is Action(" made_up\n")
    assert Action("made_up") is not Action("made_up_too")


@pytest.mark.parametrize("name", ["send", "made_up"])
def test_an_action_survives_copying_and_pickling(name, monkeypatch):
    """A copy is the action itself, and another process reads the pickle of a name it has never met."""
    action = Action(name)
    assert copy.copy(action) is action
    assert copy.deepcopy([action])[0] is action
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(action, protocol)
        assert pickle.loads(pickled) is action
        with monkeypatch.context() as elsewhere:
            # Stands for the memory of another process.
            elsewhere.setattr(actions, "_UNKNOWNS", {})
            assert pickle.loads(pickled) == action
            assert pickle.loads(pickled).known == action.known


@given(name=st.sampled_from([value for value, _ in ROWS]) | invented(), before=BLANKS, after=BLANKS)
def test_blanks_around_a_value_are_dropped(name, before, after):
    """One vendor table prints a value with a blank behind it; it is still that value."""
    assert Action(before + name + after) == name
    assert Action(before + name + after).known == (name in dict(ROWS))


@pytest.mark.parametrize("value", ["", " ", "\n\t", None, 5, b"send", ["send"]])
def test_a_blank_or_something_that_is_no_text_is_no_action(value):
    """What cannot be a name is refused, so that the row is quarantined."""
    with pytest.raises(ValueError, match="is not a valid Action"):
        Action(value)


@pytest.mark.usefixtures("no_unknowns_yet")
def test_a_server_that_invents_names_without_end_does_not_fill_the_memory():
    """Of 5,000 names most are not kept, every one still works, and the enum is as small as before."""
    names = [f"made_up_{number}" for number in range(5_000)]
    assert [Action(name) for name in names] == names
    remembered = sum(Action(name) is Action(name) for name in names)
    assert 0 < remembered < len(names) / 2
    assert len(Action) == 66


def test_an_event_cannot_be_changed():
    """What two consumers share, neither can spoil for the other."""
    event = message()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.count = 2
    with pytest.raises((AttributeError, TypeError)):
        event.made_up = 2


def test_events_are_equal_by_all_their_values():
    """Mappings count as well, though they are no part of the hash."""
    event = message()
    assert event == message()
    assert hash(event) == hash(message())
    assert len({event, message()}) == 1
    for change in ({"action": Action("open")}, {"count": 1}, {"fields": None}, {"extra": {}}, {"subscriptions": []}):
        assert attrs.evolve(event, **change) != event


def test_only_the_action_and_the_moment_are_always_there():
    """A row of two keys is an event whose other values are None, and whose `extra` is empty."""
    one, other = (Event(Action.SEND, dt.datetime.fromisoformat("2017-04-05")) for _ in range(2))
    values = attrs.asdict(one)
    assert (values.pop("action"), values.pop("datetime"), values.pop("extra")) == ("send", one.datetime, {})
    assert set(values.values()) == {None}
    assert one == other


@pytest.mark.parametrize(
    "change",
    [
        lambda extra: extra.__setitem__("key", 1),
        lambda extra: extra.update(key=1),
        lambda extra: extra.setdefault("key", 1),
        lambda extra: extra.__ior__({"key": 1}),
        lambda extra: extra.pop("key", None),
        lambda extra: extra.clear(),
    ],
)
def test_an_empty_extra_cannot_be_changed(change):
    """All events that have none share it; a copy can be changed."""
    event = Event(Action.SEND, dt.datetime.fromisoformat("2017-04-05"))
    with pytest.raises(TypeError, match="cannot be changed"):
        change(event.extra)
    assert event.extra == {} == Event(Action.SEND, event.datetime).extra
    assert dict(event.extra) | {"key": 1} == {"key": 1}
    assert pickle.loads(pickle.dumps(event)).extra is event.extra


def test_an_event_survives_pickling_and_copying():
    """A worker process can hand events back."""
    assert pickle.loads(pickle.dumps(message())) == copy.deepcopy(message()) == message()
