# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host definitions from virsh and libvirt-python, beside what the daemon's own driver knows, if it has one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from tests.lab.daemon import Daemon, virsh
from tests.lab.documents import proposed
from tests.lab.guest import Guest
from tests.lab.hook import STATE
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.libvirt.conftest import Eventually
from tests.support import remote_protocol as remote
from tests.support.user import CONNECTION, USER
from tests.support.via_proxy import URI

FOLDER = Path("/etc/libvirt/vepa")
LAN = "<interface type='physical' name='lan'>\n  <source dev='eth1'/>\n  <type>ethernet</type>\n</interface>\n"
NAMED = "".join(f"  <mode>{mode}</mode>\n" for mode in ("vepa", "pepa", "bridge"))
FILE = Path("/run/definition.xml")
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "HOME=/tmp")
NOT_ENOUGH = "Permission denied; run the command as root"


@pytest.fixture(autouse=True)
def eth1(wire: Nic) -> Iterator[str]:
    """A NIC that is up and has a carrier; returns its MAC. No definition is there before and after."""
    empty()
    with Eventually("eth1 has a carrier", lambda: link("eth1")["operstate"] == "UP"):
        pass
    yield link("eth1")["address"]
    empty()


def empty() -> None:
    for path in FOLDER.iterdir():
        path.unlink()


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    found = libvirt.open(URI)
    yield found
    found.close()


@pytest.fixture
def open_to_all(libvirtd: Daemon) -> Iterator[None]:
    """A daemon that lets every user in, as one that knows a group of users would."""
    with libvirtd.configured('auth_unix_rw = "none"\nauth_unix_ro = "none"\n'):
        yield


