# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts that the hook refuses: one line that says who, where, why and what to do, and nothing changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hook.conftest import without
from tests.lab.guest import Guest
from tests.lab.hook import (
    ENVIRONMENT,
    HAND_OVER,
    HOOK,
    STATE,
    STATIONS,
    call,
    command,
    define_nic,
    one_line,
    removed,
    state_files,
    stored,
)
from tests.lab.shell import link, run
from tests.support.leak_check import Untouched


def refused(guest: Guest) -> str:
    """Return why the guest may not start, without the guest and the interface, which are named before."""
    with Untouched():
        done = call("prepare", stored(guest), name=guest.name)
    assert done.returncode != 0
    who, interface, why = one_line(done).split(": ", 2)
    assert who == f"guest '{guest.name}'" and interface.startswith("interface 5"), done.stderr
    return why


def test_a_name_that_is_not_defined(guest: Guest) -> None:
    guest.interfaces = guest.interfaces.replace("lan", "wan")
    with Untouched():
        done = call("prepare", stored(guest))
    assert done.returncode == 1
    assert one_line(done) == (
        "guest 'lab1': no physical interface 'wan' is defined on this host; "
        "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'"
    )


def test_a_definition_that_is_half_written(guest: Guest) -> None:
    path = Path("/etc/libvirt/vepa/lan.xml")
    path.write_text(path.read_text()[:40])
    with Untouched():
        done = call("prepare", stored(guest))
    assert done.returncode == 1
    assert one_line(done).startswith(f"guest 'lab1': {path}, line 2: not well-formed XML: ")


def test_a_mode_that_is_not_allowed(guest: Guest) -> None:
    define_nic("lan", "eth1", "<mode>bridge</mode><mode>pepa</mode>")
    guest.ask("vepa")
    assert refused(guest) == "mode vepa is not allowed on 'lan'; ask for bridge or pepa"


def test_a_nic_that_is_not_there(guest: Guest) -> None:
    define_nic("lan", "eth7")
    assert refused(guest).startswith("'lan' is NIC eth7, which does not exist on this host; see 'ip link'")


def test_a_macvtap_on_a_port_of_a_bridge(bridge: str, guest: Guest) -> None:
    assert refused(guest) == (
        f"NIC eth1 is a port of bridge {bridge}, and a macvtap cannot share it; "
        "ask for <type>tap</type>, or take it out with 'ip link set eth1 nomaster'"
    )


def test_a_tap_without_a_bridge(guest: Guest) -> None:
    guest.ask("bridge", "tap")
    assert refused(guest).startswith("a tap needs a Linux bridge that NIC eth1 is a port of; make one with 'ip link")


def test_a_mac_of_another_guest(guest: Guest) -> None:
    call("prepare", stored(guest))
    other = Guest(2)
    other.interfaces = guest.interfaces.replace("</interface>", "<target dev='other'/></interface>")
    assert refused(other) == (
        f"mac {guest.mac} is in use by guest 'lab1' ({guest.uuid}); choose another mac, or stop that guest"
    )


def test_a_device_of_another_guest(guest: Guest) -> None:
    guest.interfaces = guest.interfaces.replace("</interface>", "<target dev='web'/></interface>")
    call("prepare", stored(guest))
    other = Guest(2)
    other.interfaces = guest.interfaces.replace(guest.mac, other.mac)
    assert refused(other).startswith("device web ")


@pytest.mark.parametrize("kind", ["bridge", "macvtap"])
def test_a_device_of_anybody_else(guest: Guest, kind: str) -> None:
    below = ("link", "eth1") if kind == "macvtap" else ()
    run("ip", "link", "add", *below, "name", guest.device, "type", kind)
    try:
        why = refused(guest)
        assert why.startswith(f"device {guest.device} exists and is not this guest's; ")
        assert "choose another name in <target dev=…/>" in why
        assert (f"'ip link delete {guest.device}'" in why) == (kind == "macvtap")
    finally:
        run("ip", "link", "delete", guest.device)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("sr-iov", "NIC eth1 has no SR-IOV; "), ("vmdq", "driver unknown of NIC eth1 has fixed off l2-fwd-offload; ")],
)
def test_a_nic_that_is_not_what_its_definition_says(guest: Guest, kind: str, said: str) -> None:
    xml = f"<interface type='physical' name='lan'><source dev='eth1'/><type>{kind}</type></interface>"
    command("iface-define", "-", stdin=xml.encode())
    assert refused(guest).startswith(said)


