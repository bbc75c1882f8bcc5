# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is said to `libvirt-vepad`, however it is cut: one answer each or the end, and nothing stays of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.guest import Guest
from tests.lab.hook import STATE, call, command, stored
from tests.support.leak_check import Untouched
from tests.support.properties import holds
from tests.support.resident import LOG, SECONDS, SOCKET, Resident, connected, listening
from tests.support.user import USER

# Of each kind, for root and for a user; a conversation takes the service about 10 ms, and guests that start 100.
EXAMPLES, STARTS = 120, 25
GROWTH = 8 << 20
# One that is said in pieces waits after each as long as the other side takes to see it, or has nothing to do.
TALK = f"""
import json, socket, sys
for line in sys.stdin:
    *pieces, end = json.loads(line)
    said = b""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout({SECONDS})
        channel.connect("{SOCKET}")
        try:
            for piece in pieces:
                channel.sendall(bytes.fromhex(piece))
            if end == "close":
                raise BrokenPipeError
            channel.shutdown(socket.SHUT_WR)
            while more := channel.recv(65536):
                said += more
        except TimeoutError:
            said = b"it hangs"
        except OSError:
            pass
    print(said.hex(), flush=True)
"""


@dataclass(frozen=True)
class Talker:
    """Somebody who talks to the service."""

    process: subprocess.Popen[str]

    def say(self, said: bytes, sizes: list[int], end: str) -> bytes:
        """Say it in pieces of these sizes, and then the rest; return what is heard to the end."""
        pieces = []
        for size in sizes:
            pieces.append(said[:size])
            said = said[size:]
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([*(piece.hex() for piece in (*pieces, said)), end]) + "\n")
        self.process.stdin.flush()
        return bytes.fromhex(self.process.stdout.readline())


@pytest.fixture(scope="module")
def service(installed: None) -> Iterator[Resident]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module", params=[0, USER], ids=["root", "user"])
def uid(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(scope="module")
def talker(service: Resident, uid: int) -> Iterator[Talker]:
    words = ("/usr/bin/python3", "-c", TALK)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=uid, group=uid, extra_groups=()
    ) as process:
        yield Talker(process)


@pytest.fixture
def unharmed(service: Resident, guest: Guest) -> Iterator[None]:
    """The service is as before: it serves others, and holds and has said nothing."""
    served(guest)
    service.alone()
    descriptors, memory, log = len(os.listdir(f"/proc/{service.pid}/fd")), resident(service), LOG.read_text()
    with Untouched():
        yield
        service.alone()
        # What a guest that was made up has left is put back as any other's.
        assert command("reconcile").returncode == 0
    served(guest)
    service.alone()
    assert len(os.listdir(f"/proc/{service.pid}/fd")) == descriptors
    assert resident(service) < memory + GROWTH
    assert LOG.read_text() == log
    assert not re.findall(r"FLOCK .* (\d+) ", held()), held()


def served(guest: Guest) -> None:
    """The service does the work of a hook."""
    document = guest.xml.encode()
    words = b"\0".join((b"guest", guest.name.encode(), b"migrate", b"begin", b"-"))
    with connected() as channel:
        channel.sendall(b"hook 1 %d %d\n" % (len(words), len(document)) + words)
        assert channel.recv(100) == b"ready\n"
        channel.sendall(document)
        assert channel.recv(100).startswith(b"0 ")