def through(*arguments: str, check: bool = True, user: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run virsh with the connection as its URI."""
    return run(*user, "virsh", "-c", URI, *arguments, check=check)


def said(*arguments: str) -> str:
    return through(*arguments).stdout.strip()


def defined(text: str = LAN) -> str:
    FILE.write_text(text, encoding="utf-8")
    return said("iface-define", os.fspath(FILE))


def refused(*arguments: str, user: tuple[str, ...] = ()) -> str:
    """Return the last of virsh's lines, which is the error itself."""
    done = through(*arguments, check=False, user=user)
    assert done.returncode == 1 and done.stdout.strip() == ""
    return done.stderr.strip().splitlines()[-1].removeprefix("error: ")


def rows(*options: str, before: tuple[str, ...] = ("-q",), user: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    lines = through(*before, "iface-list", *options, user=user).stdout.splitlines()
    return {tuple(line.split()) for line in lines if line.strip()}


def known(connection: libvirt.virConnect) -> dict[str, tuple[str, int, str]]:
    """Return what a client sees of each interface, none where the daemon has no driver for them."""
    try:
        found = connection.listAllInterfaces()
    except libvirt.libvirtError as error:
        assert error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT
        return {}
    return {each.name(): (each.MACString(), each.isActive(), each.XMLDesc()) for each in found}


def plain() -> dict[str, tuple[str, int, str]]:
    """Return what a client sees past the connection."""
    past = libvirt.open("qemu:///system")
    try:
        return known(past)
    finally:
        past.close()


# -- virsh


def test_a_definition_comes_changes_and_goes(eth1: str) -> None:
    assert defined() == f"Interface lan defined from {FILE}"
    assert (FOLDER / "lan.xml").read_text(encoding="utf-8") == LAN
    others = {(name, "active" if active else "inactive", mac) for name, (mac, active, _) in plain().items()}
    assert rows("--all") == others | {("lan", "active", eth1)}
    assert ("lan", "active", eth1) in rows() and ("lan", "active", eth1) not in rows("--inactive")
    assert through("iface-dumpxml", "lan").stdout.rstrip("\n") == LAN.rstrip("\n")
    assert said("iface-mac", "lan") == eth1
    # The MAC is the NIC's own, where the daemon knows it.
    assert said("iface-name", eth1) == ("eth1" if others else "lan")
    os.environ["VISUAL"] = "sed -i s/eth1/eth7/"
    try:
        assert said("iface-edit", "lan") == "Interface lan XML configuration edited."
        os.environ["VISUAL"] = "true"
        assert said("iface-edit", "lan") == "Interface lan XML configuration not changed."
    finally:
        del os.environ["VISUAL"]
    assert "<source dev='eth7'/>" in said("iface-dumpxml", "lan")
    assert rows("--inactive") == {row for row in others if row[1] == "inactive"} | {("lan", "inactive")}
    assert said("iface-undefine", "lan") == "Interface lan undefined"
    assert rows("--all") == others and not list(FOLDER.iterdir())


def test_the_proposals_own_text_is_taken() -> None:
    defined(proposed("lan", "eth1", "ethernet"))
    assert said("iface-dumpxml", "lan") == LAN.replace("</type>\n", f"</type>\n{NAMED}").rstrip("\n")


def test_what_is_wrong_is_said_with_its_line() -> None:
    FILE.write_text(LAN.replace("eth1", "a/b"), encoding="utf-8")
    text = "XML error: the document, line 2: 'a/b' cannot be the name of a network device; "
    assert refused("iface-define", os.fspath(FILE)).startswith(text)
    assert not list(FOLDER.iterdir())


def test_a_damaged_file_is_listed_and_told_of_and_can_be_removed(eth1: str) -> None:
    defined()
    path = FOLDER / "bad.xml"
    path.write_text("<interface type='physical'\n", encoding="utf-8")
    assert {("bad", "inactive"), ("lan", "active", eth1)} <= rows("--all")
    assert refused("iface-dumpxml", "bad").startswith(f"XML error: {path}, line 2: not well-formed XML: ")
    assert said("iface-undefine", "bad") == "Interface bad undefined"
    assert not path.exists()


def test_it_cannot_be_put_up_or_down() -> None:
    defined()
    for command in ("iface-start", "iface-destroy"):
        assert refused(command, "lan").startswith("Operation not supported: 'lan' is the name of a NIC for guests; ")
    assert link("eth1")["operstate"] == "UP"


def test_what_a_running_guest_uses_is_not_undefined(guest: Guest) -> None:
    defined()
    virsh("start", guest.name)
    assert refused("iface-undefine", "lan") == (
        f"Requested operation is not valid: 'lan' is in use by guest '{guest.name}'; "
        "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'"
    )
    virsh("destroy", guest.name)
    assert said("iface-undefine", "lan") == "Interface lan undefined"


# -- rights


@pytest.mark.usefixtures("open_to_all")
def test_who_may_not_write_the_folder_is_told_so(eth1: str) -> None:
    defined()
    assert ("lan", "active", eth1) in rows("--all", user=AS_USER)
    file = os.fspath(FILE)
    denied = f"operation forbidden: cannot write {FOLDER}/lan.xml: {NOT_ENOUGH}"
    assert refused("iface-define", file, user=AS_USER) == denied
    # Whether a guest uses it only root may see, from the first guest on.
    (STATE / "guests").mkdir(mode=0o700, parents=True, exist_ok=True)
    STATE.chmod(0o700)
    unseen = f"operation forbidden: cannot read {STATE}/guests: {NOT_ENOUGH}"
    assert refused("iface-undefine", "lan", user=AS_USER) == unseen
    FOLDER.chmod(0o700)
    try:
        hidden = f"operation forbidden: cannot read {FOLDER}: {NOT_ENOUGH}"
        assert refused("iface-list", user=AS_USER) == hidden
    finally:
        FOLDER.chmod(0o755)
    assert (FOLDER / "lan.xml").read_text(encoding="utf-8") == LAN


@pytest.mark.usefixtures("open_to_all")
@pytest.mark.parametrize("user", [(), AS_USER], ids=["root", "a user"])
def test_a_read_only_client_may_only_look(eth1: str, user: tuple[str, ...]) -> None:
    defined()
    assert ("lan", "active", eth1) in rows("--all", before=("-q", "-r"), user=user)
    for command, argument in (("iface-define", os.fspath(FILE)), ("iface-undefine", "lan")):
        assert refused("-r", command, argument, user=user).startswith(
            "operation forbidden: read only access prevents virInterface"
        )


def test_not_even_one_that_does_not_know_that_it_is_read_only() -> None:
    defined()
    opening = b"\0\0\0\1" + remote.string(b"qemu:///system") + b"\0\0\0\1"
    calls = {1: opening, 131: remote.string(LAN.replace("lan", "new").encode()) + bytes(4)}
    calls[132] = remote.string(b"lan") + remote.string(b"")
    # Its standard input stays open until all is answered, as a client's would.
    with subprocess.Popen((CONNECTION,), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for serial, (procedure, payload) in enumerate(calls.items()):
            process.stdin.write(remote.call(procedure, payload, serial).pack())
            process.stdin.flush()
            (answer,) = remote.frames(received(process.stdout.fileno()))
            assert answer.serial == serial and answer.status == (remote.OK if procedure == 1 else remote.ERROR)
            if procedure != 1:
                assert remote.error(answer.payload).code == libvirt.VIR_ERR_OPERATION_DENIED
        process.stdin.close()
    assert [path.name for path in FOLDER.iterdir()] == ["lan.xml"]


def received(descriptor: int) -> bytes:
    """Read one message."""
    data = os.read(descriptor, 4)
    while len(data) < int.from_bytes(data[:4], "big"):
        data += os.read(descriptor, int.from_bytes(data[:4], "big") - len(data)) or b"-"
    return data


# -- libvirt-python


def test_the_daemons_own_are_as_they_are_past_the_connection(connection: libvirt.virConnect, eth1: str) -> None:
    others = plain()
    assert known(connection) == others
    lan = connection.interfaceDefineXML(LAN, libvirt.VIR_INTERFACE_DEFINE_VALIDATE)
    assert (lan.name(), lan.MACString(), lan.isActive(), lan.XMLDesc()) == ("lan", eth1, 1, LAN)
    assert known(connection) == {**others, "lan": (eth1, 1, LAN)}


def test_lists_and_numbers_agree(connection: libvirt.virConnect) -> None:
    for name, device in (("lan", "eth1"), ("wan", "eth7")):
        connection.interfaceDefineXML(LAN.replace("lan", name).replace("eth1", device))
    for active in (True, False):
        names = connection.listInterfaces() if active else connection.listDefinedInterfaces()
        number = connection.numOfInterfaces() if active else connection.numOfDefinedInterfaces()
        flags = libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE if active else libvirt.VIR_CONNECT_LIST_INTERFACES_INACTIVE
        assert len(names) == number and ("lan" if active else "wan") in names
        # libvirt's own driver counts the loopback among the inactive ones in this list only.
        assert [each.name() for each in connection.listAllInterfaces(flags) if each.name() != "lo"] == names
        assert all(connection.interfaceLookupByName(name).isActive() == active for name in names)


def test_of_two_with_one_name_it_is_ours(connection: libvirt.virConnect, eth1: str) -> None:
    text = LAN.replace("'lan'", "'eth1'")
    connection.interfaceDefineXML(text)
    assert known(connection)["eth1"] == (eth1, 1, text)
    assert connection.listInterfaces().count("eth1") == 1
    connection.interfaceLookupByName("eth1").undefine()
    assert known(connection) == plain()


ERRORS: dict[str, tuple[Callable[[libvirt.virConnect], object], int]] = {
    "no such name": (lambda found: found.interfaceLookupByName("nope"), libvirt.VIR_ERR_NO_INTERFACE),
    "no such MAC": (lambda found: found.interfaceLookupByMACString("52:54:00:00:00:01"), libvirt.VIR_ERR_NO_INTERFACE),
    "no XML": (lambda found: found.interfaceDefineXML("<interface type='physical'"), libvirt.VIR_ERR_XML_ERROR),
    "another's": (lambda found: found.interfaceDefineXML("<interface/>"), libvirt.VIR_ERR_NO_SUPPORT),
    "a transaction": (lambda found: found.changeBegin(), libvirt.VIR_ERR_NO_SUPPORT),
}


@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_libvirts_and_the_connection_goes_on(connection: libvirt.virConnect, what: str) -> None:
    call, code = ERRORS[what]
    with pytest.raises(libvirt.libvirtError) as caught:
        call(connection)
    found = caught.value
    assert (found.get_error_code(), found.get_error_domain()) == (code, libvirt.VIR_FROM_INTERFACE)
    assert connection.interfaceDefineXML(LAN).name() == "lan"


def test_names_of_a_nic_are_found_by_its_mac(connection: libvirt.virConnect, eth1: str) -> None:
    for name in ("lan", "wan"):
        connection.interfaceDefineXML(LAN.replace("lan", name))
    if plain():
        assert connection.interfaceLookupByMACString(eth1).name() == "eth1"
        return
    with pytest.raises(libvirt.libvirtError, match="'lan' and 'wan' have the MAC") as caught:
        connection.interfaceLookupByMACString(eth1)
    assert caught.value.get_error_code() == libvirt.VIR_ERR_MULTIPLE_INTERFACES
    connection.interfaceLookupByName("wan").undefine()
    assert connection.interfaceLookupByMACString(eth1.upper()).name() == "lan"
