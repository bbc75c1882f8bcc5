# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`iface-define`, `-list`, `-dumpxml` and `-undefine`, as processes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hook.conftest import DEFINITIONS, damaged, refused
from tests.lab.guest import Guest
from tests.lab.hook import call, command, define_nic, stored
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.support.leak_check import Untouched

LAN = b"<interface type='physical' name='lan'><source dev='eth1'/><type>ethernet</type></interface>\n"
CANONICAL = """\
<interface type='physical' name='lan'>
  <source dev='eth1'/>
  <type>ethernet</type>
</interface>
"""
# Left as it is spelt in the proposal, a remark included.
PROPOSAL = b"""\
<interface type ='physical' name='lan'/>
  <source dev='eth0'/>
  <type='ethernet'/> // one of sr-iov, vmdq, ethernet
  <mode='vepa|bridge'/>
</interface>
"""


@pytest.fixture(autouse=True)
def none_defined(installed: None) -> Iterator[None]:
    for path in DEFINITIONS.iterdir():
        path.unlink()
    yield
    for path in DEFINITIONS.iterdir():
        path.unlink()


@pytest.mark.parametrize("module", [False, True], ids=["command", "module"])
def test_a_definition_comes_and_goes(module: bool, tmp_path: Path) -> None:
    file = tmp_path / "lan.xml"
    file.write_bytes(LAN)

    def said(*arguments: str) -> str:
        done = command(*arguments, module=module)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    with Untouched():
        assert said("iface-define", str(file)) == f"Interface lan defined from {file}\n\n"
        kept = DEFINITIONS / "lan.xml"
        assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == (CANONICAL, 0o644)
        assert said("iface-list").splitlines() == [
            " Name   Device   Type       Modes",
            "-" * 45,
            " lan    eth1     ethernet   vepa pepa bridge",
            "",
        ]
        assert said("iface-dumpxml", "lan") == CANONICAL
        assert said("iface-undefine", "lan") == "Interface lan undefined\n\n"
    assert refused("iface-dumpxml", "lan").startswith("no physical interface 'lan' is defined on this")


def test_the_proposals_own_text_is_taken() -> None:
    assert command("iface-define", "-", stdin=PROPOSAL).returncode == 0
    dumped = command("iface-dumpxml", "lan").stdout.decode()
    assert "<mode>vepa</mode>\n  <mode>bridge</mode>" in dumped and "<type>ethernet</type>" in dumped


# What is said of its first line.
WRONG = {
    "another document": (b"<network/>", "this is not the definition of a physical interface; "),
    "an unknown type": (LAN.replace(b"ethernet", b"token-ring"), "unknown type 'token-ring'; "),
    "an unknown mode": (LAN.replace(b"</type>", b"</type><mode>x</mode>"), "unknown mode 'x'; use vepa"),
    "no device": (LAN.replace(b"<source dev='eth1'/>", b""), "<source> is missing; write <source dev="),
    "a device's name": (LAN.replace(b"eth1", b"a/b"), "'a/b' cannot be the name of a network device; "),
    "no name": (LAN.replace(b" name='lan'", b""), "<interface> has no 'name'; write <interface type="),
    "the same twice": (LAN.replace(b"</type>", b"</type><source dev='x'/>"), "<source> stands there twice"),
    "something else": (LAN.replace(b"</type>", b"</type><frob/>"), "<frob> is not expected"),
}
BAD = damaged(LAN, b"eth1") | {name: (text, f"standard input, line 1: {why}") for name, (text, why) in WRONG.items()}


@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD)
def test_a_bad_definition_is_one_line_and_the_earlier_one_stays(text: bytes, why: str) -> None:
    define_nic("lan", "eth7")
    assert refused("iface-define", "-", stdin=text).startswith(why)


HOSTILE = [
    "../x",
    "$(x)",
    "a\nb",
    "a/b",
    "/",
    "",
    ".",
    "..",
    ".x",
    "x" * 65,
    "x" * 10_000,
    "-x\x1b[2J",
    "ü",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("verb", ["iface-dumpxml", "iface-undefine"])
def test_a_hostile_name_never_becomes_a_file(verb: str, name: str | bytes) -> None:
    why = refused(verb, "--", name)
    assert "' cannot be the name of a physical interface; use up to 64 letters, digits" in why
    assert why.isprintable()


@pytest.mark.parametrize("name", ["../x", "$(x)", "a/b", "", "..", "x" * 65])
def test_nor_does_one_in_a_document(name: str) -> None:
    why = refused("iface-define", "-", stdin=LAN.replace(b"'lan'", f"'{name}'".encode()))
    assert why.startswith(f"standard input, line 1: '{name}' cannot be the name of a physical interface; ")


def test_a_half_written_file_is_damaged_and_removable() -> None:
    define_nic("san", "eth2")
    path = DEFINITIONS / "lan.xml"
    path.write_bytes(LAN[:50])
    (DEFINITIONS / ".lan.xml.tmp-1").write_bytes(LAN[:50])
    with Untouched():
        done = command("iface-list")
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.decode().splitlines()[2:4]] == [["lan", "-"], ["san", "eth2"]]
    assert done.stderr.decode().startswith(f"error: {path}, line 1: not well-formed XML: ")
    assert done.stderr.count(b"\n") == 1
    assert refused("iface-dumpxml", "lan").startswith(f"{path}, line 1: ")
    assert command("iface-undefine", "lan").returncode == 0
    assert command("iface-list").returncode == 0