@contextmanager
def state_on(options: str) -> Iterator[None]:
    """Have the state in a file system of its own kind, beside what the rest of the lab has in /run."""
    STATE.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", options, "small", str(STATE))
    try:
        yield
    finally:
        run("umount", str(STATE))


def test_a_read_only_run(guest: Guest) -> None:
    with state_on("ro"), Untouched():
        done = call("prepare", stored(guest))
    assert done.returncode == 1
    assert "Read-only file system; make the file system writable" in one_line(done)
    assert "guest 'lab1': " in one_line(done)


# Folders and locks take files too: from one where not even they fit, to one where only the last lease does not.
@pytest.mark.parametrize("files", range(2, 10))
def test_a_full_run(guest: Guest, files: int) -> None:
    with state_on(f"nr_inodes={files}"):
        done = call("prepare", stored(guest))
        assert done.returncode == 1
        assert "No space left on device; make room on the file system" in one_line(done)
        assert "guest 'lab1': " in one_line(done)
        assert state_files() == [] and link(guest.device) is None


def test_a_run_with_just_enough_room(guest: Guest) -> None:
    with state_on("nr_inodes=11"):
        assert call("prepare", stored(guest)).returncode == 0
        assert call("release", stored(guest)).returncode == 0


def test_without_the_right_to_change_networks(guest: Guest) -> None:
    powerless = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", HOOK)
    with Untouched():
        done = subprocess.run(
            (*powerless, guest.name, "prepare", "begin", "-"),
            input=stored(guest),
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            check=False,
        )
    assert done.returncode == 1
    assert one_line(done).startswith("guest 'lab1': ")
    assert one_line(done).endswith("Operation not permitted; run as root with CAP_NET_ADMIN")


@pytest.mark.parametrize("journal", [b"", b'{"version": 1, "uu', b"\xff\xfe"])
def test_a_journal_that_is_cut_short(guest: Guest, journal: bytes) -> None:
    path = STATE / "guests" / f"{guest.uuid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(journal)
    with Untouched():
        done = call("prepare", stored(guest))
        assert call("release", stored(guest)).returncode == 1
    assert done.returncode == 1
    assert one_line(done).endswith(f"{path} is damaged; stop the guest, then run 'libvirt-vepa reconcile'")
    path.unlink()


def test_a_journal_of_a_newer_version(guest: Guest) -> None:
    path = STATE / "guests" / f"{guest.uuid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"version": 2}')
    with Untouched():
        done = call("prepare", stored(guest))
        assert call("release", stored(guest)).returncode == 1
    assert done.returncode == 1
    assert "was written by a newer libvirt-vepa (version 2, known is 1); install that one again" in one_line(done)
    path.unlink()


def test_an_answer_that_cannot_be_written(guest: Guest) -> None:
    command = (HOOK, guest.name, "migrate", *STATIONS["migrate"])
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, input=guest.xml.encode(), stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        b"libvirt-vepa: cannot tell libvirt the guest's XML: No space left on device; see the log of its daemon\n",
    )


def test_a_part_of_the_hook_that_is_gone(guest: Guest) -> None:
    with Untouched(), removed(HAND_OVER):
        for operation, status in (("prepare", 1), ("start", 1), ("release", 1), ("reconnect", 0)):
            done = call(operation, stored(guest))
            assert done.returncode == status
            assert one_line(done).startswith(
                "guest 'lab1': the hook cannot run: No module named 'hand_over'; install libvirt-vepa again"
            )


@pytest.mark.parametrize("module", ["lxml", "pyroute2"])
def test_a_library_that_is_not_installed(guest: Guest, module: str) -> None:
    document = stored(guest)
    call("prepare", document)
    with Untouched(), without(module):
        for operation, status in (("prepare", 1), ("start", 1), ("release", 1), ("reconnect", 0)):
            done = call(operation, document)
            assert done.returncode == status
            assert one_line(done) == f"Python's module '{module}' is missing; install the package python3-{module}"
        # Others are not stopped by what only guests of ours need.
        done = call("prepare", b"<domain><name>physical</name></domain>")
        assert (done.returncode, done.stderr) == (0, b"")
