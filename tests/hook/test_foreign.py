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

from tests.lab.bench import services
from tests.lab.guest import Guest
from tests.lab.hook import (
    ENVIRONMENT,
    HAND_OVER,
    HOOK,
    PACKAGE,
    PROGRAM,
    PYTHON,
    STATE,
    STATIONS,
    call,
    one_line,
    opened,
    removed,
    stored,
)
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
    # Who the guest was is all that matters, and takes no parser.
    assert any(name.startswith("identity.") for name in names)
    assert not any(name.startswith("etree.") for name in names)


def test_a_guest_of_ours_loads_no_more_where_the_service_does_it(guest: Guest) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    with services.helper():
        for operation in ("prepare", "release"):
            names = loaded(HOOK, guest.name, operation, *STATIONS[operation], document=stored(guest))
            # The last is built in, or a file of its own.
            assert names - bare - {"hand_over.py", *(name for name in names if name.startswith("_socket."))} == set()


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


@contextmanager
def lease_of(kind: str, key: str, guest: str) -> Iterator[Path]:
    """Another guest of ours holds that."""
    lease = STATE / f"leases/{kind}-{key}"
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.write_text(json.dumps({"kind": kind, "key": key, "uuid": UUID, "guest": guest}), encoding="ascii")
    yield lease
    lease.unlink()


@pytest.fixture
def leased(installed: None) -> Iterator[Path]:
    """A guest of ours is on a VF, of a card that has gone."""
    with lease_of("vf", "0000:ff:10.0", "other") as lease:
        yield lease


