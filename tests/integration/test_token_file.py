"""A token in a file: which files are taken, what is said of the others, and what becomes of one that is replaced."""

import asyncio
import os
import socket
import traceback

import pytest

from profile_history import AuthenticationError, ConfigurationError, HistoryClient, Pacing, RetryPolicy, _token_file
from profile_history._secrets import SecretText, Token
from profile_history._token_file import FileToken, read_token
from profile_history.testing import Behaviour

SECRET = "hunter2-hunter2"
NEWER = "hunter3-hunter3"
SOMEBODY_ELSE = os.geteuid() + 1 if hasattr(os, "geteuid") else 0


def written(folder, content=SECRET.encode(), mode=0o600):
    """A file with a token."""
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path):
    """The message with which a file is refused; neither it nor a local variable shows what stands in the file."""
    with pytest.raises(ConfigurationError) as refused:
        read_token(path)
    shown = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "profile_history" in frame.filename]
    assert not any("hunter" in value for frame in ours for value in (frame.locals or {}).values())
    assert "hunter" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "content", [SECRET, f"{SECRET}\n", f" {SECRET}\r\n", f"\n{SECRET}\t", f"\ufeff{SECRET}\r\n", f"{SECRET}\n\n\n"]
)
def test_blanks_line_ends_and_a_mark_around_a_token_are_dropped(tmp_path, content):
    """Editors end files with a new line, and some of them begin them with a byte order mark."""
    assert str(read_token(written(tmp_path, content.encode()))) == SECRET


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o611])
def test_a_file_of_ours_that_nobody_else_can_read_or_write_is_taken(tmp_path, mode):
    """Whether its owner may write it does not matter."""
    assert str(read_token(written(tmp_path, mode=mode))) == SECRET


@pytest.mark.parametrize("mode", [0o440, 0o444, 0o644, 0o404, 0o600])
def test_a_file_of_somebody_else_that_only_he_can_write_is_taken(tmp_path, monkeypatch, mode):
    """As containers mount secrets: whoever owns it has decided who reads it."""
    path = written(tmp_path, mode=mode)
    monkeypatch.setattr(_token_file.os, "geteuid", lambda: SOMEBODY_ELSE)
    assert str(read_token(path)) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o440, 0o444])
def test_a_file_of_ours_that_others_can_read_is_refused(tmp_path, mode):
    """The message holds the command that puts it right, and the word for a mounted one."""
    path = written(tmp_path, mode=mode)
    assert refusal(path) == f"others can read the token file {path}; mount it with mode 0400, or run: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
@pytest.mark.parametrize("ours", [True, False])
def test_a_file_that_others_can_write_is_refused_whoever_owns_it(tmp_path, monkeypatch, mode, ours):
    """They could make us send a token of theirs."""
    path = written(tmp_path, mode=mode)
    if not ours:
        monkeypatch.setattr(_token_file.os, "geteuid", lambda: SOMEBODY_ELSE)
    assert refusal(path) == f"others can write the token file {path}; run: chmod 600 {path}"


def test_links_are_followed_as_kubernetes_makes_them(tmp_path):
    """The file's name is a link into `..data`, which is a link to a directory that is exchanged as a whole."""
    (tmp_path / "..2026_01").mkdir()
    written(tmp_path / "..2026_01")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "token").symlink_to("..data/token")
    assert str(read_token(tmp_path / "token")) == SECRET


