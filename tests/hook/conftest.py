# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook and the command installed in the lab, and NICs that definitions name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.daemon import daemon
from tests.lab.guest import Guest
from tests.lab.hook import PACKAGES, PYTHON, STATE, call, command, define_nic, install, one_line, state_files, stored
from tests.lab.network import Nic, nic
from tests.lab.shell import link, run
from tests.libvirt.conftest import Eventually
from tests.support.leak_check import Untouched
from tests.support.user import ROOTS, USER, Person

DEFINITIONS = Path("/etc/libvirt/vepa")


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    install()


@pytest.fixture(scope="package")
def libvirtd(installed: None) -> Iterator[None]:
    """The daemon that `reconcile` asks; no guest runs in it."""
    with daemon():
        yield


def refused(*arguments: str | bytes, stdin: bytes = b"") -> str:
    """Return why the command refuses, in one line, as its module does too; nothing has changed."""
    with Untouched():
        done, same = command(*arguments, stdin=stdin), command(*arguments, stdin=stdin, module=True)
    assert (done.returncode, same.returncode) == (1, 1)
    assert done.stderr == same.stderr and same.stdout == b""
    return one_line(done, "error: ")


def damaged(good: bytes, word: bytes) -> dict[str, tuple[bytes, str]]:
    """Return what is no document that one may take, whatever it is of, with how it is refused.

    All are made of a good one, in which `word` stands once or more.
    """
    text, cut = "standard input, line {}: {}".format, good[:-12]
    broken, declared = "not well-formed XML: ", "an entity is declared, which is not accepted; "
    return {
        "no XML": (b"just words", text(1, broken)),
        "cut short": (cut, text(cut.count(b"\n") + 1, broken)),
        "nothing": (b"", text(1, broken)),
        "50 MiB": (good + b" " * (50 << 20), "standard input: the document is larger than 4 MiB; "),
        "UTF-16": (
            good.decode().encode("utf-16"),
            "standard input: the document is in UTF-16 or UTF-32; write it in UTF-8",
        ),
        "Latin-1": (b"<interface>\xfc</interface>", text(1, "byte 0xfc is not UTF-8; ")),
        "NUL": (good.replace(b"=", b"\0=", 1), text(1, "a NUL byte stands in the text; ")),
        "a bomb": (
            b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>\n" + good.replace(word, b"&b;"),
            text(1, declared),
        ),
        "a file": (
            b"<!DOCTYPE x [\n<!ENTITY a SYSTEM 'file:///etc/hostname'>]>\n" + good.replace(word, b"&a;"),
            text(2, declared),
        ),
    }


def module_file(name: str) -> Path:
    """Return the file that the Python under test loads a module from."""
    code = f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); import {name} as m; print(m.__file__)"
    return Path(run(PYTHON, "-I", "-c", code).stdout.strip())


@contextmanager
def without(module: str) -> Iterator[None]:
    """Have a library not installed."""
    path = module_file(module)
    path = path.parent if path.name == "__init__.py" else path
    kept = path.with_name("kept.away")
    shutil.move(path, kept)
    try:
        yield
    finally:
        shutil.move(kept, path)


def put_up(device: str) -> None:
    """Put a device up, and wait until it carries frames: the kernel tells of that in its own time."""
    with Eventually(f"{device} is up", lambda: (link(device) or {})["operstate"] == "UP"):
        run("ip", "link", "set", device, "up")


@pytest.fixture
def wire(installed: None) -> Iterator[Nic]:
    """eth1, up, which is `lan`; no guest has anything left of it at the end."""
    with nic("eth1") as found:
        put_up("eth1")
        define_nic("lan", "eth1")
        yield found
    for path in DEFINITIONS.iterdir():
        path.unlink()
    left = state_files()
    # One test that fails must not drag the others along.
    shutil.rmtree(STATE, ignore_errors=True)
    assert left == []


@pytest.fixture
def bridge(wire: Nic) -> Iterator[str]:
    """The bridge br0, of which eth1 is a port."""
    run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    run("ip", "link", "set", "eth1", "master", "br0")
    put_up("br0")
    yield "br0"
    run("ip", "link", "delete", "br0")


@pytest.fixture
def guest(wire: Nic) -> Iterator[Guest]:
    """A guest that asks for `lan` in the host's default mode."""
    found = Guest(1)
    found.ask(None)
    yield found
    call("release", stored(found))
    run("ip", "link", "delete", found.device, check=False)


@pytest.fixture
def root(installed: None) -> Iterator[Person]:
    before = ROOTS.read_bytes()
    ROOTS.unlink()
    found = Person(0, "system", ROOTS)
    yield found
    for left in (found.saved, found.launcher):
        left.unlink(missing_ok=True)
    ROOTS.unlink(missing_ok=True)
    ROOTS.write_bytes(before)


@pytest.fixture
def user(installed: None) -> Iterator[Person]:
    home = Path("/run/somebody")
    (home / ".config/libvirt").mkdir(parents=True)
    run("chown", "-R", f"{USER}:{USER}", str(home))
    rights = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", f"HOME={home}")
    yield Person(USER, "session", home / ".config/libvirt/libvirt.conf", rights)
    shutil.rmtree(home)


@pytest.fixture(params=["root", "user"])
def person(request: pytest.FixtureRequest) -> Person:
    found: Person = request.getfixturevalue(request.param)
    return found
