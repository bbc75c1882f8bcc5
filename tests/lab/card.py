# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine with the SR-IOV cards (tests/lab/boot): what is in it, and how it is set up before a command runs.

Two cards of QEMU's `igb` with seven VFs each, called `card0` and `card1`; a NIC without SR-IOV, called `plain`.
The wire of each card ends in a NIC that is the only port, called `port`, of a bridge `switch` in the network
namespace `switch-card0` or `switch-card1`, so frames really leave the card: with `Nic("card0",
"switch-card0").reflect(True)` that switch sends them back. All of them are up but the cards and `plain`.

    ip netns exec switch-card0 bridge link set dev port hairpin on|off
    echo 2 >/sys/class/net/card0/device/sriov_numvfs

The module `embedded` (tests/lab/module) is loaded; its parameters are in /sys/module/embedded/parameters.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.network import Nic, switch
from tests.lab.shell import run

MODULES = ("igb", "igbvf", "e1000e", "virtio_net", "macvtap", "8021q", "veth", "bridge", "tun", "embedded")
# Where tests/lab/boot puts them. The cards are behind root ports, so their own bus is another one.
SLOTS = {"card0": "pci0000:00/0000:00:10.0", "card1": "pci0000:00/0000:00:11.0", "plain": "pci0000:00/0000:00:18.0"}
SWITCHES = {"card0": "pci0000:00/0000:00:14.0", "card1": "pci0000:00/0000:00:15.0"}


def netdev(slot: str) -> str:
    """Return the name of the NIC in a slot, or behind it."""
    found = [path for path in Path("/sys/class/net").iterdir() if f"/{slot}/" in str(path.readlink())]
    # VFs come and go; they are not function 0.
    (only,) = [path.name for path in found if not (path / "device/physfn").exists()]
    return only


def wire(card: str) -> Nic:
    """Return a card with the switch at the other end of its wire."""
    return Nic(card, f"switch-{card}")


def main() -> None:
    """Load the drivers, give the NICs their names and make the switches."""
    run("modprobe", "-a", *MODULES)
    run("ip", "link", "set", "lo", "up")
    for name, slot in SLOTS.items():
        run("ip", "link", "set", netdev(slot), "name", name)
    for card, slot in SWITCHES.items():
        found = wire(card)
        run("ip", "netns", "add", found.namespace)
        run("ip", "link", "set", netdev(slot), "netns", found.namespace, "name", "port")
        switch(found)


if __name__ == "__main__":
    main()
