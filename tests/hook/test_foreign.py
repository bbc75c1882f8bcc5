# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that have nothing of ours: the hook costs them nothing, and nothing around it can touch it."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import ENVIRONMENT, HOOK, PACKAGE, PROGRAM, PYTHON, STATE, STATIONS, call, opened, stored
from tests.lab.shell import link

UUID = "11111111-2222-4333-8444-555555555555"
FOREIGN = f"<domain><name>web</name><uuid>{UUID}</uuid><devices/></domain>\n".encode()
MIB = 1024 * 1024


def loaded(*command: str, document: bytes) -> set[str]:
    """Return the modules that a program loads from files, by the names of those files."""
    log = Path("/run/loaded")
    traced = ("strace", "-f", "-qq", "-e", "trace=openat", "-o", str(log), *command)
    subprocess.run(traced, input=document, env=ENVIRONMENT, cwd="/", check=True, capture_output=True)
    lines = log.read_text(encoding="ascii").splitlines()
    opened = [line.split('"')[1] for line in lines if '"' in line and "ENOENT" not in line]
    return {Path(name).name for name in opened if name.endswith((".py", ".pyc", ".so")) or "site-packages" in name}


@pytest.mark.parametrize("operation", [*STATIONS, "attach"])
def test_a_foreign_guest_loads_no_module(installed: None, operation: str) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    sub, last = STATIONS.get(operation, ("begin", "-"))
    assert loaded(HOOK, "web", operation, sub, last, document=FOREIGN) == bare


def test_that_test_would_see_what_a_guest_of_ours_loads(guest: Guest) -> None:
    names = loaded(HOOK, guest.name, "release", "end", "-", document=stored(guest))
    assert any(name.startswith("hook.") for name in names)
    assert any(name.startswith("etree.") for name in names)


def test_a_foreign_release_costs_one_look_for_a_journal(installed: None) -> None:
    log = Path("/run/looks")
    for operation, looks in (("release", 1), ("prepare", 0), ("stopped", 0)):
        traced = ("strace", "-f", "-qq", "-e", "trace=%file", "-o", str(log), HOOK, "web", operation, "end", "-")
        subprocess.run(traced, input=FOREIGN, env=ENVIRONMENT, cwd="/", check=True)
        lines = [line for line in log.read_text(encoding="ascii").splitlines() if "/run/libvirt/vepa" in line]
        assert len(lines) == looks, lines
        assert all(f"/{UUID}.json" in line and "ENOENT" in line for line in lines)


# Those that libvirt itself gives a VF, and one that only looks like it.
HOSTDEV = FOREIGN.replace(b"<devices/>", b"<devices><interface type='hostdev'/></devices>")
PASSTHROUGH = FOREIGN.replace(b"<devices/>", b"<devices><source dev='vf1' mode='passthrough'/></devices>")
FAST = FOREIGN.replace(b"<devices/>", b"<cpu mode='host-passthrough'/><devices/>")


@pytest.fixture
def leased(installed: None) -> Iterator[Path]:
    """A guest of ours is on a VF, of a card that has gone."""
    lease = STATE / "leases/vf-0000:ff:10.0"
    lease.parent.mkdir(parents=True, exist_ok=True)
    held = {"kind": "vf", "key": "0000:ff:10.0", "uuid": UUID, "guest": "other"}
    lease.write_text(json.dumps(held), encoding="ascii")
    yield lease
    lease.unlink()


@pytest.mark.parametrize("operation", ["start", "release"])
@pytest.mark.parametrize("document", [HOSTDEV, PASSTHROUGH])
def test_a_vf_that_libvirt_assigned_refreshes_the_filters(leased: Path, operation: str, document: bytes) -> None:
    sub, last = STATIONS[operation]
    names = loaded(HOOK, "web", operation, sub, last, document=document)
    assert any(name.startswith("source_filter.") for name in names)
    done = call(operation, document, name="web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("operation", "document"), [("start", FAST), ("start", FOREIGN), ("prepare", HOSTDEV), ("stopped", HOSTDEV)]
)
def test_and_no_other(leased: Path, operation: str, document: bytes) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    assert loaded(HOOK, "web", operation, *STATIONS[operation], document=document) == bare


@pytest.mark.parametrize("operation", ["start", "release"])
def test_nor_where_no_guest_of_ours_is_on_one(installed: None, operation: str) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    assert loaded(HOOK, "web", operation, *STATIONS[operation], document=HOSTDEV) == bare


