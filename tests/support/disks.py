"""Disks that fail at a chosen operation, and one that forgets what was not synced when its power goes."""

import errno
import os
import random
import shutil
from pathlib import Path

import attrs

from profile_history.sinks.disk import Disk, OpenFile

# Several times what a run was seen to have there at any moment.
_ROOM = 2**30


def memory_directory():
    """Return a directory in memory in which programs may lie too, if there is one with room for what tests write."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return None
    system = os.statvfs(memory)
    # A container without settings of its own has 64 MiB there, and no programs.
    roomy = system.f_bavail * system.f_frsize >= _ROOM
    return memory if roomy and not system.f_flag & os.ST_NOEXEC else None


class QuickFile(OpenFile):
    """A file that syncs in name only: what survives on a disk for tests is not up to the real one."""

    def sync(self):
        with self._disk.doing("sync", self.path):
            pass


class CountingDisk(Disk):
    """A disk that counts its operations."""

    def __init__(self):
        self.operations = 0

    def before(self, operation, path):
        self.operations += 1

    def create(self, path, **options):
        return QuickFile(self, path, super().create(path, **options)._handle)

    def append(self, path, length):
        return QuickFile(self, path, super().append(path, length)._handle)

    def sync_directory(self, path):
        with self.doing("sync", path):
            pass


class FaultyDisk(CountingDisk):
    """A disk whose operation `nth` fails, or all from there on; a write that fails leaves some of it behind."""

    def __init__(self, nth, code=errno.ENOSPC, *, persistent=False):
        super().__init__()
        self.nth, self.code, self.persistent = nth, code, persistent

    def before(self, operation, path):
        if operation == "note":
            return
        super().before(operation, path)
        if self.operations == self.nth or (self.persistent and self.operations > self.nth):
            if operation == "write":
                with path.open("ab") as file:
                    file.write(b"to")
            raise OSError(self.code, os.strerror(self.code))


class PowerCut(BaseException):
    """The power is gone."""


@attrs.define(eq=False)
class Inode:
    """A file without a name: what of it is on the disk, and what was done to it since."""

    synced: bytes = b""
    pending: list = attrs.field(factory=list)

    def left(self, chance):
        """Return what may be left of it."""
        data = bytearray(self.synced)
        for offset, written in self.pending:
            if chance.random() < 0.5:
                if written is None:
                    del data[offset:]
                    continue
                kept = written[: chance.choice((len(written), chance.randint(0, len(written))))]
                data.extend(bytes(max(0, offset - len(data))))
                data[offset : offset + len(kept)] = kept
        return bytes(data)


class RecordedFile(QuickFile):
    """A file that notes what was written since the last sync."""

    def __init__(self, disk, path, handle, inode):
        super().__init__(disk, path, handle)
        self._inode = inode

    def write(self, data):
        place = self._handle.tell()
        super().write(data)
        self._inode.pending.append((place, bytes(data)))

    def sync(self):
        super().sync()
        self._inode.synced, self._inode.pending = self.path.read_bytes(), []


class FrailDisk(CountingDisk):
    """A disk below a directory whose power goes before operation `nth`.

    What was not synced, writes as well as names, is then partly there and partly not, as chance will have it.
    """

    def __init__(self, root: Path, nth=None, seed=0):
        super().__init__()
        self.root, self.nth, self.chance = root, nth, random.Random(seed)
        self.live = {path: Inode(path.read_bytes()) for path in root.rglob("*") if path.is_file()}
        self.durable = dict(self.live)
        self.directories = {root, *(path for path in root.rglob("*") if path.is_dir())}
        self.pending = []
        self.made = set()

    def before(self, operation, path):
        super().before(operation, path)
        if self.nth is not None and self.operations >= self.nth:
            raise PowerCut

    def create(self, path, **options):
        file = super().create(path, **options)
        inode = self.live.get(path)
        if inode is None:
            inode = self.live[path] = Inode()
            self.pending.append((path.parent, None, path, inode))
        inode.pending.append((0, None))
        return RecordedFile(self, path, file._handle, inode)

    def append(self, path, length):
        file = super().append(path, length)
        self.live[path].pending.append((length, None))
        return RecordedFile(self, path, file._handle, self.live[path])

    def replace(self, source, target):
        super().replace(source, target)
        inode = self.live[target] = self.live.pop(source)
        self.pending.append((target.parent, source, target, inode))

    def remove(self, path):
        super().remove(path)
        if self.live.pop(path, None):
            self.pending.append((path.parent, path, None, None))

    def make_directory(self, path):
        if not path.is_dir():
            self.made.add(path)
            self.pending.append((path.parent, None, path, None))
        elif path not in self.made and path.is_relative_to(self.root):
            # Made by others who brought it to the disk, such as whoever locks a sink.
            self.directories.add(path)
        super().make_directory(path)

    def sync_directory(self, path):
        super().sync_directory(path)
        for change in self.pending:
            if change[0] == path:
                self._apply(change)
        self.pending = [change for change in self.pending if change[0] != path]

    def _apply(self, change):
        _, source, target, inode = change
        self.durable.pop(source, None)
        if target and inode:
            self.durable[target] = inode
        elif target:
            self.directories.add(target)

    def lose_power(self):
        """Leave on the real disk what may be there after the power is back."""
        for change in self.pending:
            if self.chance.random() < 0.5:
                self._apply(change)
        shutil.rmtree(self.root)
        self.root.mkdir()
        for directory in sorted(self.directories):
            if directory.parent.is_dir():
                directory.mkdir(exist_ok=True)
        for path, inode in self.durable.items():
            if path.parent.is_dir():
                path.write_bytes(inode.left(self.chance))
