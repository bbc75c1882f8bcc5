# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's life as libvirt leads it: start, end, crash, save, restart of the daemon, failure."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from libvirt_vepa.store.store import Store
from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest, define, host_reaches
from tests.lab.hook import define_nic, state_files
from tests.lab.network import Nic, nic
from tests.lab.shell import link, run
from tests.libvirt.conftest import Eventually, Make, gone, nothing_left


def qemu_pid(guest: Guest) -> int:
    return int(Path(f"/run/libvirt/qemu/{guest.name}.pid").read_text(encoding="ascii"))


def flags(guest: Guest) -> list[str]:
    found = link(guest.device)
    return found["flags"] if found else []


def netdevs(guest: Guest) -> list[dict[str, str]]:
    words = Path(f"/proc/{qemu_pid(guest)}/cmdline").read_bytes().decode().split("\0")
    return [json.loads(words[number + 1]) for number, word in enumerate(words) if word == "-netdev"]


def released(guest: Guest) -> None:
    """Return when the hook's `release`, which holds the guest, has ended."""
    with Store().lock_guest(guest.uuid, "a test"):
        pass


def test_qemu_gets_a_plain_tap(guest: Guest) -> None:
    guest.start()
    (netdev,) = netdevs(guest)
    assert netdev["type"] == "tap" and netdev["fd"].isdigit()


def test_destroy_leaves_nothing(guest: Guest) -> None:
    guest.start()
    assert link(guest.device) and state_files()
    guest.destroy()
    assert nothing_left(guest)


def test_a_guest_that_powers_off_leaves_nothing(booting: Guest) -> None:
    booting.start()
    booting.wait()
    with gone(booting.device):
        booting.tell("poweroff -f")
    released(booting)
    assert nothing_left(booting)


def test_a_killed_qemu_leaves_nothing(guest: Guest) -> None:
    guest.start()
    with gone(guest.device):
        os.kill(qemu_pid(guest), signal.SIGKILL)
    released(guest)
    assert nothing_left(guest)


def test_a_daemon_restart_keeps_the_guest_and_mends_its_device(booting: Guest, libvirtd: Daemon) -> None:
    booting.start()
    booting.wait()
    run("ip", "link", "set", booting.device, "allmulticast", "off")
    with Eventually("all multicast is received again", lambda: "ALLMULTI" in flags(booting)):
        libvirtd.restart()
    assert virsh("domstate", booting.name).stdout.strip() == "running"
    assert booting.run("true")[0] == 0
    booting.destroy()
    assert nothing_left(booting)


def test_a_qemu_killed_while_the_daemon_was_away(guest: Guest, libvirtd: Daemon) -> None:
    guest.start()
    libvirtd.stop()
    os.kill(qemu_pid(guest), signal.SIGKILL)
    with gone(guest.device):
        libvirtd.start()
    released(guest)
    assert nothing_left(guest)


def test_reconcile_leaves_running_guests_alone(guest: Guest) -> None:
    guest.start()
    assert run("libvirt-vepa", "reconcile").stdout == ""
    assert link(guest.device)


def test_reconcile_puts_back_what_a_lost_guest_left(guest: Guest, libvirtd: Daemon) -> None:
    guest.start()
    libvirtd.stop()
    os.kill(qemu_pid(guest), signal.SIGKILL)
    # The daemon forgets the guest: nobody will call the hook for it.
    for path in Path("/run/libvirt/qemu").glob(f"{guest.name}.*"):
        path.unlink()
    libvirtd.start()
    assert link(guest.device)
    dry = run("libvirt-vepa", "reconcile", "--dry-run").stdout
    assert f"undo: create macvtap {guest.device} on eth1" in dry
    assert link(guest.device)
    assert run("libvirt-vepa", "reconcile").stdout == dry
    assert nothing_left(guest)


def test_reconcile_needs_the_daemon_and_says_so(guest: Guest, libvirtd: Daemon) -> None:
    guest.start()
    libvirtd.stop()
    done = run("libvirt-vepa", "reconcile", check=False)
    libvirtd.start()
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot ask libvirt which guests run") and done.stderr.count("\n") == 1
    assert link(guest.device)


def test_managed_save_and_restore(booting: Guest, wire: Nic) -> None:
    wire.reflect(True)
    booting.start()
    booting.wait()
    booting.hang_up()
    virsh("managedsave", booting.name)
    assert nothing_left(booting)
    booting.resume()
    assert link(booting.device)
    assert host_reaches(booting.address)


def test_save_to_a_file_and_restore(guest: Guest) -> None:
    guest.start()
    virsh("save", guest.name, "/run/saved")
    assert nothing_left(guest)
    virsh("restore", "/run/saved")
    assert link(guest.device)


def test_a_refused_start_says_why(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    guest.interfaces = guest.interfaces.replace("<name>lan<", "<name>nowhere<")
    define(guest)
    done = virsh("start", guest.name, check=False)
    assert done.returncode == 1
    expected = (
        f"libvirt-vepa: guest '{guest.name}': no physical interface 'nowhere' is defined on this host; "
        "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'"
    )
    assert expected in done.stderr
    assert nothing_left(guest)


def test_a_taken_mac_names_its_guest(guest: Guest, guest_of: Make) -> None:
    guest.start()
    second = guest_of(2)
    second.interfaces = guest.interfaces
    define(second)
    done = virsh("start", second.name, check=False)
    assert f"mac {guest.mac} is in use by guest '{guest.name}'" in done.stderr
    assert link(guest.device)


def test_a_nic_in_use_is_not_undefined(guest: Guest) -> None:
    guest.start()
    done = run("libvirt-vepa", "iface-undefine", "lan", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"'lan' is in use by guest '{guest.name}'" in done.stderr
    guest.destroy()
    run("libvirt-vepa", "iface-undefine", "lan")


def test_two_nics_names_and_queues_of_the_users_own(guest_of: Make) -> None:
    guest = guest_of(3)
    guest.vcpus = 2
    with nic("eth2"):
        define_nic("wan", "eth2", "<mode>bridge</mode>")
        guest.interfaces = (
            "<interface type='physical'><name>lan</name><target mode='pepa' dev='web-lan'/>"
            "<mac address='52:54:00:00:03:01'/><model type='virtio'/><driver queues='2'/>"
            "<alias name='ua-web'/></interface>"
            "<interface type='physical'><name>wan</name>"
            "<mac address='52:54:00:00:03:02'/><model type='virtio'/></interface>"
        )
        define(guest)
        guest.start()
        first, second = link("web-lan"), link("vp525400000302")
        assert first and second
        assert (first["link"], first["linkinfo"]["info_data"]["mode"]) == ("eth1", "private")
        assert (second["link"], second["linkinfo"]["info_data"]["mode"]) == ("eth2", "bridge")
        one, other = netdevs(guest)
        assert one["id"] == "hostua-web" and len(one["fds"].split(":")) == 2
        assert "fd" in other
        guest.destroy()
        assert link("web-lan") is None and nothing_left(guest)
        run("libvirt-vepa", "iface-undefine", "wan")
