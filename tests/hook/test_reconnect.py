# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`reconnect`: whatever happens, it must not fail, because libvirt would kill the guest that runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import PACKAGE, PROGRAM, STATE, call, one_line, stored
from tests.lab.shell import link, run
from tests.support.leak_check import Untouched


@contextmanager
def broken(harm: Callable[[Path], object]) -> Iterator[None]:
    """Have the installed package damaged for a while."""
    kept = PACKAGE.with_name("kept")
    shutil.copytree(PACKAGE, kept)
    try:
        for cache in list(PACKAGE.rglob("__pycache__")):
            shutil.rmtree(cache)
        harm(PACKAGE)
        yield
    finally:
        shutil.rmtree(PACKAGE, ignore_errors=True)
        PACKAGE.unlink(missing_ok=True)
        kept.rename(PACKAGE)


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda package: (package / name).write_text(text)


def nothing_but_a_file(package: Path) -> None:
    shutil.rmtree(package)
    package.write_text("not a folder")


HARM = {
    "the whole package is gone": shutil.rmtree,
    "a file in its place": nothing_but_a_file,
    "hook is gone": lambda package: (package / "hook.py").unlink(),
    "errors is gone": lambda package: (package / "errors.py").unlink(),
    "domain is gone": lambda package: (package / "xml/domain.py").unlink(),
    "netlink is gone": lambda package: (package / "kernel/rtnetlink.py").unlink(),
    "a syntax error in hook": write("hook.py", "def main(:\n"),
    "a syntax error in domain": write("xml/domain.py", "def main(:\n"),
    "a syntax error in operations": write("operations/device.py", "\x00"),
    "hook is from another version": write("hook.py", "from libvirt_vepa.errors import NobodyKnowsThis\n"),
    "netlink is from another version": write("kernel/rtnetlink.py", "class Netlink: pass\n"),
    "state raises": write("store/store.py", "raise RuntimeError('two\\nlines')\n"),
    "guests raises": write("lifecycle/guest.py", "1 / 0\n"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_broken_installation_stops_no_running_guest(guest: Guest, harm: Callable[[Path], object]) -> None:
    document = stored(guest)
    call("prepare", document)
    with Untouched(), broken(harm):
        done = call("reconnect", document)
        assert done.returncode == 0
        assert one_line(done)
        assert call("start", document).returncode == 1
        # Those of others go on and notice nothing.
        assert call("prepare", b"<domain/>").returncode == 0


MISSING = f"there is no program {PROGRAM}; install libvirt-vepa again"


@pytest.mark.parametrize("harm", [Path.unlink, lambda program: program.chmod(0o644)], ids=["gone", "not executable"])
def test_a_guest_runs_on_without_the_hooks_program(guest: Guest, harm: Callable[[Path], object]) -> None:
    document = stored(guest)
    call("prepare", document)
    with Untouched():
        whole = PROGRAM.read_bytes()
        try:
            harm(PROGRAM)
            for operation, status in (("prepare", 1), ("start", 1), ("migrate", 1), ("restore", 1), ("reconnect", 0)):
                done = call(operation, document)
                assert (operation, done.returncode) == (operation, status)
                assert one_line(done) == f"guest 'lab1': the hook cannot run: {MISSING}"
            assert one_line(call("release", document)).endswith(f"{MISSING}, then run 'libvirt-vepa reconcile'")
            for operation in ("started", "stopped"):
                assert call(operation, document).stderr == b""
        finally:
            PROGRAM.write_bytes(whole)
            PROGRAM.chmod(0o755)
    assert call("release", document).returncode == 0


def test_a_program_that_is_killed_stops_no_running_guest(guest: Guest) -> None:
    whole = PROGRAM.read_bytes()
    call("prepare", stored(guest))
    try:
        PROGRAM.write_text("#!/bin/sh\nkill -9 $$\n", encoding="ascii")
        assert call("reconnect", stored(guest)).returncode == 0
    finally:
        PROGRAM.write_bytes(whole)


def test_all_is_well(guest: Guest) -> None:
    call("prepare", stored(guest))
    with Untouched():
        done = call("reconnect", stored(guest))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (("allmulticast", "off"), "does not receive all multicast"),
        (("down",), "is down"),
    ],
)
def test_what_a_guest_does_not_notice_is_repaired_and_told_of(guest: Guest, harm: tuple[str, ...], told: str) -> None:
    call("prepare", stored(guest))
    with Untouched():
        run("ip", "link", "set", guest.device, *harm)
        done = call("reconnect", stored(guest))
    assert done.returncode == 0
    assert one_line(done) == f"guest 'lab1': {guest.device} {told}: repaired"


def test_the_hosts_ipv6_is_switched_off_again(guest: Guest) -> None:
    call("prepare", stored(guest))
    switch = Path(f"/proc/sys/net/ipv6/conf/{guest.device}/disable_ipv6")
    switch.write_text("0\n")
    done = call("reconnect", stored(guest))
    assert done.returncode == 0
    assert one_line(done) == f"guest 'lab1': {guest.device} has the host's IPv6 enabled: repaired"
    assert switch.read_text() == "1\n"


def test_a_tap_joins_its_bridge_again(bridge: str, guest: Guest) -> None:
    guest.ask("bridge", "tap")
    call("prepare", stored(guest))
    run("ip", "link", "set", guest.device, "nomaster")
    done = call("reconnect", stored(guest))
    assert done.returncode == 0
    assert one_line(done) == f"guest 'lab1': {guest.device} is not a port of bridge {bridge}: repaired"
    assert (link(guest.device) or {})["master"] == bridge


def test_what_cannot_be_repaired_is_only_told_of(guest: Guest) -> None:
    call("prepare", stored(guest))
    run("ip", "link", "delete", guest.device)
    with Untouched():
        done = call("reconnect", stored(guest))
    assert done.returncode == 0
    assert f"guest 'lab1': {guest.device} has gone\n" in done.stderr.decode()
    assert link(guest.device) is None


@pytest.mark.parametrize("journal", [None, b"", b"{", b'{"version": 99}'])
def test_a_journal_that_is_gone_damaged_or_newer_is_told_of(guest: Guest, journal: bytes | None) -> None:
    call("prepare", stored(guest))
    path = STATE / "guests" / f"{guest.uuid}.json"
    whole = path.read_bytes()
    if journal is None:
        path.unlink()
    else:
        path.write_bytes(journal)
    with Untouched():
        done = call("reconnect", stored(guest))
    assert done.returncode == 0
    assert one_line(done).startswith("guest 'lab1': ") and "; " in one_line(done)
    path.write_bytes(whole)
