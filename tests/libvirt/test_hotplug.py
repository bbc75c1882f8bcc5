# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attach and detach a physical interface, live and in the configuration, with a real guest that goes on running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from libvirt_vepa.model.address import NicKey
from libvirt_vepa.store.store import Store
from tests.lab.guest import Guest
from tests.lab.hook import state_files
from tests.lab.killer import CHANGES, changes
from tests.lab.shell import link, run
from tests.libvirt.conftest import gone
from tests.support.hotplug_steps import DEVICE, INTERFACE, MAC, REQUEST, change, file, links, shown, stored, unchanged
from tests.support.via_proxy import END_SECONDS, URI, hands, relays, through
from tests.support.via_proxy import gone as ended

LOG = Path("/run/strace")


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


def test_a_mac_and_a_model_may_be_left_out(running: Guest) -> None:
    change("attach-device", running, text="<interface type='physical'>\n<name>lan</name>\n</interface>")
    found = re.findall(r"<mac address='(.*?)'/>", shown(running))
    (mac,) = set(found) - {running.mac}
    assert link("vp" + mac.replace(":", ""))
    change("detach-device", running, text=INTERFACE.replace(MAC, mac))


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
    words = (*words[:4], "detach-device", *words[5:])
    clients = [subprocess.Popen((*words, str(path), "--live", "--config")) for path in files]
    assert [client.wait(60) for client in clients] == [0, 0, 0, 0]
    assert {name for name in links() if name.startswith("vp")} == {running.device}


def test_a_read_only_connection_may_not(running: Guest) -> None:
    done = through("-r", "attach-device", running.name, file(), check=False)
    assert "read only access" in done.stderr and link(DEVICE) is None


def attach_traced(guest: Guest, *options: str) -> int:
    """Attach through a connection that strace runs with these options; return virsh's exit status."""
    program = Path("/run/traced-connect")
    strace = f"strace -y -qq -o {LOG} {' '.join(options)}"
    program.write_text(f"#!/bin/sh\nexec {strace} /usr/bin/libvirt-vepa-connect\n")
    program.chmod(0o755)
    words = ("virsh", "-q", "-c", f"qemu+ext:///system?command={program}", "attach-device", guest.name, file())
    done = subprocess.run(words, stderr=subprocess.DEVNULL, check=False, timeout=END_SECONDS)
    for pid in (*relays(), *hands()):
        ended(pid)
    return done.returncode


def test_a_client_that_is_killed_leaves_nothing_half_done(running: Guest) -> None:
    """However far it has come: it is there for guest, host and metadata, or for none of them."""
    assert attach_traced(running, f"-etrace={','.join(CHANGES)}") == 0
    found = changes(LOG)
    change("detach-device", running)
    assert {point.name for point in found} >= {"write", "sendto"} and len(found) > 20
    for point in found:
        attach_traced(running, f"-etrace={point.name}", f"-einject={point.name}:signal=SIGKILL:when={point.number}")
        assert "+++ killed by SIGKILL +++" in LOG.read_text(encoding="utf-8", errors="replace"), point
        attached = f"<target dev='{DEVICE}'" in stored(running)
        assert (link(DEVICE) is not None) == attached == (REQUEST in shown(running)), point
        assert attached or MAC not in stored(running), point
        change("detach-device", running, check=attached)


def test_the_end_of_the_client_while_its_device_is_made(running: Guest) -> None:
    """Whoever makes it can tell nobody when it is there, and takes it back."""
    before = stored(running), state_files(), links()
    with Store().lock_nics((NicKey("eth1"),), "a test"):
        client = subprocess.Popen(("virsh", "-q", "-c", URI, "attach-device", running.name, file()), process_group=0)
        deadline = time.monotonic() + END_SECONDS
        while not waits_for_a_lock(hands()):
            assert time.monotonic() < deadline, "nobody wants to make the device"
        (relay,) = relays()
        os.kill(int(relay), signal.SIGKILL)
        assert client.wait(END_SECONDS) == 1
        (hand,) = hands()
    ended(hand)
    assert (stored(running), state_files(), links()) == before


def waits_for_a_lock(pids: set[str]) -> bool:
    """Tell whether one of these processes does (proc_locks(5))."""
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any("->" in line and line.split()[5] in pids for line in lines)