def resident(service: Resident) -> int:
    return int(Path(f"/proc/{service.pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def held() -> str:
    """Return the kernel's lines about locks below our folder."""
    numbers = {path.stat().st_ino for path in (STATE / "locks").glob("*")}
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return "\n".join(line for line in lines if int(line.split()[-3].rpartition(":")[2]) in numbers)


# -- what is said

SIZES = st.lists(st.integers(1, 150), max_size=4)
ENDS = st.sampled_from(["", "", "close"])
ODD = st.sampled_from(
    ["", "\0", "\ud800", "..", "/", "x" * 70000, "6f6e6f6f-0000-4000-8000-000000000001", "<a>", "\n", "\x9b"]
)
VALUES = ODD | st.text(max_size=30) | st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.floats()
WORDS = st.sampled_from(["attach", "commit", "rollback", "detach", "await_removal"]) | ODD
ERRANDS = st.fixed_dictionaries(
    {"do": WORDS}, optional={"guest": VALUES, "request": VALUES, "name": VALUES, "other": VALUES}
)
LINES = (
    ERRANDS.map(lambda errand: json.dumps(errand).encode())
    | st.binary(max_size=60)
    | st.sampled_from([b"[" * 60000, b"1" * 60000, b'{"do":', b"null", b"[]", b'"do"', b"{}", b"\xff", b"{" * 70000])
)
NUMBERS = st.integers(0, 400) | st.sampled_from([99999, 100000, 64 << 20, (64 << 20) + 1, 999999999, 10**9])
FEW_WORDS = st.lists(
    st.sampled_from([b"guest", b"devices", b"filters", b"lab1", b"prepare", b"begin", b"-", b"", b"\xff,guest"]),
    max_size=7,
).map(b"\0".join)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """Return a call of the hook that has something wrong."""
    words, document = draw(FEW_WORDS), draw(st.binary(max_size=80))
    sizes = draw(NUMBERS | st.just(len(words))), draw(NUMBERS | st.just(len(document)))
    version = draw(st.sampled_from([b"1", b"1", b"1", b"2", b"", b"-1", b"1 1"]))
    return b"hook %s %d %d\n" % (version, *sizes) + words + document


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    """Return something with a few bytes changed, missing or there twice."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 60))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = data[at : at + length]
            case 2:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                del data[at:]
    return bytes(data)


CONVERSATIONS = st.lists(LINES, max_size=5).map(lambda lines: b"".join(line + b"\n" for line in lines))
ANYTHING = st.binary(max_size=300) | CONVERSATIONS | CONVERSATIONS.flatmap(mutated) | calls() | calls().flatmap(mutated)


def check(answer: bytes, uid: int) -> None:
    """See that it is lines of JSON, or for root the hook's answer, whole or not begun."""
    assert answer != b"it hangs"
    if answer.startswith(b"ready\n"):
        assert uid == 0
        head, end, rest = answer.removeprefix(b"ready\n").partition(b"\n")
        assert not head or (end and sum(map(int, head.split()[1:])) == len(rest)), answer
        said = rest.decode()
        assert "Traceback" not in said and "unexpected" not in said, said
        return
    assert not answer or answer.endswith(b"\n")
    for line in answer.splitlines():
        said = json.loads(line)
        assert said == {} or sorted(said) == ["error", "remedy"]
        assert "unexpected" not in line.decode() and len(line) < 10000, line


@settings(holds, max_examples=EXAMPLES)
@given(ANYTHING, SIZES, ENDS)
def talks(talker: Talker, uid: int, said: bytes, sizes: list[int], end: str) -> None:
    check(talker.say(said, sizes, end), uid)


def test_anything(unharmed: None, talker: Talker, uid: int) -> None:
    talks(talker, uid)


def test_calls_of_the_hook_that_are_nearly_right(unharmed: None, talker: Talker, uid: int, guest: Guest) -> None:
    """A guest that is as good as right is started, and what was made of it is put back in the end."""
    document = stored(guest)

    @settings(holds, max_examples=STARTS)
    @given(mutated(document), st.sampled_from([b"prepare", b"start", b"release", b"reconnect", b"restore"]), SIZES)
    def starts(changed: bytes, operation: bytes, sizes: list[int]) -> None:
        words = b"\0".join((b"devices,guest,filters", guest.name.encode(), operation, b"begin", b"-"))
        said = b"hook 1 %d %d\n" % (len(words), len(changed)) + words + changed
        check(talker.say(said, sizes, ""), uid)

    starts()
    assert call("release", document).returncode == 0
