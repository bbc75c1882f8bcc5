# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A NIC and the switch behind it: a veth pair whose far end is a port of a bridge in a namespace of its own.

Hairpin on that port is the switch's reflective relay (IEEE 802.1Qbg): a frame may leave by the port it came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.shell import run

# The address of the lab's host, beside those of guests (tests/lab/guest.py).
HOST_ADDRESS = "10.77.0.100"


@dataclass(frozen=True)
class Nic:
    """A NIC of the lab: its device, and the namespace that the switch is in."""

    device: str
    namespace: str

    def reflect(self, on: bool) -> None:
        """Let the switch send frames back where they came from, or not."""
        hairpin = "on" if on else "off"
        run(*f"ip netns exec {self.namespace} bridge link set dev port hairpin {hairpin}".split())

    def give(self, address: str) -> None:
        """Give the host an address on this NIC."""
        run("ip", "address", "add", address, "dev", self.device)
        run("ip", "link", "set", self.device, "up")


@contextmanager
def nic(device: str) -> Iterator[Nic]:
    """Make a NIC, down, with a switch that does not reflect; take both away in the end."""
    found = Nic(device, f"switch-{device}")
    run("ip", "netns", "add", found.namespace)
    try:
        run("ip", "link", "add", device, "type", "veth", "peer", "name", "port", "netns", found.namespace)
        switch(found)
        yield found
    finally:
        run("ip", "link", "delete", device, check=False)
        run("ip", "netns", "delete", found.namespace)


def switch(found: Nic) -> None:
    """Make a switch out of the device `port` in a NIC's other namespace; it does not reflect."""
    inside = ("ip", "-n", found.namespace)
    quiet = ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
    run(*inside, "link", "add", "switch", "type", "bridge", *quiet)
    run(*inside, "link", "set", "port", "master", "switch")
    for inner in ("port", "switch"):
        setting = f"net.ipv6.conf.{inner}.disable_ipv6=1"
        run("ip", "netns", "exec", found.namespace, "busybox", "sysctl", "-qw", setting)
        run(*inside, "link", "set", inner, "up")
