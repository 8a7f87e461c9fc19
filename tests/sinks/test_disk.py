"""The file operations that durability rests on: they do what they say, and each failure says what to do."""

import errno
import os
from pathlib import Path

import pytest
from support.disks import FaultyDisk

from profile_history.sinks import disk as module
from profile_history.sinks.base import SinkError
from profile_history.sinks.disk import DISK, Disk, OpenFile


def test_a_file_is_written_synced_renamed_and_read(tmp_path):
    """Appending cuts off what is behind the length."""
    path, other = tmp_path / "a", tmp_path / "b"
    with DISK.create(path) as file:
        file.write(b"one,")
        file.write(memoryview(b"two"))
        file.sync()
    with DISK.append(path, 4) as file:
        file.write(b"three")
    DISK.replace(path, other)
    DISK.sync_directory(tmp_path)
    assert DISK.read(other, 4, 100) == b"three"
    assert (DISK.size(other), DISK.size(path)) == (9, None)
    assert DISK.list(tmp_path) == [other]
    DISK.remove(other)
    DISK.remove(other)
    assert DISK.list(tmp_path) == DISK.list(other) == []


@pytest.mark.parametrize("name", ["file", "link", "dangling", "fifo"])
def test_creating_follows_no_link_and_empties_nothing(tmp_path, name):
    """Whatever has the name stays as it is."""
    make_each(tmp_path)
    with pytest.raises(SinkError, match="File exists; it is not this job's: move it away"):
        DISK.create(tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("link", "it is a link, which is not followed: move it away"),
        ("second", "it has a second name .* make a copy of it that takes its place"),
        ("fifo", "cannot open: (it is no regular file|No such device)"),
        ("null", "cannot open: it is no regular file"),
    ],
)
def test_only_a_regular_file_with_one_name_is_appended_to(tmp_path, name, message):
    """What is behind a link, or another name of the same file, is somebody else's."""
    make_each(tmp_path)
    with pytest.raises(SinkError, match=message):
        DISK.append(Path("/dev/null") if name == "null" else tmp_path / name, 0)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_link_takes_a_name_and_is_not_renamed(tmp_path):
    """Also one that leads nowhere; and reading never waits for the other end of a FIFO."""
    make_each(tmp_path)
    assert DISK.size(tmp_path / "dangling") is not None
    with pytest.raises(SinkError, match="it is a link, which is not followed"):
        DISK.replace(tmp_path / "link", tmp_path / "other")
    with pytest.raises(SinkError, match="it is no regular file"):
        DISK.read(tmp_path / "fifo", 0, 1)


def make_each(directory):
    """One of each kind of names."""
    (directory / "file").write_bytes(b"mine")
    (directory / "second").hardlink_to(directory / "file")
    (directory / "link").symlink_to(directory / "file")
    (directory / "dangling").symlink_to(directory / "nowhere")
    os.mkfifo(directory / "fifo")


def test_a_directory_is_made_with_those_that_it_is_in(tmp_path):
    """And it is safe to call twice."""
    for _ in range(2):
        DISK.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_short_write_is_carried_on(tmp_path):
    """The operating system may take less than it was given."""

    class Slow:
        closed = False
        taken = b""

        def write(self, data):
            self.taken += bytes(data[:3])
            return min(3, len(data))

    slow = Slow()
    OpenFile(DISK, tmp_path / "a", slow).write(b"12345678")
    assert slow.taken == b"12345678"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "No space left on device; free some space, and resume the job"),
        (errno.EDQUOT, "free some of your quota, and resume the job"),
        (errno.EROFS, "make the file system writable again, and resume the job"),
        (errno.EIO, "check the disk, and resume the job"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EXDEV, "check the disk, and resume the job"),
    ],
)
def test_a_failure_names_the_path_and_says_what_to_do(tmp_path, code, advice):
    """Whatever the operating system reports."""
    with pytest.raises(SinkError) as error:
        FaultyDisk(1, code).create(tmp_path / "history")
    assert str(error.value).startswith(f"{tmp_path / 'history'}: cannot create: ")
    assert advice in str(error.value)


def test_real_failures_are_reported_too(tmp_path):
    """No such directory, a directory in the place of a file, a file in the place of a directory."""
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="put it back"):
        DISK.create(tmp_path / "no" / "file")
    with pytest.raises(SinkError, match="cannot delete"):
        DISK.remove(tmp_path)
    with pytest.raises(SinkError, match="cannot list"):
        DISK.list(tmp_path / "file")
    with pytest.raises(SinkError, match="cannot open: Invalid argument"):
        DISK.append(tmp_path / "file", -1)


def test_a_file_is_closed_even_where_closing_fails(tmp_path):
    """No descriptor is left open."""
    disk = FaultyDisk(2)
    file = disk.create(tmp_path / "a")
    with pytest.raises(SinkError, match="cannot close"):
        file.close()
    file.close()
    # A descriptor that stays open is seen on itself.
    assert file._handle.closed


@pytest.mark.parametrize(("code", "silent"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_may_be_unable_to_sync_directories(tmp_path, monkeypatch, code, silent):
    """That is no failure; every other error is one."""

    def fail(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if silent:
        Disk().sync_directory(tmp_path)
    else:
        with pytest.raises(SinkError):
            Disk().sync_directory(tmp_path)
    # Stands for Windows.
    monkeypatch.setattr(module, "_HAS_DIRECTORIES_TO_SYNC", False)
    Disk().sync_directory(tmp_path)


@pytest.mark.parametrize(
    ("code", "synced"), [(None, ["full"]), (errno.ENOTSUP, ["full", "fsync"]), (errno.EIO, ["full"])]
)
def test_on_macos_the_cache_of_the_drive_is_emptied_too(tmp_path, monkeypatch, code, synced):
    """A file system that cannot do it does what it can; every other error is one. Elsewhere there is only fsync."""
    calls = []

    class Fcntl:
        """The module, as macOS has it."""

        F_FULLFSYNC = 51

        def fcntl(self, file, command):
            assert (os.fstat(file).st_ino, command) == (path.stat().st_ino, 51)
            calls.append("full")
            if code is not None:
                raise OSError(code, os.strerror(code))

    path = tmp_path / "a"
    monkeypatch.setattr(module, "fcntl", Fcntl())
    monkeypatch.setattr(os, "fsync", lambda file: calls.append("fsync"))
    with DISK.create(path) as file:
        if code == errno.EIO:
            with pytest.raises(SinkError, match="cannot sync"):
                file.sync()
        else:
            file.sync()
    assert calls == synced
    monkeypatch.setattr(module, "fcntl", None)
    module.sync(0)
    assert calls == [*synced, "fsync"]