@pytest.mark.parametrize("operation", ["start", "release"])
@pytest.mark.parametrize("document", [HOSTDEV, PASSTHROUGH])
def test_a_vf_that_libvirt_assigned_refreshes_the_filters(leased: Path, operation: str, document: bytes) -> None:
    sub, last = STATIONS[operation]
    names = loaded(HOOK, "web", operation, sub, last, document=document)
    assert any(name.startswith("source_filter.") for name in names)
    done = call(operation, document, name="web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("operation", "document"), [("start", FAST), ("start", FOREIGN), ("stopped", HOSTDEV)])
def test_and_no_other(leased: Path, operation: str, document: bytes) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    assert loaded(HOOK, "web", operation, *STATIONS[operation], document=document) == bare


@pytest.mark.parametrize("operation", ["start", "release"])
def test_nor_where_no_guest_of_ours_is_on_one(installed: None, operation: str) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    assert loaded(HOOK, "web", operation, *STATIONS[operation], document=HOSTDEV) == bare


@pytest.mark.parametrize("broken", ["lifecycle/guest.py", "hook.py", HAND_OVER])
def test_it_starts_whatever_is_wrong_with_us(leased: Path, broken: str | Path) -> None:
    module = PACKAGE / broken
    whole = module.read_text(encoding="utf-8")
    module.write_text("the middle of an upgrade", encoding="utf-8")
    try:
        done = call("start", HOSTDEV, name="web")
    finally:
        module.write_text(whole, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, b"") and done.stderr.count(b"\n") == 1


# -- what is another guest's

MAC = "52:54:00:00:00:09"
MINE = "66666666-2222-4333-8444-555555555555"
UNMANAGED = f"<interface type='ethernet'><mac address='{MAC}'/><target dev='%s' managed='no'/></interface>"
TAKING = (
    UNMANAGED,
    f"<interface type='bridge'><mac address='{MAC}'/><source bridge='br0'/><target dev='%s'/></interface>",
    f"<interface type='direct'><mac address='{MAC}'/><source dev='%s' mode='passthrough'/></interface>",
)
PLACE = "domain='0x0000' bus='0xff' slot='0x10' function='0x0'"
VF = f"<address type='pci' {PLACE}/>"
ASSIGNING = (
    f"<hostdev mode='subsystem' type='pci' managed='yes'><source><address {PLACE}/></source></hostdev>",
    f"<interface type='hostdev'><mac address='{MAC}'/><source>{VF}</source></interface>",
)


def with_devices(devices: str, uuid: str = MINE) -> bytes:
    """Return a guest as libvirt writes it, with another one's devices in what it may hold of others."""
    held = f"<metadata><b:copy xmlns:b='urn:example:backup'><devices>{UNMANAGED % 'x'}</devices></b:copy></metadata>"
    devices = f"{held}<devices><disk type='file'><source file='/a'/><target dev='held9'/></disk>{devices}</devices>"
    return FOREIGN.replace(b"<devices/>", devices.encode()).replace(UUID.encode(), uuid.encode())


@pytest.fixture
def held(installed: None) -> Iterator[Path]:
    """The device held9 is another guest's."""
    with lease_of("device", "held9", 'a "guest": é') as lease:
        yield lease


@pytest.mark.parametrize("operation", ["prepare", "start"])
@pytest.mark.parametrize("devices", TAKING)
def test_a_device_of_another_guest_is_refused(held: Path, operation: str, devices: str) -> None:
    document = with_devices(devices % "held9").replace(b"<b:copy", b"<z:b/><b:copy")
    done = call(operation, document, name="web")
    assert done.returncode == 1
    assert one_line(done) == (
        f"guest 'web': interface {MAC}: device held9 is in use by guest 'a \"guest\": é' ({UUID}); "
        "choose another device, or stop that guest"
    )


@pytest.mark.parametrize("operation", ["prepare", "start"])
@pytest.mark.parametrize("devices", ASSIGNING)
def test_a_vf_of_another_guest_is_refused(leased: Path, operation: str, devices: str) -> None:
    done = call(operation, with_devices(devices), name="web")
    assert done.returncode == 1 and f"hostdev: vf 0000:ff:10.0 is in use by guest 'other' ({UUID}); " in one_line(done)


# Devices that nobody holds, the guest's own, and names that are no device's: of a disk, in a guest, an address in one.
INNOCENT = (
    ("", MINE),
    (UNMANAGED % "held8", MINE),
    (UNMANAGED % "../leases/device-held9", MINE),
    (UNMANAGED % "held9", UUID),
    ("<interface type='ethernet'><guest dev='held9'/></interface>", MINE),
    (f"<hostdev><source><address bus='1'/></source>{VF}</hostdev>", MINE),
    (f"<interface type='direct'><source dev='eth7' mode='vepa'/>{VF}</interface>", MINE),
)


@pytest.mark.parametrize("operation", ["prepare", "start", "release", "reconnect"])
@pytest.mark.parametrize(("devices", "uuid"), INNOCENT)
def test_what_is_no_other_guests_is_not(held: Path, leased: Path, operation: str, devices: str, uuid: str) -> None:
    done = call(operation, with_devices(devices, uuid), name="web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("operation", ["prepare", "start"])
@pytest.mark.parametrize("devices", TAKING)
def test_what_nobody_holds_loads_no_module(held: Path, operation: str, devices: str) -> None:
    bare = loaded(PYTHON, "-I", "-S", "-c", "pass", document=FOREIGN)
    document = with_devices(devices % "held8").replace(b"<target dev='held9'/></disk>", b"</disk>")
    assert loaded(HOOK, "web", operation, *STATIONS[operation], document=document) == bare


def test_a_closer_look_loads_no_pyroute2(held: Path) -> None:
    names = loaded(HOOK, "web", "prepare", "begin", "-", document=with_devices(""))
    assert any(name.startswith("foreign.") for name in names)
    assert not any(name.startswith(("rtnetlink.", "etree.")) for name in names)


@pytest.mark.parametrize("operation", ["release", "reconnect", "stopped"])
def test_who_runs_already_is_not_stopped(held: Path, operation: str) -> None:
    done = call(operation, with_devices(UNMANAGED % "held9"), name="web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("operation", ["prepare", "start"])
@pytest.mark.parametrize(("away", "why"), [(PROGRAM, b"there is no program"), (HAND_OVER, b"No module named")])
def test_an_error_of_ours_stops_nobody(held: Path, operation: str, away: Path, why: bytes) -> None:
    with removed(away):
        done = call(operation, with_devices(UNMANAGED % "held9"), name="web")
    assert (done.returncode, done.stdout) == (0, b"") and why in done.stderr and done.stderr.count(b"\n") == 1


def test_a_copy_is_told_of_the_mac_first(guest: Guest) -> None:
    call("prepare", stored(guest))
    target = f"<target dev='{guest.device}' managed='no'/>"
    copy = f"<interface type='ethernet'><mac address='{guest.mac}'/>{target}</interface>"
    done = call("prepare", with_devices(copy), name="copy")
    assert one_line(done) == (
        f"guest 'copy': interface {guest.mac}: mac {guest.mac} is in use by guest 'lab1' ({guest.uuid}); "
        "choose another mac, or stop that guest"
    )


def test_a_mac_alone_is_free_on_another_network(guest: Guest) -> None:
    call("prepare", stored(guest))
    other = f"<interface type='ethernet'><mac address='{guest.mac}'/><target dev='tap7' managed='no'/></interface>"
    done = call("prepare", with_devices(other), name="other")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uuid": 7}', "\0"])
def test_a_damaged_lease_stops_nobody(held: Path, text: str) -> None:
    held.write_text(text, encoding="ascii")
    done = call("prepare", with_devices(UNMANAGED % "held9"), name="web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


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
    with removed(PACKAGE, PROGRAM, HAND_OVER):
        done = call(operation, document)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


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
