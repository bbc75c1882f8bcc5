# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the installed hook does at each station of a guest's life, by the table in the design."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import STATE, call, command, define_nic, one_line, state_files, stored
from tests.lab.network import Nic, nic
from tests.lab.shell import link, run
from tests.support.leak_check import Untouched
from tests.support.user import USER

QUIET = (0, b"", b"")


def said(operation: str, document: bytes, **more: Any) -> tuple[int, bytes, bytes]:
    done = call(operation, document, **more)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("mode", "kernel"), [("vepa", "vepa"), ("bridge", "bridge"), ("pepa", "private")])
def test_a_whole_life_with_a_macvtap(guest: Guest, mode: str, kernel: str) -> None:
    guest.ask(mode)
    document = stored(guest)
    with Untouched():
        assert said("prepare", document) == QUIET
        made = link(guest.device)
        assert made is not None
        assert (made["link"], made["address"], made["linkinfo"]["info_kind"]) == ("eth1", guest.mac, "macvtap")
        assert made["linkinfo"]["info_data"]["mode"] == kernel
        assert {"UP", "ALLMULTI"} <= set(made["flags"])
        assert stat.S_ISCHR(Path(f"/dev/tap{made['ifindex']}").stat().st_mode)
        assert Path(f"/proc/sys/net/ipv6/conf/{guest.device}/disable_ipv6").read_text() == "1\n"
        for operation in ("start", "started", "stopped"):
            assert said(operation, document) == QUIET
        # It is there until `release`: QEMU may hold it longer than `stopped`.
        assert link(guest.device) is not None
        assert said("release", document) == QUIET
        assert link(guest.device) is None and state_files() == []


def test_a_whole_life_with_a_tap(bridge: str, guest: Guest) -> None:
    guest.ask("bridge", "tap", "<driver queues='2'/><mtu size='1400'/>")
    document = stored(guest)
    with Untouched():
        assert said("prepare", document) == QUIET
        made = link(guest.device)
        assert made is not None
        assert (made["master"], made["mtu"]) == (bridge, 1400)
        assert made["address"] == guest.mac.replace("52:", "fe:", 1)
        assert made["linkinfo"]["info_data"]["multi_queue"] is True
        assert said("start", document) == QUIET
        assert said("release", document) == QUIET


def test_several_interfaces_with_names_of_the_users_own(wire: Nic, guest: Guest) -> None:
    with nic("eth2"):
        define_nic("san", "eth2", "<mode>bridge</mode>")
        guest.interfaces = f"""
            <interface type='physical'><name>lan</name><target dev='web-lan' mode='pepa'/><mac address='{guest.mac}'/>
              <model type='virtio'/><driver queues='4'/><mtu size='1400'/><alias name='ua-front'/></interface>
            <interface type='physical'><name>san</name><mac address='52:54:00:00:01:01'/></interface>
            <interface type='physical'><name>lan</name><mac address='52:54:00:00:01:02'/></interface>"""
        document = stored(guest)
        assert said("prepare", document) == QUIET
        found = {name: (link(name) or {}) for name in ("web-lan", "vp525400000101", "vp525400000102")}
        modes = {name: each["linkinfo"]["info_data"]["mode"] for name, each in found.items()}
        assert {name: (each["link"], modes[name], each["mtu"]) for name, each in found.items()} == {
            "web-lan": ("eth1", "private", 1400),
            "vp525400000101": ("eth2", "bridge", 1500),
            "vp525400000102": ("eth1", "vepa", 1500),
        }
        # The NIC was down; others may rely on it by the time the guest ends, so it stays up.
        assert "UP" in link("eth2")["flags"]
        uses = json.loads(command("status", "--json").stdout)
        assert [(use["alias"], use["name"], use["nic"], use["drifts"]) for use in uses] == [
            ("ua-front", "lan", "eth1", []),
            ("ua-physical-525400000101", "san", "eth2", []),
            ("ua-physical-525400000102", "lan", "eth1", []),
        ]
        assert said("start", document) == QUIET
        assert said("release", document) == QUIET
        assert [name for name in found if link(name)] == []


def test_one_refused_interface_leaves_none_of_the_others(wire: Nic, guest: Guest) -> None:
    more = "<name>lan</name><mac address='52:54:00:00:01:01'/><mtu size='9000'/>"
    guest.interfaces += f"<interface type='physical'>{more}</interface>"
    with Untouched():
        done = call("prepare", stored(guest))
    assert done.returncode == 1
    told = one_line(done)
    assert told.startswith("guest 'lab1': interface 52:54:00:00:01:01: ")
    assert told.endswith(
        "MTU 9000 is more than the 1500 of NIC eth1; ask for 1500 at most, or raise it with 'ip link set eth1 mtu 9000'"
    )


@pytest.mark.parametrize("extra", ["-", "failed"])
def test_release_of_what_was_never_made_is_quiet_however_often(guest: Guest, extra: str) -> None:
    with Untouched():
        assert said("release", stored(guest), extra=extra) == QUIET
        assert said("release", stored(guest), extra=extra) == QUIET