@pytest.mark.parametrize("broken", ["lifecycle/guest.py", "hook.py"])
def test_it_starts_whatever_is_wrong_with_us(leased: Path, broken: str) -> None:
    module = PACKAGE / broken
    whole = module.read_text(encoding="utf-8")
    module.write_text("the middle of an upgrade", encoding="utf-8")
    try:
        done = call("start", HOSTDEV, name="web")
    finally:
        module.write_text(whole, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, b"") and done.stderr.count(b"\n") == 1


# As libvirt writes what people say about a guest, and what other programs keep with it.
WORDS = (
    "<title>copy of a physical server</title>",
    "<title>&lt;interface type=&apos;physical&apos;&gt; of urn:libvirt-vepa:physical:1 as ua-physical-1</title>",
    "<description>migrated from type='physical'</description>",
    "<metadata><v:physical xmlns:v='urn:example:physical'/></metadata>",
    "<devices><disk type='file'><source file='/srv/physical.img'/></disk></devices>",
    "<devices><disk type='file'><alias name='ua-disk'/><target dev='ua-physical-x'/></disk></devices>",
)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("operation", STATIONS)
def test_the_word_alone_makes_no_guest_ours(operation: str, words: str) -> None:
    document = FOREIGN.replace(b"<devices/>", words.encode())
    with without_the_program():
        done = call(operation, document)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@contextmanager
def without_the_program() -> Iterator[None]:
    """Have everything removed but the hook, as after the removal of a package."""
    kept = {path: path.with_name(f"{path.name}.kept") for path in (PACKAGE, PROGRAM)}
    for path, away in kept.items():
        path.rename(away)
    try:
        yield
    finally:
        for path, away in kept.items():
            away.rename(path)


@pytest.mark.parametrize("document", [FOREIGN, b"", b"\0\xff" * 100, b"<uuid>" + b"\0" * 50, b"<uuid>../../../x\n"])
@pytest.mark.parametrize("operation", ["prepare", "release", "reconnect", "migrate"])
def test_what_is_not_ours_is_never_judged(installed: None, operation: str, document: bytes) -> None:
    done = call(operation, document)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


OURS = b"='urn:libvirt-vepa:physical:1'"


@pytest.mark.parametrize("operation", ["prepare", "started", "release", "attach"])
@pytest.mark.parametrize("word", [b"foreign", b"physical", OURS])
def test_stdin_is_read_to_its_end(installed: None, operation: str, word: bytes) -> None:
    document = b"<!-- %s -->" % word + b" " * (4 * MIB - len(FOREIGN) - len(OURS) - 20) + FOREIGN
    hook = opened(operation, name="web")
    assert hook.stdin is not None
    with hook:
        # A BrokenPipeError here is what libvirtd would meet.
        hook.stdin.write(document)
        out, err = hook.communicate(timeout=60)
    assert (hook.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("operation", ["prepare", "release"])
def test_no_child_keeps_the_hooks_output_open(guest: Guest, operation: str) -> None:
    if operation == "release":
        call("prepare", stored(guest))
    reading, writing = os.pipe()
    document = Path("/run/document")
    document.write_bytes(stored(guest))
    with document.open("rb") as stdin:
        command = (HOOK, guest.name, operation, STATIONS[operation][0], "-")
        done = subprocess.run(command, stdin=stdin, stdout=writing, stderr=writing, env=ENVIRONMENT, check=False)
    os.close(writing)
    assert done.returncode == 0
    # At once: `run` has waited for the hook alone, not for whoever else may hold its output.
    assert select.select([reading], [], [], 0)[0] and os.read(reading, 100) == b""
    os.close(reading)


HOSTILE = "import os\nos.write(2, b'I was here')\nos._exit(7)\n"


@pytest.mark.parametrize("document", ["foreign", "ours"])
def test_the_hook_ignores_environment_and_folder(guest: Guest, document: str, tmp_path: Path) -> None:
    for name in ("libvirt_vepa", "json", "site", "lxml", "pyroute2", "sitecustomize", "usercustomize", "startup"):
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    hostile = {
        **ENVIRONMENT,
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONHOME": str(tmp_path),
        "PYTHONUSERBASE": str(tmp_path),
        "PYTHONINSPECT": "1",
        "HOME": str(tmp_path),
    }
    text = FOREIGN if document == "foreign" else stored(guest)
    done = subprocess.run(
        (HOOK, guest.name, "prepare", "begin", "-"),
        input=text,
        env=hostile,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (link(guest.device) is not None) == (document == "ours")
