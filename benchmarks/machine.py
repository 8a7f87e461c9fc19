"""The machine: which cores the two sides of the wire get, and its size in words."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path

MIB = 1024 * 1024


def cores() -> tuple[int, int] | None:
    """Return the client's core and the server's; `None` if there is only one, or no way to choose."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) >= 2 else None


def pin(pid: int, core: int | None) -> None:
    """Keep a process on one core; `None` leaves it where the system puts it."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def client_core() -> int | None:
    """Return where clients run."""
    both = cores()
    return both[0] if both else None


def server_core() -> int | None:
    """Return where servers run."""
    both = cores()
    return both[1] if both else None


def description() -> str:
    """Return one line: date, processor, cores, memory, kernel, Python, and who is pinned where."""
    both = cores()
    pinned = f"clients on core {both[0]}, servers on core {both[1]}" if both else "nothing pinned: one core"
    return (
        f"{dt.date.today().isoformat()}; {_processor()}, {os.cpu_count()} cores, {_memory()}; "
        f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}; "
        f"{pinned}"
    )


def resident() -> tuple[int, int]:
    """Return this process' resident bytes, now and at most since `forget_peak`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def forget_peak() -> None:
    """Begin a new measurement of the peak, where the kernel allows it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{size / 1024**3:.0f} GiB"
