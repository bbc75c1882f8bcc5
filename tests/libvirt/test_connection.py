# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain virsh through the connection: what a user wrote is what every command takes and shows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import REQUEST, Make
from tests.support.hotplug_steps import INTERFACE
from tests.support.via_proxy import URI, gone, relays, squeezed, through

XML = Path("/run/connection.xml")


def edited(*command: str, by: str) -> subprocess.CompletedProcess[str]:
    """Run one of virsh's editing commands with an editor that is a shell command on the file."""
    os.environ["VISUAL"] = by
    try:
        return run("virsh", "-c", URI, *command)
    finally:
        del os.environ["VISUAL"]


@pytest.fixture
def guest(asked: Guest) -> Guest:
    return asked


@pytest.fixture
def saved(guest: Guest) -> Iterator[str]:
    """The file that a running guest was saved to."""
    virsh("start", guest.name)
    through("save", guest.name, "/run/saved")
    yield "/run/saved"
    Path("/run/saved").unlink()


def test_define_and_dumpxml(guest: Guest) -> None:
    assert REQUEST in squeezed(through("dumpxml", guest.name).stdout)
    assert "physical:interface " in virsh("dumpxml", guest.name).stdout


def test_validate(guest: Guest) -> None:
    through("define", "--validate", "/dev/stdin", stdin=guest.xml)


def test_create_and_every_way_to_look(guest_of: Make) -> None:
    guest = guest_of(2)
    guest.ask("vepa")
    through("create", "/dev/stdin", stdin=guest.xml)
    assert link(guest.device)
    for options in ((), ("--inactive",), ("--migratable",), ("--security-info",)):
        assert REQUEST in squeezed(through("dumpxml", guest.name, *options).stdout)


def test_edit_saves_nothing_when_nothing_was_edited(guest: Guest) -> None:
    before = virsh("dumpxml", guest.name).stdout
    assert "not changed" in edited("edit", guest.name, by="true").stdout
    assert virsh("dumpxml", guest.name).stdout == before


