"""Secrets and safety: where a token lies, where it is sent, and what a text or an id may do."""

import contextlib
import datetime as dt
import json
import os
from collections.abc import AsyncIterator
from unittest import mock

from support.matrix.bench import EMAILS, Bench, made
from support.matrix.case import Case, Stage
from support.matrix.classes import ACCEPTED, REFUSED
from support.matrix.dice import LIST_ID, Dice
from support.matrix.peers import Elsewhere, listening
from support.matrix.scenarios import outside, way
from support.matrix.seen import CONTROL, TOKEN

from profile_history import Action, ConfigurationError, Event, HistoryClient, Profile
from profile_history.cli.event_text import format_event


@outside(REFUSED)
def token_lies_open(bench: Bench) -> None:
    """Give the token on the command line, or in a file that others can read."""
    file = bench.folder / "token"
    file.write_text(TOKEN)
    file.chmod(bench.dice.in_turn((0o644, 0o640, 0o604, 0o660, 0o666, 0o620)))
    with bench.server() as server:
        for words in (["--token", TOKEN], [f"--token={TOKEN}"], ["--token-file", str(file)]):
            code, out, err = bench.run("fetch", "--matching", "email", *words, EMAILS[0])
            assert (code, out, len(err.splitlines())) == (2, "", 1)
        with mock.patch.dict(os.environ, {"PROFILE_HISTORY_TOKEN_FILE": str(file)}):
            del os.environ["PROFILE_HISTORY_TOKEN"]
            bench.refuses(lambda: made(token=None), ConfigurationError)
        assert list(server.log) == []


@outside(ACCEPTED)
def texts_are_formulas(bench: Bench) -> None:
    """Format formulas: NDJSON is exact to the character; a table shows on one line, escaped, what steers a terminal."""
    draw = bench.dice.random
    for start in "=+-@\t\r\n\0＝＋－＠\u202e\x1b\ud800":
        text = start + "".join(draw.choices("=1+A@\t\r\n\0\x9b'\"", k=draw.randrange(12)))
        action = Action(f"import{text}!")
        event = Event(action, dt.datetime(2024, 3, 1, tzinfo=dt.UTC), campaign_name=text, extra={text: text})
        profile = Profile.custom("CRM_ID", "=1+1")
        written = json.loads(format_event("ndjson", profile, event))["event"]
        assert (written["action"], written["campaign_name"], written[text]) == (action, text, text)
        assert not CONTROL.search(format_event("table", profile, event)[:-1])


EVIL = ("../x", "..\\x", "CON", "nul.txt", "x" * 300, "a/../../b", "EVENTS", "events", "/etc/passwd", "~root", "%2e%2e")


@outside(ACCEPTED)
def ids_look_like_paths(bench: Bench) -> None:
    """Fetch by such ids: there is one file, of the name that was asked for."""
    words = ["fetch", "--matching", "profile_id", "--format", "ndjson", "--output", str(bench.path)]
    with bench.server() as server:
        ids = [dict(server.profile(number, "profile_id").fields)["profile_id"] for number in range(5)]
        chosen = [*bench.dice.random.sample(EVIL, 5), *ids]
        assert bench.run(*words, *chosen)[0] == 0
        true = [len(server.truth(server.profile(number))) for number in range(5)]
        assert sum(map(len, bench.written(bench.path).values())) == sum(true)
    assert [path for path in bench.folder.parent.rglob("*") if path.is_file()] == [bench.path]


# No variable of a function holds these: what is shown of an error includes those of the functions it went through.
ADDRESSES = (
    "http://ru.altkraft.com",
    "http://169.254.169.254",
    "http://2130706433",
    "http://0x7f000001",
    "http://127.0.0.1.nip.example",
    "http://[fe80::1]",
    "ftp://ru.altkraft.com",
    f"https://user:{TOKEN}@ru.altkraft.com",
    f"https://ru.altkraft.com/?token={TOKEN}",
)


@outside(REFUSED)
def address_is_not_safe(bench: Bench) -> None:
    """Pass plain http to another machine, by whatever name, or what is no address at all."""

    def visit() -> None:
        HistoryClient(bench.dice.in_turn(ADDRESSES), token=TOKEN, list_id=LIST_ID)

    bench.refuses(visit, ConfigurationError)


@way
def surroundings_name_a_proxy(dice: Dice) -> Case:
    """Name a proxy and a password: neither is used."""
    elsewhere = Elsewhere()

    @contextlib.asynccontextmanager
    async def around(stage: Stage) -> AsyncIterator[None]:
        netrc = stage.folder / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password secret")
        async with listening(elsewhere.serve) as port:
            proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), f"http://127.0.0.1:{port}")
            with mock.patch.dict(os.environ, {**proxies, "NETRC": str(netrc)}):
                yield

    def check(stage: Stage) -> None:
        assert elsewhere.visitors == 0
        assert {entry.auth for entry in stage.server.log} == {stage.options["auth"]}

    return Case(outcome=ACCEPTED, around=around, check=check)
