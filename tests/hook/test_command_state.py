# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`status` and `reconcile`: what guests have, and what is left of those that are gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hook.conftest import refused, without
from tests.lab.guest import Guest
from tests.lab.hook import COMMAND, ENVIRONMENT, STATE, Done, call, command, one_line, state_files, stored
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.support.leak_check import Untouched


@pytest.fixture
def prepared(guest: Guest) -> Guest:
    assert call("prepare", stored(guest)).returncode == 0
    return guest


@pytest.fixture
def another(wire: Nic) -> Iterator[Guest]:
    """A second guest whose devices are made."""
    found = Guest(2)
    found.ask("pepa")
    assert call("prepare", stored(found)).returncode == 0
    yield found
    call("release", stored(found))


def journal(guest: Guest) -> Path:
    return STATE / "guests" / f"{guest.uuid}.json"


def said(*arguments: str) -> str:
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_status_shows_each_interface(prepared: Guest, another: Guest) -> None:
    with Untouched():
        lines, data = said("status").splitlines(), json.loads(said("status", "--json"))
    assert lines[0].split() == ["Guest", "Name", "NIC", "Switch", "VF", "Mode", "Device", "State"]
    assert [line.split() for line in lines[2:4]] == [
        ["lab1", "lan", "eth1", "-", "-", "vepa", prepared.device, "ok"],
        ["lab2", "lan", "eth1", "-", "-", "pepa", another.device, "ok"],
    ]
    assert [(row["guest"], row["uuid"], row["drifts"]) for row in data] == [
        (guest.name, guest.uuid, []) for guest in (prepared, another)
    ]


def test_status_of_nothing(wire: Nic) -> None:
    assert said("status").splitlines()[0].split() == ["Guest", "Name", "NIC", "Switch", "VF", "Mode", "Device", "State"]
    assert json.loads(said("status", "--json")) == []


def test_status_shows_what_has_drifted(prepared: Guest) -> None:
    run("ip", "link", "set", prepared.device, "down", "allmulticast", "off")
    row = json.loads(said("status", "--json"))[0]
    assert sorted(row["drifts"]) == [
        f"{prepared.device} does not receive all multicast",
        f"{prepared.device} is down",
    ]
    assert f"{prepared.device} is down" in said("status")


def test_status_shows_an_unreadable_journal_beside_others(prepared: Guest, another: Guest) -> None:
    whole = journal(another).read_text()
    journal(another).write_text("{")
    with Untouched():
        rows = json.loads(said("status", "--json"))
    journal(another).write_text(whole)
    assert [row["guest"] for row in rows] == ["lab1", "-"]
    assert rows[1]["drifts"] == [
        f"{journal(another)} is damaged; stop the guest, then run 'libvirt-vepa reconcile'",
    ]


def test_a_guests_name_cannot_write_to_the_terminal(prepared: Guest) -> None:
    text = journal(prepared).read_text()
    journal(prepared).write_text(text.replace('"guest": "lab1"', r'"guest": "a\u001b[2J\n"'))
    assert r"a\x1b[2J\n" in said("status") and "\x1b" not in said("status")


def test_reconcile_puts_back_what_a_guest_that_is_gone_left(libvirtd: None, guest: Guest) -> None:
    with Untouched():
        assert call("prepare", stored(guest)).returncode == 0
        with Untouched():
            dry = said("reconcile", "--dry-run")
        assert said("reconcile") == dry
        assert said("reconcile") == ""
    lines = dry.splitlines()
    assert all(line.startswith(f"guest 'lab1' ({guest.uuid}): undo: ") for line in lines)
    assert any(f"create macvtap {guest.device} on eth1" in line for line in lines)