def test_edit_shows_and_takes_what_people_write(guest: Guest) -> None:
    edited("edit", guest.name, by="sed -i s/mode=.vepa./mode=\\'pepa\\'/")
    assert "<target mode='pepa'/>" in through("dumpxml", guest.name).stdout
    virsh("start", guest.name)
    found = link(guest.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "private"


def test_what_is_asked_of_a_vf_stays_with_the_request(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    guest.add_disk()
    of_a_vf = "<vlan><tag id='42'/></vlan><vf spoofchk='on' max_tx_rate='100'/>"
    guest.interfaces = guest.interfaces.replace("<mac", f"{of_a_vf}<mac", 1)
    through("define", "--validate", "/dev/stdin", stdin=guest.xml)
    assert REQUEST + of_a_vf in squeezed(through("dumpxml", guest.name).stdout)
    kept = virsh("dumpxml", guest.name).stdout
    virsh("define", "/dev/stdin", "--validate", stdin=kept)
    assert virsh("dumpxml", guest.name).stdout == kept
    assert "<physical:vlan>" in kept and "<vlan>" not in kept and "<vf " not in kept
    edited("edit", guest.name, by="sed -i s/42/43/")
    changed = REQUEST + of_a_vf.replace("42", "43")
    assert changed in squeezed(through("dumpxml", guest.name).stdout)
    through("snapshot-create", guest.name, "/dev/stdin", stdin="<domainsnapshot><name>one</name></domainsnapshot>")
    try:
        assert changed in squeezed(through("snapshot-dumpxml", guest.name, "one").stdout)
        through("define", "/dev/stdin", stdin=guest.xml)
        through("snapshot-revert", guest.name, "one")
        assert changed in squeezed(through("dumpxml", guest.name).stdout)
    finally:
        through("snapshot-delete", guest.name, "one")
    XML.write_text(INTERFACE.replace("<mac", "<vlan><tag id='7'/></vlan><mac"), encoding="utf-8")
    through("attach-device", guest.name, str(XML), "--config")
    seen = squeezed(through("dumpxml", guest.name).stdout)
    assert changed in seen and "<target mode='bridge'/><vlan><tag id='7'/></vlan><mac" in seen


def test_domxml_to_native(guest: Guest) -> None:
    XML.write_text(guest.xml, encoding="utf-8")
    assert "-netdev" in through("domxml-to-native", "qemu-argv", "--xml", str(XML)).stdout


def test_save_image(guest: Guest, saved: str) -> None:
    assert REQUEST in squeezed(through("save-image-dumpxml", saved).stdout)
    assert "not changed" in edited("save-image-edit", saved, by="true").stdout
    XML.write_text(through("save-image-dumpxml", saved).stdout, encoding="utf-8")
    through("restore", saved, "--xml", str(XML))
    assert link(guest.device)
    Path(saved).touch()


def test_managed_save(guest: Guest) -> None:
    virsh("start", guest.name)
    through("managedsave", guest.name)
    XML.write_text(through("managedsave-dumpxml", guest.name).stdout, encoding="utf-8")
    assert REQUEST in squeezed(XML.read_text(encoding="utf-8"))
    through("managedsave-define", guest.name, str(XML))
    through("start", guest.name)
    assert link(guest.device)


def test_snapshots(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    guest.add_disk()
    through("define", "/dev/stdin", stdin=guest.xml)
    try:
        through("snapshot-create", guest.name, "/dev/stdin", stdin="<domainsnapshot><name>one</name></domainsnapshot>")
        kept = through("snapshot-dumpxml", guest.name, "one").stdout
        assert REQUEST in squeezed(kept)
        through("snapshot-create", guest.name, "/dev/stdin", "--redefine", stdin=kept)
        through("snapshot-revert", guest.name, "one", "--running")
        assert link(guest.device)
    finally:
        virsh("destroy", guest.name, check=False)
        virsh("snapshot-delete", guest.name, "one")


def test_update_and_detach_what_dumpxml_shows(guest: Guest) -> None:
    interface = etree.fromstring(through("dumpxml", guest.name).stdout.encode()).find("devices/interface")
    XML.write_bytes(etree.tostring(interface).replace(b"</interface>", b"<link state='down'/></interface>"))
    through("update-device", guest.name, str(XML), "--config")
    assert "<link state='down'/>" in through("dumpxml", guest.name).stdout
    through("detach-device", guest.name, str(XML), "--config")
    assert "<interface" not in through("dumpxml", guest.name).stdout


def test_metadata_of_others_passes(guest: Guest) -> None:
    through("metadata", guest.name, "urn:example", "--key", "e", "--set", "<a>physical</a>", "--config")
    assert "<a>physical</a>" in through("metadata", guest.name, "urn:example", "--config").stdout


def test_an_error_names_the_line_and_the_connection_goes_on(guest: Guest) -> None:
    XML.write_text(guest.xml.replace("vepa", "all"), encoding="utf-8")
    line = next(number for number, text in enumerate(guest.xml.splitlines(), 1) if "<interface" in text)
    done = through(f"define {XML}; domstate {guest.name}", check=False)
    assert f"XML error: the document, line {line}: guest '{guest.name}': unknown mode 'all'; use vepa" in done.stderr
    assert done.stdout.strip() == "shut off"


def test_read_only(guest: Guest) -> None:
    assert REQUEST in squeezed(through("-r", "dumpxml", guest.name).stdout)
    assert "read only access" in through("-r", "undefine", guest.name, check=False).stderr


def test_a_foreign_guest_looks_the_same_as_past_it(guest_of: Make) -> None:
    guest = guest_of(3)
    through("define", "/dev/stdin", stdin=guest.xml)
    assert through("dumpxml", guest.name).stdout == virsh("dumpxml", guest.name).stdout


def test_events_pass(guest: Guest) -> None:
    heard: list[int] = []
    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open(URI)
    try:
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        connection.domainEventRegisterAny(None, kind, lambda *event: heard.append(event[2]), None)
        late = libvirt.virEventAddTimeout(20_000, lambda *_: heard.append(-1), None)
        virsh("start", guest.name)
        while libvirt.VIR_DOMAIN_EVENT_STARTED not in heard:
            assert -1 not in heard, "no event in 20 seconds"
            libvirt.virEventRunDefaultImpl()
        libvirt.virEventRemoveTimeout(late)
    finally:
        connection.close()


@pytest.fixture
def session(libvirtd: Daemon) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A virsh that waits for commands, its connection open, and that connection's process."""
    before = relays()
    client = subprocess.Popen(
        ("virsh", "-q", "-c", URI), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stdin and client.stdout
    client.stdin.write("uri\n")
    client.stdin.flush()
    while "qemu" not in (client.stdout.readline() or "qemu"):
        pass
    (pid,) = relays() - before
    yield client, pid
    client.kill()
    client.communicate()


def test_the_end_of_the_client_leaves_no_process(session: tuple[subprocess.Popen[str], str]) -> None:
    client, pid = session
    client.kill()
    gone(pid)


def test_the_end_of_the_daemon_ends_the_connection(
    session: tuple[subprocess.Popen[str], str], libvirtd: Daemon
) -> None:
    _, pid = session
    libvirtd.stop()
    gone(pid)
    libvirtd.start()


def test_without_a_daemon_it_says_so(libvirtd: Daemon) -> None:
    libvirtd.stop()
    Path("/run/libvirt/libvirt-sock").unlink(missing_ok=True)
    done = through("list", check=False)
    libvirtd.start()
    assert "cannot connect to /run/libvirt/libvirt-sock: No such file" in done.stderr


def test_modular_daemons_have_another_socket(guest: Guest) -> None:
    folder = Path("/run/libvirt")
    for name in ("sock", "sock-ro"):
        (folder / f"libvirt-{name}").rename(folder / f"virtqemud-{name}")
    try:
        assert through("domstate", guest.name).stdout.strip() == "shut off"
        assert "read only" in through("-r", "undefine", guest.name, check=False).stderr
    finally:
        for name in ("sock", "sock-ro"):
            (folder / f"virtqemud-{name}").rename(folder / f"libvirt-{name}")
