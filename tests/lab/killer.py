# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kill a program with SIGKILL at one system call after another: strace counts the calls, and delivers the signal.

A kill comes before its call is carried out. What a program has changed is the same between two calls that change
something, so one kill before each of those, and one before the end, stand for a kill at any moment.
"""

from __future__ import annotations

import re
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import BOUND_SECONDS

# Calls that change something, by what strace prints of them: what is opened to be written, what is sent to the
# kernel but for questions, what is closed that goes with its last user. All others only read, wait, or are the
# program's own business. A few that change nothing are among these, such as writing to a pipe; that does no harm.
CHANGES = {
    "openat": r"O_CREAT|O_WRONLY|O_RDWR",
    "ioctl": r"TUN",
    "close": r"\.new|/locks/|/proc/sys/|/net/tun|<socket:|NETLINK",
    **dict.fromkeys(("sendto", "sendmsg", "sendmmsg"), r"^(?!.*nlmsg_type=(RTM_GET|0x12))"),
    **dict.fromkeys(("write", "pwrite64", "ftruncate", "truncate", "fsync", "fdatasync", "flock", "setsockopt"), ""),
    **dict.fromkeys(("mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink"), ""),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir", "chmod", "fchmod", "mknod", "mknodat", "exit_group"), ""),
}
RESTARTED = "? ERESTART"
CALL = re.compile(r"(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of a name in a program's run, and what it was about."""

    name: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.name} {self.number}: {self.text}"


def _strace(log: Path, *options: str, program: Sequence[str], document: bytes, env: dict[str, str]) -> int:
    # Without -f only the program's first thread is counted: its children change nothing.
    traced = ("strace", "-y", "-qq", "-s", "60", *options, "-o", str(log), *program)
    return subprocess.run(traced, input=document, env=env, cwd="/", check=False, timeout=BOUND_SECONDS).returncode


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def _calls(log: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(log):
        found = CALL.match(line)
        # The kernel begins a call anew where others hold its lock, which is a call more for strace.
        if found and RESTARTED not in line:
            yield found[1], found[2]


def points(program: Sequence[str], document: bytes, env: dict[str, str], log: Path) -> list[Point]:
    """Run the program to its end and return the calls that changed something, in their order."""
    status = _strace(log, f"-etrace={','.join(CHANGES)}", program=program, document=document, env=env)
    assert status == 0, f"exit status {status} without a kill"
    return changes(log)


def changes(log: Path) -> list[Point]:
    """Return the calls that have changed something, in their order, of those that strace has written."""
    counts: Counter[str] = Counter()
    found = []
    for name, text in _calls(log):
        counts[name] += 1
        if re.search(CHANGES[name], text):
            found.append(Point(name, counts[name], text))
    return found


def kill(program: Sequence[str], document: bytes, env: dict[str, str], log: Path, point: Point) -> None:
    """Run the program and kill it at that call; AssertionError where it was another one."""
    inject = f"-einject={point.name}:signal=SIGKILL:when={point.number}"
    status = _strace(log, f"-etrace={point.name}", inject, program=program, document=document, env=env)
    assert status in (-signal.SIGKILL, 128 + signal.SIGKILL), f"not killed at {point}: exit status {status}"
    if any(RESTARTED in line for line in _lines(log)):
        # It came a call earlier, then, which is a moment like any other.
        return
    calls = [text for _, text in _calls(log)]
    assert len(calls) == point.number and _about(calls[-1]) == _about(point.text), f"{calls[-1]} is not {point}"


def _about(text: str) -> str:
    """Return what is the same in two runs: neither result nor numbers of processes, files and messages."""
    return re.sub(r"0x[0-9a-f]+|\d+", "N", text.rpartition(" = ")[0] or text)[:40]


@contextmanager
def traced_children(pid: int, log: Path, *options: str) -> Iterator[None]:
    """Have strace follow the children that a process makes meanwhile, with these options."""
    strace = subprocess.Popen(("strace", "-f", "-y", "-qq", "-s", "60", *options, "-o", str(log), "-p", str(pid)))
    try:
        _await(lambda: f"TracerPid:\t{strace.pid}\n" in Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        yield
        # The end of a child is strace's to see before it is its parent's.
        _await(lambda: not _has_children(pid))
    finally:
        strace.terminate()
        strace.wait(BOUND_SECONDS)


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "strace does not follow the process, or a child does not end"
        select.select([], [], [], 0.01)


def _has_children(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_bytes())
    except FileNotFoundError:
        return False


def children_points(pid: int, act: Callable[[], object], log: Path) -> list[Point]:
    """Return what `points` does, of the one child that a process makes while this is done."""
    with traced_children(pid, log, f"-etrace={','.join(CHANGES)}"):
        act()
    counts: Counter[str] = Counter()
    found = []
    for name, text in _childrens_calls(pid, log):
        counts[name] += 1
        if re.search(CHANGES[name], text):
            found.append(Point(name, counts[name], text))
    return found


def kill_child(pid: int, act: Callable[[], None], log: Path, point: Point) -> None:
    """Kill the one child that a process makes while this is done, at that call; AssertionError where there is none."""
    inject = f"-einject={point.name}:signal=SIGKILL:when={point.number}"
    with traced_children(pid, log, f"-etrace={point.name}", inject):
        act()
    assert "+++ killed by SIGKILL +++" in log.read_text(encoding="utf-8", errors="replace"), f"not killed at {point}"


def _childrens_calls(pid: int, log: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(log):
        whose, _, rest = line.partition(" ")
        found = CALL.match(rest.lstrip())
        if found and int(whose) != pid and RESTARTED not in line:
            yield found[1], found[2]
