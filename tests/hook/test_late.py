# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A NIC that is not there yet: waited for while the host boots, and at no other time; the drop-in that orders guests.

What systemd says of the host is said here by a `systemctl` before it in PATH.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libvirt_vepa.kernel.link_events import RTMGRP_LINK
from tests.hook.conftest import put_up, refused
from tests.lab.documents import definition
from tests.lab.guest import Guest
from tests.lab.hook import call, command, define_nic, one_line, opened, stored
from tests.lab.network import Nic
from tests.lab.shell import BOUND_SECONDS, link, run

SYSTEMD, SYSTEMCTL = Path("/run/systemd/system"), Path("/usr/local/sbin/systemctl")
# Written by the hook's own call: whoever waits has asked before.
ASKED = Path("/run/asked")
LATE = "eth7"
Says = Callable[[str], None]


@pytest.fixture
def systemd(wire: Nic) -> Iterator[Says]:
    """Have systemd say when it had started the host: a shell's words, microseconds or 0."""
    SYSTEMD.mkdir(parents=True)

    def says(finished: str) -> None:
        SYSTEMCTL.write_text(f'#!/bin/sh\necho "$*" >>{ASKED}\n{finished}\n')
        SYSTEMCTL.chmod(0o755)

    yield says
    shutil.rmtree(SYSTEMD)
    for path in (SYSTEMCTL, ASKED):
        path.unlink(missing_ok=True)
    run("ip", "link", "delete", LATE, check=False)


@pytest.fixture
def late(guest: Guest) -> Guest:
    """A guest that asks for `lan`, which is a NIC that is not there."""
    define_nic("lan", LATE)
    return guest


def begin(guest: Guest) -> subprocess.Popen[bytes]:
    """Start a guest, and return when the hook waits for its NIC."""
    others = listeners()
    hook = opened("prepare")
    assert hook.stdin and hook.stderr
    hook.stdin.write(stored(guest))
    hook.stdin.close()
    deadline = time.monotonic() + BOUND_SECONDS
    while not listeners() - others:
        assert hook.poll() is None, hook.stderr.read()
        assert time.monotonic() < deadline, "the hook does not listen to what the kernel announces"
        os.sched_yield()
    return hook


def listeners() -> set[str]:
    """Return the sockets, of this network namespace, that hear what the kernel announces of its links."""
    rows = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:]]
    return {socket for socket, family, _, groups, *_ in rows if family == "0" and int(groups, 16) & RTMGRP_LINK}