def test_release_after_a_failed_start_puts_everything_back(guest: Guest) -> None:
    document = stored(guest)
    with Untouched():
        said("prepare", document)
        assert said("stopped", document, extra="failed") == QUIET
        assert said("release", document, extra="failed") == QUIET


def test_release_goes_on_where_the_device_has_gone_already(guest: Guest) -> None:
    document = stored(guest)
    with Untouched():
        said("prepare", document)
        run("ip", "link", "delete", guest.device)
        assert said("release", document) == QUIET


def test_release_needs_neither_metadata_nor_alias(guest: Guest) -> None:
    guest.interfaces = guest.interfaces.replace("</interface>", "<alias name='ua-web'/></interface>")
    document = stored(guest)
    before, rest = document.split(b"<metadata>")
    bare = before + rest.split(b"</metadata>")[1]
    assert b"physical" not in bare
    with Untouched():
        said("prepare", document)
        assert said("release", bare) == QUIET


def test_start_says_what_is_not_as_it_was_made(guest: Guest) -> None:
    document = stored(guest)
    said("prepare", document)
    run("ip", "link", "set", "dev", guest.device, "type", "macvtap", "mode", "private")
    done = call("start", document)
    assert done.returncode == 1
    assert one_line(done) == (
        f"guest 'lab1': interface {guest.mac}: {guest.device} has mode private instead of vepa; "
        "see that nothing else manages these devices, then start the guest again"
    )


def test_start_repairs_what_a_network_manager_has_done(guest: Guest) -> None:
    document = stored(guest)
    said("prepare", document)
    run("ip", "link", "set", guest.device, "down")
    done = call("start", document)
    assert done.returncode == 0
    assert one_line(done) == f"guest 'lab1': {guest.device} is down: repaired"
    assert "UP" in (link(guest.device) or {})["flags"]


def test_start_without_prepare_is_refused(guest: Guest) -> None:
    with Untouched():
        done = call("start", stored(guest))
    assert done.returncode == 1
    assert one_line(done) == (
        "guest 'lab1': nothing is known of its devices; see that the hook is installed, then stop and start the guest"
    )


def test_a_second_start_begins_anew(guest: Guest) -> None:
    document = stored(guest)
    with Untouched():
        said("prepare", document)
        first = link(guest.device)
        assert said("prepare", document) == QUIET
        second = link(guest.device)
        assert first and second and first["ifindex"] != second["ifindex"]
        assert said("release", document) == QUIET


@pytest.mark.parametrize("operation", ["started", "stopped", "attach", "restart", "", "prepare "])
def test_other_operations_do_nothing_even_with_what_is_no_xml(guest: Guest, operation: str) -> None:
    with Untouched():
        assert said(operation, stored(guest)) == QUIET
        assert said(operation, b"<domain physical") == QUIET


def test_the_state_is_roots_alone(guest: Guest) -> None:
    said("prepare", stored(guest))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in STATE.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (STATE, *STATE.iterdir())} == {0o700}


def test_metadata_that_is_no_xml_keeps_no_guest_from_its_release(guest: Guest) -> None:
    """libvirt writes what an owner gave it, `<z:b/>`, as `<e:z:b/>`."""
    document = stored(guest)
    foreign = b"<metadata><e:a xmlns:e='urn:evil'><e:z:b/>" + b"<m:x/>" * 700_000 + b"</e:a>"
    spoilt = document.replace(b"<metadata>", foreign)
    assert spoilt != document
    with Untouched():
        for operation in ("prepare", "start", "reconnect", "release"):
            assert said(operation, spoilt) == QUIET


@pytest.mark.parametrize("folder", [0o700, 0o755], ids=["as made here", "as made by an earlier version"])
def test_no_other_user_can_hold_a_lock(guest: Guest, folder: int) -> None:
    """The lock of a hook that was killed is still there; who opens it, if only to read it, can flock it."""
    lock = STATE / "locks" / "nic-nic0"
    said("prepare", stored(guest))
    lock.touch()
    if folder != 0o700:
        for path in (STATE, lock.parent):
            path.chmod(folder)
        lock.chmod(0o644)
    said("release", stored(guest))
    try:
        done = as_user("flock", "--nonblock", str(lock), "true")
    finally:
        lock.unlink()
    assert done.returncode != 0 and "Permission denied" in done.stderr


def as_user(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without any rights."""
    return subprocess.run(words, user=USER, group=USER, extra_groups=(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("operation", ["prepare", "start", "reconnect"])
def test_what_is_no_xml_is_one_line(wire: Nic, operation: str) -> None:
    with Untouched():
        done = call(operation, b"<domain><alias name='ua-physical-1'/>")
    assert done.returncode == (0 if operation == "reconnect" else 1)
    assert one_line(done).startswith("the guest's XML, line 1: not well-formed XML: ")