def test_a_system_without_such_permissions_is_not_asked_for_them(tmp_path, monkeypatch):
    """Elsewhere than on POSIX the mode bits say nothing."""
    path = written(tmp_path, mode=0o644)
    monkeypatch.setattr(_token_file.os, "name", "nt")
    token = read_token(path)
    monkeypatch.undo()
    assert str(token) == SECRET


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    """A FIFO without a writer would be waited for for ever; each thing is called by its name."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name, kind in (("fifo", "a FIFO"), ("folder", "a directory"), ("/dev/zero", "a device")):
        path = tmp_path / name
        assert refusal(path) == f"the token file {path} is {kind}; name a file that holds the token"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "cannot be read: No such device or address" in refusal(tmp_path / "socket")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; write the token into it"),
        (b" \r\n\t", "is empty; write the token into it"),
        (f"{SECRET}\n{NEWER}\n".encode(), "holds several lines; leave only the token in it"),
        (f"{SECRET} {NEWER}".encode(), "holds a blank or a character outside ASCII; leave only the token in it"),
        (f"{SECRET}ё".encode(), "holds a blank or a character outside ASCII; leave only the token in it"),
        (f"{SECRET}\x00{SECRET}".encode(), "holds a blank or a character outside ASCII"),
        (SECRET.encode("utf-16"), "holds no UTF-8 text; save it as plain text"),
        (SECRET.encode() + b"\xff", "holds no UTF-8 text; save it as plain text"),
        (b"a" * (64 * 1024 + 1), "is longer than 64 KiB; name a file that holds only the token"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_a_word_on_what(tmp_path, content, words):
    """And without repeating it."""
    path = written(tmp_path, content)
    assert refusal(path).startswith(f"the token file {path} {words}")


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path):
    """Missing, or no path at all."""
    path = tmp_path / "missing"
    assert refusal(path) == f"the token file {path} cannot be read: No such file or directory"
    assert "cannot be read: " in refusal(tmp_path / "nul\x00")


@pytest.mark.parametrize("auth", ["body", "header"])
@pytest.mark.parametrize("errors", ["status", "200"])
async def test_a_token_that_is_replaced_during_a_stream_is_gone_on_with(server, tmp_path, auth, errors):
    """Read again at the first refusal, for all requests in flight: no profile fails, and a copy goes on as well."""
    path = written(tmp_path)
    server.token, server.behaviour = SECRET, Behaviour(latency=0.005, errors=errors)
    async with server.client(token_file=path, auth=auth, window=30, pacing=Pacing(adaptive=False)) as client:
        copy = client.with_options(order="oldest")
        events = 0
        async with client.histories(server.profiles(), "2023-01-01", "2024-12-31") as stream:
            async for _ in stream:
                if events == 0:
                    written(tmp_path, NEWER.encode())
                    server.token = NEWER
                events += 1
        assert events == sum(len(server.truth(p, "2023-01-01", "2024-12-31")) for p in server.profiles())
        refused = sum(entry.status == 403 for entry in server.log)
        assert stream.stats.retries >= 1
        # Once per worker: what is sent while the file is being read still has the old one.
        assert refused <= 32
        assert await copy.history(server.profile(1), "2023-01-01", "2024-12-31").collect()
        assert sum(entry.status == 403 for entry in server.log) == refused


async def test_a_token_in_the_environments_file_is_read_again_too(server, tmp_path, monkeypatch):
    """Between two streams as well."""
    monkeypatch.setenv("PROFILE_HISTORY_TOKEN_FILE", str(written(tmp_path)))
    server.token = SECRET
    async with HistoryClient(server.url, list_id=server.list_id) as client:
        assert await client.history(server.profile(1)).collect()
        written(tmp_path, NEWER.encode())
        server.token = NEWER
        assert await client.history(server.profile(1)).collect()
        server.token = SECRET
        written(tmp_path)
        assert await client.history(server.profile(1)).collect()


async def test_a_file_with_the_refused_token_still_in_it_ends_the_stream_as_before(server, tmp_path, monkeypatch):
    """It was read again, but not for each request that was refused; the next stream looks again."""
    readings = []

    def counted(path):
        readings.append(path)
        return read_token(path)

    path = written(tmp_path)
    server.token, server.behaviour = SECRET, Behaviour(latency=0.02)
    async with server.client(token_file=path, pacing=Pacing(adaptive=False)) as client:
        monkeypatch.setattr(_token_file, "read_token", counted)
        server.token = NEWER
        for number in (1, 2):
            with pytest.raises(AuthenticationError) as refused:
                await client.histories(server.profiles()).collect()
            assert refused.value.hint is None
            assert number <= len(readings) <= 2 * number
        written(tmp_path, NEWER.encode())
        assert await client.history(server.profile(1)).collect()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.chmod(0o622), "others can write the token file"),
    ],
)
async def test_a_file_that_cannot_be_read_again_is_told_with_the_refusal(server, tmp_path, spoil, words):
    """The refusal is what ended the stream, and the file is why."""
    path = written(tmp_path)
    async with server.client(token_file=path, retry=RetryPolicy(attempts=1, passes=1)) as client:
        spoil(path)
        with pytest.raises(AuthenticationError, match=words) as refused:
            await client.history(server.profile(1)).collect()
    assert refused.value.hint.startswith("it was not replaced: ")
    assert refused.value.__context__ is None


async def test_a_token_that_was_passed_is_not_looked_for_anywhere(server):
    """There is no file to read again."""
    async with server.client(token="wrong") as client:
        with pytest.raises(AuthenticationError):
            await client.history(server.profile(1)).collect()
    assert len(server.log) == 1


async def test_all_that_were_refused_by_then_share_one_reading(tmp_path, monkeypatch):
    """One that is refused later reads again, and one that was sent with an older token need not."""
    path, readings = written(tmp_path), []

    def counted(path):
        readings.append(path)
        return read_token(path)

    token = FileToken(path)
    monkeypatch.setattr(_token_file, "read_token", counted)
    assert await asyncio.gather(*(token.renew(0) for _ in range(20))) == [False] * 20
    # The second was refused when the first reading had begun, and the file may have been replaced in between.
    assert len(readings) == 2
    written(tmp_path, NEWER.encode())
    assert await asyncio.gather(*(token.renew(0) for _ in range(20))) == [True] * 20
    assert (len(readings), token.reveal()) == (3, NEWER)
    assert await token.renew(0)
    assert len(readings) == 3


def test_a_token_that_was_replaced_is_still_masked():
    """A server may quote the one that it was sent, also where one begins like the other."""
    token = Token("abc")
    token.replace(SecretText("abcdef"))
    token.replace(SecretText("abcdef"))
    assert token.redact("abc, abcdef and abcd") == "[token], [token] and [token]d"
    assert (token.generation, repr(token)) == (1, "Token(***)")