def test_a_file_that_defines_another_name_is_told_of() -> None:
    path = DEFINITIONS / "wan.xml"
    path.write_bytes(LAN)
    assert refused("iface-dumpxml", "wan") == (
        f"{path}: the file defines 'lan'; rename one of the two, or define 'wan' anew"
    )


def test_a_files_name_cannot_write_to_the_terminal() -> None:
    (DEFINITIONS / "a\x1b[2J\n.xml").write_bytes(LAN)
    done = command("iface-list")
    assert done.returncode == 1 and b"\x1b" not in done.stdout + done.stderr
    assert rb"a\x1b[2J\n" in done.stdout


def test_a_definition_in_use_may_change_but_not_go(guest: Guest) -> None:
    define_nic("lan", "eth1")
    call("prepare", stored(guest))
    assert refused("iface-undefine", "lan") == (
        "'lan' is in use by guest 'lab1'; stop that guest first; if it is gone, run 'libvirt-vepa reconcile'"
    )
    # A guest keeps what it was started with, and its end needs no definition.
    define_nic("lan", "eth7", "<mode>bridge</mode>")
    for operation in ("start", "reconnect", "release"):
        done = call(operation, stored(guest))
        assert (done.returncode, done.stderr) == (0, b"")
        assert (link(guest.device) is None) == (operation == "release")
    assert command("iface-undefine", "lan").returncode == 0


def test_a_read_only_etc() -> None:
    define_nic("lan", "eth7")
    run("mount", "--bind", str(DEFINITIONS), str(DEFINITIONS))
    try:
        run("mount", "-o", "remount,bind,ro", str(DEFINITIONS))
        for arguments in (("iface-define", "-"), ("iface-undefine", "lan")):
            why = refused(*arguments, stdin=LAN)
            assert why.endswith("lan.xml: Read-only file system; make the file system writable")
    finally:
        run("umount", str(DEFINITIONS))


def test_a_full_etc() -> None:
    run("mount", "-t", "tmpfs", "-o", "nr_inodes=1", "small", str(DEFINITIONS))
    try:
        why = refused("iface-define", "-", stdin=LAN)
        assert why.endswith("lan.xml: No space left on device; make room on the file system")
    finally:
        run("umount", str(DEFINITIONS))


@pytest.mark.parametrize("bridge_too", [False, True], ids=["NIC", "bridge"])
def test_a_guests_device_is_no_nic_of_a_definition(guest: Guest, bridge_too: bool) -> None:
    guest.interfaces = guest.interfaces.replace("</interface>", "<target dev='eth9'/></interface>")
    assert call("prepare", stored(guest)).returncode == 0
    named = b"<source dev='eth2'/><bridge name='eth9'/>" if bridge_too else b"<source dev='eth9'/>"
    dmz = LAN.replace(b"<source dev='eth1'/>", named).replace(b"'lan'", b"'dmz'")
    assert refused("iface-define", "-", stdin=dmz) == (
        f"'dmz' names eth9, which is the device of guest 'lab1' ({guest.uuid}); "
        "name a NIC or a bridge of the host, or stop that guest"
    )
    call("release", stored(guest))
    assert command("iface-define", "-", stdin=dmz).returncode == 0


@pytest.mark.parametrize("kind", ["macvtap", "tap"])
def test_nor_is_another_guests(wire: Nic, kind: str) -> None:
    making = {"tap": "tuntap add eth9 mode tap", "macvtap": "link add link eth1 name eth9 type macvtap"}
    run("ip", *making[kind].split())
    try:
        said = refused("iface-define", "-", stdin=LAN.replace(b"eth1", b"eth9"))
    finally:
        run("ip", "link", "delete", "eth9")
    assert said == f"'lan' names eth9, which is a {kind}, as guests have it; name a NIC or a bridge of the host"