def ended(hook: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    assert hook.stderr
    assert select.select([hook.stderr], [], [], BOUND_SECONDS)[0], "the hook waits although the NIC is there"
    return hook.wait(BOUND_SECONDS), hook.stderr.read()


def test_it_is_waited_for_while_systemd_starts_the_host(systemd: Says, late: Guest) -> None:
    systemd("echo 0")
    hook = begin(late)
    # Another device is none of its business; a NIC that gets its name only now is.
    run("ip", "link", "add", "eth8", "type", "veth", "peer", "name", "eth8p")
    assert hook.poll() is None
    run("ip", "link", "set", "eth8", "name", LATE)
    assert ended(hook) == (0, b"")
    assert (link(late.device) or {})["link"] == LATE
    assert ASKED.read_text() == "show --property=FinishTimestampMonotonic --value\n"


def test_no_lock_is_held_meanwhile(systemd: Says, late: Guest) -> None:
    systemd("echo 0")
    hook = begin(late)
    assert not list(Path("/run/libvirt/vepa/locks").glob("*"))
    run("ip", "link", "add", LATE, "type", "veth", "peer", "name", "eth7p")
    assert ended(hook) == (0, b"")


def test_a_taps_nic_is_awaited_until_it_is_a_bridge_port(systemd: Says, late: Guest, bridge: str) -> None:
    systemd("echo 0")
    late.ask("bridge", "tap")
    hook = begin(late)
    run("ip", "link", "add", LATE, "type", "veth", "peer", "name", "eth7p")
    assert hook.poll() is None
    run("ip", "link", "set", LATE, "master", bridge)
    assert ended(hook) == (0, b"")


def test_a_nic_is_awaited_shortly_after_boot(systemd: Says, late: Guest) -> None:
    """libvirtd starts guests by themselves once it is up, and it may be the last that systemd has started."""
    systemd("cut -d ' ' -f 1 /proc/uptime | sed 's/\\.//; s/$/0000/'")
    hook = begin(late)
    run("ip", "link", "add", LATE, "type", "veth", "peer", "name", "eth7p")
    assert ended(hook) == (0, b"")


REFUSAL = f"guest 'lab1': interface {{mac}}: 'lan' is NIC {LATE}, which does not exist on this host; "


@pytest.mark.parametrize("said", ["echo 1", "echo nonsense", "exit 1", "echo"])
def test_a_nic_is_not_awaited_later_or_without_systemds_word(systemd: Says, late: Guest, said: str) -> None:
    systemd(said)
    before = time.monotonic()
    done = call("prepare", stored(late))
    assert done.returncode == 1 and one_line(done).startswith(REFUSAL.format(mac=late.mac))
    assert ASKED.exists() and time.monotonic() - before < 30


def test_systemd_is_not_asked_without_need(systemd: Says, guest: Guest) -> None:
    systemd("echo 0")
    assert call("prepare", stored(guest)).returncode == 0
    call("release", stored(guest))
    define_nic("lan", LATE)
    SYSTEMD.rename("/run/systemd/kept")
    try:
        assert one_line(call("prepare", stored(guest))).startswith(REFUSAL.format(mac=guest.mac))
    finally:
        Path("/run/systemd/kept").rename(SYSTEMD)
    assert not ASKED.exists()


# -- the drop-in


def dropped(*arguments: str | bytes, stdin: bytes = b"") -> list[str]:
    done = command("iface-define", "--print-drop-in", *arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return [line for line in done.stdout.decode().splitlines() if not line.startswith("#")]


def test_a_drop_in_names_the_nic_and_the_bridge(wire: Nic) -> None:
    define_nic("lan", "eth1", "<bridge name='br-lan'/>")
    units = r"sys-subsystem-net-devices-eth1.device sys-subsystem-net-devices-br\x2dlan.device"
    assert dropped("lan") == ["[Unit]", f"Wants={units}", f"After={units}"]


def test_a_file_is_not_defined_by_that(wire: Nic, tmp_path: Path) -> None:
    text = definition("wan", LATE)
    unit = f"sys-subsystem-net-devices-{LATE}.device"
    assert dropped("-", stdin=text.encode()) == ["[Unit]", f"Wants={unit}", f"After={unit}"]
    assert not Path("/etc/libvirt/vepa/wan.xml").exists()
    # A file comes before a definition of the same name.
    (tmp_path / "lan").write_text(text)
    done = command("iface-define", "--print-drop-in", "lan", through=("env", "-C", str(tmp_path)))
    assert f"Wants={unit}".encode() in done.stdout


def test_a_nic_given_by_its_mac_is_named_while_it_is_there(wire: Nic) -> None:
    put_up("eth1")
    mac = (link("eth1") or {})["address"]
    text = "<interface type='physical' name='wan'><source mac='{}'/><type>ethernet</type></interface>"
    assert dropped("-", stdin=text.format(mac).encode())[1] == "Wants=sys-subsystem-net-devices-eth1.device"
    nobody = "02:00:00:00:00:07"
    assert refused("iface-define", "--print-drop-in", "-", stdin=text.format(nobody).encode()) == (
        f"'wan' is given by {nobody}, which no NIC has now, and systemd knows a NIC by its name only; "
        "ask again when it is there, or define it by <source dev='…'/>"
    )


def test_a_drop_in_for_what_is_neither_a_file_nor_defined(wire: Nic) -> None:
    assert refused("iface-define", "--print-drop-in", "wan").startswith("cannot read wan: No such file or directory; ")
