# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain virsh, once the command has named the connection: it takes and shows the proposed form."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import session_daemon
from tests.lab.guest import Guest
from tests.lab.shell import run
from tests.support.socket_unit import SOCKET, enabled_socket
from tests.support.user import CONNECTION, USER, Person

PLAIN = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q")
OTHERS = b'# a\nuri_aliases = [\n  "hail=qemu+ssh://root@hail.example.com/system",\n]'

pytestmark = pytest.mark.usefixtures("libvirtd")


@pytest.fixture
def guest() -> Iterator[Guest]:
    """A guest that is never started, so the host needs no NIC."""
    found = Guest(1)
    found.ask("vepa")
    yield found
    run(*PLAIN, "-c", "qemu:///system", "undefine", found.name, check=False)


def shown(guest: Guest, *through: str) -> str:
    return run(*through, *PLAIN, "dumpxml", guest.name).stdout


@pytest.mark.parametrize(
    "text", [None, OTHERS, b"uri_default = 'qemu:///system' # mine"], ids=["new", "other", "named"]
)
def test_define_and_dumpxml_need_no_translation(root: Person, guest: Guest, text: bytes | None) -> None:
    if text is not None:
        root.has(text)
    root.said("enable")
    assert run(*PLAIN, "uri").stdout.strip() == root.ours()
    run(*PLAIN, "define", "/dev/stdin", stdin=guest.xml)
    xml = shown(guest)
    assert "<interface type='physical'>" in xml and "<name>lan</name>" in xml and "type='ethernet'" not in xml
    root.said("disable")
    assert run(*PLAIN, "uri").stdout.strip() == "qemu:///system"
    assert "<interface type='ethernet'>" in shown(guest) and "'physical'" not in shown(guest)


def test_a_user_has_their_own_guests(user: Person, guest: Guest) -> None:
    # libvirt's client library does not pass the variable on to the connection.
    runtime = Path(f"/run/user/{USER}")
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(runtime, USER, USER)
    through = (*user.through, f"XDG_RUNTIME_DIR={runtime}")
    user.said("enable")
    with session_daemon(runtime, through):
        assert run(*through, *PLAIN, "uri").stdout.strip() == user.ours()
        file = user.file.with_name("guest.xml")
        file.write_text(guest.xml)
        run(*through, *PLAIN, "define", str(file))
        assert "<interface type='physical'>" in shown(guest, *through)
        user.said("disable")
        assert "<interface type='ethernet'>" in shown(guest, *through)


def test_a_user_who_names_the_system_is_sent_there(user: Person) -> None:
    user.has(b'uri_default = "qemu:///system"\n')
    user.said("enable")
    # Nobody else is let in where no polkit says so.
    assert "the daemon refuses this user" in run(*user.through, *PLAIN, "uri", check=False).stderr


def test_where_libvirt_looks_is_where_it_is_written(user: Person) -> None:
    folder = user.file.parents[2] / "elsewhere"
    user.said("enable", f"XDG_CONFIG_HOME={folder}")
    assert user.files == set() and (folder / "libvirt/libvirt.conf").owner()
    broken = folder / "libvirt/libvirt.conf"
    broken.write_text("uri_default = 'test:///default'\n")
    assert run(*user.through, "env", f"XDG_CONFIG_HOME={folder}", *PLAIN, "uri").stdout.strip() == "test:///default"


def test_a_path_with_blanks_and_signs(root: Person, guest: Guest) -> None:
    folder = Path("/usr/local/a b'c\"&%ü")
    folder.mkdir()
    for name in (CONNECTION, CONNECTION.removesuffix("-connect")):
        shutil.copy(name, folder)
    done = run(str(folder / "libvirt-vepa"), "enable")
    assert done.stderr == "" and root.file.read_text().count("\n") == 1
    run(*PLAIN, "define", "/dev/stdin", stdin=guest.xml)
    assert "<interface type='physical'>" in shown(guest)
    assert root.said("disable")[0] == f"{root.file} is removed"


@pytest.mark.parametrize("text", [b"# a\n", b"x = 1\n"])
def test_libvirt_reads_what_is_left_on_a_line(root: Person, text: bytes) -> None:
    root.has(text)
    root.said("enable")
    root.has(root.file.read_bytes().replace(b"uri_default", b"y = 1; uri_default").replace(b't"\n', b't"; z = 1\n'))
    assert "the rest stays" in root.said("disable")[0]
    assert root.file.read_bytes() == text + b"y = 1; z = 1\n"
    assert run(*PLAIN, "uri").stdout.strip() == "qemu:///system"


@pytest.fixture
def socket_unit() -> Iterator[Path]:
    with enabled_socket() as link:
        yield link


def test_root_gets_the_socket_where_its_unit_is_enabled(root: Person, guest: Guest, socket_unit: Path) -> None:
    uri = f"qemu:///system?socket={SOCKET}"
    told = f"{SOCKET} is that of {socket_unit.name}; without that unit run 'libvirt-vepa enable' again"
    assert root.said("enable")[-2:] == [f"{root.file} now has the default URI {uri}", told]
    assert run(*PLAIN, "uri").stdout.strip() == uri and not root.launcher.exists()
    run(*PLAIN, "define", "/dev/stdin", stdin=guest.xml)
    assert "<interface type='physical'>" in shown(guest)
    assert root.said("enable") == [f"{root.file} already has the default URI {uri}", told]
    root.said("disable")
    assert run(*PLAIN, "uri").stdout.strip() == "qemu:///system"


def test_the_socket_is_taken_and_left_as_its_unit_is(root: Person, socket_unit: Path) -> None:
    root.has(b"# mine\n")
    away = socket_unit.rename(socket_unit.with_name("away"))
    root.said("enable")
    assert root.ours() in root.file.read_text() and root.launcher.exists()
    away.rename(socket_unit)
    root.said("enable")
    assert f"socket={SOCKET}" in root.file.read_text()
    root.said("disable")
    assert root.file.read_bytes() == b"# mine\n" and not root.launcher.exists()


def test_a_user_keeps_what_goes_on_without_us(user: Person, socket_unit: Path) -> None:
    user.said("enable")
    assert user.ours() in user.file.read_text()