def test_reconcile_with_nothing_to_do_needs_no_daemon(wire: Nic) -> None:
    with Untouched():
        assert said("reconcile") == ""


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_reconcile_without_a_daemon_touches_nothing(prepared: Guest, option: tuple[str, ...]) -> None:
    sockets = Path("/run/libvirt/libvirt-sock-ro")
    kept = sockets.rename(sockets.with_suffix(".kept")) if sockets.exists() else None
    try:
        why = refused("reconcile", *option)
    finally:
        if kept:
            kept.rename(sockets)
    assert why.startswith("cannot ask libvirt which guests run: ")
    assert why.endswith("; see that libvirtd runs, and try again as root")
    assert link(prepared.device) is not None


def test_reconcile_removes_what_belongs_to_a_damaged_journal(libvirtd: None, guest: Guest) -> None:
    with Untouched():
        assert call("prepare", stored(guest)).returncode == 0
        journal(guest).write_text("{")
        assert "damaged journal" in said("reconcile")


@pytest.mark.parametrize(
    "newer", ['{"version": 2}', None], ids=["a version that is not known", "an operation that is not known"]
)
def test_reconcile_leaves_a_newer_journal(libvirtd: None, prepared: Guest, another: Guest, newer: str | None) -> None:
    whole = journal(prepared).read_text()
    journal(prepared).write_text(newer or whole.replace('"SetLinkUp"', '"SetUpside"'))
    done = command("reconcile")
    assert done.returncode == 1
    assert (done.stderr.count(b"\n") == 1 and b"newer" in done.stderr) or b"not known here" in done.stderr
    assert link(prepared.device) is not None and link(another.device) is None
    assert not [name for name in state_files() if another.uuid in name]
    journal(prepared).write_text(whole)


def test_reconcile_tells_what_it_could_not_put_back(libvirtd: None, prepared: Guest) -> None:
    done = without_rights("--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    assert done.returncode == 1
    assert b"Operation not permitted; run as root with CAP_NET_ADMIN\n" in done.stderr
    # What is left is remembered, and the next one puts it back.
    assert link(prepared.device) is not None and journal(prepared).exists()
    assert f"create macvtap {prepared.device}" in said("reconcile")
    assert link(prepared.device) is None and state_files() == []


AS_NOBODY = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")


def without_rights(*setpriv: str) -> Done:
    """Run `reconcile` as one who lacks something."""
    program = ("setpriv", *setpriv, COMMAND, "reconcile")
    return subprocess.run(program, env=ENVIRONMENT, cwd="/", capture_output=True, check=False)


def test_reconcile_without_root_is_one_line(libvirtd: None, prepared: Guest) -> None:
    with Untouched():
        done = without_rights(*AS_NOBODY[1:])
    assert done.returncode == 1
    assert one_line(done, "error: ") == "what guests left behind is root's to put back; run the command as root"


@pytest.mark.parametrize("words", ["status", "status --json", "reconcile --dry-run", "plan"])
def test_what_only_root_may_see_is_one_line(prepared: Guest, words: str) -> None:
    words = words.replace("plan", "plan -")
    with Untouched():
        done = command(*words.split(), stdin=stored(prepared), through=AS_NOBODY)
    assert done.returncode == 1
    line = one_line(done, "error: ")
    assert f"cannot read {STATE}/" in line and line.endswith(": Permission denied; run the command as root")


def test_reconcile_removes_the_beginnings_of_files(libvirtd: None, wire: Nic) -> None:
    guest = Guest(3)
    with Untouched():
        for folder in ("guests", "leases", "locks"):
            (STATE / folder).mkdir(parents=True, exist_ok=True)
        journal(guest).with_suffix(".json.new").write_text('{"ver')
        (STATE / "locks" / f"guest-{guest.uuid}").write_text("killed")
        said("reconcile")


def test_reconcile_needs_libvirt_only_when_something_is_left(prepared: Guest) -> None:
    with without("libvirt"):
        assert said("status")
        why = refused("reconcile")
    assert why == "Python's module 'libvirt' is missing; install the package python3-libvirt"
    assert one_line(command("iface-dumpxml", "x"), "error: ")
