"""Attach, detach and update of a physical interface, live and in the configuration, with real guests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.hook import state_files
from tests.lab.shell import ip_json, link, run
from tests.libvirt import test_connection
from tests.libvirt.conftest import gone, nothing_left
from tests.libvirt.test_connection import URI, relays, squeezed, through

Make = Callable[[int], Guest]
MAC, DEVICE = "52:54:00:00:99:01", "vp525400009901"
REQUEST = f"<name>lan</name><type>macvtap</type><target mode='bridge'/><mac address='{MAC}'/>"
INTERFACE = f"<interface type='physical'>{REQUEST}<model type='virtio'/></interface>"


def file(text: str = INTERFACE) -> str:
    path = Path("/run/hotplug.xml")
    path.write_text(text, encoding="utf-8")
    return str(path)


def change(command: str, guest: Guest, *options: str, text: str = INTERFACE, check: bool = True) -> str:
    """Run attach-device, detach-device or update-device through the connection; return all it says."""
    done = through(command, guest.name, file(text), *options, check=check)
    assert check or done.returncode == 1
    return done.stdout + done.stderr


def links() -> set[str]:
    return {found["ifname"] for found in ip_json("link")}


def hands() -> list[str]:
    """Return the processes that make and remove devices for a connection."""
    paths = Path("/proc").glob("[0-9]*/cmdline")
    return [path.parent.name for path in paths if b"libvirt_vepa.service" in test_connection.text(path)]


def shown(guest: Guest, *options: str) -> str:
    return squeezed(through("dumpxml", guest.name, *options).stdout)


def stored(guest: Guest, *options: str) -> str:
    return virsh("dumpxml", guest.name, *options).stdout


@pytest.fixture
def guest(guest_of: Make) -> Guest:
    """A guest that is defined, with one interface of ours."""
    found = guest_of(1)
    found.ask("vepa")
    through("define", "/dev/stdin", stdin=found.xml)
    return found


@pytest.fixture
def running(guest: Guest) -> Guest:
    """The same, and it runs and drives its own buses."""
    guest.start()
    guest.wait()
    return guest


def test_live(running: Guest) -> None:
    change("attach-device", running, "--live")
    made = link(DEVICE)
    assert made and made["linkinfo"]["info_data"]["mode"] == "bridge"
    assert REQUEST in shown(running) and REQUEST not in shown(running, "--inactive")
    assert DEVICE in run("libvirt-vepa", "status").stdout
    with gone(DEVICE):
        change("detach-device", running, "--live")
    assert REQUEST not in shown(running) and "009901" not in stored(running)
    assert link(running.device)
    running.destroy()
    assert nothing_left(running)


def test_config_touches_no_device(running: Guest) -> None:
    before = state_files()
    change("attach-device", running, "--config")
    assert link(DEVICE) is None and state_files() == before
    assert REQUEST in shown(running, "--inactive") and REQUEST not in shown(running)
    change("detach-device", running, "--config")
    assert REQUEST not in shown(running, "--inactive") and "009901" not in stored(running, "--inactive")


def test_both(running: Guest) -> None:
    change("attach-device", running, "--live", "--config")
    assert link(DEVICE) and REQUEST in shown(running) and REQUEST in shown(running, "--inactive")
    with gone(DEVICE):
        change("detach-device", running, "--live", "--config")
    assert "009901" not in stored(running) + stored(running, "--inactive")


@pytest.mark.parametrize("options", [(), ("--current",), ("--persistent",)])
def test_what_is_meant_without_a_word_follows_libvirt(running: Guest, options: tuple[str, ...]) -> None:
    change("attach-device", running, *options)
    assert link(DEVICE) and REQUEST in shown(running)
    assert (REQUEST in shown(running, "--inactive")) == ("--persistent" in options)
    change("detach-device", running, *options)
    assert link(DEVICE) is None and REQUEST not in shown(running)


def test_a_guest_that_does_not_run(guest: Guest) -> None:
    assert "domain is not running" in change("attach-device", guest, "--live", check=False)
    change("attach-device", guest, "--current")
    assert REQUEST in shown(guest)
    virsh("start", guest.name)
    assert link(DEVICE)


def test_a_guest_that_had_none(guest_of: Make) -> None:
    guest = guest_of(2)
    through("define", "/dev/stdin", stdin=guest.xml)
    virsh("start", guest.name)
    change("attach-device", guest)
    assert link(DEVICE)
    virsh("destroy", guest.name)
    assert nothing_left(guest) and link(DEVICE) is None


def test_a_mac_and_a_model_may_be_left_out(running: Guest) -> None:
    change("attach-device", running, text="<interface type='physical'>\n<name>lan</name>\n</interface>")
    found = re.findall(r"<mac address='(.*?)'/>", shown(running))
    (mac,) = set(found) - {running.mac}
    assert link("vp" + mac.replace(":", ""))


def unchanged(guest: Guest, *command: str, **more: Any) -> str:
    """Return what is said to a change that fails; nothing of the guest or the host may be another then."""
    before = stored(guest), stored(guest, "--inactive"), state_files(), links()
    said = change(*command[:1], guest, *command[1:], check=False, **more)
    assert (stored(guest), stored(guest, "--inactive"), state_files(), links()) == before
    return said


def test_what_cannot_be_had_is_refused_and_nothing_stays(running: Guest) -> None:
    both = ("attach-device", "--live", "--config")
    said = unchanged(running, *both, text=INTERFACE.replace("lan", "wan"))
    assert f"operation failed: guest '{running.name}': no physical interface 'wan' is defined on this host; see" in said
    said = unchanged(running, *both, text=INTERFACE.replace(MAC, running.mac))
    assert f"mac {running.mac} is in use by guest '{running.name}'" in said or "has an interface with alias" in said
    said = unchanged(running, *both, text=INTERFACE.replace("bridge", "all"))
    assert "XML error: the document, line 1: unknown mode 'all'" in said


def test_what_libvirt_refuses_takes_the_device_back(running: Guest) -> None:
    wrong = INTERFACE.replace("virtio", "no-such-model")
    assert "no-such-model" in unchanged(running, "attach-device", "--live", "--config", text=wrong)
    wrong = INTERFACE.replace("<model", "<address type='pci' domain='0' bus='0' slot='0x1' function='1'/><model")
    assert unchanged(running, "attach-device", "--live", text=wrong)


def test_an_update_changes_the_request_too(guest: Guest) -> None:
    mine = INTERFACE.replace(MAC, guest.mac)
    change("update-device", guest, "--config", text=mine.replace("bridge", "pepa"))
    assert "<target mode='pepa'/>" in shown(guest)
    virsh("start", guest.name)
    found = link(guest.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "private"
    said = unchanged(guest, "update-device", "--live", text=mine)
    assert "name, type and mode of an interface cannot change while the guest runs; detach it" in said
    down = mine.replace("bridge", "pepa").replace("<model", "<link state='down'/><model")
    change("update-device", guest, "--live", "--config", text=down)
    assert "<link state='down'/>" in shown(guest) and "<link state='down'/>" in shown(guest, "--inactive")


@pytest.mark.parametrize(
    "words",
    [
        ("detach-interface", "physical", "--mac", MAC),
        ("detach-device-alias", "ua-physical-525400009901"),
    ],
)
def test_other_ways_to_detach(running: Guest, words: tuple[str, ...]) -> None:
    change("attach-device", running)
    with gone(DEVICE):
        through(words[0], running.name, *words[1:], "--live")
    assert "009901" not in stored(running)


def test_the_stored_form_is_detached_too(running: Guest) -> None:
    change("attach-device", running)
    with gone(DEVICE):
        change("detach-device", running, text=f"<interface type='ethernet'><mac address='{MAC}'/></interface>")
    assert "009901" not in stored(running)


def test_a_guest_that_takes_its_time(guest: Guest) -> None:
    """libvirt reports success after five seconds; the device must stay until the guest has let it go."""
    guest.start()
    guest.wait()
    change("attach-device", guest)
    virsh("suspend", guest.name)
    change("detach-device", guest)
    assert link(DEVICE) and REQUEST in shown(guest)
    with gone(DEVICE):
        virsh("resume", guest.name)
    guest.destroy()
    assert nothing_left(guest)


def test_a_guest_that_ends_instead(running: Guest) -> None:
    change("attach-device", running)
    virsh("suspend", running.name)
    change("detach-device", running)
    with gone(DEVICE):
        virsh("destroy", running.name)
    assert nothing_left(running)


def test_devices_of_others_pass(running: Guest) -> None:
    other = f"<interface type='user'><mac address='{MAC}'/></interface>"
    change("attach-device", running, text=other)
    assert link(DEVICE) is None and "<interface type='user'>" in shown(running)
    change("detach-device", running, text=other)


def test_several_at_once(running: Guest) -> None:
    texts = [INTERFACE.replace("99:01", f"99:{number:02}") for number in range(4)]
    files = [Path(f"/run/hotplug-{number}.xml") for number in range(4)]
    for path, text in zip(files, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    words = ("virsh", "-q", "-c", URI, "attach-device", running.name)
    clients = [subprocess.Popen((*words, str(path), "--live", "--config")) for path in files]
    assert [client.wait(60) for client in clients] == [0, 0, 0, 0]
    for options in ((), ("--inactive",)):
        assert shown(running, *options).count("<name>lan</name>") == 5
    clients = [subprocess.Popen((*words[:4], "detach-device", *words[5:], str(path), "--live")) for path in files]
    assert [client.wait(60) for client in clients] == [0, 0, 0, 0]
    assert {name for name in links() if name.startswith("vp")} == {running.device}


def test_a_read_only_connection_may_not(running: Guest) -> None:
    done = through("-r", "attach-device", running.name, file(), check=False)
    assert "read only access" in done.stderr and link(DEVICE) is None


def test_the_end_of_the_client_in_the_middle_leaves_nothing_half_done(running: Guest) -> None:
    """However far it has come: it is there for guest, host and metadata, or for none of them."""
    for milliseconds in (30, 80, 130, 180, 230, 300, 400, 600):
        words = ("virsh", "-q", "-c", URI, "attach-device", running.name, file())
        client = subprocess.Popen(words, process_group=0, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            client.wait(milliseconds / 1000)
        for pid in relays():
            os.kill(int(pid), signal.SIGKILL)
        client.wait(10)
        for pid in hands():
            test_connection.gone(pid)
        xml = stored(running)
        assert (link(DEVICE) is not None) == ("009901" in xml) == (REQUEST in shown(running)), milliseconds
        change("detach-device", running, check="009901" in xml)
